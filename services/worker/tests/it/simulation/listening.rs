//! Listeners in a simulated history: somebody who listens to queues of a test environment, gives the
//! lease back, and listens again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::time::{Instant, sleep};
use waybill_domain::event::{ControlEvent, ListenerOpened, ListenerReleased, ListenerRenewed};
use waybill_domain::id::{Environment, ListenerId, QueueName};
use waybill_domain::time::Timestamp;

use super::clients::QUEUES;
use super::history::Conditions;
use super::pauses::{everybody_knows, store, team};
use super::world::{Sabotage, World};
use super::{RUNS, is_noticed_in, must_keep_its_promises, number, seeds};

/// The end of a lease that no history reaches, however wrong its clocks are: 2096.
const FAR: Timestamp = Timestamp(4_000_000_000_000);

/// Listens to one queue after the other until that time, and to all of them in the end.
pub(super) async fn somebody_listens(world: Arc<World>, until: Instant) {
    let team = team(1);
    let test = team.in_environment(Environment::Test);
    let mut listeners: BTreeMap<QueueName, ListenerId> = BTreeMap::new();
    for (name, number) in QUEUES.into_iter().zip(0_u32..) {
        let queue = QueueName::parse(name).expect("a valid name");
        let listener = ListenerId::new(Timestamp(1), number.into());
        let opened = ControlEvent::ListenerOpened(ListenerOpened {
            listener: listener.clone(),
            team: team.clone(),
            queues: vec![queue.clone()],
            hosts: Vec::new(),
            until: FAR,
            opened_by: "user:u".into(),
            at: Timestamp(1),
        });
        if world.sabotage != Some(Sabotage::NoListeners) {
            store(&world, opened).await;
        }
        listeners.insert(queue, listener);
    }
    while Instant::now() < until {
        sleep(world.random.millis(50, 1_500)).await;
        let queue = QueueName::parse(world.random.pick::<&str>(&QUEUES)).expect("a valid name");
        let listener = listeners[&queue].clone();
        let released = ControlEvent::ListenerReleased(ListenerReleased {
            listener: listener.clone(),
            team: team.clone(),
            at: Timestamp(1),
        });
        let seq = store(&world, released).await;
        world.demanded.fetch_max(seq.0, Ordering::Relaxed);
        everybody_knows(&world, seq).await;
        world.note(|| format!("that nobody listens to {queue} of {test} is answered"));
        world.ledger().release_answered(&test, &queue);
        sleep(world.random.millis(10, 3_000)).await;
        world.ledger().listened_to(&test, &queue);
        let renewed = ControlEvent::ListenerRenewed(ListenerRenewed {
            listener,
            team: team.clone(),
            until: FAR,
            at: Timestamp(1),
        });
        store(&world, renewed).await;
    }
}

/// Somebody has to listen to the queues of a team.
fn listeners() -> Conditions {
    Conditions {
        listeners: true,
        tasks: 60,
        ..Conditions::default()
    }
}

#[test]
fn nothing_is_called_while_nobody_listens_and_all_of_it_afterwards() {
    let mut seen: BTreeMap<&'static str, u64> = BTreeMap::new();
    for seed in seeds(RUNS / 10) {
        for (what, times) in must_keep_its_promises(seed, listeners()) {
            *seen.entry(what).or_default() += times;
        }
    }
    eprintln!("{seen:?}");
    if number("WAYBILL_SIM_SEED").is_none() {
        assert!(seen.contains_key("released"), "{seen:?}");
    }
}

#[test]
fn workers_that_start_although_nobody_listens_are_noticed() {
    is_noticed_in(Sabotage::NoListeners, listeners());
}
