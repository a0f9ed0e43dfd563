//! What the target of a task receives: the task's own request, and who calls it, for which task, signed.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue, USER_AGENT};
use http::{HeaderMap, Method};
use url::Url;
use waybill_domain::event::{Failure, FailureKind, TaskCreated};
use waybill_domain::id::TeamId;
use waybill_domain::signature::{
    ASYNCQUEUE_SIGNATURE, MasterSecret, WEBHOOK_ID, WEBHOOK_SIGNATURE, WEBHOOK_TIMESTAMP,
    WebhookSecret, asyncqueue_header, derive_team_secret, standard_header,
};
use waybill_domain::time::Timestamp;
use waybill_domain::trace::child_of;
use waybill_log::Log;

use crate::callout::{Request, task_headers};
use crate::rotations::Rotations;
use crate::vault::Prepared;

const TASK_ID: HeaderName = HeaderName::from_static("waybill-task-id");
const ATTEMPT: HeaderName = HeaderName::from_static("waybill-attempt");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const AGENT: HeaderValue = HeaderValue::from_static(concat!("Waybill/", env!("CARGO_PKG_VERSION")));
const IDENTITY: HeaderValue = HeaderValue::from_static("identity");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Teams whose signing secret is kept at hand.
const MAX_SECRETS: usize = 10_000;

/// Signs in the name of teams. Their secrets are derived from the server's master secret, never stored.
pub struct Signer {
    master: MasterSecret,
    rotations: Rotations,
    /// By team and number. Never held across an await.
    secrets: Mutex<HashMap<(TeamId, u32), WebhookSecret>>,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer").finish_non_exhaustive()
    }
}

impl Signer {
    /// Signs with secrets derived from `master`.
    #[must_use]
    pub fn new(master: MasterSecret) -> Self {
        Self {
            master,
            rotations: Rotations::none(),
            secrets: Mutex::default(),
        }
    }

    /// The same for a deployment in which secrets are rotated: signs only once a worker follows CONTROL.
    #[must_use]
    pub fn following(self) -> Self {
        Self {
            rotations: Rotations::to_be_followed(),
            ..self
        }
    }

    /// Follows the rotations of secrets for ever, where there can be any.
    pub(crate) async fn follow(&self, log: &dyn Log) {
        self.rotations.follow(log).await;
    }

    /// Waits until it is known which secrets sign.
    pub async fn ready(&self) {
        self.rotations.known().await;
    }

    /// The secrets that sign for a team now.
    fn secrets(&self, team: &TeamId, now: Timestamp) -> Vec<WebhookSecret> {
        let mut known = self.secrets.lock().unwrap_or_else(PoisonError::into_inner);
        let numbers = self.rotations.of(team).numbers(now);
        numbers
            .map(|number| {
                if known.len() >= MAX_SECRETS && !known.contains_key(&(team.clone(), number)) {
                    known.clear();
                }
                known
                    .entry((team.clone(), number))
                    .or_insert_with(|| derive_team_secret(&self.master, team, number))
                    .clone()
            })
            .collect()
    }

    /// Adds the signature headers of the contract and of Standard Webhooks.
    pub fn sign(
        &self,
        headers: &mut HeaderMap,
        team: &TeamId,
        message_id: &str,
        body: &[u8],
        now: Timestamp,
    ) {
        let time = now.as_secs();
        let secrets = self.secrets(team, now);
        let values = [
            (
                ASYNCQUEUE_SIGNATURE,
                asyncqueue_header(&secrets, time, body),
            ),
            (WEBHOOK_ID, message_id.to_owned()),
            (WEBHOOK_TIMESTAMP, time.to_string()),
            (
                WEBHOOK_SIGNATURE,
                standard_header(&secrets, message_id, time, body),
            ),
        ];
        for (name, value) in values {
            set(headers, HeaderName::from_static(name), &value);
        }
    }
}

/// The request of one attempt. It is signed as it is sent, with whatever `prepared` has put into it.
pub fn request(
    task: &TaskCreated,
    prepared: Prepared<'_>,
    attempt: u32,
    limit: Duration,
    traceparent: Option<&str>,
    signer: &Signer,
    now: Timestamp,
) -> Result<Request, Failure> {
    let mut url = Url::parse(&task.url)
        .map_err(|error| invalid(format!("targetUrl is not a valid URL: {error}")))?;
    if let Some(query) = &prepared.query {
        url.set_query(Some(query));
    }
    let mut headers =
        task_headers(&prepared.headers).map_err(|refused| invalid(refused.to_string()))?;
    let body = if task.method.has_body() {
        prepared.body
    } else {
        Bytes::new()
    };
    if prepared.carried.is_some() {
        // What comes back must be legible, or nothing can be taken out of it.
        headers.insert(ACCEPT_ENCODING, IDENTITY);
    }
    if !headers.contains_key(CONTENT_TYPE) && is_json(&body) {
        headers.insert(CONTENT_TYPE, JSON);
    }
    let id = task.id.to_string();
    set(&mut headers, TASK_ID, &id);
    set(&mut headers, ATTEMPT, &attempt.to_string());
    if !headers.contains_key(IDEMPOTENCY_KEY) {
        set(&mut headers, IDEMPOTENCY_KEY, &id);
    }
    if !headers.contains_key(USER_AGENT) {
        headers.insert(USER_AGENT, AGENT);
    }
    set(
        &mut headers,
        TRACEPARENT,
        &child_of(traceparent, task.id, attempt),
    );
    signer.sign(&mut headers, &task.team, &id, &body, now);
    Ok(Request {
        method: Method::from_bytes(task.method.as_str().as_bytes())
            .map_err(|_| invalid("the method is none".into()))?,
        url,
        headers,
        body,
        first_byte: limit,
        total: limit,
        follow_redirects: task.follow_redirects,
        carried: prepared.carried,
    })
}

/// Sets a header to a text of ours. One that is no header value would be a mistake here, and is left out.
pub(crate) fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// Whether a body is a JSON object or array, to its last byte: a log line that begins with `[ERROR]` is none.
fn is_json(body: &[u8]) -> bool {
    matches!(body.trim_ascii_start().first(), Some(b'{' | b'['))
        && serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok()
}

fn invalid(message: String) -> Failure {
    Failure {
        kind: FailureKind::InvalidRequest,
        message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_json_is_called_json() {
        for json in ["{}", " [1, 2]\n", r#"{"a": {"b": null}}"#] {
            assert!(is_json(json.as_bytes()), "{json}");
        }
        for other in [
            "[ERROR] x",
            "{{mustache}}",
            "[1, 2] and more",
            "",
            "1",
            "{",
            "text",
        ] {
            assert!(!is_json(other.as_bytes()), "{other}");
        }
    }
}
