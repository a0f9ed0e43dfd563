//! When tasks are to be looked at again.
//!
//! Lengths of time run on the monotonic clock and dates of clients on the wall clock: two orders, that no jump of the wall clock
//! can mix up. A task has at most two timers, those that its state names ([`Open::alarms`](super::open::Open::alarms)); they go
//! when the state does, so that a million cancelled tasks leave nothing behind.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::id::TaskId;
use crate::time::{Elapsed, Times, Timestamp};

/// When a task is to be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Alarm {
    /// A length of time is over.
    Length(Elapsed),
    /// A date that a client gave has come.
    Date(Timestamp),
}

#[derive(Debug, Default)]
pub(super) struct Timers {
    lengths: BTreeSet<(Elapsed, TaskId)>,
    dates: BTreeSet<(Timestamp, TaskId)>,
}

impl Timers {
    pub(super) fn insert(&mut self, alarm: Alarm, id: TaskId) {
        match alarm {
            Alarm::Length(at) => self.lengths.insert((at, id)),
            Alarm::Date(at) => self.dates.insert((at, id)),
        };
    }

    pub(super) fn remove(&mut self, alarm: Alarm, id: TaskId) {
        match alarm {
            Alarm::Length(at) => self.lengths.remove(&(at, id)),
            Alarm::Date(at) => self.dates.remove(&(at, id)),
        };
    }

    /// Takes away a timer whose time has come.
    pub(super) fn pop(&mut self, now: Times) -> Option<TaskId> {
        if let Some(&(at, id)) = self.lengths.first()
            && at <= now.elapsed
        {
            self.lengths.pop_first();
            return Some(id);
        }
        let &(at, id) = self.dates.first()?;
        (at <= now.wall).then(|| {
            self.dates.pop_first();
            id
        })
    }

    /// How long from now the next timer is due, unless the wall clock jumps.
    pub(super) fn next_in(&self, now: Times) -> Option<Duration> {
        let length = self.lengths.first().map(|(at, _)| at.since(now.elapsed));
        let date = self.dates.first().map(|(at, _)| at.since(now.wall));
        length.into_iter().chain(date).min()
    }

    #[cfg(any(test, feature = "check"))]
    pub(super) fn contains(&self, alarm: Alarm, id: TaskId) -> bool {
        match alarm {
            Alarm::Length(at) => self.lengths.contains(&(at, id)),
            Alarm::Date(at) => self.dates.contains(&(at, id)),
        }
    }

    #[cfg(any(test, feature = "check"))]
    pub(super) fn len(&self) -> usize {
        self.lengths.len() + self.dates.len()
    }
}
