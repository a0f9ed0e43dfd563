//! `POST /api/v1/auth/logout`: ends the whole session, its access and its refresh token, on every gateway.

use axum::extract::State;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use utoipa::ToSchema;
use waybill_domain::access::team::TeamCommand;
use waybill_domain::access::team::jobs_keys::JobsKeyCommand;
use waybill_domain::time::Timestamp;
use waybill_edge::Edge;
use waybill_edge::auth::{Holder, credential, key_session};
use waybill_edge::error::{ApiError, JobsErrorBody};
use waybill_identity::jwt::of_keys::{ACCESS_LIFETIME, KeyClaims, KeyTokenUse, REFRESH_LIFETIME};

use crate::body::OptionalBody;

/// A refresh token whose session ends too.
#[derive(Default, Deserialize, ToSchema)]
pub struct JobsLogOut {
    refresh_token: Option<String>,
}

/// End the session. With a key instead of a token, only the session of `refresh_token` ends.
#[utoipa::path(
    post,
    path = "/api/v1/auth/logout",
    operation_id = "jobs.auth.log_out",
    tag = "jobs",
    security(("api_key" = [])),
    request_body = Option<JobsLogOut>,
    responses(
        (status = 204, description = "No gateway accepts a token of the session any more"),
        (status = 503, description = "It could not be recorded, or not be applied everywhere yet", body = JobsErrorBody),
    )
)]
pub(crate) async fn log_out(
    State(state): State<Edge>,
    holder: Holder,
    headers: HeaderMap,
    OptionalBody(request): OptionalBody<JobsLogOut>,
) -> Result<StatusCode, ApiError> {
    let presented = credential::presented(&headers)?;
    let own = key_session::standing(&state, presented, KeyTokenUse::Access).await;
    let mut sessions: Vec<KeyClaims> = own.map(|(_, claims)| claims).into_iter().collect();
    if let Some(token) = &request.refresh_token {
        // A token that is no longer good has nothing to end, and one of another key is not the caller's to end.
        let named = key_session::standing(&state, token, KeyTokenUse::Refresh).await;
        if let Some((_, claims)) = named
            && claims.sub == holder.key.created.key
            && sessions.iter().all(|own| own.sid != claims.sid)
        {
            sessions.push(claims);
        }
    }
    let team = holder.team.base();
    for claims in sessions {
        let begun = i64::try_from(claims.begun).unwrap_or(0);
        // The access token of a refresh just before the end outlives the refresh token by a day.
        let last = REFRESH_LIFETIME + ACCESS_LIFETIME;
        let command = TeamCommand::JobsKey(Box::new(JobsKeyCommand::EndSession {
            key: claims.sub.clone(),
            session: claims.sid,
            expires_at: Timestamp(begun.saturating_mul(1_000)).plus(last),
        }));
        let by = holder.by();
        let ended = state.control.change_key(&team, &claims.sub, command, &by);
        let ended = ended.await?;
        state.settle_everywhere(ended.seq).await?;
    }
    Ok(StatusCode::NO_CONTENT)
}
