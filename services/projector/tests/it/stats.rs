//! Figures over time, compared with a simple model: all tasks and events in memory.

use proptest::prelude::*;
use waybill_domain::event::TaskEvent;
use waybill_domain::id::QueueName;
use waybill_domain::task::{Status, TaskRow};
use waybill_domain::time::Timestamp;
use waybill_log::Record;
use waybill_log::subject::TaskSubject;
use waybill_projector::model::ReaderError;
use waybill_projector::query::{Figures, GetStats, Lengths};

use crate::history::{History, queue, team};
use crate::lists::{World, world};

const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;

/// Whether a percentile is that of these lengths, within a thirty-second.
fn is_percentile(read: Option<u64>, of: u64, lengths: &[i64]) -> bool {
    let rank = (lengths.len() as u64 * of).div_ceil(100).max(1);
    let truth = usize::try_from(rank - 1)
        .ok()
        .and_then(|at| lengths.get(at));
    match (read, truth) {
        (Some(read), Some(&truth)) => {
            let truth = u64::try_from(truth).expect("not negative");
            read.abs_diff(truth) * 32 <= truth
        }
        (read, truth) => read.is_none() && truth.is_none(),
    }
}

fn are_lengths(read: Lengths, mut lengths: Vec<i64>) {
    lengths.sort_unstable();
    for (of, read) in [(50, read.p50), (95, read.p95), (99, read.p99)] {
        assert!(
            is_percentile(read, of, &lengths),
            "p{of} of {lengths:?} is no {read:?}"
        );
    }
}

/// An attempt that failed, as an event says.
struct Failed {
    team: String,
    queue: String,
    at: Timestamp,
}

fn failed(world: &World) -> Vec<Failed> {
    let of_record = |record: &Record| {
        let Some(TaskSubject::Event { team, queue, .. }) = TaskSubject::parse(&record.subject)
        else {
            return None;
        };
        let at = match TaskEvent::decode(&record.event, &record.payload).ok()? {
            TaskEvent::AttemptFailed(e) => e.at,
            TaskEvent::Dead(e) => e.at,
            TaskEvent::Expired(e) if e.attempt.is_some() => e.at,
            _ => return None,
        };
        Some(Failed {
            team: team.to_owned(),
            queue: queue.to_owned(),
            at,
        })
    };
    let records = world.records.iter().map(|(_, record)| record);
    records.filter_map(of_record).collect()
}

/// Compares the figures of a time with the rows and events in memory.
fn are_those(
    read: &Figures,
    (world, failed): (&World, &[Failed]),
    number: u64,
    of: Option<&QueueName>,
    from: i64,
    to: i64,
) {
    let within = |at: Option<Timestamp>| at.is_some_and(|at| (from..to).contains(&at.0));
    let rows: Vec<&TaskRow> = world
        .rows
        .iter()
        .filter(|row| row.team == team(number) && of.is_none_or(|queue| row.queue == *queue))
        .collect();
    let count = |is: &dyn Fn(&TaskRow) -> bool| rows.iter().filter(|row| is(row)).count() as u64;
    let due = |row: &TaskRow| {
        row.not_before
            .unwrap_or(row.created_at)
            .max(row.created_at)
            .0
    };
    assert_eq!(read.accepted, count(&|row| within(Some(row.created_at))));
    let ended = [
        Status::Completed,
        Status::Failed,
        Status::Timeout,
        Status::Cancelled,
    ];
    for (read, status) in read.ended.iter().zip(ended) {
        let truth = count(&|row| row.status == status && within(row.completed_at));
        assert_eq!(*read, truth, "{status:?}");
    }
    let ok = count(&|row| row.ok == Some(true) && within(row.completed_at));
    assert_eq!(read.ok, ok);
    let began = rows.iter().filter(|row| within(row.started_at));
    let wait = began.map(|row| (row.started_at.expect("began").0 - due(row)).max(0));
    are_lengths(read.wait, wait.collect());
    let over = rows
        .iter()
        .filter(|row| within(row.completed_at) && row.status != Status::Cancelled);
    let total = over.map(|row| (row.completed_at.expect("ended").0 - due(row)).max(0));
    are_lengths(read.total, total.collect());
    let failed = failed.iter().filter(|failed| {
        let is_of = failed.team == team(number).as_str();
        is_of && of.is_none_or(|of| of.as_str() == failed.queue) && within(Some(failed.at))
    });
    assert_eq!(read.failed_attempts, failed.count() as u64);
}

fn figures_equal_those_of_rows_and_events(seed: u64) {
    let mut history = History::of_days(seed);
    let world = world(&mut history, 300);
    let failed = failed(&world);
    let all = (&world, &failed[..]);
    let windows = [
        (2 * HOUR, 10 * SECOND),
        (HOUR, MINUTE),
        (48 * HOUR, HOUR),
        (24 * HOUR, 2 * MINUTE),
        (720 * HOUR, HOUR),
        (720 * HOUR, 24 * HOUR),
    ];
    for number in 0..2 {
        for (window_ms, step_ms) in windows {
            let mut query = GetStats {
                team: team(number),
                window_ms,
                step_ms,
                queues: Vec::new(),
            };
            let read = world.reader.stats(&query, world.now).expect("figures");
            let (from, to) = (read.from.0, read.to.0);
            assert!((from..to).contains(&world.now.0));
            are_those(&read.all.sum, all, number, None, from, to);
            let step = i64::try_from(step_ms).expect("small");
            assert_eq!(
                read.all.steps.len() as u64,
                window_ms.min(to.unsigned_abs()).div_ceil(step_ms)
            );
            for (at, figures) in (0_i64..).zip(&read.all.steps) {
                let start = from + at * step;
                are_those(figures, all, number, None, start, start + step);
            }
            for (queue, series) in &read.queues {
                assert!(series.steps.is_empty());
                are_those(&series.sum, all, number, Some(queue), from, to);
            }
            let named: Vec<_> = read.queues.iter().map(|(queue, _)| queue.clone()).collect();
            assert!(named.is_sorted());
            // The steps of a queue add up to its figures.
            query.queues = vec![queue(history.random.below(3))];
            if window_ms / step_ms <= 1_000 {
                let read = world.reader.stats(&query, world.now).expect("figures");
                let (name, series) = &read.queues[0];
                are_those(&series.sum, all, number, Some(name), from, to);
                let accepted = series.steps.iter().map(|step| step.accepted).sum::<u64>();
                assert_eq!(accepted, series.sum.accepted);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn figures_are_those_of_rows_and_events(seed: u64) {
        figures_equal_those_of_rows_and_events(seed);
    }
}

#[test]
fn a_time_or_step_beyond_the_limits_is_refused_by_name() {
    let mut history = History::new(3);
    let world = world(&mut history, 10);
    let refused = |window_ms, step_ms, queues: usize| {
        let query = GetStats {
            team: team(0),
            window_ms,
            step_ms,
            queues: vec![queue(0); queues],
        };
        match world.reader.stats(&query, world.now) {
            Err(ReaderError::Invalid(why)) => Some((why.field, why.message)),
            Err(other) => panic!("{other}"),
            Ok(_) => None,
        }
    };
    for (window, step, queues, field, said) in [
        (HOUR, 0, 0, "step", "multiple of 10s"),
        (HOUR, 7 * SECOND, 0, "step", "multiple of 10s"),
        (3 * HOUR, 10 * SECOND, 0, "step", "up to 2h"),
        (49 * HOUR, MINUTE, 0, "step", "up to 2d"),
        (721 * HOUR, HOUR, 0, "step", "up to 30d"),
        (HOUR + SECOND, MINUTE, 0, "window", "multiple of step"),
        (0, MINUTE, 0, "window", "multiple of step"),
        (48 * HOUR, MINUTE, 0, "step", "at most 2000 steps"),
        (2 * HOUR, 10 * SECOND, 2, "step", "3 series of 720"),
        (HOUR, MINUTE, 21, "queue", "at most 20 queues"),
    ] {
        let (of, message) = refused(window, step, queues).expect("refused");
        assert_eq!(of, field, "{message}");
        assert!(message.contains(said), "{message}");
    }
    assert_eq!(refused(2 * HOUR, 10 * SECOND, 1), None);
    assert_eq!(refused(30 * 24 * HOUR, HOUR, 0), None);
}
