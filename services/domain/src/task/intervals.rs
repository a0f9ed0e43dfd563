//! What the time of a task was spent on, from its creation to its end.

use std::time::Duration;

use crate::id::LimitKey;
use crate::task::row::TaskRow;
use crate::task::waits::{WaitKind, Waited};
use crate::task::{EndReason, Status};
use crate::time::Timestamp;

/// A gap that is shorter than this, in milliseconds, belongs to what follows: it is the difference of
/// two clocks, or the time that it takes to store an end.
const GAP_MS: i64 = 20;

/// A part of a task's time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interval {
    pub spent: Spent,
    pub from: Timestamp,
    /// `None` while it goes on, and for an attempt of which the end is not known.
    pub to: Option<Timestamp>,
}

/// What a part of a task's time was spent on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Spent {
    /// It was not due yet.
    Delayed,
    /// It paused before its next attempt.
    Paused,
    /// It was kept from running; `None`: nothing is known but that others had their turns.
    Waited(Option<(WaitKind, Option<LimitKey>)>),
    /// The attempt with this number was made.
    Attempt(u32),
}

/// What the time of a task was spent on, oldest first; of a task with many attempts the latest.
/// `waits` is what has kept it from running since it became ready, if it waits still.
#[must_use]
pub fn intervals(row: &TaskRow, waits: &[Waited], now: Timestamp) -> Vec<Interval> {
    let mut all = Intervals(Vec::new());
    let first = row.attempts.first();
    let mut from = match first {
        // Earlier ones are not remembered.
        Some(first) if first.number > 1 => first.started_at,
        _ => row.created_at,
    };
    if let Some(due) = row.not_before.filter(|due| *due > from) {
        // It may have ended before, or somebody has asked for it.
        let asked = row.status == Status::Pending && first.is_none();
        let asked = asked.then_some(row.updated_at);
        let earlier = [row.completed_at, first.map(|first| first.started_at), asked];
        let until = earlier.into_iter().flatten().fold(due, Timestamp::min);
        if until > now {
            all.push(Spent::Delayed, from, None);
            return all.0;
        }
        all.push(Spent::Delayed, from, Some(until));
        from = until.max(from);
    }
    for (place, attempt) in row.attempts.iter().enumerate() {
        let began = attempt.started_at;
        all.wait((from, Some(began)), &attempt.waits);
        let length = attempt.duration_ms.map(u64::from);
        let ended = length.map(|millis| began.plus(Duration::from_millis(millis)));
        all.push(Spent::Attempt(attempt.number), began, ended);
        from = from.max(ended.unwrap_or(began));
        let next = row.attempts.get(place + 1).map(|next| next.started_at);
        let asked = row.retry_at.filter(|_| next.is_none());
        let Some(due) = attempt
            .retry_at
            .map(|due| asked.map_or(due, |at| due.min(at)))
        else {
            continue;
        };
        let until = next.or(row.completed_at).map_or(due, |next| due.min(next));
        if until > now {
            all.push(Spent::Paused, from, None);
            return all.0;
        }
        if until > from {
            all.push(Spent::Paused, from, Some(until));
            from = until;
        }
    }
    match row.completed_at {
        None if row.status != Status::Processing => all.wait((from, None), waits),
        // It ended without another attempt.
        Some(end) if ended_while_it_waited(row) => all.wait((from, Some(end)), &row.waits),
        _ => {}
    }
    all.0
}

struct Intervals(Vec<Interval>);

impl Intervals {
    fn push(&mut self, spent: Spent, from: Timestamp, to: Option<Timestamp>) {
        self.0.push(Interval { spent, from, to });
    }

    /// Adds a wait, by its parts as far as they are known.
    fn wait(&mut self, (mut from, to): (Timestamp, Option<Timestamp>), waits: &[Waited]) {
        let ends = waits.iter().skip(1).map(|next| Some(next.from)).chain([to]);
        for (part, end) in waits.iter().zip(ends) {
            let end = match (end, to) {
                (Some(end), Some(to)) => Some(end.min(to)),
                (end, _) => end,
            };
            let begin = to.map_or(part.from, |to| part.from.min(to));
            if begin.0.saturating_sub(from.0) >= GAP_MS {
                self.push(Spent::Waited(None), from, Some(begin));
                from = begin;
            }
            if end.is_none_or(|end| end > from) {
                let by = (part.by, part.limit.clone());
                self.push(Spent::Waited(Some(by)), from, end);
                from = end.unwrap_or(from);
            }
        }
        if waits.is_empty() && to.is_none_or(|to| to > from) {
            self.push(Spent::Waited(None), from, to);
        }
    }
}

/// Whether no attempt was running when it ended. Storing the end of an attempt takes a moment, too.
fn ended_while_it_waited(row: &TaskRow) -> bool {
    match row.end_reason {
        Some(
            EndReason::Cancelled
            | EndReason::Superseded
            | EndReason::Skipped
            | EndReason::Duplicate
            | EndReason::Predecessor,
        ) => row.cancel_requested.is_none(),
        Some(EndReason::Expired) => row
            .attempts
            .last()
            .is_none_or(|last| last.duration_ms.is_some()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{
        AttemptFailed, Failure, FailureKind, TaskCancelled, TaskEvent, TaskStarted, samples,
    };
    use crate::id::TaskId;
    use crate::seq::StreamSeq;

    const BEGIN: i64 = 1_800_000_000_000;

    fn at(seconds: i64) -> Timestamp {
        Timestamp(BEGIN + seconds * 1_000)
    }

    fn part(seconds: i64, by: WaitKind) -> Waited {
        Waited {
            from: at(seconds),
            by,
            limit: None,
        }
    }

    fn created(due: Option<Timestamp>) -> (TaskId, TaskRow) {
        let mut samples = samples::task_events().into_iter();
        let Some(TaskEvent::Created(mut created)) = samples.next() else {
            panic!("the first sample is a creation");
        };
        (created.at, created.not_before) = (at(0), due);
        let id = created.id;
        let created = TaskEvent::Created(created);
        (
            id,
            TaskRow::evolve(None, StreamSeq(1), &created).expect("a row"),
        )
    }

    fn started(id: TaskId, attempt: u32, seconds: i64, waits: Vec<Waited>) -> TaskEvent {
        TaskEvent::Started(TaskStarted {
            id,
            attempt,
            at: at(seconds),
            lease_until: at(seconds + 60),
            probe: false,
            claim: None,
            waits,
        })
    }

    fn after(row: &TaskRow, event: &TaskEvent) -> TaskRow {
        let next = StreamSeq(row.seq.0 + 1);
        TaskRow::evolve(Some(row.clone()), next, event).expect("a row")
    }

    /// From, to, and what it was, in seconds.
    fn told(row: &TaskRow, waits: &[Waited], now: i64) -> Vec<(i64, Option<i64>, Spent)> {
        let since = |at: Timestamp| (at.0 - BEGIN) / 1_000;
        let all = intervals(row, waits, at(now)).into_iter();
        all.map(|one| (since(one.from), one.to.map(since), one.spent))
            .collect()
    }

    fn by(kind: WaitKind) -> Spent {
        Spent::Waited(Some((kind, None)))
    }

    #[test]
    fn the_time_of_a_task_is_told_from_its_creation_to_its_end() {
        let (id, row) = created(Some(at(10)));
        assert_eq!(told(&row, &[], 5), [(0, None, Spent::Delayed)]);
        let live = [part(10, WaitKind::Order), part(11, WaitKind::QueuePaused)];
        let mut expected = vec![
            (0, Some(10), Spent::Delayed),
            (10, Some(11), by(WaitKind::Order)),
            (11, None, by(WaitKind::QueuePaused)),
        ];
        assert_eq!(told(&row, &live, 12), expected);
        let row = after(&row, &started(id, 1, 12, live.to_vec()));
        expected[2].1 = Some(12);
        expected.push((12, None, Spent::Attempt(1)));
        assert_eq!(told(&row, &[], 13), expected);
        let failed = TaskEvent::AttemptFailed(AttemptFailed {
            id,
            attempt: 1,
            at: at(14),
            failure: Failure {
                kind: FailureKind::Connect,
                message: "no".into(),
            },
            answer: None,
            retry_at: at(20),
            counted: true,
        });
        let row = after(&row, &failed);
        expected[3].1 = Some(14);
        expected.push((14, None, Spent::Paused));
        assert_eq!(told(&row, &[], 15), expected);
        expected[4].1 = Some(20);
        expected.push((20, None, Spent::Waited(None)));
        assert_eq!(told(&row, &[], 25), expected);
        let cancelled = TaskEvent::Cancelled(TaskCancelled {
            waits: vec![part(22, WaitKind::TargetOpen)],
            ..TaskCancelled::idle(id, at(26))
        });
        let row = after(&row, &cancelled);
        // What its owner did not know stays unknown.
        expected[5].1 = Some(22);
        expected.push((22, Some(26), by(WaitKind::TargetOpen)));
        assert_eq!(told(&row, &[], 99), expected);
    }

    #[test]
    fn a_task_that_was_asked_for_was_delayed_until_then() {
        let (id, row) = created(Some(at(100)));
        let row = after(&row, &started(id, 1, 3, Vec::new()));
        assert_eq!(
            told(&row, &[], 4),
            [(0, Some(3), Spent::Delayed), (3, None, Spent::Attempt(1))]
        );
    }

    #[test]
    fn parts_outside_of_a_wait_do_not_count() {
        let (id, row) = created(None);
        let early = vec![
            part(-5, WaitKind::Turn),
            part(-2, WaitKind::Singleton),
            part(9, WaitKind::Turn),
        ];
        let row = after(&row, &started(id, 1, 3, early));
        assert_eq!(
            told(&row, &[], 4),
            [
                (0, Some(3), by(WaitKind::Singleton)),
                (3, None, Spent::Attempt(1))
            ]
        );
    }
}
