//! Which secrets sign the calls of a team, according to CONTROL.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{RwLock, RwLockWriteGuard};
use tokio::sync::watch;
use tokio::time::sleep;
use waybill_domain::event::ControlEvent;
use waybill_domain::id::TeamId;
use waybill_domain::signature::Signing;
use waybill_log::{
    Bounds, Log, Mark, ReadError, Stream, StreamSeq, Watch, WentBackwards, control_event, set_aside,
};

use crate::takeover::went_backwards;

/// Filter for events of teams themselves, without those of their members, keys and tokens.
const TEAM_EVENTS: &str = "control.*.team.*";
/// Limit of records in one batch.
const RECORDS_AT_A_TIME: usize = 500;
/// Pause after the log did not answer.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// Rotations of signing secrets, by team and environment. Contains only teams that have ever
/// rotated a secret.
#[derive(Debug)]
pub(crate) struct Rotations {
    /// Locked briefly, and never across an await.
    teams: RwLock<HashMap<TeamId, Signing>>,
    known: watch::Sender<bool>,
}

impl Rotations {
    /// Nothing is known yet, so signing waits for [`Rotations::complete`]: a receiver that has
    /// changed over no longer accepts the first secret of its team.
    #[must_use]
    pub(crate) fn to_be_followed() -> Self {
        Self {
            teams: RwLock::default(),
            known: watch::Sender::new(false),
        }
    }

    /// For a deployment without rotations.
    pub(crate) fn none() -> Self {
        let rotations = Self::to_be_followed();
        rotations.complete();
        rotations
    }

    /// Follows CONTROL for ever, unless there are no rotations to follow.
    pub(crate) async fn follow(&self, log: &Arc<dyn Log>) {
        if *self.known.borrow() {
            return;
        }
        loop {
            let backwards = self.follow_one_history(log).await;
            went_backwards("signing");
            tracing::error!(
                %backwards,
                "CONTROL no longer has what this worker has read of it, as after a restore from a backup; the rotations of signing secrets are read again"
            );
            self.teams().clear();
        }
    }

    /// Follows CONTROL until it no longer has what was read of it.
    async fn follow_one_history(&self, log: &Arc<dyn Log>) -> WentBackwards {
        let (start, newest) = loop {
            match look(&**log).await {
                Ok(found) => break found,
                Err(error) => {
                    tracing::warn!(%error, "CONTROL cannot be read, so no call can be signed yet; retrying");
                    sleep(RETRY_PAUSE).await;
                }
            }
        };
        if newest == StreamSeq(0) {
            self.complete();
        }
        let mut mark = None;
        let mut watch = Watch::new(Arc::clone(log), Stream::Control);
        let mut tail = log.tail(Stream::Control, vec![TEAM_EVENTS.to_owned()], StreamSeq(1));
        loop {
            // Both are cancellation safe: a tail keeps what has arrived, and a comparison goes on.
            let batch = tokio::select! {
                batch = tail.next_batch(RECORDS_AT_A_TIME) => batch,
                backwards = watch.went_backwards(mark) => return backwards,
            };
            let records = match batch {
                Ok(records) => records,
                Err(error) => {
                    tracing::warn!(%error, "reading rotations of signing secrets failed; retrying");
                    sleep(RETRY_PAUSE).await;
                    continue;
                }
            };
            for record in &records {
                match control_event(record) {
                    Ok(event) => self.apply(&event),
                    Err(why) => set_aside("signing", Stream::Control, record, &why),
                }
            }
            if let Some(last) = records.last() {
                mark = Some(Mark::of(last, start.incarnation));
                if last.seq >= newest {
                    self.complete();
                }
            }
        }
    }

    /// Applies an event of CONTROL.
    pub(crate) fn apply(&self, event: &ControlEvent) {
        let ControlEvent::TeamSigningSecretRotated(e) = event else {
            return;
        };
        let signing = Signing {
            current: e.number,
            former_until: Some(e.former_until),
        };
        self.teams()
            .insert(e.team.in_environment(e.environment), signing);
    }

    fn teams(&self) -> RwLockWriteGuard<'_, HashMap<TeamId, Signing>> {
        self.teams.write()
    }

    /// Records that everything is known that had happened when this process started.
    pub(crate) fn complete(&self) {
        self.known.send_replace(true);
    }

    pub(crate) async fn known(&self) {
        // The channel never closes, since `self` holds the sender.
        let _ = self.known.subscribe().wait_for(|known| *known).await;
    }

    pub(crate) fn of(&self, team: &TeamId) -> Signing {
        let teams = self.teams.read();
        teams.get(team).copied().unwrap_or_default()
    }
}

/// The bounds of the log, and the position of the newest event of teams.
async fn look(log: &dyn Log) -> Result<(Bounds, StreamSeq), ReadError> {
    let bounds = log.bounds(Stream::Control).await?;
    let last = log.last(Stream::Control, TEAM_EVENTS).await?;
    Ok((bounds, last.map_or(StreamSeq(0), |record| record.seq)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use waybill_domain::event::TeamSigningSecretRotated;
    use waybill_domain::id::Environment;
    use waybill_domain::time::Timestamp;
    use waybill_log::memory::MemoryLog;

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

    fn rotated(team: &TeamId, number: u32) -> ControlEvent {
        ControlEvent::TeamSigningSecretRotated(TeamSigningSecretRotated {
            team: team.clone(),
            environment: Environment::Live,
            number,
            former_until: Timestamp(9),
            at: Timestamp(2),
        })
    }

    async fn rotate(log: &MemoryLog, number: u32) -> TeamId {
        let team = TeamId::new(Timestamp(1), u128::from(number));
        crate::testing::store(log, &rotated(&team, number)).await;
        team
    }

    #[tokio::test(start_paused = true)]
    async fn poison_among_rotations_is_set_aside_and_what_comes_after_it_counts() {
        let log = MemoryLog::default();
        let team = rotate(&log, 1).await;
        crate::testing::plant(&log, &rotated(&team, 2)).await;
        let other = rotate(&log, 3).await;
        let rotations = Arc::new(Rotations::to_be_followed());
        let (following, of) = (Arc::clone(&rotations), Arc::new(log));
        let following = tokio::spawn(async move {
            let log: Arc<dyn Log> = of;
            following.follow(&log).await;
        });
        let known = rotations.known();
        // The clock is paused: it takes no time.
        tokio::time::timeout(Duration::from_secs(120), known)
            .await
            .expect("it goes on");
        assert_eq!(rotations.of(&team).current, 1);
        assert_eq!(rotations.of(&other).current, 3);
        following.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn rotations_of_a_history_that_the_log_has_left_are_forgotten() {
        let log = MemoryLog::default();
        let (kept, lost) = (rotate(&log, 1).await, rotate(&log, 2).await);
        let rotations = Arc::new(Rotations::to_be_followed());
        let (following, of) = (Arc::clone(&rotations), Arc::new(log.clone()));
        let following = tokio::spawn(async move {
            let log: Arc<dyn Log> = of;
            following.follow(&log).await;
        });
        rotations.known().await;
        assert_eq!(rotations.of(&lost).current, 2);
        log.core().cut(Stream::Control, 1);
        let new = rotate(&log, 3).await;
        let read_anew = async {
            while rotations.of(&new).current != 3 {
                sleep(Duration::from_millis(100)).await;
            }
        };
        // The clock is paused: it takes no time.
        tokio::time::timeout(Duration::from_secs(120), read_anew)
            .await
            .expect("in time");
        assert_eq!(rotations.of(&kept).current, 1);
        assert_eq!(rotations.of(&lost), Signing::default());
        following.abort();
    }
}
