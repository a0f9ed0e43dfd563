//! Partitions: the unit of order and ownership of tasks.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::id::{QueueName, TeamId};

/// Partitions a deployment can have at the most: two base 32 characters of a task id name one.
pub const MAX_PARTITIONS: u16 = 1024;

/// The number of a partition.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Partition(u16);

impl Partition {
    /// `None` when there can be no such partition.
    #[must_use]
    pub fn new(number: u16) -> Option<Self> {
        (number < MAX_PARTITIONS).then_some(Self(number))
    }

    /// The number, from 0.
    #[must_use]
    pub fn get(self) -> u16 {
        self.0
    }

    /// The partition of a queue. The same on every process and for ever, so it rests on SHA-256 and not on a hasher that may change.
    #[must_use]
    pub fn of(team: &TeamId, queue: &QueueName, count: PartitionCount) -> Self {
        let digest = Sha256::new()
            .chain_update(team.as_str())
            .chain_update([0])
            .chain_update(queue.as_str())
            .finalize();
        let mut head = [0; 8];
        head.copy_from_slice(&digest[..8]);
        let number = u64::from_be_bytes(head) % u64::from(count.get());
        Self(u16::try_from(number).unwrap_or(0))
    }
}

impl std::fmt::Display for Partition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// How many partitions there are: 1 to [`MAX_PARTITIONS`], fixed when the streams are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionCount(u16);

impl PartitionCount {
    /// `None` when out of range.
    #[must_use]
    pub fn new(count: u16) -> Option<Self> {
        (1..=MAX_PARTITIONS).contains(&count).then_some(Self(count))
    }

    /// The number.
    #[must_use]
    pub fn get(self) -> u16 {
        self.0
    }

    /// All partitions, from 0.
    pub fn all(self) -> impl Iterator<Item = Partition> + Clone {
        (0..self.0).map(Partition)
    }
}

impl Default for PartitionCount {
    fn default() -> Self {
        Self(16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Timestamp;

    #[test]
    fn the_partition_of_a_queue_never_changes() {
        let team = TeamId::new(Timestamp(1_700_000_000_000), 7);
        let numbers: Vec<u16> = ["default", "mail", "reports"]
            .iter()
            .map(|name| {
                let queue = QueueName::parse(name).expect("a name");
                Partition::of(&team, &queue, PartitionCount::default()).get()
            })
            .collect();
        assert_eq!(numbers, PINNED);
    }

    /// Computed once; another value would send tasks of a running deployment to other owners.
    const PINNED: [u16; 3] = [13, 14, 10];
}
