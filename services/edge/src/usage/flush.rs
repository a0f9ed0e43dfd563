//! Adding what this gateway has counted to the stream USAGE.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use waybill_log::tally::MAX_ADDITIONS;
use waybill_log::{Addition, Seen, TallyName, Wanted};

use super::Usage;
use waybill_commands::entropy;

/// The interval is longer by up to this part of itself, so that gateways do not flush all at once; it is never shorter.
const JITTER: f64 = 0.1;
/// Time limit of the flush at the stop; uses that are not flushed by then are lost.
const LAST_FLUSH: Duration = Duration::from_secs(3);

/// The task that flushes.
pub struct Flusher {
    usage: Arc<Usage>,
    interval: Duration,
    /// Identifies this start of this gateway; with a number, it makes the id of a batch.
    name: String,
    batches: u64,
    /// Batches that were taken and may not be stored yet. No further uses are taken before they are.
    unconfirmed: VecDeque<Batch>,
}

struct Batch {
    id: String,
    additions: Vec<Addition>,
}

impl Flusher {
    pub fn new(usage: Arc<Usage>, interval: Duration) -> Self {
        Self {
            usage,
            interval,
            name: hex::encode(entropy::random::<8>()),
            batches: 0,
            unconfirmed: VecDeque::new(),
        }
    }

    /// Flushes once per interval, and once more at the stop.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            let share = f64::from(u32::from_ne_bytes(entropy::random())) / f64::from(u32::MAX);
            let pause = self.interval.mul_f64(1.0 + JITTER * share);
            // Only the pause is cut short; a batch is written outside of it.
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stop.cancelled() => break,
            }
            self.flush().await;
        }
        if tokio::time::timeout(LAST_FLUSH, self.flush())
            .await
            .is_err()
        {
            tracing::warn!("the last uses of credentials were not counted before the stop");
        }
    }

    pub(super) async fn flush(&mut self) {
        if self.unconfirmed.is_empty() {
            let mut taken = self.usage.pending.take().into_iter().peekable();
            while taken.peek().is_some() {
                self.batches += 1;
                self.unconfirmed.push_back(Batch {
                    id: format!("{}-{}", self.name, self.batches),
                    additions: taken.by_ref().take(MAX_ADDITIONS).collect(),
                });
            }
        }
        while let Some(batch) = self.unconfirmed.front_mut() {
            // Cut off here, it is sent again under the same id, and counted once.
            if let Err(reason) = flush(&self.usage, batch).await {
                tracing::warn!(
                    reason,
                    "counting uses of credentials failed; they are counted later"
                );
                metrics::counter!("waybill_usage_flushes_total", "outcome" => "failed")
                    .increment(1);
                return;
            }
            metrics::counter!("waybill_usage_flushes_total", "outcome" => "told").increment(1);
            self.unconfirmed.pop_front();
        }
    }
}

async fn flush(usage: &Usage, batch: &mut Batch) -> Result<(), String> {
    merge(usage, &mut batch.additions).await?;
    let stored = usage.tallies.tally(&batch.id, &batch.additions).await;
    stored.map_err(|error| error.to_string())
}

/// Another gateway may have seen a credential later than this one: the latest stays.
async fn merge(usage: &Usage, additions: &mut [Addition]) -> Result<(), String> {
    let seen = additions.iter().filter(|addition| addition.seen.is_some());
    let names: Vec<TallyName> = seen.map(|addition| addition.name.clone()).collect();
    let stored = usage.tallies.tallies(Wanted::Named(names)).await;
    let stored: HashMap<TallyName, Option<Seen>> = stored
        .map_err(|error| error.to_string())?
        .into_iter()
        .map(|tally| (tally.name, tally.seen))
        .collect();
    for addition in additions {
        if let (Some(own), Some(Some(other))) = (&mut addition.seen, stored.get(&addition.name))
            && other.at > own.at
        {
            own.clone_from(other);
        }
    }
    Ok(())
}
