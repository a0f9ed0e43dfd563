//! A person who is signed in, recognised by an access token.

use waybill_domain::access::role::Role;
use waybill_domain::id::{SessionId, UserId};

use super::principal::Principal;
use crate::edge::RequestContext;
use crate::state::AppState;

/// A person who is signed in.
#[derive(Debug, Clone)]
pub struct SignedIn {
    /// Who.
    pub user: UserId,
    /// On which device.
    pub session: SessionId,
    /// The request.
    pub context: RequestContext,
}

impl SignedIn {
    /// The same person as a member of a team.
    pub(crate) fn in_team(self, role: Role) -> Principal {
        Principal::User {
            user: self.user,
            session: self.session,
            role,
        }
    }
}

/// Whose access token this is, when it is good and its session and its person still are.
pub(crate) fn recognise(
    _state: &AppState,
    _token: &str,
    _context: &RequestContext,
) -> Option<SignedIn> {
    None
}
