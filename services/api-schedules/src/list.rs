//! `GET /v1/schedules`: the schedules of the team.

use axum::extract::State;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use waybill_api_tasks::TasksApi;
use waybill_commands::entropy;
use waybill_domain::id::{ScheduleId, TeamId};
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::TasksRead;
use waybill_edge::error::ApiError;
use waybill_edge::query::Query;
use waybill_projector::query::{ListRuns, Position};

use crate::object::ScheduleObject;
use crate::runs::{RunObject, limit};

/// Most runs that a schedule of the list comes with.
const MAX_RUNS: usize = 10;
/// Schedules that are asked about at a time: a page must not take the projector's whole attention.
const AT_ONCE: usize = 8;

/// Which page of the list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct SchedulePageParams {
    /// How many, 1 to 100.
    #[param(minimum = 1, maximum = 100, default = 50)]
    limit: Option<usize>,
    /// `nextCursor` of an earlier answer: continues there.
    cursor: Option<String>,
    /// How many of its latest runs each schedule comes with, 1 to 10. Without it, none; each schedule on the page is asked about, so ask for it where it
    /// is shown.
    #[param(minimum = 1, maximum = 10)]
    runs: Option<usize>,
}

/// Schedules of the team.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScheduleList {
    /// By their ids, last first: those that were created last, but for those with an `Idempotency-Key`.
    schedules: Vec<ScheduleObject>,
    /// For the next page; `null`: this is the last one.
    next_cursor: Option<String>,
}

/// How many of the latest runs a client wants to each schedule.
fn runs(given: Option<usize>) -> Result<Option<u16>, ApiError> {
    let Some(runs) = given else {
        return Ok(None);
    };
    if (1..=MAX_RUNS).contains(&runs) {
        return Ok(u16::try_from(runs).ok());
    }
    let message = format!("runs must be between 1 and {MAX_RUNS}, not {runs}");
    Err(ApiError::bad_field("runs", message))
}

/// The latest runs of a schedule.
async fn latest(
    state: &TasksApi,
    team: &TeamId,
    schedule: ScheduleId,
    limit: u16,
) -> Result<Vec<RunObject>, ApiError> {
    let query = ListRuns {
        team: team.clone(),
        schedule,
        limit,
        cursor: None,
    };
    let known = Position {
        control: state.auth.applied(),
        tasks: state.acknowledged.to(team),
    };
    let found = state.queries.ask(query, known).await?.value;
    Ok(found.runs.into_iter().map(RunObject::from).collect())
}

/// List the schedules of the team.
#[utoipa::path(
    get,
    path = "/v1/schedules",
    operation_id = "schedules.schedule.list",
    tag = "schedules",
    security(("api_key" = ["tasks:read"])),
    params(SchedulePageParams),
    responses(
        (status = 200, description = "A page of them", body = ScheduleList),
    )
)]
pub(crate) async fn list_schedules(
    State(state): State<TasksApi>,
    caller: Caller<TasksRead>,
    Query(page): Query<SchedulePageParams>,
) -> Result<axum::Json<ScheduleList>, ApiError> {
    let limit = limit(page.limit)?;
    let cursor = page.cursor.as_deref().map(|cursor| {
        ScheduleId::parse(cursor).map_err(|_| {
            let message = "cursor must be one that an earlier page of this list gave";
            ApiError::bad_field("cursor", message)
        })
    });
    let cursor = cursor.transpose()?;
    let runs = runs(page.runs)?;
    let now = entropy::now();
    let (mut schedules, mut shown) = (Vec::new(), Vec::new());
    let mut last: Option<ScheduleId> = None;
    let mut has_more = false;
    for schedule in state.auth.directory().schedules_of(&caller.team) {
        let Some(current) = schedule.current() else {
            continue;
        };
        if cursor
            .as_ref()
            .is_some_and(|cursor| current.schedule >= *cursor)
        {
            continue;
        }
        if schedules.len() == limit {
            has_more = true;
            break;
        }
        last = Some(current.schedule.clone());
        shown.push(current.schedule.clone());
        schedules.push(ScheduleObject::new(&schedule, current, now));
    }
    if let Some(runs) = runs {
        let asked = shown
            .into_iter()
            .map(|id| latest(&state, &caller.team, id, runs));
        let found: Vec<_> = stream::iter(asked).buffered(AT_ONCE).try_collect().await?;
        for (schedule, found) in schedules.iter_mut().zip(found) {
            schedule.latest_runs = Some(found);
        }
    }
    Ok(axum::Json(ScheduleList {
        schedules,
        next_cursor: last.filter(|_| has_more).map(|last| last.to_string()),
    }))
}
