//! Histories of ten thousand events and more, with all rules at once: what shows only in a crowd, or only after a while.

use std::collections::BTreeMap;

use waybill_domain::event::TaskEvent;

use super::history::{Conditions, ProcessFaults};
use super::{must_keep_its_promises, no_history, seeds};

/// How long such a history is at least, in events of tasks.
const EVENTS: u64 = 10_000;

/// Clients of every kind, for minutes.
fn everything() -> Conditions {
    Conditions {
        least: 5_200,
        tasks: 1,
        lasts_ms: (60_000, 90_000),
        pauses: true,
        pulls: true,
        flows: 120,
        ..Conditions::default()
    }
}

/// How many events of tasks there were.
fn events(counts: &BTreeMap<&'static str, u64>) -> u64 {
    let kinds = TaskEvent::NAMES.iter().filter_map(|name| {
        let kind = name.strip_prefix("task.")?;
        kind.rsplit_once('.').map(|(kind, _)| kind)
    });
    kinds.filter_map(|kind| counts.get(kind)).sum()
}

/// Each of these histories is long, and has all of this in it.
fn are_long(conditions: Conditions, expected: &[&str]) {
    for seed in seeds(1) {
        let seen = must_keep_its_promises(seed, conditions);
        let events = events(&seen);
        eprintln!("seed {seed}: {events} events: {seen:?}");
        assert!(events >= EVENTS, "seed {seed}: {events} events");
        for what in expected {
            assert!(seen.contains_key(what), "seed {seed}: {what}: {seen:?}");
        }
    }
}

#[test]
fn every_rule_holds_for_ten_thousand_events_of_a_host_that_fails() {
    let conditions = Conditions {
        health: true,
        // The times in events say when the pause of a host is over.
        process_faults: ProcessFaults::Crashes,
        ..everything()
    };
    are_long(
        conditions,
        &[
            "owned",
            "paused",
            "opened by hand",
            "opened",
            "probe",
            "given",
            "released by others",
            "gave way",
            "started within limits",
            "started beside others of its key",
            "priority_changed",
            "cancelled by its line",
        ],
    );
}

#[test]
fn every_rule_holds_for_ten_thousand_events_of_which_the_log_keeps_few() {
    let conditions = Conditions {
        blocks: true,
        retention: no_history().retention,
        // Each of them is stated again time after time.
        least: 1_500,
        ..everything()
    };
    are_long(
        conditions,
        &[
            "owned",
            "paused",
            "given",
            "blocked",
            "restated",
            "mark moved",
            "released by others",
            "gave way",
            "started within limits",
            "priority_changed",
        ],
    );
}
