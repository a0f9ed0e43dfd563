//! `GET /v1/schedules`: the schedules of the team.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use waybill_api_tasks::TasksApi;
use waybill_commands::entropy;
use waybill_domain::id::ScheduleId;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::TasksRead;
use waybill_edge::error::ApiError;
use waybill_edge::query::Query;

use crate::object::ScheduleObject;

/// Most schedules on a page.
const MAX_LIMIT: usize = 100;

/// Which page of the list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct SchedulePageParams {
    /// How many, 1 to 100.
    #[param(minimum = 1, maximum = 100, default = 50)]
    limit: Option<usize>,
    /// `nextCursor` of an earlier answer: continues there.
    cursor: Option<String>,
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

/// The number of rows that a client asked for.
pub(crate) fn limit(given: Option<usize>) -> Result<usize, ApiError> {
    let limit = given.unwrap_or(50);
    if (1..=MAX_LIMIT).contains(&limit) {
        return Ok(limit);
    }
    let message = format!("limit must be between 1 and {MAX_LIMIT}, not {limit}");
    Err(ApiError::bad_field("limit", message))
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
    let now = entropy::now();
    let mut schedules = Vec::new();
    let mut last = None;
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
        last = Some(current.schedule.to_string());
        schedules.push(ScheduleObject::new(&schedule, current, now));
    }
    Ok(axum::Json(ScheduleList {
        schedules,
        next_cursor: last.filter(|_| has_more),
    }))
}
