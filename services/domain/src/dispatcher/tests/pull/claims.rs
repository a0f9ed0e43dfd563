//! Who gets which tasks, and when.

use super::*;
use crate::task::request::LimitRequest;

#[test]
fn a_task_with_a_target_is_not_claimed_and_one_without_is_not_called() {
    let mut world = World::new();
    let called = world.create(|_| {});
    let pulled = world.create_pulled(|_| {});
    assert_eq!(world.blocker(pulled), Some(Blocker::Unclaimed));
    assert_eq!(world.dispatcher.wanted_slots(), 1, "slots are for calls");
    let leases = world.claim(5);
    let claimed: Vec<_> = leases.iter().map(|lease| lease.task).collect();
    assert_eq!(claimed, [pulled]);
    world.serve(5);
    let calls: Vec<_> = world.calls.iter().map(|call| call.task).collect();
    assert_eq!(calls, [called]);
    assert_eq!(world.blocker(pulled), None, "it runs");
}

#[test]
fn waiting_claims_get_one_task_each_in_the_order_in_which_they_came() {
    let mut world = World::new();
    let (first, second) = (world.waits("a", 10), world.waits("b", 10));
    world.serve(0);
    assert_eq!((world.got(first), world.got(second)), (None, None));
    let one = world.create_pulled(|_| {});
    world.serve(0);
    assert_eq!(
        (world.got(first), world.got(second)),
        (Some(vec![one]), None)
    );
    let third = world.waits("c", 10);
    let tasks: Vec<_> = (0..4).map(|_| world.create_pulled(|_| {})).collect();
    world.serve(0);
    assert_eq!(world.got(second), Some(vec![tasks[0], tasks[2]]));
    assert_eq!(world.got(third), Some(vec![tasks[1], tasks[3]]));
}

#[test]
fn a_claim_that_has_waited_long_enough_gets_nothing() {
    let mut world = World::new();
    let ticket = world.waits("a", 1);
    world.serve(0);
    let wake = world.dispatcher.wake_in(world.now);
    assert_eq!(wake, Some(Duration::from_secs(20)));
    world.go_on(Duration::from_secs(20));
    world.serve(0);
    assert_eq!(world.got(ticket), Some(Vec::new()));
    let id = world.create_pulled(|_| {});
    world.serve(0);
    assert_eq!(world.kinds(id), ["created"], "nobody waits for it");
}

#[test]
fn a_claim_of_several_queues_takes_of_them_in_turn() {
    let mut world = World::new();
    for queue in ["a", "b"] {
        for _ in 0..3 {
            world.create_pulled(|task| task.queue = Some(queue.into()));
        }
    }
    let mut order = Vec::new();
    for _ in 0..4 {
        let ticket = world.claim_as("w", &["a", "b", "empty"], 1, Duration::ZERO, LEASE);
        world.serve(0);
        for id in world.got(ticket).expect("an answer") {
            order.push(world.row(id).queue.as_str().to_owned());
        }
    }
    assert_eq!(order, ["a", "b", "a", "b"]);
    let ticket = world.claim_as("w", &["a", "b"], 10, Duration::ZERO, LEASE);
    world.serve(0);
    assert_eq!(world.got(ticket).map(|got| got.len()), Some(2));
}

#[test]
fn a_paused_queue_gives_nothing_until_it_is_resumed() {
    let mut world = World::new();
    let id = world.create_pulled(|_| {});
    let place = (World::team(), QueueName::parse("default").expect("a name"));
    let rules = |paused: bool| QueueRules {
        paused: paused.then_some(Hold::Open),
        ..QueueRules::default()
    };
    world.dispatcher.set_rules(&place, rules(true), world.now);
    assert_eq!(world.claim(1), []);
    let ticket = world.waits("w", 1);
    world.serve(0);
    assert_eq!(world.got(ticket), None);
    let blocker = world.blocker(id);
    assert_eq!(blocker, Some(Blocker::QueuePaused { until: None }));
    world.dispatcher.set_rules(&place, rules(false), world.now);
    world.serve(0);
    assert_eq!(world.got(ticket), Some(vec![id]));
}

#[test]
fn what_nobody_claims_takes_up_nothing_of_the_limits_of_its_queue() {
    let mut world = World::new();
    let place = (World::team(), QueueName::parse("default").expect("a name"));
    let rules = QueueRules {
        concurrency: Some(2),
        ..QueueRules::default()
    };
    world.dispatcher.set_rules(&place, rules, world.now);
    for _ in 0..5 {
        world.create_pulled(|_| {});
    }
    world.create(|_| {});
    world.serve(5);
    assert_eq!(world.calls.len(), 1, "the call has its place");
    assert_eq!(world.claim(5).len(), 1, "and the claims the other");
    let ticket = world.waits("w", 5);
    world.serve(0);
    assert_eq!(world.got(ticket), None);
    world.end_call(answered(200));
    world.serve(0);
    assert_eq!(world.got(ticket).map(|got| got.len()), Some(1));
}

#[test]
fn a_rate_gives_as_many_as_it_allows_and_wakes_who_waits() {
    let mut world = World::new();
    let place = (World::team(), QueueName::parse("default").expect("a name"));
    let rate = crate::rate::StartRate {
        limit: 1,
        per_ms: 1_000,
        burst: 1,
    };
    let rules = QueueRules {
        rate: Some(rate),
        ..QueueRules::default()
    };
    world.dispatcher.set_rules(&place, rules, world.now);
    for _ in 0..3 {
        world.create_pulled(|_| {});
    }
    for _ in 0..3 {
        let ticket = world.waits("w", 5);
        world.serve(0);
        assert_eq!(world.got(ticket), None);
        let wake = world.dispatcher.wake_in(world.now).expect("something");
        assert!(wake <= Duration::from_secs(1), "{wake:?}");
        world.go_on(wake);
        world.serve(0);
        assert_eq!(world.got(ticket).map(|got| got.len()), Some(1));
    }
}

#[test]
fn a_task_of_an_ordering_key_is_claimed_after_the_end_of_the_one_before() {
    let mut world = World::new();
    let line = |task: &mut TaskRequest| task.ordering_key = Some("line".into());
    let first = world.create_pulled(line);
    let second = world.create_pulled(line);
    let leases = world.claim(5);
    assert_eq!(leases.len(), 1);
    assert_eq!(world.claim(5), []);
    assert_eq!(
        world.blocker(second),
        Some(Blocker::OrderHead { task: first })
    );
    world.report(leases[0], completes());
    assert_eq!(world.claim_one().task, second);
}

#[test]
fn a_claim_whose_answer_was_lost_gets_the_same_when_it_is_repeated() {
    let mut world = World::new();
    let id = world.create_pulled(|_| {});
    let queues = ["default"];
    let first = world.claim_as("w", &queues, 1, Duration::ZERO, LEASE);
    world.serve(0);
    let given = world.claimed[&first].clone();
    world.create_pulled(|_| {});
    let again = world.claim_again("w", &queues, 1, Duration::ZERO, LEASE, first.0, true);
    let same = |leases: &[LeaseGranted]| {
        let of = leases.iter().map(|lease| (lease.task, lease.attempt));
        of.collect::<Vec<_>>()
    };
    assert_eq!(same(&world.claimed[&again]), same(&given));
    // And by the next owner.
    world.crash(None);
    let again = world.claim_again("w", &queues, 1, Duration::ZERO, LEASE, first.0, true);
    assert_eq!(same(&world.claimed[&again]), [(id, 1)]);
}

#[test]
fn a_start_that_nobody_was_told_of_is_no_call_of_the_next_dispatcher() {
    let mut world = World::new();
    let id = world.create_pulled(|_| {});
    let ticket = world.claim_as("w", &["default"], 1, Duration::ZERO, LEASE);
    world.dispatcher.serve_claims(world.now, &mut Vec::new());
    let decided = world.dispatcher.begin_append(10).expect("a start");
    let event = decided[0].event.clone();
    assert_eq!(world.dispatcher.waiting_tickets(), [ticket, ticket]);
    world.store(event);
    let unstored = std::mem::take(&mut world.dispatcher).into_unstored();
    assert_eq!(unstored, []);
    world.crash(None);
    let again = world.claim_again("w", &["default"], 1, Duration::ZERO, LEASE, ticket.0, true);
    assert_eq!(world.got(again), Some(vec![id]));
}

#[test]
fn what_a_withdrawn_claim_was_given_goes_back() {
    let mut world = World::new();
    let id = world.create_pulled(|task| task.max_retries = Some(0));
    // While it waits, while its start is stored, and after its answer.
    let waiting = world.claim_as("w", &["other"], 1, Duration::from_secs(9), LEASE);
    world.withdraw(waiting.0);
    assert_eq!(world.replies.get(&waiting), Some(&OwnerReply::TryAgain));
    let storing = world.claim_as("w", &["default"], 1, Duration::ZERO, LEASE);
    world.dispatcher.serve_claims(world.now, &mut Vec::new());
    world.withdraw(storing.0);
    world.append();
    world.append();
    assert_eq!(world.replies.get(&storing), Some(&OwnerReply::TryAgain));
    assert_eq!(world.kinds(id), ["created", "started", "released"]);
    let answered = world.claim_as("w", &["default"], 1, Duration::ZERO, LEASE);
    world.serve(0);
    assert_eq!(world.got(answered), Some(vec![id]));
    world.withdraw(answered.0);
    world.append();
    assert_eq!(world.claim_one().attempt, 3);
}

#[test]
fn claims_are_sent_away_when_their_partition_is_given_up() {
    let mut world = World::new();
    let ticket = world.waits("w", 1);
    let mut actions = Vec::new();
    world.dispatcher.turn_away_claims(&mut actions);
    world.carry_out(actions);
    assert_eq!(world.replies.get(&ticket), Some(&OwnerReply::TryAgain));
    let id = world.create_pulled(|_| {});
    world.serve(0);
    assert_eq!(world.kinds(id), ["created"]);
}

#[test]
fn requests_that_only_calls_have_are_refused_without_a_target() {
    let limits = Limits {
        max_wait: Duration::from_secs(60),
        max_delay: Duration::from_secs(60),
    };
    let check = |change: &dyn Fn(&mut TaskRequest)| {
        let mut request = TaskRequest::default();
        change(&mut request);
        TaskSpec::check(request, &limits, START).map_err(|invalid| invalid.field)
    };
    assert!(check(&|_| {}).is_ok_and(|spec| spec.is_pulled()));
    let refused: [&dyn Fn(&mut TaskRequest); 6] = [
        &|task| task.method = Some("POST".into()),
        &|task| task.headers = vec![("a".into(), "b".into())],
        &|task| task.timeout_seconds = Some(1.0),
        &|task| task.success = Some("2xx".into()),
        &|task| task.follow_redirects = Some(false),
        &|task| task.target_url = Some(String::new()),
    ];
    for change in refused {
        assert_eq!(check(change).map(|_| ()), Err("targetUrl"));
    }
}

#[test]
fn limit_keys_hold_claims_back_and_nobody_holds_them_by_waiting() {
    let limit = |task: &mut TaskRequest| {
        task.limits = Some(vec![LimitRequest {
            key: Some("one".into()),
            concurrency: Some(1),
            rate: None,
        }]);
    };
    let mut alone = super::super::limits::Alone::new();
    for _ in 0..2 {
        alone.world.create_pulled(limit);
    }
    let called = alone.world.create(limit);
    alone.serve();
    assert_eq!(
        alone.world.calls.len(),
        1,
        "what nobody claims takes no room"
    );
    assert_eq!(alone.world.calls[0].task, called);
    let ticket = alone.world.waits("w", 5);
    alone.serve();
    assert_eq!(alone.world.got(ticket), None, "the call has the only place");
    alone.world.end_call(answered(200));
    alone.serve();
    assert_eq!(alone.world.got(ticket).map(|got| got.len()), Some(1));
    let lease = alone.world.claimed[&ticket][0];
    alone.world.report(lease, completes());
    // One that does not wait is patient with keys, whose homes have to be asked.
    alone.world.pass(Duration::from_secs(5));
    let queues = ["default"];
    let poll = alone.world.claim_as("p", &queues, 5, Duration::ZERO, LEASE);
    alone.serve();
    assert_eq!(alone.world.got(poll).map(|got| got.len()), Some(1));
}
