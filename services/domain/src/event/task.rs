//! What happens to a task.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::event::{DecodeError, events};
use crate::id::{QueueName, TaskId, TeamId};
use crate::seq::StreamSeq;
use crate::task::history::History;
use crate::task::retry::{Backoff, RetryOn};
use crate::task::spec::{Method, Priority};
use crate::time::Timestamp;
use crate::vault::reference::{Reference, Resolve, references};

events! {
    /// One step in the life of a task. Creation is appended by gateways, everything later only by the owner of the partition.
    TaskEvent {
        Created(Box<TaskCreated>) = "task.created.v1",
        Started(TaskStarted) = "task.started.v1",
        AttemptFailed(AttemptFailed) = "task.attempt_failed.v1",
        Released(TaskReleased) = "task.released.v1",
        Succeeded(TaskSucceeded) = "task.succeeded.v1",
        Dead(TaskDead) = "task.dead.v1",
        Cancelled(TaskCancelled) = "task.cancelled.v1",
        Expired(TaskExpired) = "task.expired.v1",
        CallbackSent(CallbackSent) = "task.callback_sent.v1",
        CallbackFailed(CallbackFailed) = "task.callback_failed.v1",
        Restated(Box<TaskRestated>) = "task.restated.v1",
    }
}

impl TaskEvent {
    /// The task it is about.
    #[must_use]
    pub fn id(&self) -> TaskId {
        match self {
            Self::Created(e) => e.id,
            Self::Started(e) => e.id,
            Self::AttemptFailed(e) => e.id,
            Self::Released(e) => e.id,
            Self::Succeeded(e) => e.id,
            Self::Dead(e) => e.id,
            Self::Cancelled(e) => e.id,
            Self::Expired(e) => e.id,
            Self::CallbackSent(e) => e.id,
            Self::CallbackFailed(e) => e.id,
            Self::Restated(e) => e.created.id,
        }
    }

    /// The short name: token of the subject and, with `task.` before it, the name subscribers see.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Created(_) => "created",
            Self::Started(_) => "started",
            Self::AttemptFailed(_) => "attempt_failed",
            Self::Released(_) => "released",
            Self::Succeeded(_) => "succeeded",
            Self::Dead(_) => "dead",
            Self::Cancelled(_) => "cancelled",
            Self::Expired(_) => "expired",
            Self::CallbackSent(_) => "callback_sent",
            Self::CallbackFailed(_) => "callback_failed",
            Self::Restated(_) => "restated",
        }
    }

    /// Whether that is the stored name of a creation.
    #[must_use]
    pub fn is_creation(name: &str) -> bool {
        name == "task.created.v1"
    }

    /// The short names of what happens to tasks, as subscribers see it. A restatement is not among them: nothing happened.
    pub const KINDS: &'static [&'static str] = &[
        "created",
        "started",
        "attempt_failed",
        "released",
        "succeeded",
        "dead",
        "cancelled",
        "expired",
        "callback_sent",
        "callback_failed",
    ];

    /// When it was decided.
    #[must_use]
    pub fn at(&self) -> Timestamp {
        match self {
            Self::Created(e) => e.at,
            Self::Started(e) => e.at,
            Self::AttemptFailed(e) => e.at,
            Self::Released(e) => e.at,
            Self::Succeeded(e) => e.at,
            Self::Dead(e) => e.at,
            Self::Cancelled(e) => e.at,
            Self::Expired(e) => e.at,
            Self::CallbackSent(e) => e.at,
            Self::CallbackFailed(e) => e.at,
            Self::Restated(e) => e.at,
        }
    }

    /// The request of the task, when this event carries it: a creation and a restatement do.
    #[must_use]
    pub fn into_request(self) -> Option<TaskCreated> {
        match self {
            Self::Created(created) => Some(*created),
            Self::Restated(restated) => Some(restated.created),
            _ => None,
        }
    }

    /// How the task ended, when this event says so: an end does, and the restatement of a task that has ended.
    #[must_use]
    pub fn into_end(self) -> Option<TaskEnd> {
        match self {
            Self::Succeeded(end) => Some(TaskEnd::Succeeded(end)),
            Self::Dead(end) => Some(TaskEnd::Dead(end)),
            Self::Expired(end) => Some(TaskEnd::Expired(end)),
            Self::Cancelled(end) => Some(TaskEnd::Cancelled(end)),
            Self::Restated(restated) => match restated.standing {
                Standing::Ended { end, .. } => Some(end),
                _ => None,
            },
            _ => None,
        }
    }
}

/// A task was accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TaskCreated {
    /// The task.
    pub id: TaskId,
    /// Whose it is.
    pub team: TeamId,
    /// Where it queues.
    pub queue: QueueName,
    /// What to call: http or https.
    pub url: String,
    /// How to call it.
    pub method: Method,
    /// Headers as given, in order; a value that is a vault reference stays one, and one that was sealed is masked (`Bearer ****`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<(String, String)>,
    /// The body as given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// Time limit of one attempt, in milliseconds.
    pub timeout_ms: u32,
    /// Time limit from the start of the first attempt, over all attempts, in milliseconds.
    pub max_wait_ms: u32,
    /// Not to be started before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// Retries after the first attempt.
    pub max_retries: u16,
    /// How the pause before a retry grows.
    pub backoff: Backoff,
    /// What retries, when the task says so itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_on: Option<RetryOn>,
    /// 1 to 10, higher first.
    pub priority: Priority,
    /// Follow up to three redirects.
    #[serde(default)]
    pub follow_redirects: bool,
    /// Called when the task has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_complete_url: Option<String>,
    /// The client's idempotency key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// SHA-256 of the request, in hex; there when there is an idempotency key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// Where references to the vault are replaced beside the headers.
    #[serde(default, skip_serializing_if = "Resolve::is_headers_only")]
    pub resolve: Resolve,
    /// The values of the masked headers. Absent: there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealed: Option<SealedHeaders>,
    /// When it was accepted.
    pub at: Timestamp,
}

impl TaskCreated {
    /// About as many bytes as its payload takes in the log.
    #[must_use]
    pub fn stored_bytes(&self) -> u32 {
        /// Numbers, dates and ids, and the names of the fields.
        const FIXED: usize = 384;
        let optional = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        let headers: usize = self
            .headers
            .iter()
            .map(|(name, value)| name.len() + value.len() + 6)
            .sum();
        let sealed = self
            .sealed
            .as_ref()
            .map_or(0, |sealed| sealed.envelope.len());
        let texts = [
            &self.body,
            &self.on_complete_url,
            &self.idempotency_key,
            &self.fingerprint,
        ];
        let texts: usize = texts.into_iter().map(optional).sum();
        u32::try_from(FIXED + self.url.len() + headers + sealed + texts).unwrap_or(u32::MAX)
    }

    /// Where it refers to tokens of the vault.
    pub fn references(&self) -> impl Iterator<Item = Reference<'_>> {
        references(&self.headers, &self.url, self.body.as_deref(), self.resolve)
    }
}

/// Credentials that a task brought along in its headers, sealed for this task alone.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SealedHeaders {
    /// The places of the masked headers among all, from 0, ascending.
    pub headers: Vec<u16>,
    /// Their sealed values, in unpadded base64url. They open for nobody once the key of the task is erased.
    pub envelope: String,
}

impl std::fmt::Debug for SealedHeaders {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SealedHeaders")
            .field("headers", &self.headers)
            .finish_non_exhaustive()
    }
}

/// An attempt begins: appended before the call is made, so that no call goes unrecorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TaskStarted {
    /// The task.
    pub id: TaskId,
    /// 1, 2, 3...
    pub attempt: u32,
    /// When.
    pub at: Timestamp,
    /// The call has ended by then, or its worker is gone.
    pub lease_until: Timestamp,
}

/// An attempt failed and another one will follow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AttemptFailed {
    /// The task.
    pub id: TaskId,
    /// Which attempt.
    pub attempt: u32,
    /// When.
    pub at: Timestamp,
    /// Why.
    pub failure: Failure,
    /// What the target said, when it answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<Answer>,
    /// When the next attempt is due.
    pub retry_at: Timestamp,
    /// Whether it used up one of the task's retries. An attempt that was lost with its worker, that the worker could not make or
    /// that had to do without the vault does not, unless that goes on for too long.
    pub counted: bool,
}

/// A worker that was told to stop cut an attempt short, in order: the task is ready again at once, and no retry is used up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TaskReleased {
    /// The task.
    pub id: TaskId,
    /// Which attempt.
    pub attempt: u32,
    /// When.
    pub at: Timestamp,
}

impl TaskReleased {
    /// What people read about an attempt that was released.
    pub const SENTENCE: &'static str = "The worker was stopped during the attempt, which is repeated and uses up no retry; \
         the target may or may not have been called";
}

/// The target answered, and that ends the task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TaskSucceeded {
    /// The task.
    pub id: TaskId,
    /// Which attempt.
    pub attempt: u32,
    /// When.
    pub at: Timestamp,
    /// What the target said. Also a 3xx or 4xx that is not retried.
    pub answer: Answer,
}

/// The last attempt failed and none is left, or the failure is final.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TaskDead {
    /// The task.
    pub id: TaskId,
    /// Which attempt.
    pub attempt: u32,
    /// When.
    pub at: Timestamp,
    /// Why.
    pub failure: Failure,
    /// What the target said, when it answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<Answer>,
}

/// Cancelled before it was running.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TaskCancelled {
    /// The task.
    pub id: TaskId,
    /// When.
    pub at: Timestamp,
}

/// Its time limit over all attempts has passed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TaskExpired {
    /// The task.
    pub id: TaskId,
    /// The attempt that was cut off, when one was running.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// When.
    pub at: Timestamp,
    /// Why the last attempt had failed, or how it was cut off.
    pub failure: Failure,
}

/// The completion webhook was delivered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CallbackSent {
    /// The task.
    pub id: TaskId,
    /// Which delivery: 1, 2, 3...
    pub attempt: u32,
    /// When.
    pub at: Timestamp,
    /// The receiver's HTTP status.
    pub status: u16,
}

/// A delivery of the completion webhook failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CallbackFailed {
    /// The task.
    pub id: TaskId,
    /// Which delivery: 1, 2, 3...
    pub attempt: u32,
    /// When.
    pub at: Timestamp,
    /// Why.
    pub failure: Failure,
    /// When the next delivery is due; none: given up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_at: Option<Timestamp>,
}

/// An open task, stated again by its partition's owner, so that the log may drop everything of it that stands before.
///
/// Nothing happened to the task: whoever knows it learns only where its request stands now, and whoever reads the log from behind its
/// creation on makes of it what the others know. It keeps its place in lists and in the order of service, and appears in no stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TaskRestated {
    /// The request as it was accepted. Of a task that has ended, headers and body are left out: only its webhook is still to be sent.
    pub created: TaskCreated,
    /// Where in TASKS it was created: its place in lists and among tasks of the same priority.
    pub position: StreamSeq,
    /// When it was stated again.
    pub at: Timestamp,
    /// Where it stands.
    pub standing: Standing,
    /// Attempts started.
    pub attempts: u32,
    /// Attempts failed that used up a retry.
    pub failures: u16,
    /// Attempts lost with their worker.
    pub lost: u16,
    /// Attempts in a row that failed without using up a retry.
    #[serde(default, skip_serializing_if = "no_attempts")]
    pub uncounted: u32,
    /// Since when the time limit over all attempts counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_start: Option<Timestamp>,
    /// Why the last attempt failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<Failure>,
    /// What clients are shown of its past.
    pub history: History,
}

fn no_attempts(count: &u32) -> bool {
    *count == 0
}

impl TaskRestated {
    /// The value of the header `Wb-Event`.
    pub const NAME: &'static str = "task.restated.v1";
}

/// Where a task stands that is stated again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// Not to be started before: delayed, or between two attempts.
    Waiting {
        /// Then.
        until: Timestamp,
        /// Since when, of a pause between two attempts. Absent: `until` is a date that a client gave.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<Timestamp>,
    },
    /// May be started.
    Ready {
        /// Since then.
        since: Timestamp,
    },
    /// An attempt is being made.
    Running {
        /// Its number.
        attempt: u32,
    },
    /// Ended, and the completion webhook is still to be delivered.
    Ended {
        /// Deliveries that failed.
        deliveries: u32,
        /// When the next one is due.
        due: Timestamp,
        /// Since when the pause before it has run.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<Timestamp>,
        /// How it ended, with its result.
        end: TaskEnd,
    },
}

/// The event that ended a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TaskEnd {
    /// The target answered.
    Succeeded(TaskSucceeded),
    /// No attempt was left, or the failure was final.
    Dead(TaskDead),
    /// Its time limit had passed.
    Expired(TaskExpired),
    /// It was cancelled.
    Cancelled(TaskCancelled),
}

impl From<TaskEnd> for TaskEvent {
    fn from(end: TaskEnd) -> Self {
        match end {
            TaskEnd::Succeeded(end) => Self::Succeeded(end),
            TaskEnd::Dead(end) => Self::Dead(end),
            TaskEnd::Expired(end) => Self::Expired(end),
            TaskEnd::Cancelled(end) => Self::Cancelled(end),
        }
    }
}

impl TaskEnd {
    /// When the task ended.
    #[must_use]
    pub fn at(&self) -> Timestamp {
        match self {
            Self::Succeeded(end) => end.at,
            Self::Dead(end) => end.at,
            Self::Expired(end) => end.at,
            Self::Cancelled(end) => end.at,
        }
    }
}
/// Characters of a redirect's target that an error sentence shows.
const MAX_SHOWN_LOCATION: usize = 200;

/// What a target answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Headers in the order received, bounded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<(String, String)>,
    /// The first 64 KiB of the body.
    pub body: String,
    /// How `body` is written.
    #[serde(default, skip_serializing_if = "BodyEncoding::is_text")]
    pub encoding: BodyEncoding,
    /// Length of the whole body in bytes, as far as it was counted.
    pub body_bytes: u64,
    /// From sending to the end of the answer, in milliseconds.
    pub duration_ms: u32,
}

impl Answer {
    /// Is all of the body here, as far as its length is known?
    #[must_use]
    pub fn is_whole(&self) -> bool {
        let kept = match self.encoding {
            BodyEncoding::Text => self.body.len(),
            // Four letters for three bytes, less the padding.
            BodyEncoding::Base64 => {
                let padding = self.body.bytes().rev().take_while(|byte| *byte == b'=');
                (self.body.len() / 4 * 3).saturating_sub(padding.count())
            }
        };
        kept as u64 >= self.body_bytes
    }

    /// A sentence about a redirect that was not followed, so that nobody takes it for success: the target itself has seen no more than
    /// the request for another place.
    #[must_use]
    pub fn unfollowed_redirect(&self) -> Option<String> {
        if !matches!(self.status, 301 | 302 | 303 | 307 | 308) {
            return None;
        }
        let location = self
            .headers
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case("location"))
            .map_or("nowhere: it has no Location", |(_, value)| value.as_str());
        let location: String = location.chars().take(MAX_SHOWN_LOCATION).collect();
        Some(format!(
            "HTTP {} redirects to {location}, which was not followed",
            self.status
        ))
    }
}

/// How the bytes of a body stand in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BodyEncoding {
    /// The bytes are UTF-8.
    #[default]
    Text,
    /// Base 64, since the bytes are no UTF-8.
    Base64,
}

impl BodyEncoding {
    /// What clients are told of a body that is no text.
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        match self {
            Self::Text => None,
            Self::Base64 => Some("base64"),
        }
    }

    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "serde's skip_serializing_if passes a reference"
    )]
    fn is_text(&self) -> bool {
        *self == Self::Text
    }
}

/// The values of a header, as JSON: a text, or a list of texts where the header came more than once. They are not joined: two
/// `Set-Cookie` in one text cannot be told apart again (RFC 9110, 5.3).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum HeaderValues {
    /// It came once.
    One(String),
    /// It came more than once, in this order.
    Many(Vec<String>),
}

impl HeaderValues {
    fn push(&mut self, value: String) {
        match self {
            Self::One(first) => *self = Self::Many(vec![std::mem::take(first), value]),
            Self::Many(values) => values.push(value),
        }
    }
}

/// Each name once, with all its values: a JSON object has each name once.
#[must_use]
pub fn group_repeated(headers: Vec<(String, String)>) -> Vec<(String, HeaderValues)> {
    let mut once: Vec<(String, HeaderValues)> = Vec::with_capacity(headers.len());
    for (name, value) in headers {
        match once
            .iter_mut()
            .find(|entry| entry.0.eq_ignore_ascii_case(&name))
        {
            Some(entry) => entry.1.push(value),
            None => once.push((name, HeaderValues::One(value))),
        }
    }
    once
}

/// Why an attempt failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Failure {
    /// The class, for programs.
    pub kind: FailureKind,
    /// A sentence, for people. Names no internal address and no secret.
    pub message: String,
}

/// Classes of failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The target answered with a status that is a failure.
    HttpStatus,
    /// No complete answer in time.
    Timeout,
    /// The name of the target did not resolve.
    Dns,
    /// No connection.
    Connect,
    /// No trusted TLS session.
    Tls,
    /// The connection ended before the answer did.
    Closed,
    /// What came back is not HTTP, or beyond its limits.
    Protocol,
    /// The target's address is not one that may be called.
    BlockedAddress,
    /// The worker went away during the attempt: the target may or may not have been called.
    WorkerLost,
    /// The worker could not make the call: it was out of descriptors, ports or memory, or its name servers did not answer. Nothing
    /// was sent.
    WorkerFault,
    /// The task cannot be turned into a request.
    InvalidRequest,
    /// A credential of the vault may not be used for this: revoked, expired, unknown, or bound to other hosts. It was not sent there.
    Vault,
    /// A credential of the vault, or the task's own sealed headers, cannot be opened although nobody took them away. Nothing was sent.
    VaultIntegrity,
    /// The vault could not be asked. Nothing was sent.
    VaultAway,
}

/// A worker took over a partition, or still owns it; its sequence is the fence of all that worker appends there from then on.
///
/// An owner states its fence again when it moves the partition's low-water mark: mark and fence are one record, so a stale owner,
/// whose fence is not the last one, cannot move the mark either.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PartitionOwned {
    /// Which worker.
    pub worker: String,
    /// When.
    pub at: Timestamp,
    /// The partition's low-water mark: nothing of it that stands before is needed any more. Absent: everything is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark: Option<StreamSeq>,
}

impl PartitionOwned {
    /// The value of the header `Wb-Event`.
    pub const NAME: &'static str = "partition.owned.v1";

    /// MessagePack with named fields.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        // Writing a plain struct to memory has no way to fail.
        rmp_serde::to_vec_named(self).unwrap_or_default()
    }

    /// Reads what [`PartitionOwned::encode`] writes.
    pub fn decode(payload: &[u8]) -> Result<Self, DecodeError> {
        rmp_serde::from_slice(payload).map_err(|error| DecodeError::Malformed {
            name: Self::NAME.into(),
            reason: error.to_string(),
        })
    }
}
