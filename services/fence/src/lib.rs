//! The lease under which a gateway decides requests and a worker sends credentials, and the barrier that makes a change of access hold
//! everywhere before it is answered. The rules are in `waybill_domain::access::fence`; this is what they run on.
//!
//! - [`Fence`] is what its owner asks: may I decide now, and does everybody know by now?
//! - `task` runs it: `running` owns the state, renews the lease, follows FENCE, acknowledges, and raises marks.
//! - `reader` is the task that reads FENCE for it, `sending` is everything that it waits for from the network.
//! - `barriers` are the callers who wait, and the marks that they share.
//! - [`outside`] opens the barrier to commands that are no gateway.
//! - [`clock`] reads the clock that leases are measured by.
//!
//! A worker writes only where workers may write, in FENCE and in acknowledgements: it cannot speak for a gateway. It raises no marks.

mod barriers;
pub mod clock;
pub mod error;
pub mod outside;
mod reader;
mod running;
mod sending;
mod task;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use waybill_domain::access::fence::{FenceTiming, GatewayId, HolderId, LeaseKind, Uptime};
use waybill_domain::trust::Trust;
use waybill_log::{Fences, Log, StreamSeq};

use barriers::Call;
pub use error::{FenceError, NoLease};
pub use outside::settle;
pub use task::FenceTask;

/// How long a request waits for a renewal that is under way.
const WAIT_FOR_RENEWAL: Duration = Duration::from_millis(200);
/// Callers of [`Fence::everywhere`] that the task has not taken up yet; it takes up all of them before each mark.
const MAX_CALLS: usize = 1_024;
/// Beyond the longest life of a lease: for the mark to be stored, across an election of the stream's leader.
const WAIT_FOR_MARK: Duration = Duration::from_secs(10);

/// What a fence stands on.
pub struct FenceParts {
    /// The stream FENCE.
    pub fences: Arc<dyn Fences>,
    /// For the event on CONTROL that a gateway begins with.
    pub log: Arc<dyn Log>,
    /// For acknowledgements.
    pub nats: async_nats::Client,
    /// How far CONTROL is applied: raised only once every decision knows what stands there.
    pub control: watch::Receiver<StreamSeq>,
    /// How long leases last; the same everywhere.
    pub timing: FenceTiming,
    /// What is decided on the lease.
    pub kind: LeaseKind,
}

/// The lease of this gateway or worker, and the barrier.
#[derive(Debug)]
pub struct Fence {
    holder: HolderId,
    /// Until when anything may be decided, in nanoseconds of [`clock::uptime`]; 0: not at all.
    until: AtomicU64,
    /// Counts leases taken into use.
    leased: watch::Sender<u64>,
    /// Up to where CONTROL is known to hold on every gateway.
    everywhere: AtomicU64,
    /// Gateways that may hold a lease, this one included.
    live: Arc<AtomicU32>,
    calls: mpsc::Sender<Call>,
    longest: Duration,
    /// What messages are signed with, and whose count.
    trust: Arc<Trust>,
}

impl Fence {
    /// A fence without a lease, and the task that gets it one.
    #[must_use]
    pub fn new(parts: FenceParts) -> (Arc<Self>, FenceTask) {
        let (calls, called) = mpsc::channel(MAX_CALLS);
        let fence = Arc::new(Self {
            holder: HolderId::new(parts.kind, GatewayId::new(random())),
            until: AtomicU64::new(0),
            leased: watch::Sender::new(0),
            everywhere: AtomicU64::new(0),
            live: Arc::new(AtomicU32::new(1)),
            calls,
            longest: parts.timing.horizon() + WAIT_FOR_MARK,
            trust: parts.fences.trust(),
        });
        let task = FenceTask::new(Arc::clone(&fence), parts, called);
        (fence, task)
    }

    /// Whether something may be decided here now from what is known of CONTROL.
    ///
    /// To be asked before what it knows is read, never after: a copy that was read while there was no lease may be any age, also when
    /// there is a lease again by the time of the question.
    pub fn may_decide(&self) -> Result<(), NoLease> {
        // Acquire: what was applied before the lease was taken into use is seen by who sees the lease.
        let until = self.until.load(Ordering::Acquire);
        if until != 0 && clock::nanos(clock::uptime()) < until {
            Ok(())
        } else {
            Err(NoLease)
        }
    }

    /// The same, after waiting a moment for a renewal where there is no lease.
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

    /// Returns once everybody has applied CONTROL up to `seq` or cannot be deciding anything: from then on no gateway accepts, and no
    /// worker sends, what was taken away there. Takes as long as a lease lasts, when one of them has died. May be repeated. Of gateways
    /// only.
    pub async fn everywhere(&self, seq: StreamSeq) -> Result<(), FenceError> {
        if self.holder.kind != LeaseKind::Gateway {
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

    /// How many gateways may hold a lease now, this one included: an estimate, kept up to date. Workers do not count.
    #[must_use]
    pub fn live(&self) -> &Arc<AtomicU32> {
        &self.live
    }

    /// Which life of which gateway or worker this is.
    #[must_use]
    pub fn holder(&self) -> &GatewayId {
        &self.holder.id
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

/// 64 random bits for the id of one life.
fn random() -> u64 {
    let mut bytes = [0; 8];
    #[expect(
        clippy::expect_used,
        reason = "without randomness no id can be made: two lives of one id could be taken for each other"
    )]
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    u64::from_ne_bytes(bytes)
}
