//! `GET /v1/schedules/{id}/runs`: what became of its instants.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use waybill_api_tasks::TasksApi;
use waybill_domain::event::ScheduleSettled;
use waybill_domain::id::ScheduleId;
use waybill_domain::recurring::Outcome;
use waybill_domain::task::{EndReason, Status};
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::TasksRead;
use waybill_edge::error::{ApiError, ErrorBody};
use waybill_edge::iso::Iso;
use waybill_edge::path::Id;
use waybill_edge::query::Query;
use waybill_projector::query::{ListRuns, Position, Run};

use crate::find;

/// Most schedules, or runs of one, on a page.
const MAX_LIMIT: usize = 100;

/// The number of rows that a client asked for.
pub(crate) fn limit(given: Option<usize>) -> Result<usize, ApiError> {
    let limit = given.unwrap_or(50);
    if (1..=MAX_LIMIT).contains(&limit) {
        return Ok(limit);
    }
    let message = format!("limit must be between 1 and {MAX_LIMIT}, not {limit}");
    Err(ApiError::bad_field("limit", message))
}

/// Which page of the list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct RunPageParams {
    /// How many entries, 1 to 100.
    #[param(minimum = 1, maximum = 100, default = 50)]
    limit: Option<usize>,
    /// `nextCursor` of an earlier answer: continues there.
    cursor: Option<String>,
}

/// What became of the instants of a schedule.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunList {
    /// What was decided last comes first.
    runs: Vec<RunObject>,
    /// For the next page; `null`: this is the last one.
    next_cursor: Option<String>,
}

/// What became of an instant, or of several that follow each other and did not fire.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunObject {
    outcome: RunOutcome,
    /// The instant; of several, the first one. Of a run that somebody asked for, when that was.
    #[schema(value_type = String, format = DateTime)]
    due_at: Iso,
    /// Of several, the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    to: Option<Iso>,
    /// How many instants.
    count: u64,
    /// The version of the schedule that was due.
    version: u32,
    /// Whether somebody asked for it.
    manual: bool,
    /// The same for each schedule, version and instant.
    #[serde(skip_serializing_if = "Option::is_none")]
    run_id: Option<String>,
    /// Its task, for as long as that is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    task_id: Option<String>,
    /// The status of its task.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status>,
    /// Why its task was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<String>,
    /// When that was decided.
    #[schema(value_type = String, format = DateTime)]
    decided_at: Iso,
}

/// What became of an instant.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum RunOutcome {
    /// Its task was made.
    Fired,
    /// An earlier run had not ended: its task ended without a call.
    Skipped,
    /// Nothing could run in time and it was not caught up, or its task was refused (`refused` says why).
    Missed,
    /// The schedule was paused.
    Paused,
}

impl From<Run> for RunObject {
    fn from(run: Run) -> Self {
        match run {
            Run::Made {
                task,
                run,
                status,
                end_reason,
                at,
            } => Self {
                outcome: match end_reason {
                    Some(EndReason::Skipped) => RunOutcome::Skipped,
                    _ => RunOutcome::Fired,
                },
                due_at: Iso(run.due),
                to: None,
                count: 1,
                version: run.version,
                manual: run.manual,
                run_id: Some(run.run.to_string()),
                task_id: Some(task.to_string()),
                status: Some(status),
                refused: None,
                decided_at: Iso(at),
            },
            Run::Not(settled) => Self::not(*settled),
        }
    }
}

impl RunObject {
    fn not(settled: ScheduleSettled) -> Self {
        Self {
            outcome: match settled.outcome {
                Outcome::Paused => RunOutcome::Paused,
                Outcome::Missed => RunOutcome::Missed,
                Outcome::Fired => RunOutcome::Fired,
            },
            due_at: Iso(settled.from),
            to: (settled.count > 1).then_some(Iso(settled.to)),
            count: settled.count,
            version: settled.version,
            manual: false,
            run_id: None,
            task_id: None,
            status: None,
            refused: settled.refused,
            decided_at: Iso(settled.at),
        }
    }
}

/// List what became of the instants of a schedule.
///
/// Runs with a task are listed for as long as the task is kept; instants that were missed or paused for as long as the schedule exists. The instants
/// of a pause are listed when it is over.
#[utoipa::path(
    get,
    path = "/v1/schedules/{id}/runs",
    operation_id = "schedules.run.list",
    tag = "schedules",
    security(("api_key" = ["tasks:read"])),
    params(("id" = String, Path, description = "Id of the schedule"), RunPageParams),
    responses(
        (status = 200, description = "A page of them", body = RunList),
        (status = 404, description = "The team has no such schedule", body = ErrorBody),
    )
)]
pub(crate) async fn list_runs(
    State(state): State<TasksApi>,
    caller: Caller<TasksRead>,
    Id(id): Id<ScheduleId>,
    Query(page): Query<RunPageParams>,
) -> Result<axum::Json<RunList>, ApiError> {
    let limit = limit(page.limit)?;
    find(&state, &caller.team, &id)?;
    let query = ListRuns {
        team: caller.team.clone(),
        schedule: id,
        limit: u16::try_from(limit).unwrap_or(u16::MAX),
        cursor: page.cursor,
    };
    let known = Position {
        control: state.auth.applied(),
        tasks: state.acknowledged.to(&caller.team),
    };
    let found = state.queries.ask(query, known).await?.value;
    Ok(axum::Json(RunList {
        runs: found.runs.into_iter().map(RunObject::from).collect(),
        next_cursor: found.next,
    }))
}
