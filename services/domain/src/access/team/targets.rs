//! Targets: when the tasks of a host are held back because it fails, and the command that sets it.

#[cfg(test)]
mod tests;

use crate::event::{ControlEvent, TargetClosed, TargetHealthSet, TargetOpened};
use crate::health::{
    HealthRule, MAX_DISABLE_MS, MAX_IN_A_ROW, MAX_PAUSE_MS, MIN_DISABLE_MS, MIN_PAUSE_MS,
    TargetHost, WINDOW,
};
use crate::id::Environment;
use crate::time::Timestamp;

use super::decide::{Deciding, Decision};
use super::pause::{Pause, Stated};
use super::queues::{may_write, within};
use super::{Team, TeamRefusal};

/// Limit of hosts of a team that have a rule or were opened, in both environments: every worker keeps
/// all of them in memory.
pub const MAX_RULED_HOSTS: usize = 1_000;

/// What a team has decided about a host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Target {
    /// When its tasks are held back because it fails; `None`: never.
    pub rule: Option<HealthRule>,
    /// Why nothing is started there, if somebody has opened it; that may be over.
    pub open: Option<Pause>,
}

impl Target {
    /// What holds its tasks back, if somebody does.
    #[must_use]
    pub fn opened(&self, now: Timestamp) -> Option<&Pause> {
        self.open.as_ref().filter(|open| !open.is_over(now))
    }
}

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
    /// Start nothing at a host, or state that anew.
    Open {
        environment: Environment,
        host: TargetHost,
        /// Why, for people.
        reason: Option<String>,
        /// When it ends by itself; `None`: never.
        until: Option<Timestamp>,
    },
    /// Let its tasks start again, and let what failed until now count no more.
    Close {
        environment: Environment,
        host: TargetHost,
    },
}

impl Team {
    /// What was decided about a host.
    #[must_use]
    pub fn target(&self, environment: Environment, host: &TargetHost) -> Option<&Target> {
        self.targets.get(&(environment, host.clone()))
    }

    pub(super) fn evolve_target(&mut self, event: &ControlEvent) {
        let (environment, host, at) = match event {
            ControlEvent::TargetHealthSet(e) => (e.environment, &e.host, e.at),
            ControlEvent::TargetOpened(e) => (e.environment, &e.host, e.at),
            ControlEvent::TargetClosed(e) => (e.environment, &e.host, e.at),
            _ => return,
        };
        let of = (environment, host.clone());
        let known = self.targets.entry(of.clone()).or_default();
        match event {
            ControlEvent::TargetHealthSet(e) => known.rule = e.rule,
            ControlEvent::TargetOpened(e) => {
                let open = Pause {
                    since: at,
                    until: e.until,
                    reason: e.reason.clone(),
                    by: e.opened_by.clone(),
                    drain: false,
                };
                known.open = Some(open.anew(known.opened(at)));
            }
            _ => known.open = None,
        }
        if *known == Target::default() {
            self.targets.remove(&of);
        }
    }
}

pub(super) fn decide(deciding: &Deciding<'_>, command: TargetCommand) -> Decision {
    let (team, at) = (deciding.info.id.clone(), deciding.now);
    match command {
        TargetCommand::SetHealth {
            environment,
            host,
            rule,
        } => {
            may_write(deciding, environment)?;
            if let Some(rule) = rule {
                valid(&rule)?;
            }
            let known = deciding.team.target(environment, &host);
            if known.and_then(|known| known.rule) == rule {
                return Ok(Vec::new());
            }
            has_room(deciding, environment, &host)?;
            Ok(vec![ControlEvent::TargetHealthSet(TargetHealthSet {
                host,
                team,
                environment,
                rule,
                at,
            })])
        }
        TargetCommand::Open {
            environment,
            host,
            reason,
            until,
        } => {
            may_write(deciding, environment)?;
            let stated = Stated::checked(reason.as_deref(), until, at)?;
            let known = deciding.team.target(environment, &host);
            let open = known.and_then(|known| known.opened(at));
            if open.is_some_and(|open| stated.repeats(open)) {
                return Ok(Vec::new());
            }
            has_room(deciding, environment, &host)?;
            Ok(vec![ControlEvent::TargetOpened(TargetOpened {
                host,
                team,
                environment,
                reason: stated.reason,
                until: stated.until,
                opened_by: deciding.by.to_string(),
                at,
            })])
        }
        TargetCommand::Close { environment, host } => {
            may_write(deciding, environment)?;
            // Without a rule and unless it was opened, it is closed.
            if deciding.team.target(environment, &host).is_none() {
                return Ok(Vec::new());
            }
            Ok(vec![ControlEvent::TargetClosed(TargetClosed {
                host,
                team,
                environment,
                at,
            })])
        }
    }
}

/// Whether one more host may have a rule or be opened.
fn has_room(
    deciding: &Deciding<'_>,
    environment: Environment,
    host: &TargetHost,
) -> Result<(), TeamRefusal> {
    let team = deciding.team;
    let is_ruled = |target: &Target| target.rule.is_some() || target.opened(deciding.now).is_some();
    if !team.target(environment, host).is_some_and(is_ruled)
        && team.targets.values().filter(|of| is_ruled(of)).count() >= MAX_RULED_HOSTS
    {
        let message =
            format!("host: at most {MAX_RULED_HOSTS} hosts of a team may have a rule or be opened");
        return Err(TeamRefusal::invalid("host", message));
    }
    Ok(())
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
    let bounds = MIN_DISABLE_MS..=MAX_DISABLE_MS;
    if rule
        .disable_after_ms
        .is_some_and(|length| !bounds.contains(&length))
    {
        let message = "disableAfter must be between 1h and 30d";
        return Err(TeamRefusal::invalid("disableAfter", message));
    }
    Ok(())
}
