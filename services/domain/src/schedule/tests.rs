use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::id::ScheduleId;
use crate::recurring::{CatchUp, Outcome, RunId, outcome_of_both};
use crate::time::Timestamp;

fn at(text: &str) -> Timestamp {
    Timestamp::parse_rfc3339(text).expect("a time")
}

fn next(when: &str, zone: &str, after: &str, count: usize) -> Vec<(String, Option<Oddity>)> {
    let (when, zone) = (
        When::parse(when).expect("valid"),
        Zone::parse(zone).expect("a zone"),
    );
    when.between(&zone, at(after), Timestamp::MAX)
        .take(count)
        .map(|due| (due.at.to_rfc3339(), due.oddity))
        .collect()
}

fn times(when: &str, zone: &str, after: &str, count: usize) -> Vec<String> {
    let next = next(when, zone, after, count).into_iter();
    next.map(|(at, _)| at.trim_end_matches(":00.000Z").to_owned())
        .collect()
}

#[test]
fn the_three_forms_are_read() {
    assert_eq!(
        times(
            "cron(30 9 * * MON-FRI)",
            "UTC",
            "2026-01-02T09:30:00.000Z",
            2
        ),
        ["2026-01-05T09:30", "2026-01-06T09:30"]
    );
    assert_eq!(
        times("every 1h30m", "UTC", "1970-01-01T00:10:00.000Z", 3),
        ["1970-01-01T01:30", "1970-01-01T03:00", "1970-01-01T04:30"]
    );
    let local = "at 2030-01-31T09:00";
    assert_eq!(
        times(local, "Europe/Madrid", "2026-01-01T00:00:00.000Z", 2),
        ["2030-01-31T08:00"]
    );
    let instant = "at 2030-01-31T09:00:00.000Z";
    assert_eq!(
        times(instant, "Asia/Tokyo", "2026-01-01T00:00:00.000Z", 2),
        ["2030-01-31T09:00"]
    );
    assert!(times(instant, "UTC", "2030-01-31T09:00:00.000Z", 2).is_empty());
}

#[test]
fn what_is_invalid_is_refused_by_its_field() {
    for text in [
        "",
        "often",
        "cron()",
        "cron(* * * *)",
        "cron(* * * * * *)",
        "cron(60 * * * *)",
        "cron(* 24 * * *)",
        "cron(* * 0 * *)",
        "cron(* * 30 2 *)",
        "cron(* * 31 4,6 *)",
        "cron(* * * 13 *)",
        "cron(* * * * 8)",
        "cron(5-1 * * * *)",
        "cron(*/0 * * * *)",
        "cron(+5 * * * *)",
        "cron(1, * * * *)",
        "every",
        "every 0s",
        "every 500ms",
        "every 2000d",
        "at",
        "at noon",
        "at 2030-02-30T09:00",
    ] {
        let refused = When::parse(text).expect_err(text);
        assert_eq!(refused.field, "when", "{text}");
        assert!(refused.message.starts_with("when"), "{}", refused.message);
    }
    for zone in ["", "Europe/Atlantis", "UTC+1", "../etc/passwd"] {
        assert_eq!(Zone::parse(zone).expect_err(zone).field, "zone");
    }
    assert!(!zones_version().is_empty());
}

#[test]
fn both_days_given_are_either_and_seven_is_sunday() {
    // 1 March 2026 is a Sunday.
    let either = times("cron(0 0 3 3 7)", "UTC", "2026-02-27T00:00:00.000Z", 3);
    assert_eq!(
        either,
        ["2026-03-01T00:00", "2026-03-03T00:00", "2026-03-08T00:00"]
    );
    let after = "2026-02-27T00:00:00.000Z";
    let sunday = |day: &str| times(&format!("cron(0 0 * * {day})"), "UTC", after, 5);
    assert_eq!(sunday("0"), sunday("7"));
    assert_eq!(sunday("5-7"), sunday("FRI,SAT,SUN"));
    let leap = times("cron(0 0 29 2 *)", "UTC", "2096-03-01T00:00:00.000Z", 1);
    assert_eq!(leap, ["2104-02-29T00:00"], "2100 is no leap year");
}

#[test]
fn in_spring_a_skipped_time_runs_once_after_the_gap() {
    let days = next(
        "cron(30 2 * * *)",
        "Europe/Madrid",
        "2026-03-28T00:00:00.000Z",
        3,
    );
    assert_eq!(
        days,
        [
            ("2026-03-28T01:30:00.000Z".into(), None),
            ("2026-03-29T01:00:00.000Z".into(), Some(Oddity::Skipped)),
            ("2026-03-30T00:30:00.000Z".into(), None),
        ]
    );
    let often = times(
        "cron(*/20 * * * *)",
        "Europe/Madrid",
        "2026-03-29T00:40:00.000Z",
        2,
    );
    assert_eq!(often, ["2026-03-29T01:00", "2026-03-29T01:20"]);
    let at = next(
        "at 2026-03-29T02:30",
        "Europe/Madrid",
        "2026-01-01T00:00:00.000Z",
        2,
    );
    assert_eq!(
        at,
        [("2026-03-29T01:00:00.000Z".into(), Some(Oddity::Skipped))]
    );
    // A whole day that an island left out.
    let samoa = times(
        "cron(0 9 30 12 *)",
        "Pacific/Apia",
        "2011-12-01T00:00:00.000Z",
        1,
    );
    assert_eq!(samoa, ["2011-12-30T10:00"]);
}

#[test]
fn a_crontab_has_seconds_and_leaves_out_what_the_clocks_skip() {
    let days = times(
        "crontab(30 2 * * *)",
        "Europe/Madrid",
        "2026-03-28T00:00:00.000Z",
        2,
    );
    assert_eq!(days, ["2026-03-28T01:30", "2026-03-30T00:30"]);
    let seconds = next(
        "crontab(*/25 59 23 * * *)",
        "UTC",
        "2026-03-28T23:59:25.000Z",
        3,
    );
    let seconds: Vec<_> = seconds.into_iter().map(|(at, _)| at).collect();
    assert_eq!(
        seconds,
        [
            "2026-03-28T23:59:50.000Z",
            "2026-03-29T23:59:00.000Z",
            "2026-03-29T23:59:25.000Z",
        ]
    );
    let steps = |when: &str| times(when, "UTC", "2026-01-01T00:30:00.000Z", 4);
    assert_eq!(
        steps("crontab(0 0 1 */3 *)"),
        [
            "2026-04-01T00:00",
            "2026-07-01T00:00",
            "2026-10-01T00:00",
            "2027-01-01T00:00"
        ]
    );
    assert_eq!(
        steps("crontab(0 0 */2 * *)")[..2],
        ["2026-01-03T00:00", "2026-01-05T00:00"]
    );
    // The hour that repeats fires once.
    let autumn = times(
        "crontab(0 30 2 * * *)",
        "Europe/Madrid",
        "2026-10-25T00:00:00.000Z",
        2,
    );
    assert_eq!(autumn, ["2026-10-25T00:30", "2026-10-26T01:30"]);
    for wrong in ["crontab(* * * *)", "crontab(60 * * * * *)", "crontab()"] {
        assert!(When::parse(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn a_zone_may_be_a_distance_from_utc() {
    let after = "2026-01-01T00:00:00.000Z";
    assert_eq!(
        times("crontab(0 9 * * *)", "+05:30", after, 1),
        ["2026-01-01T03:30"]
    );
    assert_eq!(
        times("cron(0 9 * * *)", "-03:00", after, 1),
        ["2026-01-01T12:00"]
    );
    for wrong in ["+5:30", "+24:00", "+05:60", "05:30", "+05", "+-5:30"] {
        assert!(Zone::parse(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn in_autumn_a_repeated_time_runs_once() {
    let days = next(
        "cron(30 2 * * *)",
        "Europe/Madrid",
        "2026-10-24T12:00:00.000Z",
        2,
    );
    assert_eq!(
        days,
        [
            ("2026-10-25T00:30:00.000Z".into(), Some(Oddity::Repeated)),
            ("2026-10-26T01:30:00.000Z".into(), None),
        ]
    );
    // Asked for between both, and in the second.
    for after in ["2026-10-25T00:30:00.000Z", "2026-10-25T01:10:00.000Z"] {
        let again = times("cron(30 2 * * *)", "Europe/Madrid", after, 1);
        assert_eq!(again, ["2026-10-26T01:30"]);
    }
}

#[test]
fn new_rules_of_a_zone_hold_from_where_the_last_version_ended() {
    // The zone gives up its summer time between two versions of the database.
    let when = When::parse("cron(0 9 * * *)").expect("valid");
    let zones = ["CET-1CEST,M3.5.0,M10.5.0/3", "CET-1"].map(Zone::of_rule);
    let (begin, change, end) = (
        at("2026-07-01T00:00:00.000Z"),
        at("2026-07-03T07:30:00.000Z"),
        at("2026-07-06T00:00:00.000Z"),
    );
    let before = when.between(&zones[0], begin, change);
    let due: Vec<_> = before.chain(when.between(&zones[1], change, end)).collect();
    let days: BTreeSet<_> = due.iter().map(|due| due.at).collect();
    assert_eq!(days.len(), due.len(), "none twice");
    assert!(due.is_sorted_by_key(|due| due.at));
    // On the third, 9:00 came by the old rules and comes again by the new ones: another instant.
    assert_eq!(due.len(), 6);
}

fn schedule() -> ScheduleId {
    ScheduleId::new(Timestamp(1), 1)
}

#[test]
fn a_run_has_one_name_and_one_jitter() {
    let (id, most) = (schedule(), Duration::from_secs(60));
    let run = RunId::due(&id, 1, Timestamp(60_000));
    assert_eq!(run, RunId::due(&id, 1, Timestamp(60_000)));
    let others = [
        RunId::due(&id, 2, Timestamp(60_000)),
        RunId::due(&id, 1, Timestamp(60_001)),
        RunId::due(&ScheduleId::new(Timestamp(1), 2), 1, Timestamp(60_000)),
        RunId::manual(&id, "60000"),
        RunId::manual(&id, "1 due 60000"),
    ];
    assert!(
        others
            .iter()
            .all(|other| *other != run && other.key() != run.key())
    );
    assert_eq!(run.jitter(most), run.jitter(most));
    assert!(run.jitter(most) < most && run.jitter(Duration::ZERO).is_zero());
    assert!(!run.key().is_ascii(), "no client can give it");
}

/// The outcome of each instant, as `settle` tells it in spans.
fn outcomes(settled: &[Settled], due: &[Due]) -> Vec<(Timestamp, Outcome)> {
    let told = settled.iter().flat_map(|span| {
        let inside = due
            .iter()
            .filter(|due| (span.from.at..=span.to).contains(&due.at));
        let inside: Vec<_> = inside.map(|due| (due.at, span.outcome)).collect();
        assert_eq!(inside.len() as u64, span.count);
        inside
    });
    told.collect()
}

fn due(minutes: impl IntoIterator<Item = i64>) -> Vec<Due> {
    let minutes = minutes.into_iter();
    minutes
        .map(|at| Due {
            at: Timestamp(at * 60_000),
            oddity: None,
        })
        .collect()
}

fn decided(catch_up: CatchUp, now: i64) -> String {
    let due = due(1..=4);
    let standing = Standing {
        catch_up,
        pauses: &[],
    };
    let settled = settle(due.iter().copied(), &standing, Timestamp(now * 60_000));
    let letter = |(_, outcome)| match outcome {
        Outcome::Fired => 'F',
        Outcome::Missed => 'M',
        Outcome::Paused => 'P',
    };
    outcomes(&settled, &due).into_iter().map(letter).collect()
}

#[test]
fn what_is_late_is_caught_up_as_far_as_the_policy_says() {
    let all = |most, minutes: i64| CatchUp::All {
        most,
        within_ms: minutes * 60_000,
    };
    for (catch_up, now, expected) in [
        (CatchUp::None, 9, "MMMM"),
        (CatchUp::None, 4, "MMFF"),
        (CatchUp::Last, 9, "MMMF"),
        (CatchUp::Last, 4, "MMFF"),
        (all(2, 60), 9, "MMFF"),
        (all(9, 60), 9, "FFFF"),
        (all(9, 6), 9, "MMFF"),
        (all(0, 60), 9, "MMMM"),
        (all(1, 60), 4, "MFFF"),
    ] {
        assert_eq!(decided(catch_up, now), expected, "{catch_up:?} {now}");
    }
}

fn catch_up() -> impl Strategy<Value = CatchUp> {
    prop_oneof![
        Just(CatchUp::None),
        Just(CatchUp::Last),
        (0..5_u32, 0..600_000_i64).prop_map(|(most, within_ms)| CatchUp::All { most, within_ms }),
    ]
}

proptest! {
    /// Gateways that die and are replaced by others, whose clocks differ and who begin again behind
    /// a checkpoint of long ago, give each instant one outcome, and make no run twice.
    #[test]
    fn every_due_instant_has_one_outcome_and_none_fires_twice(
        catch_up in catch_up(),
        pause in prop::option::of((0..3_600_000_i64, 0..1_200_000_i64)),
        pause_in_s in 1..300_i64,
        turns in prop::collection::vec((0..600_000_i64, -30_000..30_000_i64, any::<bool>()), 1..20),
    ) {
        let when = When::Every(pause_in_s * 1_000);
        let zone = Zone::utc();
        let pauses: Vec<_> = pause
            .map(|(from, length)| Interval { from: Timestamp(from), until: Some(Timestamp(from + length)) })
            .into_iter()
            .collect();
        let (mut time, mut checkpoint, mut reached) = (0, Timestamp(0), Timestamp(0));
        let mut ledger: BTreeMap<Timestamp, Outcome> = BTreeMap::new();
        let mut made: BTreeMap<String, Timestamp> = BTreeMap::new();
        for (passed, clock, dies) in turns {
            time += passed;
            let now = Timestamp(time + clock);
            let from = if dies { checkpoint } else { reached };
            let standing = Standing { catch_up, pauses: &pauses };
            let due: Vec<_> = when.between(&zone, from, now).collect();
            let settled = settle(due.iter().copied(), &standing, now);
            let told = outcomes(&settled, &due);
            prop_assert_eq!(told.iter().map(|(at, _)| *at).collect::<Vec<_>>(), due.iter().map(|due| due.at).collect::<Vec<_>>());
            for (at, outcome) in told {
                if outcome == Outcome::Fired {
                    let known = made.insert(RunId::due(&schedule(), 1, at).key(), at);
                    prop_assert!(known.is_none_or(|known| known == at));
                }
                let kept = ledger.entry(at).or_insert(outcome);
                *kept = outcome_of_both(*kept, outcome);
            }
            if !dies {
                checkpoint = reached;
            }
            reached = reached.max(now);
        }
        let all: Vec<_> = when.between(&zone, Timestamp(0), reached).map(|due| due.at).collect();
        prop_assert_eq!(ledger.keys().copied().collect::<Vec<_>>(), all);
        let fired: BTreeSet<_> = ledger.iter().filter(|(_, outcome)| **outcome == Outcome::Fired).map(|(at, _)| *at).collect();
        prop_assert_eq!(fired, made.values().copied().collect::<BTreeSet<_>>());
        for (at, outcome) in &ledger {
            let paused = pauses.iter().any(|pause| pause.from <= *at && pause.until.is_none_or(|until| *at < until));
            prop_assert_eq!(*outcome == Outcome::Paused, paused);
        }
    }

    /// The instants of a calendar are those minutes whose local time it names, but for the minutes
    /// that the clocks of the zone leave out or repeat.
    #[test]
    fn a_calendar_has_the_minutes_that_it_names(
        begin in 1_700_000_000_i64..1_900_000_000,
        hour in 0..24_i8,
        minute in 0..60_i8,
        zone in prop::sample::select(vec!["Europe/Madrid", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "Africa/Casablanca", "America/Santiago"]),
    ) {
        let when = When::parse(&format!("cron({minute} {hour} * * *)")).expect("valid");
        let zone = Zone::parse(zone).expect("a zone");
        let begin = Timestamp(begin * 1_000);
        let end = Timestamp(begin.0 + 400 * 86_400_000);
        let due: Vec<_> = when.between(&zone, begin, end).collect();
        prop_assert!(due.is_sorted_by(|a, b| a.at < b.at));
        let mut days = BTreeSet::new();
        for due in &due {
            let local = zone.local(due.at).expect("in the calendar");
            if due.oddity != Some(Oddity::Skipped) {
                prop_assert_eq!((local.hour(), local.minute(), local.second()), (hour, minute, 0));
            }
            prop_assert!(days.insert(local.date()), "twice on {}", local.date());
        }
        prop_assert!((399..=401).contains(&due.len()), "{}", due.len());
    }

    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,40}", fields in "(cron\\(|every |at )[0-9*,/ A-Z:+-]{0,30}\\)?") {
        for text in [text, fields] {
            if let Ok(when) = When::parse(&text) {
                let zone = Zone::parse("America/New_York").expect("a zone");
                for after in [Timestamp(0), Timestamp::MAX, Timestamp(i64::MIN / 2)] {
                    prop_assert!(when.next(&zone, after).is_none_or(|due| due.at > after));
                }
            }
        }
    }
}
