//! Which secrets sign what is called for a team, as CONTROL tells.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;
use waybill_domain::event::ControlEvent;
use waybill_domain::id::TeamId;
use waybill_domain::signature::Signing;
use waybill_log::{Log, Stream, StreamSeq, control_event};

/// What happens to teams themselves; nothing of their members, keys and tokens.
const TEAM_EVENTS: &str = "control.*.team.*";
/// Records taken from the log at a time.
const RECORDS_AT_A_TIME: usize = 500;
/// Pause after the log did not answer.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// Rotations of signing secrets, by team in its environment. Only teams that ever rotated are in it.
#[derive(Debug)]
pub(crate) struct Rotations {
    /// Locked for a moment only, never across an await.
    teams: RwLock<HashMap<TeamId, Signing>>,
    known: watch::Sender<bool>,
}

impl Rotations {
    /// Nothing is known yet: whoever signs waits for [`Rotations::complete`]. A receiver that has changed over would not accept the first
    /// secret of its team any more.
    #[must_use]
    pub(crate) fn to_be_followed() -> Self {
        Self {
            teams: RwLock::default(),
            known: watch::Sender::new(false),
        }
    }

    /// There are none.
    pub(crate) fn none() -> Self {
        let rotations = Self::to_be_followed();
        rotations.complete();
        rotations
    }

    /// Follows CONTROL for ever, unless there is nothing to follow.
    pub(crate) async fn follow(&self, log: &dyn Log) {
        if *self.known.borrow() {
            return;
        }
        let newest = loop {
            match log.last(Stream::Control, TEAM_EVENTS).await {
                Ok(last) => break last.map_or(StreamSeq(0), |record| record.seq),
                Err(error) => {
                    tracing::warn!(%error, "CONTROL cannot be read; no call can be signed yet");
                    sleep(RETRY_PAUSE).await;
                }
            }
        };
        if newest == StreamSeq(0) {
            self.complete();
        }
        let mut tail = log.tail(Stream::Control, vec![TEAM_EVENTS.to_owned()], StreamSeq(1));
        loop {
            let records = match tail.next_batch(RECORDS_AT_A_TIME).await {
                Ok(records) => records,
                Err(error) => {
                    tracing::warn!(%error, "rotations of signing secrets cannot be read");
                    sleep(RETRY_PAUSE).await;
                    continue;
                }
            };
            for record in &records {
                match control_event(record) {
                    Ok(event) => self.apply(&event),
                    Err(error) => {
                        tracing::error!(seq = %record.seq, %error, "an event of a team was passed over");
                    }
                }
            }
            if records.last().is_some_and(|last| last.seq >= newest) {
                self.complete();
            }
        }
    }

    /// Takes in an event of CONTROL.
    pub(crate) fn apply(&self, event: &ControlEvent) {
        let ControlEvent::TeamSigningSecretRotated(e) = event else {
            return;
        };
        let signing = Signing {
            current: e.number,
            former_until: Some(e.former_until),
        };
        self.teams
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(e.team.in_environment(e.environment), signing);
    }

    /// Everything is known that had happened when this process started.
    pub(crate) fn complete(&self) {
        self.known.send_replace(true);
    }

    pub(crate) async fn known(&self) {
        // It never closes, since `self` holds the sender.
        let _ = self.known.subscribe().wait_for(|known| *known).await;
    }

    pub(crate) fn of(&self, team: &TeamId) -> Signing {
        let teams = self.teams.read().unwrap_or_else(PoisonError::into_inner);
        teams.get(team).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use waybill_domain::event::TeamSigningSecretRotated;
    use waybill_domain::id::Environment;
    use waybill_domain::time::Timestamp;

    #[tokio::test]
    async fn a_rotation_is_of_one_environment() {
        let rotations = Rotations::to_be_followed();
        let team = TeamId::new(Timestamp(1), 1);
        rotations.apply(&ControlEvent::TeamSigningSecretRotated(
            TeamSigningSecretRotated {
                team: team.clone(),
                environment: Environment::Test,
                number: 4,
                former_until: Timestamp(9),
                at: Timestamp(2),
            },
        ));
        assert_eq!(rotations.of(&team), Signing::default());
        let test = rotations.of(&team.in_environment(Environment::Test));
        assert_eq!((test.current, test.former(Timestamp(8))), (4, Some(3)));
        let early = tokio::time::timeout(Duration::from_millis(1), rotations.known());
        assert!(early.await.is_err(), "who signs waits until all is known");
        rotations.complete();
        rotations.known().await;
    }
}
