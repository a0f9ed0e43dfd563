//! What the open tasks of a partition may still need of the log: counters that are kept while tasks
//! and their lanes come and go.

use super::Dispatcher;
use super::open::Open;
use crate::id::TaskId;
use crate::room::Owed;

impl Dispatcher {
    /// The space for restating and ending every open task.
    #[must_use]
    pub fn owed(&self) -> Owed {
        Owed {
            tasks: self.tasks.len() as u64,
            bytes: self.owed_bytes,
        }
    }

    pub(super) fn remember(&mut self, id: TaskId, task: Open) {
        let created = task.created;
        self.owed_bytes += u64::from(task.bytes);
        if let Some(before) = self.tasks.get(&id) {
            self.followers.leave(id, before);
        }
        self.orders.enter(id, &task);
        self.sharing.enter(id, &task);
        self.followers.enter(id, &task);
        self.epochs.enter(&task);
        if let Some(before) = self.tasks.insert(id, task) {
            self.owed_bytes = self.owed_bytes.saturating_sub(before.bytes.into());
            self.epochs.leave(&before);
            self.lanes.leave(before.lane);
            if before.created != created {
                self.orders.leave(id, &before);
                self.sharing.leave(&before);
            }
        }
    }

    pub(super) fn forget(&mut self, id: TaskId) {
        self.marked.forget(id);
        if let Some(task) = self.tasks.remove(&id) {
            self.owed_bytes = self.owed_bytes.saturating_sub(task.bytes.into());
            self.epochs.leave(&task);
            self.lanes.leave(task.lane);
            self.orders.leave(id, &task);
            self.sharing.leave(&task);
            self.followers.leave(id, &task);
        }
    }
}
