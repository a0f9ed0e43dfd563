//! Claims and reports as workers see them.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;
use waybill_domain::event::{BodyEncoding, TaskCreated};
use waybill_domain::task::ClaimId;
use waybill_edge::iso::Iso;
use waybill_edge::warnings::Warning;

/// The tasks that a worker was given.
#[derive(Debug, Serialize, ToSchema)]
pub struct ClaimList {
    /// At most as many as were asked for; none if there was nothing to do until the end of `wait`.
    pub claims: Vec<ClaimedWork>,
    /// Present and `true` while somebody drains the worker: it gets nothing, should finish what it holds, and stop or ask again later.
    #[serde(skip_serializing_if = "is_false")]
    pub draining: bool,
    /// The parts of the request that have no effect. Absent if there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Warning>,
}

/// A task that a worker holds.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClaimedWork {
    /// Id of the claim, by which its worker reports.
    #[schema(example = "claim_01kc0q2v9x3d8e5h7j9m1n3p5r0d_1")]
    pub id: String,
    /// Id of the task.
    #[schema(example = "task_01kc0q2v9x3d8e5h7j9m1n3p5r0d")]
    pub task_id: String,
    /// Name of its queue.
    pub queue: String,
    /// Number of the attempt, from 1.
    pub attempt: u32,
    /// Retries that it may use up in all.
    pub max_retries: u16,
    /// Seconds until the lease is over, from when it was given, which is a moment before this answer.
    pub lease_seconds: f64,
    /// The body as given: JSON as text, if it was given as `json`.
    pub body: Option<String>,
    /// `base64` when the body is not text.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<BodyEncoding>)]
    pub body_encoding: Option<&'static str>,
    /// Words that the client gave it.
    pub tags: Vec<String>,
    /// Texts that the client gave it.
    pub metadata: BTreeMap<String, String>,
    /// 1 to 10.
    pub priority: u8,
    /// It started after the end of those with the same key that were created before it.
    pub ordering_key: Option<String>,
    /// When it was accepted.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Iso,
    /// Nothing happens to it after this time.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub deadline: Option<Iso>,
}

impl ClaimedWork {
    pub(super) fn new(claim: ClaimId, lease_ms: u32, task: TaskCreated) -> Self {
        Self {
            id: claim.to_string(),
            task_id: task.id.to_string(),
            queue: task.queue.to_string(),
            attempt: claim.attempt,
            max_retries: task.max_retries,
            lease_seconds: f64::from(lease_ms) / 1000.0,
            body: task.body,
            body_encoding: task.body_encoding.name(),
            tags: task.tags,
            metadata: task.metadata,
            priority: task.priority.get(),
            ordering_key: task.ordering.map(|ordering| ordering.key),
            created_at: Iso(task.at),
            deadline: task.deadline.map(Iso),
        }
    }
}

/// What a report came to.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReportedClaim {
    /// Id of the claim.
    #[schema(example = "claim_01kc0q2v9x3d8e5h7j9m1n3p5r0d_1")]
    pub id: String,
    /// Id of the task.
    #[schema(example = "task_01kc0q2v9x3d8e5h7j9m1n3p5r0d")]
    pub task_id: String,
    /// `completed`, `failed` or `released`; `held` after a heartbeat.
    pub outcome: ClaimOutcome,
    /// Whether the task may be attempted again.
    pub will_retry: bool,
    /// Seconds from now on until the lease is over; `null` when the claim has ended.
    pub lease_seconds: Option<f64>,
    /// Present and `true` after a heartbeat of a worker that somebody drains: it keeps what it holds, and gets nothing else.
    #[serde(skip_serializing_if = "is_false")]
    pub draining: bool,
}

/// How a claim stands after a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClaimOutcome {
    /// The worker still holds it.
    Held,
    Completed,
    Failed,
    Released,
}

/// `{"claim": ...}`
#[derive(Debug, Serialize, ToSchema)]
pub struct ReportEnvelope {
    pub claim: ReportedClaim,
    /// The parts of the request that have no effect. Absent if there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Warning>,
}

/// By reference, as serde calls it.
fn is_false(flag: &bool) -> bool {
    !flag
}
