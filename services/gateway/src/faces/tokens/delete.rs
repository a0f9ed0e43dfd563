//! Revoking a token. Once it is answered nothing uses it, anywhere.

use axum::extract::{Path, State};
use waybill_domain::access::team::vault::{TokenCommand, TokenRefusal};
use waybill_domain::access::team::{TeamCommand, TeamRefusal};
use waybill_domain::event::TokenEnd;
use waybill_log::Stream;

use super::object::{RevokedToken, RevokedTokenEnvelope};
use crate::access::CommandError;
use crate::auth::Caller;
use crate::auth::needs::TokensWrite;
use crate::error::{ApiError, ErrorBody};
use crate::faces::tasks::object::Iso;
use crate::state::AppState;
use crate::vault::shred;

/// Revoke a token. No call that begins afterwards carries its value, and its keys are erased: nobody can ever open it again.
#[utoipa::path(
    delete,
    path = "/v1/tokens/{tokenId}",
    tag = "tokens",
    security(("api_key" = ["tokens:write"])),
    params(
        ("tokenId" = String, Path, description = "Id of the token"),
        ("X-Team-Id" = Option<String>, Header, description = "For people of several teams: which one"),
        ("X-Environment" = Option<String>, Header, description = "For people: `live` or `test`"),
    ),
    responses(
        (status = 200, description = "Nothing uses it any more", body = RevokedTokenEnvelope),
        (status = 401, description = "No or no valid credential", body = ErrorBody),
        (status = 403, description = "The caller may not do this", body = ErrorBody),
        (status = 404, description = "No such token in the caller's environment, or no more", body = ErrorBody),
        (status = 429, description = "Too many requests; see Retry-After", body = ErrorBody),
        (status = 503, description = "The vault is not configured, or it is not known to be revoked everywhere: repeat it", body = ErrorBody),
    )
)]
pub(crate) async fn delete_token(
    State(state): State<AppState>,
    caller: Caller<TokensWrite>,
    Path(token): Path<String>,
) -> Result<axum::Json<RevokedTokenEnvelope>, ApiError> {
    state.vault.check_configured()?;
    let id = super::token_id(&token)?;
    let team = caller.team.base();
    let revoke = TeamCommand::Token(TokenCommand::Revoke {
        token: id.clone(),
        reason: TokenEnd::Requested,
    });
    let after = match state.control.run_team(&team, revoke, &caller.by()).await {
        Ok(after) => after,
        Err(CommandError::Refused(gone @ TeamRefusal::Token(TokenRefusal::NoSuchToken))) => {
            // Perhaps it went a moment ago, by a request that was told 503, and not everybody knows.
            let seen = state.log.bounds(Stream::Control).await?;
            state.settle_everywhere(seen.last).await?;
            return Err(gone.into());
        }
        Err(error) => return Err(error.into()),
    };
    state.settle_everywhere(after.version).await?;
    let found = after.state.tokens.get(&id);
    let found = found.ok_or_else(super::no_such_token)?;
    let (revoked_at, _) = found.revoked.ok_or_else(super::no_such_token)?;
    if let Err(error) = shred(&state, &team, found.environment, &id).await {
        // Nothing uses it from now on; the janitor goes on with its keys.
        tracing::warn!(token = %id, %error, "a revoked token is not shredded yet");
    }
    Ok(axum::Json(RevokedTokenEnvelope {
        token: RevokedToken {
            id: id.to_string(),
            name: found.name.clone(),
            revoked_at: Iso(revoked_at),
        },
    }))
}
