//! Ordering keys: of the tasks with the same key only the first one that has not ended may run.
//!
//! Nothing is counted and nothing is locked. The lines are an index of the open tasks, in the order
//! of their creations in the log; it is kept while tasks come and go, and a snapshot does not have
//! it. So a line cannot be left closed by a crash: the end of its first task in the log opens it,
//! unless its failure is to block the others ([`super::blocks`]).

use std::collections::{BTreeMap, HashSet};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::open::Phase;
use super::{Dispatcher, Open};
use crate::event::TaskEvent;
use crate::id::{QueueName, TaskId, TeamId};
use crate::seq::StreamSeq;
use crate::task::OnFailure;

/// All tasks of a queue with the same key. A hash of 128 bits, since clients choose the keys and a
/// task without one should not carry the room for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Line(u64, u64);

impl Line {
    pub(super) fn of(team: &TeamId, queue: &QueueName, key: &str) -> Self {
        let digest = Sha256::new()
            .chain_update(team.as_str())
            .chain_update([0])
            .chain_update(queue.as_str())
            .chain_update([0])
            .chain_update(key)
            .finalize();
        let half = |at: usize| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&digest[at..at + 8]);
            u64::from_be_bytes(bytes)
        };
        Self(half(0), half(8))
    }
}

/// The line of a task, and what its failure means to those behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Order {
    pub(super) line: Line,
    pub(super) on_failure: OnFailure,
    /// Its place in the line, if that is not its own: that of a task that blocked it, and that it
    /// does again.
    #[serde(default)]
    pub(super) place: Option<StreamSeq>,
    /// The event that gave it this place, until a restatement says so.
    #[serde(default)]
    pub(super) needed: Option<StreamSeq>,
    /// The ended task that it does again.
    #[serde(default)]
    pub(super) again: Option<TaskId>,
}

/// A task that is to be cancelled because one before it in its line failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct CancelledAfter {
    pub(super) task: TaskId,
    /// The oldest sequence that the failed task needed. Until the cancellation is in the log, an
    /// owner that takes over must read that task again to know of its failure.
    pub(super) needed: StreamSeq,
}

/// The lines of all open tasks.
#[derive(Debug, Default)]
pub(super) struct Orders(BTreeMap<(Line, StreamSeq), TaskId>);

impl Orders {
    pub(super) fn enter(&mut self, id: TaskId, task: &Open) {
        if let Some(line) = task.line() {
            self.0.insert((line, task.place_in_line()), id);
        }
    }

    /// Takes a task out, unless another one has its place by now.
    pub(super) fn leave(&mut self, id: TaskId, task: &Open) {
        if let Some(order) = &task.order {
            let place = (order.line, task.place_in_line());
            if self.0.get(&place) == Some(&id) {
                self.0.remove(&place);
            }
        }
    }

    fn of(&self, line: Line) -> impl Iterator<Item = (StreamSeq, TaskId)> + '_ {
        self.0
            .range((line, StreamSeq(0))..)
            .take_while(move |((of, _), _)| *of == line)
            .map(|(&(_, seq), &id)| (seq, id))
    }

    /// The tasks of a line, in their order.
    pub(super) fn members(&self, line: Line) -> impl Iterator<Item = TaskId> + '_ {
        self.of(line).map(|(_, id)| id)
    }

    /// The task that may run.
    pub(super) fn head(&self, line: Line) -> Option<TaskId> {
        self.of(line).next().map(|(_, id)| id)
    }

    /// How many tasks of its line come before a task, counting no further than `most`.
    pub(super) fn ahead(&self, line: Line, seq: StreamSeq, most: usize) -> usize {
        let before = self.of(line).take_while(|(other, _)| *other < seq);
        before.take(most).count()
    }

    #[cfg(any(test, feature = "check"))]
    pub(super) fn all(&self) -> &BTreeMap<(Line, StreamSeq), TaskId> {
        &self.0
    }
}

impl Open {
    /// The line in which the task stands. It leaves it with its end, unless it then blocks it.
    pub(super) fn line(&self) -> Option<Line> {
        if matches!(self.phase, Phase::Ended { .. }) && !self.blocks {
            return None;
        }
        self.order.as_ref().map(|order| order.line)
    }

    /// Its place in its line.
    pub(super) fn place_in_line(&self) -> StreamSeq {
        let other = self.order.as_ref().and_then(|order| order.place);
        other.unwrap_or(self.created)
    }

    /// Whether a restatement in front of whatever waits for the log now says how the task stands.
    pub(super) fn may_be_restated(&self, about_to_end: &HashSet<Line>) -> bool {
        self.cancelled_after.is_none()
            && self.forsaken().is_none()
            && self.heir.is_none()
            && self.line().is_none_or(|line| !about_to_end.contains(&line))
    }

    fn cancels_rest(&self) -> bool {
        self.order
            .as_ref()
            .is_some_and(|order| order.on_failure == OnFailure::CancelRest)
    }
}

/// Whether an event is the end of a task that failed, in the sense of its ordering key, and up to
/// which creation it cancels those behind it.
fn failure(event: &mut TaskEvent) -> Option<&mut Option<StreamSeq>> {
    match event {
        TaskEvent::Dead(end) => Some(&mut end.cancels_to),
        TaskEvent::Expired(end) => Some(&mut end.cancels_to),
        _ => None,
    }
}

fn cancels_to(event: &TaskEvent) -> Option<StreamSeq> {
    match event {
        TaskEvent::Dead(end) => end.cancels_to,
        TaskEvent::Expired(end) => end.cancels_to,
        _ => None,
    }
}

impl Dispatcher {
    /// Whether the task's ordering key allows it to run.
    pub(super) fn is_its_turn(&self, id: TaskId, task: &Open) -> bool {
        task.line()
            .is_none_or(|line| self.orders.head(line) == Some(id))
    }

    /// Writes into the end of a failed task which of those behind it are cancelled: all that are
    /// known now. Others may already be in the log, and a replay must not cancel those.
    pub(super) fn settle_rest(&self, event: &mut TaskEvent) {
        let task = self.tasks.get(&event.id());
        if task.is_some_and(Open::cancels_rest)
            && let Some(cancels_to) = failure(event)
        {
            *cancels_to = Some(self.position);
        }
    }

    /// A task has left its line, by `event`: the next one has its turn, unless this one takes those
    /// behind it along.
    pub(super) fn go_on_after(&mut self, id: TaskId, task: &Open, event: &TaskEvent) {
        let Some(line) = task.line() else { return };
        if self.tasks.get(&id).is_some_and(|ended| ended.blocks) {
            self.find_heir(id);
            return;
        }
        self.orders.leave(id, task);
        if let Some(last) = cancels_to(event) {
            let behind: Vec<_> = self
                .orders
                .of(line)
                .filter(|(seq, _)| *seq > task.place_in_line() && *seq <= last)
                .map(|(_, id)| id)
                .filter(|id| !self.comes_before(*id, line, task.place_in_line()))
                .collect();
            let after = CancelledAfter {
                task: id,
                needed: task.needs(),
            };
            for id in behind {
                self.disarm(id);
                if let Some(task) = self.tasks.get_mut(&id) {
                    task.cancelled_after.get_or_insert(Box::new(after));
                }
                self.arm(id);
            }
        }
        if let Some(next) = self.orders.head(line) {
            self.arm(next);
        }
    }

    /// The lines in which a failure that cancels the rest waits for the log, or the end of a block.
    /// Restated behind it, a task would outlive it in a replay, or lose its place.
    pub(super) fn lines_about_to_end(&self) -> HashSet<Line> {
        let pending = self.in_flight.iter().chain(&self.decided);
        pending
            .filter(|decision| {
                let frees = matches!(decision.event, TaskEvent::Unblocked(_));
                frees || cancels_to(&decision.event).is_some()
            })
            .filter_map(|decision| self.tasks.get(&decision.event.id())?.line())
            .collect()
    }
}
