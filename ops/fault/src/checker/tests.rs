//! Negative controls: if the evidence breaks a promise, its check reports it, and no unrelated
//! check does.

mod flows;
mod hosts;
mod kept;
mod pulled;
mod scheduled;
mod shaped;
mod shared;
mod steered;

use std::collections::HashMap;

use super::evidence::Request;
use super::*;

fn entry(seq: u64, task: &str, step: Step) -> Entry {
    let stored_ms = i64::try_from(seq).expect("small");
    Entry {
        seq,
        stored_ms,
        at_ms: stored_ms,
        task: task.into(),
        step,
        probe: false,
    }
}

fn call(at_ms: u64, task: &str, attempt: u32, status: u16) -> Call {
    Call {
        time_us: at_ms * 1000,
        task: task.into(),
        attempt,
        status,
        webhook: false,
        takes_us: 0,
    }
}

fn created(key: Option<&str>, webhook: bool) -> Step {
    Step::Created(Box::new(Request {
        key: key.map(Into::into),
        webhook,
        ..Request::default()
    }))
}

/// Evidence without a violation. Task `a` succeeds at its second attempt and has a webhook, task
/// `b` is cancelled. The others are in [`shaped`], [`shared`], [`pulled`], [`scheduled`], [`steered`], [`hosts`] and [`flows`].
fn sound() -> Evidence {
    let mut log = vec![
        entry(1, "a", created(Some("k"), true)),
        entry(2, "a", Step::Started(1)),
        entry(3, "b", created(None, false)),
        entry(
            4,
            "a",
            Step::AttemptFailed {
                attempt: 1,
                lost: false,
            },
        ),
        entry(5, "b", cancelled()),
        entry(6, "a", Step::Started(2)),
        entry(
            7,
            "a",
            Step::Succeeded {
                attempt: 2,
                status: 200,
            },
        ),
        entry(8, "a", Step::CallbackSent),
    ];
    log.extend(shaped::log());
    log.extend(shared::log());
    log.extend(pulled::log());
    log.extend(scheduled::log());
    log.extend(steered::log(log.len() as u64 + 1));
    log.extend(hosts::log(log.len() as u64 + 1));
    log.extend(flows::log(log.len() as u64 + 1));
    let streamed = Streamed {
        name: "reader".into(),
        after: 2,
        connections: 3,
        events: log
            .iter()
            .filter(|e| e.seq > 2)
            .map(|e| (e.seq, e.step.name().into()))
            .collect(),
    };
    let accepted = |key: Option<&str>, id: &str| Told::Accepted {
        key: key.map(Into::into),
        id: id.into(),
    };
    let listed = |id: &str, status: &str| Listed {
        id: id.into(),
        status: status.into(),
    };
    let mut evidence = Evidence {
        told: vec![
            accepted(Some("k"), "a"),
            accepted(Some("k"), "a"),
            accepted(None, "b"),
            Told::Cancelled { id: "b".into() },
            Told::Status {
                id: "a".into(),
                status: "processing".into(),
            },
            Told::Status {
                id: "a".into(),
                status: "completed".into(),
            },
            Told::Unavailable {
                what: "create",
                retry_after: true,
            },
        ],
        calls: vec![
            call(2, "a", 1, 500),
            call(6, "a", 2, 200),
            Call {
                webhook: true,
                ..call(8, "a", 1, 200)
            },
        ],
        listed: vec![listed("a", "completed"), listed("b", "cancelled")],
        read: vec![listed("a", "completed")],
        streamed: vec![streamed],
        outputs: vec![Output {
            process: "gateway".into(),
            secrets: Vec::new(),
            panics: Vec::new(),
        }],
        planned: Vec::new(),
        log,
        ..Evidence::default()
    };
    shaped::add(&mut evidence);
    shared::add(&mut evidence);
    pulled::add(&mut evidence);
    scheduled::add(&mut evidence);
    steered::add(&mut evidence);
    hosts::add(&mut evidence);
    flows::add(&mut evidence);
    evidence
}

fn cancelled() -> Step {
    Step::Cancelled {
        attempt: None,
        after: None,
        instead: None,
        predecessor: false,
    }
}

/// The checks that do not pass.
fn failing(evidence: &Evidence) -> Vec<&'static str> {
    check(evidence)
        .iter()
        .filter(|check| !check.passed())
        .map(|check| check.name)
        .collect()
}

/// Breaks sound evidence, and expects exactly these checks to fail.
fn control(breaking: impl FnOnce(&mut Evidence), expected: &[&str]) {
    let mut evidence = sound();
    breaking(&mut evidence);
    assert_eq!(failing(&evidence), expected);
}

/// Inserts an event, and shows it to the subscriber too.
fn insert(evidence: &mut Evidence, at: usize, task: &str, step: Step) {
    evidence.log.insert(at, entry(0, task, step));
    renumber(evidence);
}

fn renumber(evidence: &mut Evidence) {
    let moved: HashMap<u64, u64> = evidence
        .log
        .iter()
        .map(|entry| entry.seq)
        .zip(1..)
        .collect();
    for (seq, entry) in (1..).zip(&mut evidence.log) {
        entry.seq = seq;
        if let Step::Dead {
            cancels_to: Some(last),
            ..
        } = &mut entry.step
        {
            *last = moved[last];
        }
    }
    evidence.before_crowd = moved[&evidence.before_crowd];
    evidence.streamed[0].events = evidence
        .log
        .iter()
        .filter(|e| e.seq > 2)
        .map(|e| (e.seq, e.step.name().into()))
        .collect();
}

#[test]
fn sound_evidence_passes_every_check() {
    for check in check(&sound()) {
        assert!(check.passed(), "{check}");
    }
}

#[test]
fn evidence_of_nothing_proves_nothing() {
    let checks = check(&Evidence::default());
    assert!(checks.iter().all(|check| !check.passed()));
}

#[test]
fn a_lost_task_is_reported() {
    control(
        |e| {
            let id = "c".into();
            e.told.push(Told::Accepted { key: None, id });
        },
        &["what was answered with 201 is in the log"],
    );
}

#[test]
fn a_task_without_end_is_reported() {
    control(
        |e| {
            e.log.remove(4);
            renumber(e);
            e.told
                .retain(|told| !matches!(told, Told::Cancelled { .. }));
            e.told.push(Told::Cancelled { id: "b".into() });
        },
        &[
            "every task has ended",
            "what was answered as cancelled is cancelled",
            "a task is listed as the log ends it",
        ],
    );
}

#[test]
fn a_double_end_is_reported() {
    control(
        |e| {
            insert(
                e,
                7,
                "a",
                Step::Succeeded {
                    attempt: 2,
                    status: 200,
                },
            );
        },
        &["no task ends twice"],
    );
    control(|e| insert(e, 5, "b", cancelled()), &["no task ends twice"]);
}

#[test]
fn an_attempt_after_the_end_is_reported() {
    control(
        |e| insert(e, 7, "a", Step::Started(3)),
        &["nothing is attempted after the end"],
    );
}

#[test]
fn a_gap_in_the_attempts_is_reported() {
    control(
        |e| {
            e.log[5].step = Step::Started(3);
            e.log[6].step = Step::Succeeded {
                attempt: 3,
                status: 200,
            };
            e.calls[1].attempt = 3;
        },
        &[
            "every task has ended",
            "attempts are numbered without gap and do not overlap",
            "a final status that was read stays",
            "a task reads as the log ends it",
            "a task is listed as the log ends it",
        ],
    );
}

#[test]
fn overlapping_attempts_are_reported() {
    control(
        |e| {
            e.log.swap(3, 5);
            renumber(e);
        },
        &[
            "every task has ended",
            "attempts are numbered without gap and do not overlap",
            "a final status that was read stays",
            "a task reads as the log ends it",
            "a task is listed as the log ends it",
        ],
    );
}

#[test]
fn a_second_creation_is_reported() {
    let again = created(None, false);
    control(
        |e| insert(e, 4, "b", again),
        &["a task begins with its creation, once"],
    );
}

#[test]
fn an_event_before_the_creation_is_reported() {
    control(
        |e| {
            e.log.swap(2, 4);
            renumber(e);
        },
        &[
            "a task begins with its creation, once",
            "every task has ended",
            "what was answered as cancelled is cancelled",
            "a task is listed as the log ends it",
        ],
    );
}

#[test]
fn a_key_that_makes_two_tasks_is_reported() {
    control(
        |e| {
            e.log[2].step = created(Some("k"), false);
            e.told[1] = Told::Accepted {
                key: Some("k".into()),
                id: "b".into(),
            };
        },
        &[
            "one idempotency key makes one task",
            "the same idempotency key is answered with the same task",
        ],
    );
}

#[test]
fn a_cancellation_that_did_not_happen_is_reported() {
    control(
        |e| e.told.push(Told::Cancelled { id: "a".into() }),
        &["what was answered as cancelled is cancelled"],
    );
}

#[test]
fn a_final_status_that_changes_is_reported() {
    let read = Told::Status {
        id: "a".into(),
        status: "failed".into(),
    };
    control(
        |e| e.told.push(read),
        &["a final status that was read stays"],
    );
}

#[test]
fn an_accepted_task_that_is_unknown_is_reported() {
    let read = Told::NotFound {
        id: "a".into(),
        told_ms: 100,
    };
    control(
        |e| e.told.push(read),
        &["an accepted task is never unknown"],
    );
}

#[test]
fn a_hang_and_an_internal_error_are_reported() {
    let name = "503 comes with Retry-After, and nothing hangs or breaks";
    let cases = [
        Told::NoAnswer {
            what: "create",
            waited_ms: 20_000,
        },
        Told::Odd {
            what: "list",
            status: 500,
            body: "{}".into(),
        },
        Told::Unavailable {
            what: "get",
            retry_after: false,
        },
    ];
    for case in cases {
        control(|e| e.told.push(case), &[name]);
    }
}

#[test]
fn a_call_that_was_never_started_is_reported() {
    control(
        |e| e.calls.push(call(9, "a", 3, 200)),
        &["no call is made before its start is in the log"],
    );
}

#[test]
fn a_call_before_its_start_is_reported() {
    control(
        |e| e.calls[1].time_us = 5_999,
        &["no call is made before its start is in the log"],
    );
}

#[test]
fn a_success_that_the_target_knows_nothing_of_is_reported() {
    control(
        |e| {
            e.calls.remove(1);
        },
        &["a task that succeeded was called and answered so"],
    );
}

#[test]
fn an_own_fault_that_costs_an_attempt_is_reported() {
    control(
        |e| {
            e.calls.remove(0);
        },
        &["an attempt that failed was seen by the target, or its worker was lost or at fault"],
    );
}

#[test]
fn a_planned_restart_that_loses_an_attempt_is_reported() {
    let lost = Step::AttemptFailed {
        attempt: 1,
        lost: true,
    };
    for (window, expected) in [
        ((3, 5), &["a restart that was planned loses no attempt"][..]),
        ((4, 8), &[][..]),
    ] {
        control(
            |e| {
                e.log[3].step = lost.clone();
                e.planned.push(Window {
                    after: window.0,
                    until: window.1,
                });
            },
            expected,
        );
    }
}

#[test]
fn an_attempt_that_arrives_late_is_reported_unless_its_worker_was_lost() {
    let late = call(7, "a", 1, 500);
    control(
        |e| e.calls.push(late.clone()),
        &["the attempts of a task arrive in order"],
    );
    control(
        |e| {
            e.calls.push(late);
            e.log[3].step = Step::AttemptFailed {
                attempt: 1,
                lost: true,
            };
        },
        &[],
    );
}

#[test]
fn a_webhook_that_is_forgotten_is_reported() {
    let name = "a completion webhook is delivered when the task has ended";
    control(
        |e| {
            e.log.remove(7);
            renumber(e);
        },
        &[name],
    );
    control(
        |e| {
            e.calls.remove(2);
        },
        &[name],
    );
}

#[test]
fn a_read_model_that_differs_is_reported() {
    control(
        |e| e.read[0].status = "failed".into(),
        &["a task reads as the log ends it"],
    );
    control(
        |e| e.listed[0].status = "failed".into(),
        &["a task is listed as the log ends it"],
    );
    control(
        |e| {
            e.listed.pop();
        },
        &["the list holds every task once"],
    );
}

#[test]
fn a_stream_with_a_gap_a_repeat_or_a_swap_is_reported() {
    let name = "a stream has every event once, in order, over all its connections";
    control(
        |e| {
            e.streamed[0].events.remove(2);
        },
        &[name],
    );
    control(
        |e| {
            let repeated = e.streamed[0].events[1].clone();
            e.streamed[0].events.insert(1, repeated);
        },
        &[name],
    );
    control(|e| e.streamed[0].events.swap(0, 1), &[name]);
    control(
        |e| {
            e.streamed[0].events.pop();
        },
        &[name],
    );
}

#[test]
fn a_secret_and_a_panic_in_the_output_are_reported() {
    control(
        |e| e.outputs[0].secrets.push("the API key"),
        &["no process prints a secret"],
    );
    control(
        |e| e.outputs[0].panics.push("thread 'main' panicked".into()),
        &["no process panics"],
    );
}
