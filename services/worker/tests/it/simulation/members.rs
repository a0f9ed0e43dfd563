//! Clients that create workflows, cancel some of their members, and what is promised about it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use waybill_domain::actor::Actor;
use waybill_domain::command::{OwnerReply, OwnerRequest};
use waybill_domain::event::{TaskCreated, TaskEvent};
use waybill_domain::flow::{MemberOf, Place, RunAfterMode};
use waybill_domain::id::{TaskId, TeamId, WorkflowId};
use waybill_log::subject::{CREATED, TaskSubject};
use waybill_log::{
    Append, AppendError, Atomicity, Expectation, Log, MsgId, NewRecord, Stream, StreamSeq,
};

use super::clients::{Gateway, REPLY_DEADLINE, ask};
use super::history::Conditions;
use super::ledger::Wish;
use super::world::{Faults, Listener, Sabotage, lock};
use super::{
    NOTICED_WITHIN, RUNS, is_noticed_in, live, must_keep_its_promises, no_history, number, seeds,
};

/// How often a creation whose outcome is unknown is tried, each time with the same message id.
const TRIES: u32 = 3;

impl Gateway {
    /// Creates a workflow, and cancels a member of it now and then.
    pub(super) async fn live_with_a_workflow(self, at: Duration) {
        sleep(at).await;
        let world = Arc::clone(self.world());
        let random = &world.random;
        let members = self.a_workflow();
        let place = (members[0].team.clone(), members[0].queue.clone());
        let ids: Vec<TaskId> = members.iter().map(|member| member.id).collect();
        let cancels = random
            .chance(400)
            .then(|| (*random.pick(&ids), random.millis(0, 6_000)));
        let ends = random.chance(400).then(|| random.millis(0, 6_000));
        self.create_all(members).await;
        if let Some((member, pause)) = cancels {
            sleep(pause).await;
            self.ask_for(Wish::Cancel, member, place.clone()).await;
        }
        if let Some(pause) = ends {
            sleep(pause).await;
            self.cancel_all(ids, place.0).await;
        }
    }

    /// Asks the owner to cancel a whole workflow. Every listener gets the request, as with NATS.
    async fn cancel_all(&self, tasks: Vec<TaskId>, team: TeamId) {
        let world = Arc::clone(self.world());
        let actor = Actor::Operator(format!("canceller-{}", world.random.next()));
        let number = world.ledger().asks_together(&tasks, actor.to_string());
        if world.sabotage == Some(Sabotage::CancellationsAreAnsweredAtOnce) {
            let seq = StreamSeq::default();
            let reply = OwnerReply::Done { seq };
            world.ledger().replied_together(number, &reply);
        }
        let listeners: Vec<Listener> = lock(&world.listeners)
            .iter()
            .filter(|listener| listener.partition == tasks[0].partition())
            .cloned()
            .collect();
        let request = OwnerRequest::CancelTogether {
            tasks,
            team,
            actor,
            traceparent: None,
        };
        let mut asked = JoinSet::new();
        for listener in listeners {
            let (world, request) = (Arc::clone(&world), request.clone());
            asked.spawn(async move {
                if let Some(reply) = ask(&world, &listener, request).await {
                    world.note(|| format!("{} replies {reply:?}", listener.process.name));
                    world.ledger().replied_together(number, &reply);
                }
            });
        }
        // Listeners that do not reply in time are ignored.
        let _ = timeout(REPLY_DEADLINE, async {
            while asked.join_next().await.is_some() {}
        })
        .await;
    }

    /// Random members, those that others run after first.
    fn a_workflow(&self) -> Vec<TaskCreated> {
        let world = self.world();
        let random = &world.random;
        let first = self.a_task();
        let count = u16::try_from(2 + random.below(5)).unwrap_or(2);
        let workflow = WorkflowId::new(world.now(), u128::from(random.next()));
        let mut members: Vec<TaskCreated> = Vec::new();
        for at in 0..count {
            let mut task = self.a_task();
            let entropy = u128::from(random.next()) << 64 | u128::from(random.next());
            task.id = TaskId::new(world.now(), entropy, first.id.partition());
            (task.team, task.queue) = (first.team.clone(), first.queue.clone());
            (task.ordering, task.once) = (None, None);
            let earlier = members.iter().map(|member| member.id);
            let after: Vec<_> = earlier.filter(|_| random.chance(450)).collect();
            let place = after
                .first()
                .filter(|_| random.chance(300))
                .map(|task| Place {
                    task: *task,
                    text: "tasks.a.result.status".into(),
                });
            task.member = Some(Box::new(MemberOf {
                workflow: workflow.clone(),
                name: format!("m{at}"),
                at,
                of: count,
                retry: 0,
                after,
                done: Vec::new(),
                mode: if random.chance(700) {
                    RunAfterMode::All
                } else {
                    RunAfterMode::Any
                },
                places: place.into_iter().collect(),
                given: Vec::new(),
                about: None,
            }));
            members.push(task);
        }
        members
    }

    /// Tries to create tasks: all of them or none.
    async fn create_all(&self, members: Vec<TaskCreated>) {
        let ids: Vec<TaskId> = members.iter().map(|member| member.id).collect();
        let records: Vec<_> = members
            .into_iter()
            .map(|task| {
                let place = (task.id.partition(), &task.team, &task.queue);
                let subject = TaskSubject::event(place.0, place.1, place.2, CREATED).to_string();
                let event = TaskEvent::Created(Box::new(task));
                NewRecord {
                    subject,
                    event: event.name(),
                    actor: Actor::System("client".into()).to_string(),
                    traceparent: None,
                    origin: None,
                    payload: event.encode().into(),
                }
            })
            .collect();
        let mut unsure = false;
        for _ in 0..TRIES {
            let append = Append {
                stream: Stream::Tasks,
                records: records.clone(),
                expect: Expectation::None,
                atomicity: Atomicity::Atomic,
                msg_id: Some(MsgId(ids[0].to_string())),
            };
            match self.network.append(append).await {
                Ok(_) => {
                    for id in ids {
                        self.world().ledger().told(id, true);
                    }
                    return;
                }
                Err(AppendError::Unknown { .. }) => unsure = true,
                Err(_) => break,
            }
        }
        if !unsure {
            for id in ids {
                self.world().ledger().told(id, false);
            }
        }
    }
}

fn flows(conditions: Conditions) -> Conditions {
    Conditions {
        flows: 4,
        ..conditions
    }
}

fn all_of(conditions: Conditions, runs: u64, expected: &[&str]) {
    let mut seen: BTreeMap<&'static str, u64> = BTreeMap::new();
    for seed in seeds(runs) {
        for (what, times) in must_keep_its_promises(seed, conditions) {
            *seen.entry(what).or_default() += times;
        }
    }
    eprintln!("{seen:?}");
    if number("WAYBILL_SIM_SEED").is_none() {
        for what in expected {
            assert!(seen.contains_key(what), "{what}: {seen:?}");
        }
    }
}

#[test]
fn members_run_after_each_other_whatever_happens() {
    let expected = [
        "released by others",
        "cancelled for others",
        "cancelled together",
        "ended together",
    ];
    all_of(flows(Conditions::default()), RUNS / 3, &expected);
}

#[test]
fn members_survive_owners_snapshots_and_purges() {
    let expected = [
        "released by others",
        "cancelled for others",
        "member restated",
    ];
    all_of(flows(no_history()), RUNS / 10, &expected);
}

#[test]
fn members_may_be_claimed() {
    let pulls = Conditions {
        pulls: true,
        ..Conditions::default()
    };
    all_of(flows(pulls), RUNS / 10, &["released by others"]);
}

#[test]
fn members_that_do_not_wait_are_noticed() {
    is_noticed_in(Sabotage::NoMembers, flows(Conditions::default()));
}

#[test]
fn an_owner_that_overlooks_what_a_restatement_says_of_predecessors_is_noticed() {
    is_noticed_in(Sabotage::NoWaits, flows(no_history()));
}

/// Appends are cut short often.
fn torn() -> Conditions {
    flows(Conditions {
        faults: |random| Faults {
            cut_short: 300,
            ..Faults::drawn(random)
        },
        ..Conditions::default()
    })
}

#[test]
fn a_cancellation_that_reaches_a_part_of_a_workflow_is_noticed() {
    is_noticed_as(Sabotage::TornCancellations, "stored whole");
}

#[test]
fn a_cancellation_that_is_answered_too_early_is_noticed() {
    is_noticed_as(Sabotage::CancellationsAreAnsweredAtOnce, "after the answer");
}

/// Runs histories without a guard until the ledger notices what is said in these words.
fn is_noticed_as(sabotage: Sabotage, words: &str) {
    let noticed = (0..NOTICED_WITHIN).any(|seed| {
        let conditions = Conditions {
            sabotage: Some(sabotage),
            ..torn()
        };
        let violations = live(seed, conditions).violations;
        violations.iter().any(|what| what.contains(words))
    });
    assert!(
        noticed,
        "nobody noticed {sabotage:?} in {NOTICED_WITHIN} histories"
    );
}

#[test]
fn a_workflow_is_cancelled_whole_however_often_appends_are_cut_short() {
    all_of(torn(), RUNS / 10, &["ended together"]);
}
