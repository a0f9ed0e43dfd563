//! The rules of all queues, limit keys, hosts and teams, built from the events of CONTROL.

use waybill_domain::access::plan::Catalogue;
use waybill_domain::dispatcher::{
    Compartment, HostRules, HostRulesBook, LimitRulesBook, ListenersBook, Place, QueueRules,
    QueueRulesBook, TeamTurn, TeamWeightsBook,
};
use waybill_domain::event::ControlEvent;
use waybill_domain::limit::LimitId;

/// The rules of queues, of limit keys, and of hosts, and the weights of teams.
#[derive(Default)]
pub(super) struct Books {
    queues: QueueRulesBook,
    hosts: HostRulesBook,
    /// Who listens to which queues and hosts.
    listeners: ListenersBook,
    pub(super) limits: LimitRulesBook,
    pub(super) teams: TeamWeightsBook,
}

/// What an event is about.
pub(super) enum About {
    Queue(Place),
    Limit(LimitId),
    Host(Compartment),
    Team([TeamTurn; 2]),
    /// What a listener listens to.
    Listened(Vec<Place>, Vec<Compartment>),
}

impl Books {
    /// Applies an event. Returns what it is about; `None`: nothing of this.
    pub(super) fn apply(&mut self, event: &ControlEvent, plans: &Catalogue) -> Option<About> {
        if let Some(turns) = self.teams.apply(event, plans) {
            return Some(About::Team(turns));
        }
        if let Some((places, hosts)) = self.listeners.apply(event) {
            return Some(About::Listened(places, hosts));
        }
        let queue = self.queues.apply(event).map(About::Queue);
        let limit = || self.limits.apply(event).map(About::Limit);
        let host = || self.hosts.apply(event).map(About::Host);
        queue.or_else(limit).or_else(host)
    }

    /// The rules of a queue.
    pub(super) fn queue(&self, place: &Place) -> QueueRules {
        QueueRules {
            listening: self.listeners.of_place(place),
            ..self.queues.rules(place)
        }
    }

    /// The rules of a host.
    pub(super) fn host(&self, host: Compartment) -> HostRules {
        HostRules {
            listening: self.listeners.of_host(host),
            ..self.hosts.rules(host)
        }
    }

    /// The queues that have rules, some of them twice.
    pub(super) fn places(&self) -> impl Iterator<Item = &Place> {
        self.queues.places().chain(self.listeners.places())
    }

    /// The hosts that have rules, some of them twice.
    pub(super) fn hosts(&self) -> impl Iterator<Item = Compartment> + '_ {
        self.hosts.hosts().chain(self.listeners.hosts())
    }
}
