//! Targets: when the tasks of a host are held back because it fails, and the command that sets it.

#[cfg(test)]
mod tests;

use crate::access::scope::Scope;
use crate::event::{ControlEvent, TargetHealthSet};
use crate::health::{HealthRule, MAX_IN_A_ROW, MAX_PAUSE_MS, MIN_PAUSE_MS, TargetHost, WINDOW};
use crate::id::Environment;

use super::decide::{Deciding, Decision};
use super::queues::within;
use super::{Team, TeamRefusal};

/// Limit of hosts of a team that have a rule, in both environments: every worker keeps all of them
/// in memory.
pub const MAX_RULED_HOSTS: usize = 1_000;

/// Commands about the hosts that a team's tasks call.
#[derive(Debug, Clone)]
pub enum TargetCommand {
    /// Replace the rule of a host.
    SetHealth {
        environment: Environment,
        host: TargetHost,
        /// `None`: nothing is held back.
        rule: Option<HealthRule>,
    },
}

impl Team {
    /// The rule of a host.
    #[must_use]
    pub fn health_rule(&self, environment: Environment, host: &TargetHost) -> Option<HealthRule> {
        self.targets.get(&(environment, host.clone())).copied()
    }

    pub(super) fn evolve_target(&mut self, event: &ControlEvent) {
        let ControlEvent::TargetHealthSet(set) = event else {
            return;
        };
        let of = (set.environment, set.host.clone());
        match set.rule {
            Some(rule) => self.targets.insert(of, rule),
            None => self.targets.remove(&of),
        };
    }
}

pub(super) fn decide(deciding: &Deciding<'_>, command: TargetCommand) -> Decision {
    let TargetCommand::SetHealth {
        environment,
        host,
        rule,
    } = command;
    deciding.needs_scope_in(Scope::QueuesWrite, environment)?;
    if let Some(rule) = rule {
        valid(&rule)?;
    }
    let former = deciding.team.health_rule(environment, &host);
    if former == rule {
        return Ok(Vec::new());
    }
    if former.is_none() && deciding.team.targets.len() >= MAX_RULED_HOSTS {
        let message = format!("host: at most {MAX_RULED_HOSTS} hosts of a team may have a rule");
        return Err(TeamRefusal::invalid("host", message));
    }
    Ok(vec![ControlEvent::TargetHealthSet(TargetHealthSet {
        host,
        team: deciding.info.id.clone(),
        environment,
        rule,
        at: deciding.now,
    })])
}

fn valid(rule: &HealthRule) -> Result<(), TeamRefusal> {
    if let Some(in_a_row) = rule.in_a_row {
        within("failuresInARow", in_a_row, 1, MAX_IN_A_ROW)?;
    }
    if let Some(share) = rule.share {
        within("failureShare.percent", share.percent.into(), 1, 100)?;
        within("failureShare.of", share.of.into(), 2, WINDOW)?;
    }
    if rule.in_a_row.is_none() && rule.share.is_none() {
        let message = "failuresInARow or failureShare is required beside a pause";
        return Err(TeamRefusal::invalid("failuresInARow", message));
    }
    for (field, length) in [("pause", rule.pause_ms), ("maxPause", rule.max_pause_ms)] {
        if !(MIN_PAUSE_MS..=MAX_PAUSE_MS).contains(&length) {
            let message = format!("{field} must be between 1s and 24h");
            return Err(TeamRefusal::invalid(field, message));
        }
    }
    if rule.max_pause_ms < rule.pause_ms {
        let message = "maxPause must not be shorter than pause";
        return Err(TeamRefusal::invalid("maxPause", message));
    }
    Ok(())
}
