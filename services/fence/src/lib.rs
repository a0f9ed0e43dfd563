//! The lease under which a gateway decides requests and a worker sends credentials, and the barrier
//! that makes a change of access hold everywhere before it is answered. The rules are in
//! `waybill_domain::access::fence`; this crate runs them.
//!
//! - [`Fence`] is what a process asks: may I decide now, and does a change hold everywhere yet?
//! - `task` runs it: `running` owns the state, renews the lease, follows FENCE, acknowledges, and
//!   raises marks.
//! - `reader` is the task that reads FENCE for it; `sending` has all network requests.
//! - [`CopyCheck`] has the copy of CONTROL compared with the log after that was replaced.
//! - `barriers` has the waiting callers, and the marks that they share.
//! - [`outside`] makes the barrier available to processes that are not gateways, such as the
//!   command line.
//! - [`clock`] reads the clock that measures leases.
//!
//! A worker writes only to the subjects of workers in FENCE and for acknowledgements, so it cannot
//! speak for a gateway. It raises no marks.

mod barriers;
pub mod clock;
mod copy_check;
pub mod error;
pub mod outside;
mod reader;
mod running;
mod seldom;
mod sending;
mod task;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::RwLock;
use tokio::sync::{mpsc, oneshot, watch};
use waybill_domain::access::fence::{FenceTiming, GatewayId, HolderId, LeaseKind, Uptime};
use waybill_domain::trust::Trust;
use waybill_log::{Fences, Log, StreamSeq};

use barriers::Call;
pub use copy_check::CopyCheck;
pub use error::{FenceError, NoLease};
pub use outside::settle;
pub use task::FenceTask;

/// How long a request waits for a renewal that is in progress.
const WAIT_FOR_RENEWAL: Duration = Duration::from_millis(200);
/// Bound of the queue of callers of [`Fence::everywhere`]; the task empties it before each mark.
const MAX_CALLS: usize = 1_024;
/// Time limit beyond the longest life of a lease: for storing the mark, even across a leader
/// election of the stream.
const WAIT_FOR_MARK: Duration = Duration::from_secs(10);

/// What a fence needs.
pub struct FenceParts {
    /// The stream FENCE.
    pub fences: Arc<dyn Fences>,
    /// For the start event that a process appends to CONTROL.
    pub log: Arc<dyn Log>,
    pub nats: async_nats::Client,
    /// How far CONTROL is applied. Raised only after every decision takes it into account.
    pub control: watch::Receiver<StreamSeq>,
    /// Answered by the task that raises `control`.
    pub copy: Arc<CopyCheck>,
    /// How long leases last; equal in all processes.
    pub timing: FenceTiming,
    /// What is decided under the lease.
    pub kind: LeaseKind,
}

/// The lease of this gateway or worker, and the barrier.
#[derive(Debug)]
pub struct Fence {
    /// The label `kind` of its metrics.
    name: &'static str,
    kind: LeaseKind,
    /// Of this run: another one begins when the log was replaced. Locked for a moment only, never
    /// across an await.
    holder: RwLock<HolderId>,
    /// Until when anything may be decided, in nanoseconds of [`clock::uptime`]; 0 if there is no
    /// lease.
    until: AtomicU64,
    /// Counts the leases that were taken into use, to wake waiting requests.
    leased: watch::Sender<u64>,
    /// Up to where CONTROL is known to hold everywhere.
    everywhere: AtomicU64,
    /// Number of gateways that may hold a lease, including this one.
    live: Arc<AtomicU32>,
    /// Whether the last renewal was refused because FENCE has no room.
    full: AtomicBool,
    calls: mpsc::Sender<Call>,
    longest: Duration,
    /// The keys that messages are signed and verified with.
    trust: Arc<Trust>,
}

impl Fence {
    /// A fence without a lease, and the task that obtains one.
    #[must_use]
    pub fn new(parts: FenceParts) -> (Arc<Self>, FenceTask) {
        let name = parts.kind.as_str();
        Self::named(name, parts)
    }

    /// The same for a process with more than one lease: `name` tells its metrics apart.
    #[must_use]
    pub fn named(name: &'static str, parts: FenceParts) -> (Arc<Self>, FenceTask) {
        let (calls, called) = mpsc::channel(MAX_CALLS);
        let fence = Arc::new(Self {
            name,
            kind: parts.kind,
            holder: RwLock::new(HolderId::new(parts.kind, GatewayId::new(random()))),
            until: AtomicU64::new(0),
            leased: watch::Sender::new(0),
            everywhere: AtomicU64::new(0),
            live: Arc::new(AtomicU32::new(1)),
            full: AtomicBool::new(false),
            calls,
            longest: parts.timing.horizon() + WAIT_FOR_MARK,
            trust: parts.fences.trust(),
        });
        let task = FenceTask::new(Arc::clone(&fence), parts, called);
        (fence, task)
    }

    /// Whether something may be decided here now, based on the local copy of CONTROL.
    ///
    /// Ask before reading that copy, never after: a copy that was read without a lease may be of
    /// any age, even if there is a lease again by the time of the question.
    pub fn may_decide(&self) -> Result<(), NoLease> {
        // Acquire: whoever sees the lease also sees what was applied before it was taken into use.
        let until = self.until.load(Ordering::Acquire);
        if until != 0 && clock::nanos(clock::uptime()) < until {
            Ok(())
        } else {
            Err(NoLease)
        }
    }

    /// Like [`Fence::may_decide`], but waits a moment for a renewal if there is no lease.
    pub async fn may_decide_soon(&self) -> Result<(), NoLease> {
        if self.may_decide().is_ok() {
            return Ok(());
        }
        let mut leased = self.leased.subscribe();
        let renewed = async {
            while self.may_decide().is_err() {
                leased.changed().await.map_err(|_| NoLease)?;
            }
            Ok(())
        };
        tokio::time::timeout(WAIT_FOR_RENEWAL, renewed)
            .await
            .unwrap_or(Err(NoLease))
    }

    /// Whether there is a lease now.
    #[must_use]
    pub fn is_serving(&self) -> bool {
        self.may_decide().is_ok()
    }

    /// Whether the last renewal was refused because FENCE, where leases are stored, has no room.
    #[must_use]
    pub fn is_refused_for_room(&self) -> bool {
        // Relaxed: it stands alone, and nothing is read through it.
        self.full.load(Ordering::Relaxed)
    }

    fn set_full(&self, is_full: bool) {
        self.full.store(is_full, Ordering::Relaxed);
    }

    /// Returns once every holder has applied CONTROL up to `seq` or cannot decide anything: from
    /// then on, no gateway accepts and no worker sends what was revoked there. If a holder has
    /// died, this takes as long as its lease lasts. Safe to repeat. Only gateways may call it.
    pub async fn everywhere(&self, seq: StreamSeq) -> Result<(), FenceError> {
        if self.kind != LeaseKind::Gateway {
            return Err(FenceError::NotAGateway);
        }
        if self.everywhere.load(Ordering::Acquire) >= seq.0 {
            return Ok(());
        }
        let (answer, answered) = oneshot::channel();
        let asked = async {
            let call = Call {
                control: seq,
                answer,
            };
            self.calls
                .send(call)
                .await
                .map_err(|_| FenceError::Stopped)?;
            answered.await.map_err(|_| FenceError::Stopped)
        };
        tokio::time::timeout(self.longest, asked)
            .await
            .unwrap_or(Err(FenceError::Unconfirmed))
    }

    /// Estimate of how many gateways hold a lease now, including this one. Workers do not count.
    #[must_use]
    pub fn live(&self) -> &Arc<AtomicU32> {
        &self.live
    }

    /// Id of this run of the process.
    #[must_use]
    pub fn holder(&self) -> GatewayId {
        self.holder_id().id
    }

    pub(crate) fn holder_id(&self) -> HolderId {
        let holder = self.holder.read();
        holder.clone()
    }

    /// Nothing is decided, and nothing that was known of the log counts any more.
    fn forget_log(&self) {
        self.set_until(None);
        self.everywhere.store(0, Ordering::Release);
    }

    /// Begins another run: the current log may hold records of the former one.
    fn begin_another_run(&self) {
        let next = HolderId::new(self.kind, GatewayId::new(random()));
        *self.holder.write() = next;
        // Callers that came between put it where the former log was.
        self.everywhere.store(0, Ordering::Release);
    }

    fn set_until(&self, until: Option<Uptime>) {
        let nanos = until.map_or(0, clock::nanos);
        // Release: see `may_decide`.
        if self.until.swap(nanos, Ordering::AcqRel) < nanos {
            self.leased.send_modify(|count| *count += 1);
        }
    }

    fn set_everywhere(&self, seq: StreamSeq) {
        self.everywhere.fetch_max(seq.0, Ordering::AcqRel);
    }
}

/// 64 random bits, for the id of one run.
fn random() -> u64 {
    let mut bytes = [0; 8];
    #[expect(
        clippy::expect_used,
        reason = "without randomness, two processes could get the same id and be taken for each other"
    )]
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    u64::from_ne_bytes(bytes)
}
