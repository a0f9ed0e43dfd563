//! Telling the stream USAGE what this gateway has seen.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use waybill_log::tally::MAX_ADDITIONS;
use waybill_log::{Addition, Seen, TallyName, Wanted};

use super::Usage;
use crate::entropy;

/// The interval is longer by up to this part of itself, so that gateways do not tell all at once; it is never shorter.
const JITTER: f64 = 0.1;
/// At the stop nobody waits longer for it; what is not told then is lost.
const LAST_FLUSH: Duration = Duration::from_secs(3);

/// The task that tells.
pub(crate) struct Flusher {
    usage: Arc<Usage>,
    interval: Duration,
    /// Of this start of this gateway: batches are told apart by it and a number.
    name: String,
    batches: u64,
    /// What was taken and is not known to be told. Nothing further is taken before it is.
    untold: VecDeque<Batch>,
}

struct Batch {
    id: String,
    additions: Vec<Addition>,
}

impl Flusher {
    pub(crate) fn new(usage: Arc<Usage>, interval: Duration) -> Self {
        Self {
            usage,
            interval,
            name: hex::encode(entropy::random::<8>()),
            batches: 0,
            untold: VecDeque::new(),
        }
    }

    /// Tells now and then, and once more when stopped.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        loop {
            let share = f64::from(u32::from_ne_bytes(entropy::random())) / f64::from(u32::MAX);
            let pause = self.interval.mul_f64(1.0 + JITTER * share);
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stop.cancelled() => break,
            }
            self.tell().await;
        }
        if tokio::time::timeout(LAST_FLUSH, self.tell()).await.is_err() {
            tracing::warn!("the last uses of credentials were not counted before the stop");
        }
    }

    pub(super) async fn tell(&mut self) {
        if self.untold.is_empty() {
            let mut taken = self.usage.pending.take().into_iter().peekable();
            while taken.peek().is_some() {
                self.batches += 1;
                self.untold.push_back(Batch {
                    id: format!("{}-{}", self.name, self.batches),
                    additions: taken.by_ref().take(MAX_ADDITIONS).collect(),
                });
            }
        }
        while let Some(batch) = self.untold.front_mut() {
            // Cut off here, it is told again, under the same id.
            if let Err(reason) = tell(&self.usage, batch).await {
                tracing::warn!(reason, "uses of credentials are counted later");
                metrics::counter!("waybill_usage_flushes_total", "outcome" => "failed")
                    .increment(1);
                return;
            }
            metrics::counter!("waybill_usage_flushes_total", "outcome" => "told").increment(1);
            self.untold.pop_front();
        }
    }
}

async fn tell(usage: &Usage, batch: &mut Batch) -> Result<(), String> {
    merge(usage, &mut batch.additions).await?;
    let told = usage.tallies.tally(&batch.id, &batch.additions).await;
    told.map_err(|error| error.to_string())
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
