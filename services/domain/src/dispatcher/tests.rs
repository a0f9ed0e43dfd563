//! The dispatcher against a log that is a `Vec`.

mod lengths;

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::open::Allowance;
use super::*;
use crate::event::{
    Answer, BodyEncoding, Failure, FailureKind, Standing, TaskDead, TaskEnd, TaskSucceeded,
};
use crate::id::TeamId;
use crate::partition::Partition;
use crate::task::{Limits, TaskRequest, TaskSpec};

const START: Timestamp = Timestamp(1_800_000_000_000);

/// A dispatcher, the log it is over, and what it has asked its shell to do.
struct World {
    now: Times,
    /// By how much the wall clock is wrong.
    skew: i64,
    log: Vec<TaskEvent>,
    /// So many of the first events are gone.
    gone: u64,
    dispatcher: Dispatcher,
    calls: Vec<Call>,
    deliveries: Vec<Delivery>,
    given_up: u32,
    replies: BTreeMap<Ticket, OwnerReply>,
    tickets: u64,
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            now: Times {
                elapsed: Elapsed(77),
                wall: START,
            },
            skew: 0,
            log: Vec::new(),
            gone: 0,
            dispatcher: Dispatcher::new(),
            calls: Vec::new(),
            deliveries: Vec::new(),
            given_up: 0,
            replies: BTreeMap::new(),
            tickets: 0,
        };
        world
            .dispatcher
            .activate(world.now, &HashSet::new(), Vec::new(), &mut Vec::new());
        world
    }

    fn team() -> TeamId {
        TeamId::new(START, 7)
    }

    fn create(&mut self, change: impl FnOnce(&mut TaskRequest)) -> TaskId {
        let mut request = TaskRequest {
            target_url: Some("http://sink/".into()),
            ..TaskRequest::default()
        };
        change(&mut request);
        let limits = Limits {
            max_wait: Duration::from_secs(3_600),
            max_delay: Duration::from_secs(86_400),
        };
        let spec = TaskSpec::check(request, &limits, self.now.wall).expect("a valid request");
        let partition = Partition::new(0).expect("a partition");
        let id = TaskId::new(self.now.wall, self.log.len() as u128, partition);
        let event =
            TaskEvent::Created(Box::new(spec.accept(id, Self::team(), None, self.now.wall)));
        let seq = self.store(event.clone());
        self.dispatcher.apply(seq, None, &event);
        self.dispatcher.check();
        id
    }

    fn store(&mut self, event: TaskEvent) -> StreamSeq {
        self.log.push(event);
        StreamSeq(self.log.len() as u64)
    }

    fn carry_out(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Call(call) => self.calls.push(call),
                Action::Deliver(delivery) => self.deliveries.push(delivery),
                Action::Reply { ticket, reply } => {
                    assert!(
                        self.replies.insert(ticket, reply).is_none(),
                        "one answer to a request"
                    );
                }
                Action::WebhookGivenUp { .. } => self.given_up += 1,
                Action::Ended { .. } | Action::Retried | Action::Uncounted(_) => {}
            }
        }
        self.dispatcher.check();
    }

    fn append(&mut self) {
        let mut actions = Vec::new();
        if let Some(decisions) = self.dispatcher.begin_append(usize::MAX) {
            let events: Vec<_> = decisions.iter().map(|d| d.event.clone()).collect();
            let seqs: Vec<_> = events.into_iter().map(|event| self.store(event)).collect();
            self.dispatcher.appended(&seqs, &mut actions);
        }
        self.carry_out(actions);
    }

    /// Gives it slots and lets the log answer.
    fn serve(&mut self, slots: usize) {
        let mut actions = Vec::new();
        self.dispatcher.tick(self.now);
        self.dispatcher.fill(slots, self.now, &mut actions);
        self.carry_out(actions);
        self.append();
    }

    /// Both clocks go on alike.
    fn go_on(&mut self, by: Duration) {
        self.now.elapsed = self.now.elapsed.plus(by);
        self.now.wall = self.now.wall.plus(by);
    }

    /// The wall clock jumps.
    fn jump(&mut self, millis: i64) {
        self.now.wall.0 += millis;
        self.skew += millis;
    }

    fn pass(&mut self, by: Duration) {
        self.go_on(by);
        self.dispatcher.tick(self.now);
        self.append();
    }

    fn end_call(&mut self, outcome: Outcome) -> TaskId {
        let call = self.calls.remove(0);
        self.dispatcher
            .attempt_ended(call.task, call.attempt, outcome, self.now);
        self.append();
        call.task
    }

    fn cancel(&mut self, task: TaskId) -> Option<OwnerReply> {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        let mut actions = Vec::new();
        let request = Cancel {
            task,
            team: Self::team(),
            actor: Actor::System("test".into()),
            traceparent: None,
            ticket,
        };
        self.dispatcher.cancel(request, self.now, &mut actions);
        self.carry_out(actions);
        self.append();
        self.replies.get(&ticket).cloned()
    }

    /// The owner dies; the next one replays the log.
    fn crash(&mut self, snapshot: Option<Vec<u8>>) {
        let mut next = snapshot.map_or_else(Dispatcher::new, |bytes| {
            Dispatcher::restore(&bytes).expect("readable")
        });
        if next.position().0 < self.gone {
            next = Dispatcher::new();
        }
        let from = next.position().0.max(self.gone);
        let from = usize::try_from(from).expect("small");
        for (at, event) in self.log.iter().enumerate().skip(from) {
            next.apply(StreamSeq(at as u64 + 1), None, event);
        }
        // Another process: its clock counts from another instant.
        self.now.elapsed.0 = self.now.elapsed.0.wrapping_mul(31) % 1_000_003;
        next.activate(self.now, &HashSet::new(), Vec::new(), &mut Vec::new());
        self.dispatcher = next;
        self.calls.clear();
        self.deliveries.clear();
        self.dispatcher.check();
        self.append();
    }

    /// An event that the log still holds.
    fn read(&self, seq: StreamSeq) -> TaskEvent {
        assert!(seq.0 > self.gone, "{seq} is needed and was dropped");
        self.log[usize::try_from(seq.0 - 1).expect("small")].clone()
    }

    /// Decides to state open tasks again, the oldest first.
    fn restate(&mut self, max: usize) {
        let horizon = StreamSeq(self.log.len() as u64 + 1);
        for of in self.dispatcher.restatable(horizon, max) {
            let created = self.read(of.stored).into_request().expect("a request");
            let end = of
                .ended
                .map(|seq| self.read(seq).into_end().expect("an end"));
            assert!(self.dispatcher.restate(of, created, end, self.now));
        }
        self.dispatcher.check();
    }

    /// Drops all that nobody needs.
    fn purge(&mut self) {
        let needed = self.dispatcher.oldest_needed();
        self.gone = needed.map_or(self.log.len() as u64, |seq| seq.0 - 1);
        let calls = self.calls.iter().map(|call| call.created);
        let deliveries = self.deliveries.iter().flat_map(|d| [d.created, d.ended]);
        for seq in calls.chain(deliveries) {
            assert!(seq.0 > self.gone, "{seq} is still read by a call");
        }
    }

    fn kinds(&self, id: TaskId) -> Vec<&'static str> {
        self.log
            .iter()
            .filter(|event| event.id() == id)
            .map(TaskEvent::kind)
            .collect()
    }

    fn events(&self, id: TaskId) -> Vec<TaskEvent> {
        let of_task = self.log.iter().filter(|event| event.id() == id);
        of_task.cloned().collect()
    }
}

fn answered(status: u16) -> Outcome {
    Outcome::Answered(Answer {
        status,
        headers: vec![],
        body: String::new(),
        encoding: BodyEncoding::Text,
        body_bytes: 0,
        duration_ms: 1,
    })
}

fn failed(kind: FailureKind) -> Outcome {
    Outcome::Failed(Failure {
        kind,
        message: "it broke".into(),
    })
}

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
    let id = world.create(|r| (r.max_wait_seconds, r.max_retries) = (Some(5.0), Some(10)));
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
fn a_first_attempt_that_never_answers_is_a_timeout() {
    let mut world = World::new();
    let id = world.create(|_| {});
    world.serve(1);
    world.go_on(Duration::from_secs(30));
    world.end_call(failed(FailureKind::Timeout));
    assert_eq!(world.kinds(id), ["created", "started", "expired"]);
}

#[test]
fn a_waiting_task_is_cancelled_a_running_one_is_not() {
    let mut world = World::new();
    let waiting = world.create(|_| {});
    assert_eq!(
        world.cancel(waiting),
        Some(OwnerReply::Done { seq: StreamSeq(2) })
    );
    assert_eq!(world.cancel(waiting), Some(OwnerReply::NotOpen));
    let running = world.create(|_| {});
    world.serve(1);
    assert_eq!(world.cancel(running), Some(OwnerReply::Running));
    world.end_call(answered(500));
    assert!(
        matches!(world.cancel(running), Some(OwnerReply::Done { .. })),
        "between two attempts it can be"
    );
    world.pass(Duration::from_secs(60));
    world.serve(1);
    assert_eq!(world.calls, []);
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
fn an_attempt_lost_with_its_worker_is_repeated_without_using_up_a_retry() {
    let mut world = World::new();
    let id = world.create(|r| r.max_retries = Some(0));
    world.serve(1);
    world.crash(None);
    assert_eq!(world.kinds(id), ["created", "started", "attempt_failed"]);
    world.pass(Duration::from_secs(2));
    world.serve(1);
    assert_eq!(world.calls[0].attempt, 2);
    world.end_call(answered(200));
    assert_eq!(world.kinds(id).last(), Some(&"succeeded"));
}

#[test]
fn losses_within_an_hour_do_not_end_a_task_however_many_they_are() {
    let mut world = World::new();
    let id = world.create(|r| r.max_retries = Some(0));
    for _ in 0..20 {
        world.serve(1);
        world.crash(None);
        world.pass(Duration::from_secs(70));
    }
    assert!(world.events(id).iter().all(|event| match event {
        TaskEvent::AttemptFailed(failed) => !failed.counted,
        _ => true,
    }));
    world.serve(1);
    world.end_call(answered(200));
    assert_eq!(world.kinds(id).last(), Some(&"succeeded"));
}

#[test]
fn a_task_that_kills_its_workers_for_more_than_an_hour_uses_up_its_retries_and_ends() {
    let mut world = World::new();
    let id = world.create(|r| {
        r.max_retries = Some(2);
        r.max_wait_seconds = Some(3_600.0);
    });
    let mut counted = Vec::new();
    while world.dispatcher.is_open(id) {
        world.serve(1);
        world.crash(None);
        if let Some(TaskEvent::AttemptFailed(failed)) = world.events(id).last() {
            counted.push(failed.counted);
        }
        assert!(counted.len() < 200, "it comes to an end: {counted:?}");
        world.pass(Duration::from_secs(70));
    }
    let free = counted.iter().take_while(|counted| !**counted).count();
    assert_eq!(free, 65, "about an hour of losses is free: {counted:?}");
    assert_eq!(counted[free..], [true, true], "then each uses up a retry");
    let Some(TaskEvent::Dead(dead)) = world.events(id).last().cloned() else {
        panic!("dead");
    };
    assert!(dead.failure.message.contains("in a row"), "{dead:?}");
}

#[test]
fn a_released_attempt_is_repeated_at_once_and_uses_up_no_retry() {
    let mut world = World::new();
    let id = world.create(|r| r.max_retries = Some(0));
    for attempt in 1..=10 {
        world.serve(1);
        let call = world.calls.remove(0);
        assert_eq!(call.attempt, attempt);
        world
            .dispatcher
            .attempt_released(call.task, call.attempt, world.now);
        world.append();
        assert_eq!(world.kinds(id).last(), Some(&"released"));
    }
    world.serve(1);
    world.end_call(answered(500));
    let events = world.events(id);
    assert!(
        matches!(events.last(), Some(TaskEvent::Dead(dead)) if dead.failure.kind == FailureKind::HttpStatus),
        "what the target answers counts as ever: {events:?}"
    );
}

#[test]
fn a_release_that_may_not_be_stored_is_no_loss_to_the_next_dispatcher_of_the_process() {
    let mut world = World::new();
    let id = world.create(|_| {});
    world.serve(1);
    let call = world.calls.remove(0);
    world
        .dispatcher
        .attempt_released(call.task, call.attempt, world.now);
    let unstored = std::mem::take(&mut world.dispatcher).into_unstored();
    for (seq, event) in (1..).zip(world.log.clone()) {
        world.dispatcher.apply(StreamSeq(seq), None, &event);
    }
    let mut actions = Vec::new();
    world
        .dispatcher
        .activate(world.now, &HashSet::new(), unstored, &mut actions);
    world.carry_out(actions);
    world.append();
    assert_eq!(world.kinds(id), ["created", "started", "released"]);
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

#[test]
fn a_worker_that_cannot_make_calls_uses_up_no_retry_of_a_task() {
    let mut world = World::new();
    let id = world.create(|r| r.max_retries = Some(0));
    let mut pauses = Vec::new();
    for _ in 0..8 {
        world.serve(1);
        world.end_call(Outcome::Failed(Failure {
            kind: FailureKind::WorkerFault,
            message: "The worker is out of descriptors; nothing was sent".into(),
        }));
        let Some(TaskEvent::AttemptFailed(failed)) = world.events(id).last().cloned() else {
            panic!("it is tried again: {:?}", world.kinds(id));
        };
        assert!(!failed.counted);
        pauses.push(failed.retry_at.since(failed.at).as_secs());
        world.pass(Duration::from_secs(70));
    }
    assert!(pauses.is_sorted(), "more and more seldom: {pauses:?}");
    assert!(
        (60..=66).contains(&pauses[7]),
        "within a minute: {pauses:?}"
    );
}

fn without_the_vault() -> Outcome {
    Outcome::Failed(Failure {
        kind: FailureKind::VaultAway,
        message: "The vault could not be asked; nothing was sent".into(),
    })
}

#[test]
fn an_attempt_for_want_of_the_vault_uses_up_no_retry_and_is_repeated_more_and_more_seldom() {
    let mut world = World::new();
    let id = world.create(|r| r.max_retries = Some(0));
    let mut pauses = Vec::new();
    for _ in 0..5 {
        world.serve(1);
        world.end_call(without_the_vault());
        let Some(TaskEvent::AttemptFailed(failed)) = world.events(id).last().cloned() else {
            panic!("it is tried again: {:?}", world.kinds(id));
        };
        assert!(!failed.counted);
        let pause = failed.retry_at.since(failed.at);
        // Without the tenth that may be added.
        pauses.push((pause.as_secs_f64() / 1.1).ceil());
        world.pass(pause);
    }
    assert_eq!(pauses, [1.0, 2.0, 4.0, 8.0, 16.0]);
    world.serve(1);
    world.end_call(answered(200));
    assert_eq!(world.kinds(id).last(), Some(&"succeeded"));
}

#[test]
fn a_task_does_not_wait_for_the_vault_for_ever() {
    let mut world = World::new();
    let id = world.create(|_| {});
    let mut attempts = 0;
    while world.dispatcher.open() > 0 {
        world.serve(1);
        world.end_call(without_the_vault());
        world.pass(Duration::from_secs(400));
        attempts += 1;
    }
    assert_eq!(world.kinds(id).last(), Some(&"dead"));
    assert_eq!(attempts, 301);
}

#[test]
fn an_attempt_still_being_made_in_this_process_is_adopted() {
    let mut world = World::new();
    let id = world.create(|_| {});
    world.serve(1);
    let mut next = Dispatcher::new();
    for (seq, event) in (1..).map(StreamSeq).zip(&world.log) {
        next.apply(seq, None, event);
    }
    let running = Running {
        task: id,
        number: 1,
        kind: CallKind::Attempt,
    };
    next.activate(
        world.now,
        &HashSet::from([running]),
        Vec::new(),
        &mut Vec::new(),
    );
    world.dispatcher = next;
    world.end_call(answered(200));
    assert_eq!(world.kinds(id), ["created", "started", "succeeded"]);
}

#[test]
fn what_a_target_said_is_not_forgotten_when_nobody_knows_whether_it_is_stored() {
    for landed in [false, true] {
        let mut world = World::new();
        let id = world.create(|_| {});
        world.serve(1);
        let call = world.calls.remove(0);
        let now = world.now;
        world
            .dispatcher
            .attempt_ended(id, call.attempt, answered(200), now);
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
fn a_call_that_was_promised_is_made_when_its_start_is_stored_after_all() {
    let mut world = World::new();
    let id = world.create(|_| {});
    let mut actions = Vec::new();
    world.dispatcher.fill(1, world.now, &mut actions);
    let decided = world.dispatcher.begin_append(10).expect("a start");
    let event = decided[0].event.clone();
    world.store(event);
    let unstored = std::mem::take(&mut world.dispatcher).into_unstored();
    let mut next = Dispatcher::new();
    for (at, event) in world.log.iter().enumerate() {
        next.apply(StreamSeq(at as u64 + 1), None, event);
    }
    next.activate(world.now, &HashSet::new(), unstored, &mut actions);
    world.dispatcher = next;
    world.carry_out(actions);
    assert_eq!(world.calls.len(), 1);
    assert_eq!(world.calls[0].limit, Duration::from_secs(30));
    world.end_call(answered(200));
    assert_eq!(world.kinds(id), ["created", "started", "succeeded"]);
}

#[test]
fn a_snapshot_of_an_owner_that_has_lost_its_partition_hides_nothing() {
    let mut world = World::new();
    let id = world.create(|_| {});
    let former = std::mem::take(&mut world.dispatcher);
    world.crash(None);
    world.serve(1);
    world.end_call(answered(200));
    // The former owner goes on: it reads the next creation, and has seen nothing of what its successor did.
    world.create(|_| {});
    let mut former = former;
    let creation = world.log.last().cloned().expect("just created");
    former.apply(StreamSeq(world.log.len() as u64), None, &creation);
    world.crash(former.snapshot());
    world.serve(1);
    assert_eq!(world.kinds(id), ["created", "started", "succeeded"]);
    assert_eq!(world.calls.len(), 1, "only the second task is to be called");
}

#[test]
fn a_damaged_or_foreign_snapshot_is_refused() {
    let mut world = World::new();
    world.create(|_| {});
    let good = world.dispatcher.snapshot().expect("nothing in flight");
    assert!(Dispatcher::restore(&good).is_ok());
    assert!(matches!(
        Dispatcher::restore(&good[..good.len() - 1]),
        Err(SnapshotError::Damaged(_))
    ));
    let mut newer = good;
    newer[3] = 99;
    assert_eq!(
        Dispatcher::restore(&newer).err(),
        Some(SnapshotError::Version { found: 99 })
    );
    assert!(matches!(
        Dispatcher::restore(&[]),
        Err(SnapshotError::Damaged(_))
    ));
}

/// One random step of a history.
#[derive(Debug, Clone)]
enum Step {
    Create {
        priority: i64,
        delay: u64,
        retries: i64,
        wait: u64,
        hook: bool,
    },
    Fill(usize),
    Store,
    Refuse,
    EndCall {
        which: usize,
        outcome: u8,
    },
    EndDelivery {
        which: usize,
        outcome: u8,
    },
    Cancel(usize),
    Pass(u64),
    /// The owner's wall clock jumps, as a new machine's may.
    Jump(i64),
    Snapshot,
    Restate(usize),
    Purge,
    Crash {
        stored: bool,
        snapshot: bool,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1..=10_i64, 0..20_u64, 0..4_i64, 1..40_u64, any::<bool>())
            .prop_map(|(priority, delay, retries, wait, hook)| Step::Create { priority, delay, retries, wait, hook }),
        4 => (0..4_usize).prop_map(Step::Fill),
        5 => Just(Step::Store),
        1 => Just(Step::Refuse),
        6 => (any::<usize>(), any::<u8>()).prop_map(|(which, outcome)| Step::EndCall { which, outcome }),
        3 => (any::<usize>(), any::<u8>()).prop_map(|(which, outcome)| Step::EndDelivery { which, outcome }),
        1 => any::<usize>().prop_map(Step::Cancel),
        4 => (0..30_000_u64).prop_map(Step::Pass),
        1 => (-5_000_000..5_000_000_i64).prop_map(Step::Jump),
        1 => (-5_000..5_000_i64).prop_map(Step::Jump),
        1 => Just(Step::Snapshot),
        2 => (1..5_usize).prop_map(Step::Restate),
        2 => Just(Step::Purge),
        1 => (any::<bool>(), any::<bool>()).prop_map(|(stored, snapshot)| Step::Crash { stored, snapshot }),
    ]
}

fn outcome(number: u8) -> Outcome {
    match number % 8 {
        0..=2 => answered(200),
        3 => answered(404),
        4 => answered(500),
        5 => answered(429),
        6 => failed(FailureKind::Connect),
        _ => failed(FailureKind::BlockedAddress),
    }
}

/// Invariants 1 and 2 of the design: attempts count 1, 2, 3...; each ends before the next begins; nothing but deliveries comes
/// after an end, and no second end.
fn assert_orderly(log: &[TaskEvent]) {
    #[derive(Default)]
    struct Life {
        attempts: u32,
        running: bool,
        ends: u32,
    }
    let mut lives: HashMap<TaskId, Life> = HashMap::new();
    for event in log {
        let life = lives.entry(event.id()).or_default();
        match event {
            TaskEvent::Created(_) | TaskEvent::Restated(_) => {}
            TaskEvent::Started(e) => {
                assert!(!life.running && life.ends == 0, "{event:?}");
                assert_eq!(e.attempt, life.attempts + 1, "{event:?}");
                (life.attempts, life.running) = (e.attempt, true);
            }
            TaskEvent::AttemptFailed(e) => {
                assert!(
                    life.running && life.ends == 0 && e.attempt == life.attempts,
                    "{event:?}"
                );
                life.running = false;
            }
            TaskEvent::Released(e) => {
                assert!(
                    life.running && life.ends == 0 && e.attempt == life.attempts,
                    "{event:?}"
                );
                life.running = false;
            }
            TaskEvent::Succeeded(TaskSucceeded { attempt, .. })
            | TaskEvent::Dead(TaskDead { attempt, .. }) => {
                assert!(
                    life.running && life.ends == 0 && *attempt == life.attempts,
                    "{event:?}"
                );
                (life.running, life.ends) = (false, 1);
            }
            TaskEvent::Expired(e) => {
                assert!(
                    life.ends == 0 && life.running == e.attempt.is_some(),
                    "{event:?}"
                );
                (life.running, life.ends) = (false, 1);
            }
            TaskEvent::Cancelled(_) => {
                assert!(life.ends == 0 && !life.running, "{event:?}");
                life.ends = 1;
            }
            TaskEvent::CallbackSent(_) | TaskEvent::CallbackFailed(_) => {
                assert_eq!(life.ends, 1, "{event:?}");
            }
        }
    }
}

fn run(steps: Vec<Step>) -> World {
    let mut world = World::new();
    let mut snapshot = None;
    for step in steps {
        match step {
            Step::Create {
                priority,
                delay,
                retries,
                wait,
                hook,
            } => {
                // The client's clock is right.
                let at = Timestamp(world.now.wall.0 - world.skew);
                let at = at.plus(Duration::from_secs(delay)).to_rfc3339();
                world.create(|r| {
                    r.priority = Some(priority);
                    r.delay_until = (delay > 10).then_some(at);
                    r.max_retries = Some(retries);
                    #[expect(clippy::cast_precision_loss, reason = "small")]
                    (r.max_wait_seconds = Some(wait as f64));
                    r.on_complete_url = hook.then(|| "http://hook/".into());
                });
            }
            Step::Fill(slots) => {
                let mut actions = Vec::new();
                world.dispatcher.tick(world.now);
                let used = world.dispatcher.fill(slots, world.now, &mut actions);
                assert!(used <= slots);
                world.carry_out(actions);
            }
            Step::Store => world.append(),
            Step::Refuse => {
                if world.dispatcher.begin_append(2).is_some() {
                    world.dispatcher.not_appended();
                }
            }
            Step::EndCall {
                which,
                outcome: number,
            } => {
                if !world.calls.is_empty() {
                    let call = world.calls.remove(which % world.calls.len());
                    if number % 16 == 15 {
                        world
                            .dispatcher
                            .attempt_released(call.task, call.attempt, world.now);
                    }
                    // After a release: a report that came too late.
                    world.dispatcher.attempt_ended(
                        call.task,
                        call.attempt,
                        outcome(number),
                        world.now,
                    );
                    // A second report of the same end changes nothing.
                    world.dispatcher.attempt_ended(
                        call.task,
                        call.attempt,
                        outcome(number / 8),
                        world.now,
                    );
                }
            }
            Step::EndDelivery {
                which,
                outcome: number,
            } => {
                if !world.deliveries.is_empty() {
                    let delivery = world.deliveries.remove(which % world.deliveries.len());
                    world.dispatcher.delivery_ended(
                        delivery.task,
                        delivery.number,
                        &outcome(number),
                        world.now,
                    );
                }
            }
            Step::Cancel(which) => {
                if !world.log.is_empty() {
                    let id = world.log[which % world.log.len()].id();
                    world.tickets += 1;
                    let request = Cancel {
                        task: id,
                        team: World::team(),
                        actor: Actor::System("test".into()),
                        traceparent: None,
                        ticket: Ticket(world.tickets),
                    };
                    let mut actions = Vec::new();
                    world.dispatcher.cancel(request, world.now, &mut actions);
                    world.carry_out(actions);
                }
            }
            Step::Pass(millis) => {
                world.go_on(Duration::from_millis(millis));
                world.dispatcher.tick(world.now);
            }
            Step::Jump(millis) => world.jump(millis),
            Step::Restate(max) => world.restate(max),
            Step::Purge => world.purge(),
            Step::Snapshot => snapshot = world.dispatcher.snapshot().or(snapshot),
            Step::Crash {
                stored,
                snapshot: from_snapshot,
            } => {
                // Whether the append in flight was stored, nobody knows.
                if let Some(decisions) = world.dispatcher.begin_append(3)
                    && stored
                {
                    let events: Vec<_> = decisions.iter().map(|d| d.event.clone()).collect();
                    world.log.extend(events);
                }
                world.crash(snapshot.clone().filter(|_| from_snapshot));
            }
        }
        world.dispatcher.check();
    }
    world
}

#[test]
fn a_restated_task_ends_as_it_would_have_however_much_of_it_is_gone() {
    let mut world = World::new();
    let id = world.create(|r| {
        r.max_retries = Some(3);
        r.on_complete_url = Some("http://hook/".into());
    });
    world.serve(1);
    world.end_call(answered(500));
    let created = world.log[0].clone();
    for _ in 0..3 {
        world.restate(1);
        world.append();
        world.purge();
        world.crash(None);
    }
    assert_eq!(world.gone + 1, world.log.len() as u64, "all else is gone");
    let TaskEvent::Restated(restated) = world.read(StreamSeq(world.gone + 1)) else {
        panic!("the task was stated again");
    };
    assert_eq!(TaskEvent::Created(Box::new(restated.created)), created);
    assert_eq!((restated.position, restated.attempts), (StreamSeq(1), 1));
    assert_eq!(restated.history.attempts.len(), 1);
    world.pass(Duration::from_secs(20));
    world.serve(1);
    assert_eq!(world.calls[0].attempt, 2, "attempts go on");
    world.end_call(answered(200));
    // Ended, and its webhook waits: the result is stated with it, the body is not.
    world.restate(1);
    world.append();
    let TaskEvent::Restated(restated) = world.read(StreamSeq(world.log.len() as u64)) else {
        panic!("the task was stated again");
    };
    assert_eq!(restated.created.body, None);
    assert!(matches!(
        restated.standing,
        Standing::Ended {
            end: TaskEnd::Succeeded(_),
            ..
        }
    ));
    world.purge();
    world.crash(None);
    world.serve(1);
    let delivery = world.deliveries.remove(0);
    assert!(world.read(delivery.ended).into_end().is_some());
    world
        .dispatcher
        .delivery_ended(id, delivery.number, &answered(200), world.now);
    world.append();
    assert_eq!(world.dispatcher.open(), 0);
    assert_orderly(&world.log);
}

#[test]
fn a_purge_beyond_the_mark_loses_a_task() {
    let mut world = World::new();
    world.create(|_| {});
    world.gone = 1;
    world.crash(None);
    assert_eq!(
        world.dispatcher.open(),
        0,
        "or the tests above prove nothing"
    );
}

#[test]
fn a_call_that_began_before_a_restatement_still_finds_its_request() {
    let mut world = World::new();
    world.create(|_| {});
    world.serve(1);
    world.restate(1);
    world.append();
    assert_eq!(world.dispatcher.oldest_needed(), Some(StreamSeq(1)));
    world.purge();
    world.end_call(answered(500));
    assert_eq!(world.dispatcher.oldest_needed(), Some(StreamSeq(3)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn every_history_is_orderly_and_every_task_comes_to_its_one_end(steps in proptest::collection::vec(step(), 0..120)) {
        let mut world = run(steps);
        // From here on nothing fails, and the clock is right: whatever is open must end.
        world.jump(-world.skew);
        for _ in 0..400 {
            if world.dispatcher.open() == 0 {
                break;
            }
            world.serve(8);
            while !world.calls.is_empty() {
                world.end_call(answered(200));
            }
            for delivery in std::mem::take(&mut world.deliveries) {
                world.dispatcher.delivery_ended(delivery.task, delivery.number, &answered(200), world.now);
            }
            world.append();
            world.pass(Duration::from_secs(3));
        }
        prop_assert_eq!(world.dispatcher.open(), 0, "no task is lost");
        assert_orderly(&world.log);
        let created = world.log.iter().filter(|e| matches!(e, TaskEvent::Created(_))).count();
        let ends = world.log.iter().filter(|e| {
            matches!(e, TaskEvent::Succeeded(_) | TaskEvent::Dead(_) | TaskEvent::Expired(_) | TaskEvent::Cancelled(_))
        }).count();
        prop_assert_eq!(created, ends, "one end each");
    }

    #[test]
    fn a_replay_is_the_state(steps in proptest::collection::vec(step(), 0..120)) {
        let mut world = run(steps);
        world.append();
        let mut replayed = Dispatcher::new();
        let left = (1..).map(StreamSeq).zip(&world.log);
        for (seq, event) in left.filter(|(seq, _)| seq.0 > world.gone) {
            replayed.apply(seq, None, event);
            // What was applied before changes nothing.
            replayed.apply(seq, None, event);
        }
        let without_derived = |dispatcher: &Dispatcher| {
            let mut tasks: Vec<_> = dispatcher.tasks.iter().map(|(id, task)| {
                let mut task = task.clone();
                (task.busy, task.restating, task.read_from) = (false, false, None);
                task.allowance = Allowance::Whole;
                match &mut task.phase {
                    Phase::Ended { claimed, wake, .. } => (*claimed, *wake) = (false, Elapsed(0)),
                    Phase::Waiting { wake, from, .. } => (*wake, *from) = (Elapsed(0), None),
                    Phase::Ready { from, .. } => *from = Elapsed(0),
                    Phase::Running { .. } => {}
                }
                if let Phase::Ready { since, .. } = task.phase
                    && (task.not_before.is_some() || task.attempts > 0)
                {
                    task.phase = Phase::Waiting {
                        until: since,
                        from: None,
                        wake: Elapsed(0),
                    };
                }
                (*id, task)
            }).collect();
            tasks.sort_by_key(|(id, _)| *id);
            tasks
        };
        prop_assert_eq!(without_derived(&replayed), without_derived(&world.dispatcher));
    }
}
