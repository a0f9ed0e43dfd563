//! What an owner's memory costs at a takeover: `cargo run --release -p waybill-domain --example takeover_cost -- [tasks]`.
//!
//! Tasks that wait for a date, as most do where there are many. Reading a snapshot and activating it is for every open task,
//! replaying for what stands behind the snapshot. It ends by itself after a few seconds.

#![expect(clippy::print_stdout, reason = "a measurement prints its result")]

use std::collections::HashSet;
use std::hint::black_box;
use std::time::{Duration, Instant};

use waybill_domain::dispatcher::Dispatcher;
use waybill_domain::event::{TaskCreated, TaskEvent, samples};
use waybill_domain::id::{QueueName, TaskId};
use waybill_domain::partition::Partition;
use waybill_domain::seq::StreamSeq;
use waybill_domain::time::{Elapsed, Times, Timestamp};

const TASKS: u64 = 250_000;
const QUEUES: u64 = 32;
/// Each step is measured that often, and the fastest counts: other programs disturb the rest.
const ROUNDS: usize = 5;
const NOW: i64 = 1_763_712_000_000;
const MONTH: i64 = 30 * 86_400_000;

/// An ordinary creation, as it stands in the log.
fn creation(number: u64) -> Option<TaskCreated> {
    let sample = samples::task_events()
        .into_iter()
        .find_map(|event| match event {
            TaskEvent::Created(created) => Some(*created),
            _ => None,
        })?;
    let at = i64::try_from(number).ok()?;
    Some(TaskCreated {
        id: TaskId::new(
            Timestamp(NOW + at),
            u128::from(number) << 40,
            Partition::default(),
        ),
        queue: QueueName::parse(&format!("q{}", number % QUEUES)).ok()?,
        body: Some("x".repeat(512)),
        not_before: Some(Timestamp(NOW + MONTH + at)),
        retry_on: None,
        success: None,
        deadline: None,
        expires_in_ms: None,
        fairness_key: None,
        ordering: None,
        on_complete_url: None,
        webhook_pauses: Vec::new(),
        sealed: None,
        replay_of: None,
        ..sample
    })
}

fn fastest(mut step: impl FnMut() -> Duration) -> Duration {
    (0..ROUNDS).map(|_| step()).min().unwrap_or_default()
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let tasks = std::env::args()
        .nth(1)
        .map_or(Ok(TASKS), |text| text.parse())?;
    let events: Option<Vec<_>> = (0..tasks).map(creation).collect();
    let events = events.ok_or("a creation among the samples")?;
    let events: Vec<_> = events
        .into_iter()
        .map(|created| TaskEvent::Created(Box::new(created)))
        .map(|event| (event.name(), event.encode()))
        .collect();
    let replayed = || -> Result<Dispatcher, Box<dyn std::error::Error>> {
        let mut dispatcher = Dispatcher::new();
        for (seq, (name, payload)) in (1..).zip(&events) {
            let event = TaskEvent::decode(name, payload)?;
            dispatcher.apply(StreamSeq(seq), None, &event);
        }
        Ok(dispatcher)
    };
    let snapshot = replayed()?.snapshot().ok_or("nothing is in flight")?;
    let now = Times {
        elapsed: Elapsed(0),
        wall: Timestamp(NOW),
    };
    let replay = fastest(|| {
        let begun = Instant::now();
        black_box(replayed().is_ok());
        begun.elapsed()
    });
    let (mut restore, mut activate) = (Duration::MAX, Duration::MAX);
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        let mut dispatcher = Dispatcher::restore(&snapshot)?;
        restore = restore.min(begun.elapsed());
        let begun = Instant::now();
        dispatcher.activate(now, &HashSet::new(), Vec::new(), &mut Vec::new());
        activate = activate.min(begun.elapsed());
        assert_eq!(dispatcher.open() as u64, tasks, "all of them");
    }
    println!("{tasks} tasks, a snapshot of {} KiB", snapshot.len() / 1024);
    for (what, took) in [
        ("restore", restore),
        ("activate", activate),
        ("replay", replay),
    ] {
        println!(
            "{what:>9}: {took:>9.1?}, {:>6.2?} each",
            took / u32::try_from(tasks)?
        );
    }
    Ok(())
}
