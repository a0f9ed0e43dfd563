//! The activity of a team: what happened in it, and proof of that.
//!
//! [`list`] pages through it, [`csv`] exports it as a table; [`entry`] is how it looks. It is followed live at [`crate::streams`].
//!
//! Proofs are over the team's audit tree (see `waybill_domain::audit`): a checkpoint that the notary has signed, that one event is in it,
//! that it begins with an older one, and an export that carries everything. Whoever checks them needs no more than the public keys.

pub mod checkpoint;
pub mod consistency;
pub(crate) mod csv;
pub mod entry;
pub mod export;
pub(crate) mod given;
pub mod keys;
pub(crate) mod list;
pub mod proof;

use http::StatusCode;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use waybill_domain::id::{Environment, TeamId};
use waybill_projector::QueryError;

use crate::auth::Caller;
use crate::error::ApiError;
use crate::state::AppState;

/// The routes of this face.
pub(crate) fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(checkpoint::get_checkpoint))
        .routes(routes!(consistency::prove_consistency))
        .routes(routes!(export::export_activity))
        .routes(routes!(keys::audit_keys))
        .routes(routes!(list::list_activity))
        .routes(routes!(proof::prove_event))
}

/// The team whose signed activity a credential may see. It is one tree over everything of the team, so a test credential sees none of it:
/// lists and tables show it what is of its own environment.
fn signed_for<N>(caller: &Caller<N>) -> Result<TeamId, ApiError> {
    match caller.team.environment() {
        Environment::Live => Ok(caller.team.clone()),
        Environment::Test => Err(ApiError::new(
            StatusCode::FORBIDDEN,
            "live_credential_required",
            "The signed activity is of the whole team; use a live credential",
        )),
    }
}

/// Why nothing is proven.
fn unproven(error: QueryError) -> ApiError {
    match error {
        QueryError::Invalid { field, message } => ApiError::bad_field(field, message),
        QueryError::Unavailable { .. } | QueryError::Behind { .. } => {
            tracing::warn!(%error, "nobody proves the activity log");
            ApiError::unavailable(
                "proofs_unavailable",
                "The activity log cannot be proven at the moment; try again later",
            )
        }
    }
}
