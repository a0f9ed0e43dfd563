//! The dispatcher, with a `Vec` as its log.

mod answers;
mod blocks;
mod cancelling;
mod dedup;
mod gates;
mod hosts;
mod in_order;
mod keys;
mod lengths;
mod limits;
mod listeners;
mod members;
mod ordering;
mod priorities;
mod properties;
mod pull;
mod purge;
mod retries;
mod run_now;
mod serving;
mod singles;
mod takeover;
mod together;
mod waits;
mod webhooks;
mod windows;
mod workers;

use std::collections::BTreeMap;

use super::*;
use crate::command::OwnerReply;
use crate::event::{
    Answer, BodyEncoding, Failure, FailureKind, Standing, TaskCreated, TaskDead, TaskEnd,
    TaskExpired, TaskRestated, TaskSucceeded,
};
use crate::health::HealthRule;
use crate::id::{QueueName, TeamId};
use crate::partition::Partition;
use crate::task::{DebounceRequest, Length, Limits, OnFailure, TaskRequest, TaskSpec};

const START: Timestamp = Timestamp(1_800_000_000_000);

/// A dispatcher, its log, and the actions that it has asked its shell for.
struct World {
    now: Times,
    /// Error of the wall clock, in milliseconds.
    skew: i64,
    log: Vec<TaskEvent>,
    /// Number of events purged from the beginning.
    gone: u64,
    dispatcher: Dispatcher,
    /// What the team has decided about its queues.
    rules: HashMap<Place, QueueRules>,
    /// What it has decided about hosts.
    health: HashMap<Compartment, HostRules>,
    calls: Vec<Call>,
    cut_off: Vec<Running>,
    deliveries: Vec<Delivery>,
    given_up: u32,
    replies: BTreeMap<Ticket, OwnerReply>,
    /// What claims were answered.
    claimed: BTreeMap<Ticket, Vec<LeaseGranted>>,
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
            rules: HashMap::new(),
            health: HashMap::new(),
            calls: Vec::new(),
            cut_off: Vec::new(),
            deliveries: Vec::new(),
            given_up: 0,
            replies: BTreeMap::new(),
            claimed: BTreeMap::new(),
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
        self.create_with(change, |_| {})
    }

    /// The same, with what its team settles.
    fn create_with(
        &mut self,
        change: impl FnOnce(&mut TaskRequest),
        settle: impl FnOnce(&mut TaskCreated),
    ) -> TaskId {
        let mut request = TaskRequest {
            target_url: Some("http://sink/".into()),
            ..TaskRequest::default()
        };
        change(&mut request);
        let limits = Limits {
            max_wait: Duration::from_secs(3_600),
            max_delay: Duration::from_secs(366 * 86_400),
        };
        let spec = TaskSpec::check(request, &limits, self.now.wall).expect("a valid request");
        let partition = Partition::new(0).expect("a partition");
        let id = TaskId::new(self.now.wall, self.log.len() as u128, partition);
        let mut created = spec.accept(id, Self::team(), None, self.now.wall);
        settle(&mut created);
        let event = TaskEvent::Created(Box::new(created));
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
                Action::CutOff(attempt) => self.cut_off.push(attempt),
                Action::Deliver(delivery) => self.deliveries.push(delivery),
                Action::Reply { ticket, reply } => {
                    assert!(
                        self.replies.insert(ticket, reply).is_none(),
                        "one answer to a request"
                    );
                }
                Action::Claimed { ticket, leases } => {
                    assert!(
                        self.claimed.insert(ticket, leases).is_none(),
                        "one answer to a claim"
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

    /// Offers slots, and lets the log answer.
    fn serve(&mut self, slots: usize) {
        let mut actions = Vec::new();
        self.dispatcher.tick(self.now);
        self.dispatcher.fill(slots, self.now, &mut actions);
        self.dispatcher.serve_claims(self.now, &mut actions);
        self.carry_out(actions);
        self.append();
    }

    /// Advances both clocks alike.
    fn go_on(&mut self, by: Duration) {
        self.now.elapsed = self.now.elapsed.plus(by);
        self.now.wall = self.now.wall.plus(by);
    }

    /// Moves the wall clock only.
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

    /// The owner reads the task and its end, and sends the webhook again.
    fn redeliver(&mut self, task: TaskId) -> Option<OwnerReply> {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        let events = self.events(task);
        let created = events.iter().find_map(|event| match event {
            TaskEvent::Created(created) => Some(*created.clone()),
            _ => None,
        });
        let end = events.iter().find_map(|event| match event {
            TaskEvent::CallbackRequested(_) | TaskEvent::Restated(_) => None,
            event => event.clone().into_end(),
        });
        let event = TaskRestated {
            created: created.expect("a creation"),
            position: StreamSeq(1),
            at: self.now.wall,
            standing: Standing::Ended {
                deliveries: 0,
                due: self.now.wall,
                from: Some(self.now.wall),
                end: Box::new(end.expect("an end")),
            },
            attempts: 1,
            failures: 0,
            lost: 0,
            uncounted: 0,
            first_start: None,
            last_failure: None,
            cancel_requested: None,
            history: crate::task::History::default(),
            span: None,
            changed_priority: None,
            order_place: None,
            blocks: None,
            member: None,
        };
        let mut actions = Vec::new();
        let asked = (Actor::System("test".into()), None, ticket);
        self.dispatcher
            .redeliver(event, asked, self.now, &mut actions);
        self.carry_out(actions);
        self.append();
        self.replies.get(&ticket).cloned()
    }

    fn end_delivery(&mut self, outcome: &Outcome) {
        let delivery = self.deliveries.remove(0);
        self.dispatcher
            .delivery_ended(delivery.task, delivery.number, outcome, self.now);
        self.append();
    }

    fn cancel(&mut self, task: TaskId) -> Option<OwnerReply> {
        let ticket = self.cancel_unstored(task);
        self.append();
        self.replies.get(&ticket).cloned()
    }

    /// Asks for the end of a task; the log does not answer yet.
    fn cancel_unstored(&mut self, task: TaskId) -> Ticket {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        let mut actions = Vec::new();
        let request = Cancel {
            task,
            team: Self::team(),
            actor: Actor::System("test".into()),
            traceparent: None,
            ticket,
            only_waiting: false,
        };
        self.dispatcher.cancel(request, self.now, &mut actions);
        self.carry_out(actions);
        ticket
    }

    /// Asks for a task to run now; the answer comes when the log has stored it, or at once.
    fn ask_to_run(&mut self, task: TaskId) -> Ticket {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        let mut actions = Vec::new();
        let request = RunNow {
            task,
            team: Self::team(),
            actor: Actor::System("test".into()),
            traceparent: None,
            ticket,
        };
        self.dispatcher.run_now(request, self.now, &mut actions);
        self.carry_out(actions);
        ticket
    }

    fn run_now(&mut self, task: TaskId) -> Option<OwnerReply> {
        let ticket = self.ask_to_run(task);
        self.append();
        self.replies.get(&ticket).cloned()
    }

    /// The owner dies, and the next one replays the log.
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
        // In another process, the monotonic clock counts from another instant.
        self.now.elapsed.0 = self.now.elapsed.0.wrapping_mul(31) % 1_000_003;
        for (place, rules) in &self.rules {
            next.set_rules(place, *rules, self.now);
        }
        for (host, rule) in &self.health {
            next.set_host_rules(*host, *rule);
        }
        next.activate(self.now, &HashSet::new(), Vec::new(), &mut Vec::new());
        self.dispatcher = next;
        self.calls.clear();
        self.deliveries.clear();
        self.dispatcher.check();
        self.append();
    }

    /// Reads an event that must still be in the log.
    fn read(&self, seq: StreamSeq) -> TaskEvent {
        assert!(seq.0 > self.gone, "{seq} is needed and was dropped");
        self.log[usize::try_from(seq.0 - 1).expect("small")].clone()
    }

    /// Decides to restate open tasks, oldest first.
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

    /// Purges everything that no task needs.
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
    answered_with(status, &[])
}

fn answered_with(status: u16, headers: &[(&str, &str)]) -> Outcome {
    let headers = headers.iter();
    Outcome::Answered(Answer {
        status,
        headers: headers
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        body: String::new(),
        encoding: BodyEncoding::Text,
        body_bytes: 0,
        duration_ms: 1,
        header_bytes: None,
    })
}

fn failed(kind: FailureKind) -> Outcome {
    Outcome::Failed(Failure {
        kind,
        message: "it broke".into(),
    })
}
