//! Clients that change the priorities of their tasks, and what is promised about it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use waybill_domain::actor::Actor;
use waybill_domain::command::{OwnerReply, OwnerRequest};
use waybill_domain::id::{TaskId, TeamId};
use waybill_domain::task::Priority;

use super::clients::{Gateway, REPLY_DEADLINE, ask};
use super::world::{Listener, Sabotage, lock};
use super::{RUNS, is_noticed_in, must_keep_its_promises, no_history, number, seeds};

impl Gateway {
    /// Draws what a client wants: after a pause each, another priority.
    pub(super) fn some_changes(&self, patience: u64) -> Vec<(Duration, Priority)> {
        let random = &self.network.0.world.random;
        let changes = if random.chance(400) {
            1 + random.below(3)
        } else {
            0
        };
        let drawn = (0..changes).map(|_| {
            let priority = Priority::new(u8::try_from(1 + random.below(10)).unwrap_or(5));
            (random.millis(0, patience / 2), priority.unwrap_or_default())
        });
        drawn.collect()
    }

    /// Asks the owner for other priorities of a task, one after the other.
    pub(super) async fn change_priority(
        &self,
        task: TaskId,
        team: &TeamId,
        changes: Vec<(Duration, Priority)>,
    ) {
        for (pause, priority) in changes {
            sleep(pause).await;
            self.ask_for_priority(task, team.clone(), priority).await;
        }
    }

    async fn ask_for_priority(&self, task: TaskId, team: TeamId, priority: Priority) {
        let world = Arc::clone(&self.network.0.world);
        let actor = Actor::Operator(format!("client-{}", world.random.next()));
        world
            .ledger()
            .wants_priority(task, actor.to_string(), priority);
        let request = OwnerRequest::ChangePriority {
            task,
            team,
            priority,
            operation: None,
            actor,
            traceparent: None,
        };
        let told = Arc::clone(&world);
        let answered = move |reply: &OwnerReply| told.ledger().priority_answered(task, reply);
        self.send(task, request, answered).await;
    }

    /// Sends a request to whoever listens as the owner of a task, as NATS does; the first reply
    /// counts.
    pub(super) async fn send(
        &self,
        task: TaskId,
        request: OwnerRequest,
        told: impl Fn(&OwnerReply) + Clone + Send + 'static,
    ) {
        let world = Arc::clone(&self.network.0.world);
        let (tx, mut replies) = mpsc::channel(16);
        let listeners: Vec<Listener> = lock(&world.listeners)
            .iter()
            .filter(|listener| listener.partition == task.partition())
            .cloned()
            .collect();
        for listener in listeners {
            let (world, request, tx) = (Arc::clone(&world), request.clone(), tx.clone());
            let told = told.clone();
            // Spawned on the network's behalf; ends when the listener has answered or is gone.
            tokio::spawn(async move {
                if let Some(reply) = ask(&world, &listener, request).await {
                    world.note(|| {
                        format!("{} replies {reply:?} about {task}", listener.process.name)
                    });
                    told(&reply);
                    // Sending fails if an earlier reply was taken, since only the first counts.
                    let _ = tx.try_send(());
                }
            });
        }
        drop(tx);
        // Listeners that do not reply in time are ignored.
        let _ = timeout(REPLY_DEADLINE, replies.recv()).await;
    }
}

#[test]
fn changes_of_priority_survive_owners_snapshots_and_purges() {
    let mut seen: BTreeMap<&'static str, u64> = BTreeMap::new();
    for seed in seeds(RUNS / 15) {
        for (what, times) in must_keep_its_promises(seed, no_history()) {
            *seen.entry(what).or_default() += times;
        }
    }
    eprintln!("{seen:?}");
    if number("WAYBILL_SIM_SEED").is_none() {
        for what in ["priority_changed", "changed priority restated"] {
            assert!(seen.contains_key(what), "{what}: {seen:?}");
        }
    }
}

#[test]
fn an_owner_that_overlooks_changes_of_priority_is_noticed() {
    is_noticed_in(Sabotage::NoPriorities, no_history());
}
