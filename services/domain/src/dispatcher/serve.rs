//! Starts calls when slots are free: attempts of ready tasks, and deliveries of completion
//! webhooks.

use super::action::{Action, Admission, CallKind, Delivery, Running, Wanted};
use super::limited::claimant;
use super::open::{Open, Phase};
use super::parked::Rank;
use super::ready::{self, Entry};
use super::{Dispatcher, LEASE_SLACK, Place, QueueRules};
use crate::event::{TaskEvent, TaskStarted};
use crate::id::TaskId;
use crate::seq::StreamSeq;
use crate::task::Priority;
use crate::task::waits::WaitKind;
use crate::time::{Times, Timestamp};

impl Dispatcher {
    /// Uses up to `slots` free slots of the worker, and returns how many. Each becomes one
    /// [`Action::Call`] or [`Action::Deliver`], at once or when the start of the attempt is stored.
    /// The slot is free again when that call has ended.
    pub fn fill(&mut self, slots: usize, now: Times, actions: &mut Vec<Action>) -> usize {
        let mut left = slots;
        let mut admit = |_: Wanted| {
            if left == 0 {
                return Admission::Full;
            }
            left -= 1;
            Admission::Yes
        };
        self.fill_where(&mut admit, now, actions);
        slots - left
    }

    /// The same with slots that differ: `admit` finds one for a call, or says for whom there is
    /// none.
    pub fn fill_where(
        &mut self,
        admit: &mut dyn FnMut(Wanted) -> Admission,
        now: Times,
        actions: &mut Vec<Action>,
    ) {
        let tasks = &self.tasks;
        let due = self.due_deliveries.serve(
            |_| 1,
            |_| 1,
            |id, compartment| {
                let Some(number) = tasks.get(&id).and_then(Open::next_delivery) else {
                    return Admission::Yes;
                };
                let running = Running {
                    task: id,
                    number,
                    kind: CallKind::Delivery,
                };
                admit(Wanted {
                    running,
                    compartment,
                })
            },
        );
        for id in due {
            self.deliver(id, actions);
        }
        self.let_go(now);
        let (tasks, lanes, gates) = (&self.tasks, &self.lanes, &mut self.gates);
        let (hosts, weights, keys) = (&mut self.hosts, &self.weights, &mut self.keys);
        let (mut held, mut at_host, mut limited) = (Vec::new(), Vec::new(), Vec::new());
        let weight = |lane| weights.of(|| lanes.names(lane));
        let of_team = |team| weights.of_team(team);
        let ready = self.ready.serve(weight, of_team, |id, compartment| {
            let Some(task) = tasks.get(&id) else {
                return Admission::Yes;
            };
            // The task expires instead of starting, and needs no slot.
            if task.is_overdue(now) {
                return Admission::Yes;
            }
            let place = (lanes.names(task.lane), task.lane);
            if !hosts.allows(task.compartment(), id, now) {
                at_host.push(id);
                return Admission::Blocked;
            }
            if !gates.allows(place, now) {
                held.push(id);
                return Admission::Blocked;
            }
            let of = claimant(tasks, lanes, id);
            if let Some(limit) = of.and_then(|of| keys.forbids(of.claims, now)) {
                limited.push((id, limit));
                return Admission::Blocked;
            }
            let admission = admit(Wanted {
                running: Running {
                    task: id,
                    number: task.attempts + 1,
                    kind: CallKind::Attempt,
                },
                compartment,
            });
            if admission == Admission::Yes {
                gates.starts(place, id, now);
                hosts.starts(task.compartment(), id, now);
                if let Some(of) = of {
                    keys.starts(of, now);
                }
            }
            admission
        });
        for id in held {
            if let Some(task) = self.tasks.get(&id) {
                self.gates
                    .park(self.lanes.names(task.lane), task.rank(), id);
                self.leave_keys(id, now);
                self.mark_parked(id, now);
            }
        }
        for id in at_host {
            if let Some(task) = self.tasks.get(&id) {
                self.gates
                    .leave(self.lanes.names(task.lane), task.rank(), id);
                let host = (task.compartment(), task.lane);
                let by = self.hosts.why(host.0, now);
                self.hosts.park_in_turn(host, task.created, id, now);
                self.leave_keys(id, now);
                self.mark(id, by, None, now);
            }
        }
        for (id, limit) in limited {
            self.park_again_under(id, limit, now);
        }
        for id in ready {
            self.start(id, now);
        }
    }

    /// Lets the tasks go on that their hosts held back, to their limits and queues.
    pub(super) fn let_go_to_hosts(&mut self, now: Times) {
        let stuck = self.hosts.stuck(|id| self.is_paused(id));
        for id in stuck {
            if let Some(task) = self.tasks.get(&id) {
                self.ready.remove(&task.entry(id));
                self.gates
                    .leave(self.lanes.names(task.lane), task.rank(), id);
                self.hosts
                    .park((task.compartment(), task.lane), task.created, id);
                self.leave_keys(id, now);
                self.mark(id, WaitKind::TargetOpen, None, now);
            }
        }
        let mut hosts = std::mem::take(&mut self.hosts);
        let free = hosts.let_go(|id| self.is_paused(id), now);
        self.hosts = hosts;
        for id in free {
            self.pass_host(id);
        }
    }

    /// Whether the queue of a task is paused, nobody listens to it, or one of its limits is paused.
    fn is_paused(&self, id: TaskId) -> bool {
        let Some(task) = self.tasks.get(&id) else {
            return false;
        };
        self.gates.is_shut(self.lanes.names(task.lane)) || self.is_limit_paused(id)
    }

    /// Sets what holds the tasks of a queue back. A pause takes effect at once, but for starts that
    /// were decided before: see [`Dispatcher::starts_paused`].
    pub fn set_rules(&mut self, place: &Place, mut rules: QueueRules, now: Times) {
        self.weights.set(place, rules.weight.take());
        self.gates.set(place, rules, now);
    }

    /// Whether the start of a task still waits for the log that is paused: by its queue, its host or
    /// a limit key, or because nobody listens.
    #[must_use]
    pub fn starts_paused(&self) -> bool {
        let mut waiting = self.in_flight.iter().chain(&self.decided);
        waiting.any(|decision| {
            matches!(decision.event, TaskEvent::Started(_))
                && (self
                    .gates
                    .is_shut(&(decision.team.clone(), decision.queue.clone()))
                    || self.is_limit_paused(decision.event.id())
                    || self.is_host_held(decision.event.id()))
        })
    }

    /// Decides the start of a task that has just left the ready queue; returns false if it expires
    /// instead.
    fn start(&mut self, id: TaskId, now: Times) -> bool {
        let Some(task) = self.tasks.get(&id) else {
            return false;
        };
        if task.is_overdue(now) {
            self.expire(id, now);
            return false;
        }
        self.has_its_key(id);
        let Some(task) = self.tasks.get(&id) else {
            return false;
        };
        let event = TaskEvent::Started(TaskStarted {
            id,
            attempt: task.attempts + 1,
            at: now.wall,
            lease_until: now.wall.plus(task.limit(now)).plus(LEASE_SLACK),
            probe: self.hosts.is_probe(task.compartment(), id),
            claim: None,
            waits: Vec::new(),
        });
        self.decide(event, None, now);
        true
    }

    /// Queues a delivery after those that became due before it.
    pub(super) fn deliver_when_admitted(&mut self, id: TaskId) {
        let Some(task) = self.tasks.get(&id) else {
            return;
        };
        self.deliveries_due += 1;
        self.due_deliveries
            .push(task.delivery_entry(id, self.deliveries_due));
    }

    fn deliver(&mut self, id: TaskId, actions: &mut Vec<Action>) {
        let Some(task) = self.tasks.get(&id) else {
            return;
        };
        let Phase::Ended {
            seq, deliveries, ..
        } = &task.phase
        else {
            return;
        };
        actions.push(Action::Deliver(Delivery {
            task: id,
            created: task.stored,
            ended: *seq,
            number: *deliveries + 1,
            retries: task.failures.into(),
            traceparent: task.traceparent.as_deref().map(Into::into),
        }));
    }
}

impl Open {
    /// The task in the queue of those that are ready. It never changes, so that a task that is
    /// retried keeps its place.
    pub(super) fn entry(&self, id: TaskId) -> Entry {
        Entry {
            id,
            compartment: self.compartment(),
            lane: self.lane,
            fairness: self.fairness,
            weight: self.weight.max(1),
            priority: self.priority,
            due: self.first_due(),
            seq: self.created,
        }
    }

    /// When it was to run first.
    fn first_due(&self) -> Timestamp {
        let due = self.not_before.unwrap_or(self.created_at);
        due.max(self.created_at)
    }

    /// Its place among the tasks of its queue that are held back.
    pub(super) fn rank(&self) -> Rank {
        Rank {
            fairness: self.fairness,
            weight: self.weight.max(1),
            place: ready::Place::of(self.priority, self.first_due(), self.created),
        }
    }

    /// A delivery of its webhook in the queue of those that are due, as the `number`th of all.
    pub(super) fn delivery_entry(&self, id: TaskId, number: u64) -> Entry {
        Entry {
            id,
            compartment: self.webhook_compartment(),
            lane: self.lane,
            fairness: 0,
            weight: 1,
            priority: Priority::DEFAULT,
            due: Timestamp(0),
            seq: StreamSeq(number),
        }
    }
}
