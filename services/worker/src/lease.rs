//! Keeps a lease alive in the background, and says until when it certainly is.
//!
//! A lease says who should try; what makes a stale owner harmless is the fence in the log. So a lease that could not be renewed
//! in time only pauses its holder, and one that ran out while nobody else wanted it is simply taken again.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use waybill_log::{Lease, LeaseError, Leases};

/// Renewals within one time to live: three may fail. With copies of the log, three quarters of a lease (9 s of 12) outlast the election
/// of a leader, whenever it begins.
const RENEWALS: u32 = 4;
/// Pause before a renewal that failed is tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(250);

/// What is known of a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseState {
    /// Ours until then, whatever happens.
    Held {
        /// Then.
        until: Instant,
    },
    /// Somebody else's.
    Lost,
}

/// A lease that is being kept alive. Dropping it stops the renewals and lets it run out.
#[derive(Debug)]
pub struct KeptLease {
    state: watch::Receiver<LeaseState>,
    current: watch::Receiver<Lease>,
    renewals: JoinHandle<()>,
    leases: KeptIn,
}

#[derive(Clone)]
struct KeptIn(Arc<dyn Leases>);

impl std::fmt::Debug for KeptIn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Leases")
    }
}

impl KeptLease {
    /// Takes a free lease and keeps it.
    pub async fn acquire(
        leases: Arc<dyn Leases>,
        name: &str,
        holder: &str,
    ) -> Result<Self, LeaseError> {
        let asked = Instant::now();
        let lease = leases.acquire(name, holder).await?;
        // The server began to count later than we did.
        let until = asked + leases.ttl();
        let (state_tx, state) = watch::channel(LeaseState::Held { until });
        let (current_tx, current) = watch::channel(lease);
        let renewals = tokio::spawn(renew(Arc::clone(&leases), current_tx, state_tx));
        Ok(Self {
            state,
            current,
            renewals,
            leases: KeptIn(leases),
        })
    }

    /// Certainly ours at this moment?
    #[must_use]
    pub fn is_held(&self) -> bool {
        matches!(*self.state.borrow(), LeaseState::Held { until } if until > Instant::now())
    }

    /// Somebody else's? If not, it is ours, or is being taken again.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        *self.state.borrow() == LeaseState::Lost
    }

    /// Waits until somebody else has it. Cancellation safe.
    pub async fn lost(&mut self) {
        // An error means that the renewals ended, which they do when the lease is lost.
        let _ = self
            .state
            .wait_for(|state| *state == LeaseState::Lost)
            .await;
    }

    /// Gives it back at once.
    pub async fn release(self) -> Result<(), LeaseError> {
        self.renewals.abort();
        let lease = self.current.borrow().clone();
        let leases = &self.leases.0;
        match leases.release(&lease).await {
            // A renewal whose answer did not reach us any more: taken again, the lease can be given back.
            Err(LeaseError::NotHeld { .. }) => {
                let lease = leases.acquire(&lease.name, &lease.holder).await?;
                leases.release(&lease).await
            }
            other => other,
        }
    }
}

impl Drop for KeptLease {
    fn drop(&mut self) {
        self.renewals.abort();
    }
}

async fn renew(
    leases: Arc<dyn Leases>,
    current: watch::Sender<Lease>,
    state: watch::Sender<LeaseState>,
) {
    let ttl = leases.ttl();
    let mut pause = ttl / RENEWALS;
    loop {
        sleep(pause).await;
        let asked = Instant::now();
        let lease = current.borrow().clone();
        let renewed = match leases.renew(&lease).await {
            // It ran out, or an answer got lost. If nobody took it meanwhile it is ours again.
            Err(LeaseError::NotHeld { .. }) => leases.acquire(&lease.name, &lease.holder).await,
            other => other,
        };
        match renewed {
            Ok(lease) => {
                current.send_replace(lease);
                state.send_replace(LeaseState::Held { until: asked + ttl });
                pause = ttl / RENEWALS;
            }
            Err(LeaseError::NotHeld { .. }) => {
                state.send_replace(LeaseState::Lost);
                return;
            }
            Err(error @ LeaseError::Unavailable { .. }) => {
                tracing::warn!(lease = %lease.name, %error, "cannot renew a lease yet");
                pause = (ttl / RENEWALS / 2).min(RETRY_PAUSE);
            }
        }
    }
}
