//! Verifying: is a copy of a tree what was signed, and if not, what was done to it and where?
//!
//! Nothing is trusted but signatures of known keys. [`export`] checks an export, [`log`] the log itself; both come down to one
//! comparison ([`compare`]) of the events that are there with the leaves that must be there. The leaves are known from lists that were
//! written beside the checkpoints; a list counts only if it leads to a signed root, and then tells which single event was
//! changed, where a root alone could only say that one was.

mod compare;
mod export;
mod log;

use serde::Serialize;

pub use export::ExportCheck;
pub use log::{LogCheck, MAX_SILENCE};

use super::merkle::Hash;
use crate::seq::StreamSeq;

/// Findings that are told one by one; of more only the number is.
pub const MAX_FINDINGS: usize = 100;

/// What was done to an event, or to the log as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// An event is not what was signed.
    Altered,
    /// An event that was signed is not there, and later ones are.
    Missing,
    /// An event is there that was not signed, among those that were.
    Inserted,
    /// Events stand in another order.
    Reordered,
    /// The end is gone.
    Truncated,
    /// It ends before a checkpoint that was kept elsewhere.
    RolledBack,
    /// Two signed histories contradict each other.
    Forked,
    /// It is another stream than the one that was signed.
    OtherStream,
    /// A line that no export has.
    Malformed,
    /// A checkpoint without a signature that counts.
    Signature,
    /// For a long time nothing was signed.
    Silence,
    /// Events that no checkpoint covers yet, though it should.
    Uncovered,
    /// There is nothing to hold it against.
    NoCheckpoint,
}

/// The verdict, as the command's exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// All that was signed is there, unchanged. Exit code 0.
    Intact,
    /// It is not. Exit code 1.
    Tampered,
    /// It cannot be said. Exit code 2.
    Incomplete,
    /// Keys or signatures do not do. Exit code 3.
    Untrusted,
}

impl Outcome {
    /// Of the command.
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

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// What it is.
    pub kind: Kind,
    /// Sequence in CONTROL of the first event it is about; of one that is missing, the sequence after which it should come, unless
    /// it is known itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seq: Option<StreamSeq>,
    /// The last event it may be about, when it cannot be said which one it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<StreamSeq>,
    /// For people.
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

/// What verifying found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The verdict.
    pub outcome: Outcome,
    /// Name of the tree, when it could be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tree: Option<String>,
    /// Events looked at.
    pub events: u64,
    /// Of those, events that a trusted checkpoint covers.
    pub covered: u64,
    /// Checkpoints whose signature holds.
    pub checkpoints: u64,
    /// In the order of the log, worst kind of outcome first; at most [`MAX_FINDINGS`].
    pub findings: Vec<Finding>,
    /// Findings beyond those.
    pub more_findings: u64,
    /// The newest checkpoint, to be kept: only when the outcome is intact.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trusted: Option<String>,
}

/// Findings, of which the number is bounded.
#[derive(Debug, Default)]
struct Findings {
    all: Vec<Finding>,
    more: u64,
}

impl Findings {
    /// The same thing about the same event is told once.
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

/// An event that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    seq: StreamSeq,
    time_ns: i64,
    leaf: Hash,
}

#[cfg(test)]
mod tests;
