//! API keys of the organisation: all keys of its team, also those that the native API made.
//!
//! Only keys that are not limited to queues and hold `keys:write` come here; none grants more than it has, and scopes never grow.

mod change;
pub(crate) mod create;
mod object;
mod remove;
mod show;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use waybill_commands::JOBS_BRAND;
use waybill_domain::id::{KeyId, TeamId};
use waybill_edge::Edge;
use waybill_edge::error::{ApiError, ErrorCode};

pub use change::JobsUpdateApiKey;
pub use create::{JobsApiKeyCreated, JobsCreateApiKey};
pub use object::JobsApiKey;

pub(crate) fn router() -> OpenApiRouter<Edge> {
    OpenApiRouter::new()
        .routes(routes!(create::create_api_key, show::list_api_keys))
        .routes(routes!(
            show::get_api_key,
            change::replace_api_key,
            change::update_api_key,
            remove::delete_api_key
        ))
}

/// Keys that this API makes must be accepted: their brand has to be among those that are configured.
pub(crate) fn needs_brand(state: &Edge) -> Result<(), ApiError> {
    if state
        .config
        .minted_brands()
        .any(|brand| brand == JOBS_BRAND)
    {
        return Ok(());
    }
    let text = format!("No key can be made: gateway.key_brands lacks {JOBS_BRAND}");
    Err(ApiError::unavailable(ErrorCode::NotReady, text))
}

/// An id of a key of that team, in the team's environment, that was not revoked. Anything else is 404.
pub(crate) fn find(state: &Edge, team: &TeamId, id: &str) -> Result<KeyId, ApiError> {
    let id = KeyId::parse(id).map_err(|_| ApiError::no_such_key())?;
    let key = state.auth.directory().key(&id);
    let is_there = key.is_some_and(|key| {
        key.created.team == team.base()
            && key.environment() == team.environment()
            && key.revoked.is_none()
    });
    if is_there {
        Ok(id)
    } else {
        Err(ApiError::no_such_key())
    }
}
