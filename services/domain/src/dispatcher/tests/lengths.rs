//! Lengths of time while the wall clock jumps, and across takeovers.

use super::*;

const HOUR_MS: i64 = 3_600_000;

/// A task that has failed once and pauses before its second attempt.
fn a_pausing_task(world: &mut World) -> TaskId {
    let id = world.create(|r| r.expires_in = Some(Length::Seconds(60.0)));
    world.serve(1);
    world.end_call(answered(500));
    id
}

#[test]
fn a_clock_that_jumps_neither_holds_nor_ends_a_task() {
    for jump in [-HOUR_MS, HOUR_MS] {
        let mut world = World::new();
        let id = a_pausing_task(&mut world);
        world.jump(jump);
        world.pass(Duration::from_millis(900));
        world.serve(1);
        assert_eq!(world.calls, [], "not early ({jump})");
        world.pass(Duration::from_millis(300));
        world.serve(1);
        assert_eq!(world.calls.len(), 1, "a pause of a second ({jump})");
        let limit = world.calls[0].limit;
        assert_eq!(limit, Duration::from_secs(30), "{jump}");
        world.end_call(answered(200));
        assert_eq!(world.kinds(id).last(), Some(&"succeeded"), "{jump}");
    }
}

#[test]
fn a_clock_that_jumps_does_not_move_the_end_of_a_life() {
    for jump in [-HOUR_MS, HOUR_MS] {
        let mut world = World::new();
        let id = world.create(|r| {
            (r.expires_in, r.max_retries) = (Some(Length::Seconds(5.0)), Some(10));
        });
        world.serve(1);
        world.jump(jump);
        world.end_call(answered(500));
        world.pass(Duration::from_secs(2));
        world.serve(1);
        assert_eq!(world.calls[0].limit, Duration::from_secs(3), "{jump}");
        world.end_call(answered(500));
        world.pass(Duration::from_millis(2_900));
        assert_ne!(world.kinds(id).last(), Some(&"expired"), "{jump}");
        world.pass(Duration::from_millis(100));
        assert_eq!(world.kinds(id).last(), Some(&"expired"), "{jump}");
    }
}

#[test]
fn a_date_that_a_client_gave_is_by_the_wall_clock() {
    let mut world = World::new();
    let at = world.now.wall.plus(Duration::from_secs(3_600));
    world.create(|r| r.delay_until = Some(at.to_rfc3339()));
    world.jump(HOUR_MS);
    world.serve(1);
    assert_eq!(world.calls.len(), 1);
}

#[test]
fn after_a_takeover_a_pause_is_never_longer_than_it_was() {
    for (jump, waits) in [(-HOUR_MS, true), (0, true), (HOUR_MS, false)] {
        let mut world = World::new();
        a_pausing_task(&mut world);
        world.jump(jump);
        world.crash(None);
        world.serve(1);
        assert_eq!(world.calls.is_empty(), waits, "{jump}");
        world.pass(Duration::from_millis(1_200));
        world.serve(1);
        assert_eq!(world.calls.len(), 1, "{jump}");
    }
}

#[test]
fn a_pause_in_a_snapshot_is_a_length_too() {
    let mut world = World::new();
    a_pausing_task(&mut world);
    let snapshot = world.dispatcher.snapshot();
    world.jump(-HOUR_MS);
    world.crash(snapshot);
    world.pass(Duration::from_millis(1_200));
    world.serve(1);
    assert_eq!(world.calls.len(), 1);
}

#[test]
fn an_overrun_found_at_a_takeover_allows_one_more_attempt_and_no_other() {
    let mut world = World::new();
    let id = a_pausing_task(&mut world);
    world.jump(HOUR_MS);
    world.crash(None);
    world.serve(1);
    assert_eq!(world.calls.len(), 1, "{:?}", world.kinds(id));
    let limit = world.calls[0].limit;
    assert_eq!(limit, Duration::from_secs(30), "with all of its time");
    world.end_call(answered(500));
    assert_eq!(
        world.kinds(id),
        ["created", "started", "attempt_failed", "started", "expired"]
    );
}

#[test]
fn timers_go_with_their_tasks() {
    let mut world = World::new();
    let at = world.now.wall.plus(Duration::from_secs(3_600)).to_rfc3339();
    let delayed: Vec<_> = (0..20)
        .map(|_| world.create(|r| r.delay_until = Some(at.clone())))
        .collect();
    let pausing = a_pausing_task(&mut world);
    assert!(world.dispatcher.wake_in(world.now).is_some());
    for id in delayed.into_iter().chain([pausing]) {
        assert!(matches!(world.cancel(id), Some(OwnerReply::Done { .. })));
    }
    assert_eq!(world.dispatcher.wake_in(world.now), None);
}
