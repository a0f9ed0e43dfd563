//! The notary: signs what it has seen of CONTROL, so that nobody can change it later without notice.
//!
//! One at a time, by the lease `notary`. Whoever takes the lease reads CONTROL from its beginning ([`forest`]), finds again everything that
//! was signed before, and only then goes on: about a second after an event its trees have a new checkpoint in AUDITCP ([`run`]).
//! What it finds to differ ends it, with an error, a metric and no further signature: a notary that went on would sign a fork.
//! Two that both believe to hold the lease cannot fork either, since each checkpoint is stored only behind the one it was made for.

mod forest;
mod run;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use waybill_domain::audit::checkpoint::CheckpointError;
use waybill_domain::audit::{Mismatch, NotaryKey, TrustedKeys};
use waybill_log::{Checkpoints, Leases, Log, ReadError, StreamSeq};

/// What notaries take turns by.
pub const LEASE: &str = "notary";

/// How a notary works.
#[derive(Debug, Clone)]
pub struct NotaryConfig {
    /// Name of the deployment, part of every origin.
    pub deployment: String,
    /// Signs.
    pub key: NotaryKey,
    /// Keys that may have signed the checkpoints that are there, its own among them.
    pub trusted: TrustedKeys,
    /// Its name on the lease, unique among all.
    pub holder: String,
    /// Trees that have grown are signed that often.
    pub every: Duration,
    /// All of CONTROL is signed that often even if nothing came: silence must be visible.
    pub silence: Duration,
}

impl NotaryConfig {
    /// Every second, and every hour whatever happens.
    #[must_use]
    pub fn new(deployment: &str, key: NotaryKey, holder: String) -> Self {
        Self {
            deployment: deployment.to_owned(),
            trusted: TrustedKeys::only(key.public()),
            key,
            holder,
            every: Duration::from_secs(1),
            silence: Duration::from_secs(3600),
        }
    }
}

/// What a notary works with.
#[derive(Clone)]
pub struct NotaryParts {
    /// Holds CONTROL.
    pub log: Arc<dyn Log>,
    /// Holds the lease.
    pub leases: Arc<dyn Leases>,
    /// Holds what is signed.
    pub checkpoints: Arc<dyn Checkpoints>,
    /// For those who want a checkpoint now. `None`: nobody can ask.
    pub nats: Option<async_nats::Client>,
}

/// Why a notary has stopped for good.
#[derive(Debug, Clone, thiserror::Error)]
pub enum NotaryError {
    /// The log is not what was signed.
    #[error(transparent)]
    Mismatch(#[from] Mismatch),
    /// A checkpoint that is there is not signed by a key that is trusted.
    #[error("the newest checkpoint of {tree} does not count: {reason}")]
    Checkpoint {
        /// Name of the tree.
        tree: String,
        /// What is wrong with it.
        reason: CheckpointError,
    },
    /// A checkpoint that is there cannot be read.
    #[error("the newest checkpoint of {tree} cannot be read")]
    Unreadable {
        /// Name of the tree.
        tree: String,
    },
    /// CONTROL, from which nothing can be removed, has a hole.
    #[error("CONTROL has {found} where {expected} should be: events were removed")]
    Hole {
        /// The sequence that is missing.
        expected: StreamSeq,
        /// The next one that is there.
        found: StreamSeq,
    },
    /// CONTROL is shorter than what was read of it, or another stream.
    #[error("CONTROL is not the stream that was read: {reason}")]
    Regressed {
        /// What is known.
        reason: String,
    },
    /// A part of it panicked.
    #[error("the notary crashed: {0}")]
    Crashed(String),
}

/// What a notary is at.
#[derive(Debug, Clone)]
pub enum NotaryStatus {
    /// Another one holds the lease.
    Standby,
    /// It reads CONTROL again.
    Reading,
    /// It signs.
    Signing,
    /// It has stopped for good.
    Stopped(NotaryError),
}

/// A running notary. Dropping it ends it without waiting; [`Notary::shutdown`] waits.
pub struct Notary {
    ending: CancellationToken,
    status: watch::Receiver<NotaryStatus>,
    running: JoinHandle<Result<(), NotaryError>>,
}

impl Notary {
    /// Starts one. Returns at once.
    #[must_use]
    pub fn start(config: NotaryConfig, parts: NotaryParts) -> Self {
        let ending = CancellationToken::new();
        let (tell, status) = watch::channel(NotaryStatus::Standby);
        metrics::gauge!("waybill_notary_stopped").set(0.0);
        let running = tokio::spawn(run::run(config, parts, tell, ending.clone()));
        Self {
            ending,
            status,
            running,
        }
    }

    /// What it is at, and the changes of that.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<NotaryStatus> {
        self.status.clone()
    }

    /// Gives the lease back and ends.
    pub async fn shutdown(mut self) -> Result<(), NotaryError> {
        self.ending.cancel();
        match (&mut self.running).await {
            Ok(outcome) => outcome,
            Err(error) => Err(NotaryError::Crashed(error.to_string())),
        }
    }
}

impl Drop for Notary {
    fn drop(&mut self) {
        self.ending.cancel();
    }
}

/// Why reading or signing did not go on; the error of [`NotaryError`] ends the notary, the others pass.
enum Interrupted {
    Fatal(NotaryError),
    /// Somebody else signs too: everything is read again under a lease taken anew.
    Overtaken,
    /// The log does not answer.
    Away(ReadError),
}

impl<E: Into<NotaryError>> From<E> for Interrupted {
    fn from(error: E) -> Self {
        Self::Fatal(error.into())
    }
}

impl From<ReadError> for Interrupted {
    fn from(error: ReadError) -> Self {
        Self::Away(error)
    }
}
