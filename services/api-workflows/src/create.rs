//! `POST /v1/workflows`: a workflow that is answered with 201 is on disk, with all of its tasks.

use std::time::Instant;

use axum::Extension;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode};
use waybill_api_tasks::TasksApi;
use waybill_api_tasks::accept::{Accepting, count_accepted, limits};
use waybill_api_tasks::create::REPLAYED;
use waybill_api_tasks::idempotency::msg_id;
use waybill_api_tasks::lookup;
use waybill_commands::entropy;
use waybill_domain::event::TaskCreated;
use waybill_domain::flow::{MemberOf, Place};
use waybill_domain::id::{QueueName, TaskId, TeamId, WorkflowId};
use waybill_domain::partition::Partition;
use waybill_domain::task::Status;
use waybill_domain::time::Timestamp;
use waybill_domain::workflow::task_id;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::TasksWrite;
use waybill_edge::error::{ApiError, ErrorBody, ErrorCode};
use waybill_edge::idempotency::key as request_key;
use waybill_edge::lenient::LenientJson;
use waybill_edge::request::RequestContext;
use waybill_edge::warnings::{Handling, Warning};
use waybill_log::Stream;
use waybill_projector::query::{ByIdempotencyKey, Flow, FlowMember, IdempotentTask, Position};

use crate::find::find_now;
use crate::object::{WorkflowEnvelope, WorkflowObject};
use crate::read::{Plan, read};
use crate::request::NewWorkflow;
use crate::store::{Ready, Stored, store};

/// Create a workflow: tasks of one queue, of which some run after others.
///
/// All of its tasks are created, or none. Those that run after none start at once, as far as their queue lets them; each other one when those
/// that it runs after have completed. A task may be called or claimed by workers, and may take over results: `{{tasks.fetch.result.body.id}}`
/// in its URL, headers or body.
///
/// With an `Idempotency-Key`, repeating the request answers with the first workflow and `Idempotency-Replayed: true`.
#[utoipa::path(
    post,
    path = "/v1/workflows",
    operation_id = "workflows.workflow.create",
    tag = "workflows",
    security(("api_key" = ["tasks:write"])),
    params(
        ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 printable ASCII characters"),
        ("Prefer" = Option<String>, Header, description = "`handling=strict`: what would be a warning is refused with 400"),
    ),
    request_body = NewWorkflow,
    responses(
        (status = 201, description = "Accepted: all of it is on disk", body = WorkflowEnvelope, headers(("Idempotency-Replayed" = bool, description = "`true` when an earlier request with the same `Idempotency-Key` had this answer"))),
        (status = 422, description = "The Idempotency-Key belongs to another request", body = ErrorBody),
        (status = 503, description = "Not accepted (`log_full`: the log has no room), or accepted without a confirmation (`outcome_unknown`: all of it or nothing); see `code` and `Retry-After`", body = ErrorBody),
    )
)]
pub(crate) async fn create_workflow(
    State(state): State<TasksApi>,
    caller: Caller<TasksWrite>,
    Extension(context): Extension<RequestContext>,
    headers: HeaderMap,
    LenientJson(request, unknown): LenientJson<NewWorkflow>,
) -> Result<Response, ApiError> {
    caller.needs_api()?;
    let start = Instant::now();
    // No client can send a key with such a character in it.
    let key = request_key(&headers)?.map(|key| format!("workflow→{key}"));
    let accepting = Accepting::new(&state, &caller, &context);
    let plan = read(&accepting, &limits(&state, &caller), request)?;
    let (fingerprint, count) = (plan.fingerprint.clone(), plan.members.len());
    let handling = Handling::of(&headers);
    let warnings = unknown.and(plan.warnings.clone()).judge(handling)?;
    if let Some(key) = &key
        && let Some(earlier) = state.queries.by_idempotency_key(&caller.team, key).await?
    {
        return replay(&state, &caller.team, &earlier, &fingerprint, warnings).await;
    }
    let now = entropy::now();
    let workflow = WorkflowId::new(now, entropy::random_u128());
    let ready = ready(&state, &caller.team, &workflow, plan, now, key.clone());
    let id = key.as_ref().map(|key| msg_id(&caller.team, key));
    let first = ready.first().map(|ready| ready.id);
    match store(&state, &accepting, ready, now, id).await? {
        Stored::New(created) => {
            count_accepted(count as u64, start);
            Ok(answer(
                &workflow,
                &caller.team,
                made(created),
                warnings,
                false,
            ))
        }
        Stored::Before => {
            let key = key.unwrap_or_default();
            let query = ByIdempotencyKey {
                team: caller.team.clone(),
                key,
            };
            let end = state.log.bounds(Stream::Tasks).await?.last;
            let known = state.queries.ask(query, Position::tasks(end)).await?.value;
            let earlier = known.ok_or_else(|| {
                ApiError::conflict(
                    ErrorCode::IdempotencyExpired,
                    "The Idempotency-Key belongs to a workflow that is no longer kept; use another key",
                )
            })?;
            let mut response =
                replay(&state, &caller.team, &earlier, &fingerprint, warnings).await?;
            if first == Some(earlier.id) {
                // This request's own first try, which had been stored.
                response.headers_mut().remove(REPLAYED);
            }
            Ok(response)
        }
    }
}

/// The members of a new workflow.
fn ready(
    state: &TasksApi,
    team: &TeamId,
    workflow: &WorkflowId,
    plan: Plan,
    now: Timestamp,
    key: Option<String>,
) -> Vec<Ready> {
    let of = u16::try_from(plan.members.len()).unwrap_or(u16::MAX);
    let id = |name: &str, queue: &QueueName| -> TaskId {
        let partition = Partition::of(team, queue, state.partitions);
        task_id(workflow, name, 0, now, partition)
    };
    let ids: Vec<_> = plan
        .members
        .iter()
        .map(|member| {
            (
                member.name.clone(),
                id(&member.name, &member.checked.spec.queue),
            )
        })
        .collect();
    let id_of = |name: &str| {
        ids.iter()
            .find(|(known, _)| known == name)
            .map(|(_, id)| *id)
    };
    let mut about = Some(Box::new(plan.about));
    let mut first = Some((key, plan.fingerprint));
    let members = plan.members.into_iter().zip(&ids).zip(0..);
    members
        .map(|((planned, (_, id)), at)| {
            let places = planned.places.into_iter();
            let places = places.filter_map(|(name, text)| {
                let task = id_of(&name)?;
                Some(Place { task, text })
            });
            let after = planned.after.iter().filter_map(|place| ids.get(*place));
            let mut checked = planned.checked;
            let key = first.take().and_then(|(key, fingerprint)| {
                checked.as_given = Some(fingerprint);
                key
            });
            Ready {
                id: *id,
                checked,
                member: MemberOf {
                    workflow: workflow.clone(),
                    name: planned.name,
                    at,
                    of,
                    retry: 0,
                    after: after.map(|(_, id)| *id).collect(),
                    done: Vec::new(),
                    mode: planned.mode,
                    places: places.collect(),
                    given: Vec::new(),
                    about: about.take(),
                },
                key,
            }
        })
        .collect()
}

/// The workflow as it was just made.
fn made(created: Vec<TaskCreated>) -> Flow {
    let about = created
        .first()
        .and_then(|first| first.member.as_ref()?.about.clone());
    let queue = created.first().map(|first| first.queue.clone());
    let created_at = created.first().map_or(Timestamp(0), |first| first.at);
    let ids: Vec<_> = created.iter().map(|created| created.id).collect();
    let place = |id: &TaskId| {
        let place = ids.iter().position(|other| other == id)?;
        u16::try_from(place).ok()
    };
    let members = created.into_iter().filter_map(|created| {
        let member = created.member?;
        Some(FlowMember {
            task: created.id,
            after: member.after.iter().filter_map(place).collect(),
            name: member.name,
            retry: member.retry,
            mode: member.mode,
            status: if created.not_before.is_some() {
                Status::Delayed
            } else {
                Status::Pending
            },
            end_reason: None,
            error: None,
            created_at: created.at,
            started_at: None,
            completed_at: None,
        })
    });
    Flow {
        about: about.map(|about| *about),
        queue: queue.unwrap_or_default(),
        created_at,
        members: members.collect(),
        retries: 0,
    }
}

/// The workflow that an earlier request made with the key.
async fn replay(
    state: &TasksApi,
    team: &TeamId,
    earlier: &IdempotentTask,
    fingerprint: &str,
    warnings: Vec<Warning>,
) -> Result<Response, ApiError> {
    if earlier.fingerprint.as_deref() != Some(fingerprint) {
        return Err(ApiError::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            ErrorCode::IdempotencyMismatch,
            "The Idempotency-Key was used with another request",
        ));
    }
    let row = lookup::find_row(state, team, earlier.id, earlier.created_seq).await?;
    let member = row
        .member
        .ok_or_else(|| ApiError::internal(&"a workflow's key is that of a task"))?;
    let flow = find_now(state, team, &member.workflow).await?;
    Ok(answer(&member.workflow, team, flow, warnings, true))
}

fn answer(
    id: &WorkflowId,
    team: &TeamId,
    flow: Flow,
    warnings: Vec<Warning>,
    is_replayed: bool,
) -> Response {
    let envelope = WorkflowEnvelope {
        workflow: WorkflowObject::of(id, team, flow),
        warnings,
    };
    let mut response = (StatusCode::CREATED, axum::Json(envelope)).into_response();
    if is_replayed {
        let headers = response.headers_mut();
        headers.insert(REPLAYED, HeaderValue::from_static("true"));
    }
    response
}
