//! `POST /v1/tokens/{tokenId}/rotate`: giving a token a new value under the same id.

use axum::extract::State;
use waybill_domain::access::team::vault::{TokenCommand, TokenRefusal};
use waybill_domain::access::team::{Team, TeamCommand, TeamRefusal};
use waybill_domain::id::TokenId;
use waybill_log::KeyName;

use super::object::{TokenEnvelope, TokenObject};
use super::request::{self, RotateToken};
use waybill_commands::CommandError;
use waybill_commands::entropy;
use waybill_edge::Edge;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::TokensWrite;
use waybill_edge::body::Json;
use waybill_edge::error::{ApiError, ErrorBody};
use waybill_edge::path::Id;
use waybill_edge::vault::KeepError;

/// Attempts to take the next version while others rotate the same token.
const MAX_ROUNDS: u32 = 10;

/// Give a token a new value under the same id. Calls that begin from now on carry it; running ones go on with theirs.
#[utoipa::path(
    post,
    path = "/v1/tokens/{tokenId}/rotate",
    operation_id = "vault.token.rotate",
    tag = "tokens",
    security(("api_key" = ["tokens:write"])),
    params(
        ("tokenId" = String, Path, description = "Id of the token"),
        ("X-Team-Id" = Option<String>, Header, description = "For a person who is in several teams: id of the team"),
        ("X-Environment" = Option<String>, Header, description = "For a person: the environment, `live` or `test`"),
    ),
    request_body = RotateToken,
    responses(
        (status = 200, description = "The token with its new version", body = TokenEnvelope),
        (status = 404, description = "No such token in the caller's environment, or it was revoked or has expired", body = ErrorBody),
        (status = 409, description = "Other rotations of the token were faster each time; try again", body = ErrorBody),
    )
)]
pub(crate) async fn rotate_token(
    State(state): State<Edge>,
    caller: Caller<TokensWrite>,
    Id(id): Id<TokenId>,
    Json(request): Json<RotateToken>,
) -> Result<axum::Json<TokenEnvelope>, ApiError> {
    caller.needs_api()?;
    state.vault.check_configured()?;
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
            // A stored key is never replaced, since the event that names its version may still be under way: take the next number.
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
