//! Which keys of epochs the tasks of a partition need (see [`crate::vault::epoch`]).

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Dispatcher;
use super::open::{Open, Phase};
use crate::event::TaskCreated;
use crate::id::EpochId;
use crate::time::Timestamp;

/// By how much the clocks of gateways may disagree about what came first. Only for tasks in
/// snapshots of earlier versions.
const DISAGREEMENT: Duration = Duration::from_secs(3_600);

/// The key that the sealed headers of a task need.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum HeadersKey {
    /// It is in a snapshot of a version that knew no epochs, and may have read a creation of one
    /// that did.
    #[default]
    Unknown,
    /// No header is sealed, or none is opened any more.
    None,
    /// A key of its own.
    Own,
    /// That of an epoch.
    Epoch(EpochId),
}

impl HeadersKey {
    pub(super) fn of(created: &TaskCreated) -> Self {
        match &created.sealed {
            None => Self::None,
            Some(sealed) => sealed.epoch.map_or(Self::Own, Self::Epoch),
        }
    }

    /// Whether a key of the task alone may exist.
    pub(super) fn is_own(self) -> bool {
        matches!(self, Self::Own | Self::Unknown)
    }
}

/// The epochs that open tasks name.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Epochs {
    /// Number of open tasks that name an epoch, by epoch. Derived from the tasks, never stored.
    named: HashMap<EpochId, u32>,
    /// Number of open tasks with sealed headers of which it is unknown what they name.
    unknown: u32,
    /// None of these was accepted later.
    unknown_until: Timestamp,
}

impl Epochs {
    pub(super) fn enter(&mut self, task: &Open) {
        match task.key {
            HeadersKey::Epoch(epoch) => *self.named.entry(epoch).or_default() += 1,
            HeadersKey::Unknown if is_unknown(task) => {
                self.unknown += 1;
                self.unknown_until = self.unknown_until.max(task.created_at);
            }
            HeadersKey::Unknown | HeadersKey::None | HeadersKey::Own => {}
        }
    }

    /// The task has ended, or is known no longer.
    pub(super) fn leave(&mut self, task: &Open) {
        match task.key {
            HeadersKey::Epoch(epoch) => {
                if let Some(count) = self.named.get_mut(&epoch) {
                    *count -= 1;
                    if *count == 0 {
                        self.named.remove(&epoch);
                    }
                }
            }
            HeadersKey::Unknown if is_unknown(task) => self.unknown -= 1,
            HeadersKey::Unknown | HeadersKey::None | HeadersKey::Own => {}
        }
    }

    #[cfg(any(test, feature = "check"))]
    pub(super) fn check(&self, afresh: &Self) {
        assert_eq!(self.named, afresh.named, "the epochs that open tasks name");
        assert_eq!(self.unknown, afresh.unknown, "tasks of earlier snapshots");
    }
}

fn is_unknown(task: &Open) -> bool {
    task.sealed && !matches!(task.phase, Phase::Ended { .. })
}

impl Dispatcher {
    /// Whether the key of an epoch may still be needed to call a task that was read.
    #[must_use]
    pub fn needs_epoch(&self, epoch: EpochId) -> bool {
        let Epochs {
            named,
            unknown,
            unknown_until,
        } = &self.epochs;
        // A task names an epoch that began before it was accepted, by the clock of one gateway.
        let before_unknown = epoch.made_at() <= unknown_until.plus(DISAGREEMENT);
        named.contains_key(&epoch) || *unknown > 0 && before_unknown
    }
}
