//! Whether the credential that opened a stream is still valid.

use waybill_streams::StillValid;

use crate::auth::Caller;
use crate::state::Edge;

/// Asks the copy of access in memory, so that a stream ends once its credential does.
pub fn still_valid<N>(edge: &Edge, caller: &Caller<N>) -> StillValid {
    let (edge, principal, team) = (edge.clone(), caller.principal.clone(), caller.team.clone());
    Box::new(move || edge.fence.may_decide().is_ok() && edge.auth.stands(&principal, &team))
}
