//! The checker of a simulated history: it records everything that happens, and checks it against
//! the promises.

mod blocks;
pub(crate) mod claims;
mod hosts;
mod keyed;
mod lengths;
mod limits;
mod members;
mod order;
mod priorities;
mod slowdown;
mod together;
mod wishes;

use std::collections::{BTreeMap, BTreeSet};

use claims::{Claims, Clocks};
use keyed::key_of;
use order::line_of;
use together::Together;
use waybill_domain::actor::Actor;
use waybill_domain::command::OwnerReply;
use waybill_domain::dispatcher::CallKind;
use waybill_domain::event::{PartitionOwned, Standing, TaskCreated, TaskEvent};
use waybill_domain::id::{LimitKey, QueueName, TaskId, TeamId};
use waybill_domain::partition::Partition;
use waybill_domain::task::Priority;
use waybill_domain::task::retry::Outcome;
use waybill_domain::time::Timestamp;
use waybill_log::subject::TaskSubject;
use waybill_log::{Record, StreamSeq};
pub(crate) use wishes::Wish;

/// The life of one task, according to the log and its target.
struct Life {
    created: TaskCreated,
    started: u32,
    running: Option<u32>,
    counted_failures: u16,
    ended: bool,
    deliveries_failed: u32,
    delivered: bool,
    /// When it was accepted, and when the pause after the last attempt ends, by the server's clock.
    accepted: Timestamp,
    pause_over: Option<Timestamp>,
    /// Its attempts that were stored while its queue was certainly paused: they must not be made.
    forbidden: BTreeSet<u32>,
    /// The outcomes so far, by kind and number. A delivery may be made by more than one owner.
    calls: BTreeMap<(CallOf, u32), Vec<Outcome>>,
    /// Whether its cancellation was requested while an attempt was running.
    cancel_requested: bool,
    /// Whether a target answered and that ended it.
    succeeded: bool,
    /// Sequence of its creation.
    seq: StreamSeq,
    /// The task whose failure cancels it, because of their ordering key.
    cancelled_after: Option<TaskId>,
    /// Its priority, by its creation and the changes since.
    priority: Priority,
    claims: Claims,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum CallOf {
    Attempt,
    Delivery,
}

impl From<CallKind> for CallOf {
    fn from(kind: CallKind) -> Self {
        match kind {
            CallKind::Attempt => Self::Attempt,
            CallKind::Delivery => Self::Delivery,
        }
    }
}

impl Life {
    fn is_open(&self) -> bool {
        !self.ended || (self.created.on_complete_url.is_some() && !self.delivered)
    }
}

/// A reply, and the state of the task when it came.
struct Replied {
    reply: OwnerReply,
    ended_then: bool,
    requested_then: bool,
}

/// A cancellation that a client asked for.
pub(super) struct Asked {
    pub(super) task: TaskId,
    pub(super) wish: Wish,
    pub(super) actor: String,
    /// Whether the client knew that the task was accepted when it asked.
    pub(super) knew: bool,
    /// Replies of all owners that got the request: any of them might have been the first.
    replies: Vec<Replied>,
    stored: Option<StreamSeq>,
}

#[derive(Default)]
pub(crate) struct Ledger {
    lives: BTreeMap<TaskId, Life>,
    owners: BTreeMap<Partition, (StreamSeq, String)>,
    /// Low-water marks as stored.
    marks: BTreeMap<Partition, StreamSeq>,
    asked: Vec<Asked>,
    together: Vec<Together>,
    /// Workers of teams that certainly drain.
    draining: BTreeSet<String>,
    accepted: Vec<TaskId>,
    refused: Vec<TaskId>,
    order: Vec<TaskId>,
    /// The tasks of each ordering key, in the order of their creations.
    lines: BTreeMap<(TeamId, QueueName, String), Vec<TaskId>>,
    /// The same for the keys of debounces, singletons and dedups.
    windows: BTreeMap<(TeamId, QueueName, String), Vec<TaskId>>,
    /// Queues whose pause was answered.
    paused: BTreeSet<(TeamId, QueueName)>,
    /// Queues of which it was answered that nobody listens to them.
    unheard: BTreeSet<(TeamId, QueueName)>,
    /// Teams of which it was answered that their host is open.
    held: BTreeSet<TeamId>,
    hosts: hosts::Hosts,
    /// The attempts that run of each limit key.
    limited: BTreeMap<(TeamId, LimitKey), BTreeSet<TaskId>>,
    priorities: priorities::Priorities,
    blocking: blocks::Blocking,
    slowdowns: slowdown::Slowdowns,
    digest: u64,
    /// Set if only wall clocks are wrong: then pauses and time limits must take exactly as long as
    /// they should.
    exact_lengths: bool,
    /// What may be said about leases.
    pub(crate) clocks: Clocks,
    /// How often each kind of thing happened, so that a test can check that it did.
    pub(crate) counts: BTreeMap<&'static str, u64>,
    pub(crate) violations: Vec<String>,
}

impl Ledger {
    pub(crate) fn new(exact_lengths: bool) -> Self {
        Self {
            exact_lengths,
            ..Self::default()
        }
    }

    fn broken(&mut self, what: String) {
        self.violations.push(what);
    }

    fn hash(&mut self, bytes: &[u8]) {
        // FNV-1a, which is enough to compare two runs of the same seed.
        for byte in bytes {
            self.digest = (self.digest ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    /// A hash by which two logs are compared.
    pub(crate) fn digest(&self) -> u64 {
        self.digest
    }

    /// Number of tasks and completion webhooks that have not ended.
    pub(crate) fn open(&self) -> usize {
        self.lives.values().filter(|life| life.is_open()).count()
    }

    /// Tasks in the order in which their first attempts started.
    pub(crate) fn order(&self) -> &[TaskId] {
        &self.order
    }

    /// Checks a record that was stored.
    pub(super) fn stored(&mut self, record: &Record, by: &str, expected: Option<StreamSeq>) {
        self.hash(record.subject.as_bytes());
        self.hash(&record.payload);
        let Some(subject) = TaskSubject::parse(&record.subject) else {
            return self.broken(format!("{} is no subject", record.subject));
        };
        let partition = subject.partition();
        if record.event == PartitionOwned::NAME {
            let mark = PartitionOwned::decode(&record.payload).map(|owned| owned.mark);
            let former = self.marks.get(&partition).copied().unwrap_or_default();
            match mark {
                Ok(mark) if mark.unwrap_or_default() >= former => {
                    if mark.unwrap_or_default() > former {
                        self.count("mark moved");
                    }
                    self.marks.insert(partition, mark.unwrap_or_default());
                }
                mark => self.broken(format!(
                    "the mark of {partition} moves from {former} to {mark:?}"
                )),
            }
            self.count("owned");
            self.owners.insert(partition, (record.seq, by.to_owned()));
            self.hosts_of_new_owner(partition, record.time);
            return;
        }
        let event = match TaskEvent::decode(&record.event, &record.payload) {
            Ok(event) => event,
            Err(error) => return self.broken(format!("{}: {error}", record.seq)),
        };
        if let TaskEvent::Created(created) = event {
            return self.created(*created, record);
        }
        // Ownership: every event of a task after its creation is written by the newest owner of its
        // partition.
        match self.owners.get(&partition) {
            Some((fence, owner)) if Some(*fence) == expected && owner == by => {}
            owner => {
                let owner = owner.cloned();
                self.broken(format!(
                    "{} {} was stored by {by} under fence {expected:?}, but the owner is {owner:?}",
                    record.seq, record.event
                ));
            }
        }
        self.event(record, &event);
    }

    fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    fn created(&mut self, created: TaskCreated, record: &Record) {
        self.count("created");
        let id = created.id;
        if let Some(line) = line_of(&created) {
            self.lines.entry(line).or_default().push(id);
        }
        if let Some(key) = key_of(&created) {
            self.windows.entry(key).or_default().push(id);
        }
        let life = Life {
            priority: created.priority,
            created,
            started: 0,
            running: None,
            counted_failures: 0,
            ended: false,
            deliveries_failed: 0,
            delivered: false,
            accepted: record.time,
            pause_over: None,
            forbidden: BTreeSet::new(),
            cancel_requested: false,
            succeeded: false,
            seq: record.seq,
            cancelled_after: None,
            calls: BTreeMap::new(),
            claims: Claims::default(),
        };
        if self.lives.insert(id, life).is_some() {
            self.broken(format!("{id} was created twice"));
        }
    }

    fn event(&mut self, record: &Record, event: &TaskEvent) {
        let id = event.id();
        self.count(event.kind());
        self.in_order(record, event);
        self.at_host(record, event);
        self.in_window(record, event);
        self.within_limits(record, event);
        self.of_priority(record, event);
        self.of_claim(record, event);
        self.of_block(record, event);
        self.slows_down(record, event);
        self.of_member(record, event);
        self.of_workflow(record, event);
        let Some(life) = self.lives.get_mut(&id) else {
            return self.broken(format!("{} of {id}, which nobody created", event.kind()));
        };
        let forgotten = matches!(event, TaskEvent::AttemptFailed(e)
            if !e.counted && life.calls.get(&(CallOf::Attempt, e.attempt)).is_some_and(|all| !all.is_empty()));
        if forgotten {
            *self.counts.entry("result forgotten").or_default() += 1;
        }
        if matches!(event, TaskEvent::AttemptFailed(e) if !e.counted) {
            *self.counts.entry("attempt lost").or_default() += 1;
        }
        let was_requested = life.cancel_requested;
        // An end that a client asked for may also name the task that takes its place.
        let is_of_worker = record.actor == Actor::worker().to_string();
        let is_of_a_singleton = life
            .created
            .once
            .as_ref()
            .is_some_and(|once| once.singleton().is_some())
            && is_of_worker;
        let answer = |number| life.calls.get(&(CallOf::Attempt, number))?.last().cloned();
        let ends = matches!(
            event,
            TaskEvent::Succeeded(_)
                | TaskEvent::Dead(_)
                | TaskEvent::Cancelled(_)
                | TaskEvent::Expired(_)
        );
        let wrong = match event {
            TaskEvent::Started(e) => {
                (life.ended || life.cancel_requested || life.running.is_some() || e.attempt != life.started + 1)
                    .then_some("attempts count 1, 2, 3, one at a time, and none after the end or a request to cancel")
            }
            TaskEvent::AttemptFailed(e) if life.running != Some(e.attempt) => {
                Some("only the running attempt fails")
            }
            TaskEvent::Released(e) if life.running != Some(e.attempt) => {
                Some("only the running attempt is released")
            }
            TaskEvent::AttemptFailed(e) if e.counted && !life.created.is_pulled() => {
                let failed = match answer(e.attempt) {
                    Some(Outcome::Answered(answer)) => answer.status >= 400,
                    Some(Outcome::Failed(_)) => true,
                    None => false,
                };
                (!failed || life.counted_failures >= life.created.max_retries)
                    .then_some("a counted failure is the target's, and within maxRetries")
            }
            TaskEvent::Succeeded(e) if life.created.is_pulled() => (life.running != Some(e.attempt))
                .then_some("a claim completes the running attempt"),
            TaskEvent::Progressed(e) => (life.running != Some(e.attempt))
                .then_some("only the running attempt is extended"),
            TaskEvent::Succeeded(e) => {
                let told = match answer(e.attempt) {
                    Some(Outcome::Answered(answer)) => Some(answer.status),
                    _ => None,
                };
                (life.running != Some(e.attempt) || told != Some(e.answer.status))
                    .then_some("success is what the target answered to the running attempt")
            }
            TaskEvent::Dead(e) => {
                (life.running != Some(e.attempt)).then_some("a task dies of its running attempt")
            }
            TaskEvent::Expired(e) => (life.running != e.attempt)
                .then_some("a task expires between attempts or with the running one"),
            TaskEvent::CancelRequested(e) => (life.ended
                || life.cancel_requested
                || life.running != Some(e.attempt))
            .then_some("a cancellation is requested once, of the running attempt"),
            TaskEvent::Cancelled(e) => (life.ended
                || life.running != e.attempt
                || (e.attempt.is_some() && !life.cancel_requested))
                .then_some("a task is cancelled once, and while an attempt is made only as requested"),
            TaskEvent::Purged(_) => {
                (!life.ended).then_some("only what has ended leaves the dead letters")
            }
            TaskEvent::CallbackSent(_) | TaskEvent::CallbackFailed(_) => {
                let (number, wanted) = match event {
                    TaskEvent::CallbackSent(e) => (e.attempt, true),
                    TaskEvent::CallbackFailed(e) => (e.attempt, false),
                    _ => (0, false),
                };
                let made = life.calls.get(&(CallOf::Delivery, number));
                let went_well = made.into_iter().flatten().any(|outcome| {
                    matches!(outcome, Outcome::Answered(answer) if (200..300).contains(&answer.status))
                });
                let right = life.ended
                    && !life.delivered
                    && life.created.on_complete_url.is_some()
                    && number == life.deliveries_failed + 1
                    && (!wanted || went_well);
                (!right).then_some("deliveries follow the end, count 1, 2, 3 and are made")
            }
            TaskEvent::Restated(e) => {
                let running = match e.standing {
                    Standing::Running { attempt, .. } => Some(attempt),
                    _ => None,
                };
                let ended = matches!(e.standing, Standing::Ended { .. });
                let right = e.attempts == life.started
                    && running == life.running
                    && ended == life.ended
                    && (!life.delivered || e.blocks.is_some())
                    && (ended || e.created == life.created);
                (!right).then_some("a restatement says how the task stands")
            }
            _ => None,
        };
        let wrong = if ends && life.ended {
            Some("exactly one terminal state")
        } else {
            wrong.or_else(|| self.exact_lengths.then(|| life.length(record, event))?)
        };
        life.keep_time(record, event);
        match event {
            TaskEvent::Started(e) => {
                if life.started == 0 {
                    self.order.push(id);
                }
                (life.started, life.running) = (e.attempt, Some(e.attempt));
                let place = (life.created.team.clone(), life.created.queue.clone());
                let is_held = self.held.contains(&place.0) && e.claim.is_none();
                let is_unheard = self.unheard.contains(&place);
                if is_held || is_unheard || self.paused.contains(&place) {
                    life.forbidden.insert(e.attempt);
                    *self.counts.entry("started while paused").or_default() += 1;
                }
            }
            TaskEvent::AttemptFailed(e) => {
                life.running = None;
                life.counted_failures += u16::from(e.counted);
            }
            TaskEvent::Released(_) => life.running = None,
            TaskEvent::CallbackSent(_) => life.delivered = true,
            TaskEvent::CallbackFailed(e) => {
                life.deliveries_failed = e.attempt;
                life.delivered = e.retry_at.is_none();
            }
            TaskEvent::CancelRequested(_) => life.cancel_requested = true,
            _ if ends => {
                (life.ended, life.running) = (true, None);
                life.succeeded = matches!(event, TaskEvent::Succeeded(_));
            }
            _ => {}
        }
        if let Some(promise) = wrong {
            self.broken(format!(
                "{} {} of {id} breaks: {promise}",
                record.seq, record.event
            ));
        }
        if (matches!(event, TaskEvent::CancelRequested(_)) && !is_of_a_singleton)
            || (matches!(event, TaskEvent::Cancelled(e) if e.after.is_none() && e.predecessor.is_none() && (e.instead.is_none() || !is_of_worker))
                && !was_requested)
            || matches!(event, TaskEvent::Purged(_))
        {
            self.wished_for(id, record, event);
        }
        if was_requested && ends {
            self.count(match event {
                TaskEvent::Cancelled(_) => "cut off",
                _ => "answered before the cut",
            });
        }
    }

    /// Checks a call that reaches its target.
    pub(super) fn called(&mut self, id: TaskId, kind: CallKind, number: u32) {
        self.count("called");
        let Some(life) = self.lives.get_mut(&id) else {
            return self.broken(format!("{id} was called, and nobody created it"));
        };
        let again = life.calls.contains_key(&(kind.into(), number));
        life.calls.entry((kind.into(), number)).or_default();
        let (started, ended) = (life.started, life.ended);
        let forbidden = life.forbidden.contains(&number);
        match kind {
            CallKind::Attempt if forbidden => self.broken(format!(
                "attempt {number} of {id} was made, and its start was stored while its queue was paused, or nobody listened to it"
            )),
            CallKind::Attempt if number > started => self.broken(format!(
                "{id} was called before its attempt {number} was stored"
            )),
            CallKind::Attempt if again => {
                self.broken(format!("attempt {number} of {id} was made twice"));
            }
            CallKind::Delivery if !ended => {
                self.broken(format!("the webhook of {id} was sent before its end"));
            }
            CallKind::Attempt | CallKind::Delivery => {}
        }
    }

    /// Records the outcome of a call.
    pub(super) fn answered(&mut self, id: TaskId, kind: CallKind, number: u32, outcome: Outcome) {
        if let Some(life) = self.lives.get_mut(&id) {
            life.calls
                .entry((kind.into(), number))
                .or_default()
                .push(outcome);
        }
    }

    /// Records that a client was told that its task is accepted, or that it definitely is not.
    pub(super) fn told(&mut self, id: TaskId, accepted: bool) {
        let list = if accepted {
            &mut self.accepted
        } else {
            &mut self.refused
        };
        list.push(id);
    }

    /// At the end of the history, checks the promises to clients. An owner whose lease vanished may
    /// deny a task, since it cannot know better.
    pub(crate) fn close(&mut self, leases_vanish: bool) {
        let mut broken = Vec::new();
        for (id, life) in &self.lives {
            if life.is_open() {
                broken.push(format!(
                    "{id} has not come to its end: started {}, ended {}; limits {:?}, once {:?}, not before {:?}",
                    life.started, life.ended, life.created.limits, life.created.once, life.created.not_before
                ));
            }
        }
        for id in &self.accepted {
            if !self.lives.contains_key(id) {
                broken.push(format!("{id} was accepted and is lost"));
            }
        }
        for id in &self.refused {
            if self.lives.contains_key(id) {
                broken.push(format!("{id} was refused and is there"));
            }
        }
        for asked in &self.asked {
            let (task, actor, stored) = (asked.task, &asked.actor, asked.stored);
            for replied in &asked.replies {
                let wrong = match replied.reply {
                    OwnerReply::Done { seq } => stored != Some(seq),
                    OwnerReply::Running => asked.wish == Wish::Cancel,
                    OwnerReply::Explained(_)
                    | OwnerReply::Health(_)
                    | OwnerReply::Granted(_)
                    | OwnerReply::Limits(_)
                    | OwnerReply::Noted
                    | OwnerReply::Claimed(_)
                    | OwnerReply::Reported { .. }
                    | OwnerReply::Extended { .. }
                    | OwnerReply::LeaseLost
                    | OwnerReply::Several(_)
                    | OwnerReply::Workers(_)
                    | OwnerReply::ExplainedMany(_)
                    | OwnerReply::ExplainedWithKeys(_) => true,
                    OwnerReply::AlreadyRequested { .. } => {
                        asked.wish != Wish::Cancel || !replied.requested_then
                    }
                    OwnerReply::NotOpen if leases_vanish => false,
                    OwnerReply::NotOpen => stored.is_some() || (asked.knew && !replied.ended_then),
                    OwnerReply::TryAgain => false,
                };
                if wrong {
                    broken.push(format!(
                        "{actor} was told {:?} about {task}; cancelled by that request: {stored:?}; it was ended then: {}",
                        replied.reply, replied.ended_then
                    ));
                }
            }
        }
        broken.extend(self.left_of_workflows());
        self.violations.extend(broken);
    }
}
