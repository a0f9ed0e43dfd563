//! Verification of the log itself: all of CONTROL, and every checkpoint that was ever signed for
//! it.

use std::time::Duration;

use super::super::checkpoint::{Covering, Signed};
use super::super::leaf::Stored;
use super::super::merkle::Hash;
use super::super::note::TrustedKeys;
use super::super::tree::TreeId;
use super::compare::{Copy, compare};
use super::export::signature;
use super::{Entry, Finding, Findings, Kind, Outcome, Report};
use crate::seq::StreamSeq;

/// Longest allowed time between two checkpoints of CONTROL: an hour, and a margin for a notary that
/// takes over.
pub const MAX_SILENCE: Duration = Duration::from_secs(3600 + 120);
/// Within this time, an event must be covered by a checkpoint.
const MAX_UNCOVERED: Duration = Duration::from_secs(2);

/// A verification in progress.
pub struct LogCheck<'k> {
    keys: &'k TrustedKeys,
    /// Creation time of the existing stream.
    stream: i64,
    older: Option<Signed>,
    entries: Vec<Entry>,
    listed: Vec<Hash>,
    checkpoints: Vec<Signed>,
    /// Whether the previous checkpoint was unreadable, so that its hash cannot be compared.
    is_broken: bool,
    findings: Findings,
}

impl<'k> LogCheck<'k> {
    /// `stream` is the creation time of the existing CONTROL, in nanoseconds since the epoch;
    /// `older` the note of a checkpoint that was kept elsewhere.
    #[must_use]
    pub fn new(keys: &'k TrustedKeys, stream: i64, older: Option<&str>) -> Self {
        let mut check = Self {
            keys,
            stream,
            older: None,
            entries: Vec::new(),
            listed: Vec::new(),
            checkpoints: Vec::new(),
            is_broken: false,
            findings: Findings::default(),
        };
        check.older = older.and_then(|note| check.opened("the checkpoint that was kept", note));
        check
    }

    /// Opens a note, and checks that it is about this tree and stream.
    fn opened(&mut self, what: &str, note: &str) -> Option<Signed> {
        let signed = match Signed::open(note, self.keys) {
            Ok(signed) => signed,
            Err(error) => {
                self.findings.add(signature(what, &error));
                return None;
            }
        };
        let checkpoint = &signed.checkpoint;
        if checkpoint.tree != TreeId::Control {
            let detail = format!(
                "{what} is of {}, not of all of CONTROL",
                checkpoint.tree.name()
            );
            self.findings
                .add(Finding::new(Kind::OtherStream, None, detail));
            return None;
        }
        if checkpoint.stream != self.stream {
            let detail = format!(
                "{what} is of the stream made at {}, and this one was made at {} (nanoseconds)",
                checkpoint.stream, self.stream
            );
            self.findings
                .add(Finding::new(Kind::OtherStream, None, detail));
            return None;
        }
        Some(signed)
    }

    /// Checks the next stored checkpoint, oldest first.
    pub fn checkpoint(&mut self, stored: &[u8]) {
        let Some(covering) = Covering::decode(stored) else {
            let seq = self
                .checkpoints
                .last()
                .map(|last| last.checkpoint.last_seq.next());
            let detail = "a checkpoint in AUDITCP cannot be read";
            self.findings
                .add(Finding::new(Kind::Signature, seq, detail));
            self.is_broken = true;
            return;
        };
        self.listed.extend(covering.leaves());
        let Some(signed) = self.opened("a checkpoint in AUDITCP", &covering.note) else {
            self.is_broken = true;
            return;
        };
        self.link(&signed);
        self.is_broken = false;
        self.checkpoints.push(signed);
    }

    /// Checks that a checkpoint follows the one before it.
    fn link(&mut self, signed: &Signed) {
        let next = &signed.checkpoint;
        let last = self.checkpoints.last();
        let (size, at) = last.map_or((0, next.signed_ns), |l| {
            (l.checkpoint.size, l.checkpoint.signed_ns)
        });
        let seq = last.map_or(StreamSeq(1), |last| last.checkpoint.last_seq.next());
        if next.previous != last.map(Signed::hash) && !self.is_broken {
            let detail = format!(
                "checkpoints between those of {size} and {} events are not there",
                next.size
            );
            self.findings
                .add(Finding::new(Kind::Missing, Some(seq), detail));
        }
        if next.size < size || next.signed_ns < at {
            let detail = format!(
                "a checkpoint of {} events follows one of {size}, or is older",
                next.size
            );
            self.findings
                .add(Finding::new(Kind::Forked, Some(seq), detail));
        }
        let kept = self.older.as_ref().map_or(0, |older| older.checkpoint.size);
        if next.size > kept {
            self.silence(seq, at, next.signed_ns);
        }
    }

    fn silence(&mut self, seq: StreamSeq, from_ns: i64, to_ns: i64) {
        let silent =
            Duration::from_nanos(u64::try_from(to_ns.saturating_sub(from_ns)).unwrap_or(0));
        if silent > MAX_SILENCE {
            let detail = format!("nothing was signed for {} s", silent.as_secs());
            self.findings
                .add(Finding::new(Kind::Silence, Some(seq), detail));
        }
    }

    /// Checks the next event of CONTROL.
    pub fn event(&mut self, stored: &Stored) {
        self.leaf(stored.seq, stored.time_ns, stored.leaf(self.stream));
    }

    /// Checks the next event of CONTROL by its leaf: the caller can spread the hashing over
    /// threads.
    pub fn leaf(&mut self, seq: StreamSeq, time_ns: i64, leaf: Hash) {
        self.entries.push(Entry { seq, time_ns, leaf });
    }

    /// Ends the verification. `now_ns` is the current time, from which the silence since the last
    /// checkpoint follows.
    #[must_use]
    pub fn finish(mut self, now_ns: i64) -> Report {
        let in_log = self.checkpoints.len();
        let newest = self
            .checkpoints
            .iter()
            .map(|c| c.checkpoint.clone())
            .max_by_key(|c| c.size);
        match (&newest, self.older.take()) {
            (Some(newest), Some(older)) if newest.size >= older.checkpoint.size => {
                self.checkpoints.push(older);
            }
            (found, Some(older)) => {
                let size = found.as_ref().map_or(0, |newest| newest.size);
                let seq = found
                    .as_ref()
                    .map_or(StreamSeq(1), |newest| newest.last_seq.next());
                let kept = older.checkpoint.size;
                let detail = format!(
                    "the checkpoints in AUDITCP end at {size} events, and the one that was kept has {kept}"
                );
                let mut finding = Finding::new(Kind::RolledBack, Some(seq), detail);
                finding.until = Some(older.checkpoint.last_seq);
                self.findings.add(finding);
                if found.is_none() {
                    self.checkpoints.push(older);
                }
            }
            (_, None) => {}
        }
        if self.checkpoints.is_empty() && !self.findings.has(Outcome::Untrusted) {
            let detail = "there is no checkpoint to hold the log against";
            self.findings
                .add(Finding::new(Kind::NoCheckpoint, None, detail));
        }
        let copy = Copy {
            tree: &TreeId::Control,
            entries: &self.entries,
            listed: &self.listed,
            checkpoints: &self.checkpoints,
            may_go_on: true,
        };
        let covered = compare(&copy, &mut self.findings);
        if let Some(newest) = newest {
            self.silence(newest.last_seq.next(), newest.signed_ns, now_ns);
        }
        // Inserted or removed events shift the positions of those behind them.
        if !self.findings.has(Outcome::Tampered) {
            self.uncovered(covered, now_ns);
        }
        let outcome = self.findings.outcome();
        let newest = self
            .checkpoints
            .iter()
            .max_by_key(|signed| signed.checkpoint.size);
        Report {
            outcome,
            tree: Some(TreeId::Control.name().to_owned()),
            events: self.entries.len() as u64,
            covered,
            checkpoints: in_log as u64,
            trusted: newest
                .filter(|_| outcome == Outcome::Intact)
                .map(|signed| signed.note.clone()),
            findings: self.findings.all,
            more_findings: self.findings.more,
        }
    }

    /// A running notary covers an event within about a second.
    fn uncovered(&mut self, covered: u64, now_ns: i64) {
        let first = usize::try_from(covered)
            .ok()
            .and_then(|at| self.entries.get(at));
        let Some(first) = first else {
            return;
        };
        let age =
            Duration::from_nanos(u64::try_from(now_ns.saturating_sub(first.time_ns)).unwrap_or(0));
        if age > MAX_UNCOVERED {
            let count = self.entries.len() as u64 - covered;
            let detail = format!(
                "{count} events are not covered by any checkpoint, the oldest for {} s",
                age.as_secs()
            );
            self.findings
                .add(Finding::new(Kind::Uncovered, Some(first.seq), detail));
        }
    }
}
