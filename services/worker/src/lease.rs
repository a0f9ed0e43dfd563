//! Renews a lease in the background, and knows until when it is certainly held.
//!
//! A lease says which worker should try; what makes a stale owner harmless is the fence in the log.
//! So a lease that could not be renewed in time only pauses its holder, and one that expired
//! without being taken by another worker is simply taken again.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use waybill_log::{Lease, LeaseError, Leases};

/// Renewals per time to live, so that three may fail. With a replicated log, three quarters of a
/// lease (9 s of 12) outlast a leader election, whenever it begins.
const RENEWALS: u32 = 4;
/// Pause before a failed renewal is retried.
const RETRY_PAUSE: Duration = Duration::from_millis(250);

/// State of a lease, as this process knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseState {
    /// Held until then in any case.
    Held {
        /// End of the lease by this process's clock.
        until: Instant,
    },
    /// Another worker holds it.
    Lost,
}

/// A lease that is being renewed. Dropping it stops the renewals and lets it expire.
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
    /// Takes a free lease and keeps renewing it.
    pub async fn acquire(
        leases: Arc<dyn Leases>,
        name: &str,
        holder: &str,
    ) -> Result<Self, LeaseError> {
        let asked = Instant::now();
        let lease = leases.acquire(name, holder).await?;
        // The server's time to live began later than ours.
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

    /// Whether the lease is certainly held at this moment.
    #[must_use]
    pub fn is_held(&self) -> bool {
        matches!(*self.state.borrow(), LeaseState::Held { until } if until > Instant::now())
    }

    /// Whether another worker holds the lease. If not, it is held here or is being taken again.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        *self.state.borrow() == LeaseState::Lost
    }

    /// Waits until another worker holds the lease. Cancellation safe.
    pub async fn lost(&mut self) {
        // An error means that the renewals have ended, which happens when the lease is lost.
        let _ = self
            .state
            .wait_for(|state| *state == LeaseState::Lost)
            .await;
    }

    /// Releases the lease at once.
    pub async fn release(self) -> Result<(), LeaseError> {
        self.renewals.abort();
        let lease = self.current.borrow().clone();
        let leases = &self.leases.0;
        match leases.release(&lease).await {
            // The answer to a renewal was lost. Once the lease is taken again, it can be released.
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
            // The lease expired, or an answer was lost. If no other worker has taken it, take it
            // again.
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
                tracing::warn!(lease = %lease.name, %error, "renewing a partition's lease failed; retrying until it expires");
                pause = (ttl / RENEWALS / 2).min(RETRY_PAUSE);
            }
        }
    }
}
