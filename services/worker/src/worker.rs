//! The worker role: takes its fair share of the partitions, and serves each in a task of its own.
//!
//! Every worker holds a lease under its own name, so that each can count the others. The share is the number of partitions divided
//! by the number of workers, rounded up. A worker with too many partitions gives some back, and one with too few takes free ones. A
//! worker that dies stops renewing, so its partitions become free when their leases expire.

mod left;
mod served;
mod standing;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{AbortHandle, Id, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;
use waybill_domain::partition::{Partition, PartitionCount};
use waybill_log::{LeaseError, Leases, Pressure, Snapshots, StreamSeq};

use crate::board::{Board, Place};
use crate::bulkhead::{Bulkhead, Caps};
use crate::calls::{CallExecutor, Calls};
use crate::command::CommandSource;
use crate::lease::KeptLease;
use crate::partition::{Exit, PartitionParts, SnapshotPace, serve};
use crate::queues::{Queues, QueuesService};
use crate::retention::{Horizons, Janitor, RetentionConfig};
use crate::takeover::{self, TakeOverError, take_over};
use crate::vault::VaultService;
use crate::watchdog::{Pulse, Watch};

pub use left::LeftToNewer;

use served::Served;

/// Interval between checks of the shares; also the longest time that a free partition waits for its next owner.
const BALANCE_EVERY: Duration = Duration::from_millis(500);
/// Pause before taking over a partition is retried.
const TAKE_OVER_PAUSE: Duration = Duration::from_millis(250);
/// How long a partition that is being given up is taken over again to store its last results.
const LAST_TRIES: Duration = Duration::from_secs(5);
/// Pause after a partition was given back because this version cannot read it.
const TOO_NEW_PAUSE: Duration = Duration::from_secs(30);

/// Configuration of a worker.
#[derive(Debug, Clone)]
pub struct WorkerConfig {
    /// Unique among all workers; the holder of its leases.
    pub name: String,
    /// Number of partitions.
    pub partitions: PartitionCount,
    /// Limit of concurrent calls.
    pub slots: usize,
    /// How many of them one host and one team may use.
    pub caps: Caps,
    /// How long running calls may continue when the worker stops or gives a partition to another worker.
    pub drain: Duration,
    /// How long ended tasks are kept.
    pub retention: RetentionConfig,
}

/// What a worker needs.
pub struct WorkerParts {
    /// Makes calls, and reads and appends.
    pub executor: Arc<CallExecutor>,
    /// Leases of partitions.
    pub leases: Arc<dyn Leases>,
    /// Storage of snapshots.
    pub snapshots: Arc<dyn Snapshots>,
    /// Source of clients' requests.
    pub commands: Arc<dyn CommandSource>,
    /// The service of the vault, if there is one.
    pub vault: Option<VaultService>,
    /// What holds queues back, and the lease under which tasks are started; `None`: no queue can be
    /// paused.
    pub queues: Option<QueuesService>,
    /// Whether ended history must be purged early; `None`: never.
    pub pressure: Option<watch::Receiver<Pressure>>,
}

/// A running worker. Dropping it ends it at once, as a crash would: nothing is released.
#[derive(Debug)]
pub struct Worker {
    owned: Arc<AtomicUsize>,
    board: Arc<Board>,
    left: LeftToNewer,
    leaving: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Worker {
    /// Starts a worker. Cancelling `stop` ends it, after it has released everything that it owns.
    #[must_use]
    pub fn start(config: WorkerConfig, parts: WorkerParts, stop: CancellationToken) -> Self {
        Self::start_with(config, parts, SnapshotPace::default(), stop)
    }

    /// Starts a worker with another pace of snapshots.
    #[must_use]
    pub fn start_with(
        config: WorkerConfig,
        mut parts: WorkerParts,
        pace: SnapshotPace,
        stop: CancellationToken,
    ) -> Self {
        let owned = Arc::new(AtomicUsize::new(0));
        let board = Arc::new(Board::default());
        let leaving = Arc::new(AtomicUsize::new(0));
        takeover::nothing_went_backwards();
        let vault = parts.vault.take();
        let queues_service = parts.queues.take();
        let queues = queues_service.as_ref().map(QueuesService::queues);
        let executor = Arc::clone(&parts.executor);
        let horizons = Horizons::new(config.partitions);
        let janitor = Janitor {
            log: Arc::clone(&parts.executor.log),
            leases: Arc::clone(&parts.leases),
            config: config.retention,
            worker: config.name.clone(),
            partitions: config.partitions,
            pressure: parts
                .pressure
                .take()
                .unwrap_or_else(|| watch::channel(Pressure::None).1),
            horizons: horizons.clone(),
            former: StreamSeq::default(),
        };
        let shell = Shell {
            horizons,
            queues,
            bulkhead: Bulkhead::new(config.slots, config.caps),
            config,
            parts: Arc::new(parts),
            pace,
            owned: Arc::clone(&owned),
            board: Arc::clone(&board),
            left: LeftToNewer::default(),
            leaving: Arc::clone(&leaving),
        };
        let left = shell.left.clone();
        Self {
            owned,
            board,
            left,
            leaving,
            task: tokio::spawn(with_others(
                shell.run(stop),
                janitor,
                vault,
                queues_service,
                executor,
            )),
        }
    }

    /// Number of partitions that are being served.
    #[must_use]
    pub fn owned(&self) -> usize {
        self.owned.load(Ordering::Relaxed)
    }

    /// The worker's status report.
    #[must_use]
    pub fn board(&self) -> Arc<Board> {
        Arc::clone(&self.board)
    }

    /// Partitions that this version cannot own because a newer one wrote to them: they wait for a worker of that version.
    #[must_use]
    pub fn left_to_newer(&self) -> LeftToNewer {
        self.left.clone()
    }

    /// Number of partitions that are being given to another worker, in which nothing new is started.
    #[must_use]
    pub fn leaving(&self) -> usize {
        self.leaving.load(Ordering::Relaxed)
    }

    /// Waits until the worker has stopped.
    pub async fn stopped(mut self) {
        if let Err(error) = (&mut self.task).await {
            tracing::error!(%error, "the worker crashed");
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Runs the worker together with retention and the services that its calls need, which end after
/// it: its last calls may still need them.
async fn with_others(
    worker: impl Future<Output = ()>,
    janitor: Janitor,
    vault: Option<VaultService>,
    queues: Option<QueuesService>,
    executor: Arc<CallExecutor>,
) {
    let stop = CancellationToken::new();
    // Dropped with this future, as in a crash, they end at once.
    let mut beside = JoinSet::new();
    beside.spawn(janitor.run(stop.clone()));
    if let Some(vault) = vault {
        beside.spawn(vault.run(stop.clone()));
    }
    if let Some(queues) = queues {
        beside.spawn(queues.run(stop.clone()));
    }
    let following = stop.clone();
    beside.spawn(async move {
        let follow = executor.signer.follow(&executor.log);
        following.run_until_cancelled(follow).await;
    });
    worker.await;
    stop.cancel();
    while let Some(ended) = beside.join_next().await {
        if let Err(error) = ended {
            tracing::error!(%error, "a background task of the worker crashed");
        }
    }
}

struct Shell {
    config: WorkerConfig,
    parts: Arc<WorkerParts>,
    pace: SnapshotPace,
    bulkhead: Arc<Bulkhead>,
    owned: Arc<AtomicUsize>,
    board: Arc<Board>,
    left: LeftToNewer,
    horizons: Horizons,
    queues: Option<Arc<Queues>>,
    leaving: Arc<AtomicUsize>,
}

/// The tasks of this worker's partitions, with their handles.
#[derive(Default)]
struct Tasks {
    set: JoinSet<()>,
    by_task: HashMap<Id, Partition>,
    /// Ordered, so that a simulation is repeatable.
    held: BTreeMap<Partition, Held>,
    /// Partitions that were given away since they stood still, and when.
    aside: BTreeMap<Partition, Instant>,
    /// When the partitions were last looked at.
    looked: Option<Instant>,
}

/// Handles of a partition's task.
struct Held {
    stop: CancellationToken,
    leave: watch::Sender<bool>,
    running: Arc<AtomicUsize>,
    watch: Watch,
    task: AbortHandle,
}

impl Held {
    fn is_leaving(&self) -> bool {
        *self.leave.borrow()
    }
}

impl Tasks {
    /// Gives up `too_many` partitions, those with the fewest calls first, since they are free soonest.
    fn leave(&self, too_many: usize) {
        let mut staying: Vec<_> = self
            .held
            .values()
            .filter(|held| !held.is_leaving())
            .collect();
        staying.sort_by_key(|held| held.running.load(Ordering::Relaxed));
        for held in staying.into_iter().take(too_many) {
            held.leave.send_replace(true);
        }
    }

    /// Keeps up to `wanted` partitions that are being given up and not taken yet; returns how many.
    fn stay(&self, wanted: usize) -> usize {
        let mut staying = 0;
        for held in self.held.values().filter(|held| held.is_leaving()) {
            if staying == wanted {
                break;
            }
            held.leave.send_replace(false);
            staying += 1;
        }
        staying
    }
}

impl Shell {
    async fn run(self, stop: CancellationToken) {
        let mut tasks = Tasks::default();
        let mut member = None;
        let mut ticks = interval(BALANCE_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            // Biased: first the stop, then partitions that have ended, so that balancing below counts only running ones.
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(ended) = tasks.set.join_next_with_id() => {
                    let id = match &ended {
                        Ok((id, ())) => *id,
                        Err(error) => {
                            tracing::error!(%error, "the loop of a partition crashed; the partition will be taken over again");
                            error.id()
                        }
                    };
                    if let Some(partition) = tasks.by_task.remove(&id) {
                        tasks.held.remove(&partition);
                    }
                }
                _ = ticks.tick() => {
                    self.give_away_what_stands(&mut tasks);
                    match self.balance(&mut tasks, &mut member).await {
                        Ok(()) => self.board.balanced(),
                        Err(error) => {
                            tracing::warn!(%error, "reading the leases of the workers failed; the distribution of partitions stays as it is until it succeeds");
                        }
                    }
                }
            }
        }
        for held in tasks.held.values() {
            held.stop.cancel();
        }
        // Released before the partitions have drained: as long as this worker counts, the others would not take what it gives back.
        if let Some(member) = member
            && let Err(error) = KeptLease::release(member).await
        {
            tracing::debug!(%error, "the worker's own lease could not be released; it expires by itself");
        }
        while tasks.set.join_next().await.is_some() {}
    }

    async fn balance(
        &self,
        tasks: &mut Tasks,
        member: &mut Option<KeptLease>,
    ) -> Result<(), LeaseError> {
        if member.as_ref().is_none_or(KeptLease::is_lost) {
            *member = None;
            let name = format!("worker.{}", self.config.name);
            *member = Some(
                KeptLease::acquire(Arc::clone(&self.parts.leases), &name, &self.config.name)
                    .await?,
            );
        }
        let holders = self.parts.leases.holders().await?;
        let members = holders
            .iter()
            .filter(|(name, _)| name.starts_with("worker."))
            .count()
            .max(1);
        // Leases under this worker's own name are of a former run, and may be taken again at once.
        let taken: HashSet<&str> = holders
            .iter()
            .filter(|(_, holder)| *holder != self.config.name)
            .map(|(name, _)| name.as_str())
            .collect();
        let share = usize::from(self.config.partitions.get()).div_ceil(members);
        let mine = tasks
            .held
            .values()
            .filter(|held| !held.is_leaving())
            .count();
        tasks.leave(mine.saturating_sub(share));
        let mine = mine + tasks.stay(share.saturating_sub(mine));
        self.leaving
            .store(tasks.held.len().saturating_sub(mine), Ordering::Relaxed);
        // Each worker begins with another partition, so that several that start together do not ask for the same ones.
        let count = usize::from(self.config.partitions.get());
        let first = self.config.name.bytes().fold(0_usize, |sum, byte| {
            sum.wrapping_mul(31).wrapping_add(byte.into())
        });
        let free = self
            .config
            .partitions
            .all()
            .cycle()
            .skip(first % count)
            .take(count)
            .filter(|partition| {
                !tasks.held.contains_key(partition)
                    && !tasks.is_aside(*partition)
                    && !taken.contains(lease_name(*partition).as_str())
            })
            .take(share.saturating_sub(mine))
            .collect::<Vec<_>>();
        for partition in free {
            match KeptLease::acquire(
                Arc::clone(&self.parts.leases),
                &lease_name(partition),
                &self.config.name,
            )
            .await
            {
                Ok(lease) => self.own(tasks, partition, lease),
                Err(LeaseError::NotHeld { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn own(&self, tasks: &mut Tasks, partition: Partition, lease: KeptLease) {
        let stop = CancellationToken::new();
        let (leave, leaving) = watch::channel(false);
        let running = Arc::new(AtomicUsize::new(0));
        let pulse = Arc::<Pulse>::default();
        let parts = PartitionParts {
            partition,
            worker: self.config.name.clone(),
            horizon: self.horizons.of(partition),
            executor: Arc::clone(&self.parts.executor),
            snapshots: Arc::clone(&self.parts.snapshots),
            bulkhead: Arc::clone(&self.bulkhead),
            drain: self.config.drain,
            pace: self.pace,
            place: Place::new(Arc::clone(&self.board), partition),
            stop: stop.clone(),
            leave: leaving,
            running: Arc::clone(&running),
            seat: self.queues.as_ref().map(|queues| queues.seat(partition)),
            pulse: Arc::clone(&pulse),
            count: self.config.partitions,
            owners: Arc::clone(&self.parts.commands),
        };
        let owner = Owner {
            name: self.config.name.clone(),
            worker: Arc::clone(&self.parts),
            owned: Arc::clone(&self.owned),
            left: self.left.clone(),
            parts,
        };
        let handle = tasks.set.spawn(owner.run(lease));
        tasks.by_task.insert(handle.id(), partition);
        let held = Held {
            stop,
            leave,
            running,
            watch: Watch::new(pulse),
            task: handle,
        };
        tasks.held.insert(partition, held);
    }
}

/// Name of a partition's lease.
fn lease_name(partition: Partition) -> String {
    format!("partition.{partition}")
}

/// The owner of one partition, from taking its lease until releasing it.
struct Owner {
    name: String,
    worker: Arc<WorkerParts>,
    owned: Arc<AtomicUsize>,
    left: LeftToNewer,
    parts: PartitionParts,
}

impl Owner {
    async fn run(self, mut lease: KeptLease) {
        let partition = self.parts.partition;
        let mut calls = Calls::default();
        let mut last_chance = None;
        let mut too_new = None;
        loop {
            if self.parts.is_leaving() {
                let may_end = !calls.is_empty() && Instant::now() < calls.drain(self.parts.drain);
                // Results that may not be stored are worth another attempt.
                if !may_end {
                    let until = *last_chance.get_or_insert_with(|| Instant::now() + LAST_TRIES);
                    if !calls.has_unrecorded_outcomes() || Instant::now() >= until {
                        break;
                    }
                }
            }
            // Without the lease, it would only disturb the new owner.
            if !lease.is_held() {
                // Biased: a lease that is lost for good ends this before another look at it.
                tokio::select! {
                    biased;
                    () = lease.lost() => return,
                    () = sleep(TAKE_OVER_PAUSE) => continue,
                }
            }
            self.parts.place.taking_over();
            // Biased: no takeover on a lost lease. A takeover that is dropped has appended a fence at worst, which is harmless.
            let attempt = tokio::select! {
                biased;
                () = lease.lost() => return,
                () = self.parts.stop.cancelled(), if !calls.has_unrecorded_outcomes() => break,
                taken = self.take_over(calls.handed_over_since()) => taken,
            };
            let (taken, mut commands) = match attempt {
                Ok(both) => both,
                Err(TakeOverError::Raced) => break,
                Err(error @ TakeOverError::TooNew { .. }) => {
                    too_new = Some(error);
                    break;
                }
                Err(error) => {
                    tracing::warn!(%partition, %error, "taking a partition over failed; its tasks wait, and it is retried");
                    sleep(TAKE_OVER_PAUSE).await;
                    continue;
                }
            };
            self.left.remove(partition);
            let cost = taken.cost;
            tracing::info!(
                %partition, fence = %taken.fence, open = taken.dispatcher.open(), replayed = cost.replayed,
                snapshot_ms = cost.snapshot.as_millis(), replay_ms = cost.replay.as_millis(),
                "partition taken over"
            );
            let serving = Served::begin(&self.owned);
            let exit = serve(&self.parts, taken, &mut calls, &mut commands, &mut lease).await;
            drop(serving);
            match exit {
                Exit::Stopped => break,
                Exit::Fenced => {
                    // The next owner makes these calls again; they must not run twice at the same time.
                    calls.abort();
                    break;
                }
                Exit::Uncertain(reason) => {
                    tracing::warn!(%partition, reason, "it is unknown whether an append was stored; the partition is taken over again to find out");
                }
                Exit::TooNew(error) => {
                    too_new = Some(error);
                    break;
                }
            }
        }
        if too_new.is_some() {
            self.left.insert(partition);
        }
        if let Some(seat) = &self.parts.seat {
            seat.vacate();
        }
        if let Err(error) = lease.release().await {
            tracing::debug!(%partition, %error, "the partition's lease could not be released; it expires by itself");
        }
        if let Some(error) = too_new {
            tracing::error!(%partition, %error, "a newer version wrote to the partition and this one cannot own it; its tasks wait for a worker of that version: upgrade this worker");
            self.parts.place.left(error.to_string());
            // Gives another worker, which can, the time to take it.
            tokio::select! {
                biased;
                () = self.parts.stop.cancelled() => {}
                () = sleep(TOO_NEW_PAUSE) => {}
            }
        }
    }

    async fn take_over(
        &self,
        since: Option<StreamSeq>,
    ) -> Result<(takeover::Taken, crate::command::Commands), TakeOverError> {
        let executor = &self.parts.executor;
        let partition = self.parts.partition;
        let taken = take_over(
            executor.log.as_ref(),
            self.parts.snapshots.as_ref(),
            &executor.payloads,
            executor.clock.as_ref(),
            &self.name,
            partition,
            since,
        )
        .await?;
        let commands = self
            .worker
            .commands
            .listen(partition)
            .await
            .map_err(|error| {
                TakeOverError::Read(waybill_log::ReadError::Unavailable {
                    reason: error.to_string(),
                })
            })?;
        Ok((taken, commands))
    }
}
