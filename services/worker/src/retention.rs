//! Retention: the log of tasks is dropped up to a low-water mark, and never by age alone.
//!
//! TASKS has no age of its own, since the server would drop open tasks and fences with it. Instead every owner stores its partition's
//! mark: the oldest position that an open task, a webhook still to be delivered or its fence needs. The mark stands in the owner's
//! fence record (`partition.owned`): fence and mark are one message, appended under the former fence, so a stale owner is refused by
//! the server before it could move the mark, a successor copies it without a race, and it never moves back. A key in a KV bucket would
//! need a second fence to be as safe.
//!
//! Each worker looks now and then how far the log could be dropped by its age (the *horizon*), and tells its partitions; they state
//! again what stands before it, and move their marks. One worker at a time, by a lease, is the janitor: it purges up to the least of
//! all marks and the horizon, in slices, so that appends go on. A partition without an owner keeps its last mark, and so holds
//! everything behind it; the gauges below say since when. The lease is only advice: two janitors at once purge no more than one.

use std::sync::Arc;
use std::time::Duration;

use metrics::{counter, gauge};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;
use waybill_domain::event::PartitionOwned;
use waybill_domain::partition::{Partition, PartitionCount};
use waybill_domain::time::Timestamp;
use waybill_log::subject::TaskSubject;
use waybill_log::{Bounds, LeaseError, Leases, Log, ReadError, Stream, StreamSeq, first_at};

use crate::clock::Clock;
use crate::lease::KeptLease;

/// Name of the janitor's lease.
const LEASE: &str = "janitor";
/// Messages purged at once: larger slices keep appends waiting longer.
const SLICE: u64 = 20_000;
/// Between two slices.
const SLICE_PAUSE: Duration = Duration::from_millis(20);
/// How often the log's age is looked at: at least, and at the most.
const LOOK_EVERY: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(60));

/// How long tasks and their events are kept once they have ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetentionConfig {
    /// Events older than this are dropped, unless something open needs them.
    pub age: Duration,
    /// Under pressure they are dropped from this age on, when it is less.
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

    fn look_every(&self) -> Duration {
        let (most_often, least_often) = LOOK_EVERY;
        (self.age / 20).clamp(most_often, least_often)
    }
}

/// Whether ended history has to give way before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Pressure {
    /// There is room: events are kept for their age.
    #[default]
    None,
    /// The log is nearly full: the low-water mark may pass the age limit, down to `min_history`.
    High,
}

/// How far the log could be dropped, as far as its age goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Horizon {
    /// The first position that is young enough to stay.
    pub from: StreamSeq,
    /// The last position there was when this was looked up.
    pub last: StreamSeq,
}

/// What retention works with.
pub(crate) struct Janitor {
    pub(crate) log: Arc<dyn Log>,
    pub(crate) leases: Arc<dyn Leases>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) config: RetentionConfig,
    /// Holder of the lease.
    pub(crate) worker: String,
    pub(crate) partitions: PartitionCount,
    pub(crate) pressure: watch::Receiver<Pressure>,
    /// What this worker's partitions are told.
    pub(crate) horizon: watch::Sender<Horizon>,
    /// Where the mark was a look ago: readers have that long to pass what is dropped next.
    pub(crate) former: StreamSeq,
}

/// Why the log was not looked at.
#[derive(Debug, thiserror::Error)]
enum RoundError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Lease(#[from] LeaseError),
}

impl Janitor {
    /// Looks at the log, and purges while the lease is held, until told to stop.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let mut lease: Option<KeptLease> = None;
        let mut ticks = interval(self.config.look_every());
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut pressure = self.pressure.clone();
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                // The sender may be gone: then there is no pressure any more that could change.
                Ok(()) = pressure.changed() => {}
                _ = ticks.tick() => {}
            }
            let round = self.round(&mut lease);
            match stop.run_until_cancelled(round).await {
                None => {
                    // It may have been asking for the lease: asked again, it is ours or somebody else's for certain.
                    if lease.is_none() {
                        let leases = Arc::clone(&self.leases);
                        lease = KeptLease::acquire(leases, LEASE, &self.worker).await.ok();
                    }
                    break;
                }
                Some(Ok(())) => {}
                Some(Err(error)) => {
                    tracing::warn!(%error, "retention cannot look at the log; nothing is dropped until it can");
                }
            }
        }
        if let Some(lease) = lease
            && let Err(error) = lease.release().await
        {
            tracing::debug!(%error, "the janitor's lease will run out by itself");
        }
    }

    async fn round(&mut self, lease: &mut Option<KeptLease>) -> Result<(), RoundError> {
        let pressure = *self.pressure.borrow_and_update();
        let bounds = self.log.bounds(Stream::Tasks).await?;
        let horizon = self.look(bounds, pressure).await?;
        self.horizon.send_replace(horizon);
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
        self.purge(bounds.first, first).await
    }

    /// The first position within the age that is kept. Never behind the log's end.
    async fn look(&self, bounds: Bounds, pressure: Pressure) -> Result<Horizon, ReadError> {
        let age = i64::try_from(self.config.limit(pressure).as_millis()).unwrap_or(i64::MAX);
        let oldest = Timestamp(self.clock.now().0.saturating_sub(age));
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
        // Taken again rather than waited for: it is advice, and asking costs little.
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

    /// The least of the horizon and of all partitions' marks, and which partition holds it back.
    async fn low_water(
        &self,
        horizon: Horizon,
    ) -> Result<(StreamSeq, Option<Partition>), ReadError> {
        let (mut low, mut holder) = (horizon.from, None);
        for partition in self.partitions.all() {
            let subject = TaskSubject::owner(partition).to_string();
            let record = self.log.last(Stream::Tasks, &subject).await?;
            // Without a mark everything may be needed: it never had an owner, or one of a version that knew of no marks.
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
        if low < horizon.from
            && let Some(record) = self.log.read(Stream::Tasks, low.max(bounds.first)).await?
        {
            let kept = self.clock.now().since(record.time);
            overdue = kept.saturating_sub(self.config.age);
        }
        #[expect(clippy::cast_precision_loss, reason = "gauges")]
        {
            gauge!("waybill_retention_low_water").set(low.0 as f64);
            gauge!("waybill_retention_kept_messages")
                .set((bounds.last.0 + 1).saturating_sub(bounds.first.0) as f64);
        }
        gauge!("waybill_retention_overdue_seconds").set(overdue.as_secs_f64());
        if let Some(partition) = holder {
            tracing::debug!(%partition, mark = %low, horizon = %horizon.from, "a partition holds retention back");
        }
        Ok(())
    }

    /// Purges in slices.
    async fn purge(&self, mut from: StreamSeq, first: StreamSeq) -> Result<(), RoundError> {
        let mut purged = 0;
        while from < first {
            from = StreamSeq(from.0.saturating_add(SLICE)).min(first);
            let count = self.log.purge_tasks(from).await?;
            counter!("waybill_retention_purged_messages_total").increment(count);
            purged += count;
            if from < first {
                sleep(SLICE_PAUSE).await;
            }
        }
        if purged > 0 {
            tracing::info!(messages = purged, %first, "retention has dropped what nobody needs");
        }
        Ok(())
    }
}
