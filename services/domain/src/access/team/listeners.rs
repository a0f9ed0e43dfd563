//! Listeners of the test environment: who listens to queues or hosts, and the commands of those.
//!
//! A listener holds a lease, as somebody does who develops a receiver and has it running. While nobody
//! who listens to a queue or host holds a lease, its tasks wait, so that none of them fails because a
//! laptop is closed. What is listened to is remembered after the lease, until the listener is removed
//! or a new one for the same takes its place. Live tasks never wait for a listener.

#[cfg(test)]
mod tests;

use std::time::Duration;

use crate::access::scope::Scope;
use crate::event::{
    ControlEvent, ListenerOpened, ListenerReleased, ListenerRemoved, ListenerRenewed,
};
use crate::health::TargetHost;
use crate::id::{Environment, ListenerId, QueueName};
use crate::time::Timestamp;

use super::decide::{Deciding, Decision};
use super::{Team, TeamRefusal};

/// Limit of listeners of a team: every worker keeps all of them in memory.
pub const MAX_LISTENERS: usize = 100;
/// Limit of queues, and of hosts, that one listens to.
pub const MAX_LISTENED: usize = 100;
/// Shortest lease. Each renewal is an event, so it bounds how many of them there are.
pub const SHORTEST_LEASE: Duration = Duration::from_secs(10);
/// Longest lease: what nobody renews holds no longer.
pub const LONGEST_LEASE: Duration = Duration::from_secs(3_600);
/// The lease of a listener that names none.
pub const USUAL_LEASE: Duration = Duration::from_secs(60);
/// A renewal that moves the end of the lease by less changes nothing.
const LEAST_RENEWAL: Duration = Duration::from_secs(2);

/// Somebody who listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    pub queues: Vec<QueueName>,
    pub hosts: Vec<TargetHost>,
    /// End of the lease; `None`: it was released.
    pub until: Option<Timestamp>,
    /// Who opened it, in the text form of actors.
    pub by: String,
    pub since: Timestamp,
}

impl Listener {
    /// Whether it holds its lease.
    #[must_use]
    pub fn is_held(&self, now: Timestamp) -> bool {
        self.until.is_some_and(|until| until > now)
    }

    /// Whether somebody who listens to these listens to all that this one does.
    fn is_covered(&self, queues: &[QueueName], hosts: &[TargetHost]) -> bool {
        self.queues.iter().all(|queue| queues.contains(queue))
            && self.hosts.iter().all(|host| hosts.contains(host))
    }
}

/// Commands of listeners.
#[derive(Debug, Clone)]
pub enum ListenerCommand {
    /// Listen to queues and hosts.
    Open {
        listener: ListenerId,
        queues: Vec<QueueName>,
        hosts: Vec<TargetHost>,
        lease: Duration,
    },
    /// Hold the lease for so long from now on, also if it is over.
    Renew {
        listener: ListenerId,
        lease: Duration,
    },
    /// Give the lease back. Idempotent.
    Release { listener: ListenerId },
    /// Forget it. Idempotent.
    Remove { listener: ListenerId },
}

impl Team {
    pub(super) fn evolve_listener(&mut self, event: &ControlEvent) {
        match event {
            ControlEvent::ListenerOpened(e) => {
                let listener = Listener {
                    queues: e.queues.clone(),
                    hosts: e.hosts.clone(),
                    until: Some(e.until),
                    by: e.opened_by.clone(),
                    since: e.at,
                };
                self.listeners.insert(e.listener.clone(), listener);
            }
            ControlEvent::ListenerRenewed(e) => {
                if let Some(listener) = self.listeners.get_mut(&e.listener) {
                    listener.until = Some(e.until);
                }
            }
            ControlEvent::ListenerReleased(e) => {
                if let Some(listener) = self.listeners.get_mut(&e.listener) {
                    listener.until = None;
                }
            }
            ControlEvent::ListenerRemoved(e) => {
                self.listeners.remove(&e.listener);
            }
            _ => {}
        }
    }
}

pub(super) fn decide(deciding: &Deciding<'_>, command: ListenerCommand) -> Decision {
    deciding.needs_scope_in(Scope::JobsWrite, Environment::Test)?;
    let (team, at) = (deciding.info.id.clone(), deciding.now);
    let known = |listener: &ListenerId| deciding.team.listeners.get(listener);
    match command {
        ListenerCommand::Open {
            listener,
            queues,
            hosts,
            lease,
        } => open(deciding, &listener, (queues, hosts), lease),
        ListenerCommand::Renew { listener, lease } => {
            check_lease(lease)?;
            let until = at.plus(lease);
            let known = known(&listener).ok_or(TeamRefusal::NoSuchListener)?;
            let differs = |held: Timestamp| {
                held.since(until).max(until.since(held)) >= LEAST_RENEWAL || held <= at
            };
            if !known.until.is_none_or(differs) {
                return Ok(Vec::new());
            }
            Ok(vec![ControlEvent::ListenerRenewed(ListenerRenewed {
                listener,
                team,
                until,
                at,
            })])
        }
        ListenerCommand::Release { listener } => {
            let known = known(&listener).ok_or(TeamRefusal::NoSuchListener)?;
            // A lease that is over by this clock may not be by that of a worker.
            if known.until.is_none() {
                return Ok(Vec::new());
            }
            Ok(vec![ControlEvent::ListenerReleased(ListenerReleased {
                listener,
                team,
                at,
            })])
        }
        ListenerCommand::Remove { listener } => {
            if known(&listener).is_none() {
                return Ok(Vec::new());
            }
            Ok(vec![ControlEvent::ListenerRemoved(ListenerRemoved {
                listener,
                team,
                replaced_by: None,
                at,
            })])
        }
    }
}

fn open(
    deciding: &Deciding<'_>,
    listener: &ListenerId,
    (queues, hosts): (Vec<QueueName>, Vec<TargetHost>),
    lease: Duration,
) -> Decision {
    let (team, at) = (deciding.info.id.clone(), deciding.now);
    check_lease(lease)?;
    if queues.is_empty() && hosts.is_empty() {
        let message = "queues or hosts must name at least one that is listened to";
        return Err(TeamRefusal::invalid("queues", message));
    }
    for (field, count) in [("queues", queues.len()), ("hosts", hosts.len())] {
        if count > MAX_LISTENED {
            let message = format!("{field} must name at most {MAX_LISTENED}, not {count}");
            return Err(TeamRefusal::invalid(field, message));
        }
    }
    let replaced = deciding.team.listeners.iter();
    let replaced: Vec<ListenerId> = replaced
        .filter(|(_, known)| !known.is_held(at) && known.is_covered(&queues, &hosts))
        .map(|(id, _)| id.clone())
        .collect();
    if deciding.team.listeners.len() - replaced.len() >= MAX_LISTENERS {
        let message = format!(
            "queues: a team may have {MAX_LISTENERS} listeners, also such whose lease is over; remove some"
        );
        return Err(TeamRefusal::invalid("queues", message));
    }
    // First, so that what is listened to never lacks a listener in between.
    let mut events = vec![ControlEvent::ListenerOpened(ListenerOpened {
        listener: listener.clone(),
        team: team.clone(),
        queues,
        hosts,
        until: at.plus(lease),
        opened_by: deciding.by.to_string(),
        at,
    })];
    events.extend(replaced.into_iter().map(|of| {
        ControlEvent::ListenerRemoved(ListenerRemoved {
            listener: of,
            team: team.clone(),
            replaced_by: Some(listener.clone()),
            at,
        })
    }));
    Ok(events)
}

fn check_lease(lease: Duration) -> Result<(), TeamRefusal> {
    if (SHORTEST_LEASE..=LONGEST_LEASE).contains(&lease) {
        return Ok(());
    }
    let message = format!(
        "leaseSeconds must be from {} to {}, not {}",
        SHORTEST_LEASE.as_secs(),
        LONGEST_LEASE.as_secs(),
        lease.as_secs_f64()
    );
    Err(TeamRefusal::invalid("leaseSeconds", message))
}
