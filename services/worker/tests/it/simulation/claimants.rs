//! Workers of a team in a simulated history: they claim tasks and report, are killed, and freeze past
//! their leases and go on as if nothing were.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use waybill_domain::actor::Actor;
use waybill_domain::command::{ClaimRequest, ClaimedTask, OwnerReply, OwnerRequest, WorkerReport};
use waybill_domain::event::{Answer, BodyEncoding};
use waybill_domain::id::{QueueName, TeamId};
use waybill_domain::partition::Partition;
use waybill_domain::time::Timestamp;

use super::clients::{Gateway, QUEUES, ask};
use super::drains::Door;
use super::history::{Conditions, ProcessFaults};
use super::world::{Listener, Sabotage, World, lock};
use super::{RUNS, clocks_jump, is_noticed_in, must_keep_its_promises, number, seeds};

/// How many of them there are.
const COUNT: u64 = 3;
/// How often a report is made to which nobody answers.
const TRIES: u32 = 40;
/// How long the answer of an owner is waited for, besides the time that a claim waits.
const REPLY_DEADLINE: Duration = Duration::from_secs(3);

/// Starts the claimants; they end when the set is dropped.
pub(crate) fn claimants(gateway: &Gateway) -> JoinSet<()> {
    let mut set = JoinSet::new();
    for number in 0..COUNT {
        set.spawn(work(gateway.clone(), name(number)));
    }
    set
}

fn name(number: u64) -> String {
    format!("claimant {number}")
}

/// The names of all of them.
pub(crate) fn names() -> Vec<String> {
    (0..COUNT).map(name).collect()
}

async fn work(gateway: Gateway, name: String) {
    let world = Arc::clone(gateway.world());
    let mut held = JoinSet::new();
    loop {
        let random = &world.random;
        let team = TeamId::new(Timestamp(1_700_000_000_000), u128::from(random.below(2)));
        let queue = QueueName::parse(random.pick::<&str>(&QUEUES)).expect("a valid name");
        let partition = Partition::of(&team, &queue, gateway.partitions);
        let of_partition = |name: &&str| {
            let queue = QueueName::parse(name).expect("a valid name");
            (Partition::of(&team, &queue, gateway.partitions) == partition).then_some(queue)
        };
        let wait_ms = u32::try_from(random.below(3_000)).unwrap_or(0);
        let mut request = ClaimRequest {
            queues: QUEUES.iter().filter_map(of_partition).collect(),
            team: team.clone(),
            max: u32::try_from(1 + random.below(4)).unwrap_or(1),
            wait_ms,
            lease_ms: u32::try_from(1_000 + random.below(5_000)).unwrap_or(1_000),
            worker: name.clone(),
            ask: random.next(),
            is_repeated: false,
            actor: Actor::System(name.clone()),
        };
        let door = Door::any(random);
        if door.is_draining(&world, &name) {
            sleep(random.millis(10, 400)).await;
            continue;
        }
        let (queues, ask) = (request.queues.clone(), request.ask);
        let patience = Duration::from_millis(wait_ms.into()) + REPLY_DEADLINE;
        let looks_once = world.sabotage == Some(Sabotage::DrainsAreLookedAtOnce);
        let given = async {
            for _ in 0..3 {
                let asked = OwnerRequest::Claim(request.clone());
                if let Some(OwnerReply::Claimed(given)) =
                    first(&world, partition, asked, patience).await
                {
                    return given;
                }
                request.is_repeated = true;
            }
            Vec::new()
        };
        let given = tokio::select! {
            biased;
            given = given => Some(given),
            () = door.until_draining(&world, &name), if !looks_once => None,
        };
        let tasks = given.filter(|_| looks_once || !door.is_draining(&world, &name));
        let Some(tasks) = tasks else {
            // What owners have given meanwhile goes back.
            world.ledger().goes_back();
            let withdraw = OwnerRequest::WithdrawClaim { team, queues, ask };
            first(&world, partition, withdraw, REPLY_DEADLINE).await;
            continue;
        };
        for task in tasks {
            world.ledger().given(&task, &name);
            held.spawn(hold(Arc::clone(&world), name.clone(), team.clone(), task));
        }
        while held.try_join_next().is_some() {}
        sleep(random.millis(10, 400)).await;
    }
}

/// What becomes of a task that a claimant holds.
async fn hold(world: Arc<World>, name: String, team: TeamId, task: ClaimedTask) {
    let random = &world.random;
    let calm = world.is_calm();
    let claim = Claim {
        world: Arc::clone(&world),
        name,
        team,
        task,
    };
    match random.below(10) {
        // Killed: nothing is heard of it any more.
        0 if !calm => return,
        // Frozen past its lease; it goes on as if nothing were.
        1 | 2 if !calm => sleep(random.millis(2_000, 12_000)).await,
        3 | 4 => {
            for _ in 0..random.below(4) {
                sleep(random.millis(100, 1_500)).await;
                if !claim.report(lives()).await {
                    break;
                }
            }
        }
        _ => sleep(random.millis(0, 900)).await,
    }
    let what = match random.below(8) {
        0 if !calm => WorkerReport::Release,
        1 => WorkerReport::Fail {
            message: "it broke".into(),
            retry: random.chance(700),
        },
        _ => completes(),
    };
    claim.report(what.clone()).await;
    // Its answer may have been lost.
    if random.chance(300) {
        claim.report(what).await;
    }
}

fn lives() -> WorkerReport {
    WorkerReport::Progress {
        lease_ms: None,
        percent: None,
        message: None,
    }
}

fn completes() -> WorkerReport {
    WorkerReport::Complete {
        result: Answer {
            status: 200,
            headers: Vec::new(),
            body: "{}".into(),
            encoding: BodyEncoding::Text,
            body_bytes: 2,
            duration_ms: 0,
            header_bytes: None,
        },
    }
}

struct Claim {
    world: Arc<World>,
    name: String,
    team: TeamId,
    task: ClaimedTask,
}

impl Claim {
    /// Reports until somebody answers. Returns whether the claim still holds after a heartbeat.
    async fn report(&self, what: WorkerReport) -> bool {
        let (id, attempt) = (self.task.task, self.task.attempt);
        self.world.ledger().reports(id, attempt, &what);
        for _ in 0..TRIES {
            let request = OwnerRequest::Report {
                task: id,
                attempt,
                team: self.team.clone(),
                what: what.clone(),
                actor: Actor::System(self.name.clone()),
                only: Vec::new(),
                holder: None,
            };
            let partition = id.partition();
            let reply = first(&self.world, partition, request, REPLY_DEADLINE).await;
            match reply {
                None | Some(OwnerReply::TryAgain) => {
                    sleep(Duration::from_millis(100)).await;
                }
                Some(reply) => {
                    self.world.note(|| {
                        format!(
                            "{} is told {reply:?} of attempt {attempt} of {id}",
                            self.name
                        )
                    });
                    self.world
                        .ledger()
                        .told_of_report(id, attempt, &what, &reply);
                    return matches!(reply, OwnerReply::Extended { .. });
                }
            }
        }
        false
    }
}

/// Asks whoever listens for a partition; the first reply counts that is one.
async fn first(
    world: &Arc<World>,
    partition: Partition,
    request: OwnerRequest,
    patience: Duration,
) -> Option<OwnerReply> {
    let (tx, mut replies) = mpsc::channel(16);
    let listeners: Vec<Listener> = lock(&world.listeners)
        .iter()
        .filter(|listener| listener.partition == partition)
        .cloned()
        .collect();
    for listener in listeners {
        let (world, request, tx) = (Arc::clone(world), request.clone(), tx.clone());
        // Spawned on the network's behalf; ends when the listener has answered or is gone.
        tokio::spawn(async move {
            if let Some(reply) = ask(&world, &listener, request).await {
                // Sending fails if an earlier reply was taken.
                let _ = tx.try_send(reply);
            }
        });
    }
    drop(tx);
    let first = async {
        while let Some(reply) = replies.recv().await {
            if reply != OwnerReply::TryAgain {
                return Some(reply);
            }
        }
        None
    };
    timeout(patience, first).await.ok().flatten()
}

/// Some tasks are claimed by workers that are killed, and that freeze past their leases.
pub(super) fn pulls() -> Conditions {
    Conditions {
        pulls: true,
        tasks: 30,
        ..Conditions::default()
    }
}

#[test]
fn claimed_tasks_come_to_one_end_each_whatever_becomes_of_owners_and_claimants() {
    let mut seen: BTreeMap<&'static str, u64> = BTreeMap::new();
    for seed in seeds(RUNS / 10) {
        for (what, times) in must_keep_its_promises(seed, pulls()) {
            *seen.entry(what).or_default() += times;
        }
    }
    eprintln!("{seen:?}");
    if number("WAYBILL_SIM_SEED").is_none() {
        for what in ["given", "report taken", "lease extended", "lease lost"] {
            assert!(seen.contains_key(what), "{what}: {seen:?}");
        }
    }
}

/// The same with right clocks, so that leases can be measured.
fn pulls_with_right_clocks() -> Conditions {
    Conditions {
        process_faults: ProcessFaults::Crashes,
        ..pulls()
    }
}

#[test]
fn no_lease_ends_before_it_is_over_whoever_owns_its_partition() {
    for seed in seeds(RUNS / 10) {
        must_keep_its_promises(seed, pulls_with_right_clocks());
    }
}

#[test]
fn leases_last_as_long_as_they_should_however_clocks_jump() {
    let conditions = Conditions {
        pulls: true,
        ..clocks_jump()
    };
    for seed in seeds(RUNS / 10) {
        must_keep_its_promises(seed, conditions);
    }
}

#[test]
fn a_reader_that_overlooks_leases_is_noticed() {
    is_noticed_in(Sabotage::NoLeases, pulls_with_right_clocks());
}
