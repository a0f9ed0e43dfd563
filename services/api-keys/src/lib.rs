//! The API of keys: API keys of a team, and the secret that signs its calls.
//!
//! One folder a resource, one file an endpoint.

pub mod keys;
pub mod signing;

use utoipa_axum::router::OpenApiRouter;
use waybill_edge::Edge;

/// The routes of this API.
#[must_use]
pub fn router() -> OpenApiRouter<Edge> {
    OpenApiRouter::new()
        .merge(keys::router())
        .merge(signing::router())
}
