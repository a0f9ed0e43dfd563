//! Retention: the log of tasks is purged up to a low-water mark, and never by age alone.
//!
//! TASKS has no age limit of its own, since the server would delete open tasks and fences too.
//! Instead, every owner stores its partition's mark: the oldest position that an open task, an
//! undelivered webhook or its fence needs. The mark is part of the owner's fence record
//! (`partition.owned`). Fence and mark are one message, appended under the former fence. So the
//! server refuses a stale owner before it could move the mark, a successor copies it without a
//! race, and it never moves back. A key in a KV bucket would need a second fence to be as safe.
//!
//! Each worker regularly determines how far the log could be purged by age (the *horizon*), and
//! tells its partitions, which restate what is before it and move their marks. One worker at a
//! time, chosen by a lease, is the janitor: it purges up to the minimum of all marks and the
//! horizon, in slices, so that appends continue. A partition without an owner keeps its last mark,
//! and so holds back everything behind it; the gauges below show for how long. The lease is only
//! advice: two janitors at a time purge no more than one.

use std::sync::Arc;
use std::time::Duration;

use metrics::{counter, gauge};
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use waybill_domain::event::PartitionOwned;
use waybill_domain::partition::{Partition, PartitionCount};
use waybill_domain::time::Timestamp;
use waybill_log::subject::TaskSubject;
use waybill_log::{
    Bounds, LeaseError, Leases, Log, Pressure, ReadError, Stream, StreamSeq, first_at,
};

use crate::lease::KeptLease;

/// Name of the janitor's lease.
const LEASE: &str = "janitor";
/// Messages purged at a time; larger slices delay appends for longer.
const SLICE: u64 = 20_000;
/// Pause between slices.
const SLICE_PAUSE: Duration = Duration::from_millis(20);
/// Shortest and longest interval between checks of the log's age.
const LOOK_EVERY: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(60));
/// Longest interval while the log is nearly full: owners move their marks only once they know the
/// horizon, so what one check makes possible is purged by the next, and creations may be refused
/// until then.
const LOOK_UNDER_PRESSURE: Duration = Duration::from_secs(1);

/// How long ended tasks and their events are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetentionConfig {
    /// Events older than this are purged, unless something open needs them.
    pub age: Duration,
    /// While the log is nearly full, events older than this are purged, if it is less.
    pub min_history: Duration,
}

impl Default for RetentionConfig {
    fn default() -> Self {
        Self {
            age: Duration::from_secs(30 * 86_400),
            min_history: Duration::from_secs(86_400),
        }
    }
}

impl RetentionConfig {
    fn limit(&self, pressure: Pressure) -> Duration {
        match pressure {
            Pressure::None => self.age,
            Pressure::High => self.age.min(self.min_history),
        }
    }

    fn look_every(&self, pressure: Pressure) -> Duration {
        let (most_often, least_often) = LOOK_EVERY;
        let by_age = (self.age / 20).clamp(most_often, least_often);
        match pressure {
            Pressure::None => by_age,
            Pressure::High => by_age.min(LOOK_UNDER_PRESSURE),
        }
    }
}

/// How far the log could be purged by age alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Horizon {
    /// The first position that is young enough to be kept.
    pub from: StreamSeq,
    /// The last position of the log when this was determined.
    pub last: StreamSeq,
}

/// The horizon, told to each partition through a channel of its own: a channel with several
/// receivers wakes them in a random order, and a simulation would not be repeatable.
#[derive(Clone)]
pub(crate) struct Horizons(Arc<[watch::Sender<Horizon>]>);

impl Horizons {
    pub(crate) fn new(partitions: PartitionCount) -> Self {
        let channels = partitions.all().map(|_| watch::Sender::default());
        Self(channels.collect())
    }

    pub(crate) fn of(&self, partition: Partition) -> watch::Receiver<Horizon> {
        let channel = self.0.get(usize::from(partition.get()));
        channel.map_or_else(
            || watch::channel(Horizon::default()).1,
            watch::Sender::subscribe,
        )
    }

    fn send(&self, horizon: Horizon) {
        for channel in self.0.iter() {
            channel.send_replace(horizon);
        }
    }
}

/// What retention needs.
pub(crate) struct Janitor {
    pub(crate) log: Arc<dyn Log>,
    pub(crate) leases: Arc<dyn Leases>,
    pub(crate) config: RetentionConfig,
    /// Holder of the lease.
    pub(crate) worker: String,
    pub(crate) partitions: PartitionCount,
    pub(crate) pressure: watch::Receiver<Pressure>,
    /// Sent to this worker's partitions.
    pub(crate) horizons: Horizons,
    /// The mark at the previous check: readers have had the time since then to pass what is purged
    /// next.
    pub(crate) former: StreamSeq,
}

/// Why a round of retention failed.
#[derive(Debug, thiserror::Error)]
enum RoundError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Lease(#[from] LeaseError),
}

impl Janitor {
    /// Checks the log regularly, and purges while it holds the lease, until stopped.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let mut lease: Option<KeptLease> = None;
        let mut pressure = self.pressure.clone();
        let mut rest = Duration::ZERO;
        loop {
            // A round runs to its end; only the pause between rounds is cut short.
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                // If the sender is gone, the pressure can no longer change.
                Ok(()) = pressure.changed() => {}
                () = sleep(rest) => {}
            }
            rest = self.config.look_every(*self.pressure.borrow());
            let round = self.round(&mut lease);
            match stop.run_until_cancelled(round).await {
                None => {
                    // The round may have been cut off while it asked for the lease: asking again
                    // determines who holds it.
                    if lease.is_none() {
                        let leases = Arc::clone(&self.leases);
                        // Held by another worker, or unknown: the next round asks again.
                        lease = KeptLease::acquire(leases, LEASE, &self.worker).await.ok();
                    }
                    break;
                }
                Some(Ok(())) => {}
                Some(Err(error)) => {
                    tracing::warn!(%error, "retention cannot read the log; nothing is purged until it can");
                }
            }
        }
        if let Some(lease) = lease
            && let Err(error) = lease.release().await
        {
            tracing::debug!(%error, "the lease of retention could not be released; it expires by itself");
        }
    }

    async fn round(&mut self, lease: &mut Option<KeptLease>) -> Result<(), RoundError> {
        let pressure = *self.pressure.borrow_and_update();
        let bounds = self.log.bounds(Stream::Tasks).await?;
        let horizon = self.look(bounds, pressure).await?;
        self.horizons.send(horizon);
        if !self.is_janitor(lease).await? {
            return Ok(());
        }
        let (low, holder) = self.low_water(horizon).await?;
        self.report(bounds, horizon, low, holder).await?;
        let former = std::mem::replace(&mut self.former, low);
        let first = match pressure {
            Pressure::None => former.min(low),
            Pressure::High => low,
        };
        self.purge(bounds, first).await
    }

    /// Determines the first position that is within the kept age, by the clock that dated the
    /// records. Never beyond the end of the log.
    async fn look(&self, bounds: Bounds, pressure: Pressure) -> Result<Horizon, ReadError> {
        let age = i64::try_from(self.config.limit(pressure).as_millis()).unwrap_or(i64::MAX);
        let oldest = Timestamp(bounds.now.0.saturating_sub(age));
        let from = first_at(self.log.as_ref(), Stream::Tasks, bounds, oldest).await?;
        Ok(Horizon {
            from,
            last: bounds.last,
        })
    }

    async fn is_janitor(&self, lease: &mut Option<KeptLease>) -> Result<bool, LeaseError> {
        if lease.as_ref().is_some_and(KeptLease::is_held) {
            return Ok(true);
        }
        // Taken again instead of waited for: the lease is only advice, and asking costs little.
        *lease = None;
        match KeptLease::acquire(Arc::clone(&self.leases), LEASE, &self.worker).await {
            Ok(taken) => {
                *lease = Some(taken);
                Ok(true)
            }
            Err(LeaseError::NotHeld { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The minimum of the horizon and of all partitions' marks, and the partition that holds it
    /// back, if any.
    async fn low_water(
        &self,
        horizon: Horizon,
    ) -> Result<(StreamSeq, Option<Partition>), ReadError> {
        let (mut low, mut holder) = (horizon.from, None);
        for partition in self.partitions.all() {
            let subject = TaskSubject::owner(partition).to_string();
            let record = self.log.last(Stream::Tasks, &subject).await?;
            // Without a mark, all records may be needed: the partition never had an owner, or only
            // one of a version without marks.
            let mark = record
                .and_then(|record| PartitionOwned::decode(&record.payload).ok()?.mark)
                .unwrap_or_default();
            if mark < low {
                (low, holder) = (mark, Some(partition));
            }
        }
        Ok((low, holder))
    }

    async fn report(
        &self,
        bounds: Bounds,
        horizon: Horizon,
        low: StreamSeq,
        holder: Option<Partition>,
    ) -> Result<(), ReadError> {
        let mut overdue = Duration::ZERO;
        if low < horizon.from {
            let from = low.max(bounds.first);
            let kept = self.log.range(Stream::Tasks, &[], from, bounds.last, 1);
            if let Some(oldest) = kept.await?.first() {
                let age = bounds.now.since(oldest.time);
                overdue = age.saturating_sub(self.config.age);
            }
        }
        #[expect(clippy::cast_precision_loss, reason = "gauges")]
        {
            gauge!("waybill_retention_low_water").set(low.0 as f64);
            gauge!("waybill_retention_kept_messages").set(bounds.messages as f64);
        }
        gauge!("waybill_retention_overdue_seconds").set(overdue.as_secs_f64());
        if let Some(partition) = holder {
            tracing::debug!(%partition, mark = %low, horizon = %horizon.from, "an open task of this partition keeps older records from being purged");
        }
        Ok(())
    }

    /// Purges in slices.
    async fn purge(&self, bounds: Bounds, first: StreamSeq) -> Result<(), RoundError> {
        let mut from = bounds.first;
        let mut purged = 0;
        while from < first {
            from = bounds.positions.messages_on(from, SLICE).min(first);
            let count = self.log.purge_tasks(from).await?;
            counter!("waybill_retention_purged_messages_total").increment(count);
            purged += count;
            if from < first {
                sleep(SLICE_PAUSE).await;
            }
        }
        if purged > 0 {
            tracing::info!(messages = purged, %first, "retention has purged messages that are no longer needed");
        }
        Ok(())
    }
}
