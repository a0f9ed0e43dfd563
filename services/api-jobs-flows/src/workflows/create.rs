//! `POST /api/v1/workflows`: a workflow that is answered with 201 is on disk, with all of its jobs.

use std::time::Instant;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use waybill_api_jobs::body::Body;
use waybill_api_jobs::permission;
use waybill_api_tasks::TasksApi;
use waybill_api_tasks::accept::{Accepting, count_accepted, limits};
use waybill_api_workflows::store::{Ready, Stored, store};
use waybill_commands::entropy;
use waybill_domain::flow::MemberOf;
use waybill_domain::id::{TaskId, WorkflowId};
use waybill_domain::partition::Partition;
use waybill_domain::task::Limits;
use waybill_domain::time::Timestamp;
use waybill_domain::workflow::FlowStatus;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::{InQueues, JobsWrite};
use waybill_edge::error::{ApiError, JobsErrorBody};
use waybill_edge::request::RequestContext;

use super::read::{JobsCreateWorkflow, Plan, within};
use super::uuid_text;

/// A workflow that was created.
#[derive(Debug, Serialize, ToSchema)]
pub struct JobsWorkflowCreated {
    /// A UUID.
    pub workflow_id: String,
    /// In the order of the request.
    pub job_ids: Vec<JobsStepMade>,
    pub status: FlowStatus,
}

/// A job of a workflow that was created.
#[derive(Debug, Serialize, ToSchema)]
pub struct JobsStepMade {
    pub key: String,
    /// A UUID.
    pub job_id: String,
}

/// Create a workflow: all of its jobs, or none.
///
/// A job may be claimed once those that it depends on have completed. One that can never run any more is cancelled.
#[utoipa::path(
    post,
    path = "/api/v1/workflows",
    operation_id = "jobs.workflow.create",
    tag = "jobs",
    security(("api_key" = ["jobs:write"])),
    request_body = JobsCreateWorkflow,
    responses(
        (status = 201, description = "All of it is on disk", body = JobsWorkflowCreated),
        (status = 400, description = "A rule is broken, a key is there twice or missing, or jobs depend on each other in a cycle", body = JobsErrorBody),
    )
)]
pub(crate) async fn create_workflow(
    State(state): State<TasksApi>,
    caller: Caller<InQueues<JobsWrite>>,
    Extension(context): Extension<RequestContext>,
    Body(request, ignored): Body<JobsCreateWorkflow>,
) -> Result<Response, ApiError> {
    caller.needs_api()?;
    let start = Instant::now();
    let plan = request.check()?;
    permission::named(&caller, &plan.queue)?;
    let accepting = Accepting::new(&state, &caller, &context);
    let now = entropy::now();
    let workflow = WorkflowId::new(now, entropy::random_u128());
    let partition = Partition::of(&caller.team, &plan.queue, state.partitions);
    let made = Making {
        workflow: &workflow,
        partition,
        now,
    };
    let (ready, job_ids) = made.members(&accepting, &limits(&state, &caller), plan)?;
    let count = ready.len() as u64;
    match store(&state, &accepting, ready, now, None).await? {
        Stored::New(_) => count_accepted(count, start),
        Stored::Before => return Err(ApiError::internal(&"a workflow without a key was known")),
    }
    let created = JobsWorkflowCreated {
        workflow_id: uuid_text(&workflow),
        job_ids,
        status: FlowStatus::Pending,
    };
    Ok(ignored.answer(StatusCode::CREATED, created))
}

struct Making<'a> {
    workflow: &'a WorkflowId,
    partition: Partition,
    now: Timestamp,
}

impl Making<'_> {
    /// The members, and their ids in the order of the request.
    fn members(
        &self,
        accepting: &Accepting<'_>,
        limits: &Limits,
        plan: Plan,
    ) -> Result<(Vec<Ready>, Vec<JobsStepMade>), ApiError> {
        let of = u16::try_from(plan.steps.len()).unwrap_or(u16::MAX);
        let ids: Vec<_> = plan
            .steps
            .iter()
            .map(|_| TaskId::with_uuid(self.now, entropy::random_u128(), self.partition))
            .collect();
        let mut about = Some(Box::new(plan.about));
        let mut ready = Vec::with_capacity(ids.len());
        let mut made = Vec::with_capacity(ids.len());
        for ((step, id), at) in plan.steps.into_iter().zip(&ids).zip(0..) {
            let checked = step.job.into_task(accepting, limits);
            let checked = checked.map_err(|error| within(error, step.given))?;
            let after = step.after.iter().filter_map(|place| ids.get(*place));
            let shown = JobsStepMade {
                key: step.key.clone(),
                job_id: id.uuid_text(),
            };
            made.push((step.given, shown));
            ready.push(Ready {
                id: *id,
                checked,
                member: MemberOf {
                    workflow: self.workflow.clone(),
                    name: step.key,
                    at,
                    of,
                    retry: 0,
                    after: after.copied().collect(),
                    done: Vec::new(),
                    mode: step.mode,
                    places: Vec::new(),
                    given: Vec::new(),
                    about: about.take(),
                },
                key: None,
            });
        }
        made.sort_unstable_by_key(|(given, _)| *given);
        Ok((ready, made.into_iter().map(|(_, made)| made).collect()))
    }
}
