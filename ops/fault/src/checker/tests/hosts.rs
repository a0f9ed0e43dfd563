//! The part of the evidence that is about targets that do badly, and its negative controls.

use super::*;

const HELD: &str = "nothing starts at a host between the answer to its opening and its end";
const RESTS: &str = "at a host that its rule has opened nothing starts but a probe";
const PROBE: &str =
    "a probe comes no sooner than the pause after the last failure, and one at a time";
const SLOWED: &str =
    "when a target has paused a limit, nothing of the queue starts with it before that ends";

const SUCCEEDED: Step = Step::Succeeded {
    attempt: 1,
    status: 200,
};
const FAILED: Step = Step::Dead {
    attempt: 1,
    status: "failed",
    cancels_to: None,
};

fn at(host: &str) -> Step {
    Step::Created(Box::new(Request {
        queue: host.into(),
        host: host.into(),
        ..Request::default()
    }))
}

fn with_limit() -> Step {
    Step::Created(Box::new(Request {
        queue: "slow".into(),
        limits: vec!["slow".into()],
        ..Request::default()
    }))
}

/// `h` is opened by hand between `h1` and `h2`. `j1` to `j3` fail at the host that is judged; `j4` finds out that it does well again. The target of
/// `k1` pauses a limit.
pub(super) fn log(first: u64) -> Vec<Entry> {
    let mut log = Vec::new();
    let mut add = |at_ms: i64, task: &str, step: Step| {
        log.push(Entry {
            stored_ms: at_ms,
            at_ms,
            probe: task == "j4" && matches!(step, Step::Started(_)),
            ..entry(first + log.len() as u64, task, step)
        });
    };
    for (task, at_ms) in [("h1", 20_000), ("h2", 21_000)] {
        add(at_ms, task, at("h"));
        add(at_ms, task, Step::Started(1));
        add(at_ms, task, SUCCEEDED);
    }
    for (task, at_ms) in [("j1", 22_010), ("j2", 22_020), ("j3", 22_030)] {
        add(at_ms, task, at("j"));
        add(at_ms, task, Step::Started(1));
        add(at_ms, task, FAILED);
    }
    for (task, at_ms) in [("j4", 26_030), ("j5", 26_040)] {
        add(at_ms, task, at("j"));
        add(at_ms, task, Step::Started(1));
        add(at_ms, task, SUCCEEDED);
    }
    add(30_000, "k1", with_limit());
    add(30_001, "k1", Step::Started(1));
    add(
        30_002,
        "k1",
        Step::LimitPaused {
            key: "slow".into(),
            until_ms: 32_000,
        },
    );
    add(30_003, "k1", FAILED);
    add(32_001, "k2", with_limit());
    add(32_002, "k2", Step::Started(1));
    add(32_003, "k2", SUCCEEDED);
    log
}

/// Adds what clients, the target and the read models say about these tasks.
pub(super) fn add(evidence: &mut Evidence) {
    evidence.held.push(Held {
        host: "h".into(),
        span: Span {
            from_ms: 20_100,
            to_ms: 20_900,
        },
        has_end: false,
    });
    evidence.judged = Some(Judged {
        host: "j".into(),
        in_a_row: 3,
        pause_ms: 4_000,
        until_ms: 29_000,
    });
    for (task, at_ms) in [
        ("h1", 20_000),
        ("h2", 21_000),
        ("j4", 26_030),
        ("j5", 26_040),
        ("k2", 32_002),
    ] {
        evidence.calls.push(call(at_ms, task, 1, 200));
        evidence.listed.push(listed(task, "completed"));
    }
    for (task, at_ms) in [
        ("j1", 22_010),
        ("j2", 22_020),
        ("j3", 22_030),
        ("k1", 30_001),
    ] {
        evidence.calls.push(call(at_ms, task, 1, 503));
        evidence.listed.push(listed(task, "failed"));
    }
}

fn listed(id: &str, status: &str) -> Listed {
    Listed {
        id: id.into(),
        status: status.into(),
    }
}

/// The start of a task.
fn start<'a>(evidence: &'a mut Evidence, task: &str) -> &'a mut Entry {
    let mut of_task = evidence.log.iter_mut().filter(|entry| entry.task == task);
    let start = of_task.find(|entry| matches!(entry.step, Step::Started(_)));
    start.expect("a start")
}

/// Moves all that happens to a task.
fn happens_at(evidence: &mut Evidence, task: &str, at_ms: i64) {
    for entry in evidence.log.iter_mut().filter(|entry| entry.task == task) {
        (entry.at_ms, entry.stored_ms) = (at_ms, at_ms);
    }
    for call in evidence.calls.iter_mut().filter(|call| call.task == task) {
        call.time_us = at_ms.unsigned_abs() * 1_000;
    }
}

#[test]
fn a_start_at_a_host_that_is_opened_by_hand_is_reported() {
    control(|e| happens_at(e, "h2", 20_500), &[HELD]);
}

#[test]
fn a_start_at_a_host_that_rests_is_reported() {
    // As an ordinary attempt, long after its owner knew; soon after the failure, it may have been on its way. Without any probe, nothing is proved.
    control(
        |e| {
            start(e, "j4").probe = false;
        },
        &[RESTS, PROBE],
    );
    control(
        |e| {
            let start = start(e, "j4");
            (start.probe, start.at_ms) = (false, 22_500);
        },
        &[PROBE],
    );
}

#[test]
fn a_probe_that_comes_too_early_is_reported() {
    control(|e| start(e, "j4").at_ms = 25_000, &[PROBE]);
}

#[test]
fn a_second_probe_beside_the_first_is_reported() {
    control(
        |e| {
            start(e, "j5").probe = true;
            let end = e.log.iter().position(|entry| {
                entry.task == "j4" && matches!(entry.step, Step::Succeeded { .. })
            });
            // The first one ends when the second has begun.
            let end = e.log.remove(end.expect("an end"));
            let second = e
                .log
                .iter()
                .position(|entry| entry.task == "j5" && matches!(entry.step, Step::Started(_)));
            e.log.insert(second.expect("a start") + 1, end);
            renumber(e);
        },
        &[PROBE],
    );
}

#[test]
fn what_a_purge_has_made_a_worker_forget_is_no_case() {
    let mut evidence = sound();
    let start = start(&mut evidence, "j4");
    (start.probe, start.at_ms) = (false, 25_000);
    let (first, last) = (start.seq - 1, start.seq);
    evidence.purges.push(Purge { first, last });
    let checks = check(&evidence);
    let rests = checks.iter().find(|check| check.name == RESTS);
    assert_eq!(rests.expect("the check").violations, Vec::<String>::new());
}

#[test]
fn a_start_with_a_limit_that_its_target_has_paused_is_reported() {
    control(|e| happens_at(e, "k2", 31_000), &[SLOWED]);
}
