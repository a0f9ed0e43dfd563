//! Ready tasks that wait for a worker to claim them, each queue in its order of service.
//!
//! A claim names its queues, so there is one order for each: a crowd of tasks that nobody claims
//! costs those of other queues nothing. A task takes up neither a place under the limits of its
//! queue nor a slot of its keys while it waits here, since nobody may come for days.

use std::collections::BTreeMap;

use super::action::{Admission, Compartment};
use super::lanes::Lane;
use super::ready::{Entry, Ready};
use crate::id::TaskId;

#[derive(Debug, Default)]
pub(super) struct Offers {
    /// No queue without a task.
    lanes: BTreeMap<Lane, Ready>,
}

impl Offers {
    /// Adds a task, unless it is there.
    pub(super) fn push(&mut self, entry: Entry) {
        self.lanes.entry(entry.lane).or_default().push(entry);
    }

    /// Removes a task, if it is there.
    pub(super) fn remove(&mut self, entry: &Entry) {
        if let Some(ready) = self.lanes.get_mut(&entry.lane) {
            ready.remove(entry);
            self.close(entry.lane);
        }
    }

    fn close(&mut self, lane: Lane) {
        if self.lanes.get(&lane).is_some_and(|ready| ready.len() == 0) {
            self.lanes.remove(&lane);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lanes.is_empty()
    }

    /// Number of queues with a task.
    pub(super) fn lanes_len(&self) -> usize {
        self.lanes.len()
    }

    /// The queues with a task.
    pub(super) fn lanes(&self) -> impl Iterator<Item = Lane> + '_ {
        self.lanes.keys().copied()
    }

    /// Whether the queue has a task.
    pub(super) fn has(&self, lane: Lane) -> bool {
        self.lanes.contains_key(&lane)
    }

    /// Removes and returns the tasks of a queue that may be claimed now, as [`Ready::serve`] does.
    pub(super) fn serve(
        &mut self,
        lane: Lane,
        admit: impl FnMut(TaskId, Compartment) -> Admission,
    ) -> Vec<TaskId> {
        let Some(ready) = self.lanes.get_mut(&lane) else {
            return Vec::new();
        };
        let served = ready.serve(|_| 1, |_| 1, admit);
        self.close(lane);
        served
    }

    /// How many tasks of its flow come before a task, counting no further than `most`.
    pub(super) fn ahead(&self, entry: &Entry, most: usize) -> usize {
        let ready = self.lanes.get(&entry.lane);
        ready.map_or(0, |ready| ready.ahead(entry, most))
    }

    #[cfg(any(test, feature = "check"))]
    pub(super) fn contains(&self, entry: &Entry) -> bool {
        let ready = self.lanes.get(&entry.lane);
        ready.is_some_and(|ready| ready.contains(entry))
    }

    /// Panics if parts of it contradict each other.
    #[cfg(any(test, feature = "check"))]
    pub(super) fn check(&self) {
        for ready in self.lanes.values() {
            assert!(ready.len() > 0, "no queue without a task");
            ready.check();
        }
    }
}
