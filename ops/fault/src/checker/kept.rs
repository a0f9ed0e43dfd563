//! Checks of what the log keeps while its history is purged, and what may be unknown since.

use std::collections::{BTreeMap, HashMap};

use super::Check;
use super::evidence::{Evidence, Purge, Restated, Step, Stood};
use super::lives::{Life, Lives};

/// A request of a task as the log stores it: its creation, or a restatement.
#[derive(Debug, Clone, Copy)]
struct Stored {
    seq: u64,
    stored_ms: i64,
}

/// The requests of a task, in order.
fn requests<'a>(evidence: &'a Evidence, lives: &Lives<'a>) -> BTreeMap<&'a str, Vec<Stored>> {
    let mut requests: BTreeMap<&str, Vec<Stored>> = BTreeMap::new();
    for (id, life) in lives.iter() {
        let creations = life.steps.iter();
        let creations = creations.filter(|entry| matches!(entry.step, Step::Created(_)));
        let stored = creations.map(|entry| Stored {
            seq: entry.seq,
            stored_ms: entry.stored_ms,
        });
        requests.insert(id, stored.collect());
    }
    for restated in &evidence.restated {
        requests.entry(&restated.task).or_default().push(Stored {
            seq: restated.seq,
            stored_ms: restated.stored_ms,
        });
    }
    for stored in requests.values_mut() {
        stored.sort_unstable_by_key(|stored| stored.seq);
    }
    requests
}

/// From when on nothing more is to be done about a task: position and time. `None` if it never ended, or its webhook was neither delivered nor
/// given up.
fn closed(life: &Life<'_>) -> Option<Stored> {
    let closes = |entry: &&&super::Entry| match life.wants_webhook() {
        true => entry.step.closes_webhook(),
        false => entry.step.ends().is_some(),
    };
    life.end()?;
    let entry = life.steps.iter().find(closes)?;
    Some(Stored {
        seq: entry.seq,
        stored_ms: entry.stored_ms,
    })
}

/// The tasks that have left the log, and from when on they may have been unknown: nothing that was open, and nothing that was younger than
/// history is kept.
#[derive(Default)]
pub(super) struct Gone<'a>(HashMap<&'a str, i64>);

impl<'a> Gone<'a> {
    pub(super) fn of(evidence: &'a Evidence, lives: &Lives<'a>) -> Self {
        let first = evidence.first();
        let requests = requests(evidence, lives);
        let gone = requests.iter().filter_map(|(id, stored)| {
            let last = stored.last().filter(|stored| stored.seq < first)?;
            let closed = closed(lives.get(id)?)?;
            let old = last.stored_ms + evidence.kept_ms;
            Some((*id, old.max(closed.stored_ms)))
        });
        Self(gone.collect())
    }

    /// Whether it is gone at the end.
    pub(super) fn is_gone(&self, id: &str) -> bool {
        self.0.contains_key(id)
    }

    /// Whether it may have been gone at that time already.
    pub(super) fn may_be_unknown(&self, id: &str, at_ms: i64) -> bool {
        self.0.get(id).is_some_and(|from_ms| *from_ms <= at_ms)
    }

    /// Whether one of two tasks may have been gone when the other was created, so that they may have the same key.
    pub(super) fn excuses(&self, lives: &Lives<'_>, one: &str, other: &str) -> bool {
        let created_ms = |id| lives.get(id)?.steps.first().map(|entry| entry.stored_ms);
        match (created_ms(one), created_ms(other)) {
            (Some(one_ms), Some(other_ms)) if one_ms <= other_ms => {
                self.may_be_unknown(one, other_ms)
            }
            (Some(one_ms), Some(_)) => self.may_be_unknown(other, one_ms),
            _ => false,
        }
    }
}

/// Without a purge there is nothing to check.
pub(super) fn checks(evidence: &Evidence, lives: &Lives<'_>) -> Vec<Check> {
    if evidence.purges.is_empty() {
        return Vec::new();
    }
    let needed = needed(evidence, lives);
    vec![
        Check::over(
            "history that is purged takes nothing of an open task along",
            needed,
            |(id, from, until, purge)| {
                (purge.first > from).then(|| {
                    format!(
                        "{id} needs {from} until {until}; the log began at {} when it ended at {}",
                        purge.first, purge.last
                    )
                })
            },
        ),
        Check::over(
            "a task that is restated stands as its history says",
            &evidence.restated,
            |restated| misstated(restated, lives),
        ),
    ]
}

/// Each stretch of the log in which a task stood on a certain request, with the last purge that was seen meanwhile: id, request, end of the stretch.
fn needed<'a>(evidence: &'a Evidence, lives: &Lives<'a>) -> Vec<(&'a str, u64, u64, Purge)> {
    let mut needed = Vec::new();
    for (id, stored) in requests(evidence, lives) {
        let Some(life) = lives.get(id) else { continue };
        let end = closed(life).map_or(u64::MAX, |closed| closed.seq);
        let nexts = stored.iter().skip(1).map(|stored| stored.seq).chain([end]);
        for (stored, next) in stored.iter().zip(nexts) {
            let until = next.min(end);
            // Seen when the log ended before the task stood on something else.
            let seen = evidence.purges.partition_point(|purge| purge.last < until);
            let last = evidence.purges[..seen].last();
            if let Some(purge) = last.filter(|purge| purge.last >= stored.seq) {
                needed.push((id, stored.seq, until, *purge));
            }
        }
    }
    needed
}

fn misstated(restated: &Restated, lives: &Lives<'_>) -> Option<String> {
    let Restated {
        seq,
        task,
        created,
        attempts,
        key,
        stood,
        ..
    } = restated;
    let wrong = |what: String| Some(format!("{task} is restated at {seq}: {what}"));
    let Some(life) = lives.get(task) else {
        return wrong("it was never created".into());
    };
    let before = life.steps.iter().filter(|entry| entry.seq < *seq);
    let mut known = (None, 0, Stood::Idle);
    for entry in before {
        match &entry.step {
            Step::Created(request) => known.0 = Some((entry.seq, request.key.as_ref())),
            Step::Started(attempt) => (known.1, known.2) = (known.1 + 1, Stood::Running(*attempt)),
            Step::AttemptFailed { .. } | Step::Released(_) => known.2 = Stood::Idle,
            step if step.ends().is_some() => known.2 = Stood::Ended,
            _ => {}
        }
    }
    if closed(life).is_some_and(|closed| closed.seq < *seq) {
        return wrong("nothing was left to be done about it".into());
    }
    let said = (Some((*created, key.as_ref())), *attempts, *stood);
    (said != known)
        .then(|| format!("{task} is restated at {seq} as {said:?} and stood as {known:?}"))
}
