//! The account API: teams with the secrets that sign their calls, API keys, people and OAuth applications.
//!
//! One folder a resource, one file an endpoint. [`AccountApi`] is what the handlers share.

pub mod keys;
pub mod oauth;
pub mod people;
pub mod signing;
mod state;
pub mod teams;

use utoipa_axum::router::OpenApiRouter;

pub use state::{AccountApi, AccountApiParts};

/// The routes of this API.
#[must_use]
pub fn router() -> OpenApiRouter<AccountApi> {
    OpenApiRouter::new()
        .merge(keys::router())
        .merge(oauth::router())
        .merge(people::router())
        .merge(signing::router())
        .merge(teams::router())
}
