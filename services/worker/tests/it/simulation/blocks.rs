//! Failed tasks that block those behind them, and the people who settle that: they let them go, or
//! have the failed one done again.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::time::{Instant, sleep};
use waybill_domain::actor::Actor;
use waybill_domain::command::OwnerRequest;
use waybill_domain::event::TaskCreated;
use waybill_domain::id::TaskId;

use super::clients::Gateway;
use super::history::Conditions;
use super::world::Sabotage;
use super::{RUNS, is_noticed_in, must_keep_its_promises, no_history, number, seeds};

impl Gateway {
    /// Settles some of what blocks, until a time.
    pub(super) async fn settle_until(self, until: Instant) {
        while Instant::now() < until {
            let pause = self.network.0.world.random.millis(200, 3_000);
            sleep(pause).await;
            self.settle(400).await;
        }
    }

    /// Settles what blocks now, each with a chance in a thousand.
    pub(super) async fn settle(&self, chance: u64) {
        let world = Arc::clone(&self.network.0.world);
        let blocking = world.ledger().blocking();
        for old in blocking {
            if !world.random.chance(chance) {
                continue;
            }
            if world.random.chance(500) {
                self.create(self.again(&old)).await;
            } else {
                self.unblock(&old).await;
            }
        }
    }

    /// A task that does another one again.
    fn again(&self, old: &TaskCreated) -> TaskCreated {
        let world = &self.network.0.world;
        let now = world.now();
        let entropy = u128::from(world.random.next()) << 64 | u128::from(world.random.next());
        TaskCreated {
            id: TaskId::new(now, entropy, old.id.partition()),
            replay_of: Some(old.id),
            not_before: None,
            once: None,
            member: None,
            at: now,
            ..old.clone()
        }
    }

    async fn unblock(&self, old: &TaskCreated) {
        let world = Arc::clone(&self.network.0.world);
        let actor = Actor::Operator(format!("client-{}", world.random.next()));
        world.ledger().wants_unblocked(old.id, actor.to_string());
        let request = OwnerRequest::Unblock {
            task: old.id,
            team: old.team.clone(),
            actor,
            traceparent: None,
        };
        let (task, told) = (old.id, Arc::clone(&world));
        let answered = move |reply: &_| told.ledger().unblock_answered(task, reply);
        self.send(task, request, answered).await;
    }
}

/// Failed tasks block, and the log is kept no longer than it must be.
fn blocks() -> Conditions {
    Conditions {
        blocks: true,
        ..no_history()
    }
}

#[test]
fn blocks_survive_owners_snapshots_and_purges() {
    let mut seen: BTreeMap<&'static str, u64> = BTreeMap::new();
    for seed in seeds(RUNS / 15) {
        for (what, times) in must_keep_its_promises(seed, blocks()) {
            *seen.entry(what).or_default() += times;
        }
    }
    eprintln!("{seen:?}");
    if number("WAYBILL_SIM_SEED").is_none() {
        for what in ["blocked", "done again", "let go", "block restated"] {
            assert!(seen.contains_key(what), "{what}: {seen:?}");
        }
    }
}

#[test]
fn an_owner_that_overlooks_what_a_restatement_says_of_a_block_is_noticed() {
    is_noticed_in(Sabotage::NoBlocks, blocks());
}
