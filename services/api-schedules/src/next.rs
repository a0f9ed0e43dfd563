//! `GET /v1/schedules/{id}/next`: when it is due.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use waybill_api_tasks::TasksApi;
use waybill_commands::entropy;
use waybill_domain::id::ScheduleId;
use waybill_domain::schedule::Oddity;
use waybill_domain::time::Timestamp;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::TasksRead;
use waybill_edge::error::{ApiError, ErrorBody};
use waybill_edge::iso::Iso;
use waybill_edge::path::Id;
use waybill_edge::query::Query;

use crate::find;
use crate::request::date;
use crate::runs::limit;

/// How many instants, and from when.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct NextParams {
    /// How many, 1 to 100.
    #[param(minimum = 1, maximum = 100, default = 50)]
    limit: Option<usize>,
    /// Those after this date (ISO 8601) instead of now.
    #[param(format = DateTime)]
    after: Option<String>,
}

/// When a schedule is due.
#[derive(Debug, Serialize, ToSchema)]
pub struct NextInstants {
    /// In their order. Also while it is paused.
    next: Vec<NextInstant>,
}

/// An instant.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct NextInstant {
    #[schema(value_type = String, format = DateTime)]
    due_at: Iso,
    /// What the clocks of the zone say then.
    #[schema(example = "2030-01-31T09:00:00")]
    local_time: Option<String>,
    /// `skipped`: its local time does not exist on that day, so it runs after the gap. `repeated`: it comes twice, and the first counts.
    /// Absent on most days.
    #[serde(skip_serializing_if = "Option::is_none")]
    clocks: Option<ClockChange>,
}

/// What a change of the clocks does to an instant.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum ClockChange {
    /// Its local time does not exist on that day.
    Skipped,
    /// Its local time comes twice on that day.
    Repeated,
}

/// List when a schedule is due next.
#[utoipa::path(
    get,
    path = "/v1/schedules/{id}/next",
    operation_id = "schedules.schedule.next",
    tag = "schedules",
    security(("api_key" = ["tasks:read"])),
    params(("id" = String, Path, description = "Id of the schedule"), NextParams),
    responses(
        (status = 200, description = "The instants", body = NextInstants),
        (status = 404, description = "The team has no such schedule", body = ErrorBody),
    )
)]
pub(crate) async fn next_of_schedule(
    State(state): State<TasksApi>,
    caller: Caller<TasksRead>,
    Id(id): Id<ScheduleId>,
    Query(asked): Query<NextParams>,
) -> Result<axum::Json<NextInstants>, ApiError> {
    let limit = limit(asked.limit)?;
    let (_, current) = find(&state, &caller.team, &id)?;
    let after = date("after", asked.after.as_deref())?.unwrap_or_else(entropy::now);
    let after = current
        .from
        .map_or(after, |from| after.max(Timestamp(from.0 - 1)));
    let (when, zone) = current.times()?;
    let until = current.until.unwrap_or(Timestamp::MAX);
    let next = when.between(&zone, after, until).take(limit);
    let next = next.map(|due| NextInstant {
        due_at: Iso(due.at),
        local_time: zone.clock(due.at),
        clocks: due.oddity.map(|oddity| match oddity {
            Oddity::Skipped => ClockChange::Skipped,
            Oddity::Repeated => ClockChange::Repeated,
        }),
    });
    Ok(axum::Json(NextInstants {
        next: next.collect(),
    }))
}
