//! The part of the evidence that is about operations, and its negative controls.

use super::*;

const ONCE: &str = "an operation retries each of its dead letters, once";
const RATE: &str = "an operation takes no more tasks a second than it was told";
const UNDONE: &str = "a change of priorities reaches each task, and is undone for each";
const OFF: &str = "after it was called off an operation takes no more than one second's tasks, and what is left can be cancelled";

/// Dead letters and the tasks that do them again.
const LETTERS: [(&str, &str); 4] = [("o1", "n1"), ("o2", "n2"), ("o3", "n3"), ("o4", "n4")];
/// Tasks whose priorities are changed, and which are cancelled one by one.
const WAITING: [&str; 3] = ["w1", "w2", "w3"];

const FAILED: Step = Step::Dead {
    attempt: 1,
    status: "failed",
    cancels_to: None,
};

/// At one a second the letters are retried; the third task is cancelled after the operation was called off, and the last when that is allowed again.
pub(super) fn log(first: u64) -> Vec<Entry> {
    let mut log = Vec::new();
    let mut add = |at_ms: i64, task: &str, step: Step| {
        let seq = first + log.len() as u64;
        let (stored_ms, task) = (at_ms, task.to_owned());
        log.push(Entry {
            seq,
            stored_ms,
            at_ms,
            task,
            step,
            probe: false,
        });
    };
    for (letter, _) in LETTERS {
        add(1_000, letter, created(None, false));
        add(1_000, letter, Step::Started(1));
        add(1_000, letter, FAILED);
    }
    for ((letter, retry), second) in LETTERS.into_iter().zip(0_i64..) {
        let request = Request {
            again: Some(letter.into()),
            ..Request::default()
        };
        add(2_000 + second * 1_000, retry, Step::Created(request.into()));
        add(2_000 + second * 1_000, retry, cancelled());
    }
    for task in WAITING {
        add(10_000, task, created(None, false));
        add(11_000, task, Step::PriorityChanged { from: 3, to: 8 });
        add(12_000, task, Step::PriorityChanged { from: 8, to: 3 });
    }
    for (task, at_ms) in WAITING.into_iter().zip([13_000, 14_500, 16_000]) {
        add(at_ms, task, cancelled());
    }
    log
}

/// Adds what clients, the target and the read models say about these tasks.
pub(super) fn add(evidence: &mut Evidence) {
    let ids = WAITING.map(Into::into).to_vec();
    evidence.told.extend([
        Told::Retried {
            ids: LETTERS.map(|(letter, _)| letter.into()).to_vec(),
            rate: 1,
            asked_ms: 2_000,
            is_done: true,
        },
        Told::PrioritiesUndone {
            ids: WAITING.map(Into::into).to_vec(),
            priorities: (3, 8),
            is_done: true,
        },
        Told::CalledOff {
            ids,
            told_ms: 14_000,
            until_ms: 15_900,
            is_done: true,
        },
    ]);
    for (letter, retry) in LETTERS {
        evidence.calls.push(call(1_000, letter, 1, 500));
        evidence.listed.push(listed(letter, "failed"));
        evidence.listed.push(listed(retry, "cancelled"));
    }
    let waiting = WAITING.map(|id| listed(id, "cancelled"));
    evidence.listed.extend(waiting);
}

fn listed(id: &str, status: &str) -> Listed {
    Listed {
        id: id.into(),
        status: status.into(),
    }
}

/// The event of a task of that name, counted from 0.
fn event<'a>(evidence: &'a mut Evidence, task: &str, number: usize) -> &'a mut Entry {
    let mut events = evidence.log.iter_mut().filter(|entry| entry.task == task);
    events.nth(number).expect("such an event")
}

#[test]
fn a_letter_that_is_retried_never_or_twice_is_reported() {
    let again = |of: &str| {
        let request = Request {
            again: Some(of.into()),
            ..Request::default()
        };
        Step::Created(request.into())
    };
    control(|e| event(e, "n2", 0).step = again("a"), &[ONCE]);
    control(|e| event(e, "n2", 0).step = again("o1"), &[ONCE]);
}

#[test]
fn an_operation_that_is_too_fast_is_reported() {
    control(
        |e| {
            for retry in ["n2", "n3", "n4"] {
                event(e, retry, 0).stored_ms = 2_100;
            }
        },
        &[RATE],
    );
}

#[test]
fn a_priority_that_was_not_changed_or_not_undone_is_reported() {
    control(
        |e| event(e, "w2", 2).step = Step::PriorityChanged { from: 8, to: 8 },
        &[UNDONE],
    );
    control(
        |e| {
            e.log.retain(|entry| {
                entry.task != "w3" || !matches!(entry.step, Step::PriorityChanged { .. })
            });
            renumber(e);
        },
        &[UNDONE],
    );
}

#[test]
fn an_operation_that_goes_on_after_it_was_called_off_is_reported() {
    control(|e| event(e, "w3", 3).stored_ms = 15_500, &[OFF]);
}

#[test]
fn an_operation_that_is_never_completed_is_reported() {
    control(
        |e| {
            for told in &mut e.told {
                match told {
                    Told::Retried { is_done, .. }
                    | Told::PrioritiesUndone { is_done, .. }
                    | Told::CalledOff { is_done, .. } => *is_done = false,
                    _ => {}
                }
            }
        },
        &[ONCE, UNDONE, OFF],
    );
}
