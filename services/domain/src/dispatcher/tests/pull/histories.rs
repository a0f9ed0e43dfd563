//! Random histories of claimants.

use proptest::prelude::*;

use super::super::properties::assert_orderly;
use super::*;

/// Claimants that work, are killed, freeze past their leases and go on as if nothing were.
#[derive(Debug, Clone)]
enum Deed {
    Create,
    Claim { who: usize, max: usize },
    Beat(usize),
    Complete(usize),
    Fail(usize),
    Freeze,
    Die(usize),
    Pass(u64),
    Crash,
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        4 => Just(Deed::Create),
        4 => (0..3_usize, 1..4_usize).prop_map(|(who, max)| Deed::Claim { who, max }),
        3 => (0..3_usize).prop_map(Deed::Beat),
        4 => (0..3_usize).prop_map(Deed::Complete),
        1 => (0..3_usize).prop_map(Deed::Fail),
        2 => Just(Deed::Freeze),
        1 => (0..3_usize).prop_map(Deed::Die),
        4 => (0..12_000_u64).prop_map(Deed::Pass),
        1 => Just(Deed::Crash),
    ]
}

/// Runs a history of claimants. Returns for each task how often its completion was acknowledged.
fn live(deeds: Vec<Deed>, trusting: bool) -> (World, HashMap<TaskId, u32>) {
    let mut world = World::new();
    let mut held: [Vec<LeaseGranted>; 3] = Default::default();
    let mut done: HashMap<TaskId, u32> = HashMap::new();
    for deed in deeds {
        match deed {
            Deed::Create => {
                world.create_pulled(|task| task.max_retries = Some(2));
            }
            Deed::Claim { who, max } => held[who].extend(world.claim(max)),
            Deed::Beat(who) => held[who].retain(|lease| {
                let reply = world.report(*lease, lives());
                matches!(reply, OwnerReply::Extended { .. })
            }),
            Deed::Complete(who) => {
                if let Some(lease) = held[who].pop() {
                    let reply = world.report(lease, completes());
                    if trusting || reported(&reply).is_some() {
                        *done.entry(lease.task).or_default() += 1;
                    }
                }
            }
            Deed::Fail(who) => {
                if let Some(lease) = held[who].pop() {
                    world.report(lease, fails());
                }
            }
            // It sleeps past its leases, and still believes in them afterwards.
            Deed::Freeze => world.pass(Duration::from_millis(u64::from(LEASE) + 1)),
            Deed::Die(who) => held[who].clear(),
            Deed::Pass(millis) => world.pass(Duration::from_millis(millis)),
            Deed::Crash => world.crash(None),
        }
    }
    (world, done)
}

fn holds_one_completion_each(world: &World, done: &HashMap<TaskId, u32>) -> bool {
    done.iter().all(|(id, times)| {
        let ends = world.kinds(*id);
        let ends = ends.iter().filter(|kind| **kind == "succeeded").count();
        *times == 1 && ends == 1
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn of_claimants_that_freeze_and_go_on_one_is_told_that_it_has_completed_a_task(deeds in proptest::collection::vec(deed(), 0..80)) {
        let (mut world, done) = live(deeds, false);
        prop_assert!(holds_one_completion_each(&world, &done));
        for _ in 0..200 {
            if world.dispatcher.open() == 0 {
                break;
            }
            for lease in world.claim(100) {
                world.report(lease, completes());
            }
            world.pass(Duration::from_secs(5));
        }
        prop_assert_eq!(world.dispatcher.open(), 0, "no task is lost");
        assert_orderly(&world.log);
    }
}

#[test]
fn the_check_fails_if_claimants_that_have_lost_their_lease_are_believed() {
    use Deed::{Claim, Complete, Create, Freeze, Pass};
    let deeds = vec![
        Create,
        Claim { who: 0, max: 1 },
        Freeze,
        Pass(5_000),
        Claim { who: 1, max: 1 },
        Complete(1),
        Complete(0),
    ];
    let (world, done) = live(deeds.clone(), false);
    assert!(holds_one_completion_each(&world, &done));
    let (world, done) = live(deeds, true);
    assert!(!holds_one_completion_each(&world, &done));
}
