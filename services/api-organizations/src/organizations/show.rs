//! `GET /api/v1/organizations` and `/{id}`: the caller's own.

use axum::extract::{Path, State};
use waybill_domain::access::scope::Scope;
use waybill_edge::Edge;
use waybill_edge::auth::Holder;
use waybill_edge::error::{ApiError, JobsErrorBody};

use super::object::{JobsOrganization, JobsOrganizationSummary, Secrets};
use super::own;

/// List the caller's organisations: its own one.
#[utoipa::path(
    get,
    path = "/api/v1/organizations",
    operation_id = "jobs.organization.list",
    tag = "jobs",
    security(("api_key" = [])),
    responses((status = 200, description = "The caller's own", body = Vec<JobsOrganizationSummary>))
)]
pub(crate) async fn list_organizations(
    State(state): State<Edge>,
    holder: Holder,
) -> Result<axum::Json<Vec<JobsOrganizationSummary>>, ApiError> {
    let team = holder.team.base();
    let found = JobsOrganization::find(&state, &team, Secrets::Hidden)?;
    Ok(axum::Json(vec![found.summary()]))
}

/// Read the caller's organisation. `settings.webhook_token` is shown to keys that administer it alone.
#[utoipa::path(
    get,
    path = "/api/v1/organizations/{id}",
    operation_id = "jobs.organization.get",
    tag = "jobs",
    security(("api_key" = [])),
    params(("id" = String, Path, description = "Id of the organisation")),
    responses(
        (status = 200, description = "The organisation", body = JobsOrganization),
        (status = 404, description = "It is not the caller's", body = JobsErrorBody),
    )
)]
pub(crate) async fn get_organization(
    State(state): State<Edge>,
    holder: Holder,
    Path(id): Path<String>,
) -> Result<axum::Json<JobsOrganization>, ApiError> {
    let team = own(&holder.team, &id)?;
    let key = &holder.key;
    let administers = key.scopes.contains(Scope::KeysWrite) && key.only_queues().is_none();
    let secrets = if administers {
        Secrets::Shown
    } else {
        Secrets::Hidden
    };
    Ok(axum::Json(JobsOrganization::find(&state, &team, secrets)?))
}
