//! Room for requests and for their bodies: how many of them a process holds at a time, and how many of those one network.
//!
//! A single body is small, but a client may send hundreds at once and finish none; and each request is answered in a moment, until the log
//! or the read model does not answer and each waits for seconds. What is there is counted until its request is answered.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use waybill_domain::access::limit::Network;

/// One network has a quarter of the room.
const NETWORKS_AT_LEAST: usize = 4;

/// There is no room for more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoRoom {
    /// The limit of bytes of request bodies is reached.
    #[error("Too many request bodies are being received at the moment; try again later")]
    Bodies,
    /// The limit of requests that wait for their answers is reached.
    #[error("Too many requests are waiting for their answers at the moment; try again later")]
    Requests,
}

/// The room of a process for one of both.
#[derive(Debug)]
pub struct Room {
    full: NoRoom,
    most: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    of: HashMap<Network, usize>,
}

impl Room {
    /// Room for so many bytes of bodies.
    #[must_use]
    pub fn of_bodies(most: usize) -> Arc<Self> {
        Self::new(NoRoom::Bodies, most)
    }

    /// Room for so many requests.
    #[must_use]
    pub fn of_requests(most: usize) -> Arc<Self> {
        Self::new(NoRoom::Requests, most)
    }

    fn new(full: NoRoom, most: usize) -> Arc<Self> {
        Arc::new(Self {
            full,
            most,
            taken: Mutex::default(),
        })
    }

    fn take(&self, network: Network, amount: usize) -> Result<(), NoRoom> {
        let mut taken = self.taken.lock();
        let all = taken.all + amount;
        let own = taken.of.get(&network).copied().unwrap_or(0) + amount;
        if all > self.most || own > self.most / NETWORKS_AT_LEAST {
            match self.full {
                NoRoom::Bodies => metrics::counter!("waybill_http_bodies_refused_total"),
                NoRoom::Requests => metrics::counter!("waybill_http_requests_refused_total"),
            }
            .increment(1);
            return Err(self.full);
        }
        taken.all = all;
        taken.of.insert(network, own);
        Ok(())
    }

    fn give_back(&self, network: Network, amount: usize) {
        let mut taken = self.taken.lock();
        taken.all = taken.all.saturating_sub(amount);
        if let Some(own) = taken.of.get_mut(&network) {
            *own = own.saturating_sub(amount);
            if *own == 0 {
                taken.of.remove(&network);
            }
        }
    }
}

/// The room that one request has taken; given back with the last clone.
#[derive(Debug, Clone)]
pub struct Held(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    room: Arc<Room>,
    network: Network,
    amount: Mutex<usize>,
}

impl Held {
    pub fn new(room: &Arc<Room>, source: IpAddr) -> Self {
        Self(Arc::new(Inner {
            room: Arc::clone(room),
            network: Network::of(source),
            amount: Mutex::new(0),
        }))
    }

    /// Takes more room.
    pub fn grow(&self, amount: usize) -> Result<(), NoRoom> {
        self.0.room.take(self.0.network, amount)?;
        let mut held = self.0.amount.lock();
        *held += amount;
        Ok(())
    }

    /// Gives back all of it before the last clone is dropped.
    pub fn give_back(&self) {
        self.0.give_back();
    }
}

impl Inner {
    fn give_back(&self) {
        let mut held = self.amount.lock();
        let amount = std::mem::take(&mut *held);
        if amount > 0 {
            self.room.give_back(self.network, amount);
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.give_back();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_network_has_a_quarter_and_all_have_the_whole() {
        let room = Room::of_bodies(400);
        let held: Vec<Held> = (0..5_u8)
            .map(|n| Held::new(&room, [10, 0, 0, n].into()))
            .collect();
        for held in &held[..4] {
            assert_eq!(held.grow(60), Ok(()));
            assert_eq!(held.grow(41), Err(NoRoom::Bodies), "over its share");
            assert_eq!(held.grow(40), Ok(()));
        }
        assert_eq!(held[4].grow(1), Err(NoRoom::Bodies), "all is taken");
        let again = held[0].clone();
        drop(held);
        assert_eq!(again.grow(1), Err(NoRoom::Bodies), "a clone still holds it");
        drop(again);
        assert_eq!(Held::new(&room, [10, 0, 0, 1].into()).grow(100), Ok(()));
        let taken = room.taken.lock();
        assert!(taken.all == 0 && taken.of.is_empty(), "all came back");
    }

    #[test]
    fn a_request_that_waits_by_its_own_wish_gives_its_place_to_others() {
        let room = Room::of_requests(4);
        let source = [10, 0, 0, 1].into();
        let (one, two) = (Held::new(&room, source), Held::new(&room, source));
        assert_eq!(one.grow(1), Ok(()));
        let again = one.clone();
        assert_eq!(two.grow(1), Err(NoRoom::Requests));
        one.give_back();
        assert_eq!(two.grow(1), Ok(()));
        drop((one, again));
        assert_eq!(room.taken.lock().all, 1, "once");
    }
}
