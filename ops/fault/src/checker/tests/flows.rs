//! The part of the evidence that is about workflows, and its negative controls.

use super::super::evidence::Member;
use super::*;

const WHOLE: &str = "the tasks of a workflow are all made, or none";
const STORED: &str = "a workflow that was answered with 201 is in the log";
const AFTER: &str = "a task of a workflow runs after those that it waits for have completed";
const NEVER: &str = "a task of a workflow is cancelled because of others just if it can never run";
const OFF: &str = "nothing of a workflow starts once its cancellation is answered";
const AGAIN: &str =
    "a retry of a workflow makes again what failed and what was cancelled because of it";

/// A task of a workflow. Its name is its id without the number of the retry.
fn member(flow: &str, id: &str, (of, retry): (u16, u16), after: &[&str], any: bool) -> Step {
    Step::Created(Box::new(Request {
        queue: "w".into(),
        member: Some(Member {
            workflow: flow.into(),
            name: id.trim_end_matches('\'').into(),
            of,
            retry,
            after: after.iter().map(|id| (*id).into()).collect(),
            any,
        }),
        ..Request::default()
    }))
}

fn because_of_others() -> Step {
    Step::Cancelled {
        attempt: None,
        after: None,
        instead: None,
        predecessor: true,
    }
}

/// Of `flow`, `fa` completes and `fb` fails: `fc` runs after either, `fd` never after both, and `fe` not after that. It is retried. `off` is cancelled.
pub(super) fn log(first: u64) -> Vec<Entry> {
    let failed = || Step::Dead {
        attempt: 1,
        status: "failed",
        cancels_to: None,
    };
    let done = || Step::Succeeded {
        attempt: 1,
        status: 200,
    };
    let of = |id, after: &[&str], any| (id, member("flow", id, (5, 0), after, any));
    let again = |id, after: &[&str]| (id, member("flow", id, (3, 1), after, false));
    let steps = [
        of("fa", &[], false),
        of("fb", &[], false),
        of("fc", &["fa", "fb"], true),
        of("fd", &["fa", "fb"], false),
        of("fe", &["fd"], false),
        ("fa", Step::Started(1)),
        ("fa", done()),
        ("fb", Step::Started(1)),
        ("fc", Step::Started(1)),
        ("fb", failed()),
        ("fd", because_of_others()),
        ("fe", because_of_others()),
        ("fc", done()),
        again("fb'", &[]),
        again("fd'", &["fb'"]),
        again("fe'", &["fd'"]),
        ("fb'", Step::Started(1)),
        ("fb'", done()),
        ("fd'", Step::Started(1)),
        ("fd'", done()),
        ("fe'", Step::Started(1)),
        ("fe'", done()),
        ("oa", member("off", "oa", (2, 0), &[], false)),
        ("ob", member("off", "ob", (2, 0), &["oa"], false)),
        ("oa", Step::Started(1)),
        ("oa", done()),
        ("ob", cancelled()),
    ];
    let entries = (first..).zip(steps);
    entries
        .map(|(seq, (id, step))| entry(seq, id, step))
        .collect()
}

/// Adds what clients, the target and the read models say about these tasks.
pub(super) fn add(evidence: &mut Evidence) {
    let (mut calls, mut told_ms) = (Vec::new(), 0);
    for entry in &evidence.log {
        let is_here = ["fa", "fb", "fc", "fb'", "fd'", "fe'", "oa"].contains(&entry.task.as_str());
        if is_here && entry.step == Step::Started(1) {
            let status = if entry.task == "fb" { 500 } else { 200 };
            calls.push(call(entry.seq, &entry.task, 1, status));
        }
        if entry.task == "ob" {
            told_ms = entry.stored_ms;
        }
    }
    evidence.calls.extend(calls);
    let completed = ["fa", "fc", "fb'", "fd'", "fe'", "oa"].map(|id| (id, "completed"));
    let cancelled = ["fd", "fe", "ob"].map(|id| (id, "cancelled"));
    let ends = completed.into_iter().chain(cancelled);
    let ends = ends.chain([("fb", "failed")]);
    evidence.listed.extend(ends.map(|(id, status)| Listed {
        id: id.into(),
        status: status.into(),
    }));
    let flow = |id: &str, tasks| Told::Flow {
        id: id.into(),
        tasks,
    };
    evidence.told.extend([
        flow("flow", 5),
        flow("off", 2),
        Told::FlowRetried { id: "flow".into() },
        Told::FlowCancelled {
            id: "off".into(),
            told_ms,
        },
    ]);
}

/// Changes what the creation of a task says.
fn created_as(evidence: &mut Evidence, id: &str, change: impl FnOnce(&mut Member)) {
    let mut log = evidence.log.iter_mut();
    let created = log.find(|entry| entry.task == id).expect("created");
    if let Step::Created(request) = &mut created.step {
        change(request.member.as_mut().expect("a member"));
    }
}

fn step<'a>(evidence: &'a mut Evidence, id: &str, number: usize) -> &'a mut Entry {
    let mut log = evidence.log.iter_mut().filter(|entry| entry.task == id);
    log.nth(number).expect("a step")
}

#[test]
fn a_workflow_of_which_a_part_is_missing_is_reported() {
    control(
        |e| {
            for id in ["fa", "fb", "fc", "fd", "fe"] {
                created_as(e, id, |member| member.of = 6);
            }
        },
        &[WHOLE],
    );
    control(
        |e| created_as(e, "fc", |member| member.name = "fa".into()),
        &[WHOLE],
    );
    control(
        |e| {
            e.told.push(Told::Flow {
                id: "lost".into(),
                tasks: 1,
            });
        },
        &[STORED],
    );
}

#[test]
fn a_task_that_runs_too_early_is_reported() {
    // One of two has completed: enough for either, not for both.
    control(
        |e| created_as(e, "fc", |member| member.any = false),
        &[AFTER, NEVER],
    );
    control(
        |e| created_as(e, "fc", |member| member.after = vec!["fb".into()]),
        &[AFTER, NEVER],
    );
    control(
        |e| created_as(e, "fe'", |member| member.after = vec!["nobody".into()]),
        &[AFTER],
    );
}

#[test]
fn a_task_that_is_cancelled_without_need_is_reported_and_one_that_fails_instead() {
    control(
        |e| created_as(e, "fd", |member| member.any = true),
        &[NEVER],
    );
    // By itself, it had been for nobody to retry.
    control(|e| step(e, "fd", 1).step = cancelled(), &[AGAIN]);
}

#[test]
fn a_start_after_the_cancellation_is_reported() {
    control(
        |e| {
            for told in &mut e.told {
                if let Told::FlowCancelled { told_ms, .. } = told {
                    *told_ms -= 3;
                }
            }
        },
        &[OFF],
    );
}

#[test]
fn a_retry_of_too_little_and_of_too_much_is_reported() {
    control(
        |e| {
            for id in ["fb'", "fd'"] {
                created_as(e, id, |member| member.of = 2);
            }
            created_as(e, "fe'", |member| {
                member.workflow = "another".into();
                (member.of, member.after) = (1, Vec::new());
            });
        },
        &[AGAIN],
    );
    control(
        |e| created_as(e, "fe'", |member| member.name = "fa".into()),
        &[AGAIN],
    );
}
