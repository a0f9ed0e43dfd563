//! Waiting for one task to change: what `GET /v1/tasks/{id}?wait=N` stands on.

use waybill_domain::seq::StreamSeq;
use waybill_domain::task::Status;

use super::hub::Live;
use super::slots::Slot;

/// Listens to one task until it is dropped.
pub struct TaskWatch {
    live: Live,
    _slot: Slot,
}

impl TaskWatch {
    pub fn new(live: Live, slot: Slot) -> Self {
        Self { live, _slot: slot }
    }

    /// Every event of the task after this position will be reported. Who first watches, then queries with `min_seq` of at least
    /// this, then waits, has no moment between the two in which a change could go unseen.
    #[must_use]
    pub fn since(&self) -> StreamSeq {
        self.live.since
    }

    /// Position of the newest event of the task that was not reported yet; waits for one. Cancel safe.
    /// `None`: the hub reports no more, since it is stopping or the task changed too often; query again.
    pub async fn changed(&mut self) -> Option<StreamSeq> {
        self.next().await.map(|(seq, _)| seq)
    }

    /// The same, with the status the task had then; no status when the event left it as it was.
    pub async fn next(&mut self) -> Option<(StreamSeq, Option<Status>)> {
        let mut newest = self.live.inbox.steps.recv().await?;
        while let Ok(step) = self.live.inbox.steps.try_recv() {
            newest = step;
        }
        Some((newest.seq, newest.status))
    }
}
