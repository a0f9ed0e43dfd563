//! Partitions: the unit of order and ownership of tasks.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::id::{QueueName, TeamId};

/// Limit of partitions in a deployment: a task id has two base 32 characters for the partition.
pub const MAX_PARTITIONS: u16 = 1024;

/// The number of a partition.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Partition(u16);

impl Partition {
    /// `None` if the number is out of range.
    #[must_use]
    pub fn new(number: u16) -> Option<Self> {
        (number < MAX_PARTITIONS).then_some(Self(number))
    }

    #[must_use]
    pub fn get(self) -> u16 {
        self.0
    }

    /// The partition of a queue. It must be equal in every process and never change, so it uses
    /// SHA-256 and not a hasher that may change.
    #[must_use]
    pub fn of(team: &TeamId, queue: &QueueName, count: PartitionCount) -> Self {
        Self::of_digest(team, 0, queue.as_str(), count)
    }

    /// The home of a worker: whose owner knows what it says about itself. The workers of a team are
    /// spread over all owners.
    #[must_use]
    pub fn of_worker(team: &TeamId, worker: &str, count: PartitionCount) -> Self {
        Self::of_digest(team, 1, worker, count)
    }

    /// `kind` keeps the names of one kind of thing apart from those of others.
    fn of_digest(team: &TeamId, kind: u8, name: &str, count: PartitionCount) -> Self {
        let digest = Sha256::new()
            .chain_update(team.as_str())
            .chain_update([kind])
            .chain_update(name)
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

/// Number of partitions: 1 to [`MAX_PARTITIONS`], fixed when the streams are created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionCount(u16);

impl PartitionCount {
    /// `None` if the number is out of range.
    #[must_use]
    pub fn new(count: u16) -> Option<Self> {
        (1..=MAX_PARTITIONS).contains(&count).then_some(Self(count))
    }

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
    /// What a log gets that is made without a number. Every frame of a partition is a message with
    /// an fsync of its own, so few partitions make large frames; logs of earlier versions have 16.
    fn default() -> Self {
        Self(4)
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
                Partition::of(&team, &queue, PartitionCount::new(16).expect("in range")).get()
            })
            .collect();
        assert_eq!(numbers, PINNED);
    }

    /// Computed once, with the 16 partitions of earlier versions. Another value would send tasks of
    /// a running deployment to other owners.
    const PINNED: [u16; 3] = [13, 14, 10];
}
