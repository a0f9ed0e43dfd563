//! `GET /v1/tasks/{id}/captures`: what the calls of a task sent and were answered.

use std::collections::BTreeMap;

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use waybill_commands::entropy;
use waybill_domain::access::team::Team;
use waybill_domain::event::{BodyEncoding, HeaderValues, group_repeated};
use waybill_domain::id::{TaskId, TeamId};
use waybill_domain::task::{Method, TaskRow};
use waybill_edge::Edge;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::{InQueues, TasksRead};
use waybill_edge::error::{ApiError, ErrorBody};
use waybill_edge::iso::Iso;
use waybill_edge::path::Id;
use waybill_log::{Capture, CapturedKind, CapturedMessage};
use waybill_projector::query::{GetTask, Position};

/// The calls of a task that are still kept.
#[derive(Debug, Serialize, ToSchema)]
pub struct CaptureList {
    /// By time; at most the latest 200.
    captures: Vec<CaptureObject>,
    /// Attempts of the task of which nothing is kept (yet, or any more). A worker keeps at most 50 first attempts a second, and 50 other calls.
    missing: u32,
    /// Parts of every capture that are not shown to the caller's role: a viewer sees bodies and headers only if an owner of the team says so.
    /// Absent when nothing is withheld.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    withheld: Vec<&'static str>,
}

/// One call: of the target (`attempt`), or of `onCompleteUrl` (`delivery`).
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CaptureObject {
    /// `attempt` or `delivery`.
    #[schema(example = "attempt")]
    kind: &'static str,
    /// Number of the attempt or of the delivery, from 1.
    number: u32,
    /// When it was sent.
    #[schema(value_type = String, format = DateTime)]
    at: Iso,
    /// From the beginning to the end of the call, in milliseconds.
    duration: u32,
    /// HTTP method of the request.
    #[schema(value_type = Method)]
    method: String,
    /// The URL that was called, with `[vault:...]` in place of each credential.
    #[schema(format = "uri")]
    url: String,
    request: CaptureMessage,
    /// The answer. `null`: the call failed before one came.
    response: Option<CaptureResponse>,
    /// Why there was no answer.
    error: Option<String>,
}

/// What was sent: its headers, and the beginning of its body.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CaptureMessage {
    /// As they were sent, with `[vault:...]` or `****` in place of each credential; up to 4 KiB of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<BTreeMap<String, HeaderValues>>)]
    headers: Option<BTreeMap<String, HeaderValues>>,
    /// Up to 4 KiB of the body.
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<String>,
    /// `base64` if the body is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<BodyEncoding>)]
    body_encoding: Option<&'static str>,
    /// Length of the whole body in bytes, as far as it was read.
    body_bytes: u64,
    /// What is cut: `headers`, `body`. Absent when nothing is.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    truncated: Vec<&'static str>,
}

/// What was answered.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CaptureResponse {
    /// HTTP status of the answer.
    status_code: u16,
    #[serde(flatten)]
    message: CaptureMessage,
}

impl CaptureObject {
    fn new(capture: Capture, sees: bool) -> Self {
        let answer = capture.answer.unwrap_or_default();
        Self {
            kind: capture.call.kind.name(),
            number: capture.call.number,
            at: Iso(capture.at),
            duration: capture.duration_ms,
            method: capture.method,
            url: capture.url,
            request: CaptureMessage::new(capture.request, sees),
            response: capture.status.map(|status_code| CaptureResponse {
                status_code,
                message: CaptureMessage::new(answer, sees),
            }),
            error: capture.failure,
        }
    }
}

impl CaptureMessage {
    fn new(message: CapturedMessage, sees: bool) -> Self {
        let is_cut = match message.encoding.name() {
            None => (message.body.len() as u64) < message.body_bytes,
            // Four characters for three bytes, the padding included.
            Some(_) => (message.body.len() as u64) < message.body_bytes.div_ceil(3) * 4,
        };
        let headers = message.headers_cut.then_some("headers");
        let truncated = headers.into_iter().chain(is_cut.then_some("body"));
        let truncated = truncated.filter(|_| sees).collect();
        Self {
            headers: sees.then(|| group_repeated(message.headers).into_iter().collect()),
            body: sees.then_some(message.body),
            body_encoding: message.encoding.name().filter(|_| sees),
            body_bytes: message.body_bytes,
            truncated,
        }
    }
}

/// The routes about captures.
pub(crate) fn router() -> OpenApiRouter<Edge> {
    OpenApiRouter::new().routes(routes!(list_captures))
}

/// See what the calls of a task sent and were answered.
///
/// Every call of the target and of `onCompleteUrl`: the request as it was sent, and the answer, with up to 4 KiB of the headers and of the body
/// of each. They are kept for seven days, or for less if there is no room. A queue whose `defaults` say `capture: false` has none of the tasks that are
/// created in it from then on, nor have pulled tasks, which Waybill does not call. An attempt that was lost with its worker leaves none.
#[utoipa::path(
    get,
    path = "/v1/tasks/{id}/captures",
    operation_id = "work.capture.list",
    tag = "tasks",
    security(("api_key" = ["tasks:read"])),
    params(("id" = String, Path, description = "Id of the task")),
    responses(
        (status = 200, description = "The calls, the first one first", body = CaptureList),
        (status = 404, description = "No such task", body = ErrorBody),
    )
)]
pub(crate) async fn list_captures(
    State(state): State<Edge>,
    caller: Caller<InQueues<TasksRead>>,
    Id(id): Id<TaskId>,
) -> Result<axum::Json<CaptureList>, ApiError> {
    let row = find(&state, &caller.team, id).await?;
    caller.may_use(&row.queue)?;
    let sees = caller.sees_payloads(&state);
    let captures = state.captures.captures(&caller.team, id).await?;
    let made = row.attempts.last().map_or(0, |attempt| attempt.number);
    let attempts = captures
        .iter()
        .filter(|capture| capture.call.kind == CapturedKind::Attempt);
    let missing = made.saturating_sub(u32::try_from(attempts.count()).unwrap_or(u32::MAX));
    let captures = captures.into_iter();
    Ok(axum::Json(CaptureList {
        missing,
        captures: captures
            .map(|capture| CaptureObject::new(capture, sees))
            .collect(),
        withheld: match sees {
            true => Vec::new(),
            false => vec!["headers", "body"],
        },
    }))
}

/// The team's task. Another team's is refused like any task of theirs; one of the other environment is not there.
async fn find(state: &Edge, team: &TeamId, id: TaskId) -> Result<TaskRow, ApiError> {
    let no_such_task = || ApiError::not_found("Task not found");
    let query = GetTask {
        id,
        team: None,
        detail: false,
    };
    let end = state.end_of_tasks().await?;
    let found = state.queries.ask(query, Position::tasks(end)).await?.value;
    let row = found.ok_or_else(no_such_task)?.row;
    if row.team != *team {
        return Err(match row.team.base_str() == team.base_str() {
            true => no_such_task(),
            false => ApiError::forbidden(),
        });
    }
    let shows_from = |of: &Team| {
        let queue = of.queue(team.environment(), &row.queue)?;
        queue.shows_from(entropy::now())
    };
    let directory = state.auth.directory();
    let from = directory.with_team(&team.base(), shows_from).flatten();
    // What its queue no longer shows is not shown here either.
    match from.is_some_and(|from| row.completed_at.is_some() && row.is_over_since(from)) {
        true => Err(no_such_task()),
        false => Ok(row),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(encoding: BodyEncoding, body: &str, body_bytes: u64) -> CapturedMessage {
        CapturedMessage {
            headers: vec![("a".into(), "1".into())],
            headers_cut: true,
            body: body.into(),
            encoding,
            body_bytes,
        }
    }

    #[test]
    fn what_is_cut_is_named() {
        let cut = |encoding, body, bytes| {
            CaptureMessage::new(message(encoding, body, bytes), true).truncated
        };
        assert_eq!(cut(BodyEncoding::Text, "abc", 3), ["headers"]);
        assert_eq!(cut(BodyEncoding::Text, "abc", 4), ["headers", "body"]);
        assert_eq!(cut(BodyEncoding::Base64, "/w==", 1), ["headers"]);
        assert_eq!(cut(BodyEncoding::Base64, "/w==", 9), ["headers", "body"]);
    }

    #[test]
    fn who_may_not_see_payloads_sees_only_how_long_they_are() {
        let shown = CaptureMessage::new(message(BodyEncoding::Text, "secret", 6), false);
        let shown = serde_json::to_value(shown).expect("plain data");
        assert_eq!(shown, serde_json::json!({"bodyBytes": 6}));
    }
}
