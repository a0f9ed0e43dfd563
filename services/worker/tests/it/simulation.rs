//! The real worker in a simulated world: simulated log, network, targets, clients, clocks and time, all driven by one seed.
//!
//! The code under test is the production code, from [`waybill_worker::Worker`] down to the
//! dispatcher; a single-threaded runtime with paused time makes every history repeatable. Workers
//! crash, pause past their leases, lose requests to the log and its answers, read late, get damaged
//! snapshots, and their clocks jump. [`ledger`] checks every step against the promises.
//!
//! A failing history prints its seed: `WAYBILL_SIM_SEED=<seed>` repeats it and prints each step.
//! `WAYBILL_SIM_RUNS=<n>` sets the number of histories.

mod blocks;
mod claimants;
mod clients;
mod drains;
mod history;
mod homes;
mod ledger;
mod listening;
mod long;
mod members;
mod network;
mod outages;
mod pauses;
mod priorities;
mod random;
mod slowdown;
mod target;
mod world;

use std::collections::BTreeMap;
use std::time::Duration;

use history::{Conditions, History, ProcessFaults, live};
use pauses::found_team;
use waybill_domain::task::Priority;
use waybill_worker::RetentionConfig;
use world::{Faults, Sabotage, World};

/// Number of histories that a test runs by default.
const RUNS: u64 = 1_500;
/// Number of histories within which the ledger must have noticed that a guard is switched off.
const NOTICED_WITHIN: u64 = 300;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// Conditions without any fault.
fn uneventful() -> Conditions {
    Conditions {
        faults: |_| Faults::default(),
        process_faults: ProcessFaults::None,
        ..Conditions::default()
    }
}

/// Runs one history. If it breaks a promise, runs it again and prints each step.
fn must_keep_its_promises(seed: u64, conditions: Conditions) -> BTreeMap<&'static str, u64> {
    let told = live(seed, conditions);
    if !told.violations.is_empty() {
        tell_again(seed, conditions, &told.violations.join("\n  "));
    }
    told.counts
}

fn tell_again(seed: u64, conditions: Conditions, wrong: &str) -> ! {
    let again = live(
        seed,
        Conditions {
            noted: true,
            ..conditions
        },
    );
    panic!(
        "history {seed} breaks promises:\n  {wrong}\nrepeat it with WAYBILL_SIM_SEED={seed} and the name of this test; this is what happened:\n{}",
        again.notes.join("\n"),
    );
}

/// The seeds of a test: `runs` of them, unless the environment says otherwise.
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
        for (what, times) in must_keep_its_promises(seed, Conditions::default()) {
            *seen.entry(what).or_default() += times;
        }
    }
    eprintln!("{seen:?}");
    if number("WAYBILL_SIM_SEED").is_none() {
        assert!(
            seen.contains_key("started beside others of its key"),
            "limits allow more than one at a time"
        );
        for race in ["cut off", "answered before the cut"] {
            assert!(
                seen.contains_key(race),
                "a cancellation that races the answer ends either way: {race}"
            );
        }
        assert!(seen.contains_key("purged"), "dead letters are purged");
        assert!(
            seen.contains_key("cancelled by its line"),
            "failures cancel those behind them"
        );
    }
}

/// Everything that is no longer needed is purged at once.
fn no_history() -> Conditions {
    Conditions {
        retention: RetentionConfig {
            age: Duration::from_millis(300),
            min_history: Duration::ZERO,
        },
        ..Conditions::default()
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
    let conditions = Conditions {
        leases_vanish: true,
        ..no_history()
    };
    for seed in seeds(RUNS / 30) {
        must_keep_its_promises(seed, conditions);
    }
}

#[test]
fn leases_are_only_advice() {
    let conditions = Conditions {
        leases_vanish: true,
        ..Conditions::default()
    };
    for seed in seeds(RUNS / 3) {
        must_keep_its_promises(seed, conditions);
    }
}

#[test]
fn a_crowd_of_tasks_comes_to_its_end_too() {
    let conditions = Conditions {
        tasks: 1_500,
        ..Conditions::default()
    };
    for seed in seeds(10) {
        must_keep_its_promises(seed, conditions);
    }
}

#[test]
fn no_attempt_is_lost_while_its_worker_lives() {
    let conditions = Conditions {
        faults: |random| Faults {
            leases: 0,
            ..Faults::drawn(random)
        },
        process_faults: ProcessFaults::None,
        // Several workers would hand partitions over, and abandon calls that take longer than they
        // wait.
        workers: 1,
        ..Conditions::default()
    };
    for seed in seeds(RUNS / 5) {
        let counts = must_keep_its_promises(seed, conditions);
        if counts.contains_key("attempt lost") {
            tell_again(seed, conditions, "an attempt is lost");
        }
    }
}

/// Conditions in which only wall clocks are wrong.
fn clocks_jump() -> Conditions {
    Conditions {
        faults: |random| Faults {
            targets: Faults::drawn(random).targets.max(300),
            ..Faults::default()
        },
        process_faults: ProcessFaults::Clocks,
        // A second worker would take over, and a takeover knows only the wall clock's time.
        workers: 1,
        ..Conditions::default()
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
    let noted = Conditions {
        noted: true,
        ..Conditions::default()
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
        let other = live(seed + 1_000, Conditions::default());
        assert_ne!(first.digest, other.digest);
    }
}

/// Runs histories without a guard until the ledger notices.
fn is_noticed(sabotage: Sabotage) {
    is_noticed_in(sabotage, Conditions::default());
}

fn is_noticed_in(sabotage: Sabotage, conditions: Conditions) {
    for seed in 0..NOTICED_WITHIN {
        let conditions = Conditions {
            sabotage: Some(sabotage),
            ..conditions
        };
        if !live(seed, conditions).violations.is_empty() {
            return;
        }
    }
    panic!("nobody noticed {sabotage:?} in {NOTICED_WITHIN} histories");
}

/// Somebody pauses queues and resumes them.
fn pauses() -> Conditions {
    Conditions {
        pauses: true,
        tasks: 60,
        ..Conditions::default()
    }
}

#[test]
fn nothing_of_a_paused_queue_is_called_after_the_answer_whatever_happens() {
    let mut seen: BTreeMap<&'static str, u64> = BTreeMap::new();
    for seed in seeds(RUNS / 5) {
        for (what, times) in must_keep_its_promises(seed, pauses()) {
            *seen.entry(what).or_default() += times;
        }
    }
    eprintln!("{seen:?}");
    if number("WAYBILL_SIM_SEED").is_none() {
        assert!(seen.contains_key("paused"), "{seen:?}");
        assert!(seen.contains_key("opened by hand"), "{seen:?}");
    }
}

#[test]
fn a_start_without_a_lease_is_noticed() {
    is_noticed_in(Sabotage::LeasesLastForEver, pauses());
}

#[test]
fn a_pause_that_is_answered_too_early_is_noticed() {
    is_noticed_in(Sabotage::PausesAreAnsweredAtOnce, pauses());
}

#[test]
fn a_log_without_fences_is_noticed() {
    is_noticed(Sabotage::NoFence);
}

#[test]
fn the_ledger_notices_limits_that_nobody_keeps() {
    is_noticed(Sabotage::NoLimits);
}

#[test]
fn a_purge_that_cuts_off_what_runs_is_noticed() {
    is_noticed(Sabotage::PurgesCutOff);
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
fn an_attempt_cut_off_without_a_request_in_the_log_is_noticed() {
    is_noticed(Sabotage::CancelRequestsLost);
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
        let conditions = Conditions {
            sabotage: Some(Sabotage::GreedyPurges),
            ..no_history()
        };
        if !live(seed, conditions).violations.is_empty() {
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
            let first = history.gateway.a_task();
            let (team, queue) = (first.team, first.queue);
            for place in 0..30 {
                let mut task = history.gateway.a_task();
                task.not_before = None;
                (task.ordering, task.fairness_key, task.once) = (None, None, None);
                (task.team, task.queue) = (team.clone(), queue.clone());
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

/// Runs a history in which a single slot serves many tasks of one customer and some of two others,
/// by one owner after the other. Returns whether customers who waited were served equally often, by
/// their weights.
fn takes_turns(seed: u64, weights: [u8; 3], sabotage: Option<Sabotage>) -> bool {
    take_turns(seed, weights, None, sabotage)
}

/// The same, where the customers are teams with these plans, if there are any.
fn take_turns(
    seed: u64,
    weights: [u8; 3],
    plans: Option<[&str; 3]>,
    sabotage: Option<Sabotage>,
) -> bool {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let conditions = Conditions {
            sabotage,
            ..uneventful()
        };
        let world = World::new(seed, conditions);
        for (number, plan) in (0..).zip(plans.into_iter().flatten()) {
            found_team(&world, number, plan).await;
        }
        let mut history = History::of(&world, 1, 1);
        // Only workers that follow CONTROL learn of plans.
        history.pauses = plans.is_some();
        history.hire();
        let mut customers = BTreeMap::new();
        let first = history.gateway.a_task();
        for place in 0..40 {
            let mut task = history.gateway.a_task();
            (task.not_before, task.ordering, task.expires_in_ms) = (None, None, None);
            task.once = None;
            task.priority = Priority::DEFAULT;
            (task.team, task.queue) = (first.team.clone(), first.queue.clone());
            let customer = if place < 24 { 0 } else { place % 3 };
            if plans.is_some() {
                task.team = pauses::team(customer as u64);
                (task.fairness_key, task.fairness_weight) = (None, None);
            } else {
                task.fairness_key = Some(format!("customer {customer}"));
                task.fairness_weight = Some(weights[customer]);
            }
            customers.insert(task.id, customer);
            assert!(history.gateway.create(task).await);
        }
        let mut left = [0; 3];
        let started = world.ledger().order().len();
        for (id, customer) in &customers {
            if !world.ledger().order().contains(id) {
                left[*customer] += 1;
            }
        }
        while world.ledger().order().len() < started + 12 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // The next owner begins a round of its own.
        history.stop_all().await;
        let handed_over = world.ledger().order().len();
        history.hire();
        while world.ledger().open() > 0 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        history.stop_all().await;
        let order = world.ledger().order().to_vec();
        [started..handed_over, handed_over..order.len()]
            .into_iter()
            .all(|owner| {
                let mut served = [0; 3];
                let weight = |customer: usize| usize::from(weights[customer]);
                order[owner].iter().all(|id| {
                    let customer = customers[id];
                    served[customer] += 1;
                    left[customer] -= 1;
                    let waiting = (0..3).filter(|other| left[*other] > 0);
                    waiting
                        .map(|other| served[other] / weight(other))
                        .min()
                        .is_none_or(|least| {
                            // One turn more than others in theirs, and one of which some was chosen before they came.
                            served[customer].div_ceil(weight(customer)) <= least + 2
                        })
                })
            })
    })
}

#[test]
fn customers_of_a_queue_take_turns_whoever_owns_it() {
    for seed in 0..20 {
        assert!(takes_turns(seed, [1, 1, 1], None), "seed {seed}");
        assert!(takes_turns(seed, [3, 1, 2], None), "seed {seed}");
    }
}

/// What the built-in plans say.
const PLANS: ([u8; 3], [&str; 3]) = ([4, 1, 2], ["enterprise", "free", "pro"]);

#[test]
fn teams_take_turns_by_the_weights_of_their_plans_whoever_owns_their_queue() {
    let (weights, plans) = PLANS;
    for seed in 0..20 {
        assert!(take_turns(seed, weights, Some(plans), None), "seed {seed}");
    }
}

#[test]
fn a_worker_that_knows_no_plans_is_noticed() {
    let (weights, plans) = PLANS;
    let sabotage = Some(Sabotage::NoPlans);
    assert!((0..20).any(|seed| !take_turns(seed, weights, Some(plans), sabotage)));
}

#[test]
fn a_reader_that_overlooks_fairness_keys_is_noticed() {
    let noticed = |seed| !takes_turns(seed, [1, 1, 1], Some(Sabotage::NoFairness));
    assert!((0..20).any(noticed));
}

#[test]
fn a_reader_that_overlooks_weights_is_noticed() {
    let noticed = |seed| !takes_turns(seed, [3, 1, 2], Some(Sabotage::NoWeights));
    assert!((0..20).any(noticed));
}

/// Runs histories without a guard until the ledger notices that an ordering key was not kept.
fn is_noticed_by_its_order(sabotage: Sabotage) {
    is_noticed_by(sabotage, "ordering key");
}

/// Runs histories without a guard until the ledger notices what is said in that word.
fn is_noticed_by(sabotage: Sabotage, word: &str) {
    for seed in 0..NOTICED_WITHIN {
        let conditions = Conditions {
            sabotage: Some(sabotage),
            ..Conditions::default()
        };
        let violations = live(seed, conditions).violations;
        if violations.iter().any(|what| what.contains(word)) {
            return;
        }
    }
    panic!("nobody noticed {sabotage:?} in {NOTICED_WITHIN} histories");
}

#[test]
fn a_reader_that_overlooks_ordering_keys_is_noticed() {
    is_noticed_by_its_order(Sabotage::NoOrder);
}

#[test]
fn a_reader_that_overlooks_what_a_failure_cancels_is_noticed() {
    is_noticed_by_its_order(Sabotage::NoOnFailure);
}

#[test]
fn a_reader_that_overlooks_debounces_is_noticed() {
    is_noticed_by(Sabotage::NoKeys, "debounce");
}

#[test]
fn a_reader_that_overlooks_singletons_is_noticed() {
    is_noticed_by(Sabotage::NoKeys, "singleton");
}

#[test]
fn a_reader_that_overlooks_dedups_is_noticed() {
    is_noticed_by(Sabotage::NoKeys, "dedup");
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
