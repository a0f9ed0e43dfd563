//! `GET` and `PATCH /v1/me`: the signed-in person.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use waybill_domain::access::role::Role;
use waybill_domain::access::user::UserCommand;
use waybill_domain::actor::Actor;
use waybill_domain::event::Boundary;

use super::answer::UserObject;
use super::by_address::command;
use super::fields::required;
use crate::state::AccountApi;
use waybill_commands::Author;
use waybill_edge::auth::{Operator, SignedIn};
use waybill_edge::body::Json;
use waybill_edge::error::ApiError;

/// A team, to one of its members.
#[derive(Debug, Serialize, ToSchema)]
pub struct Membership {
    id: String,
    name: String,
    /// `owner`, `admin`, `member` or `viewer`.
    #[schema(value_type = Role)]
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
    /// Whether you operate the installation: as admin or owner of its first team.
    is_operator: bool,
}

/// Read your account and the teams that you belong to.
#[utoipa::path(
    get,
    path = "/v1/me",
    operation_id = "account.person.get",
    tag = "people",
    security(("session" = [])),
    responses(
        (status = 200, description = "You", body = Me),
    )
)]
pub(crate) async fn get_me(
    State(state): State<AccountApi>,
    person: SignedIn,
) -> Result<axum::Json<Me>, ApiError> {
    me(&state, &person)
}

/// Changes of a person.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeMe {
    /// The name that others see, at most 100 characters.
    #[schema(required = true)]
    name: Option<String>,
}

/// Change your name.
#[utoipa::path(
    patch,
    path = "/v1/me",
    operation_id = "account.person.update",
    tag = "people",
    security(("session" = [])),
    request_body = ChangeMe,
    responses(
        (status = 200, description = "You, now", body = Me),
    )
)]
pub(crate) async fn change_me(
    State(state): State<AccountApi>,
    person: SignedIn,
    Json(request): Json<ChangeMe>,
) -> Result<axum::Json<Me>, ApiError> {
    let name = required("name", request.name)?;
    let user = state.auth.directory().user(&person.user);
    let who = user
        .and_then(|user| user.who.clone())
        .ok_or_else(ApiError::session_refused)?;
    let by = Author {
        actor: Actor::User(person.user.clone()),
        origin: Some(person.context.origin()),
    };
    let boundary = Boundary::User(who.email_hash);
    let renamed = command(&state, &boundary, UserCommand::Rename { name }, &by).await?;
    state.settle(renamed.version).await?;
    me(&state, &person)
}

/// The answer about whoever asks.
pub(super) fn me(state: &AccountApi, person: &SignedIn) -> Result<axum::Json<Me>, ApiError> {
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
        is_operator: Operator::is(&person.user, directory),
    }))
}
