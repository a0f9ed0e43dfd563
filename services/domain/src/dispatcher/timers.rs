//! Timers of the tasks.
//!
//! Lengths of time follow the monotonic clock, and dates of clients the wall clock. They are kept
//! in two orders, so that no jump of the wall clock can mix them up. A task has at most two timers,
//! those that its state needs ([`Open::alarms`](super::open::Open::alarms)). They are removed with
//! that state, so that a million cancelled tasks leave nothing behind.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::id::TaskId;
use crate::time::{Elapsed, Times, Timestamp};

/// When a task must be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Alarm {
    /// When a length of time has passed.
    Length(Elapsed),
    /// On a date chosen by a client.
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

    /// Inserts many at once, which takes far less than one after the other.
    pub(super) fn extend(&mut self, alarms: Vec<(Alarm, TaskId)>) {
        let (mut lengths, mut dates) = (Vec::new(), Vec::with_capacity(alarms.len()));
        for (alarm, id) in alarms {
            match alarm {
                Alarm::Length(at) => lengths.push((at, id)),
                Alarm::Date(at) => dates.push((at, id)),
            }
        }
        self.lengths.append(&mut BTreeSet::from_iter(lengths));
        self.dates.append(&mut BTreeSet::from_iter(dates));
    }

    pub(super) fn remove(&mut self, alarm: Alarm, id: TaskId) {
        match alarm {
            Alarm::Length(at) => self.lengths.remove(&(at, id)),
            Alarm::Date(at) => self.dates.remove(&(at, id)),
        };
    }

    /// Removes and returns a task whose timer is due.
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

    /// Time until the next timer is due, unless the wall clock jumps.
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
