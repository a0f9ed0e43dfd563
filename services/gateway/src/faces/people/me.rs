//! Who one is.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use waybill_domain::access::user::UserCommand;
use waybill_domain::actor::Actor;
use waybill_domain::event::Boundary;

use super::answer::UserObject;
use super::errand::command;
use super::fields::required;
use crate::access::By;
use crate::auth::SignedIn;
use crate::body::Json;
use crate::error::{ApiError, ErrorBody};
use crate::state::AppState;

/// A team, to one of its members.
#[derive(Debug, Serialize, ToSchema)]
pub struct Membership {
    id: String,
    name: String,
    /// `owner`, `admin`, `member` or `viewer`.
    role: String,
}

/// A person and their teams.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Me {
    user: UserObject,
    /// The session that asks.
    session_id: String,
    teams: Vec<Membership>,
}

/// Who you are, and which teams you belong to.
#[utoipa::path(
    get,
    path = "/v1/me",
    tag = "people",
    security(("session" = [])),
    responses(
        (status = 200, description = "You", body = Me),
        (status = 401, description = "Nobody is signed in", body = ErrorBody),
    )
)]
pub(crate) async fn get_me(
    State(state): State<AppState>,
    person: SignedIn,
) -> Result<axum::Json<Me>, ApiError> {
    me(&state, &person)
}

/// What can be changed.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeMe {
    /// For people, at most 100 characters.
    #[schema(required = true)]
    name: Option<String>,
}

/// Be called something else.
#[utoipa::path(
    patch,
    path = "/v1/me",
    tag = "people",
    security(("session" = [])),
    request_body = ChangeMe,
    responses(
        (status = 200, description = "You, now", body = Me),
        (status = 400, description = "A field is wrong", body = ErrorBody),
        (status = 401, description = "Nobody is signed in", body = ErrorBody),
        (status = 503, description = "Cannot be done now; see Retry-After", body = ErrorBody),
    )
)]
pub(crate) async fn change_me(
    State(state): State<AppState>,
    person: SignedIn,
    Json(request): Json<ChangeMe>,
) -> Result<axum::Json<Me>, ApiError> {
    let name = required("name", request.name)?;
    let user = state.auth.directory().user(&person.user);
    let who = user
        .and_then(|user| user.who.clone())
        .ok_or_else(ApiError::session_refused)?;
    let by = By {
        actor: Actor::User(person.user.clone()),
        origin: Some(person.context.origin()),
    };
    let boundary = Boundary::User(who.email_hash);
    let renamed = command(&state, &boundary, UserCommand::Rename { name }, &by).await?;
    state.settle(renamed.version).await?;
    me(&state, &person)
}

fn me(state: &AppState, person: &SignedIn) -> Result<axum::Json<Me>, ApiError> {
    let directory = state.auth.directory();
    let user = directory
        .user(&person.user)
        .ok_or_else(ApiError::session_refused)?;
    let memberships = directory
        .teams_of(&person.user)
        .into_iter()
        .filter_map(|id| {
            let (name, role) = directory.with_team(&id, |team| {
                Some((
                    team.info.as_ref()?.name.clone(),
                    team.role_of(&person.user)?,
                ))
            })??;
            Some(Membership {
                id: id.to_string(),
                name,
                role: role.to_string(),
            })
        });
    Ok(axum::Json(Me {
        user: UserObject::new(&user).ok_or_else(ApiError::session_refused)?,
        session_id: person.session.to_string(),
        teams: memberships.collect(),
    }))
}
