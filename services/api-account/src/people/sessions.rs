//! A person's sessions: listed, and ended.

use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use waybill_domain::access::session::{SessionCommand, SessionFamily};
use waybill_domain::actor::Actor;
use waybill_domain::event::{Boundary, SessionEnd};
use waybill_domain::id::SessionId;

use super::answer::SessionObject;
use super::cookie::Jar;
use crate::state::AccountApi;
use waybill_commands::Author;
use waybill_commands::entropy;
use waybill_edge::auth::SignedIn;
use waybill_edge::error::{ApiError, ErrorBody};
use waybill_edge::path::Id;

/// `{"sessions": [...]}`
#[derive(Debug, Serialize, ToSchema)]
pub struct SessionList {
    /// Newest first; only valid ones.
    sessions: Vec<SessionObject>,
}

/// Sign out. When this is answered, no gateway accepts the session's tokens any more.
#[utoipa::path(
    post,
    path = "/v1/auth/logout",
    operation_id = "auth.session.end",
    tag = "people",
    security(("session" = [])),
    responses(
        (status = 204, description = "Signed out"),
        (status = 503, description = "Stored, but not yet applied by every gateway; repeat after `Retry-After`", body = ErrorBody),
    )
)]
pub(crate) async fn log_out(
    State(state): State<AccountApi>,
    person: SignedIn,
) -> Result<Response, ApiError> {
    end(&state, &person, &person.session, SessionEnd::LoggedOut).await?;
    let mut response = StatusCode::NO_CONTENT.into_response();
    Jar::Refresh.set(&state.people, response.headers_mut(), None, Duration::ZERO);
    Ok(response)
}

/// List your sessions.
#[utoipa::path(
    get,
    path = "/v1/auth/sessions",
    operation_id = "auth.session.list",
    tag = "people",
    security(("session" = [])),
    responses(
        (status = 200, description = "The valid sessions", body = SessionList),
    )
)]
pub(crate) async fn list_sessions(
    State(state): State<AccountApi>,
    person: SignedIn,
) -> axum::Json<SessionList> {
    let standing = state
        .auth
        .directory()
        .standing_sessions(&person.user, entropy::now());
    let sessions = standing
        .iter()
        .filter_map(|session| SessionObject::new(session, &person.session))
        .collect();
    axum::Json(SessionList { sessions })
}

/// End one of your sessions.
#[utoipa::path(
    delete,
    path = "/v1/auth/sessions/{sessionId}",
    operation_id = "auth.session.delete",
    tag = "people",
    security(("session" = [])),
    params(("sessionId" = String, Path, description = "Id of the session")),
    responses(
        (status = 204, description = "Ended; its tokens are accepted nowhere any more"),
        (status = 404, description = "No session of yours", body = ErrorBody),
        (status = 503, description = "Stored, but not yet applied by every gateway; repeat after `Retry-After`", body = ErrorBody),
    )
)]
pub(crate) async fn end_session(
    State(state): State<AccountApi>,
    person: SignedIn,
    Id(session): Id<SessionId>,
) -> Result<StatusCode, ApiError> {
    let not_found = || ApiError::not_found("Session not found");
    let known = state
        .auth
        .directory()
        .session(&session)
        .ok_or_else(not_found)?;
    let own = known
        .started
        .as_ref()
        .is_some_and(|started| started.user == person.user);
    if !own {
        return Err(not_found());
    }
    end(&state, &person, &session, SessionEnd::Ended).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn end(
    state: &AccountApi,
    person: &SignedIn,
    session: &SessionId,
    reason: SessionEnd,
) -> Result<(), ApiError> {
    let by = Author {
        actor: Actor::User(person.user.clone()),
        origin: Some(person.context.origin()),
    };
    let boundary = Boundary::Session(session.clone());
    let command = SessionCommand::End { reason };
    let ended = state
        .control
        .run::<SessionFamily>(&boundary, command, &(), &by)
        .await?;
    state.settle_everywhere(ended.version).await?;
    Ok(())
}
