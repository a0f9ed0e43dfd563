//! Room in the log of tasks: who may still write when it runs out.
//!
//! An accepted task needs more of the log than its creation: its attempts, its end, and a restatement should it outlive the retention. So
//! creations stop at a high-water mark that leaves room for all of that, and owners go on up to the last byte. Below that mark lies
//! another one, at which the oldest ended history goes before its age is reached: creations are refused only when that was not enough.

use serde::{Deserialize, Serialize};

use crate::partition::Partition;

/// Bytes that an attempt and the end of a task take in the log, and that its creation takes beside its payload: more than most need.
const STEPS_BYTES: u64 = 1_536;
/// The part of the limit that creations never use, besides what open tasks still need: gateways learn of each other's creations, and
/// of the owners' figures, with a delay.
const MARGIN: u64 = 10;
/// The part of the limit between the mark at which history goes early and the one at which creations are refused.
const PURGE_AHEAD: u64 = 20;

/// What the open tasks of a partition, or of all, may still need of the log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owed {
    /// Open tasks, and ended ones whose webhook is still to be delivered.
    pub tasks: u64,
    /// Bytes of their creations: what it takes to restate them.
    pub bytes: u64,
}

impl Owed {
    /// The bytes that they may still take.
    #[must_use]
    pub fn room(self) -> u64 {
        self.bytes
            .saturating_add(self.tasks.saturating_mul(STEPS_BYTES))
    }

    /// Together with others.
    #[must_use]
    pub fn and(self, others: Self) -> Self {
        Self {
            tasks: self.tasks.saturating_add(others.tasks),
            bytes: self.bytes.saturating_add(others.bytes),
        }
    }
}

/// What a worker says of the partitions that it serves, every second, on [`OWED_SUBJECT`], as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwedByPartition {
    /// Each partition that it serves.
    pub partitions: Vec<(Partition, Owed)>,
}

/// Where workers say what their partitions owe.
pub const OWED_SUBJECT: &str = "wb.room.owed";

/// Bytes of the log of tasks: in use, allowed, and spoken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Bytes in use.
    pub used: u64,
    /// Bytes it may use.
    pub limit: u64,
    /// Bytes that open tasks may still need.
    pub owed: u64,
}

impl Room {
    /// Up to here creations are accepted.
    #[must_use]
    pub fn high_water(&self) -> u64 {
        self.limit
            .saturating_sub(self.limit / MARGIN)
            .saturating_sub(self.owed)
    }

    /// From here on history goes that is younger than the age limit, as far as nobody needs it.
    #[must_use]
    pub fn purge_mark(&self) -> u64 {
        self.high_water().saturating_sub(self.limit / PURGE_AHEAD)
    }

    /// Whether history should go before its age is reached.
    #[must_use]
    pub fn wants_purge(&self) -> bool {
        self.used > self.purge_mark()
    }

    /// Whether creations are refused.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.used >= self.high_water()
    }

    /// With creations that are not in the figures yet.
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
        // The same bytes of tasks that have ended are no reason to refuse anything.
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
        /// Whatever was accepted in any order and size, what it takes to restate and end all of it still fits below the limit.
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
