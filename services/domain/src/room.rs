//! Capacity of the log of tasks: who may still write when it runs out.
//!
//! An accepted task needs more of the log than its creation: its attempts, its end, and a
//! restatement if it outlives the retention. So creations stop at a high-water mark that leaves
//! room for all of that, while owners may use the log up to its limit. At a lower mark, the oldest
//! ended history is purged before it reaches its age limit: creations are refused only if that did
//! not free enough.

use serde::{Deserialize, Serialize};

use crate::partition::Partition;

/// Bytes in the log for the attempts and the end of a task, and for its creation besides the
/// payload; most tasks need less.
const STEPS_BYTES: u64 = 1_536;
/// Divisor: this fraction of the limit is never used for creations, besides the needs of open
/// tasks. Gateways learn about each other's creations, and about the owners' figures, with a delay.
const MARGIN: u64 = 10;
/// Divisor: this fraction of the limit lies between early purging and the refusal of creations.
const PURGE_AHEAD: u64 = 20;

/// What open tasks, of one partition or of all, may still need of the log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owed {
    /// Number of open tasks, and of ended ones whose webhook is not delivered yet.
    pub tasks: u64,
    /// Bytes of their creations, which a restatement would take.
    pub bytes: u64,
}

impl Owed {
    /// Bytes that they may still need.
    #[must_use]
    pub fn room(self) -> u64 {
        self.bytes
            .saturating_add(self.tasks.saturating_mul(STEPS_BYTES))
    }

    /// The sum of both.
    #[must_use]
    pub fn and(self, others: Self) -> Self {
        Self {
            tasks: self.tasks.saturating_add(others.tasks),
            bytes: self.bytes.saturating_add(others.bytes),
        }
    }
}

/// Report of a worker about the partitions that it serves: JSON, published every second on
/// [`OWED_SUBJECT`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwedByPartition {
    pub partitions: Vec<(Partition, Owed)>,
}

/// Subject of the workers' reports.
pub const OWED_SUBJECT: &str = "wb.room.owed";

/// Usage of the log of tasks, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    pub used: u64,
    /// Limit of the log.
    pub limit: u64,
    /// Bytes that open tasks may still need.
    pub owed: u64,
}

impl Room {
    /// Usage up to which creations are accepted.
    #[must_use]
    pub fn high_water(&self) -> u64 {
        self.limit
            .saturating_sub(self.limit / MARGIN)
            .saturating_sub(self.owed)
    }

    /// Usage from which history is purged before it reaches the age limit, unless it is still
    /// needed.
    #[must_use]
    pub fn purge_mark(&self) -> u64 {
        self.high_water().saturating_sub(self.limit / PURGE_AHEAD)
    }

    /// Whether history should be purged before it reaches its age limit.
    #[must_use]
    pub fn wants_purge(&self) -> bool {
        self.used > self.purge_mark()
    }

    /// Whether creations are refused.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.used >= self.high_water()
    }

    /// The usage including creations that the figures do not have yet.
    #[must_use]
    pub fn with_created(&self, created: Owed) -> Self {
        Self {
            used: self.used.saturating_add(created.bytes),
            owed: self.owed.saturating_add(created.room()),
            ..*self
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn creations_stop_where_what_is_open_could_not_be_restated() {
        let room = Room {
            used: 450 * MIB,
            limit: 1_000 * MIB,
            owed: 450 * MIB,
        };
        assert_eq!(room.high_water(), 450 * MIB);
        assert!(room.is_full());
        // The same number of bytes of ended tasks is no reason to refuse creations.
        assert!(!Room { owed: 0, ..room }.is_full());
    }

    #[test]
    fn history_goes_before_creations_are_refused() {
        let room = Room {
            used: 860 * MIB,
            limit: 1_000 * MIB,
            owed: 0,
        };
        assert!(room.wants_purge() && !room.is_full());
    }

    proptest! {
        /// Whatever was accepted in any order and size, restating and ending all of it still fits
        /// below the limit.
        #[test]
        fn who_drains_has_room(sizes in proptest::collection::vec(1_u64..2 * MIB, 1..2_000), limit in 16 * MIB..4_096 * MIB) {
            let mut room = Room { used: 0, limit, owed: 0 };
            for bytes in sizes {
                let next = room.with_created(Owed { tasks: 1, bytes });
                if next.is_full() {
                    break;
                }
                room = next;
            }
            prop_assert!(room.used + room.owed <= limit - limit / MARGIN);
        }
    }
}
