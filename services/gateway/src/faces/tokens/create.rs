//! Keeping a credential.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use waybill_domain::access::team::TeamCommand;
use waybill_domain::access::team::vault::{TokenCommand, TokenDraft};
use waybill_domain::id::TokenId;
use waybill_log::KeyName;

use super::object::{TokenEnvelope, TokenObject};
use super::request::{self, CreateToken};
use crate::access::CommandError;
use crate::auth::Caller;
use crate::auth::needs::TokensWrite;
use crate::body::Json;
use crate::entropy;
use crate::error::{ApiError, ErrorBody};
use crate::state::AppState;

/// Keep a credential in the vault. Its value is never shown again.
#[utoipa::path(
    post,
    path = "/v1/tokens",
    tag = "tokens",
    security(("api_key" = ["tokens:write"])),
    params(
        ("X-Team-Id" = Option<String>, Header, description = "For people of several teams: which one"),
        ("X-Environment" = Option<String>, Header, description = "For people: `live` or `test`"),
    ),
    request_body = CreateToken,
    responses(
        (status = 201, description = "Kept; tasks may refer to it from now on", body = TokenEnvelope),
        (status = 400, description = "A field is wrong or unknown; `field` names it", body = ErrorBody),
        (status = 401, description = "No or no valid credential", body = ErrorBody),
        (status = 403, description = "The caller may not do this, or the plan has no room", body = ErrorBody),
        (status = 429, description = "Too many requests; see Retry-After", body = ErrorBody),
        (status = 503, description = "The vault is not configured or does not answer", body = ErrorBody),
    )
)]
pub(crate) async fn create_token(
    State(state): State<AppState>,
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
    // What is known to be refused leaves no key behind.
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
