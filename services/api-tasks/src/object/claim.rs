//! The claim of a worker on a task that it works on.

use serde::Serialize;
use utoipa::ToSchema;
use waybill_domain::task::{ClaimId, Progress, TaskRow};
use waybill_edge::iso::Iso;

/// Which worker holds a task.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TaskClaim {
    /// Id of the claim.
    #[schema(example = "claim_01kc0q2v9x3d8e5h7j9m1n3p5r0d_1")]
    pub id: String,
    /// Name of the worker.
    pub worker: Option<String>,
    /// When its lease is over, unless it sends a heartbeat; by the clock of the partition's owner.
    #[schema(value_type = String, format = DateTime)]
    pub lease_until: Iso,
    /// How far it has come, once it has said so.
    pub progress: Option<ClaimProgress>,
}

/// How far a worker has come, as it says.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ClaimProgress {
    /// 0 to 100.
    pub percent: u8,
    /// What it is doing.
    pub message: Option<String>,
    /// When it said so.
    #[schema(value_type = String, format = DateTime)]
    pub at: Iso,
}

impl TaskClaim {
    /// That of a task which somebody holds.
    pub(super) fn of(row: &TaskRow) -> Option<Self> {
        let lease_until = row.lease_until?;
        let attempt = row.attempts.last()?;
        let id = ClaimId {
            task: row.id,
            attempt: attempt.number,
        };
        Some(Self {
            id: id.to_string(),
            worker: attempt.worker.clone(),
            lease_until: Iso(lease_until),
            progress: row.progress.clone().map(ClaimProgress::from),
        })
    }
}

impl From<Progress> for ClaimProgress {
    fn from(progress: Progress) -> Self {
        Self {
            percent: progress.percent,
            message: progress.message,
            at: Iso(progress.at),
        }
    }
}
