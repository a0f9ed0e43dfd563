//! Queues: whether they are paused and what limits they have, and the commands that change it.

#[cfg(test)]
mod tests;

use sha2::{Digest, Sha256};

use crate::access::name::is_plain;
use crate::access::scope::Scope;
use crate::event::{ControlEvent, QueueDefaultsChanged, QueueLimited, QueuePaused, QueueResumed};
use crate::id::{Environment, QueueName};
use crate::limit::{LimitBounds, MAX_CONCURRENCY, MAX_RATE, MAX_RATE_MS};
use crate::rate::StartRate;
use crate::task::{MAX_WEIGHT, QueueDefaults};
use crate::time::Timestamp;

use super::decide::{Deciding, Decision};
use super::{Team, TeamRefusal};

/// Limit of queues of a team that are paused or have settings, in both environments: every worker
/// and gateway keeps all of them in memory.
pub const MAX_RULED_QUEUES: usize = 1_000;
/// Longest reason of a pause, in characters.
pub const MAX_REASON_CHARS: usize = 500;

/// What a team has decided about one of its queues.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Queue {
    /// The last pause, unless it was lifted; it may be over.
    pub pause: Option<Pause>,
    /// Most attempts at a time; `None`: no limit.
    pub concurrency: Option<u32>,
    /// Most starts in a time; `None`: no limit.
    pub rate: Option<StartRate>,
    /// How many of its tasks start in a turn; `None`: one.
    pub weight: Option<u8>,
    /// What creations mean where they leave something open.
    pub defaults: QueueDefaults,
}

/// A pause of a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pause {
    /// Since when nothing is started.
    pub since: Timestamp,
    /// When it ends by itself; `None`: never.
    pub until: Option<Timestamp>,
    /// Why, for people.
    pub reason: Option<String>,
    /// Who stated it last, in the text form of actors.
    pub by: String,
    /// Whether somebody waits for the attempts that run to end.
    pub drain: bool,
}

impl Pause {
    fn is_stated_as(&self, reason: Option<&str>, until: Option<Timestamp>, drain: bool) -> bool {
        self.reason.as_deref() == reason && self.until == until && self.drain == drain
    }

    /// Whether the time of the pause is over.
    #[must_use]
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.until.is_some_and(|until| until <= now)
    }
}

impl Queue {
    /// The pause that is in force.
    #[must_use]
    pub fn paused(&self, now: Timestamp) -> Option<&Pause> {
        self.pause.as_ref().filter(|pause| !pause.is_over(now))
    }

    /// Whether somebody waits for the attempts that run to end.
    #[must_use]
    pub fn drains(&self, now: Timestamp) -> bool {
        self.paused(now).is_some_and(|pause| pause.drain)
    }

    /// Whether anything but a pause was decided about it.
    #[must_use]
    pub fn has_settings(&self) -> bool {
        self.concurrency.is_some()
            || self.rate.is_some()
            || self.weight.is_some()
            || !self.defaults.is_empty()
    }

    /// Stands for the settings of a queue, which a `PUT` replaces: it differs if they do. A queue that is
    /// not known has the same tag as one without settings.
    #[must_use]
    pub fn tag(queue: Option<&Self>) -> String {
        let none = Self::default();
        let queue = queue.unwrap_or(&none);
        let settings = (queue.concurrency, queue.rate, &queue.defaults, queue.weight);
        // Serialising plain values to memory cannot fail.
        let settings = rmp_serde::to_vec_named(&settings).unwrap_or_default();
        hex::encode(&Sha256::digest(settings)[..8])
    }

    fn is_ruled(&self, now: Timestamp) -> bool {
        self.paused(now).is_some() || self.has_settings()
    }
}

/// Commands about the queues of a team.
#[derive(Debug, Clone)]
pub enum QueueCommand {
    /// Pause a queue, or state its pause anew.
    Pause {
        environment: Environment,
        queue: QueueName,
        /// Why, for people.
        reason: Option<String>,
        /// When the pause ends by itself; `None`: never.
        until: Option<Timestamp>,
        /// Whether somebody waits for the attempts that run to end.
        drain: bool,
    },
    /// Let the tasks of a queue start again.
    Resume {
        environment: Environment,
        queue: QueueName,
    },
    /// Replace the limits and the defaults of a queue.
    Limit {
        environment: Environment,
        queue: QueueName,
        /// Most attempts at a time; `None`: no limit.
        concurrency: Option<u32>,
        /// Most starts in a time; `None`: no limit.
        rate: Option<StartRate>,
        /// How many of its tasks start in a turn; `None`: one.
        weight: Option<u8>,
        /// What creations mean where they leave something open.
        defaults: Box<QueueDefaults>,
        /// Only if the settings have one of these tags ([`Queue::tag`]); `None`: whatever they are.
        only_if: Option<Vec<String>>,
    },
}

impl Team {
    /// What was decided about a queue.
    #[must_use]
    pub fn queue(&self, environment: Environment, name: &QueueName) -> Option<&Queue> {
        self.queues.get(&(environment, name.clone()))
    }

    pub(super) fn evolve_queue(&mut self, event: &ControlEvent) {
        let (environment, queue, at) = match event {
            ControlEvent::QueuePaused(e) => (e.environment, &e.queue, e.at),
            ControlEvent::QueueResumed(e) => (e.environment, &e.queue, e.at),
            ControlEvent::QueueLimited(e) => (e.environment, &e.queue, e.at),
            ControlEvent::QueueDefaultsChanged(e) => (e.environment, &e.queue, e.at),
            _ => return,
        };
        let place = (environment, queue.clone());
        let known = self.queues.entry(place.clone()).or_default();
        match event {
            ControlEvent::QueuePaused(e) => {
                let since = known.paused(at).map_or(at, |pause| pause.since);
                known.pause = Some(Pause {
                    since,
                    until: e.until,
                    reason: e.reason.clone(),
                    by: e.paused_by.clone(),
                    drain: e.drain,
                });
            }
            ControlEvent::QueueLimited(e) => {
                (known.concurrency, known.rate) = (e.concurrency, e.rate);
                known.weight = e.weight;
            }
            ControlEvent::QueueDefaultsChanged(e) => known.defaults.clone_from(&e.defaults),
            _ => known.pause = None,
        }
        if *known == Queue::default() {
            self.queues.remove(&place);
        }
    }
}

pub(super) fn decide(deciding: &Deciding<'_>, command: QueueCommand) -> Decision {
    let (team, at) = (deciding.info.id.clone(), deciding.now);
    match command {
        QueueCommand::Pause {
            environment,
            queue,
            reason,
            until,
            drain,
        } => {
            may_write(deciding, environment)?;
            let reason = reason.as_deref().map(valid_reason).transpose()?.flatten();
            let until = until.map(|until| valid_until(until, at)).transpose()?;
            let known = deciding.team.queue(environment, &queue);
            let paused = known.and_then(|known| known.paused(at));
            if paused.is_some_and(|pause| pause.is_stated_as(reason.as_deref(), until, drain)) {
                return Ok(Vec::new());
            }
            has_room(deciding, environment, &queue)?;
            Ok(vec![ControlEvent::QueuePaused(QueuePaused {
                queue,
                team,
                environment,
                reason,
                until,
                paused_by: deciding.by.to_string(),
                at,
                drain,
            })])
        }
        QueueCommand::Resume { environment, queue } => {
            may_write(deciding, environment)?;
            let known = deciding.team.queue(environment, &queue);
            // One that is over by this clock may not be by that of a worker.
            if known.is_none_or(|known| known.pause.is_none()) {
                return Ok(Vec::new());
            }
            Ok(vec![ControlEvent::QueueResumed(QueueResumed {
                queue,
                team,
                environment,
                at,
            })])
        }
        QueueCommand::Limit {
            environment,
            queue,
            concurrency,
            rate,
            weight,
            defaults,
            only_if,
        } => {
            may_write(deciding, environment)?;
            check_bounds(LimitBounds { concurrency, rate })?;
            if let Some(given) = weight {
                within("weight", given.into(), 1, MAX_WEIGHT.into())?;
            }
            let known = deciding.team.queue(environment, &queue);
            if only_if.is_some_and(|tags| !tags.contains(&Queue::tag(known))) {
                return Err(TeamRefusal::SettingsChanged);
            }
            let limits = known.map(|known| (known.concurrency, known.rate, known.weight));
            let has_limits = limits.unwrap_or_default() == (concurrency, rate, weight);
            let has_defaults = match known {
                Some(known) => known.defaults == *defaults,
                None => defaults.is_empty(),
            };
            if has_limits && has_defaults {
                return Ok(Vec::new());
            }
            has_room(deciding, environment, &queue)?;
            let limited = (!has_limits).then(|| {
                ControlEvent::QueueLimited(QueueLimited {
                    queue: queue.clone(),
                    team: team.clone(),
                    environment,
                    concurrency,
                    rate,
                    weight,
                    at,
                })
            });
            let changed = (!has_defaults).then(|| {
                ControlEvent::QueueDefaultsChanged(Box::new(QueueDefaultsChanged {
                    queue: queue.clone(),
                    team: team.clone(),
                    environment,
                    defaults: *defaults,
                    at,
                }))
            });
            Ok(limited.into_iter().chain(changed).collect())
        }
    }
}

pub(super) fn may_write(
    deciding: &Deciding<'_>,
    environment: Environment,
) -> Result<(), TeamRefusal> {
    deciding.needs_scope_in(Scope::QueuesWrite, environment)
}

/// The limits of a queue, or of a limit key.
pub(super) fn check_bounds(bounds: LimitBounds) -> Result<(), TeamRefusal> {
    if let Some(given) = bounds.concurrency {
        within("concurrency", given, 1, MAX_CONCURRENCY)?;
    }
    if let Some(rate) = bounds.rate {
        within("rate.limit", rate.limit, 1, MAX_RATE)?;
        within("rate.burst", rate.burst, 1, MAX_RATE)?;
        if !(1_000..=MAX_RATE_MS).contains(&rate.per_ms) {
            let message = "rate.per must be between 1s and 24h";
            return Err(TeamRefusal::invalid("rate.per", message));
        }
    }
    Ok(())
}

/// Whether one more queue may be paused or have settings.
fn has_room(
    deciding: &Deciding<'_>,
    environment: Environment,
    queue: &QueueName,
) -> Result<(), TeamRefusal> {
    let now = deciding.now;
    let known = deciding.team.queue(environment, queue);
    let ruled = deciding.team.queues.values();
    if known.is_none_or(|known| !known.is_ruled(now))
        && ruled.filter(|queue| queue.is_ruled(now)).count() >= MAX_RULED_QUEUES
    {
        let message = format!(
            "name: at most {MAX_RULED_QUEUES} queues of a team may be paused or have limits or defaults at a time"
        );
        return Err(TeamRefusal::invalid("name", message));
    }
    Ok(())
}

/// Trims and checks a reason; an empty one counts as absent.
pub(crate) fn valid_reason(given: &str) -> Result<Option<String>, TeamRefusal> {
    let reason = given.trim();
    let invalid = |message: String| Err(TeamRefusal::invalid("reason", message));
    let chars = reason.chars().count();
    if chars > MAX_REASON_CHARS {
        return invalid(format!(
            "reason must be at most {MAX_REASON_CHARS} characters, not {chars}"
        ));
    }
    if reason.is_empty() {
        return Ok(None);
    }
    if !is_plain(reason) {
        let message = "reason must not contain control, invisible or direction-changing characters";
        return invalid(message.into());
    }
    Ok(Some(reason.to_owned()))
}

pub(super) fn valid_until(until: Timestamp, now: Timestamp) -> Result<Timestamp, TeamRefusal> {
    if until <= now {
        let message = "until must be in the future";
        return Err(TeamRefusal::invalid("until", message));
    }
    Ok(until)
}

pub(super) fn within(
    field: &'static str,
    given: u32,
    least: u32,
    most: u32,
) -> Result<(), TeamRefusal> {
    if (least..=most).contains(&given) {
        return Ok(());
    }
    let message = format!("{field} must be between {least} and {most}, not {given}");
    Err(TeamRefusal::invalid(field, message))
}
