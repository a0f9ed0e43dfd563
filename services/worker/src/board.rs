//! Status report of a worker: the partitions that it holds, whether it serves them, and what their
//! open tasks need of the log.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use serde::Serialize;
use waybill_domain::partition::Partition;
use waybill_domain::room::{Owed, OwedByPartition};
use waybill_domain::seq::StreamSeq;

/// After this long without checking the shares, the worker is not ready: its leases have expired by
/// then.
const SILENCE: Duration = Duration::from_secs(15);

/// What a worker does with a partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum Holding {
    /// Replays the partition's records.
    TakingOver,
    /// Runs the partition's tasks.
    Serving {
        /// Tasks that have not ended, and ended ones whose webhook is not delivered yet.
        open: u64,
        /// How far the log was read for the partition. It moves with every task, so it is no part of the readiness.
        #[serde(skip)]
        read: StreamSeq,
    },
    /// Cannot be owned by this worker.
    Left { reason: String },
}

/// Readiness report of a worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Readiness {
    /// `ready` or `not_ready`.
    pub status: &'static str,
    /// The reason, if it is not ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Each partition that this worker holds or had to leave, by number.
    pub partitions: BTreeMap<u16, Holding>,
}

impl Readiness {
    /// Whether every held partition is served.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.reason.is_none()
    }
}

/// Status of each partition. The lock is held for a few instructions only.
#[derive(Debug, Default)]
pub struct Board(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    balanced: Option<Instant>,
    partitions: BTreeMap<Partition, Entry>,
    /// Partitions whose due work stands still.
    standing: BTreeSet<Partition>,
}

#[derive(Debug)]
struct Entry {
    holding: Holding,
    owed: Owed,
}

impl Board {
    /// Records that the shares were checked, and that free partitions within this worker's share
    /// were taken.
    pub(crate) fn balanced(&self) {
        self.lock().balanced = Some(Instant::now());
    }

    /// Records in which partitions due work stands still for too long.
    pub(crate) fn standing(&self, partitions: BTreeSet<Partition>) {
        self.lock().standing = partitions;
    }

    pub(crate) fn taking_over(&self, partition: Partition) {
        self.set(partition, Holding::TakingOver, Owed::default());
    }

    pub(crate) fn serving(&self, partition: Partition, owed: Owed, read: StreamSeq) {
        let open = owed.tasks;
        self.set(partition, Holding::Serving { open, read }, owed);
    }

    pub(crate) fn left(&self, partition: Partition, reason: String) {
        self.set(partition, Holding::Left { reason }, Owed::default());
    }

    pub(crate) fn given_back(&self, partition: Partition) {
        let mut state = self.lock();
        // The reason for leaving a partition is reported until it is taken again.
        if state
            .partitions
            .get(&partition)
            .is_some_and(|entry| !matches!(entry.holding, Holding::Left { .. }))
        {
            state.partitions.remove(&partition);
        }
    }

    fn set(&self, partition: Partition, holding: Holding, owed: Owed) {
        let entry = Entry { holding, owed };
        self.lock().partitions.insert(partition, entry);
    }

    /// Whether every held partition is served, and if not, why.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        let state = self.lock();
        let partitions: BTreeMap<u16, Holding> = state
            .partitions
            .iter()
            .map(|(partition, entry)| (partition.get(), entry.holding.clone()))
            .collect();
        let numbers = |wanted: fn(&Holding) -> bool| -> Vec<String> {
            let held = partitions.iter().filter(|(_, holding)| wanted(holding));
            held.map(|(number, _)| number.to_string()).collect()
        };
        let left = numbers(|holding| matches!(holding, Holding::Left { .. }));
        let waiting = numbers(|holding| matches!(holding, Holding::TakingOver));
        let reason = match state.balanced {
            None => Some("The worker has not seen the leases of partitions yet".to_owned()),
            Some(at) if at.elapsed() > SILENCE => {
                Some("The leases of partitions cannot be read".to_owned())
            }
            Some(_) if !left.is_empty() => Some(format!(
                "Partitions that this version cannot own: {}",
                left.join(", ")
            )),
            Some(_) if !waiting.is_empty() => Some(format!(
                "Partitions that are being taken over: {}",
                waiting.join(", ")
            )),
            Some(_) if !state.standing.is_empty() => {
                let standing = state.standing.iter().map(Partition::to_string);
                let standing: Vec<_> = standing.collect();
                Some(format!(
                    "Partitions whose due work stands still: {}",
                    standing.join(", ")
                ))
            }
            Some(_) => None,
        };
        Readiness {
            status: if reason.is_none() {
                "ready"
            } else {
                "not_ready"
            },
            reason,
            partitions,
        }
    }

    /// What the open tasks of all served partitions need of the log.
    #[must_use]
    pub fn owed(&self) -> OwedByPartition {
        let state = self.lock();
        let served = state
            .partitions
            .iter()
            .filter(|(_, entry)| matches!(entry.holding, Holding::Serving { .. }));
        OwedByPartition {
            partitions: served
                .map(|(partition, entry)| (*partition, entry.owed))
                .collect(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock()
    }
}

/// The entry of a partition in the status report. Dropping it removes the entry.
#[derive(Debug)]
pub struct Place {
    board: Arc<Board>,
    partition: Partition,
}

impl Place {
    pub(crate) fn new(board: Arc<Board>, partition: Partition) -> Self {
        board.taking_over(partition);
        Self { board, partition }
    }

    pub(crate) fn taking_over(&self) {
        self.board.taking_over(self.partition);
    }

    pub(crate) fn serving(&self, owed: Owed, read: StreamSeq) {
        self.board.serving(self.partition, owed, read);
    }

    pub(crate) fn left(&self, reason: String) {
        self.board.left(self.partition, reason);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.board.given_back(self.partition);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_is_ready_when_it_serves_all_that_it_holds() {
        let board = Arc::new(Board::default());
        let partition = |number| Partition::new(number).expect("a partition");
        assert!(!board.readiness().is_ready(), "nothing is known yet");
        board.balanced();
        assert!(board.readiness().is_ready(), "others hold everything");
        let place = Place::new(Arc::clone(&board), partition(3));
        let reason = board.readiness().reason.expect("not ready");
        assert_eq!(reason, "Partitions that are being taken over: 3");
        let owed = Owed {
            tasks: 2,
            bytes: 900,
        };
        place.serving(owed, StreamSeq(9));
        assert!(board.readiness().is_ready());
        assert_eq!(board.owed().partitions, [(partition(3), owed)]);
        board.standing(BTreeSet::from([partition(3)]));
        let reason = board.readiness().reason.expect("not ready");
        assert_eq!(reason, "Partitions whose due work stands still: 3");
        board.standing(BTreeSet::new());
        drop(place);
        assert!(board.readiness().partitions.is_empty());
        let place = Place::new(Arc::clone(&board), partition(5));
        place.left("a newer version wrote it".to_owned());
        drop(place);
        let readiness = board.readiness();
        assert_eq!(
            readiness.reason.as_deref(),
            Some("Partitions that this version cannot own: 5")
        );
        assert!(board.owed().partitions.is_empty());
    }
}
