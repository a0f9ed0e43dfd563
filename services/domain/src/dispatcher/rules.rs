//! What a team decides about the start of a queue's tasks, as far as dispatchers must know it.

use std::collections::HashMap;

use crate::event::ControlEvent;
use crate::health::HealthRule;
use crate::id::{QueueName, TeamId};
use crate::limit::{LimitBounds, LimitId};
use crate::rate::StartRate;
use crate::time::Timestamp;

/// A queue of a team in its environment.
pub type Place = (TeamId, QueueName);

/// How long nothing is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// Until it is lifted.
    Open,
    /// Until then by the owner's clock, unless it is lifted earlier.
    Until(Timestamp),
}

/// Whether somebody listens to a queue or host that has to be listened to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listening {
    /// Until then by the owner's clock, unless the lease is renewed or released.
    Until(Timestamp),
    /// Nobody does: nothing is started.
    Over,
}

impl Listening {
    /// The same at that time, by the owner's clock.
    pub(super) fn at(self, now: Timestamp) -> Self {
        match self {
            Self::Until(until) if until > now => self,
            Self::Until(_) | Self::Over => Self::Over,
        }
    }
}

/// What a team has decided about a host. By default, nothing holds its tasks back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HostRules {
    /// When its tasks are held back because it fails; `None`: never.
    pub rule: Option<HealthRule>,
    /// Whether somebody holds its tasks back.
    pub held: Option<Hold>,
    /// Failures until then count no more.
    pub cleared: Option<Timestamp>,
    /// Whether somebody listens to it; `None`: nobody has to.
    pub listening: Option<Listening>,
}

impl From<HealthRule> for HostRules {
    fn from(rule: HealthRule) -> Self {
        Self {
            rule: Some(rule),
            ..Self::default()
        }
    }
}

/// The rules of one queue. By default, nothing holds its tasks back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct QueueRules {
    /// Whether the queue is paused.
    pub paused: Option<Hold>,
    /// Most attempts at a time; `None`: no limit.
    pub concurrency: Option<u32>,
    /// Most starts in a time; `None`: no limit.
    pub rate: Option<StartRate>,
    /// How many of its tasks start in a turn of the queue; `None`: one.
    pub weight: Option<u8>,
    /// Whether somebody listens to it; `None`: nobody has to.
    pub listening: Option<Listening>,
}

/// The rules of all queues that have any, built from the events of CONTROL.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct QueueRulesBook(HashMap<Place, QueueRules>);

impl QueueRulesBook {
    /// Applies an event; applied again, it changes nothing. Returns the queue that it is about.
    pub fn apply(&mut self, event: &ControlEvent) -> Option<Place> {
        let (team, environment, queue) = match event {
            ControlEvent::QueuePaused(e) => (&e.team, e.environment, &e.queue),
            ControlEvent::QueueResumed(e) => (&e.team, e.environment, &e.queue),
            ControlEvent::QueueLimited(e) => (&e.team, e.environment, &e.queue),
            _ => return None,
        };
        let place = (team.in_environment(environment), queue.clone());
        let mut rules = self.rules(&place);
        match event {
            ControlEvent::QueuePaused(e) => {
                rules.paused = Some(e.until.map_or(Hold::Open, Hold::Until));
            }
            ControlEvent::QueueLimited(e) => {
                (rules.concurrency, rules.rate) = (e.concurrency, e.rate);
                rules.weight = e.weight;
            }
            _ => rules.paused = None,
        }
        if rules == QueueRules::default() {
            self.0.remove(&place);
        } else {
            self.0.insert(place.clone(), rules);
        }
        Some(place)
    }

    /// The rules of a queue.
    #[must_use]
    pub fn rules(&self, place: &Place) -> QueueRules {
        self.0.get(place).copied().unwrap_or_default()
    }

    /// The queues that have rules, in no particular order.
    pub fn places(&self) -> impl Iterator<Item = &Place> {
        self.0.keys()
    }
}

/// What was decided about a limit key at run time. By default, tasks say what it allows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LimitRules {
    /// Whether nothing of it is started.
    pub paused: Option<Hold>,
    /// What it allows, whatever tasks say; `None`: what they say.
    pub pin: Option<LimitBounds>,
}

/// The rules of all limit keys that have any, built from the events of CONTROL.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LimitRulesBook(HashMap<LimitId, LimitRules>);

impl LimitRulesBook {
    /// Applies an event; applied again, it changes nothing. Returns the key that it is about.
    pub fn apply(&mut self, event: &ControlEvent) -> Option<LimitId> {
        let (team, environment, key) = match event {
            ControlEvent::LimitSet(e) => (&e.team, e.environment, &e.key),
            ControlEvent::LimitPaused(e) => (&e.team, e.environment, &e.key),
            ControlEvent::LimitResumed(e) => (&e.team, e.environment, &e.key),
            _ => return None,
        };
        let limit = LimitId::of(&team.in_environment(environment), key);
        let mut rules = self.rules(limit);
        match event {
            ControlEvent::LimitSet(e) => {
                let pin = LimitBounds {
                    concurrency: e.concurrency,
                    rate: e.rate,
                };
                rules.pin = (!pin.are_none()).then_some(pin);
            }
            ControlEvent::LimitPaused(e) => {
                rules.paused = Some(e.until.map_or(Hold::Open, Hold::Until));
            }
            _ => rules.paused = None,
        }
        if rules == LimitRules::default() {
            self.0.remove(&limit);
        } else {
            self.0.insert(limit, rules);
        }
        Some(limit)
    }

    /// The rules of a key.
    #[must_use]
    pub fn rules(&self, limit: LimitId) -> LimitRules {
        self.0.get(&limit).copied().unwrap_or_default()
    }

    /// The keys that have rules, in no particular order.
    pub fn limits(&self) -> impl Iterator<Item = LimitId> + '_ {
        self.0.keys().copied()
    }
}
