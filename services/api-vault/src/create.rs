//! `POST /v1/tokens`: storing a credential in the vault.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use waybill_domain::access::team::TeamCommand;
use waybill_domain::access::team::vault::{TokenCommand, TokenDraft};
use waybill_domain::id::TokenId;
use waybill_log::KeyName;

use super::object::{TokenEnvelope, TokenObject};
use super::request::{self, CreateToken};
use waybill_commands::CommandError;
use waybill_commands::entropy;
use waybill_edge::Edge;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::TokensWrite;
use waybill_edge::body::Json;
use waybill_edge::error::ApiError;

/// Store a credential in the vault. Its value is never shown again.
#[utoipa::path(
    post,
    path = "/v1/tokens",
    operation_id = "vault.token.create",
    tag = "tokens",
    security(("api_key" = ["tokens:write"])),
    params(
        ("X-Team-Id" = Option<String>, Header, description = "For a person who is in several teams: id of the team"),
        ("X-Environment" = Option<String>, Header, description = "For a person: the environment, `live` or `test`"),
    ),
    request_body = CreateToken,
    responses(
        (status = 201, description = "Stored; tasks may refer to it from now on", body = TokenEnvelope),
    )
)]
pub(crate) async fn create_token(
    State(state): State<Edge>,
    caller: Caller<TokensWrite>,
    Json(request): Json<CreateToken>,
) -> Result<Response, ApiError> {
    caller.needs_api()?;
    state.vault.check_configured()?;
    let name = request::name(request.name)?;
    let value = request::value(request.value)?;
    let allowed_hosts = request::allowed_hosts(request.allowed_hosts)?;
    let expires_at = request::expires_at(request.expires_at.as_deref())?;

    let id = TokenId::new(entropy::now(), entropy::random_u128());
    let key = KeyName::Token {
        team: caller.team.clone(),
        token: id.clone(),
        version: 1,
    };
    let mut draft = TokenDraft {
        id: id.clone(),
        environment: caller.team.environment(),
        name,
        envelope: String::new(),
        fits_header: value.fits_header,
        allowed_hosts,
        expires_at,
    };
    let (team, by) = (caller.team.base(), caller.by());
    // Asked before a key is stored, so that a command that is refused leaves none behind.
    state
        .auth
        .directory()
        .would_refuse(&team, create(&draft), &by.actor, entropy::now())?;
    draft.envelope = state.vault.keep(&key, &value.value, None).await?;
    let after = match state.control.run_team(&team, create(&draft), &by).await {
        Ok(after) => after,
        Err(error) => {
            if let CommandError::Refused(_) = error {
                state.vault.forget(&key).await;
            }
            return Err(error.into());
        }
    };
    state.settle(after.version).await?;
    let token = after
        .state
        .tokens
        .get(&id)
        .ok_or_else(super::no_such_token)?;
    let token = TokenObject::new(token);
    Ok((StatusCode::CREATED, axum::Json(TokenEnvelope { token })).into_response())
}

fn create(draft: &TokenDraft) -> TeamCommand {
    TeamCommand::Token(TokenCommand::Create(Box::new(draft.clone())))
}
