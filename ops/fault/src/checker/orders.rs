//! Checks of ordering keys: what has the same key runs one after the other, and what a failure cancels.

use std::collections::{BTreeMap, HashMap};

use super::Check;
use super::evidence::{Call, Entry, Evidence, Request, Step};
use super::lives::{Life, Lives};

/// All tasks of a queue with the same ordering key.
type Line<'a> = (&'a str, &'a str);

pub(super) fn checks(evidence: &Evidence, lives: &Lives<'_>) -> Vec<Check> {
    let failures = evidence.log.iter().filter_map(|entry| {
        let (line, _) = line_of(lives, &entry.task)?;
        match entry.step {
            Step::Dead { cancels_to, .. } | Step::Expired { cancels_to, .. } => {
                Some((line, entry, cancels_to))
            }
            _ => None,
        }
    });
    let failures: Vec<_> = failures.collect();
    let members = members(lives);
    vec![
        one_after_the_other(evidence, lives),
        received_in_order(evidence, lives),
        Check::over(
            "tasks with one ordering key are in the order in which a client created them",
            &evidence.lines,
            |line| {
                let places: Vec<_> = line
                    .iter()
                    .map(|id| lives.get(id).and_then(Life::request).map(|(seq, _)| seq))
                    .collect();
                (!places.is_sorted()).then(|| format!("{line:?} are at {places:?}"))
            },
        ),
        Check::over(
            "a failure with cancelRest cancels those behind it that it says, and starts none of them",
            &failures,
            |(line, failed, cancels_to)| {
                let (seq, request) = lives.get(&failed.task)?.request()?;
                let cancels_rest = request.order.as_ref()?.cancels_rest;
                let Some(last) = *cancels_to else {
                    return cancels_rest
                        .then(|| format!("{} cancels nothing at {}", failed.task, failed.seq));
                };
                if !cancels_rest || !(seq..failed.seq).contains(&last) {
                    return Some(format!("{} cancels up to {last}", failed.task));
                }
                let behind = members.get(line)?.range(seq..=last).skip(1);
                behind
                    .filter_map(|(_, id)| Some((*id, lives.get(id)?)))
                    .find_map(|(id, life)| goes_on(id, life, failed.seq))
                    .map(|what| format!("{} failed at {}: {what}", failed.task, failed.seq))
            },
        ),
        Check::over(
            "of the tasks with an ordering key only those are cancelled that stand behind such a failure",
            evidence.log.iter().filter_map(|entry| {
                let (line, seq) = line_of(lives, &entry.task)?;
                match &entry.step {
                    Step::Cancelled { after, .. } => Some((entry, line, seq, after.as_deref())),
                    _ => None,
                }
            }),
            |(entry, line, seq, after)| {
                let cause = failures.iter().find(|(of, failed, cancels_to)| {
                    *of == line
                        && after == Some(failed.task.as_str())
                        && failed.seq < entry.seq
                        && cancels_to.is_some_and(|last| seq <= last)
                        && line_of(lives, &failed.task).is_some_and(|(_, first)| first < seq)
                });
                cause
                    .is_none()
                    .then(|| format!("{} is cancelled after {after:?}", entry.task))
            },
        ),
    ]
}

/// The line of a task with an ordering key, and the position of its creation.
fn line_of<'a>(lives: &Lives<'a>, task: &str) -> Option<(Line<'a>, u64)> {
    let (seq, request) = lives.get(task)?.request()?;
    Some((line(request)?, seq))
}

fn line(request: &Request) -> Option<Line<'_>> {
    Some((&request.queue, &request.order.as_ref()?.key))
}

/// The tasks of each line, by the positions of their creations.
fn members<'a>(lives: &Lives<'a>) -> HashMap<Line<'a>, BTreeMap<u64, &'a str>> {
    let mut members: HashMap<_, BTreeMap<_, _>> = HashMap::new();
    for (id, life) in lives.iter() {
        if let Some((seq, request)) = life.request()
            && let Some(line) = line(request)
        {
            members.entry(line).or_default().insert(seq, id);
        }
    }
    members
}

/// How a task goes on although one before it failed at that position and cancelled it. One that had run out of time may have ended so.
fn goes_on(id: &str, life: &Life<'_>, failed_at: u64) -> Option<String> {
    let mut later = life.steps.iter().filter(|entry| entry.seq > failed_at);
    let wrong = later.find(|entry| {
        matches!(entry.step, Step::Started(_))
            || entry.step.ends().is_some_and(|end| end != "cancelled")
                && !matches!(entry.step, Step::Expired { attempt: None, .. })
    })?;
    Some(format!("{id} has {:?} at {}", wrong.step, wrong.seq))
}

fn one_after_the_other(evidence: &Evidence, lives: &Lives<'_>) -> Check {
    // The open tasks of each line.
    let mut open: HashMap<Line<'_>, BTreeMap<u64, &str>> = HashMap::new();
    let mut starts: Vec<(&Entry, Option<String>)> = Vec::new();
    for entry in &evidence.log {
        let Some((line, seq)) = line_of(lives, &entry.task) else {
            continue;
        };
        let line = open.entry(line).or_default();
        match entry.step {
            Step::Created(_) => {
                line.insert(seq, &entry.task);
            }
            Step::Started(_) => {
                let first = line.first_key_value();
                let other = first.filter(|(first, _)| **first < seq);
                starts.push((entry, other.map(|(_, id)| (*id).to_owned())));
            }
            _ if entry.step.ends().is_some() => {
                line.remove(&seq);
            }
            _ => {}
        }
    }
    Check::over(
        "a task starts when all that were created before it with its ordering key have ended",
        starts,
        |(entry, before)| {
            let before = before?;
            Some(format!(
                "{} starts at {} while {before} is open",
                entry.task, entry.seq
            ))
        },
    )
}

fn received_in_order(evidence: &Evidence, lives: &Lives<'_>) -> Check {
    // Of each line, the task that was created last of those that were called, and until when its calls took.
    let mut last: HashMap<Line<'_>, (u64, &str, u64)> = HashMap::new();
    let attempts = evidence.calls.iter().filter(|call| !call.webhook);
    // A worker that lost its partition may still finish a call that it has begun: delivery is at least once.
    let counts = |call: &&Call| {
        lives
            .get(&call.task)
            .is_some_and(|life| !life.may_outlast(call.attempt))
    };
    let mut ordered: Vec<_> = attempts
        .filter(counts)
        .filter_map(|call| Some((line_of(lives, &call.task)?, call)))
        .collect();
    ordered.sort_by_key(|(_, call)| call.time_us);
    Check::over(
        "the target receives tasks with one ordering key in order, each when the one before it is answered",
        ordered,
        |((line, seq), call)| {
            let end = call.time_us + call.takes_us;
            let Some((before, task, until)) = last.get_mut(&line) else {
                last.insert(line, (seq, &call.task, end));
                return None;
            };
            let wrong = seq < *before || seq > *before && call.time_us < *until;
            let text = wrong.then(|| format!("{} is received during or after {task}", call.task));
            if seq >= *before {
                (*before, *task, *until) = (seq, &call.task, end);
            }
            text
        },
    )
}
