//! The role: takes its fair share of the partitions, and owns each in a task of its own.
//!
//! Every worker holds a lease in its own name, so that each can count the others; the share is the number of partitions by the
//! number of workers, rounded up. Who has too many gives some back, who has too few takes free ones. A worker that dies stops
//! renewing, and its partitions are free when their leases run out.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use metrics::gauge;
use tokio::sync::watch;
use tokio::task::{Id, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;
use waybill_domain::partition::{Partition, PartitionCount};
use waybill_log::{LeaseError, Leases, Snapshots, StreamSeq};

use crate::board::{Board, Place};
use crate::bulkhead::{Bulkhead, Caps};
use crate::calls::{Caller, Calls};
use crate::command::CommandSource;
use crate::lease::KeptLease;
use crate::partition::{Exit, PartitionParts, SnapshotPace, serve};
use crate::retention::{Horizon, Janitor, Pressure, RetentionConfig};
use crate::takeover::{TakeOverError, take_over};
use crate::vault::VaultService;

/// How often the shares are looked at. Also the longest a free partition waits for its next owner.
const BALANCE_EVERY: Duration = Duration::from_millis(500);
/// Pause before a partition is tried again that could not be taken over.
const TAKE_OVER_PAUSE: Duration = Duration::from_millis(250);
/// How long a partition that is being given up is taken over again to store its last results.
const LAST_TRIES: Duration = Duration::from_secs(5);
/// Pause after a partition was given back because this version cannot read it.
const TOO_NEW_PAUSE: Duration = Duration::from_secs(30);

/// How a worker works.
#[derive(Debug, Clone)]
pub struct WorkerConfig {
    /// Its name, unique among all workers: the holder of its leases.
    pub name: String,
    /// Partitions there are.
    pub partitions: PartitionCount,
    /// Calls made at once.
    pub slots: usize,
    /// How many of them one host and one team may have.
    pub caps: Caps,
    /// How long running calls may go on when the worker stops or leaves a partition to another one.
    pub drain: Duration,
    /// How long ended tasks are kept.
    pub retention: RetentionConfig,
}

/// What a worker works with.
pub struct WorkerParts {
    /// Makes calls, and reads and appends.
    pub caller: Arc<Caller>,
    /// Who owns what.
    pub leases: Arc<dyn Leases>,
    /// Where snapshots are.
    pub snapshots: Arc<dyn Snapshots>,
    /// Where requests of clients come from.
    pub commands: Arc<dyn CommandSource>,
    /// What runs beside the caller's vault, when it has one.
    pub vault: Option<VaultService>,
    /// Whether ended history has to give way before its time; `None`: never.
    pub pressure: Option<watch::Receiver<Pressure>>,
}

/// A running worker. Dropping it ends it on the spot, as a crash would: nothing is given back.
#[derive(Debug)]
pub struct Worker {
    owned: Arc<AtomicUsize>,
    board: Arc<Board>,
    left: LeftToNewer,
    leaving: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Worker {
    /// Starts a worker. It stops when `stop` is cancelled, after giving back all it owns.
    #[must_use]
    pub fn start(config: WorkerConfig, parts: WorkerParts, stop: CancellationToken) -> Self {
        Self::start_with(config, parts, SnapshotPace::default(), stop)
    }

    /// Starts a worker that writes snapshots at another pace.
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
        let vault = parts.vault.take();
        let caller = Arc::clone(&parts.caller);
        let (horizon, horizons) = watch::channel(Horizon::default());
        let janitor = Janitor {
            log: Arc::clone(&parts.caller.log),
            leases: Arc::clone(&parts.leases),
            clock: Arc::clone(&parts.caller.clock),
            config: config.retention,
            worker: config.name.clone(),
            partitions: config.partitions,
            pressure: parts
                .pressure
                .take()
                .unwrap_or_else(|| watch::channel(Pressure::None).1),
            horizon,
            former: StreamSeq::default(),
        };
        let shell = Shell {
            horizon: horizons,
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
            task: tokio::spawn(with_others(shell.run(stop), janitor, vault, caller)),
        }
    }

    /// Partitions that are being served now.
    #[must_use]
    pub fn owned(&self) -> usize {
        self.owned.load(Ordering::Relaxed)
    }

    /// What it does with which partition.
    #[must_use]
    pub fn board(&self) -> Arc<Board> {
        Arc::clone(&self.board)
    }

    /// Partitions that this version cannot own, since a newer one wrote to them: they wait for a worker of that version.
    #[must_use]
    pub fn left_to_newer(&self) -> LeftToNewer {
        self.left.clone()
    }

    /// Partitions of these that are being left to another worker: nothing new is started in them.
    #[must_use]
    pub fn leaving(&self) -> usize {
        self.leaving.load(Ordering::Relaxed)
    }

    /// Waits until it has stopped.
    pub async fn stopped(mut self) {
        if let Err(error) = (&mut self.task).await {
            tracing::error!(%error, "the worker ended abnormally");
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Runs beside the worker retention and what its calls need, and ends it after it: its last calls may still open and sign something.
async fn with_others(
    worker: impl Future<Output = ()>,
    janitor: Janitor,
    vault: Option<VaultService>,
    caller: Arc<Caller>,
) {
    let stop = CancellationToken::new();
    // Dropped with this future, as in a crash, they end on the spot.
    let mut beside = JoinSet::new();
    beside.spawn(janitor.run(stop.clone()));
    if let Some(vault) = vault {
        beside.spawn(vault.run(stop.clone()));
    }
    let following = stop.clone();
    beside.spawn(async move {
        let follow = caller.signer.follow(&*caller.log);
        following.run_until_cancelled(follow).await;
    });
    worker.await;
    stop.cancel();
    while let Some(ended) = beside.join_next().await {
        if let Err(error) = ended {
            tracing::error!(%error, "what runs beside a worker ended abnormally");
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
    horizon: watch::Receiver<Horizon>,
    leaving: Arc<AtomicUsize>,
}

/// The partitions of this worker, each with what tells it to stop.
#[derive(Default)]
struct Tasks {
    set: JoinSet<()>,
    by_task: HashMap<Id, Partition>,
    /// In order, so that a simulation can be repeated.
    held: BTreeMap<Partition, Held>,
}

/// A partition of this worker.
struct Held {
    stop: CancellationToken,
    leave: watch::Sender<bool>,
    running: Arc<AtomicUsize>,
}

impl Held {
    fn is_leaving(&self) -> bool {
        *self.leave.borrow()
    }
}

impl Tasks {
    /// Leaves as many partitions as are too many, those with the fewest calls first: others wait least for them.
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

    /// Takes back what was being left and is not taken yet, up to so many, and says how many that are.
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
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(ended) = tasks.set.join_next_with_id() => {
                    let id = match &ended {
                        Ok((id, ())) => *id,
                        Err(error) => {
                            tracing::error!(%error, "the loop of a partition ended abnormally");
                            error.id()
                        }
                    };
                    if let Some(partition) = tasks.by_task.remove(&id) {
                        tasks.held.remove(&partition);
                    }
                }
                _ = ticks.tick() => {
                    match self.balance(&mut tasks, &mut member).await {
                        Ok(()) => self.board.balanced(),
                        Err(error) => {
                            tracing::warn!(%error, "cannot look at the shares of the workers yet");
                        }
                    }
                }
            }
        }
        for held in tasks.held.values() {
            held.stop.cancel();
        }
        // Before the partitions have drained: counted among the workers, this one would keep the others from taking what it gives back.
        if let Some(member) = member
            && let Err(error) = KeptLease::release(member).await
        {
            tracing::debug!(%error, "the worker's own lease will run out by itself");
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
        // What is still in our own name is of a former start of this worker: it may be taken again at once.
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
        // Each worker begins elsewhere, so that several that start together do not ask for the same ones.
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
        let parts = PartitionParts {
            partition,
            worker: self.config.name.clone(),
            horizon: self.horizon.clone(),
            caller: Arc::clone(&self.parts.caller),
            snapshots: Arc::clone(&self.parts.snapshots),
            bulkhead: Arc::clone(&self.bulkhead),
            drain: self.config.drain,
            pace: self.pace,
            place: Place::new(Arc::clone(&self.board), partition),
            stop: stop.clone(),
            leave: leaving,
            running: Arc::clone(&running),
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
        };
        tasks.held.insert(partition, held);
    }
}

/// Name of a partition's lease.
fn lease_name(partition: Partition) -> String {
    format!("partition.{partition}")
}

/// The owner of one partition, from its lease to the end of it.
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
                // Results that may not be stored are worth one more try.
                if !may_end {
                    let until = *last_chance.get_or_insert_with(|| Instant::now() + LAST_TRIES);
                    if !calls.owes() || Instant::now() >= until {
                        break;
                    }
                }
            }
            // Without the lease it would only disturb whoever has it.
            if !lease.is_held() {
                tokio::select! {
                    biased;
                    () = lease.lost() => return,
                    () = sleep(TAKE_OVER_PAUSE) => continue,
                }
            }
            self.parts.place.taking_over();
            let attempt = tokio::select! {
                biased;
                () = lease.lost() => return,
                () = self.parts.stop.cancelled(), if !calls.owes() => break,
                taken = self.take_over(calls.kept_since()) => taken,
            };
            let (taken, mut commands) = match attempt {
                Ok(both) => both,
                Err(TakeOverError::Raced) => break,
                Err(error @ TakeOverError::TooNew { .. }) => {
                    too_new = Some(error);
                    break;
                }
                Err(error) => {
                    tracing::warn!(%partition, %error, "cannot take over yet");
                    sleep(TAKE_OVER_PAUSE).await;
                    continue;
                }
            };
            self.left.remove(partition);
            tracing::info!(%partition, fence = %taken.fence, open = taken.dispatcher.open(), "partition taken over");
            let serving = Served::begin(&self.owned);
            let exit = serve(&self.parts, taken, &mut calls, &mut commands, &mut lease).await;
            drop(serving);
            match exit {
                Exit::Stopped => break,
                Exit::Fenced => {
                    // The next owner makes these calls again: better not to make them twice at once.
                    calls.abort();
                    break;
                }
                Exit::Uncertain(reason) => {
                    tracing::warn!(%partition, reason, "the outcome of an append is unknown: taking over again");
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
        if let Err(error) = lease.release().await {
            tracing::debug!(%partition, %error, "the lease will run out by itself");
        }
        if let Some(error) = too_new {
            tracing::error!(%partition, %error, "a newer version wrote to the partition and this one cannot own it; its tasks wait for a worker of that version: upgrade this worker");
            self.parts.place.left(error.to_string());
            // Another worker, that can, has the time to take it.
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
    ) -> Result<(crate::takeover::Taken, crate::command::Commands), TakeOverError> {
        let caller = &self.parts.caller;
        let partition = self.parts.partition;
        let taken = take_over(
            caller.log.as_ref(),
            self.parts.snapshots.as_ref(),
            &caller.payloads,
            caller.clock.as_ref(),
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

/// Partitions that were given back because a newer version wrote to them. Clones share it.
///
/// A partition leaves it when this worker owns it after all; one that another worker serves stays, as this worker still could not.
#[derive(Debug, Clone, Default)]
pub struct LeftToNewer(Arc<Mutex<BTreeSet<Partition>>>);

impl LeftToNewer {
    /// All of them, ascending.
    #[must_use]
    pub fn all(&self) -> Vec<Partition> {
        self.lock().iter().copied().collect()
    }

    fn insert(&self, partition: Partition) {
        self.change(|left| left.insert(partition));
    }

    fn remove(&self, partition: Partition) {
        self.change(|left| left.remove(&partition));
    }

    fn change(&self, change: impl FnOnce(&mut BTreeSet<Partition>) -> bool) {
        let mut left = self.lock();
        change(&mut left);
        #[expect(clippy::cast_precision_loss, reason = "a gauge of at most 1,024")]
        gauge!("waybill_partitions_left_to_newer").set(left.len() as f64);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<Partition>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts a partition as owned while it is held.
struct Served<'a>(&'a AtomicUsize);

impl<'a> Served<'a> {
    fn begin(owned: &'a AtomicUsize) -> Self {
        owned.fetch_add(1, Ordering::Relaxed);
        gauge!("waybill_partitions_owned").increment(1.0);
        Self(owned)
    }
}

impl Drop for Served<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
        gauge!("waybill_partitions_owned").decrement(1.0);
    }
}
