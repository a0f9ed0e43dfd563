//! An export and a log of a team with ten events, and the findings after every kind of tampering.

mod export;
mod log;

use bytes::Bytes;
use proptest::prelude::*;

use super::super::checkpoint::Covering;
use super::super::export::{Header, Line};
use super::super::growing::{Growing, Leaf};
use super::super::leaf::Stored;
use super::super::note::{NotaryKey, PublicKey, SEED_BYTES, Trusted, TrustedKeys};
use super::super::tree::TreeId;
use super::*;
use crate::event::samples;
use crate::id::TeamId;
use crate::time::Timestamp;

const STREAM: i64 = 1_795_245_100_000_000_000;
const SECOND: i64 = 1_000_000_000;

fn key(seed: u8) -> NotaryKey {
    NotaryKey::new("waybill/test", &[seed; SEED_BYTES]).expect("a key")
}

fn keys() -> TrustedKeys {
    TrustedKeys::only(key(1).public())
}

fn stored(seq: u64, text: &str) -> Stored {
    let payload = std::collections::BTreeMap::from([("name", text), ("team", "none")]);
    Stored {
        seq: StreamSeq(seq),
        time_ns: STREAM + i64::try_from(seq).expect("small") * SECOND,
        subject: format!("control.team_x.key.key_{seq}"),
        headers: vec![("Wb-Event".into(), "key.created.v1".into())],
        payload: Bytes::from(rmp_serde::to_vec_named(&payload).expect("plain data")),
    }
}

fn leaf(stored: &Stored) -> Leaf {
    Leaf {
        hash: stored.leaf(STREAM),
        seq: stored.seq,
        time_ns: stored.time_ns,
    }
}

/// A tree as its notary signs it, with a checkpoint at each of these sizes.
struct World {
    tree: TreeId,
    events: Vec<Stored>,
    notes: Vec<String>,
    covering: Vec<Covering>,
}

impl World {
    fn new(tree: TreeId, events: Vec<Stored>, sizes: &[usize]) -> Self {
        let mut growing = Growing::new(tree.clone(), None);
        let mut world = Self {
            tree,
            events,
            notes: Vec::new(),
            covering: Vec::new(),
        };
        let mut rest = world.events.iter();
        for (at, &size) in sizes.iter().enumerate() {
            while growing.size() < size as u64 {
                let next = rest.next().expect("enough events");
                growing
                    .append(leaf(next))
                    .expect("nothing was signed before");
            }
            let now = STREAM + (100 + i64::try_from(at).expect("small")) * SECOND;
            let (signed, covering) = growing.next("test", STREAM, now, &key(1));
            growing.signed(signed.clone());
            world.notes.push(signed.note);
            world.covering.push(covering);
        }
        world
    }

    fn team() -> TreeId {
        TreeId::Team(TeamId::new(Timestamp(1), 2))
    }

    /// Ten events of a team, at sequences 10, 20, ... 100; checkpoints at 4, 7 and 10.
    fn export() -> Self {
        let events = (1..=10)
            .map(|n| stored(n * 10, &format!("event {n}")))
            .collect();
        Self::new(Self::team(), events, &[4, 7, 10])
    }

    fn log() -> Self {
        let events = (1..=10).map(|n| stored(n, &format!("event {n}"))).collect();
        Self::new(TreeId::Control, events, &[4, 7, 10])
    }

    fn older(&self) -> &str {
        &self.notes[1]
    }

    /// The leaves are listed in two blocks.
    fn lines(&self) -> Vec<String> {
        let header = Header {
            deployment: "test".into(),
            tree: self.tree.clone(),
            stream: STREAM,
        };
        let mut lines = vec![Line::Header(header).write()];
        for block in self.events.chunks(6) {
            lines.extend(
                block
                    .iter()
                    .map(|stored| Line::event(stored.clone()).write()),
            );
            lines.push(
                Line::Leaves(block.iter().map(|stored| stored.leaf(STREAM)).collect()).write(),
            );
        }
        lines.extend(
            self.notes
                .last()
                .map(|note| Line::Checkpoint(note.clone()).write()),
        );
        lines
    }
}

/// Places in `lines`: the header is 0, events 1 to 6 and 8 to 11, lists 7 and 12, the checkpoint 13.
fn line_of(event: usize) -> usize {
    if event <= 6 { event } else { event + 1 }
}
const LISTS: [usize; 2] = [7, 12];
const CHECKPOINT: usize = 13;

fn check(lines: &[String], older: Option<&str>) -> Report {
    let keys = keys();
    let mut check = ExportCheck::new(&keys, older);
    lines.iter().for_each(|line| check.line(line));
    check.finish()
}

#[track_caller]
fn finds(report: &Report, kind: Kind, seq: impl Into<Option<u64>>) {
    let seq = seq.into().map(StreamSeq);
    let found = report
        .findings
        .iter()
        .any(|finding| finding.kind == kind && finding.seq == seq);
    assert!(found, "{kind:?} at {seq:?} in {report:#?}");
}

#[track_caller]
fn finds_only(report: &Report, kind: Kind, seq: impl Into<Option<u64>>) {
    finds(report, kind, seq);
    assert_eq!(report.findings.len(), 1, "{report:#?}");
    assert_eq!(report.outcome, kind.outcome());
    assert_eq!(report.trusted, None);
}

fn tampered(change: impl FnOnce(&mut Vec<String>)) -> Report {
    let world = World::export();
    let mut lines = world.lines();
    change(&mut lines);
    check(&lines, Some(world.older()))
}
