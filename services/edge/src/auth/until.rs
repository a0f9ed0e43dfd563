//! How a connection that stays open learns that its credential has ended.

use std::time::Duration;

use waybill_domain::id::TeamId;

use crate::principal::Principal;
use crate::state::Edge;

/// How often is looked at what no change announces: the end of a credential by its time, and a lease that has lapsed.
const LOOK: Duration = Duration::from_secs(1);

impl Edge {
    /// Whether a credential that was recognised earlier still opens what it has opened.
    #[must_use]
    pub fn still_opens(&self, principal: &Principal, team: &TeamId) -> bool {
        self.fence.may_decide().is_ok() && self.auth.stands(principal, team)
    }

    /// Returns once it does not: at once after a change that this gateway has applied. Cancel safe.
    pub async fn until_refused(&self, principal: &Principal, team: &TeamId) {
        let mut applied = self.auth.applied_changes();
        while self.still_opens(principal, team) {
            // Either wakes it to look again, and nothing is taken from the channel but the news that it has changed.
            tokio::select! {
                changed = applied.changed() => if changed.is_err() {
                    return;
                },
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }
}
