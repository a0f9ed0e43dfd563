//! `GET /v1/workflows`: the workflows of the team.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use waybill_api_tasks::TasksApi;
use waybill_domain::workflow::FlowStatus;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::TasksRead;
use waybill_edge::error::ApiError;
use waybill_edge::query::Query;
use waybill_projector::query::{ListFlows, Position};

use crate::object::WorkflowObject;

/// Which workflows, and which page of the list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct WorkflowPageParams {
    /// Only those that stand like this: `pending`, `running`, `completed`, `failed` or `cancelled`.
    #[param(value_type = Option<FlowStatus>)]
    status: Option<String>,
    /// How many, 1 to 100.
    #[param(minimum = 1, maximum = 100, default = 50)]
    limit: Option<u16>,
    /// `nextCursor` of an earlier answer: continues there.
    cursor: Option<String>,
}

/// Workflows of the team.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkflowList {
    /// Newest first, without their tasks.
    workflows: Vec<WorkflowObject>,
    /// For the next page; `null`: this is the last one. With `status`, a page may have fewer than `limit` although there are more.
    next_cursor: Option<String>,
}

/// List the workflows of the team.
#[utoipa::path(
    get,
    path = "/v1/workflows",
    operation_id = "workflows.workflow.list",
    tag = "workflows",
    security(("api_key" = ["tasks:read"])),
    params(WorkflowPageParams),
    responses(
        (status = 200, description = "A page of them", body = WorkflowList),
    )
)]
pub(crate) async fn list_workflows(
    State(state): State<TasksApi>,
    caller: Caller<TasksRead>,
    Query(page): Query<WorkflowPageParams>,
) -> Result<axum::Json<WorkflowList>, ApiError> {
    let status = page.status.as_deref().map(|text| {
        FlowStatus::parse(text).ok_or_else(|| {
            let message = format!(
                "status must be pending, running, completed, failed or cancelled, not {text:?}"
            );
            ApiError::bad_field("status", message)
        })
    });
    let query = ListFlows {
        team: caller.team.clone(),
        status: status.transpose()?,
        limit: page.limit.unwrap_or(50),
        cursor: page.cursor,
    };
    let known = Position::tasks(state.acknowledged.to(&caller.team));
    let found = state.queries.ask(query, known).await?.value;
    let flows = found.flows.into_iter();
    Ok(axum::Json(WorkflowList {
        workflows: flows
            .map(|summary| WorkflowObject::listed(&caller.team, summary))
            .collect(),
        next_cursor: found.next,
    }))
}
