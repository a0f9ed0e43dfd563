//! The task as clients of this face see it.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use utoipa::ToSchema;
use waybill_domain::event::{Answer, HeaderValues, TaskCreated, group_repeated};
use waybill_domain::id::Environment;
use waybill_domain::task::row::{Attempt, TaskRow};
use waybill_domain::task::{Backoff, Method, RetryOn, Status};
use waybill_domain::time::Timestamp;
use waybill_domain::vault::Resolve;
use waybill_projector::query::{Detail, TaskDetail, TaskView, WebhookState};

/// A task. Every field is always there, `null` where there is nothing to say.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Task {
    /// Its id.
    #[schema(example = "task_01kc0q2v9x3d8e5h7j9m1n3p5r0d")]
    pub id: String,
    /// Whose it is.
    pub team_id: String,
    /// `live` or `test`: the world of the key that made it.
    #[schema(value_type = String)]
    pub environment: Environment,
    /// `pending`, `delayed`, `processing`, `completed`, `failed`, `timeout` or `cancelled`.
    #[schema(value_type = String)]
    pub status: Status,
    /// Where it queues.
    pub queue: String,
    /// What is called.
    pub target_url: String,
    /// How it is called.
    #[schema(value_type = String)]
    pub method: Method,
    /// Headers as given: references to the vault as references, credentials that were given directly as `****`.
    #[schema(value_type = std::collections::HashMap<String, String>)]
    pub headers: HeaderMap,
    /// The body as given.
    pub body: Option<String>,
    /// Seconds over all attempts.
    #[schema(value_type = f64)]
    pub max_wait_time: Seconds,
    /// Seconds for each attempt.
    #[schema(value_type = f64)]
    pub timeout: Seconds,
    /// Not before.
    #[schema(value_type = Option<String>)]
    pub delay_until: Option<Iso>,
    /// Retries after the first attempt.
    pub max_retries: u16,
    /// Retries made or due.
    pub retry_count: u16,
    /// How the pause grows.
    #[schema(value_type = String)]
    pub retry_backoff: Backoff,
    /// What retries, when the task says so itself.
    #[schema(value_type = Option<Vec<String>>)]
    pub retry_on: Option<RetryOn>,
    /// 1 to 10.
    pub priority: u8,
    /// Whether redirects are followed.
    pub follow_redirects: bool,
    /// POSTed when it has ended.
    pub on_complete_url: Option<String>,
    /// Where references to the vault are replaced, when that is not in the headers alone.
    #[schema(value_type = Option<Vec<String>>, example = json!(["headers", "body"]))]
    pub resolve: Option<Vec<&'static str>>,
    /// What the target said.
    pub result: Option<TaskResult>,
    /// Why it failed, or why the last attempt did.
    pub error: Option<String>,
    /// When it was accepted.
    #[schema(value_type = String)]
    pub created_at: Iso,
    /// When something last happened to it.
    #[schema(value_type = String)]
    pub updated_at: Iso,
    /// When its first attempt began.
    #[schema(value_type = Option<String>)]
    pub started_at: Option<Iso>,
    /// When it ended.
    #[schema(value_type = Option<String>)]
    pub completed_at: Option<Iso>,
    /// The latest attempts, oldest first. In lists and new tasks it is not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempts: Option<Vec<TaskAttempt>>,
    /// Where the completion webhook stands: `pending`, `delivered` or `given_up`. Not there when the task has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook: Option<TaskWebhook>,
    /// Bytes of `body`, also where it had no room. `null`: there is none, or it was not looked at.
    pub body_bytes: Option<u64>,
    /// Fields that are not what they would be, for want of room: left out, or only their beginning. Read the task alone for what a list
    /// leaves out. Not there when nothing is missing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub truncated: Vec<&'static str>,
}

/// Where the completion webhook of a task stands.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TaskWebhook {
    /// `pending`, `delivered` or `given_up`.
    pub status: &'static str,
    /// Deliveries tried so far.
    pub attempts: u32,
    /// HTTP status of the receiver, once it was delivered.
    pub status_code: Option<u16>,
    /// Why the last delivery failed.
    pub error: Option<String>,
    /// When the next one is due.
    #[schema(value_type = Option<String>)]
    pub next_attempt_at: Option<Iso>,
}

impl TaskWebhook {
    fn of(row: &TaskRow) -> Option<Self> {
        let status = WebhookState::of(row)?.as_str();
        let callback = row.callback.as_ref();
        Some(Self {
            status,
            attempts: callback.map_or(0, |callback| callback.attempts),
            status_code: callback.and_then(|callback| callback.delivered),
            error: callback.and_then(|callback| callback.error.clone()),
            next_attempt_at: callback.and_then(|callback| callback.retry_at).map(Iso),
        })
    }
}

/// The value of a header, or its values where it came more than once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(untagged)]
pub enum HeaderValue {
    /// It came once.
    One(String),
    /// It came more than once, in this order.
    Many(Vec<String>),
}

/// The headers of an answer, each name once.
fn by_name(headers: Vec<(String, String)>) -> HeaderMap<HeaderValue> {
    let value = |values| match values {
        HeaderValues::One(value) => HeaderValue::One(value),
        HeaderValues::Many(values) => HeaderValue::Many(values),
    };
    let grouped = group_repeated(headers).into_iter();
    HeaderMap(
        grouped
            .map(|(name, values)| (name, value(values)))
            .collect(),
    )
}

/// The answer that ended a task.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TaskResult {
    /// HTTP status.
    pub status_code: u16,
    /// Headers as received: a text, or a list of texts where one came more than once. `null` in a list where they had no room.
    #[schema(value_type = Option<std::collections::HashMap<String, HeaderValue>>)]
    pub headers: Option<HeaderMap<HeaderValue>>,
    /// The first 64 KiB of the body. `null` in a list where it had no room.
    pub body: Option<String>,
    /// `base64` when the body is no text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body_encoding: Option<&'static str>,
    /// Bytes of the whole body.
    pub body_bytes: u64,
    /// From sending to the end of the answer, in milliseconds.
    pub duration: u32,
    /// Only the beginning of the body is here.
    #[serde(skip)]
    pub is_cut: bool,
}

/// One attempt.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TaskAttempt {
    /// 1, 2, 3...
    pub number: u32,
    /// When it began.
    #[schema(value_type = String)]
    pub started_at: Iso,
    /// Milliseconds; `null` while it runs or when it was lost.
    pub duration: Option<u32>,
    /// HTTP status, when the target answered.
    pub status_code: Option<u16>,
    /// Why it failed.
    pub error: Option<String>,
}

/// `{"task": ...}`
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct TaskEnvelope {
    /// The task.
    pub task: Task,
}

impl Task {
    /// A task that was accepted just now.
    pub fn created(e: TaskCreated) -> Self {
        let body_bytes = e.body.as_ref().map(|body| body.len() as u64);
        let webhook = e.on_complete_url.as_ref().map(|_| TaskWebhook {
            status: WebhookState::Pending.as_str(),
            attempts: 0,
            status_code: None,
            error: None,
            next_attempt_at: None,
        });
        let status = match e.not_before {
            Some(due) if due > e.at => Status::Delayed,
            Some(_) | None => Status::Pending,
        };
        Self {
            id: e.id.to_string(),
            team_id: e.team.base_str().to_owned(),
            environment: e.team.environment(),
            status,
            queue: e.queue.to_string(),
            target_url: e.url,
            method: e.method,
            headers: HeaderMap(e.headers),
            body: e.body,
            max_wait_time: Seconds(e.max_wait_ms),
            timeout: Seconds(e.timeout_ms),
            delay_until: e.not_before.map(Iso),
            max_retries: e.max_retries,
            retry_count: 0,
            retry_backoff: e.backoff,
            retry_on: e.retry_on,
            priority: e.priority.get(),
            follow_redirects: e.follow_redirects,
            on_complete_url: e.on_complete_url,
            resolve: places(e.resolve),
            result: None,
            error: None,
            created_at: Iso(e.at),
            updated_at: Iso(e.at),
            started_at: None,
            completed_at: None,
            attempts: None,
            webhook,
            body_bytes,
            truncated: Vec::new(),
        }
    }

    /// A task as the read model has it.
    pub fn read(view: TaskView, attempts: Attempts) -> Self {
        let TaskView {
            status,
            row,
            detail,
            body_bytes,
        } = view;
        let mut truncated = truncated(&row, &detail, attempts);
        let TaskDetail {
            headers,
            body,
            resolve,
            result: answer,
        } = match detail {
            Detail::Read(detail) => *detail,
            Detail::Omitted | Detail::Dropped => TaskDetail::default(),
        };
        let result = match answer {
            Some(answer) => Some(TaskResult::read(answer)),
            None => TaskResult::summary(&row),
        };
        if let Some(result) = &result {
            truncated.extend(result.truncated());
        }
        Self {
            webhook: TaskWebhook::of(&row),
            body_bytes: body.as_ref().map(|body| body.len() as u64).or(body_bytes),
            truncated,
            id: row.id.to_string(),
            team_id: row.team.base_str().to_owned(),
            environment: row.team.environment(),
            status,
            queue: row.queue.to_string(),
            target_url: row.url,
            method: row.method,
            headers: HeaderMap(headers),
            body,
            max_wait_time: Seconds(row.max_wait_ms),
            timeout: Seconds(row.timeout_ms),
            delay_until: row.not_before.map(Iso),
            max_retries: row.max_retries,
            retry_count: row.retry_count,
            retry_backoff: row.backoff,
            retry_on: row.retry_on,
            priority: row.priority.get(),
            follow_redirects: row.follow_redirects,
            on_complete_url: row.on_complete_url,
            resolve: places(resolve),
            result,
            error: row.error,
            created_at: Iso(row.created_at),
            updated_at: Iso(row.updated_at),
            started_at: row.started_at.map(Iso),
            completed_at: row.completed_at.map(Iso),
            attempts: match attempts {
                Attempts::Shown => Some(row.attempts.into_iter().map(TaskAttempt::from).collect()),
                Attempts::Hidden => None,
            },
        }
    }
}

/// What of the task itself is missing.
fn truncated(row: &TaskRow, detail: &Detail, attempts: Attempts) -> Vec<&'static str> {
    let mut missing = match detail {
        Detail::Read(_) => Vec::new(),
        Detail::Omitted | Detail::Dropped => vec!["headers", "body"],
    };
    // The first ones go when there are too many.
    let first = row.attempts.first().map_or(1, |attempt| attempt.number);
    if attempts == Attempts::Shown && first > 1 {
        missing.push("attempts");
    }
    missing
}

/// Said only where there is more than the headers.
fn places(resolve: Resolve) -> Option<Vec<&'static str>> {
    (!resolve.is_headers_only()).then(|| resolve.names())
}

/// Whether a task is shown with its attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempts {
    /// A task alone.
    Shown,
    /// A task in a list.
    Hidden,
}

impl TaskResult {
    /// What of it is missing, by its name in the task.
    fn truncated(&self) -> impl Iterator<Item = &'static str> + use<> {
        let body = self.body.is_none() && self.body_bytes > 0;
        let headers = self.headers.is_none().then_some("result.headers");
        let body = (body || self.is_cut).then_some("result.body");
        headers.into_iter().chain(body)
    }

    fn read(answer: Answer) -> Self {
        Self {
            status_code: answer.status,
            is_cut: !answer.is_whole(),
            headers: Some(by_name(answer.headers)),
            body: Some(answer.body),
            body_encoding: answer.encoding.name(),
            body_bytes: answer.body_bytes,
            duration: answer.duration_ms,
        }
    }

    fn summary(row: &TaskRow) -> Option<Self> {
        // While the task is open the last answer is that of an attempt, not its result.
        let answer = row.answer.as_ref().filter(|_| row.status.is_terminal())?;
        Some(Self {
            status_code: answer.status,
            headers: None,
            body: None,
            body_encoding: None,
            body_bytes: answer.body_bytes,
            duration: answer.duration_ms,
            is_cut: false,
        })
    }
}

impl From<Attempt> for TaskAttempt {
    fn from(attempt: Attempt) -> Self {
        Self {
            number: attempt.number,
            started_at: Iso(attempt.started_at),
            duration: attempt.duration_ms,
            status_code: attempt.status,
            error: attempt.error,
        }
    }
}

/// Pairs, written as an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderMap<V = String>(pub Vec<(String, V)>);

impl<V: Serialize> Serialize for HeaderMap<V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

/// Milliseconds, written as seconds: a whole number where they are whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seconds(pub u32);

impl Serialize for Seconds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.is_multiple_of(1000) {
            serializer.serialize_u32(self.0 / 1000)
        } else {
            serializer.serialize_f64(f64::from(self.0) / 1000.0)
        }
    }
}

/// An instant, written as ISO 8601 in UTC with milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Iso(pub Timestamp);

impl Serialize for Iso {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_whole_where_they_can_be() {
        let text = |ms| serde_json::to_string(&Seconds(ms)).expect("a number");
        assert_eq!((text(30_000), text(1_500)), ("30".into(), "1.5".into()));
    }

    #[test]
    fn headers_that_came_more_than_once_are_lists() {
        let pairs = [("Set-Cookie", "a"), ("x", "1"), ("set-cookie", "b")];
        let headers = pairs.map(|(n, v)| (n.to_owned(), v.to_owned())).to_vec();
        let text = serde_json::to_string(&by_name(headers)).expect("an object");
        assert_eq!(text, r#"{"Set-Cookie":["a","b"],"x":"1"}"#);
    }
}
