//! The creation of a task, with the request as accepted.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::answer::{BodyEncoding, MAX_ANSWER_BYTES, USUAL_ANSWER_BYTES};
use crate::actor::Actor;
use crate::flow::MemberOf;
use crate::id::{EpochId, QueueName, TaskId, TeamId};
use crate::limit::TaskLimit;
use crate::recurring::RunOf;
use crate::task::bounds::RetryBounds;
use crate::task::job::JobTerms;
use crate::task::method::Method;
use crate::task::once::Once;
use crate::task::ordering::Ordering;
use crate::task::pauses::OwnPauses;
use crate::task::priority::Priority;
use crate::task::rate_limited::OnRateLimited;
use crate::task::retry::{Backoff, RetryOn};
use crate::task::success::Success;
use crate::time::Timestamp;
use crate::vault::reference::{Reference, Resolve, references};

/// A task was accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TaskCreated {
    pub id: TaskId,
    pub team: TeamId,
    /// The queue of the task.
    pub queue: QueueName,
    /// The target's URL: http or https. Empty: nothing is called, workers of the team claim the task.
    pub url: String,
    pub method: Method,
    /// Headers as given, in order. A value that is a vault reference is stored as such, and a
    /// sealed value is masked (`Bearer ****`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<(String, String)>,
    /// The body as given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// Encoding of the body.
    #[serde(default, skip_serializing_if = "BodyEncoding::is_text")]
    pub body_encoding: BodyEncoding,
    /// Time limit of one attempt, in milliseconds.
    pub timeout_ms: u32,
    /// Time limit of one exchange with the target, or of one wait for a callback, in milliseconds.
    pub max_wait_ms: u32,
    /// The first attempt does not start earlier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// Retries after the first attempt.
    pub max_retries: u16,
    /// How the pause before a retry grows.
    pub backoff: Backoff,
    /// Pauses before retries that the task lists itself, in milliseconds. Absent: they grow by its back-off.
    #[serde(default, skip_serializing_if = "OwnPauses::is_empty")]
    pub retry_pauses: OwnPauses,
    /// Bounds of pauses and retries. Absent if the task sets none.
    #[serde(default, skip_serializing_if = "RetryBounds::are_usual")]
    pub retry_bounds: RetryBounds,
    /// Conditions for a retry, if the task sets them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_on: Option<RetryOn>,
    /// Answers that count as a success. Absent: the contract's rule, by which any answer below 500
    /// that is not retried ends the task well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub success: Option<Success>,
    /// After this date, the task is not worked on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Timestamp>,
    /// Milliseconds after acceptance when the task expires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in_ms: Option<u64>,
    /// Words chosen by the client, to search for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Texts chosen by the client, returned in events and webhooks.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// Pauses before the second and each further delivery of the completion webhook, in seconds.
    /// Absent: the platform's pauses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub webhook_pauses: Vec<u32>,
    /// Bytes of an answer's body that are stored. Absent: [`USUAL_ANSWER_BYTES`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_answer_bytes: Option<u32>,
    /// From 1 to 10; higher ones are served first.
    pub priority: Priority,
    /// Whose turn the task takes among the tasks of its queue. Absent: that of all without a key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fairness_key: Option<String>,
    /// The task starts after the end of those that were created before it with the same key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ordering: Option<Ordering>,
    /// Whether to follow up to three redirects.
    #[serde(default)]
    pub follow_redirects: bool,
    /// URL to call when the task has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_complete_url: Option<String>,
    /// The client's idempotency key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// SHA-256 of the request, in hex; present if there is an idempotency key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// Where vault references are replaced, besides the headers.
    #[serde(default, skip_serializing_if = "Resolve::is_headers_only")]
    pub resolve: Resolve,
    /// The values of the masked headers. Absent if no header is masked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealed: Option<SealedHeaders>,
    /// The ended task that it does again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay_of: Option<TaskId>,
    /// How many tasks of its fairness key start in a turn; absent: one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fairness_weight: Option<u8>,
    /// When it was accepted.
    pub at: Timestamp,
    /// What it shares with others of its queue that name the same key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub once: Option<Box<Once>>,
    /// The limits that it shares with other tasks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<TaskLimit>,
    /// The run of a schedule that it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Box<RunOf>>,
    /// What follows, beside a retry, when the target says that it is called too often. Absent:
    /// nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_rate_limited: Option<OnRateLimited>,
    /// The member of a workflow that it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member: Option<Box<MemberOf>>,
    /// Who created it, so that a restatement tells as well. Absent in older events, of which the header
    /// `Wb-Actor` of the creation tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub created_by: Option<Actor>,
    /// What the jobs API keeps of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<Box<JobTerms>>,
    /// Whether nothing is captured of what its calls send and are answered. Absent: the beginning is.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub no_capture: bool,
}

impl TaskCreated {
    /// Estimated size of the payload in the log, in bytes.
    #[must_use]
    pub fn stored_bytes(&self) -> u32 {
        /// Bytes of numbers, dates, ids and field names.
        const FIXED: usize = 384;
        /// Bytes of the name of an epoch.
        const EPOCH: usize = 36;
        let optional = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        let headers: usize = self
            .headers
            .iter()
            .map(|(name, value)| name.len() + value.len() + 6)
            .sum();
        let sealed = self
            .sealed
            .as_ref()
            .map_or(0, |sealed| sealed.envelope.len() + EPOCH);
        let texts = [
            &self.body,
            &self.on_complete_url,
            &self.idempotency_key,
            &self.fingerprint,
            &self.fairness_key,
        ];
        let texts: usize = texts.into_iter().map(optional).sum();
        let ordering = self
            .ordering
            .as_ref()
            .map_or(0, |ordering| ordering.key.len() + 48);
        let once = self.once.as_ref().map_or(0, |once| once.key().len() + 96);
        let own = ordering + once + self.tags.iter().map(|tag| tag.len() + 5).sum::<usize>();
        let own = own
            + self
                .metadata
                .iter()
                .map(|(name, value)| name.len() + value.len() + 6)
                .sum::<usize>();
        let own = own
            + self
                .limits
                .iter()
                .map(|limit| limit.key.as_str().len() + 96)
                .sum::<usize>();
        /// Bytes of the names of a schedule and its run.
        const RUN: usize = 176;
        let own = own + self.schedule.as_ref().map_or(0, |_| RUN);
        let member = self.member.as_deref();
        let own = own + member.map_or(0, MemberOf::stored_bytes);
        let job = self.job.as_deref();
        let own = own + job.map_or(0, JobTerms::stored_bytes);
        u32::try_from(FIXED + self.url.len() + headers + sealed + texts + own).unwrap_or(u32::MAX)
    }

    /// Whether workers of the team claim the task, instead of a target being called.
    #[must_use]
    pub fn is_pulled(&self) -> bool {
        self.url.is_empty()
    }

    /// Bytes to store of the body of an answer that ends the task.
    #[must_use]
    pub fn answer_bytes(&self) -> usize {
        let bytes = self.max_answer_bytes.unwrap_or(USUAL_ANSWER_BYTES);
        bytes.clamp(USUAL_ANSWER_BYTES, MAX_ANSWER_BYTES) as usize
    }

    /// The decoded body. Base 64 was validated when the task was accepted.
    #[must_use]
    pub fn body_bytes(&self) -> Vec<u8> {
        let body = self.body.as_deref().unwrap_or_default();
        match self.body_encoding {
            BodyEncoding::Text => body.as_bytes().to_vec(),
            BodyEncoding::Base64 => STANDARD.decode(body).unwrap_or_default(),
        }
    }

    /// The references to vault tokens in the request.
    pub fn references(&self) -> impl Iterator<Item = Reference<'_>> {
        references(&self.headers, &self.url, self.body.as_deref(), self.resolve)
    }
}

/// Credentials in the headers of a task, sealed so that they open for this task only.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SealedHeaders {
    /// Indices of the masked headers among all headers, from 0, ascending.
    pub headers: Vec<u16>,
    /// The sealed values, in unpadded base64url. Nobody can open them once their key is erased.
    pub envelope: String,
    /// The epoch whose key they are sealed under. Absent if the task has a key of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<EpochId>,
}

impl std::fmt::Debug for SealedHeaders {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SealedHeaders")
            .field("headers", &self.headers)
            .finish_non_exhaustive()
    }
}
