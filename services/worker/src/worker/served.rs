//! How many partitions are being served.

use std::sync::atomic::{AtomicUsize, Ordering};

use metrics::gauge;

/// Counts a partition as owned until dropped.
pub(super) struct Served<'a>(&'a AtomicUsize);

impl<'a> Served<'a> {
    pub(super) fn begin(owned: &'a AtomicUsize) -> Self {
        owned.fetch_add(1, Ordering::Relaxed);
        gauge!("waybill_partitions_owned").increment(1.0);
        Self(owned)
    }
}

impl Drop for Served<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
        gauge!("waybill_partitions_owned").decrement(1.0);
    }
}
