//! What a person granted to applications: listed and withdrawn.

use axum::extract::State;
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use waybill_domain::access::grant::{Grant, GrantCommand, GrantFamily};
use waybill_domain::access::scope::Scope;
use waybill_domain::access::team::App;
use waybill_domain::event::{Boundary, GrantEnd};
use waybill_domain::id::Environment;
use waybill_domain::id::GrantId;

use crate::state::AccountApi;
use waybill_commands::CommandError;
use waybill_commands::entropy;
use waybill_edge::auth::SignedIn;
use waybill_edge::error::{ApiError, ErrorBody, ErrorCode};
use waybill_edge::iso::Iso;
use waybill_edge::path::Id;

/// What an application may do for a person.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct GrantObject {
    #[schema(example = "grant_01k9x2v7m3f8q4t6r1w5y0z2bc")]
    id: String,
    app_id: String,
    app_name: String,
    /// The team that it may act in.
    team_id: String,
    /// `live` or `test`.
    #[schema(value_type = Environment)]
    environment: &'static str,
    /// The granted scopes. It can never do more than the person may at the time.
    #[schema(value_type = Vec<Scope>)]
    scopes: Vec<&'static str>,
    #[schema(value_type = String, format = DateTime)]
    given_at: Iso,
    /// When it last asked for a token.
    #[schema(value_type = String, format = DateTime)]
    last_used_at: Iso,
    /// When it ends unless it is used.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Iso,
}

impl GrantObject {
    pub(super) fn new(grant: &Grant, app: &App) -> Option<Self> {
        let given = grant.given.as_ref()?;
        Some(Self {
            id: given.grant.to_string(),
            app_id: given.app.to_string(),
            app_name: app.name.clone(),
            team_id: given.team.to_string(),
            environment: given.environment.as_str(),
            scopes: grant.scopes().iter().map(Scope::as_str).collect(),
            given_at: Iso(given.at),
            last_used_at: Iso(grant.used_at?),
            expires_at: Iso(grant.lasts_until()?),
        })
    }
}

/// `{"grants": [...]}`
#[derive(Debug, Serialize, ToSchema)]
pub struct GrantList {
    /// The valid ones, newest first.
    grants: Vec<GrantObject>,
}

/// List the applications that you gave access.
#[utoipa::path(
    get,
    path = "/v1/me/grants",
    operation_id = "oauth.grant.list",
    tag = "oauth",
    security(("session" = [])),
    responses(
        (status = 200, description = "The valid grants", body = GrantList),
        (status = 403, description = "Only a person has grants", body = ErrorBody),
    )
)]
pub(crate) async fn list_grants(
    State(state): State<AccountApi>,
    person: SignedIn,
) -> axum::Json<GrantList> {
    let directory = state.auth.directory();
    let given = directory.grants_of(&person.user, entropy::now());
    let shown = given
        .iter()
        .filter_map(|(grant, app)| GrantObject::new(grant, app));
    axum::Json(GrantList {
        grants: shown.collect(),
    })
}

/// Withdraw an application's access. Its tokens are not accepted afterwards. Repeating it changes nothing.
#[utoipa::path(
    delete,
    path = "/v1/me/grants/{grantId}",
    operation_id = "oauth.grant.delete",
    tag = "oauth",
    security(("session" = [])),
    params(("grantId" = String, Path, description = "Id of the grant")),
    responses(
        (status = 204, description = "Withdrawn, on every gateway"),
        (status = 403, description = "Only a person has grants", body = ErrorBody),
        (status = 404, description = "No grant of yours", body = ErrorBody),
        (status = 503, description = "Stored, but not yet applied by every gateway; repeat after `Retry-After`", body = ErrorBody),
    )
)]
pub(crate) async fn withdraw_grant(
    State(state): State<AccountApi>,
    person: SignedIn,
    Id(id): Id<GrantId>,
) -> Result<StatusCode, ApiError> {
    let not_found = || ApiError::not_found("Grant not found");
    let command = GrantCommand::Revoke {
        reason: GrantEnd::Withdrawn,
    };
    let (boundary, by) = (Boundary::Grant(id), person.by());
    let run = state
        .control
        .run::<GrantFamily>(&boundary, command, &(), &by);
    let after = run.await.map_err(|error| match error {
        // Another person's is like one that is not there.
        CommandError::Refused(_) => not_found(),
        CommandError::Contended => ApiError::unavailable(ErrorCode::Conflict, error.to_string()),
        CommandError::Read(error) => error.into(),
        CommandError::Append(error) => error.into(),
        CommandError::History(_) => ApiError::not_understood(),
        CommandError::Subject(_) => ApiError::internal(&error),
    })?;
    state.settle_everywhere(after.version).await?;
    Ok(StatusCode::NO_CONTENT)
}
