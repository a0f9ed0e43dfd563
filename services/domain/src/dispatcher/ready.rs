//! The order of service: which of the ready tasks runs next.
//!
//! Higher priority first, and first come first served within a priority; a task that comes back for a retry has its old place.
//! Everything that will ever hold a ready task back or let another one pass belongs here.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::id::TaskId;
use crate::seq::StreamSeq;
use crate::task::Priority;

#[derive(Debug, Default)]
pub(super) struct Ready {
    queue: BTreeMap<(Reverse<Priority>, StreamSeq), TaskId>,
}

impl Ready {
    pub(super) fn push(&mut self, priority: Priority, created: StreamSeq, id: TaskId) {
        self.queue.insert((Reverse(priority), created), id);
    }

    pub(super) fn remove(&mut self, priority: Priority, created: StreamSeq) {
        self.queue.remove(&(Reverse(priority), created));
    }

    pub(super) fn pop(&mut self) -> Option<TaskId> {
        self.queue.pop_first().map(|(_, id)| id)
    }

    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    #[cfg(any(test, feature = "check"))]
    pub(super) fn contains(&self, priority: Priority, created: StreamSeq) -> bool {
        self.queue.contains_key(&(Reverse(priority), created))
    }
}
