//! `PUT /api/v1/jobs/{id}/priority`.

use axum::extract::{Path, State};
use axum::response::Response;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use waybill_api_tasks::TasksApi;
use waybill_domain::command::OwnerRequest;
use waybill_domain::task::JobStatus;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::{InQueues, JobsWrite};
use waybill_edge::error::{ApiError, JobsErrorBody};

use crate::body::Body;
use crate::find::{self, no_such_job};
use crate::{owner, rules};

/// Another priority.
#[derive(Debug, Deserialize, ToSchema)]
pub struct JobsSetPriority {
    #[schema(minimum = -100, maximum = 100, example = 50)]
    pub priority: i64,
}

/// The priority before and from now on.
#[derive(Debug, Serialize, ToSchema)]
pub struct JobsPriority {
    pub job_id: String,
    pub old_priority: i16,
    pub new_priority: i16,
}

/// Change the priority of a job that waits.
#[utoipa::path(
    put,
    path = "/api/v1/jobs/{id}/priority",
    operation_id = "jobs.job.set_priority",
    tag = "jobs",
    security(("api_key" = ["jobs:write"])),
    params(("id" = String, Path, description = "Id of the job, a UUID")),
    request_body = JobsSetPriority,
    responses(
        (status = 200, description = "It has that priority", body = JobsPriority),
        (status = 404, description = "No job that waits has this id", body = JobsErrorBody),
    )
)]
pub(crate) async fn set_priority(
    State(state): State<TasksApi>,
    caller: Caller<InQueues<JobsWrite>>,
    Path(id): Path<String>,
    Body(request, ignored): Body<JobsSetPriority>,
) -> Result<Response, ApiError> {
    caller.needs_api()?;
    let priority = rules::priority("priority", Some(request.priority))?;
    let priority = priority.ok_or_else(|| ApiError::internal(&"a checked priority is one"))?;
    let found = find::row(&state, &caller, &id).await?;
    if !matches!(found.status, JobStatus::Pending | JobStatus::Scheduled) {
        return Err(no_such_job());
    }
    let (task, old) = (found.row().id, found.row().priority);
    let request = OwnerRequest::ChangePriority {
        task,
        team: caller.team.clone(),
        priority,
        operation: None,
        actor: caller.actor(),
        traceparent: Some(caller.context().traceparent.to_string()),
    };
    let asked = (task.partition(), &request);
    if !owner::change(&state, &caller, &id, asked).await? {
        return Err(no_such_job());
    }
    let changed = JobsPriority {
        job_id: found.row().job_root().uuid_text(),
        old_priority: old.value(),
        new_priority: priority.value(),
    };
    Ok(ignored.answer(StatusCode::OK, changed))
}
