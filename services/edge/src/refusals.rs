//! Refused requests, for the activity log: counted in memory, written as samples.
//!
//! Whoever holds a credential can be refused as often as they like, and an event for each would let them fill the log. So every answer
//! 401, 403 and 429 to a request of a known team goes into a [`Tally`] of bounded size, by team, error code and credential. One task writes a
//! bounded number of its entries as `access.refused` now and then, each with the count since the last one of its kind. A request costs one
//! look into a table, and nothing waits for the log.

mod allowance;
mod attribution;
mod tally;

use std::sync::Arc;
use std::time::Duration;

use metrics::counter;
use parking_lot::{Mutex, MutexGuard};
use tokio_util::sync::CancellationToken;
use waybill_domain::actor::Actor;
use waybill_domain::event::{AccessRefused, ControlEvent};
use waybill_log::AppendError;

use waybill_commands::entropy;
use waybill_commands::{Author, CommandError, ControlWriter};

use crate::error::ErrorCode;
use allowance::Allowance;
pub use attribution::{Attribution, UsedKey};
pub use tally::{Kind, Latest};
use tally::{Noted, Tally};

/// How long writing the rest may take when the gateway stops.
const FINAL_WRITE: Duration = Duration::from_secs(2);

/// How often refused requests are written to the activity log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RefusalTimes {
    /// Pause between two rounds.
    pub pause: Duration,
    /// Events of one gateway in any minute; at least 2.
    pub per_minute: u32,
}

impl Default for RefusalTimes {
    fn default() -> Self {
        // A tenth of what the smallest server takes in a second, in a minute.
        Self {
            pause: Duration::from_secs(5),
            per_minute: 60,
        }
    }
}

/// Counts refused requests.
#[derive(Debug, Default)]
pub struct Refusals {
    /// Held for one look-up or one round's taking, never across an await.
    tally: Mutex<Tally>,
}

impl Refusals {
    pub fn note(&self, kind: Kind, latest: Latest) {
        let noted = self.tally().note(kind, latest);
        if noted == Noted::Dropped {
            counter!("waybill_refusals_dropped_total").increment(1);
        }
    }

    /// Writes what was counted, until `stop`; then once more what the allowance permits.
    pub async fn run(
        self: Arc<Self>,
        control: ControlWriter,
        gateway: String,
        times: RefusalTimes,
        stop: CancellationToken,
    ) {
        let writer = RefusalWriter {
            refusals: &self,
            control,
            gateway,
        };
        let mut allowance = Allowance::new(times.per_minute);
        loop {
            // Nothing is half done here: the writing itself is outside of this wait.
            let stopped = tokio::select! {
                () = tokio::time::sleep(times.pause) => false,
                () = stop.cancelled() => true,
            };
            allowance.refill(tokio::time::Instant::now());
            if !stopped {
                writer.write(&mut allowance).await;
            } else if tokio::time::timeout(FINAL_WRITE, writer.write(&mut allowance))
                .await
                .is_ok()
            {
                return;
            } else {
                tracing::warn!(
                    "the last refused requests were not written to the activity log before the stop"
                );
                return;
            }
        }
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock()
    }
}

struct RefusalWriter<'a> {
    refusals: &'a Refusals,
    control: ControlWriter,
    gateway: String,
}

impl RefusalWriter<'_> {
    /// Writes as much as the allowance permits. What the log does not accept is put back, and written later with what comes until then.
    async fn write(&self, allowance: &mut Allowance) {
        let mut taken = self.refusals.tally().take(allowance.left()).into_iter();
        while let Some((kind, counted)) = taken.next() {
            let event = ControlEvent::AccessRefused(AccessRefused {
                gateway: self.gateway.clone(),
                team: kind.team.clone(),
                code: kind.code.as_str().to_owned(),
                route: counted.latest.route.clone(),
                credential: kind.credential.as_ref().map(Actor::to_string),
                source: counted.latest.origin.source.to_string(),
                count: counted.count,
                at: counted.latest.at,
            });
            let own = || Actor::System("gateway".into());
            let by = Author {
                actor: kind.credential.clone().unwrap_or_else(own),
                origin: Some(counted.latest.origin.clone()),
            };
            match self.control.note(&event, &by).await {
                Ok(_) => {
                    allowance.spend();
                    counter!("waybill_refusals_told_total").increment(1);
                }
                // It may be stored: writing it again would count it twice.
                Err(CommandError::Append(AppendError::Unknown { reason })) => {
                    allowance.spend();
                    tracing::warn!(
                        reason,
                        "it is unknown whether refused requests were written to the activity log; they are not written again"
                    );
                }
                Err(error) => {
                    tracing::warn!(%error, "writing refused requests to the activity log failed; they are counted and written later");
                    let mut tally = self.refusals.tally();
                    tally.put_back(kind, counted);
                    taken.for_each(|(kind, counted)| tally.put_back(kind, counted));
                    return;
                }
            }
        }
    }
}

/// What to count of a request that is refused now; `None` if its team and credential are unknown.
pub fn refused(
    attribution: &Attribution,
    code: ErrorCode,
    route: String,
    origin: waybill_domain::actor::Origin,
) -> Option<(Kind, Latest)> {
    let (team, credential) = attribution.found()?;
    let kind = Kind {
        team,
        code,
        credential,
    };
    let at = entropy::now();
    Some((kind, Latest { route, origin, at }))
}
