//! `POST /v1/operations/preview`: what an operation would be for.

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use waybill_commands::entropy;
use waybill_domain::event::BulkAction;
use waybill_domain::id::OperationId;
use waybill_domain::operation::max_matched;
use waybill_domain::task::{Status, TaskRow};
use waybill_domain::time::Timestamp;

use super::aim::Aim;
use super::create::NewOperation;
use crate::lookup;
use crate::state::TasksApi;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::TasksWrite;
use waybill_edge::body::Json;
use waybill_edge::error::ApiError;
use waybill_edge::iso::Iso;

/// How many tasks are shown.
const EXAMPLES: u16 = 5;

/// What an operation would be for.
#[derive(Debug, Serialize, ToSchema)]
pub struct OperationPreview {
    action: BulkAction,
    /// How many tasks match; of `ids`, how many there are.
    matched: u64,
    /// How many seconds they take at the rate of the request.
    seconds: u64,
    /// Up to five of the tasks, newest first.
    examples: Vec<PreviewedTask>,
}

/// A task that an operation would be for.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PreviewedTask {
    /// Id of the task.
    #[schema(example = "task_01kc0q2v9x3d8e5h7j9m1n3p5r0d")]
    id: String,
    status: Status,
    /// Name of its queue.
    queue: String,
    /// The URL that is called; `null` where workers claim the task.
    #[schema(format = "uri")]
    target_url: Option<String>,
    /// Why its last attempt failed.
    error: Option<String>,
    /// When it was accepted.
    #[schema(value_type = String, format = DateTime)]
    created_at: Iso,
}

impl PreviewedTask {
    fn new(row: TaskRow, now: Timestamp) -> Self {
        Self {
            id: row.id.to_string(),
            status: row.status_at(now),
            queue: row.queue.to_string(),
            target_url: Some(row.url).filter(|url| !url.is_empty()),
            error: row.error,
            created_at: Iso(row.created_at),
        }
    }
}

/// Count the tasks that an operation would be for, with a few examples. Nothing is changed.
#[utoipa::path(
    post,
    path = "/v1/operations/preview",
    operation_id = "tasks.operation.preview",
    tag = "operations",
    security(("api_key" = ["tasks:write"])),
    request_body = NewOperation,
    responses(
        (status = 200, description = "What would be done", body = OperationPreview),
    )
)]
pub(crate) async fn preview_operation(
    State(state): State<TasksApi>,
    caller: Caller<TasksWrite>,
    Json(request): Json<NewOperation>,
) -> Result<axum::Json<OperationPreview>, ApiError> {
    caller.needs_api()?;
    let id = OperationId::new(entropy::now(), entropy::random_u128());
    let draft = request.draft(&state, &caller, id).await?;
    let draft = draft.checked().map_err(ApiError::from)?;
    let (matched, rows) = if draft.tasks.is_empty() {
        let aim = Aim::of(&draft)?;
        let matched = aim
            .count(&state, &caller.team, max_matched(draft.action))
            .await?;
        (matched, aim.examples(&state, &caller.team, EXAMPLES).await?)
    } else {
        let mut rows = Vec::new();
        for task in draft.tasks.iter().take(EXAMPLES.into()) {
            rows.push(lookup::find_row(&state, &caller.team, *task, draft.up_to).await?);
        }
        (draft.matched, rows)
    };
    let now = entropy::now();
    Ok(axum::Json(OperationPreview {
        action: draft.action,
        matched,
        seconds: matched.div_ceil(draft.rate.max(1).into()),
        examples: rows
            .into_iter()
            .map(|row| PreviewedTask::new(row, now))
            .collect(),
    }))
}
