//! The account API: teams, people and OAuth applications.
//!
//! One folder a resource, one file an endpoint. [`AccountApi`] is what the handlers share.

pub mod oauth;
pub mod people;
mod polls;
mod state;
pub mod teams;

use utoipa_axum::router::OpenApiRouter;

pub use state::{AccountApi, AccountApiParts};

/// The routes of this API.
#[must_use]
pub fn router() -> OpenApiRouter<AccountApi> {
    OpenApiRouter::new()
        .merge(oauth::router())
        .merge(people::router())
        .merge(teams::router())
}
