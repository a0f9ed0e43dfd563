//! The task as clients of this API see it.

mod attempt;
mod claim;
mod envelope;
mod header_map;

use std::collections::BTreeMap;

use crate::backoff::ShownBackoff;
use crate::jitter::ShownJitter;
use crate::lengths::Seconds;
use crate::once::{TaskDebounce, TaskDedup, TaskSingleton, instead};
use crate::request::limits::ShownLimit;
use crate::waiting::BlockedBy;
use serde::Serialize;
use utoipa::ToSchema;
use waybill_domain::event::BodyEncoding;
use waybill_domain::event::{Answer, HeaderValues, TaskCreated, group_repeated};
use waybill_domain::id::Environment;
use waybill_domain::task::retry_plan::RetryTerms;
use waybill_domain::task::row::TaskRow;
use waybill_domain::task::{EndReason, Method, OnFailure, OnRateLimited, RetryOn, Status, Success};
use waybill_domain::vault::Resolve;
use waybill_edge::iso::Iso;
use waybill_projector::query::{Detail, TaskDetail, TaskView, WebhookState};

pub use attempt::TaskAttempt;
pub use claim::TaskClaim;
pub use envelope::TaskEnvelope;
pub use header_map::HeaderMap;

/// A task. A field without a value is `null`; the few that can be absent say so.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Task {
    /// Id of the task.
    #[schema(example = "task_01kc0q2v9x3d8e5h7j9m1n3p5r0d")]
    pub id: String,
    /// Id of the team.
    pub team_id: String,
    /// `live` or `test`: the environment of the credential that created it.
    pub environment: Environment,
    /// `pending`, `delayed`, `processing`, `completed`, `failed`, `timeout` or `cancelled`.
    pub status: Status,
    /// Name of its queue.
    pub queue: String,
    /// The URL that is called; `null` where a worker of the team claims the task.
    #[schema(format = "uri")]
    pub target_url: Option<String>,
    /// HTTP method of the call.
    pub method: Option<Method>,
    /// Headers as given: references to the vault as references, credentials that were given directly as `****`.
    #[schema(value_type = std::collections::HashMap<String, String>)]
    pub headers: HeaderMap,
    /// The body as given.
    pub body: Option<String>,
    /// `base64` when the body is not text.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<BodyEncoding>)]
    pub body_encoding: Option<&'static str>,
    /// The longest that one exchange with the target may take, in seconds.
    #[schema(value_type = f64)]
    pub max_wait_time: Seconds,
    /// Seconds for each attempt.
    #[schema(value_type = f64)]
    pub timeout: Seconds,
    /// Not started before this time.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub delay_until: Option<Iso>,
    /// Nothing happens to it after this time.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub deadline: Option<Iso>,
    /// Seconds from its creation after which nothing happens to it.
    #[schema(value_type = Option<f64>)]
    pub expires_in: Option<Seconds>,
    /// Which answers are a success, when the task, its team or its queue says so.
    #[schema(value_type = Option<String>)]
    pub success: Option<Success>,
    /// Words to find it by.
    pub tags: Vec<String>,
    /// Texts that the client attached.
    pub metadata: BTreeMap<String, String>,
    /// Retries after the first attempt.
    pub max_retries: u16,
    /// Retries made or due.
    pub retry_count: u16,
    /// How the pause between retries grows.
    pub retry_backoff: ShownBackoff,
    /// The shortest pause between attempts in seconds, when the task sets it.
    #[schema(value_type = Option<f64>)]
    pub min_delay: Option<Seconds>,
    /// The longest pause between attempts in seconds, when the task sets it.
    #[schema(value_type = Option<f64>)]
    pub max_delay: Option<Seconds>,
    /// The most that is added to each pause.
    pub jitter: ShownJitter,
    /// Seconds from its creation after which no retry begins.
    #[schema(value_type = Option<f64>)]
    pub max_age: Option<Seconds>,
    /// What is retried, when the task, its team or its queue says so.
    #[schema(value_type = Option<Vec<String>>)]
    pub retry_on: Option<RetryOn>,
    /// 1 to 10.
    pub priority: u8,
    /// Whose turn it takes within its queue, when it has such a key.
    pub fairness_key: Option<String>,
    /// How many tasks of that key start in a turn of it, when the task says so.
    pub fairness_weight: Option<u8>,
    /// It starts when those with the same key that were created before it have ended.
    pub ordering_key: Option<String>,
    /// What follows for those behind it should it fail, when it has an `orderingKey`.
    pub on_failure: Option<OnFailure>,
    /// How it waits for others with the same key, when it does.
    pub debounce: Option<TaskDebounce>,
    /// How it runs alone among others with the same key, when it does.
    pub singleton: Option<TaskSingleton>,
    /// How it is told from its duplicates, when it is.
    pub dedup: Option<TaskDedup>,
    /// The limits that it shares with other tasks.
    pub limits: Vec<ShownLimit>,
    /// What follows, beside a retry, from an answer 429 with `Retry-After`.
    pub on_rate_limited: Option<OnRateLimited>,
    /// Whether redirects are followed.
    pub follow_redirects: bool,
    /// The URL that gets the completion webhook.
    #[schema(format = "uri")]
    pub on_complete_url: Option<String>,
    /// Where references to the vault are replaced, when that is not in the headers alone.
    #[schema(value_type = Option<Vec<String>>, example = json!(["headers", "body"]))]
    pub resolve: Option<Vec<&'static str>>,
    /// Whether it ended with a success: a 2xx, or what `success` names. `null` while it has not ended.
    pub ok: Option<bool>,
    /// Why it ended: `completed`, `dead` (no attempt was left, or the failure was final), `timeout` (the last attempt ran into its limit),
    /// `expired`, `cancelled`, `superseded` (another one runs instead) `skipped` (another one had not ended) or `duplicate`. `null` while it has not ended.
    pub end_reason: Option<EndReason>,
    /// The answer of the target.
    pub result: Option<TaskResult>,
    /// Whether its cancellation was requested during an attempt. The call is cut off; should the target have answered before that, the
    /// task may still end in another way.
    pub cancel_requested: bool,
    /// Why it failed, or why the last attempt did.
    pub error: Option<String>,
    /// Id of the ended task that it does again.
    pub replay_of: Option<String>,
    /// Id of the last task that does it again.
    pub replayed_as: Option<String>,
    /// Id of the task that runs instead, when it was superseded.
    pub superseded_by: Option<String>,
    /// Id of the task of its singleton that had not ended, when it was skipped.
    pub skipped_for: Option<String>,
    /// Id of the task that it duplicates.
    pub duplicate_of: Option<String>,
    /// The run of a schedule that it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schedule: Option<crate::run_of::TaskRun>,
    /// The workflow that it is of, and its name in it. Absent if it is of none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workflow: Option<crate::run_of::TaskWorkflow>,
    /// When it was accepted.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Iso,
    /// When something last happened to it.
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Iso,
    /// When its first attempt began.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub started_at: Option<Iso>,
    /// When it ended.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub completed_at: Option<Iso>,
    /// When it was removed from the dead letters. Absent unless it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, format = DateTime)]
    pub purged_at: Option<Iso>,
    /// What keeps it from running, while it is `pending` or `delayed`; `null` if it starts right now, or if its worker did not tell in time, as a
    /// warning then says. Absent on new tasks.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<BlockedBy>)]
    pub blocked_by: Option<Option<BlockedBy>>,
    /// The worker that has claimed it, and how far that has come. Absent while nobody holds it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claim: Option<TaskClaim>,
    /// The latest attempts, oldest first. Absent in lists and on new tasks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempts: Option<Vec<TaskAttempt>>,
    /// Where the completion webhook stands: `pending`, `delivered` or `given_up`. Absent when the task has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook: Option<TaskWebhook>,
    /// Bytes of `body`, also where it had no room. `null`: there is no body, or its length was not read.
    pub body_bytes: Option<u64>,
    /// Fields left out or shortened for want of room; read the task by itself for what a list leaves out. Absent when nothing is missing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub truncated: Vec<&'static str>,
    /// Fields that are not shown to the caller's role: a viewer sees bodies and headers only if an owner of the team says so. Absent when nothing is withheld.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub withheld: Vec<&'static str>,
    /// From what `?explain=retries` computes the attempts.
    #[serde(skip)]
    pub retry_terms: RetryTerms,
}

/// Where the completion webhook of a task stands.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TaskWebhook {
    /// `pending`, `delivered` or `given_up`.
    #[schema(value_type = WebhookState)]
    pub status: &'static str,
    /// Deliveries tried so far.
    pub attempts: u32,
    /// HTTP status of the receiver, once it was delivered.
    pub status_code: Option<u16>,
    /// Why the last delivery failed.
    pub error: Option<String>,
    /// When the next one is due.
    #[schema(value_type = Option<String>, format = DateTime)]
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

/// The headers of an answer, each name once.
fn by_name(headers: Vec<(String, String)>) -> HeaderMap<HeaderValues> {
    HeaderMap(group_repeated(headers))
}

/// The answer that ended a task.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TaskResult {
    /// HTTP status that the target answered with; 200 of what a worker has completed.
    pub status_code: u16,
    /// Whether it is a success: a 2xx, or what the task's `success` names.
    pub ok: bool,
    /// Headers as received: a text, or a list of texts where one came more than once. `null` in a list where they had no room.
    #[schema(value_type = Option<std::collections::HashMap<String, HeaderValues>>)]
    pub headers: Option<HeaderMap<HeaderValues>>,
    /// Bytes of all headers, where the target sent more than was kept (16 KiB).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header_bytes: Option<u32>,
    /// The body; of a large one the beginning, 64 KiB to 1 MiB by the plan (`maxAnswerBytes`). `null` in a list where it had no room, as
    /// is one of more than 64 KiB.
    pub body: Option<String>,
    /// `base64` when the body is not text.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<BodyEncoding>)]
    pub body_encoding: Option<&'static str>,
    /// Bytes of the whole body. Counting stops at about 1 MiB: `truncated` then names `result.bodyBytes`.
    pub body_bytes: u64,
    /// From sending to the end of the answer, in milliseconds.
    pub duration: u32,
    /// Only the beginning of the body is here.
    #[serde(skip)]
    pub is_cut: bool,
}

impl Task {
    /// The same with what keeps it from running.
    pub(crate) fn blocked_by(self, blocked_by: Option<Option<BlockedBy>>) -> Self {
        Self { blocked_by, ..self }
    }

    /// A task that was accepted just now.
    pub fn created(e: TaskCreated) -> Self {
        let retry_terms = RetryTerms::from(&e);
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
            method: (!e.is_pulled()).then_some(e.method),
            target_url: Some(e.url).filter(|url| !url.is_empty()),
            headers: HeaderMap(e.headers),
            body: e.body,
            body_encoding: e.body_encoding.name(),
            deadline: e.deadline.map(Iso),
            expires_in: e.expires_in_ms.map(Seconds),
            success: e.success,
            tags: e.tags,
            metadata: e.metadata,
            ok: None,
            end_reason: None,
            max_wait_time: Seconds(e.max_wait_ms.into()),
            timeout: Seconds(e.timeout_ms.into()),
            delay_until: e.not_before.map(Iso),
            max_retries: e.max_retries,
            retry_count: 0,
            retry_backoff: ShownBackoff::of(e.backoff, &e.retry_pauses),
            min_delay: millis(e.retry_bounds.min_ms),
            max_delay: millis(e.retry_bounds.max_ms),
            jitter: e.retry_bounds.jitter.into(),
            max_age: e.retry_bounds.max_age_ms.map(Seconds),
            retry_on: e.retry_on,
            priority: e.priority.get(),
            fairness_key: e.fairness_key,
            fairness_weight: e.fairness_weight,
            on_failure: e.ordering.as_ref().map(|ordering| ordering.on_failure),
            ordering_key: e.ordering.map(|ordering| ordering.key),
            debounce: TaskDebounce::of(e.once.as_deref()),
            singleton: TaskSingleton::of(e.once.as_deref()),
            dedup: TaskDedup::of(e.once.as_deref()),
            limits: e.limits.into_iter().map(ShownLimit::from).collect(),
            on_rate_limited: e.on_rate_limited,
            follow_redirects: e.follow_redirects,
            on_complete_url: e.on_complete_url,
            resolve: places(e.resolve),
            result: None,
            cancel_requested: false,
            error: None,
            replay_of: e.replay_of.map(|id| id.to_string()),
            replayed_as: None,
            superseded_by: None,
            skipped_for: None,
            duplicate_of: None,
            schedule: e.schedule.as_deref().map(Into::into),
            workflow: e.member.as_deref().map(Into::into),
            created_at: Iso(e.at),
            updated_at: Iso(e.at),
            started_at: None,
            completed_at: None,
            purged_at: None,
            blocked_by: None,
            claim: None,
            attempts: None,
            webhook,
            body_bytes,
            truncated: Vec::new(),
            withheld: Vec::new(),
            retry_terms,
        }
    }

    /// A task as the read model has it.
    pub fn read(view: TaskView, attempts: Attempts) -> Self {
        let TaskView {
            status,
            row,
            detail,
            body_bytes,
            replayed_as,
        } = view;
        let mut truncated = truncated(&row, &detail, attempts);
        let TaskDetail {
            headers,
            body,
            body_encoding,
            resolve,
            result: answer,
            // The jobs API tells of them.
            job_tags: _,
        } = match detail {
            Detail::Read(detail) => *detail,
            Detail::Omitted | Detail::Dropped => TaskDetail::default(),
        };
        let result = match answer {
            Some(answer) => Some(TaskResult::read(answer, row.ok.unwrap_or_default())),
            None => TaskResult::summary(&row),
        };
        if let Some(result) = &result {
            truncated.extend(result.truncated());
        }
        Self {
            webhook: TaskWebhook::of(&row),
            body_bytes: body
                .as_ref()
                .map(|body| body.len() as u64)
                .or(body_bytes)
                .or(row.body_bytes),
            truncated,
            withheld: Vec::new(),
            retry_terms: RetryTerms::from(&row),
            id: row.id.to_string(),
            team_id: row.team.base_str().to_owned(),
            environment: row.team.environment(),
            status,
            queue: row.queue.to_string(),
            method: (!row.is_pulled()).then_some(row.method),
            claim: TaskClaim::of(&row),
            target_url: Some(row.url).filter(|url| !url.is_empty()),
            headers: HeaderMap(headers),
            body,
            body_encoding: body_encoding.name(),
            deadline: row.deadline.map(Iso),
            expires_in: row.expires_in_ms.map(Seconds),
            success: row.success,
            tags: row.tags,
            metadata: row.metadata,
            ok: row.ok,
            end_reason: row.end_reason,
            max_wait_time: Seconds(row.max_wait_ms.into()),
            timeout: Seconds(row.timeout_ms.into()),
            delay_until: row.not_before.map(Iso),
            max_retries: row.max_retries,
            retry_count: row.retry_count,
            retry_backoff: ShownBackoff::of(row.backoff, &row.retry_pauses),
            min_delay: millis(row.retry_bounds.min_ms),
            max_delay: millis(row.retry_bounds.max_ms),
            jitter: row.retry_bounds.jitter.into(),
            max_age: row.retry_bounds.max_age_ms.map(Seconds),
            retry_on: row.retry_on,
            priority: row.priority.get(),
            fairness_key: row.fairness_key,
            fairness_weight: row.fairness_weight,
            on_failure: row.ordering.as_ref().map(|ordering| ordering.on_failure),
            ordering_key: row.ordering.map(|ordering| ordering.key),
            debounce: TaskDebounce::of(row.once.as_deref()),
            singleton: TaskSingleton::of(row.once.as_deref()),
            dedup: TaskDedup::of(row.once.as_deref()),
            limits: row.limits.into_iter().map(ShownLimit::from).collect(),
            on_rate_limited: row.on_rate_limited,
            follow_redirects: row.follow_redirects,
            on_complete_url: row.on_complete_url,
            resolve: places(resolve),
            result,
            cancel_requested: row.cancel_requested.is_some(),
            error: row.error,
            replay_of: row.replay_of.map(|id| id.to_string()),
            replayed_as: replayed_as.map(|id| id.to_string()),
            superseded_by: instead(row.instead, row.end_reason, EndReason::Superseded),
            skipped_for: instead(row.instead, row.end_reason, EndReason::Skipped),
            duplicate_of: instead(row.instead, row.end_reason, EndReason::Duplicate),
            schedule: row.schedule.as_deref().map(Into::into),
            workflow: row.member.as_deref().map(Into::into),
            created_at: Iso(row.created_at),
            updated_at: Iso(row.updated_at),
            started_at: row.started_at.map(Iso),
            completed_at: row.completed_at.map(Iso),
            purged_at: row.purged_at.map(Iso),
            blocked_by: None,
            attempts: match attempts {
                Attempts::Shown => Some(row.attempts.into_iter().map(TaskAttempt::from).collect()),
                Attempts::Hidden => None,
            },
        }
    }
}

fn millis(millis: Option<u32>) -> Option<Seconds> {
    millis.map(|millis| Seconds(millis.into()))
}

/// Names of the task's own fields that are missing.
fn truncated(row: &TaskRow, detail: &Detail, attempts: Attempts) -> Vec<&'static str> {
    let mut missing = match detail {
        Detail::Read(_) => Vec::new(),
        Detail::Omitted | Detail::Dropped => vec!["headers", "body"],
    };
    // The oldest attempts are dropped when there are too many.
    let first = row.attempts.first().map_or(1, |attempt| attempt.number);
    if attempts == Attempts::Shown && first > 1 {
        missing.push("attempts");
    }
    missing
}

/// `None` where only headers are resolved, as in most tasks.
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
    /// Names, as in the task, of the answer's fields that are missing.
    pub(crate) fn truncated(&self) -> impl Iterator<Item = &'static str> + use<> {
        let body = self.body.is_none() && self.body_bytes > 0;
        let headers = self.headers.is_none() || self.header_bytes.is_some();
        let headers = headers.then_some("result.headers");
        let body = (body || self.is_cut).then_some("result.body");
        let length = (!Answer::is_counted(self.body_bytes)).then_some("result.bodyBytes");
        [headers, body, length].into_iter().flatten()
    }

    pub(crate) fn read(answer: Answer, ok: bool) -> Self {
        Self {
            status_code: answer.status,
            ok,
            header_bytes: answer.header_bytes,
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
            ok: row.ok.unwrap_or_default(),
            headers: None,
            header_bytes: None,
            body: None,
            body_encoding: None,
            body_bytes: answer.body_bytes,
            duration: answer.duration_ms,
            is_cut: false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use waybill_domain::event::BodyEncoding;

    #[test]
    fn what_is_missing_of_an_answer_is_named() {
        let answer = |body_bytes, header_bytes| Answer {
            status: 200,
            headers: Vec::new(),
            body: "x".into(),
            encoding: BodyEncoding::Text,
            body_bytes,
            duration_ms: 1,
            header_bytes,
        };
        let missing = |answer| {
            let result = TaskResult::read(answer, true);
            result.truncated().collect::<Vec<_>>()
        };
        assert!(missing(answer(1, None)).is_empty());
        assert_eq!(
            missing(answer(2, Some(9))),
            ["result.headers", "result.body"]
        );
        let endless = Answer::COUNTED_BODY_BYTES + 1;
        assert_eq!(
            missing(answer(endless, None)),
            ["result.body", "result.bodyBytes"]
        );
    }

    #[test]
    fn headers_that_came_more_than_once_are_lists() {
        let pairs = [("Set-Cookie", "a"), ("x", "1"), ("set-cookie", "b")];
        let headers = pairs.map(|(n, v)| (n.to_owned(), v.to_owned())).to_vec();
        let text = serde_json::to_string(&by_name(headers)).expect("an object");
        assert_eq!(text, r#"{"Set-Cookie":["a","b"],"x":"1"}"#);
    }
}
