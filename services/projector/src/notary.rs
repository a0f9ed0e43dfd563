//! The notary: signs what it has seen of CONTROL, so that nobody can change it later without being
//! noticed.
//!
//! There is one at a time, by the lease `notary`. A notary that takes the lease reads CONTROL from
//! the beginning ([`forest`]), verifies everything that was signed before, and only then continues:
//! about a second after an event, its trees have a new checkpoint in AUDITCP ([`run`]). Any
//! difference to what is signed ends it, with an error, a metric and no further signature: a notary
//! that continued would sign a fork. If the log goes backwards while it runs, as after a restore,
//! it records that and reads the log again: with the checkpoints of the same backup it continues,
//! with those of the lost history it stops. Two notaries that both believe to hold the lease cannot
//! fork either, since each checkpoint is stored only behind the one that it was made for.

mod forest;
mod run;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use waybill_domain::audit::checkpoint::CheckpointError;
use waybill_domain::audit::{Mismatch, NotaryKey, TrustedKeys};
use waybill_log::{Checkpoints, Leases, Log, ReadError, StreamSeq, WentBackwards};

/// Name of the lease that notaries compete for.
pub const LEASE: &str = "notary";

/// Configuration of a notary.
#[derive(Debug, Clone)]
pub struct NotaryConfig {
    /// Name of the deployment, part of every origin.
    pub deployment: String,
    /// The signing key.
    pub key: NotaryKey,
    /// Keys that may have signed the existing checkpoints, including its own.
    pub trusted: TrustedKeys,
    /// Unique holder of the lease.
    pub holder: String,
    /// Interval at which trees that have grown are signed.
    pub every: Duration,
    /// Interval at which all of CONTROL is signed even if it has not grown: silence must be
    /// visible.
    pub silence: Duration,
    /// Beside this folder it is written down that the log went backwards. `None`: it is only said.
    pub folder: Option<PathBuf>,
}

impl NotaryConfig {
    /// Signs every second, and every hour in any case.
    #[must_use]
    pub fn new(deployment: &str, key: NotaryKey, holder: String) -> Self {
        Self {
            deployment: deployment.to_owned(),
            trusted: TrustedKeys::only(key.public()),
            key,
            holder,
            every: Duration::from_secs(1),
            silence: Duration::from_secs(3600),
            folder: None,
        }
    }
}

/// What a notary needs.
#[derive(Clone)]
pub struct NotaryParts {
    /// To read CONTROL.
    pub log: Arc<dyn Log>,
    /// For the lease.
    pub leases: Arc<dyn Leases>,
    /// To store checkpoints.
    pub checkpoints: Arc<dyn Checkpoints>,
    /// For clients that want a checkpoint at once; `None`: they cannot ask.
    pub nats: Option<async_nats::Client>,
}

/// Why a notary has stopped for good.
#[derive(Debug, Clone, thiserror::Error)]
pub enum NotaryError {
    /// The log differs from what was signed.
    #[error(transparent)]
    Mismatch(#[from] Mismatch),
    /// An existing checkpoint is not signed by a trusted key.
    #[error("the newest checkpoint of {tree} does not count: {reason}")]
    Checkpoint {
        /// Name of the tree.
        tree: String,
        /// What is wrong with it.
        reason: CheckpointError,
    },
    /// An existing checkpoint is malformed.
    #[error("the newest checkpoint of {tree} cannot be read")]
    Unreadable { tree: String },
    /// CONTROL, from which nothing is ever removed, has a gap.
    #[error("CONTROL has {found} where {expected} should be: events were removed")]
    Hole {
        /// The missing sequence.
        expected: StreamSeq,
        /// The next existing sequence.
        found: StreamSeq,
    },
    /// Part of the notary panicked.
    #[error("the notary crashed: {0}")]
    Crashed(String),
}

/// State of a notary.
#[derive(Debug, Clone)]
pub enum NotaryStatus {
    /// Another notary holds the lease.
    Standby,
    /// It reads CONTROL from the beginning.
    Reading,
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
    /// Starts a notary, and returns at once.
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

    /// The state and its changes.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<NotaryStatus> {
        self.status.clone()
    }

    /// Releases the lease and ends.
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

/// Why reading or signing was interrupted. A [`NotaryError`] ends the notary; the others are
/// temporary.
enum Interrupted {
    Fatal(NotaryError),
    /// Another notary has signed too: everything is read again under a new lease.
    Overtaken,
    /// CONTROL does not hold what was read of it: it is read again, and compared with what is signed.
    WentBackwards(WentBackwards),
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
