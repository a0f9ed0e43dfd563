//! The real worker in a simulated world: simulated log, network, targets, clients, clocks and time, all driven by one seed.
//!
//! The code under test is that of production, from [`waybill_worker::Worker`] down to the dispatcher; a single-threaded runtime
//! with paused time makes every history repeatable. Workers die, stand still past their leases, lose requests and answers of
//! the log, read late, get damaged snapshots, and their clocks jump. [`ledger`] holds what happens against the promises.
//!
//! A failing history prints its seed: `WAYBILL_SIM_SEED=<seed>` tells it again, step by step. `WAYBILL_SIM_RUNS=<n>` lives
//! through that many.

mod clients;
mod history;
mod ledger;
mod network;
mod random;
mod target;
mod world;

use std::collections::BTreeMap;
use std::time::Duration;

use history::{Circumstances, History, Misfortunes, live};
use waybill_domain::task::Priority;
use waybill_worker::RetentionConfig;
use world::{Faults, Sabotage, World};

/// Histories that a test run lives through, unless told otherwise.
const RUNS: u64 = 1_500;
/// Histories within which a guard that is switched off must have been noticed.
const NOTICED_WITHIN: u64 = 300;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// Nothing goes wrong.
fn uneventful() -> Circumstances {
    Circumstances {
        faults: |_| Faults::default(),
        misfortunes: Misfortunes::None,
        ..Circumstances::default()
    }
}

/// Lives through one history, and tells it step by step should it break a promise.
fn must_keep_its_promises(seed: u64, circumstances: Circumstances) -> BTreeMap<&'static str, u64> {
    let told = live(seed, circumstances);
    if !told.violations.is_empty() {
        tell_again(seed, circumstances, &told.violations.join("\n  "));
    }
    told.counts
}

fn tell_again(seed: u64, circumstances: Circumstances, wrong: &str) -> ! {
    let again = live(
        seed,
        Circumstances {
            noted: true,
            ..circumstances
        },
    );
    panic!(
        "history {seed} breaks promises:\n  {wrong}\nrepeat it with WAYBILL_SIM_SEED={seed} and the name of this test; this is what happened:\n{}",
        again.notes.join("\n"),
    );
}

/// The histories of a test: so many, or as the environment says.
fn seeds(usually: u64) -> std::ops::Range<u64> {
    match (number("WAYBILL_SIM_SEED"), number("WAYBILL_SIM_RUNS")) {
        (Some(seed), _) => seed..seed + 1,
        (None, runs) => 0..runs.unwrap_or(usually),
    }
}

#[test]
fn every_accepted_task_comes_to_exactly_one_end_whatever_happens() {
    let mut seen: BTreeMap<&'static str, u64> = BTreeMap::new();
    for seed in seeds(RUNS) {
        for (what, times) in must_keep_its_promises(seed, Circumstances::default()) {
            *seen.entry(what).or_default() += times;
        }
    }
    eprintln!("{seen:?}");
}

/// Everything that nobody needs any more is gone at once.
fn no_history() -> Circumstances {
    Circumstances {
        retention: RetentionConfig {
            age: Duration::from_millis(300),
            min_history: Duration::ZERO,
        },
        ..Circumstances::default()
    }
}

#[test]
fn retention_drops_nothing_of_an_open_task_however_short_it_is() {
    let mut seen: BTreeMap<&'static str, u64> = BTreeMap::new();
    for seed in seeds(RUNS / 15) {
        for (what, times) in must_keep_its_promises(seed, no_history()) {
            *seen.entry(what).or_default() += times;
        }
    }
    eprintln!("{seen:?}");
    if number("WAYBILL_SIM_SEED").is_none() {
        assert!(seen.contains_key("restated") && seen.contains_key("mark moved"));
    }
}

#[test]
fn no_two_owners_move_a_mark_whatever_leases_say() {
    let circumstances = Circumstances {
        leases_vanish: true,
        ..no_history()
    };
    for seed in seeds(RUNS / 30) {
        must_keep_its_promises(seed, circumstances);
    }
}

#[test]
fn leases_are_only_advice() {
    let circumstances = Circumstances {
        leases_vanish: true,
        ..Circumstances::default()
    };
    for seed in seeds(RUNS / 3) {
        must_keep_its_promises(seed, circumstances);
    }
}

#[test]
fn a_crowd_of_tasks_comes_to_its_end_too() {
    let circumstances = Circumstances {
        tasks: 1_500,
        ..Circumstances::default()
    };
    for seed in seeds(10) {
        must_keep_its_promises(seed, circumstances);
    }
}

#[test]
fn no_attempt_is_lost_while_its_worker_lives() {
    let circumstances = Circumstances {
        faults: |random| Faults {
            leases: 0,
            ..Faults::drawn(random)
        },
        misfortunes: Misfortunes::None,
        // Several would pass partitions on, and give up calls that take longer than they wait.
        workers: 1,
        ..Circumstances::default()
    };
    for seed in seeds(RUNS / 5) {
        let counts = must_keep_its_promises(seed, circumstances);
        if counts.contains_key("attempt lost") {
            tell_again(seed, circumstances, "an attempt is lost");
        }
    }
}

/// Nothing but wall clocks goes wrong.
fn clocks_jump() -> Circumstances {
    Circumstances {
        faults: |random| Faults {
            targets: Faults::drawn(random).targets.max(300),
            ..Faults::default()
        },
        misfortunes: Misfortunes::Clocks,
        // A second one would take over, and what a takeover knows of time is the wall clock's.
        workers: 1,
        ..Circumstances::default()
    }
}

#[test]
fn lengths_of_time_are_the_same_however_clocks_jump() {
    for seed in seeds(RUNS / 5) {
        must_keep_its_promises(seed, clocks_jump());
    }
}

#[test]
fn lengths_by_the_wall_clock_are_noticed() {
    is_noticed_in(Sabotage::OneClock, clocks_jump());
}

#[test]
fn the_same_seed_writes_the_same_log() {
    let noted = Circumstances {
        noted: true,
        ..Circumstances::default()
    };
    for seed in 0..50 {
        let (first, second) = (live(seed, noted), live(seed, noted));
        if first.digest != second.digest {
            let parted = first.notes.iter().zip(&second.notes);
            let at = parted.take_while(|(a, b)| a == b).count();
            panic!(
                "history {seed} was another one the second time, from step {at} on:\n{:?}\n{:?}",
                first.notes.get(at),
                second.notes.get(at)
            );
        }
        let other = live(seed + 1_000, Circumstances::default());
        assert_ne!(first.digest, other.digest);
    }
}

/// Lives through histories without that guard until the ledger notices.
fn is_noticed(sabotage: Sabotage) {
    is_noticed_in(sabotage, Circumstances::default());
}

fn is_noticed_in(sabotage: Sabotage, circumstances: Circumstances) {
    for seed in 0..NOTICED_WITHIN {
        let circumstances = Circumstances {
            sabotage: Some(sabotage),
            ..circumstances
        };
        if !live(seed, circumstances).violations.is_empty() {
            return;
        }
    }
    panic!("nobody noticed {sabotage:?} in {NOTICED_WITHIN} histories");
}

#[test]
fn a_log_without_fences_is_noticed() {
    is_noticed(Sabotage::NoFence);
}

#[test]
fn a_log_that_loses_what_it_acknowledged_is_noticed() {
    is_noticed(Sabotage::AcknowledgedButLost);
}

#[test]
fn a_log_that_denies_what_it_stored_is_noticed() {
    is_noticed(Sabotage::DeniedButStored);
}

#[test]
fn a_reader_with_holes_is_noticed() {
    is_noticed(Sabotage::HolesInTails);
}

#[test]
fn a_snapshot_that_claims_too_much_is_noticed() {
    is_noticed(Sabotage::EmptySnapshots);
}

#[test]
fn a_purge_beyond_the_low_water_mark_is_noticed() {
    for seed in 0..NOTICED_WITHIN {
        let circumstances = Circumstances {
            sabotage: Some(Sabotage::GreedyPurges),
            ..no_history()
        };
        if !live(seed, circumstances).violations.is_empty() {
            return;
        }
    }
    panic!("nobody noticed that open tasks are purged in {NOTICED_WITHIN} histories");
}

#[test]
fn a_single_slot_serves_each_queue_by_priority_and_then_in_order_of_arrival() {
    for seed in 0..20 {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let world = World::new(seed, uneventful());
            let mut history = History::of(&world, 1, 1);
            let mut wanted = Vec::new();
            for place in 0..30 {
                let mut task = history.gateway.a_task();
                task.not_before = None;
                task.priority = *world.random.pick(&[
                    Priority::DEFAULT,
                    Priority::new(1).expect("a priority"),
                    Priority::new(10).expect("a priority"),
                ]);
                wanted.push((std::cmp::Reverse(task.priority), place, task.id));
                assert!(history.gateway.create(task).await);
            }
            wanted.sort_unstable();
            history.hire();
            while world.ledger().open() > 0 {
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
            let wanted: Vec<_> = wanted.into_iter().map(|(_, _, id)| id).collect();
            assert_eq!(world.ledger().order(), wanted, "seed {seed}");
            history.stop_all().await;
            world.ledger().close(false);
            assert_eq!(world.ledger().violations, Vec::<String>::new());
        });
    }
}

#[test]
fn a_partition_that_this_version_cannot_read_is_left_to_others() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let world = World::new(1, uneventful());
        let mut history = History::of(&world, 2, 1);
        let task = history.gateway.a_task();
        let (poisoned, other) = (task.id.partition(), 1 - task.id.partition().get());
        history.gateway.append_unknown_event(poisoned).await;
        history.hire();
        let mut free = 0;
        for _ in 0..100 {
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            let holders = world.log.core().holders();
            let held = |partition: u16| {
                let name = format!("partition.{partition}");
                holders.iter().any(|(lease, _)| *lease == name)
            };
            assert!(held(other), "the other partition is served");
            free += u32::from(!held(poisoned.get()));
        }
        assert!(free > 90, "it was free for {free} of 100 seconds");
        history.stop_all().await;
    });
}
