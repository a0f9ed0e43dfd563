//! The completion webhook: what `onCompleteUrl` receives when a task has ended.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, Method};
use serde::Serialize;
use url::Url;
use waybill_domain::event::{
    Answer, Failure, FailureKind, HeaderValues, TaskCreated, TaskEvent, group_repeated,
};
use waybill_domain::task::Status;
use waybill_domain::time::Timestamp;
use waybill_domain::trace::child_of;

use crate::attempt::{Signer, set};
use crate::callout::Request;

/// How long a receiver may take (the contract).
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
    result: Option<AnswerJson>,
    error: Option<String>,
    retry_count: u32,
    created_at: String,
    completed_at: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AnswerJson {
    status_code: u16,
    headers: BTreeMap<String, HeaderValues>,
    body: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    body_encoding: Option<&'static str>,
    body_bytes: u64,
    duration: u32,
    /// `["body"]` when only its beginning is here.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    truncated: Vec<&'static str>,
}

impl From<Answer> for AnswerJson {
    fn from(answer: Answer) -> Self {
        let truncated = if answer.is_whole() {
            Vec::new()
        } else {
            vec!["body"]
        };
        Self {
            status_code: answer.status,
            headers: group_repeated(answer.headers).into_iter().collect(),
            truncated,
            body: answer.body,
            body_encoding: answer.encoding.name(),
            body_bytes: answer.body_bytes,
            duration: answer.duration_ms,
        }
    }
}

/// Which step of the task's trace a delivery is. Counted from the end, so that it is none of an attempt.
pub(crate) fn step(number: u32) -> u32 {
    u32::MAX - number
}

/// The request of one delivery. Receivers recognise a repeated one by its `webhook-id`.
pub fn request(
    task: &TaskCreated,
    ended: TaskEvent,
    retries: u32,
    number: u32,
    traceparent: Option<&str>,
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
    let (event, status, result, error) = match ended {
        TaskEvent::Succeeded(e) => {
            let error = e.answer.unfollowed_redirect();
            ("task.completed", Status::Completed, Some(e.answer), error)
        }
        TaskEvent::Dead(e) => (
            "task.failed",
            Status::Failed,
            e.answer,
            Some(e.failure.message),
        ),
        TaskEvent::Expired(e) => (
            "task.timeout",
            Status::Timeout,
            None,
            Some(e.failure.message),
        ),
        TaskEvent::Cancelled(_) => ("task.cancelled", Status::Cancelled, None, None),
        _ => return Err(invalid("the task has not ended")),
    };
    let message = Message {
        event,
        task: Ended {
            id: task.id.to_string(),
            status,
            result: result.map(Into::into),
            error,
            retry_count: retries,
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
    set(
        &mut headers,
        HeaderName::from_static("traceparent"),
        &child_of(traceparent, task.id, step(number)),
    );
    signer.sign(&mut headers, &task.team, &format!("{id}-ended"), &body, now);
    Ok(Request {
        method: Method::POST,
        url,
        headers,
        body: Bytes::from(body),
        first_byte: LIMIT,
        total: LIMIT,
        follow_redirects: false,
        carried: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use waybill_domain::event::BodyEncoding;

    #[test]
    fn a_result_says_as_much_as_the_api_does() {
        let answer = Answer {
            status: 200,
            headers: vec![
                ("set-cookie".into(), "a=1".into()),
                ("Set-Cookie".into(), "b=2".into()),
            ],
            body: "/w==".into(),
            encoding: BodyEncoding::Base64,
            body_bytes: 1,
            duration_ms: 7,
        };
        let json = serde_json::to_value(AnswerJson::from(answer)).expect("plain data");
        assert_eq!(
            json,
            serde_json::json!({
                "statusCode": 200,
                "headers": {"set-cookie": ["a=1", "b=2"]},
                "body": "/w==",
                "bodyEncoding": "base64",
                "bodyBytes": 1,
                "duration": 7,
            })
        );
    }
}
