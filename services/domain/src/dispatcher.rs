//! The dispatcher: decides for one partition which task runs next, and what each outcome leads to.
//!
//! A state machine without I/O and without a clock. What goes in: events read from the log, outcomes of calls, requests of
//! clients, free slots, the time. What comes out: events to append ([`Dispatcher::begin_append`]) and [`Action`]s for the
//! shell. A decision changes nothing by itself: it waits until the log has stored its event ([`Dispatcher::appended`]), and only
//! then takes effect, by the same [`apply`](Dispatcher::apply) that replays the log after a crash. So memory never says more
//! than the log, and a call is made only after its `task.started` is durable.
//!
//! One append is in flight at a time; meanwhile decisions gather. A task about which a decision waits is `busy` and is left
//! alone until the log has answered. If the outcome of an append cannot be known, the shell throws the dispatcher away, takes
//! the partition again under a new fence and replays.
//!
//! What will be served next is [`ready`]'s affair alone: fairness, rate and concurrency limits, ordering keys and pauses are
//! questions about the order of ready tasks, and belong there.

mod action;
mod attempt;
#[cfg(any(test, feature = "check"))]
mod check;
mod evolve;
mod lanes;
mod open;
mod owed;
mod ready;
mod retention;
mod serve;
mod snapshot;
mod timers;

#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use crate::actor::Actor;
use crate::command::OwnerReply;
use crate::event::{
    CallbackFailed, CallbackSent, FailureKind, TaskCancelled, TaskEvent, TaskExpired, TaskReleased,
};
use crate::id::{QueueName, TaskId, TeamId};
use crate::seq::StreamSeq;
use crate::task::retry::Outcome;
use crate::time::{Elapsed, Times, Timestamp};
use lanes::Lanes;
use open::{Open, Phase};
use ready::Ready;
use timers::Timers;

pub use action::{
    Action, Admission, Call, CallKind, Cancel, Compartment, Decision, Delivery, Running, Ticket,
    Uncounted, Wanted,
};
pub use retention::Restatable;
pub use snapshot::SnapshotError;

/// How long after the end of an attempt's time limit its worker is given to say how it ended.
const LEASE_SLACK: Duration = Duration::from_secs(5);

/// What the answers in one append may weigh. The server bounds what it buffers of a batch, and so does the appender.
const APPEND_BYTES: usize = 4 * 1024 * 1024;

/// Pause after a delivery that the worker could not make.
const PUT_OFF: Duration = Duration::from_secs(10);

/// The state of one partition. See the module.
#[derive(Debug)]
pub struct Dispatcher {
    tasks: HashMap<TaskId, Open>,
    lanes: Lanes,
    /// Everything up to here has been applied.
    position: StreamSeq,
    /// Up to here nobody else has appended for certain: the fence, or the last append that it let through. Behind it, another
    /// owner's events may stand that this one has not seen, however far its creations go.
    certain: StreamSeq,
    /// Empty until the dispatcher is active: while it replays, nothing is due.
    ready: Ready,
    /// Deliveries that are due, in the order in which they became so.
    due_deliveries: Ready,
    deliveries_due: u64,
    /// Those of the tasks' [`alarms`](Open::alarms) that are still to come; empty like `ready` while it replays.
    timers: Timers,
    /// When it was last looked at.
    now: Times,
    decided: VecDeque<Decision>,
    in_flight: Vec<Decision>,
    active: bool,
    /// Bytes of the creations of `tasks`.
    owed_bytes: u64,
}

impl Dispatcher {
    /// An empty partition.
    #[must_use]
    pub fn new() -> Self {
        Self {
            tasks: HashMap::new(),
            lanes: Lanes::default(),
            position: StreamSeq(0),
            certain: StreamSeq(0),
            ready: Ready::default(),
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
        }
    }

    /// Everything up to here has been applied: replay goes on behind it.
    #[must_use]
    pub fn position(&self) -> StreamSeq {
        self.position
    }

    /// Team and queue of a task that is open here.
    #[must_use]
    pub fn place_of(&self, id: TaskId) -> Option<&(TeamId, QueueName)> {
        let task = self.tasks.get(&id)?;
        Some(self.lanes.names(task.lane))
    }

    /// Says that everything up to `position` has been applied, also what the shell did not have to pass in.
    pub fn replayed_to(&mut self, position: StreamSeq) {
        self.position = self.position.max(position);
    }

    /// Tasks that have not ended, and ended ones whose webhook is still to be delivered.
    #[must_use]
    pub fn open(&self) -> usize {
        self.tasks.len()
    }

    /// Is this task open, that is: not ended?
    #[must_use]
    pub fn is_open(&self, task: TaskId) -> bool {
        self.tasks
            .get(&task)
            .is_some_and(|open| !matches!(open.phase, Phase::Ended { .. }))
    }

    /// Has its creation been taken in, and is anything left to do for it?
    #[must_use]
    pub fn knows(&self, task: TaskId) -> bool {
        self.tasks.contains_key(&task)
    }

    /// Takes in an event from the log; what was applied before changes nothing. Once active, the dispatcher only takes creations
    /// from here: all other events are its own, and take effect in [`Dispatcher::appended`].
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
                _ => self.evolve(seq, event, None, &mut Vec::new()),
            }
        }
    }

    /// Begins to serve: replay is complete, up to the fence of this owner. Attempts of former owners are lost, unless this process
    /// is still making them (`alive`), knows how they ended, or has yet to make them (`unstored`, from
    /// [`Dispatcher::into_unstored`]: each start among them that was stored after all becomes an [`Action::Call`]; it must be this
    /// process's own, so none may be passed when another owner came between).
    pub fn activate(
        &mut self,
        now: Times,
        alive: &HashSet<Running>,
        unstored: Vec<TaskEvent>,
        actions: &mut Vec<Action>,
    ) {
        debug_assert!(!self.active, "a dispatcher is activated once");
        self.active = true;
        self.now = now;
        self.certain = self.position;
        let mut unstored: HashMap<Running, TaskEvent> = unstored
            .into_iter()
            .filter_map(|event| Some((attempt::call_of(&event)?, event)))
            .collect();
        let mut ids: Vec<_> = self.tasks.keys().copied().collect();
        // The order of a hash map is not the same in every run; that of these decisions is.
        ids.sort_unstable();
        for id in ids {
            let Some(task) = self.tasks.get_mut(&id) else {
                continue;
            };
            task.place(now);
            match &mut task.phase {
                Phase::Waiting { .. } | Phase::Ready { .. } => self.arm(id),
                Phase::Running { attempt } => {
                    let number = *attempt;
                    let running = Running {
                        task: id,
                        number,
                        kind: CallKind::Attempt,
                    };
                    match unstored.remove(&running) {
                        Some(TaskEvent::Started(started)) => {
                            actions.push(Action::Call(task.call(&started, Duration::ZERO)));
                        }
                        Some(result) => self.decide(result, None, now),
                        None if alive.contains(&running) => {}
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
        self.tick(now);
    }

    /// Looks at every task whose time has come.
    pub fn tick(&mut self, now: Times) {
        self.now = now;
        while let Some(id) = self.timers.pop(now) {
            self.look_at(id, now);
        }
    }

    /// How long from now [`Dispatcher::tick`] has something to do next, unless the wall clock jumps.
    #[must_use]
    pub fn wake_in(&self, now: Times) -> Option<Duration> {
        self.timers.next_in(now)
    }

    /// Calls that could be made now if there were slots.
    #[must_use]
    pub fn wanted_slots(&self) -> usize {
        self.ready.len() + self.due_deliveries.len()
    }

    /// Cancels a task, or says why not.
    pub fn cancel(&mut self, request: Cancel, now: Times, actions: &mut Vec<Action>) {
        let Cancel {
            task: id,
            team,
            actor,
            traceparent,
            ticket,
        } = request;
        let reply = match self.tasks.get(&id) {
            Some(open) if self.lanes.names(open.lane).0 != team => OwnerReply::NotOpen,
            None
            | Some(Open {
                phase: Phase::Ended { .. },
                ..
            }) => OwnerReply::NotOpen,
            Some(Open { busy: true, .. }) => OwnerReply::TryAgain,
            Some(Open {
                phase: Phase::Running { .. },
                ..
            }) => OwnerReply::Running,
            Some(Open {
                phase: Phase::Waiting { .. } | Phase::Ready { .. },
                ..
            }) => {
                let event = TaskEvent::Cancelled(TaskCancelled { id, at: now.wall });
                self.decide(event, Some((actor, traceparent, ticket)), now);
                return;
            }
        };
        actions.push(Action::Reply { ticket, reply });
    }

    /// An attempt has ended. Ignored when it is not the one that is running.
    pub fn attempt_ended(&mut self, id: TaskId, attempt: u32, outcome: Outcome, now: Times) {
        let Some(task) = self.tasks.get(&id) else {
            return;
        };
        if task.busy || task.phase != (Phase::Running { attempt }) {
            return;
        }
        let event = attempt::after(task, id, attempt, outcome, now);
        self.decide(event, None, now);
    }

    /// The shell has cut an attempt short because it was told to stop. Ignored when it is not the one that is running.
    pub fn attempt_released(&mut self, id: TaskId, attempt: u32, now: Times) {
        let Some(task) = self.tasks.get(&id) else {
            return;
        };
        if task.busy || task.phase != (Phase::Running { attempt }) {
            return;
        }
        let event = TaskEvent::Released(TaskReleased {
            id,
            attempt,
            at: now.wall,
        });
        self.decide(event, None, now);
    }

    /// A delivery of a completion webhook has ended: the receiver's status, or why there is none.
    pub fn delivery_ended(&mut self, id: TaskId, number: u32, outcome: &Outcome, now: Times) {
        let Some(task) = self.tasks.get(&id) else {
            return;
        };
        let Phase::Ended {
            deliveries,
            claimed: true,
            ..
        } = task.phase
        else {
            return;
        };
        if task.busy || deliveries + 1 != number {
            return;
        }
        if matches!(outcome, Outcome::Failed(failure) if failure.kind == FailureKind::WorkerFault) {
            self.put_off(id, now);
            return;
        }
        let event = match attempt::delivered(outcome, id, number, now.wall) {
            Ok(status) => TaskEvent::CallbackSent(CallbackSent {
                id,
                attempt: number,
                at: now.wall,
                status,
            }),
            Err((failure, retry_at)) => TaskEvent::CallbackFailed(CallbackFailed {
                id,
                attempt: number,
                at: now.wall,
                failure,
                retry_at,
            }),
        };
        self.decide(event, None, now);
    }

    /// A delivery that the worker could not make is none: nothing is stored, and it is due again soon.
    fn put_off(&mut self, id: TaskId, now: Times) {
        self.disarm(id);
        if let Some(task) = self.tasks.get_mut(&id)
            && let Phase::Ended {
                due,
                claimed,
                from,
                wake,
                ..
            } = &mut task.phase
        {
            (*due, *from) = (now.wall.plus(PUT_OFF), Some(now.wall));
            (*wake, *claimed) = (now.elapsed.plus(PUT_OFF), false);
        }
        self.arm(id);
    }

    /// Hands out up to `max` decisions to append, of not much more than [`APPEND_BYTES`], in order, unless an append is in flight or there is nothing to append.
    pub fn begin_append(&mut self, max: usize) -> Option<&[Decision]> {
        if !self.in_flight.is_empty() || self.decided.is_empty() {
            return None;
        }
        let mut bytes = 0;
        let count = self
            .decided
            .iter()
            .take(max)
            .take_while(|decision| {
                let fits = bytes < APPEND_BYTES;
                bytes += attempt::weight(&decision.event);
                fits
            })
            .count();
        self.in_flight.extend(self.decided.drain(..count));
        Some(&self.in_flight)
    }

    /// Is an append in flight?
    #[must_use]
    pub fn is_appending(&self) -> bool {
        !self.in_flight.is_empty()
    }

    /// Does anything wait to be appended?
    #[must_use]
    pub fn has_decided(&self) -> bool {
        !self.decided.is_empty()
    }

    /// The log has stored what was in flight, at these sequences: the decisions take effect.
    pub fn appended(&mut self, seqs: &[StreamSeq], actions: &mut Vec<Action>) {
        assert_eq!(
            seqs.len(),
            self.in_flight.len(),
            "each decision has its sequence"
        );
        for (decision, &seq) in std::mem::take(&mut self.in_flight).into_iter().zip(seqs) {
            self.certain = self.certain.max(seq);
            if let TaskEvent::Restated(restated) = &decision.event {
                self.restated(seq, decision.traceparent.as_deref(), restated);
                continue;
            }
            if let Some(task) = self.tasks.get_mut(&decision.event.id()) {
                task.busy = false;
            }
            self.evolve(seq, &decision.event, Some(decision.decided), actions);
            if let Some(ticket) = decision.ticket {
                actions.push(Action::Reply {
                    ticket,
                    reply: OwnerReply::Done { seq },
                });
            }
        }
    }

    /// The log has stored something under the fence of this owner there: up to it nobody else has appended.
    pub fn let_through(&mut self, seq: StreamSeq) {
        self.certain = self.certain.max(seq);
    }

    /// The log has certainly stored nothing of what was in flight: it is decided still, and will be handed out again.
    pub fn not_appended(&mut self) {
        for decision in std::mem::take(&mut self.in_flight).into_iter().rev() {
            self.decided.push_front(decision);
        }
    }

    /// What had been decided about calls and may not be stored: the next dispatcher in this process takes it over, so that nothing
    /// a target said is forgotten, and no call that was only promised counts as lost.
    #[must_use]
    pub fn into_unstored(self) -> Vec<TaskEvent> {
        self.in_flight
            .into_iter()
            .chain(self.decided)
            .map(|decision| decision.event)
            .filter(|event| attempt::call_of(event).is_some())
            .collect()
    }

    /// The tickets of all requests that wait for the log: whoever throws the dispatcher away owes them an answer.
    #[must_use]
    pub fn waiting_tickets(&self) -> Vec<Ticket> {
        self.in_flight
            .iter()
            .chain(&self.decided)
            .filter_map(|decision| decision.ticket)
            .collect()
    }

    /// Sees to it that a task gets its turn: in the queue, or when its time has come.
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
        if matches!(task.phase, Phase::Ready { .. }) {
            self.ready
                .push(task.compartment(), task.priority, task.created, id);
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
        self.ready
            .remove(task.compartment(), task.priority, task.created);
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
            Phase::Waiting { .. } | Phase::Ready { .. } if overdue => self.expire(id, now),
            Phase::Waiting { until, from, wake } if has_waited => {
                task.phase = Phase::Ready {
                    since: until,
                    from: match from {
                        Some(_) => wake,
                        None => now.place(until),
                    },
                };
                self.arm(id);
            }
            Phase::Ended {
                ref mut claimed, ..
            } if has_waited && !*claimed => {
                *claimed = true;
                self.deliver_when_admitted(id);
            }
            _ => {}
        }
    }

    fn expire(&mut self, id: TaskId, now: Times) {
        let Some(task) = self.tasks.get(&id) else {
            return;
        };
        let event = TaskEvent::Expired(TaskExpired {
            id,
            attempt: None,
            at: now.wall,
            failure: attempt::too_late(task, task.last_failure.as_deref()),
        });
        self.decide(event, None, now);
    }

    /// Puts an event in line for the log: decided by the dispatcher itself, or asked for.
    fn decide(
        &mut self,
        event: TaskEvent,
        asked: Option<(Actor, Option<String>, Ticket)>,
        now: Times,
    ) {
        self.disarm(event.id());
        let Some(task) = self.tasks.get_mut(&event.id()) else {
            return;
        };
        debug_assert!(!task.busy, "one decision about a task at a time");
        task.busy = true;
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
        });
    }
}

impl Default for Dispatcher {
    fn default() -> Self {
        Self::new()
    }
}
