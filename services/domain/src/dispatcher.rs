//! The dispatcher decides, for one partition, which task runs next and what follows from each
//! outcome.
//!
//! It is a state machine without I/O and without a clock. Its inputs are events read from the log,
//! outcomes of calls, requests of clients, free slots and the time. Its outputs are events to
//! append ([`Dispatcher::begin_append`]) and [`Action`]s for the shell. A decision changes nothing
//! by itself: it waits until the log has stored its event ([`Dispatcher::appended`]), and only then
//! takes effect, through the same [`apply`](Dispatcher::apply) that replays the log after a crash.
//! So memory never runs ahead of the log, and a call is made only after its `task.started` is
//! durable.
//!
//! One append is in flight at a time; decisions made meanwhile queue up. A task with a pending
//! decision is `busy`, and nothing else is decided for it until the log has answered. If the
//! outcome of an append cannot be determined, the shell discards the dispatcher, takes the
//! partition again under a new fence and replays.
//!
//! Only [`ready`] decides what is served next: fairness and ordering keys are questions about the
//! order of ready tasks, and belong there. What may not be served at all for now, because its queue
//! is paused or has used what its limits allow, is kept out of it by [`gates`], and what would call
//! a host that fails by [`hosts`].

mod action;
mod allowance;
mod append;
mod attempt;
mod blocks;
#[cfg(any(test, feature = "check"))]
mod check;
mod claims;
mod dedup;
mod entering;
mod epochs;
mod evolve;
mod explain;
mod gates;
mod home;
mod host_record;
mod hosts;
mod keyed;
mod keys;
mod lanes;
mod lease;
mod limited;
mod listeners;
mod members;
mod offers;
mod open;
mod open_tasks;
mod orders;
mod outcomes;
mod owed;
mod packed;
mod parked;
mod priorities;
mod purge;
mod rate;
mod ready;
mod reports;
mod requests;
mod retention;
mod rules;
mod serve;
mod singles;
mod slowdown;
mod snapshot;
mod targets;
mod timers;
mod together;
mod waits;
mod weights;
mod windows;
mod workers;

#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use crate::actor::Actor;
use crate::event::{TaskCancelled, TaskEvent};
use crate::id::{QueueName, TaskId, TeamId};
use crate::seq::StreamSeq;
use crate::task::retry::Outcome;
use crate::task::waits::WaitKind;
use crate::time::{Elapsed, Times, Timestamp};
use claims::Claims;
use dedup::Remembered;
use epochs::Epochs;
use gates::Gates;
use hosts::Hosts;
use keyed::Sharing;
use keys::Keys;
use lanes::Lanes;
use members::{Arriving, Followers};
use offers::Offers;
use open::{Open, Phase};
use open_tasks::OpenTasks;
use orders::Orders;
use ready::Ready;
use singles::Singles;
use timers::Timers;
use together::Together;
use waits::Marked;
use weights::Weights;
use workers::Workers;

pub use action::{
    Action, Admission, Call, CallKind, Cancel, Claim, Compartment, Decision, Delivery,
    LeaseGranted, PurgeLetter, Report, RunNow, Running, Ticket, Uncounted, Wanted,
};
pub use blocks::Unblock;
pub use dedup::Kept;
pub use home::Home;
pub use host_record::{HostRecord, Reading};
pub use listeners::ListenersBook;
pub use priorities::ChangePriority;
pub use retention::{RESTATEMENT_BYTES, Restatable};
pub use rules::{
    Hold, HostRules, LimitRules, LimitRulesBook, Listening, Place, QueueRules, QueueRulesBook,
};
pub use snapshot::SnapshotError;
pub use targets::HostRulesBook;
pub use together::CancelTogether;
pub use weights::{TeamTurn, TeamWeightsBook};

/// How long after an attempt's time limit its worker may still report the outcome.
const LEASE_SLACK: Duration = Duration::from_secs(5);

/// State of one partition; see the module.
#[derive(Debug)]
pub struct Dispatcher {
    tasks: OpenTasks,
    lanes: Lanes,
    /// Which task of each ordering key may run.
    orders: Orders,
    /// Which tasks share a key of which not every one runs.
    sharing: Sharing,
    /// Which of them has the key of a singleton, and which is next; empty during replay.
    singles: Singles,
    /// The ended tasks that later ones may duplicate.
    remembered: Remembered,
    /// Everything up to this sequence has been applied.
    position: StreamSeq,
    /// Up to this sequence, certainly no other owner has appended: the fence, or the last append
    /// that was accepted under it. Behind it there may be events of another owner that this one has
    /// not seen, however far its creations reach.
    certain: StreamSeq,
    /// Empty until the dispatcher is active: during replay, nothing is due.
    ready: Ready,
    /// What holds ready tasks back.
    gates: Gates,
    /// How many tasks of a queue start in a turn.
    weights: Weights,
    /// How the hosts of tasks do, and what is held back because of it.
    hosts: Hosts,
    /// Due deliveries, in each queue in the order in which they became due.
    due_deliveries: Ready,
    deliveries_due: u64,
    /// The pending [`alarms`](Open::alarms) of all tasks; empty during replay, like `ready`.
    timers: Timers,
    /// Time of the last tick.
    now: Times,
    decided: VecDeque<Decision>,
    in_flight: Vec<Decision>,
    active: bool,
    /// Total stored size of the creations of `tasks`.
    owed_bytes: u64,
    /// Keys that the sealed headers of `tasks` need.
    epochs: Epochs,
    /// Limits that tasks of several queues share.
    keys: Keys,
    /// Ready tasks that workers claim.
    offers: Offers,
    /// The claims that wait for them.
    claims: Claims,
    /// Workers that were heard of.
    workers: Workers,
    /// Which tasks wait for the end of others.
    followers: Followers,
    /// The members of workflows of which not all are read yet.
    arriving: Arriving,
    /// What has held ready tasks back.
    marked: Marked,
    /// The members of workflows that are about to be cancelled.
    together: Together,
}

impl Dispatcher {
    #[must_use]
    pub fn new() -> Self {
        Self {
            tasks: OpenTasks::default(),
            lanes: Lanes::default(),
            orders: Orders::default(),
            sharing: Sharing::default(),
            singles: Singles::default(),
            remembered: Remembered::default(),
            position: StreamSeq(0),
            certain: StreamSeq(0),
            ready: Ready::default(),
            gates: Gates::default(),
            weights: Weights::default(),
            hosts: Hosts::default(),
            due_deliveries: Ready::default(),
            deliveries_due: 0,
            timers: Timers::default(),
            now: Times {
                elapsed: Elapsed(0),
                wall: Timestamp(0),
            },
            decided: VecDeque::new(),
            in_flight: Vec::new(),
            active: false,
            owed_bytes: 0,
            epochs: Epochs::default(),
            keys: Keys::default(),
            offers: Offers::default(),
            claims: Claims::default(),
            workers: Workers::default(),
            followers: Followers::default(),
            arriving: Arriving::default(),
            marked: Marked::default(),
            together: Together::default(),
        }
    }

    /// Everything up to this sequence has been applied, so replay continues after it.
    #[must_use]
    pub fn position(&self) -> StreamSeq {
        self.position
    }

    /// Team and queue of an open task.
    #[must_use]
    pub fn place_of(&self, id: TaskId) -> Option<&(TeamId, QueueName)> {
        let task = self.tasks.get(&id)?;
        Some(self.lanes.names(task.lane))
    }

    /// Number of tasks that have not ended, and of ended ones whose webhook is not delivered yet.
    #[must_use]
    pub fn open(&self) -> usize {
        self.tasks.len()
    }

    /// Whether the task has not ended.
    #[must_use]
    pub fn is_open(&self, task: TaskId) -> bool {
        self.tasks
            .get(&task)
            .is_some_and(|open| !matches!(open.phase, Phase::Ended { .. }))
    }

    /// Whether the task was created here and anything remains to be done for it.
    #[must_use]
    pub fn knows(&self, task: TaskId) -> bool {
        self.tasks.contains_key(&task)
    }

    /// Applies an event from the log; an event that was applied before changes nothing. An active
    /// dispatcher only receives creations this way: all other events are its own, and take effect
    /// in [`Dispatcher::appended`].
    pub fn apply(&mut self, seq: StreamSeq, traceparent: Option<&str>, event: &TaskEvent) {
        if let TaskEvent::Created(created) = event {
            if seq > self.position {
                self.position = seq;
                self.create(seq, traceparent, created);
            }
        } else if !self.active {
            self.position = self.position.max(seq);
            match event {
                TaskEvent::Restated(restated) => self.restated(seq, traceparent, restated),
                TaskEvent::CallbackRequested(requested) => {
                    self.callback_requested(seq, traceparent, requested);
                }
                _ => self.evolve(seq, event, None, &mut Vec::new()),
            }
        }
    }

    /// Starts serving: replay is complete, up to the fence of this owner. Attempts of former owners
    /// are lost, unless this process is still making them (`alive`), knows how they ended, or has
    /// yet to make them (`unstored`, from [`Dispatcher::into_unstored`]). Each start in `unstored`
    /// that was stored after all becomes an [`Action::Call`]; they must come from this process, so
    /// pass none when another owner was in between.
    pub fn activate(
        &mut self,
        now: Times,
        alive: &HashSet<Running>,
        unstored: Vec<TaskEvent>,
        actions: &mut Vec<Action>,
    ) {
        debug_assert!(!self.active, "a dispatcher is activated once");
        self.settle_members();
        self.active = true;
        self.now = now;
        self.certain = self.position;
        self.marked.begin(now.wall);
        let mut unstored: HashMap<Running, TaskEvent> = unstored
            .into_iter()
            .filter_map(|event| Some((attempt::call_of(&event)?, event)))
            .collect();
        let (mut with_keys, mut with_limits) = (Vec::new(), Vec::new());
        let (mut ids, mut waiting) = (Vec::new(), Vec::new());
        for (id, task) in self.tasks.iter_mut() {
            task.place(now);
            // All that `arm` does for it, for all of them together, and while it is at hand: most
            // tasks wait.
            if matches!(task.phase, Phase::Waiting { .. }) && task.keyed.is_none() {
                waiting.extend(task.alarms().map(|alarm| (alarm, *id)));
                continue;
            }
            ids.push(*id);
            if matches!(task.phase, Phase::Running { .. }) {
                self.gates.runs(task.lane, *id, true);
                self.hosts.runs(task.compartment(), *id, task.probes);
                if task.limits.is_some() {
                    with_limits.push(*id);
                }
            }
            let has_started = task.attempts > 0 && !matches!(task.phase, Phase::Ended { .. });
            if has_started && task.keyed.is_some() {
                with_keys.push(*id);
            }
        }
        for id in with_keys {
            self.has_its_key(id);
        }
        for id in with_limits {
            if let Some(of) = limited::claimant(&self.tasks, &self.lanes, id) {
                self.keys.runs(of, true, now);
            }
        }
        // They lie in memory as they happened to come; these decisions must not depend on that.
        ids.sort_unstable();
        // First, so that the end of a lost attempt names the task that runs instead.
        self.hosts.place(now);
        self.remembered.place(now);
        self.keys.place_pauses(now);
        self.settle_all();
        for id in ids {
            let Some(task) = self.tasks.get_mut(&id) else {
                continue;
            };
            match &mut task.phase {
                Phase::Waiting { .. } | Phase::Ready { .. } if task.keyed.is_some() => {
                    self.disarm(id);
                    self.arm(id);
                }
                Phase::Waiting { .. } | Phase::Ready { .. } => self.arm(id),
                Phase::Running { attempt } => {
                    let number = *attempt;
                    let running = Running::attempt(id, number);
                    match unstored.remove(&running) {
                        Some(TaskEvent::Started(started)) => {
                            actions.push(Action::Call(task.call(&started, Duration::ZERO)));
                        }
                        Some(result) => self.decide(result, None, now),
                        None if task.lease().is_some() => self.take_over_lease(id, number, now),
                        None if alive.contains(&running) => {
                            if task.cancel_requested.is_some() {
                                actions.push(Action::CutOff(running));
                            }
                        }
                        None => {
                            self.attempt_ended(id, number, Outcome::Failed(attempt::lost()), now);
                        }
                    }
                }
                Phase::Ended {
                    deliveries,
                    claimed,
                    ..
                } => {
                    let running = Running {
                        task: id,
                        number: *deliveries + 1,
                        kind: CallKind::Delivery,
                    };
                    let result = unstored.remove(&running);
                    *claimed = result.is_some() || alive.contains(&running);
                    match result {
                        Some(event) => self.decide(event, None, now),
                        None => self.arm(id),
                    }
                }
            }
        }
        self.timers.extend(waiting);
        self.tick(now);
    }

    /// Handles every task whose time has come.
    pub fn tick(&mut self, now: Times) {
        self.now = now;
        self.gates.tick(now);
        self.hosts.tick(now);
        self.remembered.tick(now);
        self.keys.tick(now);
        while let Some(id) = self.timers.pop(now) {
            self.look_at(id, now);
        }
    }

    /// Time until [`Dispatcher::tick`] has something to do, unless the wall clock jumps.
    #[must_use]
    pub fn wake_in(&self, now: Times) -> Option<Duration> {
        if self.ready.is_cut_short() {
            return Some(Duration::ZERO);
        }
        let gates = self.gates.next_in(now);
        let held = gates.into_iter().chain(self.hosts.next_in(now));
        let others = held.chain(self.remembered.next_in(now));
        let others = others.chain(self.keys.next_in(now));
        let others = others.chain(self.claims_in(now));
        self.timers.next_in(now).into_iter().chain(others).min()
    }

    /// Number of calls that could begin if there were slots, without the tasks that are held back.
    #[must_use]
    pub fn wanted_slots(&self) -> usize {
        self.ready.len() + self.due_deliveries.len()
    }

    /// Schedules a task: in the queue of ready tasks, or by a timer.
    fn arm(&mut self, id: TaskId) {
        if !self.active {
            return;
        }
        let Some(task) = self.tasks.get(&id) else {
            return;
        };
        if task.busy {
            return;
        }
        for alarm in task.alarms() {
            self.timers.insert(alarm, id);
        }
        let is_ready = matches!(task.phase, Phase::Ready { .. }) && !task.is_to_be_cancelled();
        if !is_ready {
            return;
        }
        if !self.may_run_as_member(id, task) {
            self.mark_new(id, WaitKind::Predecessors, None);
        } else if !self.is_its_turn(id, task) {
            self.mark_new(id, WaitKind::Order, None);
        } else if self.comes_to_its_key(id) {
            self.queue(id);
        } else {
            self.mark_new(id, WaitKind::Singleton, None);
        }
    }

    /// Undoes [`Dispatcher::arm`].
    fn disarm(&mut self, id: TaskId) {
        if !self.active {
            return;
        }
        let Some(task) = self.tasks.get(&id) else {
            return;
        };
        for alarm in task.alarms() {
            self.timers.remove(alarm, id);
        }
        self.withdraw(id);
        self.leaves_its_key(id);
    }

    fn look_at(&mut self, id: TaskId, now: Times) {
        let Some(task) = self.tasks.get_mut(&id) else {
            return;
        };
        if task.busy {
            return;
        }
        let (overdue, has_waited) = (task.is_overdue(now), task.has_waited(now));
        match task.phase {
            _ if task.is_to_be_cut() => self.cut(id, now),
            _ if task.is_to_yield() => self.yield_place(id, now),
            _ if task.is_to_be_cancelled() => {
                let event = TaskEvent::Cancelled(TaskCancelled {
                    after: task.cancelled_after.as_ref().map(|after| after.task),
                    predecessor: task.forsaken(),
                    ..TaskCancelled::idle(id, now.wall)
                });
                self.decide(event, None, now);
            }
            _ if task.is_unfit() => self.end_unfit(id, now),
            Phase::Running { attempt } => self.look_at_lease(id, attempt, now),
            Phase::Waiting { .. } | Phase::Ready { .. } if overdue => self.expire(id, now),
            Phase::Waiting { until, from, wake } if has_waited => {
                task.phase = Phase::Ready {
                    since: until,
                    from: match from {
                        Some(_) => wake,
                        None => now.place(until),
                    },
                };
                if from.is_some() && task.attempts == 0 {
                    self.mark_debounced(id);
                }
                self.arm(id);
            }
            Phase::Ended {
                ref mut claimed, ..
            } if has_waited && !*claimed && !task.delivered => {
                *claimed = true;
                self.deliver_when_admitted(id);
            }
            _ => {}
        }
    }

    /// Ends a task that may make no further attempt.
    fn expire(&mut self, id: TaskId, now: Times) {
        if let Some(task) = self.tasks.get(&id) {
            let event = attempt::overdue(task, id, now);
            self.decide(event, None, now);
        }
    }

    /// Queues an event for the log, decided by the dispatcher itself or on request.
    fn decide(
        &mut self,
        mut event: TaskEvent,
        asked: Option<(Actor, Option<String>, Ticket)>,
        now: Times,
    ) {
        // What follows from the event begins when it was decided, not when the timers were last looked at.
        self.now = now;
        self.slow_down(&event, now);
        self.disable_target(&event, now);
        self.settle_rest(&mut event);
        self.name_instead(&mut event);
        self.tell_waits(&mut event, now);
        self.disarm(event.id());
        let Some(task) = self.tasks.get_mut(&event.id()) else {
            return;
        };
        debug_assert!(!task.busy, "one decision about a task at a time");
        task.busy = true;
        if let (TaskEvent::Cancelled(_), Some(keyed)) = (&event, &mut task.keyed) {
            keyed.is_ending = true;
        }
        let (team, queue) = self.lanes.names(task.lane).clone();
        let (actor, traceparent, ticket) = match asked {
            Some((actor, traceparent, ticket)) => (Some(actor), traceparent, Some(ticket)),
            None => (None, task.traceparent.as_deref().map(Into::into), None),
        };
        self.decided.push_back(Decision {
            event,
            team,
            queue,
            actor,
            traceparent,
            ticket,
            decided: now.elapsed,
            is_joined: false,
        });
    }
}

impl Default for Dispatcher {
    fn default() -> Self {
        Self::new()
    }
}
