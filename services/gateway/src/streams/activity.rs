//! `GET /v1/activity`: who did what in a team, newest first.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use waybill_domain::actor::Actor;
use waybill_domain::id::TaskId;
use waybill_domain::time::Timestamp;
use waybill_log::Stream;
use waybill_projector::query::{Activity, ActivityFilter, MAX_LIMIT, Position};

use crate::auth::Caller;
use crate::auth::needs::ActivityRead;
use crate::error::{ApiError, ErrorBody};
use crate::query::Query;
use crate::state::AppState;

/// Entries of a page when no limit is given.
const DEFAULT_LIMIT: u16 = 50;

/// Which activity is wanted: all that is given must hold.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub(super) struct ActivityParameters {
    /// 1 to 100.
    #[param(minimum = 1, maximum = 100, default = 50)]
    limit: Option<u16>,
    /// `next` of an earlier page.
    cursor: Option<String>,
    /// Only of this log: `control` (teams and keys) or `tasks`.
    stream: Option<String>,
    /// Only by this actor, such as `key:key_4fG7aB2x` or `system:worker`.
    actor: Option<String>,
    /// Only events whose type begins so, such as `key.` or `task.created`.
    #[serde(rename = "type")]
    kind: Option<String>,
    /// Only about this task.
    task_id: Option<String>,
    /// At or after (ISO 8601).
    after: Option<String>,
    /// Before (ISO 8601).
    before: Option<String>,
}

impl ActivityParameters {
    fn filter(&self) -> Result<ActivityFilter, ApiError> {
        Ok(ActivityFilter {
            stream: self.stream.as_deref().map(stream).transpose()?,
            actor: self.actor.as_deref().map(Actor::parse),
            event: self.kind.clone(),
            task: self.task_id.as_deref().map(task).transpose()?,
            after: self
                .after
                .as_deref()
                .map(|t| instant("after", t))
                .transpose()?,
            before: self
                .before
                .as_deref()
                .map(|t| instant("before", t))
                .transpose()?,
        })
    }

    fn limit(&self) -> Result<u16, ApiError> {
        let limit = self.limit.unwrap_or(DEFAULT_LIMIT);
        if (1..=MAX_LIMIT).contains(&limit) {
            return Ok(limit);
        }
        let message = format!("limit must be between 1 and {MAX_LIMIT}, not {limit}");
        Err(ApiError::bad_field("limit", message))
    }
}

fn stream(text: &str) -> Result<Stream, ApiError> {
    match text {
        "control" => Ok(Stream::Control),
        "tasks" => Ok(Stream::Tasks),
        other => {
            let message = format!("stream must be control or tasks, not {other:?}");
            Err(ApiError::bad_field("stream", message))
        }
    }
}

fn task(text: &str) -> Result<TaskId, ApiError> {
    TaskId::parse(text).map_err(|_| {
        ApiError::bad_field(
            "taskId",
            format!("taskId must be the id of a task, not {text:?}"),
        )
    })
}

fn instant(field: &'static str, text: &str) -> Result<Timestamp, ApiError> {
    Timestamp::parse_rfc3339(text).ok_or_else(|| {
        let message =
            format!("{field} must be a time such as 2026-11-21T07:12:48.120Z, not {text:?}");
        ApiError::bad_field(field, message)
    })
}

/// One mutation and who caused it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct ActivityView {
    /// Which log: `control` or `tasks`.
    #[schema(example = "tasks")]
    stream: &'static str,
    /// Position in that log.
    seq: u64,
    /// When it was stored.
    at: String,
    /// What happened, such as `task.created`.
    #[serde(rename = "type")]
    kind: String,
    /// Who: `key:<key id>`, `system:<role>` or `operator:<name>`.
    actor: String,
    /// Name of the key that acted.
    #[serde(skip_serializing_if = "Option::is_none")]
    actor_name: Option<String>,
    /// The task it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    task_id: Option<String>,
    /// The queue of that task.
    #[serde(skip_serializing_if = "Option::is_none")]
    queue: Option<String>,
    /// The key it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    key_id: Option<String>,
}

impl From<Activity> for ActivityView {
    fn from(activity: Activity) -> Self {
        Self {
            stream: stream_name(activity.stream),
            seq: activity.seq.0,
            at: activity.at.to_rfc3339(),
            kind: short_type(&activity.event).to_owned(),
            actor: activity.actor.to_string(),
            actor_name: activity.actor_name,
            task_id: activity.task.map(|task| task.to_string()),
            queue: activity.queue.map(|queue| queue.to_string()),
            key_id: activity.key.map(|key| key.to_string()),
        }
    }
}

/// A log as clients name it.
pub(crate) fn stream_name(stream: Stream) -> &'static str {
    match stream {
        Stream::Control => "control",
        Stream::Tasks => "tasks",
    }
}

/// `task.created` of `task.created.v1`: the version is how an event is stored, not what happened.
pub(crate) fn short_type(event: &str) -> &str {
    match event.rsplit_once(".v") {
        Some((short, version)) if version.bytes().all(|b| b.is_ascii_digit()) => short,
        _ => event,
    }
}

/// A page of activity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct ActivityList {
    /// Newest first.
    activity: Vec<ActivityView>,
    /// Where to go on: `?cursor=`. Absent: that was all. A page can be short, even empty, and yet have a next one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// Who did what, newest first.
///
/// Every mutation of the team is listed, with its actor: keys made and revoked, tasks created and cancelled, and every
/// step of the workers. The list equals the log.
#[utoipa::path(
    get,
    path = "/v1/activity",
    tag = "activity",
    params(ActivityParameters),
    responses(
        (status = 200, description = "A page", body = ActivityList),
        (status = 400, description = "A parameter does not do", body = ErrorBody),
        (status = 401, description = "No key, or none that is accepted", body = ErrorBody),
        (status = 403, description = "The key lacks the scope", body = ErrorBody),
        (status = 503, description = "The read model is unavailable", body = ErrorBody),
    ),
    security(("api_key" = ["activity:read"]))
)]
pub(super) async fn activity(
    caller: Caller<ActivityRead>,
    State(state): State<AppState>,
    Query(given): Query<ActivityParameters>,
) -> Result<Json<ActivityList>, ApiError> {
    let (filter, limit) = (given.filter()?, given.limit()?);
    // What the caller has just done must be there: everything that both logs hold now.
    let (control, tasks) = tokio::try_join!(
        state.log.bounds(Stream::Control),
        state.log.bounds(Stream::Tasks)
    )?;
    let seen = Position {
        control: control.last,
        tasks: tasks.last,
    };
    let page = state
        .queries
        .activity(&caller.team, filter, limit, given.cursor, seen)
        .await?
        .value;
    Ok(Json(ActivityList {
        activity: page.entries.into_iter().map(ActivityView::from).collect(),
        next: page.next,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_named_without_its_version() {
        assert_eq!(short_type("task.attempt_failed.v1"), "task.attempt_failed");
        assert_eq!(short_type("task.vanished"), "task.vanished");
    }
}
