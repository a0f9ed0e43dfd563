//! The worker's side of the vault: a credential is inserted into a request right before it is sent,
//! and nowhere else.
//!
//! - `directory` has all tokens, by following CONTROL (`follow`): the current version, where it may
//!   be sent, and whether it was revoked. It also holds opened keys for half a minute (`cache`).
//! - [`resolve`] builds a task's request under the lease of the fence: once a revocation is
//!   answered, no attempt that begins later sends the credential. `open` reads and unwraps the keys
//!   that are not cached; `epochs` caches those that tasks share.
//! - [`carried`] accompanies the request: it decides where its values may be sent, hop by hop, and
//!   removes them from the answer.
//! - [`failure`] says why nothing was sent. `uses` reports the use of tokens. [`erase`] erases the
//!   keys of ended tasks.
//!
//! A worker without an open ring has all of this except the keys: attempts that need one fail and
//! are retried later, and the keys of ended tasks are still erased.

mod cache;
pub mod carried;
mod directory;
mod epochs;
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
use waybill_fence::{CopyCheck, Fence, FenceParts, FenceTask};
use waybill_log::{Fences, KeyName, Log, StreamSeq, Tallies, VaultKeys};
use waybill_vault::Unwrapper;

use crate::clock::Clock;
use crate::follow::follow;

pub use carried::Carried;
pub use erase::SweepPace;
pub use failure::VaultFailure;
pub use resolve::{Prepared, needs_vault};

pub(crate) use erase::{Page, Sweep};

use directory::Directory;
use epochs::EpochKeys;
use erase::{Erasures, Sweeper};
use follow::Tokens;
use open::Opener;
use uses::{First, Flusher, Uses};

/// Interval at which expired keys are dropped from the cache.
const FORGET_EVERY: Duration = Duration::from_secs(5);

/// What a worker's vault needs.
pub struct VaultParts {
    /// To follow CONTROL, and to find ended tasks.
    pub log: Arc<dyn Log>,
    /// The stream VKEYS.
    pub keys: Arc<dyn VaultKeys>,
    /// The stream USAGE.
    pub tallies: Arc<dyn Tallies>,
    pub clock: Arc<dyn Clock>,
    /// What is needed to open keys. `None`: this worker can open nothing.
    pub opening: Option<OpeningParts>,
    /// Interval at which uses are written to USAGE.
    pub usage_flush: Duration,
    /// When keys of ended tasks are searched for.
    pub sweep: SweepPace,
}

/// What is needed to open keys.
pub struct OpeningParts {
    /// Unwraps data keys.
    pub unwrapper: Arc<dyn Unwrapper>,
    /// The stream FENCE.
    pub fences: Arc<dyn Fences>,
    pub nats: async_nats::Client,
    /// How long leases last; equal in all processes.
    pub timing: FenceTiming,
}

/// Opens credentials and inserts them into requests, as long as its [`VaultService`] runs.
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
    /// The vault, and the service that it needs.
    #[must_use]
    pub fn new(parts: VaultParts) -> (Arc<Self>, VaultService) {
        // Registered at the start, so that the first error is visible as an increase.
        metrics::counter!("waybill_vault_integrity_errors_total").increment(0);
        let directory = Arc::new(Directory::default());
        let applied = watch::Sender::new(StreamSeq(0));
        let copy_check = Arc::<CopyCheck>::default();
        let (uses, firsts) = Uses::new(Arc::clone(&parts.log), Arc::clone(&parts.tallies));
        let (erasures, to_erase) = Erasures::new();
        let (opening, fence_task) = match parts.opening {
            Some(opening) => {
                let (fence, task) = Fence::new(FenceParts {
                    fences: opening.fences,
                    log: Arc::clone(&parts.log),
                    nats: opening.nats,
                    control: applied.subscribe(),
                    copy: Arc::clone(&copy_check),
                    timing: opening.timing,
                    kind: LeaseKind::Worker,
                });
                let opener = Opener {
                    log: Arc::clone(&parts.log),
                    keys: Arc::clone(&parts.keys),
                    unwrapper: opening.unwrapper,
                    epochs: EpochKeys::default(),
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
            copy_check,
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

    /// Queues the key for erasure that an ended task has of its own.
    pub fn erase_later(&self, team: TeamId, task: TaskId) {
        self.erasures.erase_later(KeyName::Task { team, task });
    }

    pub(crate) fn erase_swept(&self, name: KeyName) {
        self.erasures.erase_later(name);
    }

    /// Searches for keys of ended tasks in a partition, until the sweep is dropped.
    pub(crate) fn sweep(&self, partition: Partition) -> Sweep {
        Sweep::start(Sweeper {
            partition,
            log: Arc::clone(&self.log),
            keys: Arc::clone(&self.keys),
            pace: self.sweep,
        })
    }
}

/// The background tasks of a vault.
pub struct VaultService {
    vault: Arc<Vault>,
    applied: watch::Sender<StreamSeq>,
    copy_check: Arc<CopyCheck>,
    fence_task: Option<FenceTask>,
    firsts: mpsc::Receiver<First>,
    to_erase: mpsc::Receiver<KeyName>,
    usage_flush: Duration,
}

impl VaultService {
    /// Runs until stopped; then flushes what was counted, and releases the lease. Dropping it ends
    /// it at once.
    pub async fn run(self, stop: CancellationToken) {
        let Self {
            vault,
            applied,
            copy_check,
            fence_task,
            firsts,
            to_erase,
            usage_flush,
        } = self;
        let mut tasks = JoinSet::new();
        let name = fence_task.is_some().then(|| vault.life());
        if let Some(fence_task) = fence_task {
            let log = Arc::clone(&vault.log);
            let tokens = Arc::new(Tokens {
                directory: Arc::clone(&vault.directory),
                applied,
            });
            let following = stop.clone();
            tasks.spawn(async move {
                // Following only reads: if it is dropped in the middle, the directory is a little
                // older, and the fence has ended the lease by then.
                tokio::select! {
                    () = following.cancelled() => {}
                    () = follow(log, tokens, copy_check) => {}
                }
            });
            tasks.spawn(fence_task.run(stop.clone()));
            tasks.spawn(Arc::clone(&vault).forget(stop.clone()));
        }
        if let Some(name) = name.flatten() {
            let flusher = Flusher::new(Arc::clone(&vault.uses), usage_flush, name);
            tasks.spawn(flusher.run(stop.clone()));
            tasks.spawn(Arc::clone(&vault.uses).announce(firsts, stop.clone()));
        }
        tasks.spawn(erase::erase(Arc::clone(&vault.keys), to_erase, stop));
        while let Some(ended) = tasks.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "a background task of the vault crashed");
            }
        }
    }
}

impl Vault {
    /// Id of this run of the worker.
    fn life(&self) -> Option<String> {
        let opening = self.opening.as_ref()?;
        Some(opening.fence.holder().to_string())
    }

    async fn forget(self: Arc<Self>, stop: CancellationToken) {
        loop {
            // Forgetting happens in the branch body, which runs to its end.
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(FORGET_EVERY) => {
                    self.directory.forget_old_keys();
                    if let Some(opening) = &self.opening {
                        opening.opener.epochs.forget_old();
                    }
                }
            }
        }
    }
}
