//! Gateways, clocks, a network and two streams, simulated from one seed. The state machines under
//! test are those of production.
//!
//! Gateways crash, stall, lose their connection, read late while their publishes are stored,
//! receive acknowledgements late and lose what they had on disk, and their clocks drift. Requests
//! arrive all the time. A request is a violation if it is accepted although it arrived after the
//! revocation of its credential was answered. There must be none. For each rule of the protocol
//! there is also a world in which only that rule is broken, and there violations must be found: so
//! every rule is needed, and the simulation would notice its loss.
//!
//! `WAYBILL_FENCE_SEEDS=<n>` runs that many histories of each kind.

mod gateway;
mod random;
mod server;
mod world;

use std::time::Duration;

use super::FenceTiming;
use world::{Tally, World};

/// Histories of the intact protocol, unless the environment says otherwise.
const SEEDS: u64 = 60;
/// Number of histories within which a broken rule must be noticed.
const NOTICED_WITHIN: u64 = 300;

/// The rule of the protocol that is broken in a world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Broken {
    Nothing,
    /// A lease runs from the arrival of its acknowledgement, not from the sending of the renewal.
    LeaseFromAcknowledgement,
    /// A lease is used although records before it in FENCE are not applied.
    LeaseBeforeApplied,
    /// A renewal counts as an acknowledgement of all marks before it.
    RenewalAcknowledges,
    /// A revoker waits half as long as a lease may last.
    HalfTheWait,
    /// Timing has no margin for drifting clocks.
    NoMargin,
    /// A gateway serves from its disk without a start event in the log.
    NoStart,
    /// The local copy is read first, and the lease checked afterwards.
    ReadBeforeLease,
    /// A reader ignores that records were deleted before it read them.
    UnnoticedGaps,
    /// Marks are acknowledged when they are read, although CONTROL is not applied that far.
    AcknowledgedUnapplied,
    /// A revoker's wait begins when it sends the mark, not when the mark is stored.
    WaitFromSending,
    /// A gateway releases its lease before it stops serving.
    ReleasedWhileServing,
    /// What records ask for is capped by where CONTROL was seen to end, not by an event that was
    /// appended after they were read.
    CappedByALook,
}

/// Conditions of a simulated world.
#[derive(Debug, Clone, Copy)]
struct Conditions {
    broken: Broken,
    gateways: usize,
    /// By how much clocks drift, in parts per million; some are fast, some slow.
    drift_ppm: u32,
    /// The drift that gateways allow for, in parts per million.
    allowed_ppm: u32,
    /// Every second fault is that FENCE deletes everything while a gateway restarts.
    is_forgetful: bool,
    /// FENCE gets records of a history of CONTROL that was lost.
    is_restored: bool,
}

impl Conditions {
    fn of(broken: Broken) -> Self {
        let drift_ppm = 1_000;
        Self {
            broken,
            gateways: 4,
            drift_ppm,
            allowed_ppm: drift_ppm,
            is_forgetful: false,
            is_restored: false,
        }
    }

    fn timing(&self) -> FenceTiming {
        FenceTiming {
            drift_ppm: self.allowed_ppm,
            restart_after: Duration::from_secs(30),
            ..FenceTiming::default()
        }
    }
}

fn seeds() -> u64 {
    let given = std::env::var("WAYBILL_FENCE_SEEDS");
    given
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(SEEDS)
}

fn live(seed: u64, conditions: Conditions) -> Tally {
    World::new(seed, conditions).live()
}

fn keeps_its_promise(conditions: Conditions) {
    let mut all = Tally::default();
    for seed in 0..seeds() {
        let tally = live(seed, conditions);
        assert_eq!(
            tally.violations, 0,
            "history {seed} of {conditions:?}: {tally:?}"
        );
        all.add(&tally);
    }
    eprintln!("{conditions:?}: {all:?}");
    // The result is meaningful only if many requests were served, and revocations ended in both
    // ways.
    assert!(all.accepted > 50 * all.reached.max(1), "{all:?}");
    assert!(all.reached > seeds() && all.expired > 0, "{all:?}");
    assert!(
        all.refused > 0 && all.gaps > 0 && all.starts > 3 * seeds(),
        "{all:?}"
    );
}

fn is_noticed(broken: Broken) {
    is_noticed_in(Conditions::of(broken));
}

fn is_noticed_in(conditions: Conditions) {
    for seed in 0..NOTICED_WITHIN {
        let tally = live(seed, conditions);
        if tally.violations > 0 {
            eprintln!("{conditions:?}: noticed in history {seed}: {tally:?}");
            return;
        }
    }
    panic!("{conditions:?} was not noticed");
}

#[test]
fn no_request_is_accepted_that_arrives_after_the_revocation_was_answered() {
    keeps_its_promise(Conditions::of(Broken::Nothing));
}

#[test]
fn clocks_may_drift_as_much_as_is_allowed_for() {
    keeps_its_promise(Conditions {
        drift_ppm: 100_000,
        allowed_ppm: 100_000,
        ..Conditions::of(Broken::Nothing)
    });
}

#[test]
fn fence_may_forget_everything_at_any_time() {
    keeps_its_promise(Conditions {
        is_forgetful: true,
        ..Conditions::of(Broken::Nothing)
    });
}

#[test]
fn two_gateways_may_forget_everything() {
    keeps_its_promise(Conditions {
        is_forgetful: true,
        gateways: 2,
        ..Conditions::of(Broken::Nothing)
    });
}

#[test]
fn records_of_a_lost_history_end_no_service() {
    keeps_its_promise(Conditions {
        is_restored: true,
        ..Conditions::of(Broken::Nothing)
    });
}

#[test]
fn a_seed_yields_the_same_history_again() {
    let conditions = Conditions::of(Broken::Nothing);
    assert_eq!(live(7, conditions), live(7, conditions));
}

#[test]
fn a_lease_must_run_from_when_it_was_asked_for() {
    is_noticed(Broken::LeaseFromAcknowledgement);
}

#[test]
fn a_lease_must_not_be_used_before_its_place_is_applied() {
    is_noticed(Broken::LeaseBeforeApplied);
}

#[test]
fn a_renewal_must_not_be_taken_for_an_acknowledgement() {
    is_noticed(Broken::RenewalAcknowledges);
}

#[test]
fn a_revoker_must_wait_for_a_whole_lease() {
    is_noticed(Broken::HalfTheWait);
}

#[test]
fn drift_must_be_allowed_for() {
    is_noticed_in(Conditions {
        drift_ppm: 100_000,
        allowed_ppm: 0,
        ..Conditions::of(Broken::NoMargin)
    });
}

#[test]
fn a_gateway_must_begin_with_an_event_of_its_own() {
    // With many gateways, the leases of the others require what one mark no longer does.
    is_noticed_in(Conditions {
        is_forgetful: true,
        gateways: 2,
        ..Conditions::of(Broken::NoStart)
    });
}

#[test]
fn the_lease_must_be_asked_for_before_what_is_known_is_read() {
    is_noticed(Broken::ReadBeforeLease);
}

#[test]
fn missed_records_must_be_noticed() {
    is_noticed(Broken::UnnoticedGaps);
}

#[test]
fn a_mark_must_not_be_acknowledged_before_its_demand_is_met() {
    is_noticed(Broken::AcknowledgedUnapplied);
}

#[test]
fn a_revoker_must_count_from_when_its_mark_is_stored() {
    is_noticed(Broken::WaitFromSending);
}

#[test]
fn demands_must_be_capped_by_an_event_that_was_stored_after_them() {
    is_noticed(Broken::CappedByALook);
}

#[test]
fn a_lease_must_be_given_back_only_once_nothing_is_served() {
    is_noticed(Broken::ReleasedWhileServing);
}
