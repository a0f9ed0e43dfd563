//! The part of the evidence that is about order, limits and pauses, and its negative controls.

use super::super::evidence::Order;
use super::*;

const ORDER: &str =
    "a task starts when all that were created before it with its ordering key have ended";
const RECEIVED: &str = "the target receives tasks with one ordering key in order, each when the one before it is answered";
const CREATED: &str = "tasks with one ordering key are in the order in which a client created them";
const CANCELS: &str =
    "a failure with cancelRest cancels those behind it that it says, and starts none of them";
const NO_OTHERS: &str =
    "of the tasks with an ordering key only those are cancelled that stand behind such a failure";
const PAUSED: &str = "nothing of a paused queue starts between the answer to its pause and its end";
const RUNNING: &str = "of a limited queue no more attempts run than its limit";
const CALLED: &str = "the target has no more calls of a limited queue at a time than its limit";
const RATE: &str = "of a queue with a rate no more attempts start than rate and burst allow";
const LEAK: &str =
    "when all have ended, a limited queue runs as many again as it may: no place of it is lost";
const RUN_NOW: &str = "a task that was told to run now became ready then, unless its time had come";
const SAYS: &str = "a task that does another again says which";
const ONCE: &str = "a dead letter is retried once, whoever asks how often";

fn asked(queue: &str) -> Request {
    Request {
        queue: queue.into(),
        ..Request::default()
    }
}

fn in_line(key: &str) -> Request {
    Request {
        order: Some(Order {
            key: key.into(),
            cancels_rest: true,
        }),
        ..asked("q")
    }
}

fn new(request: Request) -> Step {
    Step::Created(Box::new(request))
}

const SUCCEEDED: Step = Step::Succeeded {
    attempt: 1,
    status: 200,
};

/// In the queue `q`, where one task runs at a time, `f1` fails and cancels `f2`; then `f3` comes, does `f1` again and is told to run now. In
/// the queue `r`, `s1` and `s2` run beside each other.
pub(super) fn log() -> Vec<Entry> {
    vec![
        entry(9, "f1", new(in_line("k"))),
        entry(10, "f2", new(in_line("k"))),
        entry(11, "f1", Step::Started(1)),
        entry(
            12,
            "f1",
            Step::Dead {
                attempt: 1,
                status: "failed",
                cancels_to: Some(10),
            },
        ),
        entry(
            13,
            "f2",
            Step::Cancelled {
                attempt: None,
                after: Some("f1".into()),
                instead: None,
                predecessor: false,
            },
        ),
        entry(
            14,
            "f3",
            new(Request {
                due_ms: Some(1_000),
                again: Some("f1".into()),
                ..in_line("k")
            }),
        ),
        entry(15, "f3", Step::RunRequested),
        entry(16, "f3", Step::Started(1)),
        entry(17, "f3", SUCCEEDED),
        entry(18, "s1", new(asked("r"))),
        entry(19, "s2", new(asked("r"))),
        entry(20, "s1", Step::Started(1)),
        entry(21, "s2", Step::Started(1)),
        entry(22, "s1", SUCCEEDED),
        entry(23, "s2", SUCCEEDED),
    ]
}

/// Adds what clients, the target and the read models say about these tasks.
pub(super) fn add(evidence: &mut Evidence) {
    evidence.calls.extend([
        call(11, "f1", 1, 500),
        call(16, "f3", 1, 200),
        call(20, "s1", 1, 200),
        call(21, "s2", 1, 200),
    ]);
    let ends = [
        ("f1", "failed"),
        ("f2", "cancelled"),
        ("f3", "completed"),
        ("s1", "completed"),
        ("s2", "completed"),
    ];
    evidence.listed.extend(ends.map(|(id, status)| Listed {
        id: id.into(),
        status: status.into(),
    }));
    evidence.told.extend([
        Told::RunNow {
            id: "f3".into(),
            told_ms: 15,
        },
        again("f1", "f3"),
        again("f1", "f3"),
    ]);
    let rate = Rate {
        limit: 1,
        per_ms: 1_000,
        burst: 2,
    };
    evidence.limited = vec![
        Limited {
            queue: "q".into(),
            concurrency: Some(1),
            rate: None,
        },
        Limited {
            queue: "r".into(),
            concurrency: Some(2),
            rate: Some(rate),
        },
    ];
    evidence.pauses = vec![Pause {
        queue: "q".into(),
        span: Span {
            from_ms: 12,
            to_ms: 16,
        },
        has_end: false,
    }];
    evidence.lines = vec![["f1", "f2", "f3"].map(Into::into).to_vec()];
    evidence.before_crowd = 14;
}

fn again(of: &str, id: &str) -> Told {
    Told::Again {
        of: of.into(),
        id: id.into(),
        as_dead_letter: true,
    }
}

/// The entry at a position of the sound log.
fn at(evidence: &mut Evidence, seq: usize) -> &mut Entry {
    &mut evidence.log[seq - 1]
}

/// Gives `s1` and `s2` an ordering key.
fn order_both(evidence: &mut Evidence) {
    for seq in [18, 19] {
        at(evidence, seq).step = new(Request {
            queue: "r".into(),
            ..in_line("x")
        });
    }
}

/// Lets `s2` start only when `s1` has ended.
fn one_by_one(evidence: &mut Evidence) {
    evidence.log.swap(20, 21);
    renumber(evidence);
}

fn call_of<'a>(evidence: &'a mut Evidence, task: &str) -> &'a mut Call {
    let mut calls = evidence.calls.iter_mut();
    calls.find(|call| call.task == task).expect("it is called")
}

#[test]
fn a_task_that_overtakes_another_one_is_reported() {
    control(order_both, &[ORDER]);
    control(
        |e| {
            order_both(e);
            one_by_one(e);
            e.limited[1].concurrency = None;
        },
        &[],
    );
}

#[test]
fn a_call_before_the_one_before_it_is_answered_is_reported() {
    control(
        |e| {
            order_both(e);
            one_by_one(e);
            e.limited[1].concurrency = None;
            call_of(e, "s1").takes_us = 5_000;
        },
        &[RECEIVED],
    );
}

#[test]
fn a_line_in_another_order_than_its_creations_is_reported() {
    let line = ["f3", "f1"].map(Into::into).to_vec();
    control(|e| e.lines.push(line), &[CREATED]);
}

#[test]
fn a_failure_that_cancels_nothing_or_too_much_is_reported() {
    let failed = |cancels_to| Step::Dead {
        attempt: 1,
        status: "failed",
        cancels_to,
    };
    control(|e| at(e, 12).step = failed(None), &[CANCELS, NO_OTHERS]);
    control(|e| at(e, 12).step = failed(Some(14)), &[CANCELS]);
}

#[test]
fn a_task_that_starts_although_it_is_cancelled_is_reported() {
    control(
        |e| {
            at(e, 13).step = Step::Started(1);
            insert(e, 13, "f2", SUCCEEDED);
            e.pauses[0].span.from_ms = 14;
            e.calls.push(call(13, "f2", 1, 200));
            let listed = e.listed.iter_mut().find(|listed| listed.id == "f2");
            listed.expect("it is listed").status = "completed".into();
        },
        &[CANCELS, NO_OTHERS],
    );
}

#[test]
fn a_cancellation_without_a_cause_is_reported() {
    control(|e| at(e, 13).step = cancelled(), &[NO_OTHERS]);
}

#[test]
fn a_start_in_a_pause_is_reported() {
    control(|e| e.pauses[0].span.from_ms = 10, &[PAUSED]);
    control(|e| e.pauses[0].span.to_ms = 17, &[PAUSED]);
    // By its own clock a worker may find that the pause has ended.
    let by_a_wrong_clock = |has_end| {
        move |e: &mut Evidence| {
            e.pauses[0].span.to_ms = 17;
            e.pauses[0].has_end = has_end;
            e.wrong_clocks.push(Span {
                from_ms: 15,
                to_ms: 100,
            });
        }
    };
    control(by_a_wrong_clock(true), &[]);
    control(by_a_wrong_clock(false), &[PAUSED]);
}

#[test]
fn more_attempts_than_the_limit_are_reported() {
    control(|e| e.limited[1].concurrency = Some(1), &[RUNNING]);
}

#[test]
fn more_calls_than_the_limit_are_reported() {
    let overlapping = |e: &mut Evidence| {
        one_by_one(e);
        e.limited[1].concurrency = Some(1);
        call_of(e, "s1").takes_us = 5_000;
    };
    control(overlapping, &[CALLED]);
    // A call of a lost attempt may go on.
    control(
        |e| {
            overlapping(e);
            e.limited[1].rate = None;
            e.limited[0].rate = Some(Rate {
                limit: 1,
                per_ms: 1_000,
                burst: 2,
            });
            let lost = Step::AttemptFailed {
                attempt: 1,
                lost: true,
            };
            at(e, 21).step = lost;
            insert(e, 23, "s1", Step::Started(2));
            let succeeded = Step::Succeeded {
                attempt: 2,
                status: 200,
            };
            insert(e, 24, "s1", succeeded);
            e.calls.push(call(30, "s1", 2, 200));
        },
        &[],
    );
}

#[test]
fn a_start_too_early_for_the_rate_is_reported() {
    let burst = |e: &mut Evidence| e.limited[1].rate.as_mut().expect("a rate").burst = 1;
    control(burst, &[RATE]);
    // A clock that is an hour off hides nothing.
    control(
        |e| {
            burst(e);
            at(e, 20).at_ms -= 3_600_000;
        },
        &[RATE],
    );
    control(
        |e| {
            burst(e);
            at(e, 21).at_ms += 1_000;
        },
        &[],
    );
}

#[test]
fn a_place_that_is_lost_is_reported() {
    control(|e| e.before_crowd = 20, &[LEAK]);
}

#[test]
fn a_run_now_without_effect_is_reported() {
    let forgotten = |e: &mut Evidence| {
        e.log.remove(14);
        renumber(e);
    };
    control(forgotten, &[RUN_NOW]);
    control(
        |e| {
            forgotten(e);
            e.told.push(Told::RunNow {
                id: "f3".into(),
                told_ms: 1_000,
            });
            e.told
                .retain(|told| !matches!(told, Told::RunNow { told_ms: 15, .. }));
        },
        &[],
    );
}

#[test]
fn a_task_that_does_another_again_than_it_says_is_reported() {
    let wrong = Told::Again {
        of: "b".into(),
        id: "f3".into(),
        as_dead_letter: false,
    };
    control(|e| e.told.push(wrong), &[SAYS]);
}

#[test]
fn a_dead_letter_that_is_retried_twice_is_reported() {
    control(|e| e.told.push(again("f1", "s1")), &[SAYS, ONCE]);
}
