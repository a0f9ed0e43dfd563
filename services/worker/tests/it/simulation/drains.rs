//! Somebody drains workers of a team. Gateways learn of it one after the other, and the answer comes when all have: from then on none of them
//! gives the worker anything, whatever owners give to claims that they were asked for before, and whoever owns the partition by then.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::claimants::pulls;
use super::history::Conditions;
use super::random::Random;
use super::world::{Sabotage, World, lock};
use super::{NOTICED_WITHIN, RUNS, live, must_keep_its_promises, number, seeds};

/// How many gateways there are.
const GATEWAYS: usize = 2;
/// How often a gateway looks whether it has learnt something while it waits for an owner.
const LOOK: Duration = Duration::from_millis(20);

/// The workers that somebody drains, as each gateway knows it.
#[derive(Debug, Default)]
pub(crate) struct Drains([BTreeSet<String>; GATEWAYS]);

/// One of the gateways.
#[derive(Debug, Clone, Copy)]
pub(super) struct Door(usize);

impl Door {
    pub(super) fn any(random: &Random) -> Self {
        Self(usize::try_from(random.below(GATEWAYS as u64)).unwrap_or(0))
    }

    /// Whether it knows that somebody drains the worker.
    pub(super) fn is_draining(self, world: &World, worker: &str) -> bool {
        lock(&world.drains).0[self.0].contains(worker)
    }

    /// Waits until it knows so.
    pub(super) async fn until_draining(self, world: &World, worker: &str) {
        while !self.is_draining(world, worker) {
            sleep(LOOK).await;
        }
    }

    fn learns(self, world: &World, worker: &str, drains: bool) {
        let mut known = lock(&world.drains);
        if drains {
            known.0[self.0].insert(worker.to_owned());
        } else {
            known.0[self.0].remove(worker);
        }
    }
}

/// Drains workers and resumes them until then; at the end none is drained.
pub(super) async fn somebody_drains(world: Arc<World>, workers: Vec<String>, until: Instant) {
    while Instant::now() < until {
        sleep(world.random.millis(100, 2_000)).await;
        let worker = world.random.pick(&workers).clone();
        world.note(|| format!("{worker} is drained"));
        let mut told = JoinSet::new();
        for number in 0..GATEWAYS {
            let (world, worker) = (Arc::clone(&world), worker.clone());
            told.spawn(async move {
                sleep(world.random.millis(0, 1_500)).await;
                Door(number).learns(&world, &worker, true);
            });
        }
        while told.join_next().await.is_some() {}
        world.note(|| format!("{worker} drains"));
        world.ledger().drained(&worker, true);
        sleep(world.random.millis(500, 4_000)).await;
        world.ledger().drained(&worker, false);
        for number in 0..GATEWAYS {
            Door(number).learns(&world, &worker, false);
        }
    }
}

fn drains() -> Conditions {
    Conditions {
        drains: true,
        ..pulls()
    }
}

#[test]
fn nothing_is_given_to_a_worker_after_the_answer_to_its_drain_whoever_owns_its_queues() {
    let mut seen: BTreeMap<&'static str, u64> = BTreeMap::new();
    for seed in seeds(RUNS / 10) {
        for (what, times) in must_keep_its_promises(seed, drains()) {
            *seen.entry(what).or_default() += times;
        }
    }
    eprintln!("{seen:?}");
    if number("WAYBILL_SIM_SEED").is_none() {
        for what in ["drained", "given", "goes back"] {
            assert!(seen.contains_key(what), "{what}: {seen:?}");
        }
    }
}

#[test]
fn a_gateway_that_looks_only_before_it_asks_is_noticed() {
    let sabotage = Some(Sabotage::DrainsAreLookedAtOnce);
    let noticed = (0..NOTICED_WITHIN).any(|seed| {
        let conditions = Conditions {
            sabotage,
            ..drains()
        };
        let violations = live(seed, conditions).violations;
        violations.iter().any(|what| what.contains("to its drain"))
    });
    assert!(noticed, "nobody noticed {sabotage:?}");
}
