//! Gives partitions away whose due work stands still.

use std::collections::BTreeSet;
use std::time::Duration;

use metrics::{counter, gauge};
use tokio::time::Instant;
use waybill_domain::partition::Partition;

use super::{Shell, Tasks};
use crate::watchdog::PATIENCE;

/// How long this worker does not take a partition again that it gave away, so that another one with
/// room can.
const ASIDE: Duration = Duration::from_secs(3);
/// How long a loop that was told to end and does not go round any more may take to do so.
const LAST_PATIENCE: Duration = Duration::from_secs(60);

impl Tasks {
    /// Whether another worker should have the partition.
    pub(super) fn is_aside(&self, partition: Partition) -> bool {
        let since = self.aside.get(&partition);
        since.is_some_and(|since| since.elapsed() < ASIDE)
    }
}

impl Shell {
    /// Ends the loops of partitions that stand still, and with them their leases.
    pub(super) fn give_away_what_stands(&self, tasks: &mut Tasks) {
        let now = Instant::now();
        let since_last = tasks.looked.map_or(Duration::ZERO, |looked| now - looked);
        tasks.looked = Some(now);
        tasks.aside.retain(|_, since| since.elapsed() < ASIDE);
        let mut longest = Duration::ZERO;
        let mut standing = BTreeSet::new();
        for (partition, held) in &mut tasks.held {
            let stands = held.watch.look(since_last);
            longest = longest.max(stands);
            // Until it has ended, it is not served.
            if stands >= PATIENCE {
                standing.insert(*partition);
            }
            if stands >= PATIENCE && !held.stop.is_cancelled() {
                tracing::error!(
                    %partition, seconds = stands.as_secs(),
                    "due work of a partition stood still although slots are free; the partition is given away"
                );
                counter!("waybill_partitions_given_away_total").increment(1);
                held.stop.cancel();
            } else if stands >= LAST_PATIENCE {
                // It does not even go round. Its lease expires by itself.
                held.task.abort();
            }
            if held.stop.is_cancelled() {
                tasks.aside.insert(*partition, now);
            }
        }
        gauge!("waybill_oldest_due_seconds").set(longest.as_secs_f64());
        self.board.standing(standing);
    }
}
