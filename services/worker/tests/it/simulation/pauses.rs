//! Pauses of queues in a simulated history: somebody who pauses and resumes queues, and the leases
//! under which workers start tasks.
//!
//! The lease is that of production in short: it lasts from when its renewal was sent, and it is used
//! only once everything is taken into account that was asked for before the renewal was stored. A
//! pause is answered when every worker has said so, or when no lease from before can be left.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use waybill_domain::access::plan::Catalogue;
use waybill_domain::actor::Actor;
use waybill_domain::event::{
    ControlEvent, QueuePaused, QueueResumed, TargetClosed, TargetHealthSet, TargetOpened,
    TeamCreated,
};
use waybill_domain::health::{HealthRule, TargetHost};
use waybill_domain::id::{Environment, QueueName, TeamId};
use waybill_domain::partition::PartitionCount;
use waybill_domain::time::Timestamp;
use waybill_log::subject::of_control;
use waybill_log::{Append, Atomicity, Expectation, Leases as _, Log, NewRecord, Stream, StreamSeq};
use waybill_worker::queues::{Queues, QueuesService, StartLease};

use super::clients::QUEUES;
use super::network::Network;
use super::world::{Process, Sabotage, World, lock};

/// How long a lease lasts.
const LEASE: Duration = Duration::from_secs(3);
/// Pause between two renewals.
const RENEWAL: Duration = Duration::from_millis(700);
/// Pause before another look.
const LOOK: Duration = Duration::from_millis(20);

/// The lease of one worker.
pub(crate) struct SimulatedLease {
    process: Arc<Process>,
    until: Mutex<Option<Instant>>,
}

#[async_trait]
impl StartLease for SimulatedLease {
    fn is_held(&self) -> bool {
        let until = *lock(&self.until);
        let eternal = self.process.world.sabotage == Some(Sabotage::LeasesLastForEver);
        until.is_some_and(|until| eternal || Instant::now() < until)
    }

    async fn soon(&self) {
        sleep(Duration::from_millis(100)).await;
    }
}

/// What a worker needs to follow pauses.
pub(crate) fn follower(
    network: &Arc<Network>,
    partitions: PartitionCount,
    stop: &CancellationToken,
) -> QueuesService {
    let process = Arc::clone(&network.0);
    let lease = Arc::new(SimulatedLease {
        process: Arc::clone(&process),
        until: Mutex::default(),
    });
    let applied = watch::Sender::new(StreamSeq(0));
    let told = applied.subscribe();
    lock(&process.world.holders).push(told.clone());
    tokio::spawn(renew(
        Arc::clone(network),
        Arc::clone(&lease),
        told,
        stop.clone(),
    ));
    let log = Arc::clone(network) as Arc<dyn Log>;
    let plans = Arc::clone(Catalogue::builtin());
    let (_, service) = Queues::under(lease, applied, log, partitions, plans);
    service
}

/// Renews a lease until its worker stops or dies.
async fn renew(
    network: Arc<Network>,
    lease: Arc<SimulatedLease>,
    applied: watch::Receiver<StreamSeq>,
    stop: CancellationToken,
) {
    let process = Arc::clone(&lease.process);
    let world = Arc::clone(&process.world);
    while !process.is_dead() && !stop.is_cancelled() {
        let sent = Instant::now();
        // Only the way there and back matters, with its faults.
        if network.holders().await.is_ok() {
            let demanded = StreamSeq(world.demanded.load(Ordering::Relaxed));
            while *applied.borrow() < demanded && sent.elapsed() < LEASE && !process.is_dead() {
                sleep(LOOK).await;
            }
            process.gate().await;
            if *applied.borrow() >= demanded {
                *lock(&lease.until) = Some(sent + LEASE);
            }
        }
        sleep(RENEWAL).await;
    }
}

pub(super) fn team(number: u64) -> TeamId {
    TeamId::new(Timestamp(1_700_000_000_000), number.into())
}

/// Pauses queues now and then until that time, and resumes all in the end.
pub(crate) async fn somebody_pauses(world: Arc<World>, until: Instant) {
    while Instant::now() < until {
        sleep(world.random.millis(50, 1_500)).await;
        let queue = QueueName::parse(world.random.pick::<&str>(&QUEUES)).expect("a valid name");
        let team = team(world.random.below(2));
        let seq = store(&world, paused(&team, &queue)).await;
        world.demanded.fetch_max(seq.0, Ordering::Relaxed);
        everybody_knows(&world, seq).await;
        world.note(|| format!("the pause of {queue} of {team} is answered"));
        world.ledger().pause_answered(&team, &queue);
        sleep(world.random.millis(10, 3_000)).await;
        world.ledger().resumed(&team, &queue);
        store(&world, resumed(&team, &queue)).await;
    }
}

/// Opens the host of all tasks now and then until that time, and closes it in the end.
pub(crate) async fn somebody_opens(world: Arc<World>, until: Instant) {
    let host = TargetHost::parse("target").expect("a host");
    while Instant::now() < until {
        sleep(world.random.millis(500, 4_000)).await;
        let team = team(world.random.below(2));
        let opened = ControlEvent::TargetOpened(TargetOpened {
            host: host.clone(),
            team: team.clone(),
            environment: Environment::Live,
            reason: None,
            until: None,
            opened_by: "user:u".into(),
            at: Timestamp(1),
        });
        let seq = store(&world, opened).await;
        world.demanded.fetch_max(seq.0, Ordering::Relaxed);
        everybody_knows(&world, seq).await;
        world.note(|| format!("that the host is open for {team} is answered"));
        world.ledger().open_answered(&team);
        sleep(world.random.millis(10, 2_000)).await;
        world.ledger().closed(&team);
        let closed = ControlEvent::TargetClosed(TargetClosed {
            host: host.clone(),
            team: team.clone(),
            environment: Environment::Live,
            at: Timestamp(1),
        });
        store(&world, closed).await;
    }
}

pub(super) async fn everybody_knows(world: &World, seq: StreamSeq) {
    if world.sabotage == Some(Sabotage::PausesAreAnsweredAtOnce) {
        return;
    }
    // A little longer, as clocks may differ.
    let left = Instant::now() + LEASE + LOOK;
    // Workers that begin later read all of it before they start anything.
    let holders = lock(&world.holders).clone();
    while Instant::now() < left && holders.iter().any(|applied| *applied.borrow() < seq) {
        sleep(LOOK).await;
    }
}

fn paused(team: &TeamId, queue: &QueueName) -> ControlEvent {
    ControlEvent::QueuePaused(QueuePaused {
        queue: queue.clone(),
        team: team.clone(),
        environment: Environment::Live,
        reason: None,
        until: None,
        paused_by: "user:u".into(),
        at: Timestamp(1),
        drain: false,
    })
}

fn resumed(team: &TeamId, queue: &QueueName) -> ControlEvent {
    ControlEvent::QueueResumed(QueueResumed {
        queue: queue.clone(),
        team: team.clone(),
        environment: Environment::Live,
        at: Timestamp(1),
    })
}

pub(super) async fn store(world: &World, event: ControlEvent) -> StreamSeq {
    let append = Append {
        stream: Stream::Control,
        records: vec![NewRecord {
            subject: of_control(&event).expect("tokens"),
            event: event.name(),
            actor: Actor::System("test".into()).to_string(),
            traceparent: None,
            origin: None,
            payload: event.encode().into(),
        }],
        expect: Expectation::None,
        atomicity: Atomicity::Atomic,
        msg_id: None,
    };
    let stored = world.log.append(append).await.expect("stored");
    stored.seqs[0]
}

/// Founds a team with a plan.
pub(super) async fn found_team(world: &World, number: u64, plan: &str) {
    if world.sabotage == Some(Sabotage::NoPlans) {
        return;
    }
    let created = ControlEvent::TeamCreated(TeamCreated {
        team: team(number),
        name: "A team".into(),
        plan: plan.into(),
        at: Timestamp(1),
    });
    store(world, created).await;
}

/// The rule by which the host of all tasks rests, for both teams.
pub(super) async fn judge_hosts(world: &World, rule: HealthRule) {
    if world.sabotage == Some(Sabotage::NoHealthRules) {
        return;
    }
    for number in 0..2 {
        let set = ControlEvent::TargetHealthSet(TargetHealthSet {
            host: TargetHost::parse("target").expect("a host"),
            team: team(number),
            environment: Environment::Live,
            rule: Some(rule),
            at: Timestamp(1),
        });
        store(world, set).await;
    }
}
