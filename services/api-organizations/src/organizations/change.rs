//! `PUT` and `DELETE /api/v1/organizations/{id}`.

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;
use waybill_domain::access::team::TeamCommand;
use waybill_domain::access::team::organization::OrganizationChange;
use waybill_edge::Edge;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::KeysWrite;
use waybill_edge::error::{ApiError, JobsErrorBody};

use super::create::{email, settings};
use super::object::{JobsOrganization, Secrets};
use super::own;
use crate::body::Body;
use crate::field::Field;

/// Changes of an organisation: what is absent stays.
#[derive(Debug, Deserialize, ToSchema)]
pub struct JobsUpdateOrganization {
    name: Option<String>,
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    billing_email: Field<String>,
    /// Replaces them; `webhook_token` in it stays as it is.
    #[serde(default)]
    #[schema(value_type = Option<serde_json::Value>)]
    settings: Field<Value>,
}

/// Change the organisation.
#[utoipa::path(
    put,
    path = "/api/v1/organizations/{id}",
    operation_id = "jobs.organization.update",
    tag = "jobs",
    security(("api_key" = ["keys:write"])),
    params(("id" = String, Path, description = "Id of the organisation")),
    request_body = JobsUpdateOrganization,
    responses(
        (status = 200, description = "The organisation", body = JobsOrganization),
        (status = 404, description = "It is not the caller's", body = JobsErrorBody),
    )
)]
pub(crate) async fn update_organization(
    State(state): State<Edge>,
    caller: Caller<KeysWrite>,
    Path(id): Path<String>,
    Body(request): Body<JobsUpdateOrganization>,
) -> Result<Response, ApiError> {
    let team = own(&caller.team, &id)?;
    let change = OrganizationChange {
        name: request.name,
        billing_email: request.billing_email.change(email)?,
        settings: request.settings.change(settings)?,
        ..OrganizationChange::default()
    };
    let command = TeamCommand::ChangeOrganization(Box::new(change));
    let after = state.control.run_team(&team, command, &caller.by()).await?;
    state.settle(after.version).await?;
    let found = JobsOrganization::find(&state, &team, Secrets::Shown)?;
    Ok((StatusCode::OK, axum::Json(found)).into_response())
}

/// Delete the organisation. All its keys end; it never comes back, and its slug stays taken.
#[utoipa::path(
    delete,
    path = "/api/v1/organizations/{id}",
    operation_id = "jobs.organization.delete",
    tag = "jobs",
    security(("api_key" = ["keys:write"])),
    params(("id" = String, Path, description = "Id of the organisation")),
    responses(
        (status = 204, description = "Deleted, on every gateway"),
        (status = 404, description = "It is not the caller's", body = JobsErrorBody),
    )
)]
pub(crate) async fn delete_organization(
    State(state): State<Edge>,
    caller: Caller<KeysWrite>,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    let team = own(&caller.team, &id)?;
    let by = caller.by();
    let deleted = state
        .control
        .run_team(&team, TeamCommand::DeleteOrganization, &by);
    let deleted = deleted.await?;
    state.settle_everywhere(deleted.version).await?;
    Ok(StatusCode::NO_CONTENT)
}
