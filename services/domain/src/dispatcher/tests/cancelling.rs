//! Cancellations at any moment.

use super::*;

#[test]
fn a_waiting_task_is_cancelled_at_once() {
    let mut world = World::new();
    let waiting = world.create(|_| {});
    assert_eq!(
        world.cancel(waiting),
        Some(OwnerReply::Done { seq: StreamSeq(2) })
    );
    assert_eq!(world.cancel(waiting), Some(OwnerReply::NotOpen));
    let running = world.create(|_| {});
    world.serve(1);
    world.end_call(answered(500));
    assert!(
        matches!(world.cancel(running), Some(OwnerReply::Done { .. })),
        "between two attempts it can be"
    );
    world.pass(Duration::from_secs(60));
    world.serve(1);
    assert_eq!(world.calls, []);
}

/// A task with a running attempt whose cancellation was requested, and that attempt.
fn to_be_cut_off(world: &mut World) -> (TaskId, Call) {
    let id = world.create(|r| r.max_retries = Some(3));
    world.serve(1);
    let requested = OwnerReply::Done { seq: StreamSeq(3) };
    assert_eq!(world.cancel(id), Some(requested));
    let again = OwnerReply::AlreadyRequested { seq: StreamSeq(3) };
    assert_eq!(world.cancel(id), Some(again), "it is requested once");
    (id, world.calls[0].clone())
}

#[test]
fn a_running_attempt_is_cut_off_and_its_task_is_cancelled() {
    let mut world = World::new();
    let (id, call) = to_be_cut_off(&mut world);
    assert_eq!(world.cut_off, [Running::attempt(id, 1)]);
    let now = world.now;
    world.dispatcher.attempt_released(id, call.attempt, now);
    world.append();
    assert_eq!(
        world.kinds(id),
        ["created", "started", "cancel_requested", "cancelled"]
    );
    let last = world.events(id).pop().and_then(TaskEvent::into_end);
    let Some(TaskEnd::Cancelled(end)) = last else {
        panic!("{last:?}");
    };
    assert_eq!((end.attempt, end.failure.as_ref()), (Some(1), None));
    assert_eq!(end.sentence().as_deref(), Some(TaskCancelled::CUT_OFF));
    assert_eq!(world.dispatcher.open(), 0);
}

#[test]
fn an_answer_before_the_cut_ends_the_task_as_it_would_have() {
    let mut world = World::new();
    let (id, _) = to_be_cut_off(&mut world);
    world.end_call(answered(200));
    assert_eq!(
        world.kinds(id),
        ["created", "started", "cancel_requested", "succeeded"]
    );
}

#[test]
fn no_retry_follows_a_request_to_cancel() {
    for crash in [false, true] {
        let mut world = World::new();
        let (id, _) = to_be_cut_off(&mut world);
        if crash {
            // The attempt is lost with its worker.
            world.crash(None);
        } else {
            world.end_call(answered(500));
        }
        let kinds = world.kinds(id);
        assert_eq!(kinds.last(), Some(&"cancelled"), "{crash}: {kinds:?}");
        let last = world.events(id).pop().and_then(TaskEvent::into_end);
        assert!(
            matches!(&last, Some(TaskEnd::Cancelled(end)) if end.failure.is_some()),
            "{last:?}"
        );
    }
}

#[test]
fn a_failure_decided_together_with_the_request_is_not_retried_either() {
    for snapshot in [false, true] {
        let mut world = World::new();
        let id = world.create(|r| r.max_retries = Some(3));
        world.serve(1);
        let call = world.calls.remove(0);
        let request = Cancel {
            task: id,
            team: World::team(),
            actor: Actor::System("test".into()),
            traceparent: None,
            ticket: Ticket(1),
            only_waiting: false,
        };
        let now = world.now;
        let mut actions = Vec::new();
        world.dispatcher.cancel(request, now, &mut actions);
        world
            .dispatcher
            .attempt_ended(id, call.attempt, answered(500), now);
        world.carry_out(actions);
        world.append();
        if snapshot {
            let bytes = world.dispatcher.snapshot().expect("nothing in flight");
            world.crash(Some(bytes));
        }
        world.pass(Duration::ZERO);
        assert_eq!(
            world.kinds(id),
            [
                "created",
                "started",
                "cancel_requested",
                "attempt_failed",
                "cancelled"
            ]
        );
    }
}

#[test]
fn an_answer_that_is_decided_first_wins_against_a_cancellation() {
    let mut world = World::new();
    let id = world.create(|_| {});
    world.serve(1);
    let call = world.calls.remove(0);
    world
        .dispatcher
        .attempt_ended(call.task, call.attempt, answered(200), world.now);
    assert_eq!(world.cancel(id), Some(OwnerReply::TryAgain));
    world.append();
    assert_eq!(world.cancel(id), Some(OwnerReply::NotOpen));
    assert_eq!(world.kinds(id), ["created", "started", "succeeded"]);
}

#[test]
fn another_teams_task_is_not_there() {
    let mut world = World::new();
    let id = world.create(|_| {});
    let mut actions = Vec::new();
    let request = Cancel {
        task: id,
        team: TeamId::new(START, 8),
        actor: Actor::System("test".into()),
        traceparent: None,
        ticket: Ticket(1),
        only_waiting: false,
    };
    world.dispatcher.cancel(request, world.now, &mut actions);
    assert_eq!(
        actions,
        [Action::Reply {
            ticket: Ticket(1),
            reply: OwnerReply::NotOpen
        }]
    );
}
