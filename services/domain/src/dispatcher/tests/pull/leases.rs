//! What a lease is worth, and what its holder may report.

use super::*;
use crate::task::Settled;
use crate::task::history::settled;

#[test]
fn a_claimed_task_is_started_before_the_claim_is_answered_and_ends_as_reported() {
    let mut world = World::new();
    let id = world.create_pulled(|_| {});
    let ticket = world.claim_as("w", &["default"], 5, Duration::ZERO, LEASE);
    let mut actions = Vec::new();
    world.dispatcher.serve_claims(world.now, &mut actions);
    assert!(
        actions.is_empty(),
        "nothing is answered before it is stored"
    );
    world.append();
    assert_eq!(world.got(ticket), Some(vec![id]));
    assert!(world.calls.is_empty(), "nothing is called");
    let lease = world.claimed[&ticket][0];
    assert_eq!(reported(&world.report(lease, completes())), Some(false));
    assert_eq!(world.kinds(id), ["created", "started", "succeeded"]);
    assert_eq!(world.dispatcher.open(), 0);
}

#[test]
fn a_lease_that_runs_out_uses_up_a_retry_and_its_holder_changes_nothing_any_more() {
    let mut world = World::new();
    let id = world.create_pulled(|task| task.max_retries = Some(1));
    let first = world.claim_one();
    world.pass(Duration::from_millis(u64::from(LEASE) - 1));
    assert_eq!(world.kinds(id), ["created", "started"]);
    let wake = world.dispatcher.wake_in(world.now);
    assert_eq!(
        wake,
        Some(Duration::from_millis(1)),
        "it is looked at in time"
    );
    world.pass(Duration::from_millis(1));
    assert_eq!(world.kinds(id), ["created", "started", "attempt_failed"]);
    for what in [completes(), fails(), report(4), report(5), lives()] {
        let log = world.log.len();
        assert_eq!(world.report(first, what), OwnerReply::LeaseLost);
        assert_eq!(world.log.len(), log, "nothing is stored");
    }
    world.ready_again();
    let second = world.claim_one();
    assert_eq!(second.attempt, 2);
    assert_eq!(world.report(first, completes()), OwnerReply::LeaseLost);
    world.pass(Duration::from_millis(LEASE.into()));
    assert_eq!(
        world.kinds(id),
        ["created", "started", "attempt_failed", "started", "dead"]
    );
    assert_eq!(world.report(second, completes()), OwnerReply::NotOpen);
}

#[test]
fn heartbeats_extend_a_lease_by_its_length_from_then_on() {
    let mut world = World::new();
    let id = world.create_pulled(|_| {});
    let lease = world.claim_one();
    for _ in 0..5 {
        world.pass(Duration::from_millis(u64::from(LEASE) - 1));
        let reply = world.report(lease, lives());
        assert!(matches!(
            reply,
            OwnerReply::Extended {
                lease_ms: LEASE,
                ..
            }
        ));
    }
    world.pass(Duration::from_millis(LEASE.into()));
    assert_eq!(world.kinds(id).last(), Some(&"attempt_failed"));
}

#[test]
fn a_heartbeat_that_waits_for_the_log_keeps_the_lease_and_lets_its_task_end() {
    let mut world = World::new();
    let id = world.create_pulled(|_| {});
    let lease = world.claim_one();
    world.go_on(Duration::from_millis(u64::from(LEASE) - 1));
    let ticket = world.report_unstored(lease, lives());
    world.go_on(Duration::from_secs(1));
    world.dispatcher.tick(world.now);
    world.report_unstored(lease, completes());
    world.append();
    world.append();
    assert!(matches!(
        world.replies[&ticket],
        OwnerReply::Extended { .. }
    ));
    assert_eq!(
        world.kinds(id),
        ["created", "started", "progressed", "succeeded"]
    );
}

#[test]
fn a_report_that_is_repeated_is_answered_as_the_first() {
    for hook in [false, true] {
        for (what, kind, retries) in [
            (completes(), "succeeded", false),
            (fails(), "attempt_failed", true),
            (report(4), "dead", false),
            (report(5), "released", true),
        ] {
            let mut world = World::new();
            let id = world.create_pulled(|task| {
                task.on_complete_url = hook.then(|| "http://hook/".into());
            });
            let lease = world.claim_one();
            let first = world.report(lease, what.clone());
            assert_eq!(reported(&first), Some(retries), "{kind}");
            let log = world.log.len();
            let again = world.report(lease, what.clone());
            let row = world.row(id);
            if retries || hook {
                assert_eq!(reported(&again), Some(retries), "{kind}");
            } else {
                assert_eq!(again, OwnerReply::NotOpen, "the row tells: {kind}");
            }
            assert_eq!(settled(&row.attempts, 1), what.settles(), "{kind}");
            assert_eq!(world.log.len(), log);
            let other = if kind == "succeeded" {
                fails()
            } else {
                completes()
            };
            let reply = world.report(lease, other);
            assert!(reported(&reply).is_none(), "{kind}: {reply:?}");
            if retries {
                world.ready_again();
                world.claim_one();
                assert_eq!(reported(&world.report(lease, what)), Some(true));
            }
        }
    }
}

#[test]
fn what_is_given_back_is_offered_at_once_and_uses_up_no_retry() {
    let mut world = World::new();
    let id = world.create_pulled(|task| task.max_retries = Some(0));
    for attempt in 1..=5 {
        let lease = world.claim_one();
        assert_eq!(lease.attempt, attempt);
        world.report(lease, WorkerReport::Release);
    }
    let row = world.row(id);
    assert_eq!(row.retry_count, 0);
    let lease = world.claim_one();
    assert_eq!(reported(&world.report(lease, completes())), Some(false));
    let row = world.row(id);
    assert_eq!(settled(&row.attempts, 5), Some(Settled::Released));
    assert_eq!(settled(&row.attempts, 6), Some(Settled::Completed));
    assert_eq!(row.lease_until, None);
}

#[test]
fn a_cancelled_task_ends_at_once_and_its_worker_has_lost_it() {
    let mut world = World::new();
    let id = world.create_pulled(|_| {});
    let lease = world.claim_one();
    assert!(matches!(world.cancel(id), Some(OwnerReply::Done { .. })));
    assert!(world.cut_off.is_empty(), "there is no call");
    world.pass(Duration::ZERO);
    assert_eq!(
        world.kinds(id),
        ["created", "started", "cancel_requested", "cancelled"]
    );
    assert_eq!(world.report(lease, completes()), OwnerReply::NotOpen);
}

#[test]
fn no_lease_lasts_longer_than_its_task() {
    let mut world = World::new();
    let id = world.create_pulled(|task| task.expires_in = Some(Length::Seconds(4.0)));
    let lease = world.claim_one();
    assert_eq!(lease.lease_ms, 4_000);
    world.pass(Duration::from_secs(3));
    let reply = world.report(lease, lives());
    assert!(matches!(
        reply,
        OwnerReply::Extended {
            lease_ms: 1_000,
            ..
        }
    ));
    world.pass(Duration::from_secs(1));
    assert_eq!(world.kinds(id).last(), Some(&"expired"));
}

#[test]
fn the_next_owner_waits_for_what_is_left_of_a_lease() {
    for restated in [false, true] {
        for snapshot in [false, true] {
            let mut world = World::new();
            let id = world.create_pulled(|_| {});
            let lease = world.claim_one();
            world.pass(Duration::from_secs(3));
            world.report(lease, lives());
            if restated {
                world.restate(1);
                world.append();
                world.purge();
            }
            let bytes = world.dispatcher.snapshot().filter(|_| snapshot);
            world.go_on(Duration::from_secs(4));
            world.crash(bytes);
            world.pass(Duration::from_millis(5_999));
            let reply = world.report(lease, lives());
            assert!(matches!(reply, OwnerReply::Extended { .. }), "{reply:?}");
            world.crash(None);
            assert_eq!(reported(&world.report(lease, completes())), Some(false));
            assert_eq!(world.kinds(id).last(), Some(&"succeeded"));
        }
    }
}

#[test]
fn a_lease_that_ran_out_while_nobody_owned_the_partition_uses_up_no_retry() {
    let mut world = World::new();
    let id = world.create_pulled(|task| task.max_retries = Some(0));
    let lease = world.claim_one();
    world.go_on(Duration::from_millis(LEASE.into()));
    world.crash(None);
    assert_eq!(world.report(lease, completes()), OwnerReply::LeaseLost);
    world.pass(Duration::from_secs(3));
    let lease = world.claim_one();
    assert_eq!(reported(&world.report(lease, completes())), Some(false));
    assert_eq!(world.row(id).retry_count, 0);
}

#[test]
fn a_completion_of_which_nobody_knows_whether_it_is_stored_is_not_forgotten() {
    for landed in [false, true] {
        let mut world = World::new();
        let id = world.create_pulled(|_| {});
        let lease = world.claim_one();
        world.report_unstored(lease, completes());
        let decided = world.dispatcher.begin_append(10).expect("a decision");
        if landed {
            let event = decided[0].event.clone();
            world.store(event);
        }
        let results = std::mem::take(&mut world.dispatcher).into_unstored();
        let mut next = Dispatcher::new();
        for (at, event) in world.log.iter().enumerate() {
            next.apply(StreamSeq(at as u64 + 1), None, event);
        }
        next.activate(world.now, &HashSet::new(), results, &mut Vec::new());
        world.dispatcher = next;
        world.append();
        assert_eq!(world.kinds(id), ["created", "started", "succeeded"]);
    }
}

#[test]
fn progress_is_shown_until_the_next_attempt() {
    let mut world = World::new();
    let id = world.create_pulled(|_| {});
    let lease = world.claim_one();
    assert_eq!(world.row(id).attempts[0].worker.as_deref(), Some("w"));
    assert!(world.row(id).lease_until.is_some());
    world.report(lease, report(6));
    let shown = world.row(id).progress.map(|progress| progress.percent);
    assert_eq!(shown, Some(40));
    world.report(lease, WorkerReport::Release);
    world.claim_one();
    assert_eq!(world.row(id).progress, None);
}

#[test]
fn rows_of_claimed_tasks_are_the_same_from_a_restatement_on() {
    let mut world = World::new();
    let id = world.create_pulled(|_| {});
    let lease = world.claim_one();
    world.pass(Duration::from_secs(1));
    world.report(lease, report(6));
    world.pass(Duration::from_secs(1));
    world.report(lease, lives());
    let before = world.row(id);
    world.restate(1);
    world.append();
    let after = world.row(id);
    let of = |row: &TaskRow| {
        (
            row.lease_until,
            row.progress.clone(),
            row.attempts.clone(),
            row.updated_at,
        )
    };
    assert_eq!(of(&before), of(&after));
}

#[test]
fn who_is_limited_to_other_queues_reports_nothing() {
    let mut world = World::new();
    let id = world.create_pulled(|_| {});
    let lease = world.claim_one();
    let other = QueueName::parse("other").expect("a name");
    for (only, reply) in [
        (vec![other.clone()], Some(OwnerReply::NotOpen)),
        (vec![other, QueueName::default()], None),
    ] {
        world.tickets += 1;
        let ticket = Ticket(world.tickets);
        let mut actions = Vec::new();
        let report = Report {
            task: lease.task,
            attempt: lease.attempt,
            team: World::team(),
            what: completes(),
            actor: Actor::System("test".into()),
            only,
            holder: None,
            ticket,
        };
        world.dispatcher.report(report, world.now, &mut actions);
        world.carry_out(actions);
        assert_eq!(world.replies.get(&ticket), reply.as_ref());
    }
    world.append();
    assert_eq!(world.kinds(id).last(), Some(&"succeeded"));
}

#[test]
fn a_report_that_names_its_worker_counts_once_and_for_the_holder_only() {
    let mut world = World::new();
    let id = world.create_pulled(|_| {});
    let lease = world.claim_one();
    for (holder, reply) in [
        ("another", Some(OwnerReply::LeaseLost)),
        // It is answered when it is stored.
        ("w", None),
    ] {
        let ticket = named_report(&mut world, lease, holder, fails());
        assert_eq!(world.replies.get(&ticket), reply.as_ref(), "{holder}");
    }
    world.append();
    assert_eq!(
        world.kinds(id),
        ["created", "started", "attempt_failed"],
        "the report of another changed nothing"
    );
    // Without a name it would be answered as it was then.
    let ticket = named_report(&mut world, lease, "w", fails());
    assert_eq!(world.replies.get(&ticket), Some(&OwnerReply::LeaseLost));
    assert_eq!(world.kinds(id).len(), 3);
}

/// A report of a worker that says who it is.
fn named_report(
    world: &mut World,
    lease: LeaseGranted,
    holder: &str,
    what: WorkerReport,
) -> Ticket {
    world.tickets += 1;
    let ticket = Ticket(world.tickets);
    let mut actions = Vec::new();
    let report = Report {
        task: lease.task,
        attempt: lease.attempt,
        team: World::team(),
        what,
        actor: Actor::System("test".into()),
        only: Vec::new(),
        holder: Some(holder.to_owned()),
        ticket,
    };
    world.dispatcher.report(report, world.now, &mut actions);
    world.carry_out(actions);
    ticket
}

#[test]
fn a_claim_of_one_team_is_none_of_another() {
    let mut world = World::new();
    let id = world.create_pulled(|_| {});
    let lease = world.claim_one();
    let stranger = TeamId::new(START, 8);
    for number in 0..8 {
        world.tickets += 1;
        let ticket = Ticket(world.tickets);
        let mut actions = Vec::new();
        let report = Report {
            task: lease.task,
            attempt: lease.attempt,
            team: stranger.clone(),
            what: report(number),
            actor: Actor::System("test".into()),
            only: Vec::new(),
            holder: None,
            ticket,
        };
        world.dispatcher.report(report, world.now, &mut actions);
        world.carry_out(actions);
        world.append();
        assert_eq!(world.replies.get(&ticket), Some(&OwnerReply::NotOpen));
    }
    assert_eq!(world.kinds(id), ["created", "started"]);
    assert_eq!(reported(&world.report(lease, completes())), Some(false));
}
