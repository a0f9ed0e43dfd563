//! The completion webhook: the request to `onCompleteUrl` when a task has ended.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, Method};
use serde::Serialize;
use url::Url;
use waybill_domain::event::{
    Answer, Failure, FailureKind, HeaderValues, TaskCreated, TaskEnd, group_repeated,
};
use waybill_domain::task::{EndReason, Status};
use waybill_domain::time::Timestamp;
use waybill_domain::trace::TraceParent;

use crate::attempt::{Signer, TRACEPARENT, set};
use crate::callout::Request;
use crate::callout::answer::KEPT_BODY_BYTES;

/// Time limit of a delivery, from the contract.
const LIMIT: Duration = Duration::from_secs(10);

#[derive(Serialize)]
struct Message {
    event: &'static str,
    task: Ended,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Ended {
    id: String,
    status: Status,
    /// Whether the end counts as a success.
    ok: bool,
    end_reason: EndReason,
    result: Option<AnswerJson>,
    error: Option<String>,
    retry_count: u32,
    tags: Vec<String>,
    metadata: BTreeMap<String, String>,
    created_at: String,
    completed_at: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AnswerJson {
    status_code: u16,
    ok: bool,
    headers: BTreeMap<String, HeaderValues>,
    #[serde(skip_serializing_if = "Option::is_none")]
    header_bytes: Option<u32>,
    body: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    body_encoding: Option<&'static str>,
    body_bytes: u64,
    duration: u32,
    /// What is truncated (`headers`, `body`), or was not fully counted (`bodyBytes`).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    truncated: Vec<&'static str>,
}

impl AnswerJson {
    fn new(answer: Answer, ok: bool) -> Self {
        let truncated = answer.missing().collect();
        Self {
            status_code: answer.status,
            ok,
            header_bytes: answer.header_bytes,
            headers: group_repeated(answer.headers).into_iter().collect(),
            truncated,
            body: answer.body,
            body_encoding: answer.encoding.name(),
            body_bytes: answer.body_bytes,
            duration: answer.duration_ms,
        }
    }
}

/// Number of a delivery in the task's trace. Counted down from the maximum, so that it never equals
/// the number of an attempt.
pub(crate) fn step(number: u32) -> u32 {
    u32::MAX - number
}

/// Builds the request of one delivery. Receivers recognise a repeated one by its `webhook-id`.
pub fn request(
    task: &TaskCreated,
    ended: TaskEnd,
    retries: u32,
    number: u32,
    trace: &TraceParent,
    signer: &Signer,
    now: Timestamp,
) -> Result<Request, Failure> {
    let invalid = |message: &str| Failure {
        kind: FailureKind::InvalidRequest,
        message: message.into(),
    };
    let url = task
        .on_complete_url
        .as_deref()
        .and_then(|url| Url::parse(url).ok());
    let url = url.ok_or_else(|| invalid("onCompleteUrl is not a valid URL"))?;
    let completed_at = ended.at().to_rfc3339();
    let (status, ok, end_reason) = (ended.status(), ended.is_ok(), ended.reason());
    let event = match status {
        Status::Completed => "task.completed",
        Status::Timeout => "task.timeout",
        Status::Cancelled => "task.cancelled",
        Status::Failed | Status::Pending | Status::Delayed | Status::Processing => "task.failed",
    };
    let (result, error) = match ended {
        TaskEnd::Succeeded(end) => {
            let error = end.answer.unfollowed_redirect();
            (Some(end.answer), error)
        }
        TaskEnd::Dead(end) => (end.answer, Some(end.failure.message)),
        TaskEnd::Expired(end) => (None, Some(end.failure.message)),
        TaskEnd::Cancelled(end) => (None, end.sentence()),
    };
    let message = Message {
        event,
        task: Ended {
            id: task.id.to_string(),
            status,
            ok,
            end_reason,
            result: result.map(|answer| AnswerJson::new(answer, ok)),
            error,
            retry_count: retries,
            tags: task.tags.clone(),
            metadata: task.metadata.clone(),
            created_at: task.at.to_rfc3339(),
            completed_at,
        },
    };
    let body =
        serde_json::to_vec(&message).map_err(|_| invalid("the message cannot be written"))?;
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let id = task.id.to_string();
    set(
        &mut headers,
        HeaderName::from_static("waybill-task-id"),
        &id,
    );
    set(
        &mut headers,
        HeaderName::from_static("waybill-attempt"),
        &number.to_string(),
    );
    set(&mut headers, TRACEPARENT, trace.as_str());
    signer.sign(&mut headers, &task.team, &format!("{id}-ended"), &body, now);
    Ok(Request {
        method: Method::POST,
        url,
        query: None,
        headers,
        body: Bytes::from(body),
        first_byte: LIMIT,
        total: LIMIT,
        follow_redirects: false,
        // Only the status of a receiver's answer matters.
        kept_body: KEPT_BODY_BYTES,
        carried: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use waybill_domain::event::BodyEncoding;

    fn an_answer() -> Answer {
        Answer {
            status: 200,
            headers: vec![
                ("set-cookie".into(), "a=1".into()),
                ("Set-Cookie".into(), "b=2".into()),
            ],
            body: "/w==".into(),
            encoding: BodyEncoding::Base64,
            body_bytes: 1,
            duration_ms: 7,
            header_bytes: None,
        }
    }

    fn told(answer: Answer) -> serde_json::Value {
        serde_json::to_value(AnswerJson::new(answer, true)).expect("plain data")
    }

    #[test]
    fn a_result_says_as_much_as_the_api_does() {
        assert_eq!(
            told(an_answer()),
            serde_json::json!({
                "statusCode": 200,
                "ok": true,
                "headers": {"set-cookie": ["a=1", "b=2"]},
                "body": "/w==",
                "bodyEncoding": "base64",
                "bodyBytes": 1,
                "duration": 7,
            })
        );
    }

    #[test]
    fn what_was_cut_is_said() {
        let cut = told(Answer {
            body_bytes: 2,
            header_bytes: Some(20_000),
            ..an_answer()
        });
        assert_eq!(
            cut["truncated"],
            serde_json::json!(["headers", "body"]),
            "{cut}"
        );
        assert_eq!(
            (&cut["headerBytes"], &cut["bodyBytes"]),
            (&20_000.into(), &2.into())
        );
        let endless = told(Answer {
            body_bytes: Answer::COUNTED_BODY_BYTES + 1,
            ..an_answer()
        });
        assert_eq!(
            endless["truncated"],
            serde_json::json!(["body", "bodyBytes"]),
            "{endless}"
        );
    }
}
