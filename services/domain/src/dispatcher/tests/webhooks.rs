//! Completion webhooks: delivered, retried, given up, and sent again.

use super::*;

#[test]
fn the_webhook_of_an_ended_task_is_sent_again_when_somebody_asks() {
    let mut world = World::new();
    let id = world.create(|r| r.on_complete_url = Some("http://hook/".into()));
    world.serve(1);
    world.end_call(answered(200));
    world.serve(1);
    world.end_delivery(&answered(200));
    assert_eq!(world.dispatcher.open(), 0, "delivered and forgotten");
    for crash in [false, true] {
        assert!(matches!(world.redeliver(id), Some(OwnerReply::Done { .. })));
        if crash {
            world.crash(None);
        }
        world.serve(1);
        assert_eq!(world.deliveries.len(), 1, "crash: {crash}");
        assert_eq!(world.deliveries[0].number, 1);
        assert_eq!(
            world.redeliver(id),
            Some(OwnerReply::TryAgain),
            "it is being delivered"
        );
        world.end_delivery(&answered(200));
        assert_eq!(world.dispatcher.open(), 0);
    }
}

#[test]
fn completion_webhooks_are_delivered_with_retries_and_given_up_in_the_end() {
    let mut world = World::new();
    let id = world.create(|r| r.on_complete_url = Some("http://hook/".into()));
    world.serve(1);
    world.end_call(answered(200));
    let mut deliveries = 0;
    let ended = world.now.wall;
    let mut last = ended;
    while world.dispatcher.open() == 1 {
        world.serve(1);
        let delivery = world.deliveries.pop().expect("a delivery");
        deliveries += 1;
        assert_eq!(
            (delivery.number, delivery.ended),
            (deliveries, StreamSeq(3))
        );
        last = world.now.wall;
        world
            .dispatcher
            .delivery_ended(id, delivery.number, &answered(500), world.now);
        world.append();
        if let Some(pause) = world.dispatcher.wake_in(world.now) {
            world.pass(pause);
        }
    }
    let hours = last.since(ended).as_secs() / 3_600;
    assert!(
        (27..31).contains(&hours),
        "a receiver may be down for a night: {hours} h"
    );
    assert_eq!(world.given_up, 1);
    assert_eq!(deliveries, 8);
    assert_eq!(world.kinds(id).last(), Some(&"callback_failed"));
}

#[test]
fn a_delivery_survives_its_owner() {
    let mut world = World::new();
    let id = world.create(|r| r.on_complete_url = Some("http://hook/".into()));
    world.serve(1);
    world.end_call(answered(200));
    world.serve(1);
    world.crash(None);
    world.serve(1);
    assert_eq!(world.deliveries.len(), 1);
    world
        .dispatcher
        .delivery_ended(id, 1, &answered(204), world.now);
    world.append();
    assert_eq!(world.kinds(id).last(), Some(&"callback_sent"));
    assert_eq!(world.dispatcher.open(), 0);
}

#[test]
fn a_delivery_that_the_worker_cannot_make_is_put_off_and_counts_for_nothing() {
    let mut world = World::new();
    let id = world.create(|r| r.on_complete_url = Some("http://hook/".into()));
    world.serve(1);
    world.end_call(answered(200));
    for _ in 0..20 {
        world.serve(1);
        let delivery = world.deliveries.remove(0);
        assert_eq!(delivery.number, 1);
        world.dispatcher.delivery_ended(
            delivery.task,
            delivery.number,
            &failed(FailureKind::WorkerFault),
            world.now,
        );
        world.append();
        world.serve(1);
        assert!(world.deliveries.is_empty(), "not at once");
        world.pass(Duration::from_secs(11));
    }
    assert_eq!(world.kinds(id), ["created", "started", "succeeded"]);
}

/// Answers one delivery after the other; the pause before the next one, in whole seconds.
fn pauses_after(world: &mut World, id: TaskId, answers: &[Outcome]) -> Vec<Option<u64>> {
    let mut pauses = Vec::new();
    for answer in answers {
        world.serve(1);
        world.end_delivery(answer);
        let events = world.events(id);
        let Some(TaskEvent::CallbackFailed(failed)) = events.last() else {
            panic!("a delivery failed: {events:?}");
        };
        let at = world.now.wall;
        let pause = failed.retry_at.map(|retry_at| retry_at.since(at));
        pauses.push(pause.map(|pause| pause.as_secs()));
        world.pass(pause.unwrap_or_default());
    }
    pauses
}

#[test]
fn a_receiver_may_lengthen_the_pause_before_the_next_delivery_and_not_shorten_it() {
    let mut world = World::new();
    let id = world.create(|r| r.on_complete_url = Some("http://hook/".into()));
    world.serve(1);
    world.end_call(answered(200));
    let wants = |status, pause| answered_with(status, &[("Retry-After", pause)]);
    let answers = [
        wants(503, "120"),
        wants(429, "1"),
        wants(503, "90000"),
        wants(503, "90000"),
        wants(503, "soon"),
    ];
    let pauses = pauses_after(&mut world, id, &answers);
    // An hour is the longest that is heeded. Each has up to a tenth on top.
    let least = [120, 300, 3_600, 7_200, 18_000];
    assert_eq!(pauses.len(), least.len());
    for (pause, least) in pauses.into_iter().zip(least) {
        let pause = pause.expect("another delivery");
        assert!((least..=least + least / 10).contains(&pause), "{pause} s");
    }
    let gone = pauses_after(&mut world, id, &[wants(410, "60")]);
    assert_eq!(gone, [None], "it wants no further deliveries");
}

#[test]
fn a_team_decides_how_often_and_when_its_webhooks_are_delivered() {
    let mut world = World::new();
    let id = world.create_with(
        |request| request.on_complete_url = Some("http://hook/".into()),
        |created| created.webhook_pauses = vec![1, 2],
    );
    world.serve(1);
    world.end_call(answered(200));
    let answers = [answered(500), answered(500), answered(500)];
    let pauses = pauses_after(&mut world, id, &answers);
    assert_eq!(pauses, [Some(1), Some(2), None]);
    assert_eq!(world.given_up, 1);
    world.serve(1);
    assert!(world.deliveries.is_empty(), "there is no fourth");
    let failures = world.kinds(id);
    let failures = failures.iter().filter(|kind| **kind == "callback_failed");
    assert_eq!(failures.count(), 3);
}
