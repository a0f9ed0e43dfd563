//! What the workers of a simulated history live in: the log and its network, time, chance, and the ledger of what happened.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;
use waybill_domain::partition::Partition;
use waybill_domain::time::{Elapsed, Timestamp};
use waybill_log::memory::MemoryLog;
use waybill_log::{
    Append, AppendError, Appended, Atomicity, Expectation, Lease, Log, Stream, StreamSeq,
};
use waybill_worker::clock::Clock;
use waybill_worker::command::Command;

use super::history::{Circumstances, Misfortunes};
use super::ledger::Ledger;
use super::random::Random;

/// When every simulated history begins.
const BEGINNING: Timestamp = Timestamp(1_800_000_000_000);
/// As in production.
pub(crate) const LEASE_TTL: Duration = Duration::from_secs(6);

/// A guard that is switched off, so that a test sees the ledger notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sabotage {
    /// The log stores whatever comes, whoever owns the partition.
    NoFence,
    /// The log acknowledges some appends without storing them.
    AcknowledgedButLost,
    /// The log says that it surely stored nothing, although it did.
    DeniedButStored,
    /// Readers miss some records.
    HolesInTails,
    /// Snapshots say that they know more than they do.
    EmptySnapshots,
    /// Purges take more than they are told to.
    GreedyPurges,
    /// Lengths of time are measured by the wall clock.
    OneClock,
}

/// How often, of a thousand times, what goes wrong.
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
    /// A mixture of its own for each history: a few kinds often, the others not at all.
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
    began: Instant,
    faults: Mutex<Faults>,
    /// The log takes and gives nothing.
    pub(crate) away: AtomicBool,
    ledger: Mutex<Ledger>,
    pub(crate) listeners: Mutex<Vec<Listener>>,
    /// Every snapshot ever written.
    pub(crate) snapshots: Mutex<BTreeMap<String, Vec<Bytes>>>,
    /// As they were last given out.
    pub(crate) leases: Mutex<BTreeMap<String, Lease>>,
    notes: Option<Mutex<Vec<String>>>,
}

/// An owner, or one that thinks so, waiting for requests.
#[derive(Clone)]
pub(crate) struct Listener {
    pub(crate) partition: Partition,
    pub(crate) process: Arc<Process>,
    pub(crate) queue: mpsc::Sender<Command>,
}

impl World {
    pub(crate) fn new(seed: u64, circumstances: Circumstances) -> Arc<Self> {
        let Circumstances {
            sabotage, noted, ..
        } = circumstances;
        let random = Random::new(seed);
        let faults = (circumstances.faults)(&random);
        let began = Instant::now();
        let server = Arc::new(move || BEGINNING.plus(began.elapsed()));
        Arc::new(Self {
            random,
            sabotage,
            log: MemoryLog::new(server, LEASE_TTL),
            began,
            faults: Mutex::new(faults),
            away: AtomicBool::new(false),
            ledger: Mutex::new(Ledger::new(
                circumstances.misfortunes == Misfortunes::Clocks,
            )),
            listeners: Mutex::default(),
            snapshots: Mutex::default(),
            leases: Mutex::default(),
            notes: noted.then(Mutex::default),
        })
    }

    /// The server forgets who holds what.
    pub(crate) fn lose_leases(&self) {
        self.note(|| "the leases vanish".into());
        for lease in std::mem::take(&mut *lock(&self.leases)).values() {
            // It may have been given back, or have run out.
            let _ = self.log.core().release(lease);
        }
    }

    /// The time on the server, and on clocks that are right.
    pub(crate) fn now(&self) -> Timestamp {
        BEGINNING.plus(self.began.elapsed())
    }

    pub(crate) fn faults(&self) -> Faults {
        *lock(&self.faults)
    }

    /// Nothing goes wrong from now on.
    pub(crate) fn calm(&self) {
        *lock(&self.faults) = Faults::default();
        self.away.store(false, Ordering::Relaxed);
    }

    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        lock(&self.ledger)
    }

    pub(crate) fn is_away(&self) -> bool {
        self.away.load(Ordering::Relaxed)
    }

    /// Writes down what happened, when a history is told again.
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

    /// How long a message travels.
    pub(crate) fn latency(&self) -> Duration {
        if self.random.chance(self.faults().slow) {
            self.random.millis(50, 800)
        } else {
            self.random.millis(0, 3)
        }
    }

    /// An append arrives at the server.
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
            _ => {}
        }
        let mut cut_short = false;
        if append.atomicity == Atomicity::Ordered
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

pub(crate) fn unknown(reason: &str) -> AppendError {
    AppendError::Unknown {
        reason: reason.into(),
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A process: it can be stopped for a while, its clock can be wrong, and it can die.
pub(crate) struct Process {
    pub(crate) name: String,
    pub(crate) world: Arc<World>,
    paused: AtomicBool,
    /// Wakes in the order of waiting, unlike a watch channel, which draws lots.
    goes_on: Notify,
    dead: AtomicBool,
    skew_ms: AtomicI64,
    /// What its monotonic clock said when the world began: each process counts from an instant of its own.
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

    /// What a process does that others can see passes through here, before and after: nothing does while it is stopped.
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

    /// Its wall clock jumps: by seconds or by hours, forth or back.
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
