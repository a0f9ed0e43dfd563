//! The request of an attempt: the task's own request, with the headers that identify and sign it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue, USER_AGENT};
use http::{HeaderMap, Method};
use parking_lot::Mutex;
use url::Url;
use waybill_domain::event::{Failure, FailureKind, TaskCreated};
use waybill_domain::id::TeamId;
use waybill_domain::signature::{
    ASYNCQUEUE_SIGNATURE, MasterSecret, WEBHOOK_ID, WEBHOOK_SIGNATURE, WEBHOOK_TIMESTAMP,
    WebhookSecret, asyncqueue_header, derive_team_secret, standard_header,
};
use waybill_domain::time::Timestamp;
use waybill_domain::trace::TraceParent;
use waybill_log::Log;

use crate::callout::{Request, task_headers};
use crate::rotations::Rotations;
use crate::vault::Prepared;

const TASK_ID: HeaderName = HeaderName::from_static("waybill-task-id");
const ATTEMPT: HeaderName = HeaderName::from_static("waybill-attempt");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
pub(crate) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const AGENT: HeaderValue = HeaderValue::from_static(concat!("Waybill/", env!("CARGO_PKG_VERSION")));
const IDENTITY: HeaderValue = HeaderValue::from_static("identity");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Limit of cached signing secrets.
const MAX_SECRETS: usize = 10_000;

/// Signs on behalf of teams. Their secrets are derived from the server's master secret, and never
/// stored.
pub struct Signer {
    master: MasterSecret,
    rotations: Rotations,
    /// Cached secrets by team and number. Never held across an await.
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

    /// Like [`Self::new`], for a deployment in which secrets are rotated: signing waits until the
    /// rotations in CONTROL are known.
    #[must_use]
    pub fn following(self) -> Self {
        Self {
            rotations: Rotations::to_be_followed(),
            ..self
        }
    }

    /// Follows the rotations of secrets in CONTROL for ever, if this signer uses them.
    pub(crate) async fn follow(&self, log: &Arc<dyn Log>) {
        self.rotations.follow(log).await;
    }

    /// Waits until the current secrets are known.
    pub async fn ready(&self) {
        self.rotations.known().await;
    }

    /// The secrets that currently sign for a team.
    fn secrets(&self, team: &TeamId, now: Timestamp) -> Vec<WebhookSecret> {
        let mut known = self.secrets.lock();
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

/// Builds the request of one attempt. It is signed as it is sent, including what `prepared` has
/// inserted.
pub fn request(
    task: &TaskCreated,
    prepared: Prepared<'_>,
    attempt: u32,
    limit: Duration,
    trace: &TraceParent,
    signer: &Signer,
    now: Timestamp,
) -> Result<Request, Failure> {
    let mut url = Url::parse(&task.url)
        .map_err(|error| invalid(format!("targetUrl is not a valid URL: {error}")))?;
    let query = match &prepared.query {
        Some(query) => {
            url.set_query(Some(query));
            None
        }
        None => query_as_given(&task.url, &url),
    };
    let mut headers =
        task_headers(&prepared.headers).map_err(|refused| invalid(refused.to_string()))?;
    let body = if task.method.has_body() {
        prepared.body
    } else {
        Bytes::new()
    };
    if prepared.carried.is_some() {
        // A compressed answer could not be searched for the credential.
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
    set(&mut headers, TRACEPARENT, trace.as_str());
    signer.sign(&mut headers, &task.team, &id, &body, now);
    Ok(Request {
        method: Method::from_bytes(task.method.as_str().as_bytes())
            .map_err(|_| invalid("unsupported HTTP method".into()))?,
        url,
        query,
        headers,
        body,
        first_byte: limit,
        total: limit,
        follow_redirects: task.follow_redirects,
        kept_body: task.answer_bytes(),
        carried: prepared.carried,
    })
}

/// The query of a URL as the client wrote it, if the parsed one differs from it in nothing but
/// apostrophes.
fn query_as_given(given: &str, parsed: &Url) -> Option<String> {
    let (_, query) = given.split_once('?')?;
    let query = query.split_once('#').map_or(query, |(query, _)| query);
    let differs_by_apostrophes = parsed.query()? == query.replace('\'', "%27");
    (query.contains('\'') && differs_by_apostrophes).then(|| query.to_owned())
}

/// Sets one of our own headers. An invalid value would be a bug here, and is left out.
pub(crate) fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// Whether a body is a complete JSON object or array: a log line that begins with `[ERROR]` is not
/// JSON.
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
    fn apostrophes_of_a_query_stay_as_they_were_given() {
        let given = |url: &str| query_as_given(url, &Url::parse(url).expect("a URL"));
        assert_eq!(
            given("https://a.example/p?name='O%27Hara'#x").as_deref(),
            Some("name='O%27Hara'")
        );
        assert_eq!(given("https://a.example/p?name=1"), None);
        assert_eq!(given("https://a.example/p'q"), None);
        assert_eq!(
            given("https://a.example/?a='ü"),
            None,
            "more than apostrophes"
        );
    }

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
