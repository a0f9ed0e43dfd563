//! Giving a token another value.

use axum::extract::{Path, State};
use waybill_domain::access::team::vault::{TokenCommand, TokenRefusal};
use waybill_domain::access::team::{Team, TeamCommand, TeamRefusal};
use waybill_log::KeyName;

use super::object::{TokenEnvelope, TokenObject};
use super::request::{self, RotateToken};
use crate::access::CommandError;
use crate::auth::Caller;
use crate::auth::needs::TokensWrite;
use crate::body::Json;
use crate::entropy;
use crate::error::{ApiError, ErrorBody};
use crate::state::AppState;
use crate::vault::KeepError;

/// Times that somebody else may be faster.
const MAX_ROUNDS: u32 = 10;

/// Give a token another value under the same id. Calls that begin from now on carry the new one; running ones go on with theirs.
#[utoipa::path(
    post,
    path = "/v1/tokens/{tokenId}/rotate",
    tag = "tokens",
    security(("api_key" = ["tokens:write"])),
    params(
        ("tokenId" = String, Path, description = "Id of the token"),
        ("X-Team-Id" = Option<String>, Header, description = "For people of several teams: which one"),
        ("X-Environment" = Option<String>, Header, description = "For people: `live` or `test`"),
    ),
    request_body = RotateToken,
    responses(
        (status = 200, description = "The token with its new version", body = TokenEnvelope),
        (status = 400, description = "A field is wrong or unknown; `field` names it", body = ErrorBody),
        (status = 401, description = "No or no valid credential", body = ErrorBody),
        (status = 403, description = "The caller may not do this", body = ErrorBody),
        (status = 404, description = "No such token in the caller's environment, or no more", body = ErrorBody),
        (status = 409, description = "Others kept rotating it", body = ErrorBody),
        (status = 429, description = "Too many requests; see Retry-After", body = ErrorBody),
        (status = 503, description = "The vault is not configured or does not answer", body = ErrorBody),
    )
)]
pub(crate) async fn rotate_token(
    State(state): State<AppState>,
    caller: Caller<TokensWrite>,
    Path(token): Path<String>,
    Json(request): Json<RotateToken>,
) -> Result<axum::Json<TokenEnvelope>, ApiError> {
    caller.needs_api()?;
    state.vault.check_configured()?;
    let id = super::token_id(&token)?;
    let environment = caller.team.environment();
    let current = |team: &Team| {
        let token = team.token(&id, environment, entropy::now());
        token.map(|token| token.version)
    };
    let team = caller.team.base();
    let directory = state.auth.directory();
    let known = directory.with_team(&team, current).flatten();
    let first = known.ok_or_else(super::no_such_token)?;
    let value = request::value(request.value)?;
    let key = |version| KeyName::Token {
        team: caller.team.clone(),
        token: id.clone(),
        version,
    };
    let mut version = first;
    for _ in 0..MAX_ROUNDS {
        version = version.saturating_add(1);
        let envelope = match state.vault.keep(&key(version), &value.value, None).await {
            Ok(envelope) => envelope,
            // A key is never replaced, since nobody knows whether its value will be told of: take the next number.
            Err(KeepError::Taken) => continue,
            Err(KeepError::Failed(error)) => return Err(error),
        };
        let rotate = TeamCommand::Token(TokenCommand::Rotate {
            token: id.clone(),
            version,
            envelope,
            fits_header: value.fits_header,
        });
        match state.control.run_team(&team, rotate, &caller.by()).await {
            Ok(after) => {
                state.settle_everywhere(after.version).await?;
                for older in first..version {
                    state.vault.forget(&key(older)).await;
                }
                let token = after
                    .state
                    .tokens
                    .get(&id)
                    .ok_or_else(super::no_such_token)?;
                let token = TokenObject::new(token);
                return Ok(axum::Json(TokenEnvelope { token }));
            }
            Err(CommandError::Refused(refusal)) => {
                state.vault.forget(&key(version)).await;
                if refusal != TeamRefusal::Token(TokenRefusal::VersionMoved) {
                    return Err(refusal.into());
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err(TeamRefusal::Token(TokenRefusal::VersionMoved).into())
}
