//! What a team decides about the hosts that its tasks call, as far as dispatchers must know it, and
//! how a dispatcher is asked about them.

use std::collections::HashMap;

use super::Dispatcher;
use super::action::Compartment;
use crate::command::HostHealth;
use crate::event::ControlEvent;
use crate::health::HealthRule;
use crate::time::Times;

/// The rules of all hosts that have one, built from the events of CONTROL.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HealthRulesBook(HashMap<Compartment, HealthRule>);

impl HealthRulesBook {
    /// Applies an event; applied again, it changes nothing. Returns the host that it is about.
    pub fn apply(&mut self, event: &ControlEvent) -> Option<Compartment> {
        let ControlEvent::TargetHealthSet(set) = event else {
            return None;
        };
        let host = Compartment::of(&set.team.in_environment(set.environment), &set.host);
        match set.rule {
            Some(rule) => self.0.insert(host, rule),
            None => self.0.remove(&host),
        };
        Some(host)
    }

    /// The rule of a host.
    #[must_use]
    pub fn rule(&self, host: Compartment) -> Option<HealthRule> {
        self.0.get(&host).copied()
    }

    /// The hosts that have rules, in no particular order.
    pub fn hosts(&self) -> impl Iterator<Item = Compartment> + '_ {
        self.0.keys().copied()
    }
}

impl Dispatcher {
    /// Sets when the tasks of a host are held back because it fails; `None`: never. It takes effect
    /// at once, but for starts that were decided before.
    pub fn set_health_rule(&mut self, host: Compartment, rule: Option<HealthRule>) {
        self.hosts.set(host, rule);
    }

    /// How the host does, as far as this partition knows.
    #[must_use]
    pub fn health(&self, host: Compartment, now: Times) -> HostHealth {
        self.hosts.health(host, now)
    }
}
