//! What a team decides about the hosts that its tasks call, as far as dispatchers must know it, and
//! how a dispatcher is asked about them.

use std::collections::HashMap;

use super::action::Compartment;
use super::rules::{Hold, HostRules};
use super::{Decision, Dispatcher};
use crate::command::HostHealth;
use crate::event::{ControlEvent, TargetDisabled, TaskEvent};
use crate::id::TaskId;
use crate::time::Times;

/// The rules of all hosts that have any, built from the events of CONTROL.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostRulesBook(HashMap<Compartment, HostRules>);

impl HostRulesBook {
    /// Applies an event; applied again, it changes nothing. Returns the host that it is about.
    pub fn apply(&mut self, event: &ControlEvent) -> Option<Compartment> {
        let (team, environment, host) = match event {
            ControlEvent::TargetHealthSet(e) => (&e.team, e.environment, &e.host),
            ControlEvent::TargetOpened(e) => (&e.team, e.environment, &e.host),
            ControlEvent::TargetClosed(e) => (&e.team, e.environment, &e.host),
            _ => return None,
        };
        let host = Compartment::of(&team.in_environment(environment), host);
        let mut rules = self.rules(host);
        match event {
            ControlEvent::TargetHealthSet(e) => rules.rule = e.rule,
            ControlEvent::TargetOpened(e) => {
                rules.held = Some(e.until.map_or(Hold::Open, Hold::Until));
            }
            ControlEvent::TargetClosed(e) => (rules.held, rules.cleared) = (None, Some(e.at)),
            _ => {}
        }
        if rules.rule.is_none() && rules.held.is_none() {
            // What failed matters to no rule.
            self.0.remove(&host);
        } else {
            self.0.insert(host, rules);
        }
        Some(host)
    }

    /// The rules of a host.
    #[must_use]
    pub fn rules(&self, host: Compartment) -> HostRules {
        self.0.get(&host).copied().unwrap_or_default()
    }

    /// The hosts that have rules, in no particular order.
    pub fn hosts(&self) -> impl Iterator<Item = Compartment> + '_ {
        self.0.keys().copied()
    }
}

impl Dispatcher {
    /// Sets when the tasks of a host are held back. It takes effect at once, but for starts that were
    /// decided before.
    pub fn set_host_rules(&mut self, host: Compartment, rules: HostRules) {
        self.hosts.set(host, rules);
    }

    /// How the host does, as far as this partition knows.
    #[must_use]
    pub fn health(&self, host: Compartment, now: Times) -> HostHealth {
        self.hosts.health(host, now)
    }

    /// Whether somebody holds the host of the task back, or nobody listens to it.
    pub(super) fn is_host_held(&self, id: TaskId) -> bool {
        let task = self.tasks.get(&id).filter(|task| !task.is_pulled());
        task.is_some_and(|task| self.hosts.is_held(task.compartment(), self.now))
    }

    /// Decides to tell that a host is disabled, if the outcome of an attempt means that.
    pub(super) fn disable_target(&mut self, event: &TaskEvent, now: Times) {
        let Some(task) = self.tasks.get(&event.id()).filter(|task| !task.is_pulled()) else {
            return;
        };
        let Some(since) = self.hosts.disables(task.compartment(), event, task.probes) else {
            return;
        };
        let (team, queue) = self.lanes.names(task.lane).clone();
        self.decided.push_back(Decision {
            event: TaskEvent::TargetDisabled(TargetDisabled {
                id: event.id(),
                since,
                at: event.at(),
            }),
            team,
            queue,
            actor: None,
            traceparent: task.traceparent.as_deref().map(Into::into),
            ticket: None,
            decided: now.elapsed,
            is_joined: false,
        });
    }
}
