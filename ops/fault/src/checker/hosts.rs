//! Checks of targets that do badly: hosts that are opened by hand or by a rule, and limits that a target pauses.

use std::collections::{HashMap, HashSet};

use super::Check;
use super::evidence::{Entry, Evidence, Judged, Request, Step};
use super::limits::{BETWEEN_CLOCKS_MS, start_in};
use super::lives::{Life, Lives};

/// A worker learns that a failure is stored by the answer of the log, and until then starts what comes as before. That takes milliseconds; on a busy machine,
/// and while a server or a link is being lost, longer.
const UNTIL_KNOWN_MS: i64 = 2_000;

pub(super) fn checks(evidence: &Evidence, lives: &Lives<'_>) -> Vec<Check> {
    let entries = |wanted: &dyn Fn(&Request) -> bool| -> Vec<&Entry> {
        let is_wanted = |entry: &&Entry| {
            let request = lives.get(&entry.task).and_then(Life::request);
            request.is_some_and(|(_, request)| wanted(request))
        };
        evidence.log.iter().filter(is_wanted).collect()
    };
    let hosts: HashSet<&str> = evidence
        .held
        .iter()
        .map(|held| held.host.as_str())
        .collect();
    let at: HashMap<&str, Vec<&Entry>> = hosts
        .into_iter()
        .map(|host| (host, entries(&|request| request.host == host)))
        .collect();
    let of_judged = evidence
        .judged
        .as_ref()
        .map(|judged| (judged, entries(&|request| request.host == judged.host)));
    let rests = of_judged
        .iter()
        .flat_map(|(judged, entries)| starts_at_rest(judged, entries, evidence));
    let rests: Vec<_> = rests.collect();
    let probes = rests.iter().filter(|start| start.entry.probe);
    vec![
        Check::over(
            "nothing starts at a host between the answer to its opening and its end",
            &evidence.held,
            |held| {
                let of_host = at.get(held.host.as_str()).map_or(&[][..], Vec::as_slice);
                start_in((&held.host, held.span, held.has_end), of_host, evidence)
            },
        ),
        Check::over(
            "at a host that its rule has opened nothing starts but a probe",
            &rests,
            |start| {
                let is_late = start.since_known_ms > UNTIL_KNOWN_MS;
                (is_late && !start.entry.probe).then(|| {
                    format!(
                        "{} starts at {}, {} ms after the failure that opened its host",
                        start.entry.task, start.entry.seq, start.since_known_ms
                    )
                })
            },
        ),
        Check::over(
            "a probe comes no sooner than the pause after the last failure, and one at a time",
            probes,
            |start| {
                let Start {
                    entry, since_ms, ..
                } = start;
                if start.beside_another {
                    return Some(format!(
                        "{} starts at {} beside another",
                        entry.task, entry.seq
                    ));
                }
                let pause = evidence.judged.as_ref().map_or(0, |judged| judged.pause_ms);
                (*since_ms < pause - BETWEEN_CLOCKS_MS).then(|| {
                    format!(
                        "{} starts at {}, after {since_ms} ms",
                        entry.task, entry.seq
                    )
                })
            },
        ),
        Check::over(
            "when a target has paused a limit, nothing of the queue starts with it before that ends",
            evidence.log.iter().filter_map(|entry| match &entry.step {
                Step::LimitPaused { key, until_ms } => Some((entry, key, *until_ms)),
                _ => None,
            }),
            |(pause, key, until_ms)| {
                if evidence.is_clock_wrong(pause.stored_ms, until_ms) {
                    return None;
                }
                let (_, of) = lives.get(&pause.task).and_then(Life::request)?;
                let is_too_early = |entry: &&Entry| {
                    matches!(entry.step, Step::Started(_))
                        && entry.at_ms < until_ms - BETWEEN_CLOCKS_MS
                };
                let has_it = |entry: &&Entry| {
                    let request = lives.get(&entry.task).and_then(Life::request);
                    request.is_some_and(|(_, request)| {
                        request.queue == of.queue && request.limits.contains(key)
                    })
                };
                let after = evidence.log.partition_point(|entry| entry.seq <= pause.seq);
                let during = evidence.log[after..].iter();
                let mut during = during.take_while(|entry| entry.stored_ms < until_ms);
                let started = during.find(|entry| is_too_early(entry) && has_it(entry))?;
                Some(format!(
                    "{} starts at {}, {} ms before {key} goes on, which {} has paused at {}",
                    started.task,
                    started.seq,
                    until_ms - started.at_ms,
                    pause.task,
                    pause.seq
                ))
            },
        ),
    ]
}

/// A start while the host of the task is to rest.
struct Start<'a> {
    entry: &'a Entry,
    /// Since when the host rests: since the last failure was decided, and since it was stored, until this start was decided.
    since_ms: i64,
    since_known_ms: i64,
    /// Whether another probe was being made.
    beside_another: bool,
}

/// The starts behind so many failures in a row that the host rests.
fn starts_at_rest<'a>(
    judged: &Judged,
    entries: &[&'a Entry],
    evidence: &Evidence,
) -> Vec<Start<'a>> {
    let mut starts = Vec::new();
    // The failures in a row: how many, the first and the last.
    let mut row: Option<(u32, &Entry, &Entry)> = None;
    let mut probes: HashSet<&str> = HashSet::new();
    for entry in entries {
        if entry.stored_ms >= judged.until_ms {
            break;
        }
        if entry.step.ends_attempt() {
            probes.remove(entry.task.as_str());
        }
        match entry.step {
            Step::Dead { .. } | Step::AttemptFailed { lost: false, .. } => {
                let (number, first) = row.map_or((0, *entry), |(number, first, _)| (number, first));
                row = Some((number + 1, first, entry));
            }
            Step::Succeeded { .. } => row = None,
            Step::Started(_) => {
                let beside_another = entry.probe && !probes.is_empty();
                if entry.probe {
                    probes.insert(&entry.task);
                }
                let Some((number, first, last)) = row else {
                    continue;
                };
                let is_forgotten = |purge: &super::Purge| {
                    // A worker that takes over knows only what the log still has.
                    purge.first > first.seq && entry.seq >= purge.first
                };
                if number < judged.in_a_row
                    || evidence.purges.iter().any(is_forgotten)
                    || evidence.is_clock_wrong(first.stored_ms, entry.stored_ms)
                {
                    continue;
                }
                starts.push(Start {
                    entry,
                    since_ms: entry.at_ms - last.at_ms,
                    since_known_ms: entry.at_ms - last.stored_ms,
                    beside_another,
                });
            }
            _ => {}
        }
    }
    starts
}
