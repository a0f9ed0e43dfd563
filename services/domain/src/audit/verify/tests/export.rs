//! Exports, whole and tampered with.

use super::*;

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
    // Only the text that people read.
    finds_only(
        &tampered(|lines| lines[3] = lines[3].replace("event 3", "event x")),
        Kind::Altered,
        30,
    );
    // The whole event, well-formed.
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
    // Including the checkpoint.
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

/// When both an event and the list of leaves are changed, the finding names the checkpoints around
/// the event instead of the event.
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
    // Alone it looks complete.
    assert_eq!(check(&forked.lines(), None).outcome, Outcome::Intact);
    let report = check(&forked.lines(), Some(kept.older()));
    finds_only(&report, Kind::Forked, 1);
    assert_eq!(report.findings[0].until, Some(StreamSeq(70)));
    // After the kept checkpoint, nothing can prove it.
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
    // A forged signature, in an otherwise untouched export.
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

/// Three bits of every byte of an export, among them the one that separates upper from lower case.
/// Notes alone are tested with all bits.
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
            // A rejected line is a finding by itself, so the signatures need not be verified each
            // time.
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
    // A rejected line is a finding.
    let mut lines = lines;
    lines[1].push(' ');
    finds(&check(&lines, None), Kind::Altered, 10);
}

proptest! {
    /// Any change to the order of lines is noticed.
    #[test]
    fn no_shuffled_export_is_accepted(order in proptest::collection::vec(0..14_usize, 0..16)) {
        let world = World::export();
        let lines = world.lines();
        let shuffled: Vec<String> = order.iter().map(|&at| lines[at].clone()).collect();
        let report = check(&shuffled, Some(world.older()));
        prop_assert_eq!(report.outcome == Outcome::Intact, shuffled == lines);
    }
}
