//! The tokens of a team, in the caller's environment.

use axum::extract::{Path, State};
use waybill_domain::access::team::Team;

use super::object::{TokenEnvelope, TokenList, TokenObject};
use crate::auth::Caller;
use crate::auth::needs::TokensRead;
use crate::entropy;
use crate::error::{ApiError, ErrorBody};
use crate::state::AppState;

/// List the tokens that tasks may refer to.
#[utoipa::path(
    get,
    path = "/v1/tokens",
    tag = "tokens",
    security(("api_key" = ["tokens:read"])),
    params(
        ("X-Team-Id" = Option<String>, Header, description = "For people of several teams: which one"),
        ("X-Environment" = Option<String>, Header, description = "For people: `live` or `test`"),
    ),
    responses(
        (status = 200, description = "The tokens, without their values", body = TokenList),
        (status = 401, description = "No or no valid credential", body = ErrorBody),
        (status = 403, description = "The caller may not do this", body = ErrorBody),
        (status = 429, description = "Too many requests; see Retry-After", body = ErrorBody),
        (status = 503, description = "The vault is not configured, or how tokens were used cannot be read", body = ErrorBody),
    )
)]
pub(crate) async fn list_tokens(
    State(state): State<AppState>,
    caller: Caller<TokensRead>,
) -> Result<axum::Json<TokenList>, ApiError> {
    state.vault.check_configured()?;
    let environment = caller.team.environment();
    let of_team = |team: &Team| team.tokens_by_age(environment, entropy::now());
    let directory = state.auth.directory();
    let tokens = directory.with_team(&caller.team.base(), of_team);
    let tokens = tokens.unwrap_or_default();
    let ids = tokens.iter().map(|token| token.id.to_string());
    let used = state.usage.of_credentials(&caller.team, ids).await?;
    let shown = tokens
        .iter()
        .map(|token| TokenObject::new(token).used(used.get(token.id.as_str())));
    Ok(axum::Json(TokenList {
        tokens: shown.collect(),
    }))
}

/// Read a token.
#[utoipa::path(
    get,
    path = "/v1/tokens/{tokenId}",
    tag = "tokens",
    security(("api_key" = ["tokens:read"])),
    params(
        ("tokenId" = String, Path, description = "Id of the token"),
        ("X-Team-Id" = Option<String>, Header, description = "For people of several teams: which one"),
        ("X-Environment" = Option<String>, Header, description = "For people: `live` or `test`"),
    ),
    responses(
        (status = 200, description = "The token, without its value", body = TokenEnvelope),
        (status = 401, description = "No or no valid credential", body = ErrorBody),
        (status = 403, description = "The caller may not do this", body = ErrorBody),
        (status = 404, description = "No such token in the caller's environment, or no more", body = ErrorBody),
        (status = 429, description = "Too many requests; see Retry-After", body = ErrorBody),
        (status = 503, description = "The vault is not configured, or how tokens were used cannot be read", body = ErrorBody),
    )
)]
pub(crate) async fn get_token(
    State(state): State<AppState>,
    caller: Caller<TokensRead>,
    Path(token): Path<String>,
) -> Result<axum::Json<TokenEnvelope>, ApiError> {
    state.vault.check_configured()?;
    let id = super::token_id(&token)?;
    let environment = caller.team.environment();
    let of_team = |team: &Team| team.token(&id, environment, entropy::now()).cloned();
    let directory = state.auth.directory();
    let token = directory.with_team(&caller.team.base(), of_team).flatten();
    let token = token.ok_or_else(super::no_such_token)?;
    let ids = std::iter::once(id.to_string());
    let used = state.usage.of_credentials(&caller.team, ids).await?;
    let token = TokenObject::new(&token).used(used.get(id.as_str()));
    Ok(axum::Json(TokenEnvelope { token }))
}
