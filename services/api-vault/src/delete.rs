//! `DELETE /v1/tokens/{tokenId}`: revoking a token. By the time of the answer, no worker uses it any more.

use axum::extract::State;
use waybill_domain::access::team::vault::{TokenCommand, TokenRefusal};
use waybill_domain::access::team::{TeamCommand, TeamRefusal};
use waybill_domain::event::TokenEnd;
use waybill_domain::id::TokenId;
use waybill_log::Stream;

use super::object::{RevokedToken, RevokedTokenEnvelope};
use waybill_commands::CommandError;
use waybill_edge::Edge;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::TokensWrite;
use waybill_edge::error::{ApiError, ErrorBody};
use waybill_edge::iso::Iso;
use waybill_edge::path::Id;
use waybill_edge::vault::shred;

/// Revoke a token. No call that begins afterwards carries its value, and its keys are erased: nobody can ever open it again.
#[utoipa::path(
    delete,
    path = "/v1/tokens/{tokenId}",
    operation_id = "vault.token.delete",
    tag = "tokens",
    security(("api_key" = ["tokens:write"])),
    params(
        ("tokenId" = String, Path, description = "Id of the token"),
        ("X-Team-Id" = Option<String>, Header, description = "For a person who is in several teams: id of the team"),
        ("X-Environment" = Option<String>, Header, description = "For a person: the environment, `live` or `test`"),
    ),
    responses(
        (status = 200, description = "Revoked; no call uses it any more", body = RevokedTokenEnvelope),
        (status = 404, description = "No such token in the caller's environment, or it was revoked or has expired", body = ErrorBody),
        (status = 503, description = "The vault is not configured, or it is uncertain whether every worker knows of the revocation; repeat the request", body = ErrorBody),
    )
)]
pub(crate) async fn delete_token(
    State(state): State<Edge>,
    caller: Caller<TokensWrite>,
    Id(id): Id<TokenId>,
) -> Result<axum::Json<RevokedTokenEnvelope>, ApiError> {
    state.vault.check_configured()?;
    let team = caller.team.base();
    let revoke = TeamCommand::Token(TokenCommand::Revoke {
        token: id.clone(),
        reason: TokenEnd::Requested,
    });
    let after = match state.control.run_team(&team, revoke, &caller.by()).await {
        Ok(after) => after,
        Err(CommandError::Refused(gone @ TeamRefusal::Token(TokenRefusal::NoSuchToken))) => {
            // An earlier request that was answered 503 may have revoked it, and not every process may have applied that: wait until all have.
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
        // The revocation stands all the same; the janitor erases the keys that are left.
        tracing::warn!(token = %id, %error, "a revoked vault token is not shredded yet; the janitor completes it");
    }
    Ok(axum::Json(RevokedTokenEnvelope {
        token: RevokedToken {
            id: id.to_string(),
            name: found.name.clone(),
            revoked_at: Iso(revoked_at),
        },
    }))
}
