//! How events change the state: the same code for a replay and for acknowledged appends.

use std::time::Duration;

use super::Dispatcher;
use super::action::{Action, Running, Uncounted};
use super::epochs::HeadersKey;
use super::open::{Open, Phase};
use crate::event::{TaskCreated, TaskEvent, TaskRestated};
use crate::id::TaskId;
use crate::seq::StreamSeq;
use crate::task::Status;
use crate::time::Elapsed;

impl Dispatcher {
    pub(super) fn create(
        &mut self,
        seq: StreamSeq,
        traceparent: Option<&str>,
        created: &TaskCreated,
    ) {
        if self.tasks.contains_key(&created.id) {
            return;
        }
        let lane = self.lanes.enter(&created.team, &created.queue);
        self.remember(created.id, Open::new(seq, lane, traceparent, created));
        self.find_heir(created.id);
        if self.active {
            if let Some(task) = self.tasks.get_mut(&created.id) {
                task.begin(self.now);
            }
            let free = self.arriving.read(created.id, created.member.as_deref());
            self.arm(created.id);
            self.settle_new(created.id);
            self.settle_member(created.id);
            for id in free {
                self.arm(id);
            }
        }
    }

    /// A restatement moves where the request of a task is read. If the task is unknown, because
    /// replay began after its creation, it is created from the restatement.
    pub(super) fn restated(
        &mut self,
        seq: StreamSeq,
        traceparent: Option<&str>,
        event: &TaskRestated,
    ) {
        let id = event.created.id;
        let Some(task) = self.tasks.get_mut(&id) else {
            if !self.active {
                let lane = self.lanes.enter(&event.created.team, &event.created.queue);
                let open = Open::restated(seq, lane, traceparent, event);
                self.remember(id, open);
                self.find_heir(id);
            }
            return;
        };
        task.restating = false;
        // Until another task has its place, the log keeps why that one comes first.
        if seq <= task.stored || task.heir.is_some() {
            return;
        }
        // A worker that has claimed a task has got its request with the claim.
        let is_call = !task.is_pulled();
        let calling = match &mut task.phase {
            Phase::Running { .. } => is_call,
            Phase::Ended {
                seq: end, claimed, ..
            } => {
                *end = seq;
                *claimed
            }
            Phase::Waiting { .. } | Phase::Ready { .. } => false,
        };
        if calling {
            task.read_from.get_or_insert(task.stored);
        }
        task.stored = seq;
        // A task that is to be cancelled is not restated. A replay may lack what it did again, and
        // why a failure did not concern it.
        task.cancelled_after = None;
        if let Some(order) = &mut task.order {
            order.needed = None;
        }
    }

    /// A client asked for the completion webhook of an ended task again: the task is open until
    /// that is delivered or given up.
    pub(super) fn callback_requested(
        &mut self,
        seq: StreamSeq,
        traceparent: Option<&str>,
        event: &TaskRestated,
    ) {
        let id = event.created.id;
        if let Some(task) = self.tasks.get(&id) {
            // A delivery that is in progress, or was already asked for, is enough.
            if !matches!(task.phase, Phase::Ended { claimed: false, .. }) || task.busy {
                return;
            }
            self.disarm(id);
            self.forget(id);
        }
        let lane = self.lanes.enter(&event.created.team, &event.created.queue);
        let mut open = Open::restated(seq, lane, traceparent, event);
        if self.active {
            open.place(self.now);
        }
        self.remember(id, open);
        self.arm(id);
        self.find_heir(id);
    }

    /// Applies an event to its task. Attempts are numbered, so an event that was applied before has
    /// no effect. `at` is when it was decided, by this owner's clock; `None` in a replay.
    pub(super) fn evolve(
        &mut self,
        seq: StreamSeq,
        event: &TaskEvent,
        at: Option<Elapsed>,
        actions: &mut Vec<Action>,
    ) {
        if let TaskEvent::Unblocked(event) = event {
            self.unblocked(seq, event);
            return;
        }
        if let TaskEvent::LimitPaused(event) = event {
            self.limit_paused(Some(seq), event, at);
            return;
        }
        if let TaskEvent::TargetDisabled(_) = event {
            return;
        }
        if let TaskEvent::Purged(purged) = event
            && self.is_purged_block(purged.id)
        {
            self.purged_block(seq, purged);
            return;
        }
        let id = event.id();
        let in_line = self.tasks.get(&id).filter(|task| task.line().is_some());
        let in_line = in_line.cloned();
        let shared = self.shared(id);
        let past = shared.and_then(|_| self.past(event));
        self.disarm(id);
        let lane = self.tasks.get(&id).map(|task| task.lane);
        let host = self.tasks.get(&id).map(Open::compartment);
        let ended = self.tasks.get(&id).filter(|task| task.is_ended_by(event));
        if let Some(task) = ended.filter(|task| !task.is_pulled()) {
            self.hosts
                .take_in(task.compartment(), event, task.probes, at);
        }
        // A task that ends is gone afterwards, and so may be the name of its lane.
        let limited = self.limited(id).filter(|_| self.active);
        self.change(seq, event, at, actions);
        if let Some(lane) = lane.filter(|_| self.active) {
            let task = self.tasks.get(&id);
            let runs = task.is_some_and(|task| matches!(task.phase, Phase::Running { .. }));
            self.gates.runs(lane, id, runs);
            let probes = task.is_some_and(|task| runs && task.probes);
            if let Some(host) = host {
                self.hosts.runs(host, id, probes);
            }
            if let Some(limited) = limited {
                self.keys.runs(limited.claimant(id), runs, self.now);
            }
        }
        // The previous wait has ended, and the task may now wait for something else.
        let waits = |task: &Open| matches!(task.phase, Phase::Waiting { .. } | Phase::Ready { .. });
        if !self.tasks.get(&id).is_some_and(waits) {
            self.marked.forget(id);
        }
        self.arm(id);
        if let Some(former) = in_line.filter(|_| !self.is_open(id)) {
            self.go_on_after(id, &former, event);
        }
        if let Some(shared) = shared {
            self.settle_after(id, shared);
        }
        if let Some(past) = past.filter(|_| !self.is_open(id)) {
            self.keep_in_mind(past);
        }
        self.settle_followers(event, at);
        if !self.active {
            self.stand_for(event);
        }
    }

    fn change(
        &mut self,
        seq: StreamSeq,
        event: &TaskEvent,
        at: Option<Elapsed>,
        actions: &mut Vec<Action>,
    ) {
        let id = event.id();
        let Some(task) = self.tasks.get_mut(&id) else {
            return;
        };
        match event {
            TaskEvent::Created(_)
            | TaskEvent::CallbackRequested(_)
            | TaskEvent::Restated(_)
            | TaskEvent::Unblocked(_)
            | TaskEvent::LimitPaused(_)
            | TaskEvent::TargetDisabled(_) => {}
            TaskEvent::Started(e) => {
                if e.attempt <= task.attempts || matches!(task.phase, Phase::Ended { .. }) {
                    return;
                }
                let waited = match (&task.phase, at) {
                    (Phase::Ready { from, .. }, Some(at)) => at.since(*from),
                    _ => Duration::ZERO,
                };
                task.history.get_or_insert_default().take_in(event);
                task.started(e, at);
                if e.claim.is_none() {
                    actions.push(Action::Call(task.call(e, waited)));
                }
            }
            TaskEvent::Progressed(e) => {
                if task.phase != (Phase::Running { attempt: e.attempt }) {
                    return;
                }
                task.history.get_or_insert_default().take_in(event);
                task.progressed(e, at);
            }
            TaskEvent::AttemptFailed(e) => {
                if task.phase != (Phase::Running { attempt: e.attempt }) {
                    return;
                }
                task.history.get_or_insert_default().take_in(event);
                task.read_from = None;
                task.failed(e, at);
                actions.push(Action::Retried);
                if !e.counted {
                    actions.push(Action::Uncounted(Uncounted::Failed(e.failure.kind)));
                }
            }
            TaskEvent::Released(e) => {
                if task.phase != (Phase::Running { attempt: e.attempt }) {
                    return;
                }
                task.history.get_or_insert_default().take_in(event);
                task.read_from = None;
                task.released(e, at);
                actions.push(Action::Uncounted(Uncounted::Released));
            }
            TaskEvent::RunRequested(e) => {
                // A snapshot may be ahead of the event, so that it waits for a later attempt. And a
                // restatement may say that it was ready, as its time had come by the clock of a
                // former owner.
                let is_over = e.attempts.is_some_and(|made| made != task.attempts);
                if is_over || !matches!(task.phase, Phase::Waiting { .. } | Phase::Ready { .. }) {
                    return;
                }
                task.history.get_or_insert_default().take_in(event);
                task.phase = Phase::Ready {
                    since: e.at,
                    from: at.unwrap_or_default(),
                };
            }
            TaskEvent::PriorityChanged(e) => task.priority_changed(e),
            TaskEvent::CancelRequested(e) => {
                task.requesting_cancel = false;
                if task.phase != (Phase::Running { attempt: e.attempt }) {
                    return;
                }
                task.history.get_or_insert_default().take_in(event);
                task.cancel_requested.get_or_insert(e.at);
                // Nothing is cut off of a task that a worker has claimed: it ends at once.
                if task.lease().is_none() {
                    actions.push(Action::CutOff(Running::attempt(id, e.attempt)));
                }
            }
            TaskEvent::Succeeded(_)
            | TaskEvent::Dead(_)
            | TaskEvent::Cancelled(_)
            | TaskEvent::Expired(_) => {
                if matches!(task.phase, Phase::Ended { .. }) {
                    return;
                }
                let due = task
                    .not_before
                    .map_or(task.created_at, |at| at.max(task.created_at));
                actions.push(Action::Ended {
                    task: id,
                    team: self.lanes.names(task.lane).0.clone(),
                    sealed: task.sealed && task.key.is_own(),
                    created: task.stored,
                    status: ending(event),
                    ok: matches!(event, TaskEvent::Succeeded(end) if end.is_ok()),
                    took: event.at().since(due),
                });
                let blocks = task.blocks_after(event);
                if task.has_callback || blocks {
                    task.history.get_or_insert_default().take_in(event);
                    task.read_from = None;
                    self.epochs.leave(task);
                    task.drop_lease();
                    task.key = HeadersKey::None;
                    task.phase = Phase::Ended {
                        seq,
                        deliveries: 0,
                        due: event.at(),
                        claimed: self.active && task.has_callback,
                        from: Some(event.at()),
                        wake: at.unwrap_or_default(),
                    };
                    task.last_failure = None;
                    (task.blocks, task.delivered) = (blocks, !task.has_callback);
                    if self.active && task.has_callback {
                        self.deliver_when_admitted(id);
                    }
                } else {
                    self.forget(id);
                }
            }
            TaskEvent::Purged(_) => {
                // Otherwise it is no dead letter.
                if matches!(task.phase, Phase::Ended { .. }) {
                    task.history.get_or_insert_default().take_in(event);
                }
            }
            TaskEvent::CallbackSent(_) => self.close(id),
            TaskEvent::CallbackFailed(e) => match (&mut task.phase, e.retry_at) {
                (
                    Phase::Ended {
                        deliveries,
                        due,
                        claimed,
                        from,
                        wake,
                        ..
                    },
                    Some(retry_at),
                ) if e.attempt > *deliveries => {
                    (*deliveries, *due, *claimed) = (e.attempt, retry_at, false);
                    *from = Some(e.at);
                    *wake = at.unwrap_or_default().plus(retry_at.since(e.at));
                    task.history.get_or_insert_default().take_in(event);
                    task.read_from = None;
                }
                (Phase::Ended { .. }, None) => {
                    actions.push(Action::WebhookGivenUp { task: id });
                    self.close(id);
                }
                _ => {}
            },
        }
    }

    fn close(&mut self, id: TaskId) {
        let Some(task) = self.tasks.get_mut(&id) else {
            return;
        };
        let Phase::Ended { claimed, .. } = &mut task.phase else {
            return;
        };
        if task.blocks {
            (task.delivered, *claimed) = (true, false);
        } else {
            self.forget(id);
        }
    }
}

/// The status that follows from an ending event.
fn ending(event: &TaskEvent) -> Status {
    match event {
        TaskEvent::Succeeded(_) => Status::Completed,
        TaskEvent::Dead(e) => e.status(),
        TaskEvent::Expired(_) => Status::Timeout,
        _ => Status::Cancelled,
    }
}
