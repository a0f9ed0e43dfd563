//! The jobs API beside jobs: logging in with a key, organisations, their API keys, what they use, and administration, under `/api/v1`.
//!
//! An organisation is a team and its keys are the team's: each is seen by the native API too. A folder for each resource, a file for each
//! call that is longer than a screen. [`body`] reads requests with the statuses that this API has for wrong ones, [`field`] tells `null`
//! from absent, [`permissions`] are scopes in the words of this API.

pub mod admin;
pub mod api_keys;
pub mod auth;
pub mod billing;
mod body;
mod field;
pub mod organizations;
mod permissions;
pub mod usage;

use utoipa_axum::router::OpenApiRouter;
use waybill_edge::Edge;

/// The routes of this API.
#[must_use]
pub fn router() -> OpenApiRouter<Edge> {
    OpenApiRouter::new()
        .merge(auth::router())
        .merge(organizations::router())
        .merge(api_keys::router())
        .merge(usage::router())
        .merge(billing::router())
        .merge(admin::router())
}
