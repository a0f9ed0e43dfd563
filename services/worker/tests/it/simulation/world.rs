//! The environment of the workers in a simulated history: the log and its network, time,
//! randomness, and the ledger.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;
use waybill_domain::partition::Partition;
use waybill_domain::time::{Elapsed, Timestamp};
use waybill_log::memory::MemoryLog;
use waybill_log::{
    Append, AppendError, Appended, Atomicity, Expectation, Lease, Log, NewRecord, Stream, StreamSeq,
};
use waybill_worker::clock::Clock;
use waybill_worker::command::Command;

use super::drains::Drains;
use super::history::{Conditions, ProcessFaults};
use super::ledger::Ledger;
use super::random::Random;

/// The time at which every simulated history begins.
const BEGINNING: Timestamp = Timestamp(1_800_000_000_000);
/// The lease of a partition, as in production.
pub(crate) const LEASE_TTL: Duration = Duration::from_secs(6);

/// A guard that is switched off, so that a test can check that the ledger notices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sabotage {
    /// The log stores every append, whoever owns the partition.
    NoFence,
    /// The log acknowledges some appends without storing them.
    AcknowledgedButLost,
    /// The log says that it definitely stored nothing, although it did.
    DeniedButStored,
    /// Readers miss some records.
    HolesInTails,
    /// Snapshots claim a later position than their content has.
    EmptySnapshots,
    /// Purges remove more than they are told to.
    GreedyPurges,
    /// The log acknowledges requests to cancel a running attempt without storing them.
    CancelRequestsLost,
    /// Workers read creations without their ordering keys.
    NoOrder,
    /// Workers read creations without what their failure means to those behind them.
    NoOnFailure,
    /// Workers read creations without their fairness keys.
    NoFairness,
    /// Workers read creations without the weights of their fairness keys.
    NoWeights,
    /// Workers read creations without their debounces, singletons and dedups.
    NoKeys,
    /// Durations are measured by the wall clock.
    OneClock,
    /// Workers start tasks although their lease is over.
    LeasesLastForEver,
    /// A pause is answered before the workers know of it.
    PausesAreAnsweredAtOnce,
    /// Workers never learn by which rule a host rests.
    NoHealthRules,
    /// Workers read failures of attempts without whether they are the host's.
    NoHostFailures,
    /// Workers read creations without their limits.
    NoLimits,
    /// Gateways purge tasks that wait by cancelling them, whatever they do by then.
    PurgesCutOff,
    /// Workers that take over overlook changes of priority.
    NoPriorities,
    /// Workers read starts without the leases that they give.
    NoLeases,
    /// Homes of limits are never told what others have read of a later owner of their partition.
    FormerHomesAreNotTold,
    /// Workers never learn that somebody has to listen.
    NoListeners,
    /// Workers that take over overlook that a restated task blocks others.
    NoBlocks,
    /// Workers read creations without whether their target may pause a limit.
    NoSlowdowns,
    /// Workers never learn of the plans of teams.
    NoPlans,
    /// Workers read creations without what they are in a workflow.
    NoMembers,
    /// Workers that take over overlook for whom a restated task waits no longer.
    NoWaits,
    /// The log stores a part of the cancellation of a workflow now and then.
    TornCancellations,
    /// The cancellation of a workflow is answered before its owner is asked.
    CancellationsAreAnsweredAtOnce,
    /// Gateways look only before they ask whether somebody drains the worker.
    DrainsAreLookedAtOnce,
}

/// How often each kind of fault occurs, in a thousandth of the cases.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Faults {
    pub(crate) refused: u64,
    pub(crate) lost_request: u64,
    pub(crate) lost_answer: u64,
    pub(crate) late: u64,
    pub(crate) cut_short: u64,
    pub(crate) reads: u64,
    pub(crate) leases: u64,
    pub(crate) snapshots: u64,
    pub(crate) slow: u64,
    pub(crate) targets: u64,
}

impl Faults {
    /// A random mixture for each history: a few kinds often, the others not at all.
    pub(crate) fn drawn(random: &Random) -> Self {
        let often = |most: u64| match random.below(3) {
            0 => 0,
            1 => most / 5,
            _ => most,
        };
        Self {
            refused: often(150),
            lost_request: often(60),
            lost_answer: often(100),
            late: often(60),
            cut_short: often(60),
            reads: often(150),
            leases: often(250),
            snapshots: often(500),
            slow: often(100),
            targets: often(600),
        }
    }
}

pub(crate) struct World {
    pub(crate) random: Random,
    pub(crate) sabotage: Option<Sabotage>,
    pub(crate) log: MemoryLog,
    has_frames: bool,
    /// Whether some tasks are claimed by workers of their teams.
    pub(crate) pulls: bool,
    /// Whether all tasks with an ordering key block those behind them when they fail.
    pub(crate) blocks: bool,
    is_calm: AtomicBool,
    began: Instant,
    faults: Mutex<Faults>,
    /// Whether the log is unavailable.
    pub(crate) away: AtomicBool,
    /// Whether the next append of a start is never answered, by a defect of the client.
    pub(crate) hangs: AtomicBool,
    /// Whether the host of all tasks is down half of the time.
    outages: AtomicBool,
    ledger: Mutex<Ledger>,
    pub(crate) listeners: Mutex<Vec<Listener>>,
    /// Every snapshot ever written.
    pub(crate) snapshots: Mutex<BTreeMap<String, Vec<Bytes>>>,
    /// The leases as they were last granted.
    pub(crate) leases: Mutex<BTreeMap<String, Lease>>,
    /// How far each worker has taken pauses into account.
    pub(crate) holders: Mutex<Vec<watch::Receiver<StreamSeq>>>,
    /// Up to where CONTROL must be taken into account by leases from now on.
    pub(crate) demanded: AtomicU64,
    /// Whether one of the teams has a test environment, in which somebody has to listen.
    pub(crate) listens: AtomicBool,
    /// Workers of teams that somebody drains.
    pub(crate) drains: Mutex<Drains>,
    notes: Option<Mutex<Vec<String>>>,
}

/// An owner that waits for requests, or a process that still believes to be the owner.
#[derive(Clone)]
pub(crate) struct Listener {
    pub(crate) partition: Partition,
    pub(crate) process: Arc<Process>,
    pub(crate) queue: mpsc::Sender<Command>,
}

/// Every other history is one of a log with frames.
pub(crate) fn has_frames(seed: u64) -> bool {
    seed % 2 == 1
}

impl World {
    pub(crate) fn new(seed: u64, conditions: Conditions) -> Arc<Self> {
        let Conditions {
            sabotage, noted, ..
        } = conditions;
        let random = Random::new(seed);
        let faults = (conditions.faults)(&random);
        let began = Instant::now();
        let server = Arc::new(move || BEGINNING.plus(began.elapsed()));
        let log = MemoryLog::new(server, LEASE_TTL);
        if has_frames(seed) {
            log.core().switch_to_frames();
        }
        Arc::new(Self {
            random,
            sabotage,
            log,
            has_frames: has_frames(seed),
            pulls: conditions.pulls,
            blocks: conditions.blocks,
            is_calm: AtomicBool::new(false),
            began,
            faults: Mutex::new(faults),
            away: AtomicBool::new(false),
            hangs: AtomicBool::new(false),
            outages: AtomicBool::new(conditions.health),
            ledger: Mutex::new(Ledger::new(
                conditions.process_faults == ProcessFaults::Clocks,
            )),
            listeners: Mutex::default(),
            snapshots: Mutex::default(),
            leases: Mutex::default(),
            holders: Mutex::default(),
            demanded: AtomicU64::new(0),
            listens: AtomicBool::new(false),
            drains: Mutex::default(),
            notes: noted.then(Mutex::default),
        })
    }

    /// The server forgets all leases.
    pub(crate) fn lose_leases(&self) {
        self.note(|| "the leases vanish".into());
        for lease in std::mem::take(&mut *lock(&self.leases)).values() {
            // The release fails if the lease was given back, or has expired.
            let _ = self.log.core().release(lease);
        }
    }

    /// The true time, which the server's clock shows.
    pub(crate) fn now(&self) -> Timestamp {
        BEGINNING.plus(self.began.elapsed())
    }

    pub(crate) fn faults(&self) -> Faults {
        *lock(&self.faults)
    }

    /// Stops all faults.
    pub(crate) fn calm(&self) {
        *lock(&self.faults) = Faults::default();
        self.away.store(false, Ordering::Relaxed);
        self.outages.store(false, Ordering::Relaxed);
        self.is_calm.store(true, Ordering::Relaxed);
    }

    /// Whether nothing goes wrong any more.
    pub(crate) fn is_calm(&self) -> bool {
        self.is_calm.load(Ordering::Relaxed)
    }

    /// Whether the host of all tasks is down.
    pub(crate) fn is_down(&self) -> bool {
        let outages = self.outages.load(Ordering::Relaxed);
        outages && self.began.elapsed().as_secs() % 6 < 4
    }

    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        lock(&self.ledger)
    }

    pub(crate) fn is_away(&self) -> bool {
        self.away.load(Ordering::Relaxed)
    }

    /// Records a step, if the history is to be printed.
    pub(crate) fn note(&self, what: impl FnOnce() -> String) {
        if let Some(notes) = &self.notes {
            let at = self.began.elapsed();
            lock(notes).push(format!("{at:>12.3?}  {}", what()));
        }
    }

    pub(crate) fn notes(&self) -> Vec<String> {
        self.notes
            .as_ref()
            .map(|notes| lock(notes).clone())
            .unwrap_or_default()
    }

    /// A random travel time of a message.
    pub(crate) fn latency(&self) -> Duration {
        if self.random.chance(self.faults().slow) {
            self.random.millis(50, 800)
        } else {
            self.random.millis(0, 3)
        }
    }

    /// Handles an append that arrives at the server.
    pub(crate) fn store(&self, mut append: Append, by: &str) -> Result<Appended, AppendError> {
        let expected = match &append.expect {
            Expectation::LastOn { seq, .. } => Some(*seq),
            Expectation::None => None,
        };
        let fault = self.sabotage.is_some() && self.random.chance(100);
        match self.sabotage {
            Some(Sabotage::NoFence) => append.expect = Expectation::None,
            Some(Sabotage::AcknowledgedButLost) if fault => {
                let last = self.log.core().bounds(append.stream).last.0;
                let count = append.records.len() as u64;
                return Ok(Appended {
                    seqs: (1..=count).map(|n| StreamSeq(last + n)).collect(),
                    duplicate: false,
                });
            }
            Some(Sabotage::CancelRequestsLost) if is_request_to_cancel(&append) => {
                let last = self.log.core().bounds(append.stream).last;
                return Ok(Appended {
                    seqs: vec![last.next()],
                    duplicate: false,
                });
            }
            _ => {}
        }
        let mut cut_short = false;
        let is_torn =
            self.sabotage == Some(Sabotage::TornCancellations) && is_of_a_workflow(&append);
        // A frame is stored whole or not at all.
        if !self.has_frames
            && (append.atomicity == Atomicity::Ordered || is_torn)
            && append.records.len() > 1
            && self.random.chance(self.faults().cut_short)
        {
            let kept = 1 + self.random.below(append.records.len() as u64 - 1);
            append
                .records
                .truncate(usize::try_from(kept).unwrap_or(usize::MAX));
            cut_short = true;
        }
        let result = self
            .log
            .append(append)
            .now_or_never()
            .unwrap_or_else(|| Err(unknown("the log in memory never waits")));
        match &result {
            Ok(appended) if !appended.duplicate => {
                for &seq in &appended.seqs {
                    let record = self.log.core().read(Stream::Tasks, seq).cloned();
                    let Some(record) = record else { continue };
                    self.note(|| {
                        format!("{by} stored {} {} {}", seq, record.event, record.subject)
                    });
                    self.ledger().stored(&record, by, expected);
                }
            }
            Ok(_) => {}
            Err(error) => self.note(|| format!("{by} refused: {error}")),
        }
        if self.sabotage == Some(Sabotage::DeniedButStored) && fault {
            return Err(AppendError::Unavailable {
                reason: "a lie".into(),
            });
        }
        if cut_short {
            return Err(unknown("only some of it was stored"));
        }
        result
    }
}

/// Whether an append consists only of a request to cancel a running attempt.
fn is_request_to_cancel(append: &Append) -> bool {
    matches!(&append.records[..], [only] if only.event == "task.cancel_requested.v1")
}

/// Whether an append is the cancellation of a workflow.
fn is_of_a_workflow(append: &Append) -> bool {
    let ends = |of: &NewRecord| {
        ["task.cancelled.v1", "task.cancel_requested.v1"].contains(&of.event)
            && of.actor.contains("canceller-")
    };
    append.records.iter().all(ends)
}

pub(crate) fn unknown(reason: &str) -> AppendError {
    AppendError::Unknown {
        reason: reason.into(),
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock()
}

/// A process, which can be paused for a while, have a wrong clock, and crash.
pub(crate) struct Process {
    pub(crate) name: String,
    pub(crate) world: Arc<World>,
    paused: AtomicBool,
    /// Wakes waiters in order, unlike a watch channel, whose order is random.
    goes_on: Notify,
    dead: AtomicBool,
    skew_ms: AtomicI64,
    /// The reading of its monotonic clock when the world began: each process counts from a
    /// different instant.
    counted: i64,
}

impl Process {
    pub(crate) fn new(name: String, world: Arc<World>) -> Arc<Self> {
        let counted = i64::try_from(world.random.below(100_000_000)).unwrap_or(0);
        Arc::new(Self {
            name,
            world,
            paused: AtomicBool::new(false),
            goes_on: Notify::new(),
            dead: AtomicBool::new(false),
            skew_ms: AtomicI64::new(0),
            counted,
        })
    }

    /// Every externally visible action of a process calls this before and after, so that nothing
    /// happens while the process is paused.
    pub(crate) async fn gate(&self) {
        while self.paused.load(Ordering::Relaxed) {
            self.goes_on.notified().await;
        }
    }

    pub(crate) fn pause(&self, paused: bool) {
        self.paused.store(paused, Ordering::Relaxed);
        if !paused {
            self.goes_on.notify_waiters();
        }
    }

    pub(crate) fn kill(&self) {
        self.dead.store(true, Ordering::Relaxed);
        self.pause(false);
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Relaxed)
    }

    /// Makes its wall clock jump by seconds or hours, forwards or back.
    pub(crate) fn draw_skew(&self) {
        let random = &self.world.random;
        let most = if random.chance(500) {
            60_000
        } else {
            3 * 3_600_000
        };
        let skew =
            i64::try_from(random.below(2 * most)).unwrap_or(0) - i64::try_from(most).unwrap_or(0);
        self.world
            .note(|| format!("the clock of {} is now {skew} ms off", self.name));
        self.set_skew(skew);
    }

    pub(crate) fn set_skew(&self, millis: i64) {
        self.skew_ms.store(millis, Ordering::Relaxed);
    }
}

impl Clock for Process {
    fn now(&self) -> Timestamp {
        Timestamp(self.world.now().0 + self.skew_ms.load(Ordering::Relaxed))
    }

    fn elapsed(&self) -> Elapsed {
        if self.world.sabotage == Some(Sabotage::OneClock) {
            return Elapsed(self.now().0);
        }
        Elapsed(self.counted).plus(self.world.began.elapsed())
    }
}
