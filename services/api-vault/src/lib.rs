//! Tokens of the vault: credentials that are stored once and used by reference. A stored value is never shown again to anybody.
//!
//! One file per endpoint; [`object`] is a token as clients see it, [`request`] what they send.

pub mod create;
pub mod delete;
pub mod list;
pub mod object;
pub mod request;
pub mod rotate;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use waybill_edge::Edge;
use waybill_edge::error::ApiError;

/// The routes of this API.
#[must_use]
pub fn router() -> OpenApiRouter<Edge> {
    OpenApiRouter::new()
        .routes(routes!(create::create_token, list::list_tokens))
        .routes(routes!(list::get_token, delete::delete_token))
        .routes(routes!(rotate::rotate_token))
}

/// One answer for a token that never existed, that was revoked and that is another team's, so that it does not tell which.
fn no_such_token() -> ApiError {
    ApiError::not_found("Token not found or already revoked")
}
