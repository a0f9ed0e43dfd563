//! The activity of a team: what happened in it, and proof of that.
//!
//! [`list`] pages through it, [`filtered`] exports what a filter selects, as a table ([`csv`]) or as JSON lines; [`entry`] is how it looks. [`stream`] follows it live: a [`feed`] that
//! the hub wakes and a projector feeds. [`ActivityApi`] is what the handlers share.
//!
//! Proofs are over the team's audit tree (see `waybill_domain::audit`): a checkpoint that the notary has signed, that one event is in it,
//! that it begins with an older one, and an export that carries everything. Whoever checks them needs no more than the public keys.

pub mod checkpoint;
pub mod consistency;
mod csv;
pub mod entry;
pub mod export;
mod feed;
mod filtered;
pub mod keys;
pub(crate) mod list;
pub(crate) mod parameters;
pub mod proof;
mod state;
pub mod stream;

use http::StatusCode;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use waybill_domain::id::{Environment, TeamId};
use waybill_projector::QueryError;

use waybill_edge::auth::Caller;
use waybill_edge::error::{ApiError, ErrorCode};

pub use keys::KnownKeys;
pub use state::{ActivityApi, ActivityApiParts};

/// The routes of this API.
#[must_use]
pub fn router() -> OpenApiRouter<ActivityApi> {
    OpenApiRouter::new()
        .routes(routes!(checkpoint::get_checkpoint))
        .routes(routes!(consistency::prove_consistency))
        .routes(routes!(export::export_activity))
        .routes(routes!(keys::audit_keys))
        .routes(routes!(list::list_activity))
        .routes(routes!(proof::prove_event))
        .routes(routes!(stream::follow_activity))
}

/// The team whose signed activity a credential may see. It is one tree over everything of the team, so a test credential sees none of it:
/// lists and tables show it what is of its own environment.
fn signed_for<N>(caller: &Caller<N>) -> Result<TeamId, ApiError> {
    match caller.team.environment() {
        Environment::Live => Ok(caller.team.clone()),
        Environment::Test => Err(ApiError::new(
            StatusCode::FORBIDDEN,
            ErrorCode::LiveCredentialRequired,
            "The signed activity is of the whole team; use a live credential",
        )),
    }
}

/// Why nothing is proven.
fn unproven(error: QueryError) -> ApiError {
    match error {
        QueryError::Invalid { field, message } => ApiError::bad_field(field, message),
        QueryError::Unavailable { .. } | QueryError::Behind { .. } => {
            tracing::warn!(%error, "the projector did not answer an audit proof query");
            ApiError::unavailable(
                ErrorCode::ProofsUnavailable,
                "The activity log cannot be proven at the moment; try again later",
            )
        }
    }
}
