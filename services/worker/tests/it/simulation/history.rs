//! One simulated history: workers, clients and faults for a while, then calm until everything has
//! ended.

use std::cell::Cell;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Once};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use waybill_domain::dispatcher::Dispatcher;
use waybill_domain::health::HealthRule;
use waybill_domain::partition::PartitionCount;
use waybill_domain::signature::MasterSecret;
use waybill_log::subject::TaskFilter;
use waybill_log::{Log, Stream, StreamSeq};
use waybill_worker::attempt::Signer;
use waybill_worker::bulkhead::Caps;
use waybill_worker::calls::CallExecutor;
use waybill_worker::partition::SnapshotPace;
use waybill_worker::payloads::Payloads;
use waybill_worker::{RetentionConfig, Worker, WorkerConfig, WorkerParts, takeover};

use super::claimants::{self, claimants};
use super::clients::{Desk, Gateway};
use super::drains::somebody_drains;
use super::ledger::Wish;
use super::ledger::claims::Clocks;
use super::listening::somebody_listens;
use super::network::Network;
use super::pauses::{follower, judge_hosts, somebody_opens, somebody_pauses};
use super::random::Random;
use super::target::Targets;
use super::world::{Faults, LEASE_TTL, Process, Sabotage, World};

/// Simulated time within which every task must have ended once faults have stopped.
const CALM_AT_MOST: Duration = Duration::from_secs(2 * 3_600);
/// Simulated time within which a worker must stop when it is told to.
const STOP_AT_MOST: Duration = Duration::from_secs(60);

/// The rule of the host that all tasks call, where hosts are judged.
const HEALTH: HealthRule = HealthRule {
    disable_after_ms: None,
    in_a_row: Some(2),
    share: None,
    pause_ms: 1_000,
    max_pause_ms: 4_000,
};

/// The result of a history.
pub(crate) struct Report {
    pub(crate) digest: u64,
    pub(crate) counts: std::collections::BTreeMap<&'static str, u64>,
    pub(crate) violations: Vec<String>,
    pub(crate) notes: Vec<String>,
}

/// The conditions of a history.
#[derive(Clone, Copy)]
pub(crate) struct Conditions {
    pub(crate) faults: fn(&Random) -> Faults,
    pub(crate) process_faults: ProcessFaults,
    /// Leases vanish while their holders still rely on them, so that two workers own a partition at
    /// once.
    pub(crate) leases_vanish: bool,
    /// Largest number of workers.
    pub(crate) workers: u64,
    /// Largest number of tasks.
    pub(crate) tasks: u64,
    /// The number of tasks, if it is larger.
    pub(crate) least: u64,
    /// The shortest and the longest time for which there are clients and faults, in milliseconds.
    pub(crate) lasts_ms: (u64, u64),
    /// Whether somebody pauses queues now and then.
    pub(crate) pauses: bool,
    /// Whether one of the teams is a test environment, in which somebody listens now and then.
    pub(crate) listeners: bool,
    /// Whether the host of all tasks is down now and then, and rests by a rule.
    pub(crate) health: bool,
    /// Whether some tasks are claimed by workers of their teams, and not called.
    pub(crate) pulls: bool,
    /// Whether all tasks with an ordering key block those behind them when they fail.
    pub(crate) blocks: bool,
    /// Whether somebody drains workers of teams now and then.
    pub(crate) drains: bool,
    /// Largest number of workflows.
    pub(crate) flows: u64,
    pub(crate) sabotage: Option<Sabotage>,
    /// How long the log is kept.
    pub(crate) retention: RetentionConfig,
    /// Whether to record every step.
    pub(crate) noted: bool,
}

/// Which faults processes have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProcessFaults {
    None,
    /// Wall clocks jump forwards and back by hours. There are no other faults, so that durations
    /// can be checked against the true time.
    Clocks,
    /// Processes crash, pause and have wrong clocks, and the log becomes unavailable.
    All,
    /// The same with correct clocks.
    Crashes,
}

impl Default for Conditions {
    fn default() -> Self {
        Self {
            faults: Faults::drawn,
            process_faults: ProcessFaults::All,
            leases_vanish: false,
            workers: 3,
            tasks: 12,
            least: 0,
            lasts_ms: (3_000, 15_000),
            pauses: false,
            listeners: false,
            health: false,
            pulls: false,
            blocks: false,
            drains: false,
            flows: 0,
            sabotage: None,
            retention: RetentionConfig::default(),
            noted: false,
        }
    }
}

/// Runs the history of a seed.
pub(crate) fn live(seed: u64, conditions: Conditions) -> Report {
    count_panics();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    let before = PANICS.get();
    let mut told = runtime.block_on(async {
        let world = World::new(seed, conditions);
        Box::pin(History::new(&world, conditions).run(conditions)).await;
        let mut ledger = world.ledger();
        ledger.close(conditions.leases_vanish);
        Report {
            digest: ledger.digest(),
            counts: ledger.counts.clone(),
            violations: std::mem::take(&mut ledger.violations),
            notes: world.notes(),
        }
    });
    if PANICS.get() > before {
        told.violations.push("something panicked".into());
    }
    told
}

thread_local! {
    /// Counts panics, since the owner of a spawned task catches them and the history would miss
    /// them.
    static PANICS: Cell<u32> = const { Cell::new(0) };
}

fn count_panics() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let former = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            PANICS.set(PANICS.get() + 1);
            former(info);
        }));
    });
}

struct Running {
    worker: Worker,
    process: Arc<Process>,
    stop: CancellationToken,
}

pub(crate) struct History {
    world: Arc<World>,
    pub(crate) gateway: Gateway,
    partitions: PartitionCount,
    slots: usize,
    retention: RetentionConfig,
    /// Whether workers follow what is decided about queues and hosts.
    pub(crate) pauses: bool,
    workers: Vec<Option<Running>>,
    started: u32,
    /// Workers that are stopping, and temporary faults.
    passing: JoinSet<()>,
}

impl History {
    pub(crate) fn new(world: &Arc<World>, conditions: Conditions) -> Self {
        let random = &world.random;
        let count = 1 + u16::try_from(random.below(3)).unwrap_or(0);
        let most = if random.chance(100) { 300 } else { 6 };
        let slots = match conditions.process_faults {
            // Waiting for a slot would distort the durations that are checked.
            ProcessFaults::Clocks => 400,
            _ => usize::try_from(1 + random.below(most)).unwrap_or(1),
        };
        Self::of(world, count, slots)
    }

    pub(crate) fn of(world: &Arc<World>, partitions: u16, slots: usize) -> Self {
        let partitions = PartitionCount::new(partitions).expect("a valid count");
        let network = Network(Process::new("gateway".into(), Arc::clone(world)));
        Self {
            world: Arc::clone(world),
            gateway: Gateway {
                network,
                partitions,
            },
            partitions,
            slots,
            retention: RetentionConfig::default(),
            pauses: false,
            workers: Vec::new(),
            started: 0,
            passing: JoinSet::new(),
        }
    }

    async fn run(mut self, conditions: Conditions) {
        let world = Arc::clone(&self.world);
        self.retention = conditions.retention;
        self.pauses = conditions.pauses || conditions.health || conditions.listeners;
        world.listens.store(conditions.listeners, Ordering::Relaxed);
        if conditions.health {
            world.ledger().judges_hosts(HEALTH, self.slots);
            judge_hosts(&world, HEALTH).await;
        }
        world.ledger().clocks = match conditions.process_faults {
            ProcessFaults::All => Clocks::Wrong,
            ProcessFaults::Crashes | ProcessFaults::None => Clocks::Right,
            ProcessFaults::Clocks => Clocks::Exact,
        };
        let count = 1 + world.random.below(conditions.workers);
        for _ in 0..count {
            let running = self.start();
            self.workers.push(Some(running));
        }
        let (least, most) = conditions.lasts_ms;
        let until = Instant::now() + world.random.millis(least, most);
        let mut clients = self.clients(until, conditions);
        // They end with the history.
        let _claimants = conditions.pulls.then(|| claimants(&self.gateway));
        // What is to be noticed as a block that was forgotten has to last.
        if conditions.sabotage != Some(Sabotage::NoBlocks) {
            clients.spawn(self.gateway.clone().settle_until(until));
        }
        if conditions.flows > 0 {
            let span = u64::try_from((until - Instant::now()).as_millis()).unwrap_or(1);
            for _ in 0..1 + world.random.below(conditions.flows) {
                let at = world.random.millis(0, span);
                clients.spawn(self.gateway.clone().live_with_a_workflow(at));
            }
        }
        if conditions.drains {
            let workers = claimants::names();
            clients.spawn(somebody_drains(Arc::clone(&world), workers, until));
        }
        if conditions.pauses {
            clients.spawn(somebody_pauses(Arc::clone(&world), until));
            clients.spawn(somebody_opens(Arc::clone(&world), until));
        }
        if conditions.listeners {
            clients.spawn(somebody_listens(Arc::clone(&world), until));
        }
        while Instant::now() < until {
            sleep(world.random.millis(20, 2_500)).await;
            if conditions.leases_vanish && world.random.chance(300) {
                world.lose_leases();
            }
            match conditions.process_faults {
                ProcessFaults::None => {}
                ProcessFaults::Clocks => self.clocks_jump(),
                ProcessFaults::All => self.process_fault(true),
                ProcessFaults::Crashes => self.process_fault(false),
            }
        }
        world.note(|| "calm".into());
        world.calm();
        self.recover();
        let calm = async {
            while clients.join_next().await.is_some() {}
            while self.passing.join_next().await.is_some() {}
            while world.ledger().open() > 0 || !world.ledger().blocking().is_empty() {
                self.gateway.settle(700).await;
                sleep(Duration::from_millis(500)).await;
            }
        };
        // If tasks are still open after that, the ledger reports them.
        let _ = timeout(CALM_AT_MOST, calm).await;
        // By then the leases of crashed workers have expired, and every worker has its fair share.
        sleep(LEASE_TTL + Duration::from_secs(3)).await;
        self.check_shares();
        self.stop_all().await;
        self.check_replay().await;
    }

    /// Starts a worker.
    fn start(&mut self) -> Running {
        self.started += 1;
        let process = Process::new(format!("w{}", self.started), Arc::clone(&self.world));
        let network = Arc::new(Network(Arc::clone(&process)));
        let executor = CallExecutor {
            log: Arc::clone(&network) as _,
            target: Arc::new(Targets(Arc::clone(&process))),
            signer: Signer::new(MasterSecret::new(vec![7; 32]).expect("long enough")),
            payloads: Payloads::new(4_000),
            clock: Arc::clone(&process) as _,
            vault: None,
            captures: None,
        };
        let stop = CancellationToken::new();
        let queues = self
            .pauses
            .then(|| follower(&network, self.partitions, &stop));
        let parts = WorkerParts {
            executor: Arc::new(executor),
            leases: Arc::clone(&network) as _,
            snapshots: network,
            commands: Arc::new(Desk(Arc::clone(&process))),
            vault: None,
            queues,
            pressure: None,
        };
        let config = WorkerConfig {
            name: process.name.clone(),
            partitions: self.partitions,
            slots: self.slots,
            caps: Caps::default(),
            drain: Duration::from_secs(3),
            retention: self.retention,
        };
        let pace = SnapshotPace {
            records: 10,
            pause: Duration::from_secs(1),
        };
        self.world.note(|| format!("{} starts", process.name));
        Running {
            worker: Worker::start_with(config, parts, pace, stop.clone()),
            process,
            stop,
        }
    }

    fn clients(&self, until: Instant, conditions: Conditions) -> JoinSet<()> {
        let mut clients = JoinSet::new();
        let random = &self.world.random;
        let span = u64::try_from((until - Instant::now()).as_millis()).unwrap_or(1);
        let burst = random.chance(300);
        let tasks = conditions.least.max(1 + random.below(conditions.tasks));
        for _ in 0..tasks {
            let at = if burst {
                Duration::from_millis(100)
            } else {
                random.millis(0, span)
            };
            let patience = match random.below(10) {
                // Many calls are answered by then: a cancellation that races the answer.
                0..3 => 100,
                3..6 => 15_000,
                _ => 3_000,
            };
            let cancel_after = random.chance(350).then(|| random.millis(0, patience));
            let again_after = random.chance(300).then(|| random.millis(0, 500));
            let first = *random.pick(&[Wish::Cancel, Wish::Cancel, Wish::CancelWaiting]);
            let then = *random.pick(&[Wish::Cancel, Wish::PurgeLetter]);
            let changes = self.gateway.some_changes(patience);
            let gateway = self.gateway.clone();
            clients.spawn(async move {
                sleep(at).await;
                let mut task = gateway.a_task();
                task.limits = gateway.some_limits();
                task.on_rate_limited = gateway.slows_down(&task);
                let (id, place) = (task.id, (task.team.clone(), task.queue.clone()));
                gateway.create(task).await;
                gateway.change_priority(id, &place.0, changes).await;
                let Some(pause) = cancel_after else { return };
                sleep(pause).await;
                gateway.ask_for(first, id, place.clone()).await;
                let Some(pause) = again_after else { return };
                sleep(pause).await;
                gateway.ask_for(then, id, place).await;
            });
        }
        clients
    }

    fn process_fault(&mut self, clocks: bool) {
        let world = Arc::clone(&self.world);
        let random = &world.random;
        let at = usize::try_from(random.below(self.workers.len() as u64)).unwrap_or(0);
        let Some(running) = self.workers[at].take() else {
            // The worker in this place has crashed.
            self.workers[at] = Some(self.start());
            return;
        };
        let process = Arc::clone(&running.process);
        match random.below(9) {
            0 | 1 => {
                world.note(|| format!("{} dies", process.name));
                process.kill();
                drop(running.worker);
                return;
            }
            2 => {
                world.note(|| format!("{} is told to stop", process.name));
                running.stop.cancel();
                self.passing.spawn(running.worker.stopped());
                return;
            }
            3..=5 => {
                world.note(|| format!("{} stands still", process.name));
                process.pause(true);
                let pause = random.millis(50, 15_000);
                self.passing.spawn(async move {
                    sleep(pause).await;
                    process.world.note(|| format!("{} goes on", process.name));
                    process.pause(false);
                });
            }
            6 if clocks => process.draw_skew(),
            7 => {
                let pause = random.millis(50, 9_000);
                let away = Arc::clone(&world);
                world.note(|| format!("the log is away for {pause:?}"));
                world.away.store(true, Ordering::Relaxed);
                self.passing.spawn(async move {
                    sleep(pause).await;
                    away.away.store(false, Ordering::Relaxed);
                });
            }
            _ => {}
        }
        self.workers[at] = Some(running);
    }

    fn clocks_jump(&self) {
        for running in self.workers.iter().flatten() {
            running.process.draw_skew();
        }
    }

    /// Corrects all clocks, and starts a worker in every empty place.
    fn recover(&mut self) {
        for at in 0..self.workers.len() {
            match &self.workers[at] {
                Some(running) => running.process.set_skew(0),
                None => self.workers[at] = Some(self.start()),
            }
        }
    }

    fn check_shares(&self) {
        let owned: Vec<usize> = self
            .workers
            .iter()
            .flatten()
            .map(|running| running.worker.owned())
            .collect();
        let all = usize::from(self.partitions.get());
        let share = all.div_ceil(self.workers.len());
        if owned.iter().sum::<usize>() != all || owned.iter().any(|&count| count > share) {
            self.world.ledger().violations.push(format!(
                "{all} partitions are shared by the workers as {owned:?}"
            ));
        }
    }

    pub(crate) async fn stop_all(&mut self) {
        for running in self.workers.drain(..).flatten() {
            let name = running.process.name.clone();
            running.stop.cancel();
            if timeout(STOP_AT_MOST, running.worker.stopped())
                .await
                .is_err()
            {
                self.world
                    .ledger()
                    .violations
                    .push(format!("{name} does not stop"));
            }
            let holders = self.world.log.core().holders();
            if holders.iter().any(|(_, holder)| *holder == name) {
                self.world.ledger().violations.push(format!(
                    "{name} has stopped and holds leases still: {holders:?}"
                ));
            }
        }
    }

    /// Checks that a replay of the whole log finds no open task either.
    async fn check_replay(&self) {
        for partition in self.partitions.all() {
            let filter = vec![TaskFilter::partition(partition).to_string()];
            let records = self
                .world
                .log
                .range(
                    Stream::Tasks,
                    &filter,
                    StreamSeq(0),
                    StreamSeq(u64::MAX),
                    usize::MAX,
                )
                .await
                .unwrap_or_default();
            let payloads = Payloads::new(0);
            let mut dispatcher = Dispatcher::new();
            for record in records {
                if let Err(error) = takeover::apply(&mut dispatcher, &payloads, &record) {
                    self.world.ledger().violations.push(error.to_string());
                }
            }
            let open = dispatcher.open();
            if open > 0 {
                self.world.ledger().violations.push(format!(
                    "a replay of partition {partition} has {open} open tasks"
                ));
            }
        }
    }

    /// Lets the process of a worker stand still, or go on.
    pub(crate) fn stand_still(&self, at: usize, paused: bool) {
        if let Some(running) = &self.workers[at] {
            running.process.pause(paused);
        }
    }

    /// Lets a worker die.
    pub(crate) fn crash(&mut self, at: usize) {
        if let Some(running) = self.workers[at].take() {
            running.process.kill();
        }
    }

    /// Adds a worker.
    pub(crate) fn hire(&mut self) {
        let running = self.start();
        self.workers.push(Some(running));
    }
}
