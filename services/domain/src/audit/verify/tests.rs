//! An export and a log of a team of ten events, and what is found after each thing that can be done to them.

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

/// A tree as its notary signs it: a checkpoint after each of these sizes.
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

    /// Lists of leaves come in two blocks.
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

#[test]
fn an_untouched_export_is_intact() {
    let world = World::export();
    for older in [
        None,
        Some(world.older()),
        world.notes.last().map(String::as_str),
    ] {
        let report = check(&world.lines(), older);
        assert_eq!(report.outcome, Outcome::Intact, "{report:#?}");
        assert_eq!((report.events, report.covered), (10, 10));
        assert_eq!(report.trusted, world.notes.last().cloned());
    }
}

#[test]
fn an_edited_event_is_found() {
    // The text that people read, alone.
    finds_only(
        &tampered(|lines| lines[3] = lines[3].replace("event 3", "event x")),
        Kind::Altered,
        30,
    );
    // The event as a whole, well-formed.
    let edited = Line::event(stored(30, "event x")).write();
    finds_only(&tampered(|lines| lines[3] = edited), Kind::Altered, 30);
}

#[test]
fn a_changed_time_is_found() {
    let mut event = stored(80, "event 8");
    event.time_ns += 1;
    let edited = Line::event(event).write();
    finds_only(
        &tampered(|lines| lines[line_of(8)] = edited),
        Kind::Altered,
        80,
    );
}

#[test]
fn a_removed_event_is_found() {
    for (event, after) in [(1, 1), (5, 41), (7, 61)] {
        let report = tampered(|lines| drop(lines.remove(line_of(event))));
        finds_only(&report, Kind::Missing, after);
    }
    let report = tampered(|lines| drop(lines.drain(3..=5)));
    finds_only(&report, Kind::Missing, 21);
    assert!(
        report.findings[0].detail.starts_with("3 events"),
        "{report:#?}"
    );
}

#[test]
fn a_removed_end_is_found() {
    finds_only(
        &tampered(|lines| drop(lines.remove(line_of(10)))),
        Kind::Truncated,
        91,
    );
    finds_only(
        &tampered(|lines| drop(lines.drain(8..=11))),
        Kind::Truncated,
        61,
    );
    finds_only(
        &tampered(|lines| drop(lines.drain(1..=12))),
        Kind::Truncated,
        1,
    );
    // The checkpoint with it.
    finds_only(&tampered(|lines| lines.truncate(8)), Kind::Truncated, 61);
    finds(&tampered(|lines| lines.truncate(1)), Kind::Truncated, 1);
    let nothing = tampered(Vec::clear);
    assert_eq!(nothing.outcome, Outcome::Tampered);
}

#[test]
fn an_inserted_event_is_found() {
    for (at, seq) in [(1, 5), (5, 45), (11, 95)] {
        let more = Line::event(stored(seq, "inserted")).write();
        finds_only(
            &tampered(|lines| lines.insert(at, more)),
            Kind::Inserted,
            seq,
        );
    }
    let behind = Line::event(stored(101, "inserted")).write();
    finds_only(
        &tampered(|lines| lines.insert(CHECKPOINT - 1, behind.clone())),
        Kind::Inserted,
        101,
    );
    finds_only(&tampered(|lines| lines.push(behind)), Kind::Inserted, 101);
    finds_only(
        &tampered(|lines| lines.insert(4, lines[2].clone())),
        Kind::Inserted,
        20,
    );
}

#[test]
fn reordered_events_are_found() {
    finds_only(&tampered(|lines| lines.swap(2, 5)), Kind::Reordered, 50);
    finds_only(
        &tampered(|lines| lines.swap(line_of(9), line_of(10))),
        Kind::Reordered,
        100,
    );
    let report = tampered(|lines| {
        let moved = lines.remove(1);
        lines.insert(6, moved);
    });
    finds_only(&report, Kind::Reordered, 20);
}

#[test]
fn several_things_at_once_are_all_found() {
    let report = tampered(|lines| {
        lines[2] = Line::event(stored(20, "event x")).write();
        lines.remove(line_of(5));
        lines.insert(8, Line::event(stored(75, "inserted")).write());
        lines.remove(line_of(10));
    });
    finds(&report, Kind::Altered, 20);
    finds(&report, Kind::Missing, 41);
    finds(&report, Kind::Inserted, 75);
    finds(&report, Kind::Truncated, 91);
    assert_eq!(report.findings.len(), 4, "{report:#?}");
}

/// Whoever changes an event and the list of leaves with it is not told the event's name, but between which checkpoints it is.
#[test]
fn an_edit_with_its_list_is_found_between_checkpoints() {
    let mut world = World::export();
    world.events[7] = stored(80, "event x");
    let report = check(&world.lines(), Some(world.older()));
    finds_only(&report, Kind::Altered, 80);
    assert_eq!(report.findings[0].until, Some(StreamSeq(100)));

    let mut world = World::export();
    world.events[2] = stored(30, "event x");
    let report = check(&world.lines(), Some(world.older()));
    finds_only(&report, Kind::Altered, 10);
    assert_eq!(report.findings[0].until, Some(StreamSeq(100)));

    let mut world = World::export();
    world.events.remove(8);
    finds_only(
        &check(&world.lines(), Some(world.older())),
        Kind::Missing,
        80,
    );
    let mut world = World::export();
    world.events.truncate(8);
    finds_only(
        &check(&world.lines(), Some(world.older())),
        Kind::Truncated,
        81,
    );
    let mut world = World::export();
    world.events.insert(8, stored(85, "inserted"));
    finds_only(
        &check(&world.lines(), Some(world.older())),
        Kind::Inserted,
        80,
    );
    let mut world = World::export();
    world.events.swap(8, 9);
    finds_only(
        &check(&world.lines(), Some(world.older())),
        Kind::Reordered,
        90,
    );
}

#[test]
fn a_changed_list_of_leaves_is_found() {
    for list in LISTS {
        let report = tampered(|lines| drop(lines.remove(list)));
        finds_only(&report, Kind::Malformed, None);
    }
}

#[test]
fn a_history_that_was_rewritten_and_signed_again_is_a_fork() {
    let kept = World::export();
    let mut events = kept.events.clone();
    events[5] = stored(60, "event x");
    let forked = World::new(kept.tree.clone(), events, &[4, 7, 10]);
    // Alone it looks whole.
    assert_eq!(check(&forked.lines(), None).outcome, Outcome::Intact);
    let report = check(&forked.lines(), Some(kept.older()));
    finds_only(&report, Kind::Forked, 1);
    assert_eq!(report.findings[0].until, Some(StreamSeq(70)));
    // Behind the checkpoint that was kept, nobody can tell.
    let mut events = kept.events.clone();
    events[8] = stored(90, "event x");
    let later = World::new(kept.tree.clone(), events, &[4, 7, 10]);
    assert_eq!(
        check(&later.lines(), Some(kept.older())).outcome,
        Outcome::Intact
    );
}

#[test]
fn an_older_state_is_found_to_be_rolled_back() {
    let kept = World::export();
    let old = World::new(kept.tree.clone(), kept.events[..5].to_vec(), &[5]);
    assert_eq!(check(&old.lines(), None).outcome, Outcome::Intact);
    let report = check(&old.lines(), Some(kept.older()));
    finds_only(&report, Kind::RolledBack, 51);
    assert_eq!(report.findings[0].until, Some(StreamSeq(70)));
}

#[test]
fn what_is_of_another_tree_or_stream_does_not_count() {
    let other = World::new(
        TreeId::Team(TeamId::new(Timestamp(9), 9)),
        World::export().events,
        &[10],
    );
    let report =
        tampered(|lines| lines[CHECKPOINT] = Line::Checkpoint(other.notes[0].clone()).write());
    finds(&report, Kind::OtherStream, None);
    let report =
        tampered(|lines| lines[0] = lines[0].replace(&STREAM.to_string(), "1795245100000000001"));
    finds(&report, Kind::OtherStream, None);
    assert_eq!(report.outcome, Outcome::Tampered);
}

#[test]
fn a_signature_that_does_not_count_is_trouble_with_keys() {
    let world = World::export();
    let with = |keys: &TrustedKeys| {
        let mut check = ExportCheck::new(keys, None);
        world.lines().iter().for_each(|line| check.line(line));
        check.finish()
    };
    let stranger = TrustedKeys::only(key(2).public());
    finds_only(&with(&stranger), Kind::Signature, None);
    let ranged = |from, until| {
        TrustedKeys::new(vec![Trusted {
            key: PublicKey::clone(&key(1).public()),
            from,
            until,
        }])
    };
    let signed = Timestamp(STREAM / 1_000_000 + 102_000);
    finds_only(&with(&ranged(None, Some(signed))), Kind::Signature, None);
    finds_only(
        &with(&ranged(Some(Timestamp(signed.0 + 1)), None)),
        Kind::Signature,
        None,
    );
    assert_eq!(with(&ranged(Some(signed), None)).outcome, Outcome::Intact);
    // A forged one, in an otherwise untouched export.
    let note = world.notes[2].replacen("\n10\n", "\n11\n", 1);
    let report = tampered(|lines| lines[CHECKPOINT] = Line::Checkpoint(note).write());
    finds(&report, Kind::Signature, None);
    assert_ne!(report.outcome, Outcome::Intact);
}

#[test]
fn without_any_checkpoint_nothing_is_said() {
    let world = World::export();
    let report = check(&world.lines()[..CHECKPOINT], None);
    finds_only(&report, Kind::NoCheckpoint, None);
    assert_eq!(report.outcome.exit_code(), 2);
}

#[test]
fn secrets_are_withheld_and_the_export_is_intact() {
    let event = samples::control_events()
        .into_iter()
        .find(|event| event.name() == "key.created.v1");
    let payload = Bytes::from(event.expect("there is one").encode());
    let events = vec![
        stored(10, "a"),
        Stored {
            payload,
            ..stored(20, "b")
        },
    ];
    let world = World::new(World::team(), events, &[2]);
    let lines = world.lines();
    assert!(lines[2].contains("\"withheld\":[\"mac\"]"), "{}", lines[2]);
    assert!(!lines.join("\n").contains(&"ab".repeat(32)));
    assert_eq!(check(&lines, None).outcome, Outcome::Intact);
    let mut lines = lines;
    lines[2] = lines[2].replace("\"withheld\":[\"mac\"],", "");
    finds_only(&check(&lines, None), Kind::Altered, 20);
}

/// In every byte of an export three bits, among them the one that makes upper case of lower case. The notes alone are tested with all.
#[test]
fn no_flipped_bit_of_an_export_is_accepted() {
    let events = vec![stored(10, "a"), stored(20, "b")];
    let world = World::new(World::team(), events, &[2]);
    let lines = world.lines();
    let mut whole = 0;
    for (place, line) in lines.iter().enumerate() {
        for (at, bit) in (0..line.len()).flat_map(|at| [0, 2, 5].map(|bit| (at, bit))) {
            let mut bytes = line.clone().into_bytes();
            bytes[at] ^= 1 << bit;
            let Ok(altered) = String::from_utf8(bytes) else {
                continue;
            };
            // A line that is refused is a finding, whatever the others say: the signatures need not be checked each time.
            if Line::read(&altered).is_err() {
                continue;
            }
            whole += 1;
            let mut lines = lines.clone();
            lines[place] = altered;
            let report = check(&lines, None);
            assert_ne!(
                report.outcome,
                Outcome::Intact,
                "line {place}, byte {at}, bit {bit}: {}",
                lines[place]
            );
        }
    }
    assert!(whole > 100, "some reach the signature");
    // A line that is refused is a finding.
    let mut lines = lines;
    lines[1].push(' ');
    finds(&check(&lines, None), Kind::Altered, 10);
}

// The log itself.

/// Ten seconds after the last checkpoint, in a log that grows no more.
const NOW: i64 = STREAM + 112 * SECOND;

fn check_log(events: &[Stored], covering: &[Covering], older: Option<&str>) -> Report {
    check_log_at(events, covering, older, STREAM, NOW)
}

fn check_log_at(
    events: &[Stored],
    covering: &[Covering],
    older: Option<&str>,
    stream: i64,
    now: i64,
) -> Report {
    let keys = keys();
    let mut check = LogCheck::new(&keys, stream, older);
    covering
        .iter()
        .for_each(|covering| check.checkpoint(&covering.encode()));
    events.iter().for_each(|stored| check.event(stored));
    check.finish(now)
}

fn tampered_log(change: impl FnOnce(&mut Vec<Stored>)) -> Report {
    let world = World::log();
    let mut events = world.events.clone();
    change(&mut events);
    check_log(&events, &world.covering, Some(world.older()))
}

#[test]
fn an_untouched_log_is_intact() {
    let world = World::log();
    let report = check_log(&world.events, &world.covering, Some(world.older()));
    assert_eq!(report.outcome, Outcome::Intact, "{report:#?}");
    assert_eq!(
        (report.events, report.covered, report.checkpoints),
        (10, 10, 3)
    );
    assert_eq!(report.trusted, world.notes.last().cloned());
}

#[test]
fn what_was_done_to_the_log_is_named_with_its_sequence() {
    finds_only(
        &tampered_log(|events| events[4] = stored(5, "x")),
        Kind::Altered,
        5,
    );
    finds_only(
        &tampered_log(|events| events[0].time_ns += 1),
        Kind::Altered,
        1,
    );
    finds_only(
        &tampered_log(|events| drop(events.remove(4))),
        Kind::Missing,
        5,
    );
    finds_only(
        &tampered_log(|events| drop(events.drain(..3))),
        Kind::Missing,
        1,
    );
    finds_only(
        &tampered_log(|events| events.truncate(6)),
        Kind::Truncated,
        7,
    );
    finds_only(&tampered_log(Vec::clear), Kind::Truncated, 1);
    finds_only(
        &tampered_log(|events| events.insert(3, stored(4, "x"))),
        Kind::Inserted,
        4,
    );
    finds_only(
        &tampered_log(|events| events.swap(1, 6)),
        Kind::Reordered,
        7,
    );
}

#[test]
fn a_log_that_lost_its_end_and_its_checkpoints_is_found_by_the_one_kept() {
    let world = World::log();
    let short = &world.events[..4];
    assert_eq!(
        check_log(short, &world.covering[..1], None).outcome,
        Outcome::Intact
    );
    let report = check_log(short, &world.covering[..1], Some(world.older()));
    finds_only(&report, Kind::RolledBack, 5);
    let report = check_log(&[], &[], Some(world.older()));
    finds(&report, Kind::RolledBack, 1);
    finds(&report, Kind::Truncated, 1);
}

#[test]
fn a_log_made_anew_is_another_one() {
    let world = World::log();
    let report = check_log_at(
        &world.events,
        &world.covering,
        Some(world.older()),
        STREAM + 1,
        NOW,
    );
    finds(&report, Kind::OtherStream, None);
    assert_eq!(report.outcome, Outcome::Tampered);
}

#[test]
fn the_chain_of_checkpoints_has_no_hole() {
    let world = World::log();
    let mut covering = world.covering.clone();
    covering.remove(1);
    let report = check_log(&world.events, &covering, None);
    finds(&report, Kind::Missing, 5);
    let mut covering = world.covering.clone();
    covering.swap(0, 1);
    assert_eq!(
        check_log(&world.events, &covering, None).outcome,
        Outcome::Tampered
    );
    let mut covering = world.covering.clone();
    covering[1].note = covering[1].note.replacen("\n7\n", "\n8\n", 1);
    finds_only(
        &check_log(&world.events, &covering, None),
        Kind::Signature,
        None,
    );
    let mut forked = World::log();
    forked.events[1] = stored(2, "x");
    let forked = World::new(TreeId::Control, forked.events, &[4, 7, 10]);
    let report = check_log(&forked.events, &forked.covering, Some(world.older()));
    finds_only(&report, Kind::Forked, 1);
}

#[test]
fn a_silent_or_late_notary_is_told() {
    let world = World::log();
    let at = |now| check_log_at(&world.events, &world.covering, None, STREAM, now);
    let hour = 3600 * SECOND;
    assert_eq!(at(NOW + hour - 60 * SECOND).outcome, Outcome::Intact);
    finds_only(&at(NOW + hour + 200 * SECOND), Kind::Silence, 11);
    let mut events = world.events.clone();
    let mut late = stored(11, "late");
    late.time_ns = NOW - SECOND;
    events.push(late.clone());
    assert_eq!(
        check_log(&events, &world.covering, None).outcome,
        Outcome::Intact
    );
    let report = check_log_at(&events, &world.covering, None, STREAM, NOW + 5 * SECOND);
    finds_only(&report, Kind::Uncovered, 11);
    assert_eq!(report.outcome.exit_code(), 2);
}

proptest! {
    /// Whatever is done to the lines: it is noticed, unless nothing was done.
    #[test]
    fn no_shuffled_export_is_accepted(order in proptest::collection::vec(0..14_usize, 0..16)) {
        let world = World::export();
        let lines = world.lines();
        let shuffled: Vec<String> = order.iter().map(|&at| lines[at].clone()).collect();
        let report = check(&shuffled, Some(world.older()));
        prop_assert_eq!(report.outcome == Outcome::Intact, shuffled == lines);
    }

    #[test]
    fn any_removal_insertion_and_edit_is_noticed_in_the_log(
        steps in proptest::collection::vec((0..3_u8, any::<proptest::sample::Index>()), 1..5),
    ) {
        let world = World::log();
        let mut events = world.events.clone();
        for (step, at) in steps {
            if events.is_empty() {
                break;
            }
            let at = at.index(events.len());
            match step {
                0 => drop(events.remove(at)),
                1 => events.insert(at, stored(at as u64 + 1, "inserted")),
                _ => events[at] = stored(at as u64 + 1, "edited"),
            }
        }
        let report = check_log(&events, &world.covering, None);
        prop_assert_eq!(report.outcome == Outcome::Intact, events == world.events);
        prop_assert!(report.outcome == Outcome::Intact || !report.findings.is_empty());
    }
}
