//! Watches the room in the log: metrics for all roles, and for `waybill up` the disk, the shares of the streams and JetStream itself.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use metrics::gauge;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use waybill_domain::room::{OWED_SUBJECT, OwedByPartition};
use waybill_log::jetstream::{JetStreamLog, Storage, StreamSize};
use waybill_log::{LogFull, RoomWatch, Stream};
use waybill_worker::board::Board;

use crate::config::Config;
use crate::disk::{Disk, Store};
use crate::nats_server::Restarter;

/// Pause between two looks at the sizes of the streams.
const SIZES_EVERY: Duration = Duration::from_secs(10);
/// Pause between two looks at the disk. What can be written meanwhile is far less than what is kept free.
const DISK_EVERY: Duration = Duration::from_millis(500);
/// Pause between two reports of the bytes that open tasks need of the log.
const OWED_EVERY: Duration = Duration::from_secs(1);
/// A server that has been broken for this long does not come back by itself.
const BROKEN_FOR: Duration = Duration::from_secs(2);
/// Least time between two restarts of the server.
const RESTARTS_APART: Duration = Duration::from_secs(15);

/// Reports at an interval the bytes that the worker's partitions still need of the log, until stopped.
pub(crate) async fn report_owed(
    board: Arc<Board>,
    nats: async_nats::Client,
    stop: CancellationToken,
) {
    let mut ticks = interval(OWED_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        // A stop loses one report at most. Gateways keep the last figures until the next owner of these partitions reports.
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let owed = board.owed();
        gauge!("waybill_tasks_open").set(open_tasks(&owed));
        if owed.partitions.is_empty() {
            continue;
        }
        let Ok(payload) = serde_json::to_vec(&owed) else {
            continue;
        };
        if let Err(error) = nats.publish(OWED_SUBJECT, payload.into()).await {
            tracing::debug!(%error, "publishing what open tasks need of the log failed; gateways assume the last figures");
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a gauge")]
fn open_tasks(owed: &OwedByPartition) -> f64 {
    let tasks = owed.partitions.iter().map(|(_, owed)| owed.tasks);
    tasks.sum::<u64>() as f64
}

/// Exports how much of the disk below the data folder of a role is left, until stopped.
pub(crate) async fn export_disk(data: PathBuf, stop: CancellationToken) {
    let mut ticks = interval(SIZES_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        // A stop loses one measurement at most, and no role is left to which it would matter.
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        match Disk::of(&data) {
            Ok(disk) => disk.export(),
            Err(error) => tracing::warn!(%error, "the room on the disk is unknown"),
        }
    }
}

/// Warns when nothing keeps the log from filling the disk of a server that the operator runs.
pub(crate) fn limits_are_missing(config: &Config) {
    if config.nats.streams.tasks_max_bytes.is_none() {
        tracing::warn!(
            "nats.streams.tasks_max_bytes is not set: unless TASKS has a limit already, creations are not refused before the disk of nats-server is full, and then everything stops"
        );
    }
}

/// Exports how full the streams are, until stopped.
pub(crate) async fn export_sizes(log: JetStreamLog, stop: CancellationToken) {
    let mut ticks = interval(SIZES_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        // A stop loses one measurement at most.
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        match log.sizes().await {
            Ok(sizes) => export(&sizes),
            Err(error) => tracing::debug!(%error, "reading the sizes of the streams failed"),
        }
        match log.storage().await {
            Ok(storage) => export_storage(storage),
            Err(error) => tracing::debug!(%error, "what all streams take is unknown"),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "gauges of bytes")]
fn export_storage(storage: Storage) {
    gauge!("waybill_storage_bytes").set(storage.used as f64);
    gauge!("waybill_storage_max_bytes").set(storage.limit.unwrap_or(0) as f64);
}

#[expect(clippy::cast_precision_loss, reason = "gauges of bytes")]
fn export(sizes: &[StreamSize]) {
    for size in sizes {
        let stream = size.stream.clone();
        gauge!("waybill_stream_bytes", "stream" => stream.clone()).set(size.bytes as f64);
        let limit = size.max_bytes.unwrap_or(0);
        gauge!("waybill_stream_max_bytes", "stream" => stream).set(limit as f64);
    }
}

/// Gives each stream its share of the store. One that cannot have it keeps what it has: that is no reason not to start.
pub(crate) async fn give_shares(log: &JetStreamLog, store: Store, config: &Config) {
    let sizes = match log.sizes().await {
        Ok(sizes) => sizes,
        Err(error) => {
            tracing::warn!(%error, "setting the streams' shares of the disk failed");
            return;
        }
    };
    let configured = config.nats.streams.tasks_max_bytes.is_some();
    for (stream, share) in store.shares(&sizes, configured) {
        let is_too_much = sizes.iter().any(|size| {
            size.stream == stream
                && size
                    .max_bytes
                    .is_some_and(|limit| limit > store.max_file_store)
        });
        // As after a restore from a larger disk: the store would be full before the stream refuses anything.
        let given = if is_too_much && stream == Stream::Tasks.name() {
            log.lower_tasks(share).await
        } else {
            log.raise(&stream, share).await
        };
        if let Err(error) = given {
            tracing::warn!(stream, share, %error, "setting the stream's share of the disk failed");
        }
    }
}

/// The room of a `waybill up` over its own server.
pub(crate) struct OwnRoom {
    pub config: Config,
    pub store: Store,
    pub log: JetStreamLog,
    pub server: Restarter,
    /// The gateway's, which refuses creations by it.
    pub watch: Arc<RoomWatch>,
}

impl OwnRoom {
    /// Watches until stopped.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let mut disk = interval(DISK_EVERY);
        disk.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut sizes = interval(SIZES_EVERY);
        sizes.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut server = Server::default();
        loop {
            // A look runs to its end; only the waiting between looks is cut short.
            tokio::select! {
                () = stop.cancelled() => return,
                _ = disk.tick() => self.look_at_disk(&mut server).await,
                _ = sizes.tick() => self.look_at_streams(&mut server).await,
            }
        }
    }

    fn data(&self) -> &PathBuf {
        &self.config.data
    }

    async fn look_at_disk(&self, server: &mut Server) {
        let disk = match Disk::of(self.data()) {
            Ok(disk) => disk,
            Err(error) => {
                tracing::warn!(%error, "reading the free space of the disk failed");
                return;
            }
        };
        disk.export();
        let full = (disk.free < disk.kept()).then(|| LogFull::Disk {
            free: disk.free,
            kept: disk.kept(),
        });
        self.watch.disk(full);
        let broken = self.server.broken().await;
        if server.stays_broken(broken.is_some()) && full.is_none() {
            tracing::error!(
                free = disk.free,
                reason = broken.unwrap_or_default(),
                "nats-server stores nothing any more, as after its disk was full, and there is room: it is restarted"
            );
            self.restart(server).await;
        }
    }

    async fn look_at_streams(&mut self, server: &mut Server) {
        let Ok(sizes) = self.log.sizes().await else {
            return;
        };
        export(&sizes);
        if let Ok(storage) = self.log.storage().await {
            export_storage(Storage {
                // The configured limit, which the server does not report.
                limit: Some(self.store.max_file_store),
                ..storage
            });
        }
        for (stream, max_bytes) in self.store.raises(&sizes) {
            match self.log.raise(&stream, max_bytes).await {
                Ok(()) => tracing::warn!(
                    stream,
                    max_bytes,
                    "the stream was half full and may take more now"
                ),
                Err(error) => tracing::error!(stream, %error, "raising the stream's limit failed"),
            }
        }
        // A larger store needs a restart of the server, so it comes when room is wanted.
        let wanted = self.watch.room().is_some_and(|room| room.wants_purge());
        if !wanted || self.config.up.max_file_store_mib.is_some() || !server.may_restart() {
            return;
        }
        match self.store.grown(self.data()) {
            Ok(Some(store)) => {
                tracing::warn!(
                    mib = store.max_file_store >> 20,
                    "the disk has grown: nats-server is restarted with more room"
                );
                self.store = store;
                self.restart(server).await;
                server.shares_due = true;
            }
            Ok(None) if server.shares_due => {
                server.shares_due = false;
                give_shares(&self.log, self.store, &self.config).await;
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "reading the free space of the disk failed"),
        }
    }

    async fn restart(&self, server: &mut Server) {
        server.restarted();
        if let Err(error) = self.server.restart(self.store).await {
            tracing::error!(%error, "restarting nats-server failed");
        }
    }
}

/// What is known about the server.
#[derive(Default)]
struct Server {
    broken_since: Option<Instant>,
    restarted_at: Option<Instant>,
    /// It has more room, which no stream has got yet.
    shares_due: bool,
}

impl Server {
    /// Whether it has been broken for so long that only a restart helps.
    fn stays_broken(&mut self, is_broken: bool) -> bool {
        if !is_broken {
            self.broken_since = None;
            return false;
        }
        let since = *self.broken_since.get_or_insert_with(Instant::now);
        since.elapsed() >= BROKEN_FOR && self.may_restart()
    }

    fn may_restart(&self) -> bool {
        self.restarted_at
            .is_none_or(|at| at.elapsed() >= RESTARTS_APART)
    }

    fn restarted(&mut self) {
        self.broken_since = None;
        self.restarted_at = Some(Instant::now());
    }
}
