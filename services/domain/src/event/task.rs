//! What happens to a task.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::event::{DecodeError, events};
use crate::id::{QueueName, TaskId, TeamId};
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
        Succeeded(TaskSucceeded) = "task.succeeded.v1",
        Dead(TaskDead) = "task.dead.v1",
        Cancelled(TaskCancelled) = "task.cancelled.v1",
        Expired(TaskExpired) = "task.expired.v1",
        CallbackSent(CallbackSent) = "task.callback_sent.v1",
        CallbackFailed(CallbackFailed) = "task.callback_failed.v1",
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
            Self::Succeeded(e) => e.id,
            Self::Dead(e) => e.id,
            Self::Cancelled(e) => e.id,
            Self::Expired(e) => e.id,
            Self::CallbackSent(e) => e.id,
            Self::CallbackFailed(e) => e.id,
        }
    }

    /// The short name: token of the subject and, with `task.` before it, the name subscribers see.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Created(_) => "created",
            Self::Started(_) => "started",
            Self::AttemptFailed(_) => "attempt_failed",
            Self::Succeeded(_) => "succeeded",
            Self::Dead(_) => "dead",
            Self::Cancelled(_) => "cancelled",
            Self::Expired(_) => "expired",
            Self::CallbackSent(_) => "callback_sent",
            Self::CallbackFailed(_) => "callback_failed",
        }
    }

    /// Whether that is the stored name of a creation.
    #[must_use]
    pub fn is_creation(name: &str) -> bool {
        name == "task.created.v1"
    }

    /// All short names.
    pub const KINDS: &'static [&'static str] = &[
        "created",
        "started",
        "attempt_failed",
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
            Self::Succeeded(e) => e.at,
            Self::Dead(e) => e.at,
            Self::Cancelled(e) => e.at,
            Self::Expired(e) => e.at,
            Self::CallbackSent(e) => e.at,
            Self::CallbackFailed(e) => e.at,
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
    /// Whether it used up one of the task's retries; an attempt that was lost with its worker, or for want of the vault, does not.
    pub counted: bool,
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

/// Headers that came more than once, joined as RFC 9110, 5.3 allows: a JSON object has each name once.
#[must_use]
pub fn join_repeated(headers: Vec<(String, String)>) -> Vec<(String, String)> {
    let mut once: Vec<(String, String)> = Vec::with_capacity(headers.len());
    for (name, value) in headers {
        match once
            .iter_mut()
            .find(|entry| entry.0.eq_ignore_ascii_case(&name))
        {
            Some(entry) => {
                entry.1.push_str(", ");
                entry.1.push_str(&value);
            }
            None => once.push((name, value)),
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
    /// The task cannot be turned into a request.
    InvalidRequest,
    /// A credential of the vault may not be used for this: revoked, expired, unknown, or bound to other hosts. It was not sent there.
    Vault,
    /// A credential of the vault, or the task's own sealed headers, cannot be opened although nobody took them away. Nothing was sent.
    VaultIntegrity,
    /// The vault could not be asked. Nothing was sent.
    VaultAway,
}

/// A worker took over a partition; its sequence is the fence of all that worker appends there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PartitionOwned {
    /// Which worker.
    pub worker: String,
    /// When.
    pub at: Timestamp,
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
