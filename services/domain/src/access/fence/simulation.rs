//! Gateways, clocks, a network and two streams, all simulated and driven by one seed; the machines that decide are those of production.
//!
//! Gateways crash, stand still, are cut off, read late while their publishes are stored, hear acknowledgements late, forget what they
//! had on disk, and their clocks drift. Requests arrive all the time. One that is accepted although it arrived after its credential's
//! revocation was answered is a violation. There must be none; and for each rule of the protocol there is a world in which only that
//! rule is broken, and in which violations must be found: so each of them is needed, and the simulation would notice its loss.
//!
//! `WAYBILL_FENCE_SEEDS=<n>` lives through that many histories of each kind.

mod gateway;
mod random;
mod server;
mod world;

use std::time::Duration;

use super::FenceTiming;
use world::{Told, World};

/// Histories of the protocol itself, unless told otherwise.
const SEEDS: u64 = 60;
/// Histories within which a broken rule must have been noticed.
const NOTICED_WITHIN: u64 = 300;

/// A rule of the protocol that is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Broken {
    Nothing,
    /// A lease runs from when its acknowledgement came, not from when it was asked for.
    LeaseFromAcknowledgement,
    /// A lease is used although what stands before it in FENCE is not applied.
    LeaseBeforeApplied,
    /// That a gateway renews is taken for its acknowledgement.
    RenewalAcknowledges,
    /// A revoker waits half as long as a lease may last.
    HalfTheWait,
    /// No allowance for clocks that drift.
    NoMargin,
    /// A gateway serves from what it has on disk without its own start in the log.
    NoStart,
    /// What is known is read first, and the lease asked for afterwards.
    ReadBeforeLease,
    /// A reader whose records were forgotten goes on as if there had been none.
    UnnoticedGaps,
    /// Marks are acknowledged when they are read, although CONTROL is not applied so far.
    AcknowledgedUnapplied,
    /// A revoker's wait begins when it sends the mark, not when the mark is stored.
    WaitFromSending,
    /// A gateway gives its lease back before it stops serving.
    ReleasedWhileServing,
}

/// What a world is like.
#[derive(Debug, Clone, Copy)]
struct Circumstances {
    broken: Broken,
    gateways: usize,
    /// How much clocks really drift, in parts per million: each one by as much, some fast, some slow.
    drift_ppm: u32,
    /// What gateways allow for it.
    allowed_ppm: u32,
    /// Every second misfortune is that FENCE forgets everything while a gateway starts again.
    is_forgetful: bool,
}

impl Circumstances {
    fn of(broken: Broken) -> Self {
        let drift_ppm = 1_000;
        Self {
            broken,
            gateways: 4,
            drift_ppm,
            allowed_ppm: drift_ppm,
            is_forgetful: false,
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

fn live(seed: u64, circumstances: Circumstances) -> Told {
    World::new(seed, circumstances).live()
}

fn keeps_its_promise(circumstances: Circumstances) {
    let mut all = Told::default();
    for seed in 0..seeds() {
        let told = live(seed, circumstances);
        assert_eq!(
            told.violations, 0,
            "history {seed} of {circumstances:?}: {told:?}"
        );
        all.add(&told);
    }
    eprintln!("{circumstances:?}: {all:?}");
    // It says something only if much was served, and revocations ended in both ways.
    assert!(all.accepted > 50 * all.reached.max(1), "{all:?}");
    assert!(all.reached > seeds() && all.expired > 0, "{all:?}");
    assert!(
        all.refused > 0 && all.gaps > 0 && all.starts > 3 * seeds(),
        "{all:?}"
    );
}

fn is_noticed(broken: Broken) {
    is_noticed_in(Circumstances::of(broken));
}

fn is_noticed_in(circumstances: Circumstances) {
    for seed in 0..NOTICED_WITHIN {
        let told = live(seed, circumstances);
        if told.violations > 0 {
            eprintln!("{circumstances:?}: noticed in history {seed}: {told:?}");
            return;
        }
    }
    panic!("{circumstances:?} was not noticed");
}

#[test]
fn no_request_is_accepted_that_arrives_after_the_revocation_was_answered() {
    keeps_its_promise(Circumstances::of(Broken::Nothing));
}

#[test]
fn clocks_may_drift_as_much_as_is_allowed_for() {
    keeps_its_promise(Circumstances {
        drift_ppm: 100_000,
        allowed_ppm: 100_000,
        ..Circumstances::of(Broken::Nothing)
    });
}

#[test]
fn fence_may_forget_everything_at_any_time() {
    keeps_its_promise(Circumstances {
        is_forgetful: true,
        ..Circumstances::of(Broken::Nothing)
    });
}

#[test]
fn two_gateways_may_forget_everything() {
    keeps_its_promise(Circumstances {
        is_forgetful: true,
        gateways: 2,
        ..Circumstances::of(Broken::Nothing)
    });
}

#[test]
fn a_history_is_told_the_same_again() {
    let circumstances = Circumstances::of(Broken::Nothing);
    assert_eq!(live(7, circumstances), live(7, circumstances));
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
    is_noticed_in(Circumstances {
        drift_ppm: 100_000,
        allowed_ppm: 0,
        ..Circumstances::of(Broken::NoMargin)
    });
}

#[test]
fn a_gateway_must_begin_with_an_event_of_its_own() {
    // What one gateway forgot, the leases of many others ask for too.
    is_noticed_in(Circumstances {
        is_forgetful: true,
        gateways: 2,
        ..Circumstances::of(Broken::NoStart)
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
fn a_lease_must_be_given_back_only_once_nothing_is_served() {
    is_noticed(Broken::ReleasedWhileServing);
}
