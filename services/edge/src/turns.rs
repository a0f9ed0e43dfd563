//! Work that gateways take turns at: one at a time does it, as a lease says, whenever there is some.
//!
//! A lease is only advice. A gateway that stands still may still do some of the work when another one has begun, so the work must be such that
//! two who do the same do no harm.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::time::sleep;
use waybill_log::{Lease, LeaseError, Leases};

use crate::Edge;

/// The work of one gateway, from when it gets the lease until it loses it or nothing is left to do.
pub trait Turn: Send {
    /// Does all that there is, and returns when there is none. It is cut off when the lease is lost or the gateway drains.
    fn serve(&mut self) -> impl Future<Output = ()> + Send;

    /// The last thing that is done while the lease is held.
    fn leave(self) -> impl Future<Output = ()> + Send
    where
        Self: Sized,
    {
        async {}
    }
}

/// Takes turns until the gateway drains. The name is that of the lease, and says in the log what the work is about, such as `operations`.
/// Whether there is work is asked again after each change of what the gateway knows.
pub async fn take_turns<T: Turn>(
    edge: &Edge,
    leases: &dyn Leases,
    name: &'static str,
    is_work: impl Fn() -> bool + Send,
    begin: impl Fn() -> T + Send,
) {
    let holder = edge.fence.holder().as_str().to_owned();
    let mut applied = edge.auth.applied_changes();
    let stopping = &edge.stopping;
    while !stopping.is_cancelled() {
        if !is_work() {
            tokio::select! {
                changed = applied.changed() => if changed.is_err() {
                    return;
                },
                () = stopping.cancelled() => return,
            }
            continue;
        }
        let lease = match leases.acquire(name, &holder).await {
            Ok(lease) => lease,
            Err(error) => {
                if matches!(error, LeaseError::Unavailable { .. }) {
                    tracing::warn!(%error, "the lease of {name} cannot be taken; trying again");
                }
                let pause = (leases.ttl() / 3).min(Duration::from_secs(2));
                let _ = stopping.run_until_cancelled(sleep(pause)).await;
                continue;
            }
        };
        let held = Mutex::new(lease);
        let mut turn = begin();
        // What is under way when the lease is lost is cut off; whoever holds it next looks at that again.
        let is_ours = tokio::select! {
            () = keep(leases, name, &held) => false,
            () = turn.serve() => true,
            () = stopping.cancelled() => true,
        };
        if is_ours {
            turn.leave().await;
        }
        let last = held.lock().clone();
        // An error means that it has expired, or soon will.
        let _ = leases.release(&last).await;
    }
}

/// Renews the lease; ends when it is lost.
async fn keep(leases: &dyn Leases, name: &'static str, held: &Mutex<Lease>) {
    let mut until = Instant::now() + leases.ttl();
    loop {
        sleep(leases.ttl() / 3).await;
        let asked = Instant::now();
        let last = held.lock().clone();
        match leases.renew(&last).await {
            Ok(lease) => {
                *held.lock() = lease;
                until = asked + leases.ttl();
            }
            Err(LeaseError::NotHeld { .. }) => return,
            Err(error) if Instant::now() >= until => {
                tracing::warn!(%error, "the lease of {name} has expired without a renewal; they stop until it is taken again");
                return;
            }
            Err(_) => {}
        }
    }
}
