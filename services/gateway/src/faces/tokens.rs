//! Tokens of the vault: credentials that are kept once and used by reference. What is kept is never shown again, to nobody.
//!
//! One file per endpoint; [`object`] is what is shown of a token, [`request`] what may be sent.

pub mod create;
pub mod delete;
pub mod list;
pub mod object;
pub mod request;
pub mod rotate;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use waybill_domain::id::TokenId;

use crate::error::ApiError;
use crate::state::AppState;

/// The routes of this face.
pub(crate) fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(create::create_token, list::list_tokens))
        .routes(routes!(list::get_token, delete::delete_token))
        .routes(routes!(rotate::rotate_token))
}

/// The same for one that never was, is no more, or is somebody else's.
fn no_such_token() -> ApiError {
    ApiError::not_found("Token not found or already revoked")
}

fn token_id(text: &str) -> Result<TokenId, ApiError> {
    TokenId::parse(text).map_err(|_| no_such_token())
}
