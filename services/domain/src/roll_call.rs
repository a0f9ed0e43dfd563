//! The roll call: a gateway asks, and every process of the installation says what it is and how far it is.
//!
//! Asked on [`SUBJECT`] and answered by whoever hears it, as JSON. Nothing is decided by it: it is shown to operators. A process of an
//! earlier version does not hear the question, and is missing from the answers.

use serde::{Deserialize, Serialize};

use crate::partition::Partition;
use crate::seq::StreamSeq;
use crate::time::Timestamp;

/// Subject of the question.
pub const SUBJECT: &str = "wb.roles";

/// What a process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProcessRole {
    /// Serves the API.
    Gateway,
    /// Makes the calls of partitions.
    Worker,
    /// Keeps the read models.
    Projector,
}

impl ProcessRole {
    /// The text in answers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Worker => "worker",
            Self::Projector => "projector",
        }
    }
}

/// What a role of a process says of itself. A process with several roles says it once for each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleReport {
    pub role: ProcessRole,
    /// Tells it from others of its role: the id of a worker as in its fences, else one of this run.
    pub id: String,
    /// Version of the program.
    pub version: String,
    /// When it began.
    pub since: Timestamp,
    /// How far it has applied CONTROL, where it does.
    #[serde(default)]
    pub control: Option<StreamSeq>,
    /// How far it has applied TASKS as a whole, where it does.
    #[serde(default)]
    pub tasks: Option<StreamSeq>,
    /// The partitions that a worker holds, or had to leave, by number.
    #[serde(default)]
    pub partitions: Vec<HeldPartition>,
    /// The streams of the server, where the role asks for them.
    #[serde(default)]
    pub streams: Vec<StreamReport>,
    /// The file storage of all streams together, where the role asks for it.
    #[serde(default)]
    pub storage: Option<StorageReport>,
    /// The disk below its data, where it keeps any.
    #[serde(default)]
    pub disk: Option<DiskReport>,
}

/// What a worker does with a partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldPartition {
    pub partition: Partition,
    /// `serving`, `taking_over` or `left`.
    pub state: String,
    /// Tasks that have not ended, and ended ones whose webhook is not delivered yet; while it is served.
    #[serde(default)]
    pub open: Option<u64>,
    /// Why it was left.
    #[serde(default)]
    pub reason: Option<String>,
    /// How far its owner has read TASKS for it; while it is served.
    #[serde(default)]
    pub read: Option<StreamSeq>,
}

/// How full a stream is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamReport {
    pub name: String,
    pub bytes: u64,
    /// `None`: it has no limit of its own.
    #[serde(default)]
    pub max_bytes: Option<u64>,
}

/// How full the file storage of the server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StorageReport {
    pub bytes: u64,
    /// `None`: the server sets no limit.
    #[serde(default)]
    pub max_bytes: Option<u64>,
}

/// The disk below the data of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskReport {
    /// Bytes that the process may still write.
    pub free: u64,
    /// All of its bytes.
    pub total: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_without_what_was_added_later_is_read() {
        let early = r#"{"role":"worker","id":"w1","version":"0.1.0","since":1}"#;
        let report: RoleReport = serde_json::from_str(early).expect("a report");
        assert_eq!(report.role.as_str(), "worker");
        assert!(report.partitions.is_empty() && report.control.is_none());
        let later = r#"{"role":"gateway","id":"g","version":"9","since":1,"colour":"red"}"#;
        assert!(serde_json::from_str::<RoleReport>(later).is_ok());
    }
}
