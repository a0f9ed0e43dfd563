//! Places for connections: how many there are, how many of them one network may hold, and a few that are kept for probes.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use waybill_domain::access::limit::Network;

/// Connections beyond the limit that are taken for a moment, so that a load balancer's probes are answered when all places are held.
const PROBE_PLACES: usize = 8;

/// The places of a server.
pub(super) struct Places {
    ordinary: Arc<Semaphore>,
    probes: Arc<Semaphore>,
    held: Arc<Mutex<HashMap<Network, usize>>>,
    most_of_one: usize,
}

/// What a connection may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Requests of any kind.
    Any,
    /// Probes: no other place was free.
    Probe,
}

/// A place, until it is dropped.
pub(super) struct Place {
    pub(super) purpose: Purpose,
    _permit: OwnedSemaphorePermit,
}

/// A network's share of the places that it holds, until it is dropped.
pub(super) struct Share {
    held: Arc<Mutex<HashMap<Network, usize>>>,
    network: Network,
}

impl Places {
    pub(super) fn new(most: usize, most_of_one: usize) -> Self {
        Self {
            ordinary: Arc::new(Semaphore::new(most)),
            probes: Arc::new(Semaphore::new(PROBE_PLACES)),
            held: Arc::default(),
            most_of_one,
        }
    }

    /// The next free place; one for probes when there is no other. Without any, clients wait in the kernel's queue.
    pub(super) async fn next(&self) -> Option<Place> {
        // The semaphores are never closed.
        let (purpose, permit) = tokio::select! {
            biased;
            permit = Arc::clone(&self.ordinary).acquire_owned() => (Purpose::Any, permit.ok()?),
            permit = Arc::clone(&self.probes).acquire_owned() => (Purpose::Probe, permit.ok()?),
        };
        Some(Place {
            purpose,
            _permit: permit,
        })
    }

    /// Exchanges a place for probes for an ordinary one, if one has become free while the connection was waited for.
    pub(super) fn better(&self, place: Place) -> Place {
        match Arc::clone(&self.ordinary).try_acquire_owned() {
            Ok(permit) if place.purpose == Purpose::Probe => Place {
                purpose: Purpose::Any,
                _permit: permit,
            },
            _ => place,
        }
    }

    /// One more connection from there; `None` when it holds its share already.
    pub(super) fn share(&self, network: Network) -> Option<Share> {
        let mut held = self.held.lock();
        let count = held.entry(network).or_default();
        if *count >= self.most_of_one {
            return None;
        }
        *count += 1;
        Some(Share {
            held: Arc::clone(&self.held),
            network,
        })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut held = self.held.lock();
        if let Some(count) = held.get_mut(&self.network) {
            *count -= 1;
            if *count == 0 {
                held.remove(&self.network);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_network_holds_its_share_and_probes_find_room() {
        let places = Places::new(2, 1);
        let [a, b] = [1, 2].map(|n| Network::of([10, 0, 0, n].into()));
        let share = places.share(a).expect("the first");
        assert!(places.share(a).is_none());
        assert!(places.share(b).is_some());
        drop(share);
        assert!(places.share(a).is_some());
        assert!(places.held.lock().is_empty());

        let mut taken = Vec::new();
        for _ in 0..2 {
            taken.push(places.next().await.expect("open"));
        }
        let probe = places.next().await.expect("open");
        assert_eq!(probe.purpose, Purpose::Probe);
        let probe = places.better(probe);
        assert_eq!(probe.purpose, Purpose::Probe);
        taken.pop();
        assert_eq!(places.better(probe).purpose, Purpose::Any);
    }
}
