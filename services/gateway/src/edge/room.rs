//! Room for bodies of requests: how many bytes of them a process holds at a time, and how many of those one network.
//!
//! A single body is small, but a client may send hundreds at once and finish none. What is received is counted until its request is
//! answered.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use waybill_domain::access::limit::Network;

/// One network has a quarter of the room.
const NETWORKS_AT_LEAST: usize = 4;

/// There is no room for more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("Too many request bodies are being received at the moment; try again later")]
pub struct NoRoom;

/// The room of a process.
#[derive(Debug)]
pub struct BodyRoom {
    most: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    of: HashMap<Network, usize>,
}

impl BodyRoom {
    /// Room for so many bytes.
    #[must_use]
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            most,
            taken: Mutex::default(),
        })
    }

    fn take(&self, network: Network, bytes: usize) -> Result<(), NoRoom> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let all = taken.all + bytes;
        let own = taken.of.get(&network).copied().unwrap_or(0) + bytes;
        if all > self.most || own > self.most / NETWORKS_AT_LEAST {
            metrics::counter!("waybill_http_bodies_refused_total").increment(1);
            return Err(NoRoom);
        }
        taken.all = all;
        taken.of.insert(network, own);
        Ok(())
    }

    fn give_back(&self, network: Network, bytes: usize) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.all = taken.all.saturating_sub(bytes);
        if let Some(own) = taken.of.get_mut(&network) {
            *own = own.saturating_sub(bytes);
            if *own == 0 {
                taken.of.remove(&network);
            }
        }
    }
}

/// What one request has taken; given back with the last clone.
#[derive(Debug, Clone)]
pub struct Held(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    room: Arc<BodyRoom>,
    network: Network,
    bytes: Mutex<usize>,
}

impl Held {
    pub(crate) fn new(room: &Arc<BodyRoom>, source: IpAddr) -> Self {
        Self(Arc::new(Inner {
            room: Arc::clone(room),
            network: Network::of(source),
            bytes: Mutex::new(0),
        }))
    }

    /// Takes room for more bytes.
    pub(crate) fn grow(&self, bytes: usize) -> Result<(), NoRoom> {
        self.0.room.take(self.0.network, bytes)?;
        let mut held = self.0.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        *held += bytes;
        Ok(())
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let bytes = *self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        if bytes > 0 {
            self.room.give_back(self.network, bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_network_has_a_quarter_and_all_have_the_whole() {
        let room = BodyRoom::new(400);
        let held: Vec<Held> = (0..5_u8)
            .map(|n| Held::new(&room, [10, 0, 0, n].into()))
            .collect();
        for held in &held[..4] {
            assert_eq!(held.grow(60), Ok(()));
            assert_eq!(held.grow(41), Err(NoRoom), "over its share");
            assert_eq!(held.grow(40), Ok(()));
        }
        assert_eq!(held[4].grow(1), Err(NoRoom), "all is taken");
        let again = held[0].clone();
        drop(held);
        assert_eq!(again.grow(1), Err(NoRoom), "a clone still holds it");
        drop(again);
        assert_eq!(Held::new(&room, [10, 0, 0, 1].into()).grow(100), Ok(()));
        let taken = room.taken.lock().expect("no panic");
        assert!(taken.all == 0 && taken.of.is_empty(), "all came back");
    }
}
