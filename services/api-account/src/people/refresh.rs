//! The next pair of tokens for a refresh token. Each is valid once; for a moment, a second use gets the same pair again.

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use utoipa::ToSchema;
use waybill_domain::access::session::{SessionCommand, SessionFamily, Successor};
use waybill_domain::access::token::TokenKind;
use waybill_domain::event::{Boundary, SessionEnd};
use waybill_domain::id::SessionId;

use super::answer::{self, Keeping, TokensAnswer};
use super::by_address::anonymous;
use super::cookie::{self, Jar};
use super::log_in::decidable;
use crate::people::{SignedInNow, access_token};
use crate::state::AccountApi;
use waybill_commands::entropy;
use waybill_edge::body::Json;
use waybill_edge::error::{ApiError, ErrorBody};
use waybill_edge::request::RequestContext;
use waybill_identity::jwt::Bearer;
use waybill_mail::Occasion;

/// A refresh token; without one, that of the cookie is used.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Refresh {
    /// Refresh token of the last answer. Default: the one in the cookie.
    refresh_token: Option<String>,
}

/// Refresh a session. A token that was used within the last 10 seconds gets the same answer again, for two tabs that refresh at once;
/// one that was used before that ends the session: somebody has a copy.
#[utoipa::path(
    post,
    path = "/v1/auth/refresh",
    operation_id = "auth.session.refresh",
    tag = "people",
    request_body = Refresh,
    responses(
        (status = 200, description = "New tokens; the old refresh token is void", body = TokensAnswer),
        (status = 400, description = "A field is wrong", body = ErrorBody),
        (status = 401, description = "No or no valid refresh token, or the session is over", body = ErrorBody),
        (status = 403, description = "The cookie is used by a page of another origin", body = ErrorBody),
        (status = 429, description = "Too many wrong tokens; see Retry-After", body = ErrorBody),
        (status = 503, description = "Cannot be done now; see Retry-After", body = ErrorBody),
    )
)]
pub(crate) async fn refresh(
    State(state): State<AccountApi>,
    Extension(context): Extension<RequestContext>,
    headers: HeaderMap,
    Json(request): Json<Refresh>,
) -> Result<Response, ApiError> {
    let (text, keeping) = match &request.refresh_token {
        Some(token) => (token.as_str(), Keeping::Body),
        None => {
            cookie::check_origin(&state.people, &headers)?;
            let value = Jar::Refresh.find(&state.people, &headers);
            (
                value.ok_or_else(ApiError::session_refused)?,
                Keeping::Cookie,
            )
        }
    };
    let refreshed = exchange(&state, &context, text).await;
    if refreshed
        .as_ref()
        .is_err_and(|error| error.status == StatusCode::UNAUTHORIZED)
    {
        state
            .limiter
            .charge_failure(&context.limits, context.source)?;
    }
    Ok(answer::tokens(&state, StatusCode::OK, &refreshed?, keeping))
}

async fn exchange(
    state: &AccountApi,
    context: &RequestContext,
    text: &str,
) -> Result<SignedInNow, ApiError> {
    let people = &state.people;
    let refused = ApiError::session_refused;
    let (token, proof) = people
        .presented(TokenKind::SessionRefresh, text)
        .ok_or_else(refused)?;
    let session = SessionId::from_ulid(token.ulid()).map_err(|_| refused())?;
    let derived = people
        .successors(TokenKind::SessionRefresh, &token)
        .ok_or_else(|| ApiError::internal(&"no token could be made"))?;
    let successors: Vec<_> = derived
        .iter()
        .map(|(_, mac, pepper_version)| Successor {
            mac: mac.to_hex(),
            pepper_version: *pepper_version,
        })
        .collect();
    let known = state.auth.directory().session(&session);
    // The token that is expected next, or the one before it: whoever has that one is told the same again for a moment.
    let is_known = known
        .is_some_and(|session| session.expects(&proof) || session.waits_for_one_of(&successors));
    if !is_known {
        // The log may know more, but it is not asked for a source network with too many failures.
        state
            .limiter
            .admit_source(&context.limits, context.source)?;
    }
    decidable(state).await?;
    let command = SessionCommand::Refresh {
        proof: proof.clone(),
        successors,
        grace: people.refresh_grace,
        idle_until: entropy::now().plus(people.session_idle),
    };
    let boundary = Boundary::Session(session.clone());
    let by = anonymous(context);
    let after = state
        .control
        .run::<SessionFamily>(&boundary, command, &(), &by)
        .await?;
    if after.state.session.ended == Some(SessionEnd::Reused) {
        state.settle_everywhere(after.version).await?;
        notify_reuse(state, &session);
        return Err(refused());
    }
    state.settle(after.version).await?;
    // Another password since the session began makes it void, though nobody ended it.
    let standing = state
        .auth
        .directory()
        .standing_session(&session, entropy::now());
    let (_, user) = standing.ok_or_else(refused)?;
    let (who, account) = user.confirmed().ok_or_else(refused)?;
    let bearer = Bearer {
        user: who.id.clone(),
        session: session.clone(),
        generation: account.generation,
    };
    let access = access_token(state, &bearer)?;
    let stored = after.state.successor_of(&proof);
    let next = derived.into_iter().find(|(_, mac, pepper_version)| {
        stored.is_some_and(|stored| {
            stored.mac == mac.to_hex() && stored.pepper_version == *pepper_version
        })
    });
    let (next, ..) = next.ok_or_else(refused)?;
    Ok(SignedInNow {
        session,
        access,
        refresh: next,
    })
}

fn notify_reuse(state: &AccountApi, session: &SessionId) {
    metrics::counter!("waybill_sessions_reused_total").increment(1);
    let directory = state.auth.directory();
    let started = directory
        .session(session)
        .and_then(|session| session.started.clone());
    let user = started.and_then(|started| directory.user(&started.user));
    if let Some(who) = user.as_ref().and_then(|user| user.who.as_ref()) {
        let at = entropy::now().to_rfc3339();
        state
            .people
            .notify(&who.email, &Occasion::SessionReused { at });
    }
}
