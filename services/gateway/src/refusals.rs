//! Refused attempts, for the activity log: counted in memory, told in samples.
//!
//! Whoever holds a credential can be refused as often as they like, and an event for each would let them fill the log. So every answer
//! 401, 403 and 429 to a request of which it is known whose it is goes into a [`Tally`] of bounded size, by team, word and credential; one
//! task tells a bounded number of its entries as `access.refused` now and then, each with the count since the last one of its kind. A
//! request pays for a look into a table, and nothing waits for the log.

mod allowance;
mod attribution;
mod tally;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use metrics::counter;
use tokio_util::sync::CancellationToken;
use waybill_domain::actor::Actor;
use waybill_domain::event::{AccessRefused, ControlEvent};
use waybill_log::AppendError;

use crate::access::{By, CommandError, ControlWriter};
use crate::entropy;

use allowance::Allowance;
pub use attribution::Attribution;
pub(crate) use tally::{Kind, Latest};
use tally::{Noted, Tally};

/// What the last words may take when the gateway stops.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// How often refused attempts are told.
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

/// Counts refused attempts.
#[derive(Debug, Default)]
pub struct Refusals {
    /// Held for one look-up or one round's taking, never across an await.
    tally: Mutex<Tally>,
}

impl Refusals {
    /// Counts one.
    pub(crate) fn note(&self, kind: Kind, latest: Latest) {
        let noted = self.tally().note(kind, latest);
        if noted == Noted::Dropped {
            counter!("waybill_refusals_dropped_total").increment(1);
        }
    }

    /// Tells what was counted, until `stop`; then what there is room for, once.
    pub(crate) async fn run(
        self: Arc<Self>,
        control: ControlWriter,
        gateway: String,
        times: RefusalTimes,
        stop: CancellationToken,
    ) {
        let teller = Teller {
            refusals: &self,
            control,
            gateway,
        };
        let mut allowance = Allowance::new(times.per_minute);
        loop {
            let stopped = tokio::select! {
                () = tokio::time::sleep(times.pause) => false,
                () = stop.cancelled() => true,
            };
            allowance.refill(tokio::time::Instant::now());
            if !stopped {
                teller.tell(&mut allowance).await;
            } else if tokio::time::timeout(LAST_WORDS, teller.tell(&mut allowance))
                .await
                .is_ok()
            {
                return;
            } else {
                tracing::warn!("refused attempts of the last moments are not told");
                return;
            }
        }
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Teller<'a> {
    refusals: &'a Refusals,
    control: ControlWriter,
    gateway: String,
}

impl Teller<'_> {
    /// Tells as much as is allowed. What the log does not take goes back, and is told later with what comes until then.
    async fn tell(&self, allowance: &mut Allowance) {
        let mut taken = self.refusals.tally().take(allowance.left()).into_iter();
        while let Some((kind, counted)) = taken.next() {
            let event = ControlEvent::AccessRefused(AccessRefused {
                gateway: self.gateway.clone(),
                team: kind.team.clone(),
                code: kind.code.to_owned(),
                route: counted.latest.route.clone(),
                credential: kind.credential.as_ref().map(Actor::to_string),
                source: counted.latest.origin.source.to_string(),
                count: counted.count,
                at: counted.latest.at,
            });
            let own = || Actor::System("gateway".into());
            let by = By {
                actor: kind.credential.clone().unwrap_or_else(own),
                origin: Some(counted.latest.origin.clone()),
            };
            match self.control.note(&event, &by).await {
                Ok(_) => {
                    allowance.spend();
                    counter!("waybill_refusals_told_total").increment(1);
                }
                // Perhaps it is stored: telling it again would count it twice.
                Err(CommandError::Append(AppendError::Unknown { reason })) => {
                    allowance.spend();
                    tracing::warn!(reason, "whether refused attempts were told is unknown");
                }
                Err(error) => {
                    tracing::warn!(%error, "refused attempts cannot be told now");
                    let mut tally = self.refusals.tally();
                    tally.put_back(kind, counted);
                    taken.for_each(|(kind, counted)| tally.put_back(kind, counted));
                    return;
                }
            }
        }
    }
}

/// A refused attempt, now.
pub(crate) fn refused(
    attribution: &Attribution,
    code: &'static str,
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
