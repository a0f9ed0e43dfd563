//! `GET /v1/activity`: who did what in a team, newest first.

use axum::Json;
use axum::extract::{RawQuery, State};
use serde::Serialize;
use utoipa::ToSchema;
use waybill_log::{ReadError, Stream};
use waybill_projector::query::{MAX_LIMIT, Position};

use super::entry::ActivityEntry;
use super::parameters::{FILTERS, FilterParameters, QueryParameters, TIMES, TimeParameters};
use crate::state::ActivityApi;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::ActivityRead;
use waybill_edge::error::ApiError;

/// Entries of a page when no limit is given.
const DEFAULT_LIMIT: u16 = 50;

/// A page of activity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ActivityList {
    /// Newest first.
    activity: Vec<ActivityEntry>,
    /// `?cursor=` of the next page; absent on the last one. A page can be short, even empty, and still have a next one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// Who did what, newest first.
///
/// Everything that changed the team is listed: credentials made and revoked, members, plans, the sign-ins of members, attempts that were
/// refused (samples, with counts), tasks created and cancelled, and every step of the workers. The list equals the log. A credential of the
/// test environment sees the tasks of the test environment, and of the rest what concerns credentials of the test environment.
#[utoipa::path(
    get,
    path = "/v1/activity",
    operation_id = "activity.event.list",
    tag = "activity",
    params(
        FilterParameters,
        TimeParameters,
        ("limit" = Option<u16>, Query, minimum = 1, maximum = 100, description = "1 to 100; 50 when it is not given"),
        ("cursor" = Option<String>, Query, description = "`next` of an earlier page: continues there, whatever was added meanwhile"),
    ),
    responses(
        (status = 200, description = "A page", body = ActivityList),
    ),
    security(("api_key" = ["activity:read"]))
)]
pub(crate) async fn list_activity(
    caller: Caller<ActivityRead>,
    State(state): State<ActivityApi>,
    RawQuery(query): RawQuery,
) -> Result<Json<ActivityList>, ApiError> {
    let given = QueryParameters::read(query.as_deref(), &[&FILTERS, &TIMES, &["limit", "cursor"]])?;
    let (filter, limit) = (given.filter_in_time()?, limit(&given)?);
    let seen = ends(&state).await?;
    let cursor = given.text("cursor").map(str::to_owned);
    let page = state
        .queries
        .activity(&caller.team, filter, limit, cursor, seen)
        .await?
        .value;
    Ok(Json(ActivityList {
        activity: page.entries.into_iter().map(ActivityEntry::from).collect(),
        next: page.next,
    }))
}

/// The ends of both logs now, so that the answer contains what the caller has just done.
pub(crate) async fn ends(state: &ActivityApi) -> Result<Position, ReadError> {
    let (control, tasks) = tokio::try_join!(
        state.log.bounds(Stream::Control),
        state.log.bounds(Stream::Tasks)
    )?;
    Ok(Position {
        control: control.last,
        tasks: tasks.last,
    })
}

fn limit(given: &QueryParameters) -> Result<u16, ApiError> {
    let Some(text) = given.text("limit") else {
        return Ok(DEFAULT_LIMIT);
    };
    let limit = text.parse().ok();
    limit
        .filter(|limit| (1..=MAX_LIMIT).contains(limit))
        .ok_or_else(|| {
            let shown: String = text.chars().take(40).collect();
            let message = format!("limit must be between 1 and {MAX_LIMIT}, not {shown}");
            ApiError::bad_field("limit", message)
        })
}
