//! Queries of operators: quarantined records, and whether a rebuilt read model is equal.

use serde::{Deserialize, Serialize};
use waybill_log::{Skipped, Stream, StreamSeq};

use super::Position;

/// Lists the records of both logs that do not count: damaged, misplaced, or from a newer version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListSkipped {
    /// Only what is after this record; CONTROL comes before TASKS.
    pub after: Option<(Stream, StreamSeq)>,
    /// From 1 to [`MAX_LIMIT`].
    pub limit: u16,
}

query!(ListSkipped => SkippedPage, "wb.query.skipped");

/// A page of quarantined records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SkippedPage {
    /// CONTROL before TASKS, each in order.
    pub skipped: Vec<Skipped>,
    /// Whether more follow after the last one.
    pub has_more: bool,
}

/// Rebuilds the read model beside the live one, up to the same positions, and compares them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Verify {}

query!(Verify => Verdict, "wb.admin.verify");

/// Result of a comparison.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Position of both models.
    pub at: Position,
    /// First sequence of TASKS that both models have.
    pub floor: StreamSeq,
    pub trees: Vec<TreeVerdict>,
    /// Duration of the rebuild, in milliseconds.
    pub rebuild_ms: u64,
}

impl Verdict {
    /// Whether all trees are equal.
    #[must_use]
    pub fn is_equal(&self) -> bool {
        self.trees.iter().all(TreeVerdict::is_equal)
    }
}

/// A compared tree: SHA-256 over its ordered rows, in hex.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TreeVerdict {
    pub tree: String,
    /// Digest of the live model.
    pub live: String,
    /// Digest of the rebuilt model.
    pub rebuilt: String,
}

impl TreeVerdict {
    /// Whether both are equal byte by byte.
    #[must_use]
    pub fn is_equal(&self) -> bool {
        self.live == self.rebuilt
    }
}
