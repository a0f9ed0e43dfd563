//! Limit keys over several partitions: owners that come and go, former ones that do not know it yet,
//! and messages that are lost, late and doubled. Each history follows from its seed.

mod cluster;
mod gather;
mod home;
mod keys;
mod slowdown;

use cluster::{Cluster, Tamper};
pub(super) use keys::Alone;

/// Histories that the properties are checked in.
const HISTORIES: u64 = 60;
/// A mistake must show in one of so many. The rarest needs a new owner of a home and one of a
/// holder close to each other, while both former ones still answer.
const HISTORIES_OF_MISTAKES: usize = 240;
const STEPS: usize = 2_500;

fn seeds(count: u64) -> Vec<u64> {
    let given = std::env::var("WAYBILL_SIM_SEED").ok();
    match given.and_then(|text| text.parse().ok()) {
        Some(seed) => vec![seed],
        None => (1..=count).collect(),
    }
}

/// Never more running than the limit, in any of the histories; and all tasks end once things calm
/// down, within the time that their limits need and a bound.
#[test]
fn limits_hold_over_partitions_whatever_becomes_of_owners_and_messages() {
    for seed in seeds(HISTORIES) {
        let mut cluster = Cluster::new(seed, Tamper::Nothing);
        if let Err(why) = cluster.run(STEPS) {
            panic!("WAYBILL_SIM_SEED={seed}: {why}");
        }
        if let Err(why) = cluster.calm_down() {
            panic!("WAYBILL_SIM_SEED={seed}: {why}");
        }
    }
}

/// Whether one of some histories shows it, from this one on.
fn shows(tamper: Tamper, first: u64) -> bool {
    let mut seeds = (first..).take(HISTORIES_OF_MISTAKES);
    seeds.any(|seed| Cluster::new(seed, tamper).run(STEPS).is_err())
}

#[test]
fn the_check_fails_if_late_answers_count() {
    assert!(shows(Tamper::AnyAnswer, 1));
}

#[test]
fn the_check_fails_if_a_dead_owner_gives_its_share_back() {
    assert!(shows(Tamper::DeathGivesBack, 1));
}

#[test]
fn the_check_fails_if_former_homes_are_listened_to() {
    // It takes several things at once: hardly one history in a thousand has them.
    assert!(shows(Tamper::FormerHomes, 1_920));
}

#[test]
fn the_check_fails_if_a_home_does_not_wait_for_all_partitions() {
    assert!(shows(Tamper::HomeInAHurry, 1));
}
