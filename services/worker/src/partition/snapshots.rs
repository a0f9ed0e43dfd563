//! When a partition's state is written as a shortcut for the next replay.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use waybill_domain::dispatcher::Dispatcher;
use waybill_domain::partition::Partition;
use waybill_log::{Log, Snapshots, StreamSeq};

use super::{PartitionParts, Serving};
use crate::takeover;

#[derive(Debug, Clone, Copy)]
pub struct SnapshotPace {
    /// Write one after this many events of the partition since the last snapshot...
    pub records: u64,
    /// ...but not more often than this.
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

/// What has happened in a partition since its last snapshot. Messages of the log would not do: a frame has up to a thousand events.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Since {
    /// Events that were read or stored.
    pub(super) events: u64,
    /// Those of them that stand before the last append that was let through: a snapshot would cover them.
    certain: u64,
}

impl Since {
    /// An append was let through.
    pub(super) fn let_through(&mut self) {
        self.certain = self.events;
    }

    /// A snapshot was written.
    fn covered(&mut self) {
        self.events -= self.certain;
        self.certain = 0;
    }
}

impl Serving<'_> {
    /// Whether another snapshot is worth writing that covers so many events.
    fn snapshot_is_due(&self, events: u64) -> bool {
        let SnapshotPace { records, pause } = self.parts.pace;
        events >= records && self.snapshot_at.elapsed() >= pause
    }

    /// Whether a snapshot would be due, were all events certain.
    pub(super) fn certainty_is_due(&self) -> bool {
        let Since { events, certain } = self.since_snapshot;
        certain < events && self.snapshot_is_due(events)
    }

    pub(super) fn snapshot_in_background(&mut self) {
        if !self.snapshot_is_due(self.since_snapshot.certain) {
            return;
        }
        let Some(state) = self.dispatcher.snapshot() else {
            return;
        };
        self.snapshot_at = Instant::now();
        self.since_snapshot.covered();
        let (log, snapshots) = (
            Arc::clone(&self.parts.executor.log),
            Arc::clone(&self.parts.snapshots),
        );
        let (partition, incarnation) = (self.parts.partition, self.incarnation);
        let position = self.dispatcher.snapshot_position();
        while self.snapshots.try_join_next().is_some() {}
        self.snapshots.spawn(async move {
            write(&*log, &*snapshots, partition, incarnation, position, &state).await;
        });
    }
}

/// Writes a last snapshot, from which the next owner starts.
pub(super) async fn last_snapshot(
    parts: &PartitionParts,
    incarnation: i64,
    dispatcher: &Dispatcher,
) {
    let Some(state) = dispatcher.snapshot() else {
        return;
    };
    let (log, snapshots) = (&*parts.executor.log, &*parts.snapshots);
    let position = dispatcher.snapshot_position();
    write(
        log,
        snapshots,
        parts.partition,
        incarnation,
        position,
        &state,
    )
    .await;
}

/// Writes a snapshot. A failure is only logged: losing a snapshot costs time, never data.
async fn write(
    log: &dyn Log,
    snapshots: &dyn Snapshots,
    partition: Partition,
    incarnation: i64,
    position: StreamSeq,
    state: &[u8],
) {
    let written = async {
        let sealed = takeover::seal(log, incarnation, position, state).await?;
        snapshots
            .put(&takeover::snapshot_name(partition), sealed)
            .await
    };
    if let Err(error) = written.await {
        tracing::warn!(%partition, %error, "writing a snapshot failed; the next takeover replays more of the log");
    }
}
