//! The worker's side of the vault: a credential is put into a request the moment before it is sent, and nowhere else.
//!
//! - `directory` knows every token, by following CONTROL (`follow`): which version counts, where it may be sent, whether it was revoked.
//!   Beside it stand opened keys, for half a minute (`cache`).
//! - [`resolve`] makes a task's request of it, under the lease of the fence: once a revocation is answered, no attempt that begins
//!   later sends the credential. `open` reads and unwraps the keys that are not at hand.
//! - [`carried`] goes with the request: where its values may be sent, hop by hop, and what is taken out of the answer.
//! - [`failure`] says why nothing was sent. `uses` tells that tokens are used. [`erase`] destroys the keys of ended tasks.
//!
//! A worker without an open ring has all of this but the keys: it fails what it cannot open, later to be tried again, and still
//! erases the keys of tasks.

mod cache;
pub mod carried;
mod directory;
pub mod erase;
pub mod failure;
mod follow;
mod open;
pub mod resolve;
mod uses;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use waybill_domain::access::fence::{FenceTiming, LeaseKind};
use waybill_domain::id::{TaskId, TeamId};
use waybill_domain::partition::Partition;
use waybill_fence::{Fence, FenceParts, FenceTask};
use waybill_log::{Fences, KeyName, Log, StreamSeq, Tallies, VaultKeys};
use waybill_vault::Unwrapper;

use crate::clock::Clock;

pub use carried::Carried;
pub use erase::SweepPace;
pub use failure::VaultFailure;
pub use resolve::{Prepared, needs_vault};

pub(crate) use erase::{Page, Sweep};

use directory::Directory;
use erase::{Erasures, Sweeper};
use open::Opener;
use uses::{First, Flusher, Uses};

/// How often keys that were held long enough are dropped.
const FORGET_EVERY: Duration = Duration::from_secs(5);

/// What the vault of a worker stands on.
pub struct VaultParts {
    /// For CONTROL, and to find ended tasks.
    pub log: Arc<dyn Log>,
    /// The stream VKEYS.
    pub keys: Arc<dyn VaultKeys>,
    /// The stream USAGE.
    pub tallies: Arc<dyn Tallies>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// What opens keys. `None`: this worker can open nothing.
    pub opening: Option<OpeningParts>,
    /// How often uses are told to USAGE.
    pub usage_flush: Duration,
    /// When keys of ended tasks are looked for.
    pub sweep: SweepPace,
}

/// What opening takes beside.
pub struct OpeningParts {
    /// Unwraps data keys.
    pub unwrapper: Arc<dyn Unwrapper>,
    /// The stream FENCE.
    pub fences: Arc<dyn Fences>,
    /// For acknowledgements.
    pub nats: async_nats::Client,
    /// How long leases last; the same everywhere.
    pub timing: FenceTiming,
}

/// Opens and puts in place, as long as its [`VaultService`] runs.
pub struct Vault {
    directory: Arc<Directory>,
    opening: Option<Opening>,
    uses: Arc<Uses>,
    erasures: Erasures,
    log: Arc<dyn Log>,
    keys: Arc<dyn VaultKeys>,
    clock: Arc<dyn Clock>,
    sweep: SweepPace,
}

struct Opening {
    opener: Opener,
    fence: Arc<Fence>,
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Vault").finish_non_exhaustive()
    }
}

impl Vault {
    /// The vault, and what runs beside it.
    #[must_use]
    pub fn new(parts: VaultParts) -> (Arc<Self>, VaultService) {
        // There from the start, so that the first one is seen as an increase.
        metrics::counter!("waybill_vault_integrity_errors_total").increment(0);
        let directory = Arc::new(Directory::default());
        let applied = watch::Sender::new(StreamSeq(0));
        let (uses, firsts) = Uses::new(Arc::clone(&parts.log), Arc::clone(&parts.tallies));
        let (erasures, to_erase) = Erasures::new();
        let (opening, fence_task) = match parts.opening {
            Some(opening) => {
                let (fence, task) = Fence::new(FenceParts {
                    fences: opening.fences,
                    log: Arc::clone(&parts.log),
                    nats: opening.nats,
                    control: applied.subscribe(),
                    timing: opening.timing,
                    kind: LeaseKind::Worker,
                });
                let opener = Opener {
                    log: Arc::clone(&parts.log),
                    keys: Arc::clone(&parts.keys),
                    unwrapper: opening.unwrapper,
                };
                (Some(Opening { opener, fence }), Some(task))
            }
            None => (None, None),
        };
        let vault = Arc::new(Self {
            directory,
            opening,
            uses,
            erasures,
            log: parts.log,
            keys: parts.keys,
            clock: parts.clock,
            sweep: parts.sweep,
        });
        let service = VaultService {
            vault: Arc::clone(&vault),
            applied,
            fence_task,
            firsts,
            to_erase,
            usage_flush: parts.usage_flush,
        };
        (vault, service)
    }

    /// Whether tokens may be sent now.
    #[must_use]
    pub fn is_serving(&self) -> bool {
        let opening = self.opening.as_ref();
        opening.is_some_and(|opening| opening.fence.is_serving())
    }

    /// The task has ended: the key of its sealed headers is erased soon.
    pub fn erase_later(&self, team: TeamId, task: TaskId) {
        self.erasures.erase_later(KeyName::Task { team, task });
    }

    pub(crate) fn erase_swept(&self, name: KeyName) {
        self.erasures.erase_later(name);
    }

    /// Looks for keys of ended tasks in a partition, as long as the sweep is kept.
    pub(crate) fn sweep(&self, partition: Partition) -> Sweep {
        Sweep::start(Sweeper {
            partition,
            log: Arc::clone(&self.log),
            keys: Arc::clone(&self.keys),
            clock: Arc::clone(&self.clock),
            pace: self.sweep,
        })
    }
}

/// The tasks of a vault.
pub struct VaultService {
    vault: Arc<Vault>,
    applied: watch::Sender<StreamSeq>,
    fence_task: Option<FenceTask>,
    firsts: mpsc::Receiver<First>,
    to_erase: mpsc::Receiver<KeyName>,
    usage_flush: Duration,
}

impl VaultService {
    /// Runs until stopped; then tells what was not told, and gives the lease back. Dropped, it ends on the spot.
    pub async fn run(self, stop: CancellationToken) {
        let Self {
            vault,
            applied,
            fence_task,
            firsts,
            to_erase,
            usage_flush,
        } = self;
        let mut tasks = JoinSet::new();
        let name = fence_task.is_some().then(|| vault.life());
        if let Some(fence_task) = fence_task {
            let (log, directory) = (Arc::clone(&vault.log), Arc::clone(&vault.directory));
            let following = stop.clone();
            tasks.spawn(async move {
                tokio::select! {
                    () = following.cancelled() => {}
                    () = follow::follow(log, directory, applied) => {}
                }
            });
            tasks.spawn(fence_task.run(stop.clone()));
            tasks.spawn(forget(Arc::clone(&vault.directory), stop.clone()));
        }
        if let Some(name) = name.flatten() {
            let flusher = Flusher::new(Arc::clone(&vault.uses), usage_flush, name);
            tasks.spawn(flusher.run(stop.clone()));
            tasks.spawn(Arc::clone(&vault.uses).announce(firsts, stop.clone()));
        }
        tasks.spawn(erase::erase(Arc::clone(&vault.keys), to_erase, stop));
        while let Some(ended) = tasks.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "a task of the vault ended abnormally");
            }
        }
    }
}

impl Vault {
    /// A name of this start of this worker.
    fn life(&self) -> Option<String> {
        let opening = self.opening.as_ref()?;
        Some(opening.fence.holder().to_string())
    }
}

async fn forget(directory: Arc<Directory>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(FORGET_EVERY) => directory.forget_old_keys(),
        }
    }
}
