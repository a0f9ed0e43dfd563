//! How often, when last and from where credentials are used. Accurate to about a minute, and no event: a use changes nobody's rights.
//!
//! - [`pending`] is what this gateway has counted since its last flush: a few counters in memory, raised by every request.
//! - [`flush`] adds it to the stream USAGE, once per interval and at the stop, as one batch.
//! - [`totals`] reads the totals of all gateways.

mod flush;
mod pending;
#[cfg(test)]
mod tests;
mod totals;

use std::net::IpAddr;
use std::sync::Arc;

use waybill_domain::id::TeamId;
use waybill_log::Tallies;

use crate::auth::Principal;
use waybill_commands::entropy;

pub use flush::Flusher;
use pending::Pending;
pub use totals::{CredentialUse, KeyUse, LastUse, TeamTotals, team_totals};

/// What is known of the use of credentials.
pub struct Usage {
    pending: Pending,
    tallies: Arc<dyn Tallies>,
}

impl Usage {
    /// Usage without any counts.
    #[must_use]
    pub fn new(tallies: Arc<dyn Tallies>) -> Arc<Self> {
        Arc::new(Self {
            pending: Pending::default(),
            tallies,
        })
    }

    /// A request came with this credential, for a team in its environment.
    pub fn used(&self, principal: &Principal, team: &TeamId, source: IpAddr) {
        let used = pending::Use {
            team,
            credential: principal.id(),
            // A person's session is not counted by itself, only as a request to the team.
            is_kept: !matches!(principal, Principal::User { .. }),
            at: entropy::now(),
            source,
        };
        self.pending.count(&used);
    }
}
