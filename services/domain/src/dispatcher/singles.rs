//! Singletons: of the tasks with the same key at most one runs, from its first start until its end,
//! with the pauses between its attempts.
//!
//! Who has a key is the task with that key that has started and not ended, or whose first start
//! waits for the log. Of those that are ready for their first attempt, the one that was created
//! first is next: it alone goes on to the limits of its queue and to the order of service. Both are
//! indexes of the open tasks, so that the end of a task in the log gives its key back, whatever
//! else happened to it.

use std::collections::{BTreeMap, BTreeSet};

use super::keyed::Rule;
use super::open::{Open, Phase};
use super::orders::Line;
use super::{Decision, Dispatcher};
use crate::event::{CancelRequested, TaskEvent};
use crate::id::TaskId;
use crate::partition::Partition;
use crate::seq::StreamSeq;
use crate::task::SingletonMode;
use crate::task::once::{Instead, InsteadReason};
use crate::task::waits::WaitKind;
use crate::time::{Times, Timestamp};

type Holders = BTreeSet<(Line, TaskId)>;
type Waiting = BTreeMap<(Line, StreamSeq), TaskId>;

/// Who has which key, and who waits for it.
#[derive(Debug, Default)]
pub(super) struct Singles {
    holders: Holders,
    /// Ready for their first attempt, in the order of their creations.
    waiting: Waiting,
}

impl Singles {
    fn holder(&self, line: Line) -> Option<TaskId> {
        let least = TaskId::new(Timestamp(0), 0, Partition::default());
        let (of, id) = self.holders.range((line, least)..).next()?;
        (*of == line).then_some(*id)
    }

    fn of(&self, line: Line) -> impl Iterator<Item = (StreamSeq, TaskId)> + '_ {
        self.waiting
            .range((line, StreamSeq(0))..)
            .take_while(move |((of, _), _)| *of == line)
            .map(|(&(_, seq), &id)| (seq, id))
    }

    fn next(&self, line: Line) -> Option<TaskId> {
        self.of(line).next().map(|(_, id)| id)
    }

    /// Takes out a task that has ended. Returns whether it had the key.
    pub(super) fn ended(&mut self, line: Line, id: TaskId) -> bool {
        self.holders.remove(&(line, id))
    }

    #[cfg(any(test, feature = "check"))]
    pub(super) fn all(&self) -> (&Holders, &Waiting) {
        (&self.holders, &self.waiting)
    }
}

impl Open {
    /// The key of its singleton.
    pub(super) fn single(&self) -> Option<Line> {
        let keyed = self.keyed.as_deref()?;
        matches!(keyed.rule, Rule::Singleton(_)).then_some(keyed.line)
    }

    /// Whether its running attempt must be cut off, because a newer task takes its place.
    pub(super) fn is_to_be_cut(&self) -> bool {
        matches!(self.phase, Phase::Running { .. })
            && self.instead().is_some()
            && self.cancel_requested.is_none()
            && !self.requesting_cancel
    }
}

impl Dispatcher {
    /// Whether no other task has the key of a task that is ready, or comes first to it.
    #[cfg(any(test, feature = "check"))]
    pub(super) fn is_next_of_its_key(&self, id: TaskId, task: &Open) -> bool {
        let Some(line) = task.single().filter(|_| task.attempts == 0) else {
            return true;
        };
        self.singles.holder(line).is_none() && self.singles.next(line) == Some(id)
    }

    /// The task that keeps one that is ready from starting, and how many come before it in all.
    pub(super) fn before_by_key(
        &self,
        id: TaskId,
        task: &Open,
        most: usize,
    ) -> Option<(TaskId, usize)> {
        let line = task.single().filter(|_| task.attempts == 0)?;
        let holder = self.singles.holder(line);
        let first = holder.or_else(|| self.singles.next(line).filter(|next| *next != id))?;
        let before = self.singles.of(line);
        let before = before.take_while(|(seq, _)| *seq < task.created);
        let ahead = before.take(most).count() + usize::from(holder.is_some());
        Some((first, ahead.min(most)))
    }

    /// A task is ready. Returns whether it may go on.
    pub(super) fn comes_to_its_key(&mut self, id: TaskId) -> bool {
        let Some(task) = self.tasks.get(&id) else {
            return false;
        };
        let Some(line) = task.single().filter(|_| task.attempts == 0) else {
            return true;
        };
        let created = task.created;
        let former = self.singles.next(line);
        self.singles.waiting.insert((line, created), id);
        let next = self.singles.holder(line).is_none() && self.singles.next(line) == Some(id);
        if next && let Some(former) = former.filter(|former| *former != id) {
            self.withdraw(former);
            self.mark(former, WaitKind::Singleton, None, self.now);
        }
        next
    }

    /// A task is not ready any more.
    pub(super) fn leaves_its_key(&mut self, id: TaskId) {
        let Some(task) = self.tasks.get(&id) else {
            return;
        };
        let Some(line) = task.single() else { return };
        let was_next = self.singles.next(line) == Some(id);
        if self.singles.waiting.remove(&(line, task.created)).is_some() && was_next {
            self.let_next(line);
        }
    }

    /// The next task of a key goes on, if nobody has it.
    pub(super) fn let_next(&mut self, line: Line) {
        if self.active
            && self.singles.holder(line).is_none()
            && let Some(next) = self.singles.next(line)
        {
            self.queue(next);
        }
    }

    /// A task that starts has its key from now on; one that has started has it again, at a takeover.
    pub(super) fn has_its_key(&mut self, id: TaskId) {
        if let Some(line) = self.tasks.get(&id).and_then(Open::single) {
            self.singles.holders.insert((line, id));
        }
    }

    /// Works out what a task means to those that were created before it with the same key, as its
    /// mode says, and they to it.
    pub(super) fn settle_single(&mut self, id: TaskId) {
        let Some(task) = self.tasks.get(&id) else {
            return;
        };
        let Some(keyed) = task.keyed.as_deref() else {
            return;
        };
        let Rule::Singleton(mode) = keyed.rule else {
            return;
        };
        let is_left = task.shares().is_some() && keyed.instead.is_none();
        let holds = self.singles.holder(keyed.line) == Some(id);
        // One that has started gives way to nobody.
        let yields = matches!(mode, SingletonMode::Skip | SingletonMode::QueueOne);
        if !is_left || mode == SingletonMode::Queue || (yields && holds) {
            return;
        }
        let stays = |other: &TaskId| {
            let other = self.tasks.get(other);
            other.is_some_and(|other| other.instead().is_none())
        };
        let earlier = self.sharing.before(keyed.line, task.created);
        let mut earlier = earlier.filter(stays);
        if yields {
            // The one to which it gives way: the first that has not ended, or the one that waits for
            // the end of that.
            let other = match mode {
                SingletonMode::QueueOne => earlier.nth(1),
                _ => earlier.next(),
            };
            drop(earlier);
            if let Some(other) = other {
                self.give_way(id, Instead::of(other, InsteadReason::Skipped));
            }
            return;
        }
        let earlier: Vec<_> = earlier.collect();
        for other in earlier {
            self.give_way(other, Instead::of(id, InsteadReason::Replaced));
        }
    }

    /// Asks for the running attempt of a task to be cut off.
    pub(super) fn cut(&mut self, id: TaskId, now: Times) {
        self.disarm(id);
        let Some(task) = self.tasks.get_mut(&id) else {
            return;
        };
        let Phase::Running { attempt } = task.phase else {
            return;
        };
        task.requesting_cancel = true;
        let (team, queue) = self.lanes.names(task.lane).clone();
        self.decided.push_back(Decision {
            event: TaskEvent::CancelRequested(CancelRequested {
                id,
                attempt,
                at: now.wall,
            }),
            team,
            queue,
            actor: None,
            traceparent: task.traceparent.as_deref().map(Into::into),
            ticket: None,
            decided: now.elapsed,
            is_joined: false,
        });
        self.arm(id);
    }

    /// Names the task that runs instead in the end of one that gave way, whoever asked for that end:
    /// the other one stands for it already, and a replay must learn so.
    pub(super) fn name_instead(&self, event: &mut TaskEvent) {
        if let TaskEvent::Cancelled(cancelled) = event {
            let task = self.tasks.get(&cancelled.id);
            cancelled.instead = task.and_then(Open::instead);
        }
    }
}
