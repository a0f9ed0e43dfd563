//! What holds the queues of a partition back: rules that a team has decided, and the lease without
//! which nothing is started.

use waybill_domain::time::Times;

use super::{PartitionParts, Serving};
use crate::queues::Seat;

impl PartitionParts {
    /// Whether tasks may be started now. Ask before the rules of queues are read, never after.
    pub(super) fn may_start(&self) -> bool {
        self.seat.as_ref().is_none_or(Seat::may_start)
    }
}

/// Completes when the rules of queues may have changed.
pub(super) async fn rules_changed(parts: &PartitionParts) {
    match &parts.seat {
        Some(seat) => seat.changed().await,
        None => std::future::pending().await,
    }
}

/// Completes when tasks may perhaps be started again.
pub(super) async fn may_start_soon(parts: &PartitionParts) {
    match &parts.seat {
        Some(seat) => seat.soon().await,
        None => std::future::pending().await,
    }
}

impl Serving<'_> {
    /// Takes all rules into account, before anything is started.
    pub(super) fn take_rules(&mut self, now: Times) {
        let Some(seat) = &self.parts.seat else { return };
        let changes = seat.take();
        for (place, rules) in changes.rules {
            self.dispatcher.set_rules(&place, rules, now);
        }
        for (host, rules) in changes.hosts {
            self.dispatcher.set_host_rules(host, rules);
        }
        for (team, weight) in changes.teams {
            self.dispatcher.set_team_weight(team, weight);
        }
        for (limit, rules) in changes.limits {
            self.dispatcher.set_limit_rules(limit, rules, now);
        }
        self.unsettled = Some(changes.up_to);
    }

    /// Takes the rules of queues into account, and tells once nothing is started that they forbid.
    pub(super) fn follow_rules(&mut self) {
        let Some(seat) = &self.parts.seat else { return };
        if let Some(changes) = seat.changes() {
            let now = self.parts.executor.clock.times();
            for (place, rules) in changes.rules {
                self.dispatcher.set_rules(&place, rules, now);
            }
            for (host, rules) in changes.hosts {
                self.dispatcher.set_host_rules(host, rules);
            }
            for (team, weight) in changes.teams {
                self.dispatcher.set_team_weight(team, weight);
            }
            for (limit, rules) in changes.limits {
                self.dispatcher.set_limit_rules(limit, rules, now);
            }
            self.unsettled = Some(changes.up_to);
        }
        if let Some(up_to) = self.unsettled.take_if(|_| !self.dispatcher.starts_paused()) {
            seat.settled(up_to);
        }
    }
}
