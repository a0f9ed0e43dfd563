//! `GET /v1/tasks/{id}/result`: the answer that ended a task, with all of it that was kept.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::header::{
    CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_SECURITY_POLICY, CONTENT_TYPE,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use waybill_domain::event::{Answer, BodyEncoding};
use waybill_domain::task::Status;
use waybill_projector::query::Detail;

use super::lookup;
use super::object::TaskResult;
use crate::state::TasksApi;
use crate::withheld::Sees;
use waybill_domain::id::TaskId;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::{InQueues, TasksRead};
use waybill_edge::error::{ApiError, ErrorBody, ErrorCode};
use waybill_edge::lenient::LenientQuery;
use waybill_edge::path::Id;
use waybill_edge::query::HasLists;
use waybill_edge::warnings::{self, Handling, WARNINGS, Warning};

/// HTTP status of the target, in a raw answer.
const RESULT_STATUS: HeaderName = HeaderName::from_static("waybill-result-status");
/// What is missing of a raw answer.
const RESULT_TRUNCATED: HeaderName = HeaderName::from_static("waybill-result-truncated");

/// Options of the read.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ResultParams {
    /// `true`: the bytes of the body alone, with the content type that the target gave.
    raw: Option<bool>,
}

impl HasLists for ResultParams {}

/// The answer that ended a task.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResultEnvelope {
    /// Id of the task.
    #[schema(example = "task_01kc0q2v9x3d8e5h7j9m1n3p5r0d")]
    id: String,
    /// How it ended.
    #[schema(example = "completed")]
    status: Status,
    /// The answer of the target.
    result: TaskResult,
    /// `result.headers`, `result.body` or `result.bodyBytes`, where the target sent more than was kept or counted. Absent when nothing is
    /// missing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    truncated: Vec<&'static str>,
    /// `result.headers` and `result.body`, where the caller is a viewer and the team shows viewers neither. Absent when nothing is withheld.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    withheld: Vec<&'static str>,
    /// Parameters without effect, at most 20 warnings; absent when there are no warnings. With `raw`, the header `Waybill-Warnings` names them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<Warning>,
}

/// Read the answer that ended a task.
///
/// With all headers and all of the body that was kept, whatever its size; lists leave both out where they have no room. With
/// `?raw=true` the body comes as the target sent it. Browsers download it and do not show it, since its content is not Waybill's.
#[utoipa::path(
    get,
    path = "/v1/tasks/{id}/result",
    operation_id = "tasks.result.get",
    tag = "tasks",
    security(("api_key" = ["tasks:read"])),
    params(("id" = String, Path, description = "Id of the task"), ResultParams),
    responses(
        (status = 200, description = "The answer; with `raw`, its body, with the content type that the target gave (`application/octet-stream` if it gave none)", content((ResultEnvelope = "application/json"), (String = "application/octet-stream")), headers(("Waybill-Result-Status" = u16, description = "With `raw`: HTTP status of the target"), ("Waybill-Result-Truncated" = String, description = "With `raw`: what is missing of the answer, separated by commas; absent when nothing is"))),
        (status = 403, description = "With `raw`: the caller is a viewer, and the team shows viewers no bodies (`payload_withheld`)", body = ErrorBody),
        (status = 404, description = "No such task; or it has not ended, or ended without an answer (`no_result`)", body = ErrorBody),
    )
)]
pub(crate) async fn get_result(
    State(state): State<TasksApi>,
    caller: Caller<InQueues<TasksRead>>,
    Id(id): Id<TaskId>,
    handling: Handling,
    LenientQuery(params, warnings): LenientQuery<ResultParams>,
) -> Result<Response, ApiError> {
    let warnings = warnings.judge(handling)?;
    let view = lookup::find(&state, &caller.team, id).await?;
    caller.may_use(&view.row.queue)?;
    let (status, ok) = (view.status, view.row.ok.unwrap_or_default());
    let answer = match view.detail {
        Detail::Read(detail) => detail.result,
        Detail::Omitted | Detail::Dropped => None,
    };
    let answer = answer.ok_or_else(|| no_result(status))?;
    let sees = Sees(caller.sees_payloads(&state));
    if params.raw.unwrap_or_default() {
        sees.needed()?;
        let mut response = raw(answer);
        if let Some(names) = warnings::header(&warnings) {
            response.headers_mut().insert(WARNINGS, names);
        }
        return Ok(response);
    }
    let result = TaskResult::read(answer, ok);
    let truncated: Vec<_> = result.truncated().collect();
    let (result, withheld) = sees.result(result);
    let is_seen = |name: &&'static str| !withheld.contains(name);
    Ok(axum::Json(ResultEnvelope {
        id: id.to_string(),
        status,
        truncated: truncated.into_iter().filter(is_seen).collect(),
        withheld,
        result,
        warnings,
    })
    .into_response())
}

fn no_result(status: Status) -> ApiError {
    let message = if status.is_terminal() {
        "The task ended without an answer of its target, or its answer is no longer kept".to_owned()
    } else {
        format!("The task has not ended (current: {status})")
    };
    ApiError::new(StatusCode::NOT_FOUND, ErrorCode::NoResult, message)
}

/// The body as the target sent it. A browser saves it as a file: it must not run as a page of this origin.
fn raw(answer: Answer) -> Response {
    let mut headers = HeaderMap::new();
    let content_type = answer
        .headers
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case("content-type"))
        .and_then(|(_, value)| HeaderValue::from_str(value).ok());
    let unknown = HeaderValue::from_static("application/octet-stream");
    headers.insert(CONTENT_TYPE, content_type.unwrap_or(unknown));
    for (name, value) in [
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (CONTENT_SECURITY_POLICY, "sandbox; default-src 'none'"),
        (CONTENT_DISPOSITION, "attachment"),
        (CACHE_CONTROL, "private, no-store"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert(RESULT_STATUS, answer.status.into());
    let missing: Vec<_> = answer.missing().collect();
    if let Ok(missing) = HeaderValue::from_str(&missing.join(", "))
        && !missing.is_empty()
    {
        headers.insert(RESULT_TRUNCATED, missing);
    }
    let body = match answer.encoding {
        BodyEncoding::Text => answer.body.into_bytes(),
        // A stored body of this kind is always base64. If it ever were not, its text would be a better answer than none.
        BodyEncoding::Base64 => BASE64
            .decode(&answer.body)
            .unwrap_or_else(|_| answer.body.into_bytes()),
    };
    (headers, body).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(encoding: BodyEncoding, body: &str, body_bytes: u64) -> Answer {
        Answer {
            status: 502,
            headers: vec![("Content-Type".into(), "text/html".into())],
            body: body.into(),
            encoding,
            body_bytes,
            duration_ms: 1,
            header_bytes: None,
        }
    }

    #[test]
    fn a_raw_answer_is_a_file_and_says_what_is_missing() {
        let said = raw(answer(BodyEncoding::Text, "<script>", 8));
        let header = |said: &Response, name: &str| {
            let value = said.headers().get(name)?;
            value.to_str().ok().map(str::to_owned)
        };
        assert_eq!(header(&said, "content-type").as_deref(), Some("text/html"));
        assert_eq!(
            header(&said, "content-disposition").as_deref(),
            Some("attachment")
        );
        assert_eq!(
            header(&said, "content-security-policy").as_deref(),
            Some("sandbox; default-src 'none'")
        );
        assert_eq!(
            header(&said, "waybill-result-status").as_deref(),
            Some("502")
        );
        assert_eq!(header(&said, "waybill-result-truncated"), None);
        let cut = Answer {
            header_bytes: Some(20_000),
            ..answer(BodyEncoding::Text, "<script>", 9)
        };
        assert_eq!(
            header(&raw(cut), "waybill-result-truncated").as_deref(),
            Some("headers, body")
        );
    }
}
