//! Limits that targets pause by answering 429.

use std::collections::BTreeMap;

use waybill_domain::event::TaskCreated;
use waybill_domain::task::OnRateLimited;

use super::clients::Gateway;
use super::history::Conditions;
use super::world::Sabotage;
use super::{RUNS, is_noticed_in, must_keep_its_promises, number, seeds};

impl Gateway {
    /// Whether the target of a task may pause its first limit.
    pub(super) fn slows_down(&self, task: &TaskCreated) -> Option<OnRateLimited> {
        let drawn = self.network.0.world.random.chance(600);
        (drawn && !task.limits.is_empty()).then_some(OnRateLimited::PauseKey)
    }
}

#[test]
fn what_a_target_asks_for_holds_all_tasks_of_the_limit_back() {
    let mut seen: BTreeMap<&'static str, u64> = BTreeMap::new();
    for seed in seeds(RUNS / 10) {
        for (what, times) in must_keep_its_promises(seed, Conditions::default()) {
            *seen.entry(what).or_default() += times;
        }
    }
    eprintln!("{seen:?}");
    if number("WAYBILL_SIM_SEED").is_none() {
        assert!(seen.contains_key("limit_paused"), "{seen:?}");
    }
}

#[test]
fn a_worker_that_does_not_listen_to_targets_is_noticed() {
    let conditions = Conditions {
        tasks: 60,
        ..Conditions::default()
    };
    is_noticed_in(Sabotage::NoSlowdowns, conditions);
}
