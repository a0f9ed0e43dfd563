//! A team's applications: registered, changed, given a new secret, removed.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use waybill_domain::access::scope::{Scope, ScopeSet};
use waybill_domain::access::team::app::{
    App, AppChange, AppCommand, AppDraft, AppRefusal, SecretMac,
};
use waybill_domain::access::team::{Team, TeamCommand};
use waybill_domain::access::token::{Token, TokenKind};
use waybill_domain::id::{AppId, Environment};

use super::metadata::Issuer;
use crate::state::AccountApi;
use waybill_commands::Loaded;
use waybill_commands::entropy;
use waybill_edge::auth::Member;
use waybill_edge::auth::needs::Admin;
use waybill_edge::body::Json;
use waybill_edge::error::{ApiError, ErrorBody};
use waybill_edge::iso::Iso;
use waybill_edge::path::Id;

/// Whether an application can keep a secret.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "only described")]
enum AppType {
    Confidential,
    Public,
}

/// An application to be registered.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CreateApp {
    /// A name for people, at most 100 characters; they see it when they are asked for consent.
    #[schema(required = true)]
    name: Option<String>,
    /// The scopes that it may be granted at most, such as `tasks:read`.
    #[schema(required = true, value_type = Option<Vec<Scope>>)]
    scopes: Option<Vec<String>>,
    /// Where browsers may be sent with a code: `https`, `http` on a loopback address, or a scheme of the application's own; matched to the
    /// letter, but for the port of a loopback address. Without any it can act only for itself.
    redirect_uris: Option<Vec<String>>,
    /// `confidential` (default): it can keep a secret. `public`: it cannot, such as an application on a telephone.
    #[serde(rename = "type")]
    #[schema(value_type = Option<AppType>)]
    kind: Option<String>,
    /// `live` (default) or `test`: the environment of its tokens.
    #[schema(value_type = Option<Environment>)]
    environment: Option<String>,
}

/// Changes of an application. A field that is left out stays as it is.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ChangeApp {
    /// For people, at most 100 characters.
    name: Option<String>,
    /// Where browsers may be sent with a code.
    redirect_uris: Option<Vec<String>>,
    /// The scopes that it may be granted at most. Existing grants are narrowed to them at once.
    #[schema(value_type = Option<Vec<Scope>>)]
    scopes: Option<Vec<String>>,
}

/// An OAuth application.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AppObject {
    /// Also its `client_id`.
    #[schema(example = "app_01k9x2v7m3f8q4t6r1w5y0z2bc")]
    id: String,
    team_id: String,
    name: String,
    /// `confidential` or `public`.
    #[serde(rename = "type")]
    #[schema(value_type = AppType)]
    kind: &'static str,
    /// `live` or `test`.
    #[schema(value_type = Environment)]
    environment: &'static str,
    redirect_uris: Vec<String>,
    #[schema(value_type = Vec<Scope>)]
    scopes: Vec<&'static str>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Iso,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Iso,
    /// The secret itself: only in the answer that creates it.
    #[serde(skip_serializing_if = "Option::is_none")]
    client_secret: Option<String>,
}

impl AppObject {
    fn new(app: &App) -> Self {
        Self {
            id: app.created.app.to_string(),
            team_id: app.created.team.to_string(),
            name: app.name.clone(),
            kind: if app.is_confidential() {
                "confidential"
            } else {
                "public"
            },
            environment: app.created.environment.as_str(),
            redirect_uris: app.redirect_uris.clone(),
            scopes: app.scopes.iter().map(Scope::as_str).collect(),
            created_at: Iso(app.created.at),
            updated_at: Iso(app.changed_at),
            client_secret: None,
        }
    }
}

/// `{"app": ...}`
#[derive(Serialize, ToSchema)]
pub struct AppEnvelope {
    app: AppObject,
}

/// `{"apps": [...]}`
#[derive(Serialize, ToSchema)]
pub struct AppList {
    /// Oldest first.
    apps: Vec<AppObject>,
}

/// Register an application. Its secret is in this one answer only.
#[utoipa::path(
    post,
    path = "/teams/{teamId}/apps",
    operation_id = "oauth.app.create",
    tag = "oauth",
    security(("session" = [])),
    params(("teamId" = String, Path, description = "Id of the team")),
    request_body = CreateApp,
    responses(
        (status = 201, description = "Registered", body = AppEnvelope),
        (status = 409, description = "The team has as many applications as it may have", body = ErrorBody),
        (status = 404, description = "No public address is configured, so there is no OAuth here", body = ErrorBody),
    )
)]
pub(crate) async fn create_app(
    State(state): State<AccountApi>,
    member: Member<Admin>,
    _issuer: Issuer,
    Json(request): Json<CreateApp>,
) -> Result<Response, ApiError> {
    let required =
        |field: &'static str| move || ApiError::bad_field(field, format!("{field} is required"));
    let id = AppId::new(entropy::now(), entropy::random_u128());
    let secret = match request.kind.as_deref() {
        None | Some("confidential") => Some(fresh_secret(&state, &id)?),
        Some("public") => None,
        Some(_) => {
            let text = "type must be confidential or public";
            return Err(ApiError::bad_field("type", text));
        }
    };
    let environment = match request.environment.as_deref() {
        None => Environment::Live,
        Some(text) => Environment::parse(text).ok_or_else(|| {
            ApiError::bad_field("environment", "environment must be live or test")
        })?,
    };
    let draft = AppDraft {
        id: id.clone(),
        name: request.name.ok_or_else(required("name"))?,
        environment,
        redirect_uris: request.redirect_uris.unwrap_or_default(),
        scopes: scopes(&request.scopes.ok_or_else(required("scopes"))?)?,
        secret: secret.as_ref().map(|(_, mac)| mac.clone()),
    };
    let after = run(&state, &member, AppCommand::Create(Box::new(draft))).await?;
    state.settle(after.version).await?;
    let answer = shown_once(&after, &id, secret.map(|(secret, _)| secret))?;
    Ok((StatusCode::CREATED, axum::Json(answer)).into_response())
}

/// List the team's applications.
#[utoipa::path(
    get,
    path = "/teams/{teamId}/apps",
    operation_id = "oauth.app.list",
    tag = "oauth",
    security(("session" = [])),
    params(("teamId" = String, Path, description = "Id of the team")),
    responses(
        (status = 200, description = "All applications of the team", body = AppList),
    )
)]
pub(crate) async fn list_apps(
    State(state): State<AccountApi>,
    member: Member<Admin>,
) -> axum::Json<AppList> {
    let directory = state.auth.directory();
    let apps = directory.with_team(&member.team, Team::apps_by_age);
    let apps = apps.unwrap_or_default();
    axum::Json(AppList {
        apps: apps.iter().map(|app| AppObject::new(app)).collect(),
    })
}

/// Get one application.
#[utoipa::path(
    get,
    path = "/teams/{teamId}/apps/{appId}",
    operation_id = "oauth.app.get",
    tag = "oauth",
    security(("session" = [])),
    params(
        ("teamId" = String, Path, description = "Id of the team"),
        ("appId" = String, Path, description = "Id of the application"),
    ),
    responses(
        (status = 200, description = "The application", body = AppEnvelope),
        (status = 404, description = "The team has no such application", body = ErrorBody),
    )
)]
pub(crate) async fn get_app(
    State(state): State<AccountApi>,
    member: Member<Admin>,
    Id(id): Id<AppId>,
) -> Result<axum::Json<AppEnvelope>, ApiError> {
    let directory = state.auth.directory();
    let app: Option<Arc<App>> = directory
        .with_team(&member.team, |team| team.app(&id).cloned())
        .flatten();
    let app = AppObject::new(&*app.ok_or(AppRefusal::NoSuchApp)?);
    Ok(axum::Json(AppEnvelope { app }))
}

/// Change an application. Narrower scopes count at once, on every gateway, for tokens that it already has.
#[utoipa::path(
    patch,
    path = "/teams/{teamId}/apps/{appId}",
    operation_id = "oauth.app.update",
    tag = "oauth",
    security(("session" = [])),
    params(
        ("teamId" = String, Path, description = "Id of the team"),
        ("appId" = String, Path, description = "Id of the application"),
    ),
    request_body = ChangeApp,
    responses(
        (status = 200, description = "The application as it is now", body = AppEnvelope),
        (status = 404, description = "The team has no such application", body = ErrorBody),
        (status = 503, description = "Stored, but not yet applied by every gateway; repeat after `Retry-After`", body = ErrorBody),
    )
)]
pub(crate) async fn change_app(
    State(state): State<AccountApi>,
    member: Member<Admin>,
    Id(id): Id<AppId>,
    Json(request): Json<ChangeApp>,
) -> Result<axum::Json<AppEnvelope>, ApiError> {
    let change = AppChange {
        name: request.name,
        redirect_uris: request.redirect_uris,
        scopes: request.scopes.as_deref().map(scopes).transpose()?,
    };
    let command = AppCommand::Change {
        app: id.clone(),
        change,
    };
    let after = run(&state, &member, command).await?;
    state.settle_everywhere(after.version).await?;
    Ok(axum::Json(shown_once(&after, &id, None)?))
}

/// Remove an application, and with it every token that it has. A second time changes nothing.
#[utoipa::path(
    delete,
    path = "/teams/{teamId}/apps/{appId}",
    operation_id = "oauth.app.delete",
    tag = "oauth",
    security(("session" = [])),
    params(
        ("teamId" = String, Path, description = "Id of the team"),
        ("appId" = String, Path, description = "Id of the application"),
    ),
    responses(
        (status = 204, description = "Removed; no gateway accepts its tokens any more"),
        (status = 404, description = "The team has no such application", body = ErrorBody),
        (status = 503, description = "Stored, but not yet applied by every gateway; repeat after `Retry-After`", body = ErrorBody),
    )
)]
pub(crate) async fn remove_app(
    State(state): State<AccountApi>,
    member: Member<Admin>,
    Id(id): Id<AppId>,
) -> Result<StatusCode, ApiError> {
    let command = AppCommand::Remove { app: id };
    let after = run(&state, &member, command).await?;
    state.settle_everywhere(after.version).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Give an application a new secret. The former one is invalid at once; tokens stay valid.
#[utoipa::path(
    post,
    path = "/teams/{teamId}/apps/{appId}/secret",
    operation_id = "oauth.app_secret.rotate",
    tag = "oauth",
    security(("session" = [])),
    params(
        ("teamId" = String, Path, description = "Id of the team"),
        ("appId" = String, Path, description = "Id of the application"),
    ),
    responses(
        (status = 200, description = "The application with its new secret, which is shown only once", body = AppEnvelope),
        (status = 404, description = "The team has no such application", body = ErrorBody),
        (status = 409, description = "A public application has no secret", body = ErrorBody),
        (status = 503, description = "Stored, but not yet applied by every gateway; repeat after `Retry-After`", body = ErrorBody),
    )
)]
pub(crate) async fn rotate_secret(
    State(state): State<AccountApi>,
    member: Member<Admin>,
    Id(id): Id<AppId>,
) -> Result<axum::Json<AppEnvelope>, ApiError> {
    let (token, secret) = fresh_secret(&state, &id)?;
    let command = AppCommand::RotateSecret {
        app: id.clone(),
        secret,
    };
    let after = run(&state, &member, command).await?;
    state.settle_everywhere(after.version).await?;
    Ok(axum::Json(shown_once(&after, &id, Some(token))?))
}

async fn run(
    state: &AccountApi,
    member: &Member<Admin>,
    command: AppCommand,
) -> Result<Loaded<Team>, ApiError> {
    let command = TeamCommand::App(command);
    let by = member.by();
    Ok(state.control.run_team(&member.team, command, &by).await?)
}

fn fresh_secret(state: &AccountApi, app: &AppId) -> Result<(Token, SecretMac), ApiError> {
    let made = state.people.token(TokenKind::ClientSecret, app.ulid());
    let (token, mac, pepper_version) =
        made.ok_or_else(|| ApiError::internal(&"no secret could be made"))?;
    let stored = SecretMac {
        mac: mac.to_hex(),
        pepper_version,
    };
    Ok((token, stored))
}

fn shown_once(
    after: &Loaded<Team>,
    id: &AppId,
    secret: Option<Token>,
) -> Result<AppEnvelope, ApiError> {
    let app = after.state.app(id).ok_or(AppRefusal::NoSuchApp)?;
    let mut app = AppObject::new(app);
    app.client_secret = secret.map(|secret| secret.reveal().to_owned());
    Ok(AppEnvelope { app })
}

fn scopes(wanted: &[String]) -> Result<ScopeSet, ApiError> {
    let parse = |text: &String| {
        Scope::parse(text).ok_or_else(|| {
            let shown: String = text.chars().take(40).collect();
            ApiError::bad_field("scopes", format!("scopes: there is no scope {shown:?}"))
        })
    };
    wanted.iter().map(parse).collect()
}
