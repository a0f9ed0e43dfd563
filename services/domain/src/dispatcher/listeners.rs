//! Who listens to the queues and hosts of test environments, as far as dispatchers must know it.

use std::collections::{HashMap, HashSet};

use super::action::Compartment;
use super::rules::{Listening, Place};
use crate::event::{ControlEvent, ListenerOpened};
use crate::id::{Environment, ListenerId};
use crate::time::Timestamp;

/// What one listens to, and until when; `None`: the lease was released.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Listener {
    places: Vec<Place>,
    hosts: Vec<Compartment>,
    until: Option<Timestamp>,
}

impl Listener {
    fn of(event: &ListenerOpened) -> Self {
        let team = event.team.in_environment(Environment::Test);
        let places = event.queues.iter();
        let hosts = event.hosts.iter();
        Self {
            places: places.map(|queue| (team.clone(), queue.clone())).collect(),
            hosts: hosts.map(|host| Compartment::of(&team, host)).collect(),
            until: Some(event.until),
        }
    }
}

/// All listeners, built from the events of CONTROL.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListenersBook {
    listeners: HashMap<ListenerId, Listener>,
    /// Which of them listen to a queue; no queue without one.
    of_places: HashMap<Place, HashSet<ListenerId>>,
    /// The same of hosts.
    of_hosts: HashMap<Compartment, HashSet<ListenerId>>,
}

impl ListenersBook {
    /// Applies an event; applied again, it changes nothing. Returns the queues and hosts that it is
    /// about.
    pub fn apply(&mut self, event: &ControlEvent) -> Option<(Vec<Place>, Vec<Compartment>)> {
        match event {
            ControlEvent::ListenerOpened(e) => {
                let listener = Listener::of(e);
                for place in &listener.places {
                    let of = self.of_places.entry(place.clone()).or_default();
                    of.insert(e.listener.clone());
                }
                for host in &listener.hosts {
                    let of = self.of_hosts.entry(*host).or_default();
                    of.insert(e.listener.clone());
                }
                let about = (listener.places.clone(), listener.hosts.clone());
                self.listeners.insert(e.listener.clone(), listener);
                Some(about)
            }
            ControlEvent::ListenerRenewed(e) => self.lease(&e.listener, Some(e.until)),
            ControlEvent::ListenerReleased(e) => self.lease(&e.listener, None),
            ControlEvent::ListenerRemoved(e) => Some(self.remove(&e.listener)),
            _ => None,
        }
    }

    fn lease(
        &mut self,
        id: &ListenerId,
        until: Option<Timestamp>,
    ) -> Option<(Vec<Place>, Vec<Compartment>)> {
        let listener = self.listeners.get_mut(id)?;
        listener.until = until;
        Some((listener.places.clone(), listener.hosts.clone()))
    }

    fn remove(&mut self, id: &ListenerId) -> (Vec<Place>, Vec<Compartment>) {
        let Some(listener) = self.listeners.remove(id) else {
            return Default::default();
        };
        for place in &listener.places {
            leave(&mut self.of_places, place, id);
        }
        for host in &listener.hosts {
            leave(&mut self.of_hosts, host, id);
        }
        (listener.places, listener.hosts)
    }

    /// Whether somebody listens to a queue; `None`: nobody has to.
    #[must_use]
    pub fn of_place(&self, place: &Place) -> Option<Listening> {
        self.listening(self.of_places.get(place)?)
    }

    /// Whether somebody listens to a host; `None`: nobody has to.
    #[must_use]
    pub fn of_host(&self, host: Compartment) -> Option<Listening> {
        self.listening(self.of_hosts.get(&host)?)
    }

    fn listening(&self, ids: &HashSet<ListenerId>) -> Option<Listening> {
        let leases = ids
            .iter()
            .filter_map(|id| Some(self.listeners.get(id)?.until));
        // One that holds its lease is enough.
        leases.max().map(|until| match until {
            Some(until) => Listening::Until(until),
            None => Listening::Over,
        })
    }

    /// The queues that somebody has to listen to, in no particular order.
    pub fn places(&self) -> impl Iterator<Item = &Place> {
        self.of_places.keys()
    }

    /// The hosts that somebody has to listen to, in no particular order.
    pub fn hosts(&self) -> impl Iterator<Item = Compartment> + '_ {
        self.of_hosts.keys().copied()
    }
}

fn leave<K: std::hash::Hash + Eq>(
    of: &mut HashMap<K, HashSet<ListenerId>>,
    key: &K,
    id: &ListenerId,
) {
    if let Some(ids) = of.get_mut(key) {
        ids.remove(id);
        if ids.is_empty() {
            of.remove(key);
        }
    }
}
