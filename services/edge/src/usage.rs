//! How often, when last and from where credentials are used. Accurate to about a minute, and no event: a use changes nobody's rights.
//!
//! Of an API key it is also counted which scopes let its requests through, and which routes answered them how.
//!
//! - [`pending`] is what this gateway has counted since its last flush: a few counters in memory, raised by every request.
//! - [`flush`] adds it to the stream USAGE, once per interval and at the stop, as one batch.
//! - [`totals`] reads the totals of all gateways.

mod flush;
mod parts;
mod pending;
#[cfg(test)]
mod tests;
mod totals;

use std::net::IpAddr;
use std::sync::Arc;

use http::{Method, StatusCode};
use waybill_domain::access::scope::Scope;
use waybill_domain::id::{KeyId, TeamId};
use waybill_log::Tallies;

use crate::principal::Principal;
use waybill_commands::entropy;

pub use flush::Flusher;
use pending::Pending;
pub use totals::{
    CredentialUse, KeyParts, KeyUse, LastUse, RouteUse, ScopeUse, TeamTotals, team_totals,
};

/// An answer to a request with an API key.
#[derive(Debug, Clone)]
pub struct Answered<'a> {
    /// The team of the key, in its environment.
    pub team: &'a TeamId,
    pub key: &'a KeyId,
    /// What let it through. `None`: nothing did, or nothing had to.
    pub scope: Option<Scope>,
    pub method: &'a Method,
    /// The route with the names of its parameters, such as `/v1/tasks/{id}`.
    pub route: &'a str,
    pub status: StatusCode,
    /// Where the request came from.
    pub source: IpAddr,
}

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

    /// A request with an API key was answered.
    pub fn answered(&self, answered: &Answered<'_>) {
        let route = parts::route_token(answered.method, answered.route, answered.status);
        let scope = answered.scope.map(pending::Part::Scope);
        self.pending.count_parts(
            &pending::Use {
                team: answered.team,
                credential: answered.key.as_str(),
                is_kept: true,
                at: entropy::now(),
                source: answered.source,
            },
            scope.into_iter().chain([pending::Part::Route(route)]),
        );
    }
}
