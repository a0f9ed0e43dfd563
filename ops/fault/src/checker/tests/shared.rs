//! The part of the evidence that is about what tasks of several queues share, and its negative controls.

use super::*;

const RUNNING: &str = "over all queues no more attempts run than a shared limit allows";
const CALLED: &str = "the target has no more calls at a time than a shared limit allows";
const RATE: &str = "over all queues no more attempts start than a shared rate allows, and the starts that were handed out";
const LEAK: &str =
    "when all have ended, as many run again as a shared limit allows: no share of it is lost";
const WINDOW: &str =
    "when a debounced task starts, all before it in its window have started or given way";
const GAVE_WAY: &str =
    "a task that gave way to another one of its window never started, and names another one of it";
const PURGED: &str = "what waited in a queue when it was purged is cancelled, and never starts";

const SUCCEEDED: Step = Step::Succeeded {
    attempt: 1,
    status: 200,
};

fn limited(queue: &str) -> Step {
    Step::Created(Box::new(Request {
        queue: queue.into(),
        limits: vec!["l".into()],
        ..Request::default()
    }))
}

fn debounced() -> Step {
    Step::Created(Box::new(Request {
        queue: "x".into(),
        debounce: Some("w".into()),
        ..Request::default()
    }))
}

/// `l1` and `l2` share a limit of two and run beside each other, in two queues. `d1` gives way to `d2`. `p1` is purged.
pub(super) fn log() -> Vec<Entry> {
    vec![
        entry(24, "l1", limited("x")),
        entry(25, "l2", limited("y")),
        entry(26, "l1", Step::Started(1)),
        entry(27, "l2", Step::Started(1)),
        entry(28, "l1", SUCCEEDED),
        entry(29, "l2", SUCCEEDED),
        entry(30, "d1", debounced()),
        entry(31, "d2", debounced()),
        entry(
            32,
            "d1",
            Step::Cancelled {
                attempt: None,
                after: None,
                instead: Some("d2".into()),
                predecessor: false,
            },
        ),
        entry(33, "d2", Step::Started(1)),
        entry(34, "d2", SUCCEEDED),
        entry(35, "p1", created(None, false)),
        entry(36, "p1", cancelled()),
    ]
}

/// Adds what clients, the target and the read models say about these tasks.
pub(super) fn add(evidence: &mut Evidence) {
    evidence.calls.extend([
        call(26, "l1", 1, 200),
        call(27, "l2", 1, 200),
        call(33, "d2", 1, 200),
    ]);
    let ends = [
        ("l1", "completed"),
        ("l2", "completed"),
        ("d1", "cancelled"),
        ("d2", "completed"),
        ("p1", "cancelled"),
    ];
    evidence.listed.extend(ends.map(|(id, status)| Listed {
        id: id.into(),
        status: status.into(),
    }));
    evidence.told.push(Told::Purged {
        ids: vec!["p1".into()],
        is_done: true,
    });
    evidence.shared = vec![Shared {
        key: "l".into(),
        concurrency: Some(2),
        rate: Some(Rate {
            limit: 1,
            per_ms: 1_000,
            burst: 1,
        }),
    }];
}

/// The place of an event in the log.
fn place(evidence: &Evidence, task: &str, wanted: impl Fn(&Step) -> bool) -> usize {
    let mut log = evidence.log.iter();
    let found = log.position(|entry| entry.task == task && wanted(&entry.step));
    found.expect("it is in the log")
}

fn is_start(step: &Step) -> bool {
    matches!(step, Step::Started(_))
}

fn ends(step: &Step) -> bool {
    step.ends().is_some()
}

/// Lets `l2` start only when `l1` has ended.
fn one_by_one(evidence: &mut Evidence) {
    let (start, end) = (place(evidence, "l2", is_start), place(evidence, "l1", ends));
    evidence.log.swap(start, end);
    renumber(evidence);
}

#[test]
fn more_attempts_than_a_shared_limit_are_reported() {
    control(|e| e.shared[0].concurrency = Some(1), &[RUNNING]);
}

#[test]
fn more_calls_than_a_shared_limit_are_reported() {
    control(
        |e| {
            one_by_one(e);
            e.shared[0].concurrency = Some(1);
            let mut calls = e.calls.iter_mut();
            let first = calls.find(|call| call.task == "l1").expect("it is called");
            first.takes_us = 5_000;
        },
        &[CALLED],
    );
}

#[test]
fn starts_too_early_for_a_shared_rate_are_reported() {
    let rate = |limit| {
        move |e: &mut Evidence| {
            e.shared[0].rate = Some(Rate {
                limit,
                per_ms: 10_000,
                burst: 1,
            });
        }
    };
    // One that was handed out a second before may be used.
    control(rate(10), &[]);
    control(rate(1), &[RATE]);
}

#[test]
fn a_share_that_is_lost_is_reported() {
    control(one_by_one, &[LEAK]);
}

#[test]
fn a_debounced_task_that_overtakes_another_is_reported() {
    control(
        |e| {
            let (end, start) = (place(e, "d1", ends), place(e, "d2", is_start));
            e.log.swap(end, start);
            renumber(e);
        },
        &[WINDOW],
    );
}

#[test]
fn a_task_that_gave_way_to_none_of_its_window_is_reported() {
    for other in ["l1", "d1"] {
        control(
            |e| {
                let at = place(e, "d1", ends);
                e.log[at].step = Step::Cancelled {
                    attempt: None,
                    after: None,
                    instead: Some(other.into()),
                    predecessor: false,
                };
            },
            &[GAVE_WAY],
        );
    }
}

#[test]
fn a_purged_task_that_starts_is_reported() {
    control(
        |e| {
            let at = place(e, "p1", ends);
            e.log[at].step = Step::Started(1);
            insert(e, at + 1, "p1", SUCCEEDED);
            e.calls.push(call(36, "p1", 1, 200));
            let listed = e.listed.iter_mut().find(|listed| listed.id == "p1");
            listed.expect("it is listed").status = "completed".into();
        },
        &[PURGED],
    );
    control(
        |e| {
            for told in &mut e.told {
                if let Told::Purged { is_done, .. } = told {
                    *is_done = false;
                }
            }
        },
        &[PURGED],
    );
}
