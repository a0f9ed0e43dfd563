//! The log itself, whole and tampered with.

use super::*;

/// Ten seconds after the last checkpoint, in a log that has stopped growing.
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
