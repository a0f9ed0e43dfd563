//! The two streams: each is totally ordered, acknowledged records are stored, and FENCE deletes old
//! ones.

use crate::access::fence::FenceRecord;
use crate::seq::StreamSeq;

/// Retention of FENCE, in microseconds: twice as long as a gateway may be without a lease before it
/// starts anew.
const REMEMBERED: u64 = 60_000_000;

#[derive(Debug, Default)]
pub(super) struct Server {
    fence: Vec<(u64, FenceRecord)>,
    forgotten: u64,
    control: u64,
}

impl Server {
    pub(super) fn store(&mut self, now: u64, record: FenceRecord) -> StreamSeq {
        self.fence.push((now, record));
        StreamSeq(self.fence.len() as u64)
    }

    /// Appends an event of any kind to CONTROL.
    pub(super) fn append(&mut self) -> StreamSeq {
        self.control += 1;
        StreamSeq(self.control)
    }

    pub(super) fn control(&self) -> StreamSeq {
        StreamSeq(self.control)
    }

    /// First sequence that is still stored.
    pub(super) fn first(&self, now: u64) -> StreamSeq {
        let forgotten = self.fence.partition_point(|(at, _)| at + REMEMBERED < now);
        StreamSeq(self.forgotten.max(forgotten as u64) + 1)
    }

    pub(super) fn forget(&mut self) {
        self.forgotten = self.fence.len() as u64;
    }

    /// Records that are still stored, from `from` on.
    pub(super) fn records(&self, now: u64, from: StreamSeq) -> Vec<(StreamSeq, FenceRecord)> {
        let from = from.max(self.first(now)).0;
        (from..=self.fence.len() as u64)
            .map(|seq| (StreamSeq(seq), self.fence[seq as usize - 1].1.clone()))
            .collect()
    }
}
