//! What a person decides about a device that asks for access: by the short code that it shows.

use std::sync::Arc;

use axum::extract::State;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use waybill_commands::entropy;
use waybill_domain::access::grant::device::typed_code;
use waybill_domain::access::grant::{Grant, GrantCommand, GrantFamily};
use waybill_domain::access::plan::Guard;
use waybill_domain::access::role::Role;
use waybill_domain::access::scope::{Scope, ScopeSet};
use waybill_domain::access::team::App;
use waybill_domain::event::{Boundary, GrantAsked};
use waybill_domain::id::{Environment, TeamId};
use waybill_edge::auth::SignedIn;
use waybill_edge::body::Json;
use waybill_edge::error::{ApiError, ErrorBody};
use waybill_edge::iso::Iso;
use waybill_edge::limits::Guarded;

use super::authorize::choices;
use super::decidable;
use super::error::OAuthError;
use crate::people::fields::required;
use crate::state::AccountApi;

/// The code that a device shows.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct UserCode {
    /// As the device shows it; dashes, spaces and small letters do not matter.
    #[schema(required = true, example = "WDJB-MJHT")]
    user_code: Option<String>,
}

/// The code that a device shows, and the team that it gets access to.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct DeviceApproval {
    /// As the device shows it; dashes, spaces and small letters do not matter.
    #[schema(required = true, example = "WDJB-MJHT")]
    user_code: Option<String>,
    /// One of the teams that `find` names.
    #[schema(required = true)]
    team_id: Option<String>,
}

/// A team in which a device may get access.
#[derive(Debug, Serialize, ToSchema)]
pub struct DeviceTeam {
    id: String,
    name: String,
    /// Your role there: `owner`, `admin`, `member` or `viewer`.
    #[schema(value_type = Role)]
    role: String,
    /// What it would be able to do there: of what it asks for, as much as you may yourself.
    #[schema(value_type = Vec<Scope>)]
    scopes: Vec<&'static str>,
}

/// A device that asks for access.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeviceObject {
    /// As the device shows it.
    #[schema(example = "WDJB-MJHT")]
    user_code: String,
    app_id: String,
    app_name: String,
    /// `live` or `test`: what it gets access to.
    #[schema(value_type = Environment)]
    environment: &'static str,
    /// What it asks for.
    #[schema(value_type = Vec<Scope>)]
    scopes: Vec<&'static str>,
    #[schema(value_type = String, format = DateTime)]
    asked_at: Iso,
    /// When it is too late to decide.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Iso,
    /// The teams in which you may give it any of that, that of the application first.
    teams: Vec<DeviceTeam>,
}

/// `{"device": ...}`
#[derive(Debug, Serialize, ToSchema)]
pub struct DeviceEnvelope {
    device: DeviceObject,
}

/// Look at what a device asks for, by the code that it shows. Nothing is decided yet.
///
/// Codes that no device shows are counted like wrong passwords.
#[utoipa::path(
    post,
    path = "/v1/me/device/find",
    operation_id = "oauth.device.find",
    tag = "oauth",
    security(("session" = [])),
    request_body = UserCode,
    responses(
        (status = 200, description = "What it asks for", body = DeviceEnvelope),
        (status = 404, description = "No device shows that code, or somebody has decided, or it is too late", body = ErrorBody),
        (status = 429, description = "Too many wrong codes; see Retry-After", body = ErrorBody),
    )
)]
pub(crate) async fn find(
    State(state): State<AccountApi>,
    person: SignedIn,
    Json(request): Json<UserCode>,
) -> Result<axum::Json<DeviceEnvelope>, ApiError> {
    let (_, asked, app) = asking(&state, &person, request.user_code).await?;
    let wanted: ScopeSet = asked.scopes.iter().copied().collect();
    let teams = choices(&state, &person.user, &app, wanted);
    let teams = teams.into_iter().map(|choice| DeviceTeam {
        id: choice.team.to_string(),
        name: choice.name,
        role: choice.role.to_string(),
        scopes: choice.scopes.iter().map(Scope::as_str).collect(),
    });
    Ok(axum::Json(DeviceEnvelope {
        device: DeviceObject {
            user_code: state.people.user_code(&asked.grant),
            app_id: asked.app.to_string(),
            app_name: app.name.clone(),
            environment: asked.environment.as_str(),
            scopes: asked.scopes.iter().map(|scope| scope.as_str()).collect(),
            asked_at: Iso(asked.at),
            expires_at: Iso(asked.expires_at),
            teams: teams.collect(),
        },
    }))
}

/// Give a device what it asks for, as far as you may yourself. It appears among your grants, and can be withdrawn there.
#[utoipa::path(
    post,
    path = "/v1/me/device/approve",
    operation_id = "oauth.device.approve",
    tag = "oauth",
    security(("session" = [])),
    request_body = DeviceApproval,
    responses(
        (status = 204, description = "Given; the device gets its tokens when it asks again"),
        (status = 403, description = "You cannot give it anything in that team", body = ErrorBody),
        (status = 404, description = "No device shows that code, or somebody has decided, or it is too late", body = ErrorBody),
        (status = 429, description = "Too many wrong codes; see Retry-After", body = ErrorBody),
        (status = 503, description = "Cannot be done now; see Retry-After", body = ErrorBody),
    )
)]
pub(crate) async fn approve(
    State(state): State<AccountApi>,
    person: SignedIn,
    Json(request): Json<DeviceApproval>,
) -> Result<StatusCode, ApiError> {
    let team = required("teamId", request.team_id)?;
    let (grant, asked, app) = asking(&state, &person, request.user_code).await?;
    let wanted: ScopeSet = asked.scopes.iter().copied().collect();
    let team = TeamId::parse(&team).map_err(|_| ApiError::forbidden())?;
    let offered = choices(&state, &person.user, &app, wanted);
    let chosen = offered.into_iter().find(|choice| choice.team == team);
    let chosen = chosen.ok_or_else(ApiError::forbidden)?;
    let command = GrantCommand::Approve {
        user: person.user.clone(),
        team: chosen.team,
        scopes: chosen.scopes,
    };
    decide(&state, &person, &grant, command).await
}

/// Refuse what a device asks for.
#[utoipa::path(
    post,
    path = "/v1/me/device/deny",
    operation_id = "oauth.device.deny",
    tag = "oauth",
    security(("session" = [])),
    request_body = UserCode,
    responses(
        (status = 204, description = "Refused; the device is told when it asks again"),
        (status = 404, description = "No device shows that code, or somebody has decided, or it is too late", body = ErrorBody),
        (status = 429, description = "Too many wrong codes; see Retry-After", body = ErrorBody),
        (status = 503, description = "Cannot be done now; see Retry-After", body = ErrorBody),
    )
)]
pub(crate) async fn deny(
    State(state): State<AccountApi>,
    person: SignedIn,
    Json(request): Json<UserCode>,
) -> Result<StatusCode, ApiError> {
    let (grant, ..) = asking(&state, &person, request.user_code).await?;
    decide(&state, &person, &grant, GrantCommand::Deny).await
}

fn not_there() -> ApiError {
    let text =
        "No device waits with this code: it was decided, or is too old, or the code is another one";
    ApiError::not_found(text)
}

/// What the device with that code asks for. Guesses are counted over all gateways, for each person.
async fn asking(
    state: &AccountApi,
    person: &SignedIn,
    typed: Option<String>,
) -> Result<(Arc<Grant>, GrantAsked, Arc<App>), ApiError> {
    let typed = required("userCode", typed)?;
    let wanted = typed_code(&typed).ok_or_else(|| {
        let text = "userCode must be the eight letters that the device shows, such as WDJB-MJHT";
        ApiError::bad_field("userCode", text)
    })?;
    decidable(state).await?;
    let account = format!("device-{}", person.user);
    let guarded = Guarded {
        source: None,
        account: Some(&account),
        team: None,
    };
    state
        .limiter
        .guard(&person.context.limits, Guard::LogIn, &guarded)
        .await?;
    let directory = state.auth.directory();
    let waiting = directory.grants_asked(entropy::now());
    let found = waiting.into_iter().find_map(|grant| {
        let asked = grant.asked.as_deref()?.clone();
        (state.people.user_code(&asked.grant) == wanted).then_some((grant, asked))
    });
    let (grant, asked) = found.ok_or_else(not_there)?;
    state.limiter.forgive(Guard::LogIn, &guarded);
    let app = directory.app(&asked.app).ok_or_else(not_there)?;
    Ok((grant, asked, app))
}

async fn decide(
    state: &AccountApi,
    person: &SignedIn,
    grant: &Grant,
    command: GrantCommand,
) -> Result<StatusCode, ApiError> {
    let asked = grant.asked.as_deref().ok_or_else(not_there)?;
    let boundary = Boundary::Grant(asked.grant.clone());
    let by = person.by();
    let run = state
        .control
        .run::<GrantFamily>(&boundary, command, &(), &by);
    let after = run.await.map_err(|error| match OAuthError::from(error) {
        OAuthError::Other(error) => error,
        // Somebody else was faster.
        OAuthError::Refused { .. } => not_there(),
    })?;
    state.settle(after.version).await?;
    Ok(StatusCode::NO_CONTENT)
}
