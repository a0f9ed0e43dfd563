//! Limit keys: whether they are paused and what was set for them, and the commands that change it.

use sha2::{Digest, Sha256};

use crate::event::{ControlEvent, LimitPaused, LimitResumed, LimitSet};
use crate::id::{Environment, LimitKey};
use crate::limit::LimitBounds;
use crate::time::Timestamp;

use super::decide::{Deciding, Decision};
use super::pause::{Pause, Stated};
use super::queues::{check_bounds, may_write};
use super::{Team, TeamRefusal};

/// Limit of keys of a team that are paused or set, in both environments: every worker keeps all of
/// them in memory.
pub const MAX_RULED_LIMITS: usize = 1_000;

/// What a team has decided about a limit key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limit {
    /// The last pause, unless it was lifted; it may be over.
    pub pause: Option<Pause>,
    /// What the key allows, whatever tasks say; `None`: what they say.
    pub pin: Option<LimitBounds>,
}

impl Limit {
    /// The pause that is in force.
    #[must_use]
    pub fn paused(&self, now: Timestamp) -> Option<&Pause> {
        self.pause.as_ref().filter(|pause| !pause.is_over(now))
    }

    /// Stands for what was set, to change it only as long as it is that.
    #[must_use]
    pub fn tag(&self) -> String {
        let pin = self.pin.unwrap_or_default();
        let rate = pin.rate.map(|rate| (rate.limit, rate.per_ms, rate.burst));
        let digest = Sha256::digest(format!("{:?} {rate:?}", pin.concurrency));
        hex::encode(&digest[..8])
    }

    fn is_ruled(&self, now: Timestamp) -> bool {
        self.paused(now).is_some() || self.pin.is_some()
    }
}

/// Commands about the limit keys of a team.
#[derive(Debug, Clone)]
pub enum LimitCommand {
    /// Set what a key allows. Without any bound, tasks say it again.
    Set {
        environment: Environment,
        key: LimitKey,
        bounds: LimitBounds,
        /// Only if what was set before has one of these tags; `None`: whatever it is.
        only_if: Option<Vec<String>>,
    },
    /// Pause a key, or state its pause anew.
    Pause {
        environment: Environment,
        key: LimitKey,
        /// Why, for people.
        reason: Option<String>,
        /// When the pause ends by itself; `None`: never.
        until: Option<Timestamp>,
    },
    /// Let the tasks with a key start again.
    Resume {
        environment: Environment,
        key: LimitKey,
    },
}

impl Team {
    /// What was decided about a limit key.
    #[must_use]
    pub fn limit(&self, environment: Environment, key: &LimitKey) -> Option<&Limit> {
        self.limits.get(&(environment, key.clone()))
    }

    pub(super) fn evolve_limit(&mut self, event: &ControlEvent) {
        let (environment, key, at) = match event {
            ControlEvent::LimitSet(e) => (e.environment, &e.key, e.at),
            ControlEvent::LimitPaused(e) => (e.environment, &e.key, e.at),
            ControlEvent::LimitResumed(e) => (e.environment, &e.key, e.at),
            _ => return,
        };
        let place = (environment, key.clone());
        let known = self.limits.entry(place.clone()).or_default();
        match event {
            ControlEvent::LimitPaused(e) => {
                let pause = Pause {
                    since: at,
                    until: e.until,
                    reason: e.reason.clone(),
                    by: e.paused_by.clone(),
                    drain: false,
                };
                known.pause = Some(pause.anew(known.paused(at)));
            }
            ControlEvent::LimitSet(e) => {
                let bounds = LimitBounds {
                    concurrency: e.concurrency,
                    rate: e.rate,
                };
                known.pin = (!bounds.are_none()).then_some(bounds);
            }
            _ => known.pause = None,
        }
        if *known == Limit::default() {
            self.limits.remove(&place);
        }
    }
}

pub(super) fn decide(deciding: &Deciding<'_>, command: LimitCommand) -> Decision {
    let (team, at) = (deciding.info.id.clone(), deciding.now);
    match command {
        LimitCommand::Set {
            environment,
            key,
            bounds,
            only_if,
        } => {
            may_write(deciding, environment)?;
            check_bounds(bounds)?;
            let known = deciding.team.limit(environment, &key);
            let known = known.cloned().unwrap_or_default();
            if only_if.is_some_and(|tags| !tags.contains(&known.tag())) {
                return Err(TeamRefusal::SettingsChanged);
            }
            if known.pin.unwrap_or_default() == bounds {
                return Ok(Vec::new());
            }
            has_room(deciding, environment, &key)?;
            Ok(vec![ControlEvent::LimitSet(LimitSet {
                key,
                team,
                environment,
                concurrency: bounds.concurrency,
                rate: bounds.rate,
                at,
            })])
        }
        LimitCommand::Pause {
            environment,
            key,
            reason,
            until,
        } => {
            may_write(deciding, environment)?;
            let stated = Stated::checked(reason.as_deref(), until, at)?;
            let known = deciding.team.limit(environment, &key);
            let paused = known.and_then(|known| known.paused(at));
            if paused.is_some_and(|pause| stated.repeats(pause)) {
                return Ok(Vec::new());
            }
            has_room(deciding, environment, &key)?;
            Ok(vec![ControlEvent::LimitPaused(LimitPaused {
                key,
                team,
                environment,
                reason: stated.reason,
                until: stated.until,
                paused_by: deciding.by.to_string(),
                at,
            })])
        }
        LimitCommand::Resume { environment, key } => {
            may_write(deciding, environment)?;
            let known = deciding.team.limit(environment, &key);
            // One that is over by this clock may not be by that of a worker.
            if known.is_none_or(|known| known.pause.is_none()) {
                return Ok(Vec::new());
            }
            Ok(vec![ControlEvent::LimitResumed(LimitResumed {
                key,
                team,
                environment,
                at,
            })])
        }
    }
}

/// Whether one more key may be paused or set.
fn has_room(
    deciding: &Deciding<'_>,
    environment: Environment,
    key: &LimitKey,
) -> Result<(), TeamRefusal> {
    let now = deciding.now;
    let known = deciding.team.limit(environment, key);
    let ruled = deciding.team.limits.values();
    if known.is_none_or(|known| !known.is_ruled(now))
        && ruled.filter(|limit| limit.is_ruled(now)).count() >= MAX_RULED_LIMITS
    {
        let message = format!(
            "key: at most {MAX_RULED_LIMITS} limits of a team may be paused or set at a time"
        );
        return Err(TeamRefusal::invalid("key", message));
    }
    Ok(())
}
