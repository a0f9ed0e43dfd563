//! Which task is served when, and what ends a task.

use super::*;
use crate::dispatcher::append::APPEND_BYTES;

#[test]
fn a_task_is_called_once_and_ends() {
    let mut world = World::new();
    let id = world.create(|_| {});
    world.serve(10);
    assert_eq!(world.calls.len(), 1);
    assert_eq!((world.calls[0].task, world.calls[0].attempt), (id, 1));
    assert_eq!(world.calls[0].limit, Duration::from_secs(30));
    world.end_call(answered(200));
    assert_eq!(world.kinds(id), ["created", "started", "succeeded"]);
    assert_eq!(world.dispatcher.open(), 0);
}

#[test]
fn no_call_is_made_before_its_start_is_stored() {
    let mut world = World::new();
    world.create(|_| {});
    let mut actions = Vec::new();
    assert_eq!(world.dispatcher.fill(1, world.now, &mut actions), 1);
    assert_eq!(actions, []);
    assert!(world.dispatcher.begin_append(10).is_some());
    world.dispatcher.not_appended();
    assert!(!world.dispatcher.is_appending());
    world.append();
    assert_eq!(world.calls.len(), 1);
}

#[test]
fn failures_retry_after_growing_pauses_until_none_is_left() {
    let mut world = World::new();
    let id = world.create(|r| r.max_retries = Some(2));
    for pause in [1000, 2000] {
        world.serve(1);
        world.end_call(answered(500));
        world.pass(Duration::from_millis(pause - 1));
        world.serve(1);
        assert_eq!(world.calls, [], "not early");
        world.pass(Duration::from_millis(pause / 10 + 1));
    }
    world.serve(1);
    world.end_call(failed(FailureKind::Connect));
    assert_eq!(
        world.kinds(id),
        [
            "created",
            "started",
            "attempt_failed",
            "started",
            "attempt_failed",
            "started",
            "dead"
        ]
    );
}

#[test]
fn one_append_holds_no_more_than_the_log_takes_at_once() {
    let mut world = World::new();
    for _ in 0..200 {
        world.create(|_| {});
    }
    world.serve(200);
    for call in std::mem::take(&mut world.calls) {
        let answer = Outcome::Answered(Answer {
            status: 200,
            headers: vec![],
            body: "x".repeat(64 * 1024),
            encoding: BodyEncoding::Text,
            body_bytes: 64 * 1024,
            duration_ms: 1,
            header_bytes: None,
        });
        let now = world.now;
        world
            .dispatcher
            .attempt_ended(call.task, call.attempt, answer, now);
    }
    let mut appends = Vec::new();
    while let Some(decisions) = world.dispatcher.begin_append(usize::MAX) {
        let events: Vec<_> = decisions.iter().map(|d| d.event.clone()).collect();
        let bytes: usize = events.iter().map(|event| event.encode().len()).sum();
        assert!(bytes < APPEND_BYTES + 128 * 1024, "{bytes}");
        appends.push(events.len());
        let seqs: Vec<_> = events.into_iter().map(|event| world.store(event)).collect();
        world.dispatcher.appended(&seqs, &mut Vec::new());
    }
    assert_eq!(appends.iter().sum::<usize>(), 200);
    assert_eq!(appends.len(), 4, "{appends:?}");
}

#[test]
fn higher_priority_first_and_first_come_first_served_within_one() {
    let mut world = World::new();
    let low = world.create(|r| r.priority = Some(1));
    let first = world.create(|r| r.priority = Some(7));
    let second = world.create(|r| r.priority = Some(7));
    let high = world.create(|r| r.priority = Some(10));
    world.serve(10);
    let order: Vec<_> = world.calls.iter().map(|call| call.task).collect();
    assert_eq!(order, [high, first, second, low]);
}

#[test]
fn no_more_calls_than_slots() {
    let mut world = World::new();
    for _ in 0..5 {
        world.create(|_| {});
    }
    world.serve(2);
    assert_eq!(world.calls.len(), 2);
    assert_eq!(world.dispatcher.wanted_slots(), 3);
}

#[test]
fn a_delayed_task_starts_when_its_time_has_come() {
    let mut world = World::new();
    let at = world.now.wall.plus(Duration::from_secs(60));
    world.create(|r| r.delay_until = Some(at.to_rfc3339()));
    world.serve(1);
    assert_eq!(world.calls, []);
    assert_eq!(
        world.dispatcher.wake_in(world.now),
        Some(Duration::from_secs(60))
    );
    world.pass(Duration::from_secs(60));
    world.serve(1);
    assert_eq!(world.calls.len(), 1);
    assert_eq!(world.calls[0].waited, Duration::ZERO);
}

#[test]
fn a_task_ends_as_timeout_when_its_whole_time_has_passed() {
    let mut world = World::new();
    let id =
        world.create(|r| (r.expires_in, r.max_retries) = (Some(Length::Seconds(5.0)), Some(10)));
    world.serve(1);
    world.end_call(answered(503));
    world.pass(Duration::from_secs(2));
    world.serve(1);
    assert_eq!(
        world.calls[0].limit,
        Duration::from_secs(3),
        "no longer than what is left"
    );
    world.end_call(answered(503));
    world.pass(Duration::from_secs(3));
    assert_eq!(world.kinds(id).last(), Some(&"expired"));
    assert_eq!(world.dispatcher.open(), 0);
}

#[test]
fn an_exchange_that_runs_into_its_limit_uses_up_a_retry_and_the_last_one_is_a_timeout() {
    let mut world = World::new();
    let id = world.create(|r| r.max_retries = Some(1));
    world.serve(1);
    world.go_on(Duration::from_secs(30));
    world.end_call(failed(FailureKind::Timeout));
    world.pass(Duration::from_secs(2));
    world.serve(1);
    assert_eq!(
        world.calls[0].limit,
        Duration::from_secs(30),
        "pauses and the queue do not count"
    );
    world.end_call(failed(FailureKind::Timeout));
    assert_eq!(
        world.kinds(id),
        ["created", "started", "attempt_failed", "started", "dead"]
    );
    let Some(TaskEvent::Dead(dead)) = world.events(id).last().cloned() else {
        panic!("dead");
    };
    assert_eq!(dead.status(), crate::task::Status::Timeout);
}

#[test]
fn nothing_happens_after_a_deadline() {
    let mut world = World::new();
    let at = world.now.wall.plus(Duration::from_secs(40)).to_rfc3339();
    let id = world.create(|r| (r.deadline, r.max_retries) = (Some(at.clone()), Some(10)));
    world.serve(1);
    assert_eq!(world.calls[0].limit, Duration::from_secs(30));
    world.go_on(Duration::from_secs(30));
    world.end_call(failed(FailureKind::Timeout));
    world.pass(Duration::from_secs(2));
    world.serve(1);
    assert_eq!(world.calls[0].limit, Duration::from_secs(8), "what is left");
    world.go_on(Duration::from_secs(8));
    world.end_call(failed(FailureKind::Timeout));
    assert_eq!(world.kinds(id).last(), Some(&"expired"));
    // A waiting task ends at the date itself, even by a clock that was set forward.
    let at = world.now.wall.plus(Duration::from_secs(3_600)).to_rfc3339();
    let waiting = world.create(|r| r.deadline = Some(at));
    world.jump(3_600_000);
    world.pass(Duration::ZERO);
    assert_eq!(world.kinds(waiting).last(), Some(&"expired"));
}

#[test]
fn a_deadline_found_past_at_a_takeover_allows_no_further_attempt() {
    let mut world = World::new();
    let at = world.now.wall.plus(Duration::from_secs(60)).to_rfc3339();
    let id = world.create(|r| r.deadline = Some(at));
    world.jump(3_600_000);
    world.crash(None);
    world.serve(1);
    assert_eq!(world.calls, []);
    assert_eq!(world.kinds(id).last(), Some(&"expired"));
}

#[test]
fn an_answer_that_is_no_success_fails_the_task() {
    let mut world = World::new();
    let id = world.create(|r| r.success = Some("2xx,404".into()));
    world.serve(1);
    world.end_call(answered(403));
    assert_eq!(world.kinds(id).last(), Some(&"dead"));
    let missing = world.create(|r| r.success = Some("2xx,404".into()));
    world.serve(1);
    world.end_call(answered(404));
    let Some(TaskEvent::Succeeded(end)) = world.events(missing).last().cloned() else {
        panic!("succeeded");
    };
    assert!(end.is_ok(), "the rule says so");
    let plain = world.create(|_| {});
    world.serve(1);
    world.end_call(answered(404));
    let Some(TaskEvent::Succeeded(end)) = world.events(plain).last().cloned() else {
        panic!("succeeded");
    };
    assert!(
        !end.is_ok(),
        "completed by the contract's rule, and no success"
    );
}
