//! The tokens of a team, in the caller's environment.

use axum::extract::State;
use waybill_domain::access::team::Team;
use waybill_domain::id::TokenId;

use super::object::{TokenEnvelope, TokenList, TokenObject};
use waybill_commands::entropy;
use waybill_edge::Edge;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::TokensRead;
use waybill_edge::error::{ApiError, ErrorBody};
use waybill_edge::path::Id;
use waybill_log::KeyName;

/// List the tokens that tasks may refer to.
#[utoipa::path(
    get,
    path = "/v1/tokens",
    operation_id = "vault.token.list",
    tag = "tokens",
    security(("api_key" = ["tokens:read"])),
    params(
        ("X-Team-Id" = Option<String>, Header, description = "For a person who is in several teams: id of the team"),
        ("X-Environment" = Option<String>, Header, description = "For a person: the environment, `live` or `test`"),
    ),
    responses(
        (status = 200, description = "The tokens, without their values", body = TokenList),
    )
)]
pub(crate) async fn list_tokens(
    State(state): State<Edge>,
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
    operation_id = "vault.token.get",
    tag = "tokens",
    security(("api_key" = ["tokens:read"])),
    params(
        ("tokenId" = String, Path, description = "Id of the token"),
        ("X-Team-Id" = Option<String>, Header, description = "For a person who is in several teams: id of the team"),
        ("X-Environment" = Option<String>, Header, description = "For a person: the environment, `live` or `test`"),
    ),
    responses(
        (status = 200, description = "The token, without its value", body = TokenEnvelope),
        (status = 404, description = "No such token in the caller's environment, or it was revoked or has expired", body = ErrorBody),
    )
)]
pub(crate) async fn get_token(
    State(state): State<Edge>,
    caller: Caller<TokensRead>,
    Id(id): Id<TokenId>,
) -> Result<axum::Json<TokenEnvelope>, ApiError> {
    state.vault.check_configured()?;
    let environment = caller.team.environment();
    let of_team = |team: &Team| team.token(&id, environment, entropy::now()).cloned();
    let directory = state.auth.directory();
    let token = directory.with_team(&caller.team.base(), of_team).flatten();
    let token = token.ok_or_else(super::no_such_token)?;
    let key = KeyName::Token {
        team: caller.team.clone(),
        token: id.clone(),
        version: token.version,
    };
    let kek = state.vault.kek_of(&key).await?;
    let ids = std::iter::once(id.to_string());
    let used = state.usage.of_credentials(&caller.team, ids).await?;
    let token = TokenObject::new(&token)
        .used(used.get(id.as_str()))
        .under(kek.map(|kek| kek.to_string()));
    Ok(axum::Json(TokenEnvelope { token }))
}
