//! Shares that are kept for tasks which wait for a later one of their keys.
//!
//! Two tasks in two partitions that have two keys in common could each hold a share of the one and wait
//! for the other: give both back, ask again, and so on in step. So keys have an order that is the same
//! everywhere, that of [`LimitId`](crate::limit::LimitId). A task waits for the first key that it lacks,
//! and while it waits for a later one, the shares of those before are kept for it. Of all that keep
//! something, the one that waits for the last key waits for nobody who keeps that.
//!
//! It may have to wait for attempts that use it, for any length of time. So a share is kept only for
//! as long as the messages take by which a share comes that nobody uses.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use crate::id::TaskId;
use crate::time::Elapsed;

/// For how long a share is kept for a task.
const KEEPS: Duration = Duration::from_secs(1);

/// The tasks for which shares of one key are kept.
#[derive(Debug, Default)]
pub(super) struct Kept {
    until: HashMap<TaskId, Elapsed>,
    /// The same, by time.
    order: BTreeSet<(Elapsed, TaskId)>,
}

impl Kept {
    /// Keeps a share for a task from now on.
    pub(super) fn keep(&mut self, id: TaskId, now: Elapsed) {
        self.leave(id);
        let until = now.plus(KEEPS);
        self.until.insert(id, until);
        self.order.insert((until, id));
    }

    /// Keeps nothing for a task any more. Returns whether something was.
    pub(super) fn leave(&mut self, id: TaskId) -> bool {
        let until = self.until.remove(&id);
        until.is_some_and(|until| self.order.remove(&(until, id)))
    }

    /// Keeps nothing any more for those whose time is over.
    pub(super) fn tick(&mut self, now: Elapsed) {
        while let Some((until, id)) = self.order.first().copied()
            && until <= now
        {
            self.leave(id);
        }
    }

    /// For how many tasks a share is kept, as of the last [`Kept::tick`].
    pub(super) fn len(&self) -> usize {
        self.until.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.until.is_empty()
    }

    /// When the first of them has waited for too long.
    pub(super) fn next(&self) -> Option<Elapsed> {
        self.order.first().map(|(until, _)| *until)
    }
}
