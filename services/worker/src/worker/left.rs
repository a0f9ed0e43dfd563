//! Partitions that this version cannot own.

use std::collections::BTreeSet;
use std::sync::Arc;

use metrics::gauge;
use parking_lot::{Mutex, MutexGuard};
use waybill_domain::partition::Partition;

/// Partitions that were given back because a newer version wrote to them. Clones share the list.
///
/// A partition is removed when this worker can own it after all. One that another worker serves
/// remains, since this worker still could not.
#[derive(Debug, Clone, Default)]
pub struct LeftToNewer(Arc<Mutex<BTreeSet<Partition>>>);

impl LeftToNewer {
    /// The partitions, ascending.
    #[must_use]
    pub fn all(&self) -> Vec<Partition> {
        self.lock().iter().copied().collect()
    }

    pub(super) fn insert(&self, partition: Partition) {
        self.change(|left| left.insert(partition));
    }

    pub(super) fn remove(&self, partition: Partition) {
        self.change(|left| left.remove(&partition));
    }

    fn change(&self, change: impl FnOnce(&mut BTreeSet<Partition>) -> bool) {
        let mut left = self.lock();
        change(&mut left);
        #[expect(clippy::cast_precision_loss, reason = "a gauge of at most 1,024")]
        gauge!("waybill_partitions_left_to_newer").set(left.len() as f64);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<Partition>> {
        self.0.lock()
    }
}
