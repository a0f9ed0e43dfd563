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
