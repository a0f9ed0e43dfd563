//! Verification: is a copy of a tree what was signed, and if not, what was changed and where?
//!
//! Only signatures of known keys are trusted. [`export`] checks an export, [`log`] the log itself;
//! both use the same comparison ([`compare`]) of the existing events with the expected leaves. The
//! expected leaves come from lists that were stored with the checkpoints. A list counts only if it
//! leads to a signed root; then it shows which event was changed, where a root alone would only
//! show that something was.

mod compare;
mod export;
mod log;

use serde::Serialize;

pub use export::ExportCheck;
pub use log::{LogCheck, MAX_SILENCE};

use super::merkle::Hash;
use crate::seq::StreamSeq;

/// Limit of findings that are listed; further ones are only counted.
pub const MAX_FINDINGS: usize = 100;

/// What happened to an event, or to the log as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The event differs from the one that was signed.
    Altered,
    /// A signed event is missing, although later ones exist.
    Missing,
    /// An event that was not signed stands between signed ones.
    Inserted,
    /// Events are in a different order.
    Reordered,
    /// Events are missing at the end.
    Truncated,
    /// The log ends before a checkpoint that was kept elsewhere.
    RolledBack,
    /// Two signed histories contradict each other.
    Forked,
    /// The stream is not the one that was signed.
    OtherStream,
    /// A line that does not belong in an export.
    Malformed,
    /// A checkpoint without a valid signature.
    Signature,
    /// Nothing was signed for a long time.
    Silence,
    /// Events that no checkpoint covers, although one should by now.
    Uncovered,
    /// There is no checkpoint to compare with.
    NoCheckpoint,
}

/// The verdict, which is also the exit code of the command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Every signed event exists, unchanged. Exit code 0.
    Intact,
    /// Something was changed. Exit code 1.
    Tampered,
    /// The verification could not be completed. Exit code 2.
    Incomplete,
    /// A key or signature is missing or not valid. Exit code 3.
    Untrusted,
}

impl Outcome {
    #[must_use]
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Intact => 0,
            Self::Tampered => 1,
            Self::Incomplete => 2,
            Self::Untrusted => 3,
        }
    }
}

impl Kind {
    fn outcome(self) -> Outcome {
        match self {
            Self::Altered
            | Self::Missing
            | Self::Inserted
            | Self::Reordered
            | Self::Truncated
            | Self::RolledBack
            | Self::Forked
            | Self::OtherStream
            | Self::Malformed => Outcome::Tampered,
            Self::Signature | Self::Silence => Outcome::Untrusted,
            Self::Uncovered | Self::NoCheckpoint => Outcome::Incomplete,
        }
    }
}

/// One result of a verification.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    pub kind: Kind,
    /// Sequence in CONTROL of the first event concerned. For a missing event, the sequence after
    /// which it is expected, unless its own is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seq: Option<StreamSeq>,
    /// Sequence of the last event that may be concerned, if the event cannot be identified exactly.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<StreamSeq>,
    /// Explanation for people.
    pub detail: String,
}

impl Finding {
    fn new(kind: Kind, seq: Option<StreamSeq>, detail: impl Into<String>) -> Self {
        Self {
            kind,
            seq,
            until: None,
            detail: detail.into(),
        }
    }
}

/// Result of a verification.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    pub outcome: Outcome,
    /// Name of the tree, if it could be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tree: Option<String>,
    /// Number of events checked.
    pub events: u64,
    /// Number of those that a trusted checkpoint covers.
    pub covered: u64,
    /// Number of checkpoints with a valid signature.
    pub checkpoints: u64,
    /// Findings in log order, the worst kind of outcome first; at most [`MAX_FINDINGS`].
    pub findings: Vec<Finding>,
    /// Number of further findings.
    pub more_findings: u64,
    /// The newest checkpoint, worth keeping elsewhere; only if the outcome is intact.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trusted: Option<String>,
}

/// A limited list of findings.
#[derive(Debug, Default)]
struct Findings {
    all: Vec<Finding>,
    more: u64,
}

impl Findings {
    /// Adds a finding, unless the same one exists for the same event.
    fn add(&mut self, finding: Finding) {
        let is_told = |told: &Finding| told.kind == finding.kind && told.seq == finding.seq;
        if finding.seq.is_some() && self.all.iter().any(is_told) {
            return;
        }
        if self.all.len() < MAX_FINDINGS {
            self.all.push(finding);
        } else {
            self.more += 1;
        }
    }

    fn has(&self, outcome: Outcome) -> bool {
        self.all
            .iter()
            .any(|finding| finding.kind.outcome() == outcome)
    }

    fn outcome(&self) -> Outcome {
        [Outcome::Tampered, Outcome::Untrusted, Outcome::Incomplete]
            .into_iter()
            .find(|&outcome| self.has(outcome))
            .unwrap_or(Outcome::Intact)
    }
}

/// An existing event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    seq: StreamSeq,
    time_ns: i64,
    leaf: Hash,
}

#[cfg(test)]
mod tests;
