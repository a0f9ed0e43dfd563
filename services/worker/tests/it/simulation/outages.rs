//! Hosts that fail in simulated histories, and a partition that stands still.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::history::{Conditions, History, ProcessFaults, live};
use super::world::{Sabotage, World};
use super::{NOTICED_WITHIN, RUNS, must_keep_its_promises, number, seeds, uneventful};

/// Lets the append of a start hang for ever, and returns how long its task took to end; `None` if it
/// had not after ten minutes.
fn outlives_a_hanging_append(seed: u64) -> Option<Duration> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let world = World::new(seed, uneventful());
        let mut history = History::of(&world, 1, 4);
        history.hire();
        world.hangs.store(true, Ordering::Relaxed);
        let mut task = history.gateway.a_task();
        (task.not_before, task.ordering, task.expires_in_ms) = (None, None, None);
        assert!(history.gateway.create(task).await);
        let began = tokio::time::Instant::now();
        let ends = async {
            while world.ledger().open() > 0 {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        let ended = tokio::time::timeout(Duration::from_secs(600), ends).await;
        let took = began.elapsed();
        history.stop_all().await;
        assert_eq!(world.ledger().violations, Vec::<String>::new());
        ended.ok().map(|()| took)
    })
}

#[test]
fn a_partition_that_stands_still_is_given_away_and_goes_on() {
    for seed in 0..10 {
        let took = outlives_a_hanging_append(seed).expect("it goes on");
        assert!(took > Duration::from_secs(30), "it did not hang: {took:?}");
        assert!(took < Duration::from_secs(120), "{took:?}");
    }
}

/// The host of all tasks is down half of the time, and rests by a rule.
fn outages() -> Conditions {
    Conditions {
        health: true,
        tasks: 60,
        // The times in events say when a pause is over.
        process_faults: ProcessFaults::Crashes,
        ..Conditions::default()
    }
}

#[test]
fn nothing_but_single_probes_starts_at_a_host_that_fails_whatever_happens() {
    let mut seen: BTreeMap<&'static str, u64> = BTreeMap::new();
    for seed in seeds(RUNS / 5) {
        for (what, times) in must_keep_its_promises(seed, outages()) {
            *seen.entry(what).or_default() += times;
        }
    }
    eprintln!("{seen:?}");
    if number("WAYBILL_SIM_SEED").is_none() {
        assert!(
            seen.contains_key("opened") && seen.contains_key("probe"),
            "{seen:?}"
        );
    }
}

/// Runs histories without a guard until the ledger notices a start at an open host.
fn is_noticed_at_the_host(sabotage: Sabotage) {
    for seed in 0..NOTICED_WITHIN {
        let conditions = Conditions {
            sabotage: Some(sabotage),
            ..outages()
        };
        let violations = live(seed, conditions).violations;
        if violations
            .iter()
            .any(|what| what.contains("at a host that is open"))
        {
            return;
        }
    }
    panic!("nobody noticed {sabotage:?} in {NOTICED_WITHIN} histories");
}

#[test]
fn a_worker_without_the_rules_of_hosts_is_noticed() {
    is_noticed_at_the_host(Sabotage::NoHealthRules);
}

#[test]
fn a_new_owner_that_overlooks_failures_of_hosts_is_noticed() {
    is_noticed_at_the_host(Sabotage::NoHostFailures);
}
