//! `GET /api/v1/workflows`.

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use serde::Deserialize;
use utoipa::IntoParams;
use waybill_api_jobs::body::Ignored;
use waybill_api_jobs::rules;
use waybill_api_tasks::TasksApi;
use waybill_domain::workflow::FlowStatus;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::{InQueues, JobsRead};
use waybill_edge::error::ApiError;
use waybill_edge::lenient::LenientQuery;
use waybill_edge::query::HasLists;
use waybill_projector::query::{ListFlows, Position};

use super::object::JobsWorkflow;

/// Most workflows on a page.
const MAX_LIMIT: i64 = 100;
/// Workflows on a page of a request that does not say how many.
const USUAL_LIMIT: i64 = 50;
/// Most workflows that are skipped.
const MAX_OFFSET: i64 = 10_000;

/// Which workflows, and which page of them.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub struct JobsWorkflowListParams {
    /// `pending`, `running`, `completed`, `failed` or `cancelled`.
    pub status: Option<String>,
    /// 1 to 100; 50 without it. What is out of range counts as the nearest.
    pub limit: Option<i64>,
    /// Workflows to skip, up to 10000.
    pub offset: Option<i64>,
}

impl HasLists for JobsWorkflowListParams {}

/// List workflows, newest first.
#[utoipa::path(
    get,
    path = "/api/v1/workflows",
    operation_id = "jobs.workflow.list",
    tag = "jobs",
    security(("api_key" = ["jobs:read"])),
    params(JobsWorkflowListParams),
    responses((status = 200, description = "A page of workflows", body = Vec<JobsWorkflow>))
)]
pub(crate) async fn list_workflows(
    State(state): State<TasksApi>,
    caller: Caller<InQueues<JobsRead>>,
    LenientQuery(params, warnings): LenientQuery<JobsWorkflowListParams>,
) -> Result<Response, ApiError> {
    let status = params.status.as_deref();
    let status = status.filter(|text| !text.is_empty()).map(|text| {
        FlowStatus::parse(text).ok_or_else(|| {
            let text = "must be pending, running, completed, failed or cancelled";
            rules::broken("status", text, "pattern")
        })
    });
    let status = status.transpose()?;
    let limit = params.limit.unwrap_or(USUAL_LIMIT).clamp(1, MAX_LIMIT);
    let limit = usize::try_from(limit).unwrap_or(1);
    let mut skip = params.offset.unwrap_or(0).clamp(0, MAX_OFFSET);
    let known = Position::tasks(state.acknowledged.to(&caller.team));
    let mut shown = Vec::with_capacity(limit);
    let mut cursor = None;
    // A page may be empty although there are more: the list looks at a bounded number for a status at a time.
    while shown.len() < limit {
        let query = ListFlows {
            team: caller.team.clone(),
            status,
            limit: u16::try_from(MAX_LIMIT).unwrap_or(u16::MAX),
            cursor: cursor.take(),
        };
        let page = state.queries.ask(query, known).await?.value;
        for flow in page.flows {
            if caller.may_use(&flow.queue).is_err() {
                continue;
            }
            if skip > 0 {
                skip -= 1;
            } else if shown.len() < limit {
                shown.push(JobsWorkflow::listed(flow));
            }
        }
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    Ok(Ignored::of(warnings).answer(StatusCode::OK, shown))
}
