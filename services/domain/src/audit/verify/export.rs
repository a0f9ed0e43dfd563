//! Verification of an export, line by line, from nothing but keys and, better, a checkpoint that
//! was kept elsewhere.

use super::super::checkpoint::{CheckpointError, Signed};
use super::super::export::{BadLine, Header, Line};
use super::super::leaf::Stored;
use super::super::merkle::Hash;
use super::super::note::TrustedKeys;
use super::compare::{Copy, compare};
use super::{Entry, Finding, Findings, Kind, Outcome, Report};
use crate::seq::StreamSeq;

/// A verification in progress.
pub struct ExportCheck<'k> {
    keys: &'k TrustedKeys,
    older: Option<Signed>,
    header: Option<Header>,
    lines: u64,
    entries: Vec<Entry>,
    listed: Vec<Hash>,
    checkpoints: Vec<Signed>,
    findings: Findings,
}

impl<'k> ExportCheck<'k> {
    /// `older` is the note of a checkpoint of the same tree that was kept where the author of the
    /// export cannot change it. Without it, an export made from an older state of the log looks
    /// complete.
    #[must_use]
    pub fn new(keys: &'k TrustedKeys, older: Option<&str>) -> Self {
        let mut findings = Findings::default();
        let older = older.and_then(|note| match Signed::open(note, keys) {
            Ok(signed) => Some(signed),
            Err(error) => {
                findings.add(signature("the older checkpoint", &error));
                None
            }
        });
        Self {
            keys,
            older,
            header: None,
            lines: 0,
            entries: Vec::new(),
            listed: Vec::new(),
            checkpoints: Vec::new(),
            findings,
        }
    }

    /// Checks the next line, without its line break.
    pub fn line(&mut self, line: &str) {
        self.lines += 1;
        self.take(Line::read(line));
    }

    /// Checks the next line, already parsed: parsing takes most of the time, and the caller can
    /// spread it over threads.
    pub fn take(&mut self, line: Result<Line, BadLine>) {
        let line = match line {
            Ok(line) => line,
            Err(BadLine::Unreadable(why)) => {
                let seq = self
                    .entries
                    .last()
                    .map_or(StreamSeq(1), |last| last.seq.next());
                let detail = format!("line {}: {why}", self.lines);
                self.findings
                    .add(Finding::new(Kind::Malformed, Some(seq), detail));
                return;
            }
            Err(BadLine::Differs(line)) => {
                let (kind, seq) = match &*line {
                    Line::Event { stored, .. } => (Kind::Altered, Some(stored.seq)),
                    _ => (Kind::Malformed, None),
                };
                let detail = format!(
                    "line {}: what is readable in it is not what its bytes say",
                    self.lines
                );
                self.findings.add(Finding::new(kind, seq, detail));
                *line
            }
        };
        match line {
            Line::Header(header) if self.header.is_none() && self.lines <= 1 => {
                self.header = Some(header);
            }
            Line::Header(_) => self.malformed("a second header"),
            Line::Event { stored, withheld } => self.event(&stored, &withheld),
            Line::Leaves(leaves) => self.listed.extend(leaves),
            Line::Checkpoint(note) => self.checkpoint(&note),
        }
    }

    /// Reports that the file does not end with a line break, so the last line is truncated.
    pub fn cut_off(&mut self) {
        let seq = self
            .entries
            .last()
            .map_or(StreamSeq(1), |last| last.seq.next());
        let detail = "the last line has no end";
        self.findings
            .add(Finding::new(Kind::Truncated, Some(seq), detail));
    }

    fn malformed(&mut self, what: &str) {
        let detail = format!("line {}: {what}", self.lines);
        self.findings
            .add(Finding::new(Kind::Malformed, None, detail));
    }

    fn event(&mut self, stored: &Stored, withheld: &[String]) {
        let Some(header) = &self.header else {
            self.malformed("an event before any header");
            return;
        };
        if !self.checkpoints.is_empty() {
            let detail = "an event behind the checkpoints";
            self.findings
                .add(Finding::new(Kind::Inserted, Some(stored.seq), detail));
        }
        let Some(bytes) = stored.leaf_bytes(header.stream, withheld) else {
            let detail = "it withholds a field that is not there";
            self.findings
                .add(Finding::new(Kind::Altered, Some(stored.seq), detail));
            return;
        };
        let leaf = Hash::of_leaf(&bytes);
        self.entries.push(Entry {
            seq: stored.seq,
            time_ns: stored.time_ns,
            leaf,
        });
    }

    fn checkpoint(&mut self, note: &str) {
        let signed = match Signed::open(note, self.keys) {
            Ok(signed) => signed,
            Err(error) => {
                self.findings
                    .add(signature("a checkpoint of the export", &error));
                return;
            }
        };
        if let Some(why) = self.stranger(&signed) {
            self.findings
                .add(Finding::new(Kind::OtherStream, None, why));
            return;
        }
        if self
            .checkpoints
            .last()
            .is_some_and(|last| last.checkpoint.size > signed.checkpoint.size)
        {
            self.malformed("a checkpoint of fewer events than the one before it");
        }
        self.checkpoints.push(signed);
    }

    /// Why a checkpoint does not belong to this export.
    fn stranger(&self, signed: &Signed) -> Option<String> {
        let header = self.header.as_ref()?;
        let checkpoint = &signed.checkpoint;
        if (&checkpoint.deployment, &checkpoint.tree) != (&header.deployment, &header.tree) {
            let (is, should) = (
                checkpoint.tree.origin(&checkpoint.deployment),
                header.tree.origin(&header.deployment),
            );
            return Some(format!(
                "a checkpoint of {is}, and the export is of {should}"
            ));
        }
        (checkpoint.stream != header.stream).then(|| {
            let (is, should) = (checkpoint.stream, header.stream);
            format!("a checkpoint of the stream made at {is}, and the export is of that made at {should}")
        })
    }

    /// Ends the verification.
    #[must_use]
    pub fn finish(mut self) -> Report {
        let Some(header) = self.header.clone() else {
            self.malformed("there is no header");
            return self.report(0);
        };
        let is_anchored = self.anchor();
        if self.checkpoints.is_empty() {
            if !self.findings.has(Outcome::Untrusted) {
                let detail = "there is no checkpoint to hold it against";
                self.findings
                    .add(Finding::new(Kind::NoCheckpoint, None, detail));
            }
            return self.report(0);
        }
        let copy = Copy {
            tree: &header.tree,
            entries: &self.entries,
            listed: &self.listed,
            checkpoints: &self.checkpoints,
            may_go_on: is_anchored == Anchored::Only,
        };
        let covered = compare(&copy, &mut self.findings);
        self.report(covered)
    }

    /// Compares the newest checkpoint of the export with the one that was kept.
    fn anchor(&mut self) -> Anchored {
        let Some(older) = self.older.clone() else {
            return Anchored::No;
        };
        if let Some(why) = self.stranger(&older) {
            let detail = format!("the older checkpoint: {why}");
            self.findings
                .add(Finding::new(Kind::OtherStream, None, detail));
            return Anchored::No;
        }
        let newest = self
            .checkpoints
            .iter()
            .map(|signed| &signed.checkpoint)
            .max_by_key(|c| c.size);
        let Some(newest) = newest else {
            let seq = self
                .entries
                .last()
                .map_or(StreamSeq(1), |last| last.seq.next());
            let detail = "the export does not end with a checkpoint of its own";
            self.findings
                .add(Finding::new(Kind::Truncated, Some(seq), detail));
            self.checkpoints.push(older);
            return Anchored::Only;
        };
        if newest.size < older.checkpoint.size {
            let detail = format!(
                "it ends at {} events, and the older checkpoint has {}",
                newest.size, older.checkpoint.size
            );
            let mut finding = Finding::new(Kind::RolledBack, Some(newest.last_seq.next()), detail);
            finding.until = Some(older.checkpoint.last_seq);
            self.findings.add(finding);
            return Anchored::No;
        }
        self.checkpoints.insert(0, older);
        Anchored::Also
    }

    fn report(self, covered: u64) -> Report {
        let outcome = self.findings.outcome();
        let newest = self
            .checkpoints
            .iter()
            .max_by_key(|signed| signed.checkpoint.size);
        Report {
            outcome,
            tree: self.header.map(|header| header.tree.name().to_owned()),
            events: self.entries.len() as u64,
            covered,
            checkpoints: self.checkpoints.len() as u64,
            findings: self.findings.all,
            more_findings: self.findings.more,
            trusted: newest
                .filter(|_| outcome == Outcome::Intact)
                .map(|signed| signed.note.clone()),
        }
    }
}

/// Role of the kept checkpoint in the comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Anchored {
    No,
    Also,
    /// It is the only checkpoint.
    Only,
}

pub(super) fn signature(what: &str, error: &CheckpointError) -> Finding {
    Finding::new(Kind::Signature, None, format!("{what}: {error}"))
}
