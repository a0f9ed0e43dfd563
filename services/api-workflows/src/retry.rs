//! `POST /v1/workflows/{id}/retry`: what failed of a workflow is done again, with what was cancelled because of it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use axum::Extension;
use axum::extract::State;
use futures::{StreamExt, TryStreamExt};
use waybill_api_tasks::TasksApi;
use waybill_api_tasks::accept::{Accepting, limits};
use waybill_api_tasks::credentials::Checked;
use waybill_api_tasks::idempotency::msg_id;
use waybill_api_tasks::lookup;
use waybill_api_tasks::replay::{again_in_its_place, go_on};
use waybill_api_tasks::request::CreateTask;
use waybill_commands::entropy;
use waybill_domain::flow::{Given, MemberOf, Place, RunAfterMode};
use waybill_domain::id::{TaskId, TeamId, WorkflowId};
use waybill_domain::operation::retry_key;
use waybill_domain::partition::Partition;
use waybill_domain::task::{EndReason, Limits, Status, TaskRow};
use waybill_domain::workflow::graph::{self, Standing, Tried};
use waybill_domain::workflow::places::{self, MAX_GIVEN_BYTES};
use waybill_domain::workflow::{FlowStatus, MAX_RETRIES, task_id};
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::TasksWrite;
use waybill_edge::error::{ApiError, ErrorBody, ErrorCode};
use waybill_edge::path::Id;
use waybill_edge::request::RequestContext;
use waybill_projector::query::{Detail, Flow, FlowMember};

use crate::find::find_now;
use crate::object::{WorkflowEnvelope, WorkflowObject, tally};
use crate::read::within;
use crate::store::{Ready, store};

/// So many tasks are read at the same time.
const AT_A_TIME: usize = 16;

/// Retry a workflow that has failed.
///
/// Its tasks that failed are done again, as new tasks with the same requests, and so are those that were cancelled because of them. What has
/// completed stays as it is, and its results are handed on as before; what was cancelled by itself stays cancelled, with what depends on it.
/// All of the new tasks are created, or none.
#[utoipa::path(
    post,
    path = "/v1/workflows/{id}/retry",
    operation_id = "workflows.workflow.retry",
    tag = "workflows",
    security(("api_key" = ["tasks:write"])),
    params(("id" = String, Path, description = "Id of the workflow")),
    responses(
        (status = 200, description = "The new tasks are on disk", body = WorkflowEnvelope),
        (status = 404, description = "The team has no such workflow in this environment", body = ErrorBody),
        (status = 409, description = "The workflow has not failed, nothing of it can run again, or the credentials of a task are gone (`credentials_gone`)", body = ErrorBody),
        (status = 410, description = "A request or a result that is needed is no longer in the log (`request_gone`)", body = ErrorBody),
        (status = 503, description = "Not accepted (`log_full`: the log has no room), or accepted without a confirmation (`outcome_unknown`): a repeated request makes nothing twice", body = ErrorBody),
    )
)]
pub(crate) async fn retry_workflow(
    State(state): State<TasksApi>,
    caller: Caller<TasksWrite>,
    Extension(context): Extension<RequestContext>,
    Id(id): Id<WorkflowId>,
) -> Result<axum::Json<WorkflowEnvelope>, ApiError> {
    caller.needs_api()?;
    let flow = find_now(&state, &caller.team, &id).await?;
    let accepting = Accepting::new(&state, &caller, &context);
    let limits = limits(&state, &caller);
    retry(&state, &accepting, &limits, (&caller.team, &id), &flow).await?;
    let flow = find_now(&state, &caller.team, &id).await?;
    Ok(axum::Json(WorkflowEnvelope {
        workflow: WorkflowObject::of(&id, &caller.team, flow),
        warnings: Vec::new(),
    }))
}

/// Makes the members of a workflow again that are to be done again. Returns the tasks in whose place these are.
pub async fn retry(
    state: &TasksApi,
    accepting: &Accepting<'_>,
    limits: &Limits,
    (team, id): (&TeamId, &WorkflowId),
    flow: &Flow,
) -> Result<Vec<TaskId>, ApiError> {
    let (chosen, retry) = choose(flow)?;
    let retrying = Retrying {
        state,
        team,
        flow,
        now: entropy::now(),
        retry,
        id,
    };
    let ready = retrying.ready(accepting, limits, &chosen).await?;
    // Whoever asks for the same at the same time makes the same tasks, and only one of them is stored.
    let repeated_by = msg_id(team, &format!("workflow retry→{id} {retry}"));
    store(state, accepting, ready, retrying.now, Some(repeated_by)).await?;
    let members = chosen.iter().filter_map(|at| flow.members.get(*at));
    Ok(members.map(|member| member.task).collect())
}

/// The members that are made again, and the number of this retry.
fn choose(flow: &Flow) -> Result<(Vec<usize>, u16), ApiError> {
    let status = tally(flow).status();
    let refuse = |message: String| Err(ApiError::conflict(ErrorCode::Conflict, message));
    if status != FlowStatus::Failed {
        return refuse(format!(
            "Only a workflow that has failed can be retried (current: {})",
            status.as_str()
        ));
    }
    let retry = flow.retries + 1;
    if retry > MAX_RETRIES {
        return refuse(format!("The workflow was retried {MAX_RETRIES} times"));
    }
    let tried: Vec<_> = flow.members.iter().map(tried).collect();
    let chosen = graph::again(&tried);
    if chosen.is_empty() {
        return refuse(
            "No task of the workflow can run again: each depends on one that was cancelled".into(),
        );
    }
    Ok((chosen, retry))
}

fn tried(member: &FlowMember) -> Tried {
    Tried {
        standing: match (member.status, member.end_reason) {
            (Status::Pending | Status::Delayed | Status::Processing, _) => Standing::Open,
            (Status::Completed, _) => Standing::Completed,
            (Status::Failed | Status::Timeout, _) => Standing::Failed,
            (Status::Cancelled, Some(EndReason::Predecessor)) => Standing::Forsaken,
            (Status::Cancelled, _) => Standing::Cancelled,
        },
        after: member
            .after
            .iter()
            .map(|place| usize::from(*place))
            .collect(),
        mode: member.mode,
    }
}

struct Retrying<'a> {
    state: &'a TasksApi,
    team: &'a TeamId,
    flow: &'a Flow,
    now: waybill_domain::time::Timestamp,
    retry: u16,
    id: &'a WorkflowId,
}

/// A member as it was tried last, and its request.
struct Old {
    at: usize,
    row: TaskRow,
    checked: Checked,
}

impl Retrying<'_> {
    async fn ready(
        &self,
        accepting: &Accepting<'_>,
        limits: &Limits,
        chosen: &[usize],
    ) -> Result<Vec<Ready>, ApiError> {
        let team = self.team;
        let known = self.state.acknowledged.to(team);
        let olds: Vec<Old> = futures::stream::iter(chosen.iter().copied())
            .map(async |at| {
                let member = self.member(at)?;
                let row = lookup::find_row(self.state, team, member.task, known).await?;
                let checked =
                    again_in_its_place(accepting, &row, CreateTask::default(), limits).await;
                let mut checked = checked.map_err(|error| within(error, at))?;
                // Its time was that of the first try.
                checked.spec.not_before = None;
                // A job keeps its id.
                go_on(&mut checked, &row);
                Ok::<_, ApiError>(Old { at, row, checked })
            })
            .buffered(AT_A_TIME)
            .try_collect()
            .await?;
        let partition = Partition::of(team, &self.flow.queue, self.state.partitions);
        let mut new: HashMap<usize, TaskId> = HashMap::new();
        for old in &olds {
            let name = &self.member(old.at)?.name;
            new.insert(
                old.at,
                task_id(self.id, name, self.retry, self.now, partition),
            );
        }
        let of = u16::try_from(olds.len()).unwrap_or(u16::MAX);
        let mut answers = Answers::default();
        let mut ready = Vec::with_capacity(olds.len());
        for (old, at) in olds.into_iter().zip(0..) {
            let member = self.again(&old, &new, (at, of), &mut answers).await?;
            let id = new.get(&old.at).copied();
            let key = old.row.is_pulled().then(|| retry_key(old.row.id));
            ready.push(Ready {
                id: id.ok_or_else(|| ApiError::internal(&"a member that is retried has a task"))?,
                checked: old.checked,
                member,
                key,
            });
        }
        Ok(ready)
    }

    fn member(&self, at: usize) -> Result<&FlowMember, ApiError> {
        let member = self.flow.members.get(at);
        member.ok_or_else(|| ApiError::internal(&"a retried task is no member of its workflow"))
    }

    /// What a member runs after now, and what it takes over of results.
    async fn again(
        &self,
        old: &Old,
        new: &HashMap<usize, TaskId>,
        (at, of): (u16, u16),
        answers: &mut Answers,
    ) -> Result<MemberOf, ApiError> {
        let member = self.member(old.at)?;
        let was = old.row.member.as_deref();
        let was = was.ok_or_else(|| ApiError::internal(&"the task is no member of a workflow"))?;
        let (mut after, mut done) = (Vec::new(), Vec::new());
        for place in &member.after {
            let place = usize::from(*place);
            let other = self.member(place)?;
            match new.get(&place) {
                Some(task) => after.push(*task),
                None if other.status == Status::Completed => done.push(other.task),
                None => {}
            }
        }
        if member.mode == RunAfterMode::Any && !done.is_empty() {
            after.clear();
        }
        let (mut places, mut given) = (Vec::new(), Vec::<Given>::new());
        let texts = was.places.iter().map(|place| &place.text);
        let texts = texts.chain(was.given.iter().map(|given| &given.text));
        for text in texts {
            let name = text.split('.').nth(1).unwrap_or_default();
            let place = self
                .flow
                .members
                .iter()
                .position(|other| other.name == name);
            let other = place.and_then(|place| self.flow.members.get(place));
            let task = place.and_then(|place| new.get(&place));
            match (task, other) {
                (Some(task), _) if after.contains(task) => places.push(Place {
                    task: *task,
                    text: text.clone(),
                }),
                (None, Some(other)) if other.status == Status::Completed => {
                    let used: usize = given.iter().map(Given::bytes).sum();
                    let room = MAX_GIVEN_BYTES.saturating_sub(used);
                    given.push(answers.give(self, other, text, room).await?);
                }
                _ => given.push(Given::nothing(text)),
            }
        }
        Ok(MemberOf {
            workflow: self.id.clone(),
            name: member.name.clone(),
            at,
            of,
            retry: self.retry,
            after,
            done,
            mode: member.mode,
            places,
            given,
            about: None,
        })
    }
}

/// The results of members that have completed.
#[derive(Default)]
struct Answers(HashMap<TaskId, waybill_domain::event::Answer>);

impl Answers {
    async fn give(
        &mut self,
        retrying: &Retrying<'_>,
        of: &FlowMember,
        text: &str,
        room: usize,
    ) -> Result<Given, ApiError> {
        if let Entry::Vacant(place) = self.0.entry(of.task) {
            let view = lookup::find(retrying.state, retrying.team, of.task).await?;
            let answer = match view.detail {
                Detail::Read(detail) => detail.result,
                Detail::Omitted | Detail::Dropped => None,
            };
            let answer = answer.ok_or_else(|| {
                ApiError::new(
                    http::StatusCode::GONE,
                    ErrorCode::RequestGone,
                    format!("The result of {} is no longer in the log", of.task),
                )
            })?;
            place.insert(answer);
        }
        let answer = self.0.get(&of.task);
        Ok(answer.map_or_else(
            || Given::nothing(text),
            |answer| places::give(text, answer, room),
        ))
    }
}
