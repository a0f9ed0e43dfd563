//! When a partition's state is written down as a shortcut for the next replay.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use waybill_domain::dispatcher::Dispatcher;
use waybill_log::StreamSeq;

use super::{PartitionParts, Serving};
use crate::takeover;

/// When a snapshot is written.
#[derive(Debug, Clone, Copy)]
pub struct SnapshotPace {
    /// When that much of the log lies behind the last one...
    pub records: u64,
    /// ...and not more often than this.
    pub pause: Duration,
}

impl Default for SnapshotPace {
    fn default() -> Self {
        Self {
            records: 20_000,
            pause: Duration::from_secs(30),
        }
    }
}

impl Serving<'_> {
    /// Whether one that goes up to `position` is worth being written now.
    pub(super) fn snapshot_is_due(&self, position: StreamSeq) -> bool {
        let behind = position.0.saturating_sub(self.snapshot_position.0);
        behind >= self.parts.pace.records && self.snapshot_at.elapsed() >= self.parts.pace.pause
    }

    pub(super) fn snapshot_in_background(&mut self) {
        if !self.snapshot_is_due(self.dispatcher.snapshot_position()) {
            return;
        }
        let Some(state) = self.dispatcher.snapshot() else {
            return;
        };
        self.snapshot_position = self.dispatcher.snapshot_position();
        self.snapshot_at = Instant::now();
        let bytes = takeover::seal(self.incarnation, &state);
        let snapshots = Arc::clone(&self.parts.snapshots);
        let partition = self.parts.partition;
        while self.snapshots.try_join_next().is_some() {}
        self.snapshots.spawn(async move {
            if let Err(error) = snapshots
                .put(&takeover::snapshot_name(partition), bytes)
                .await
            {
                tracing::warn!(%partition, %error, "no snapshot written");
            }
        });
    }
}

/// The next owner begins with it.
pub(super) async fn last_snapshot(
    parts: &PartitionParts,
    incarnation: i64,
    dispatcher: &Dispatcher,
) {
    let Some(state) = dispatcher.snapshot() else {
        return;
    };
    let name = takeover::snapshot_name(parts.partition);
    if let Err(error) = parts
        .snapshots
        .put(&name, takeover::seal(incarnation, &state))
        .await
    {
        tracing::warn!(partition = %parts.partition, %error, "no snapshot written");
    }
}
