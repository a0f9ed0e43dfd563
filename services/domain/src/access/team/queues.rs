//! Queues: whether they are paused and what limits they have, and the commands that change it.

#[cfg(test)]
mod tests;

use crate::access::name::is_plain;
use crate::access::scope::Scope;
use crate::event::{ControlEvent, QueueLimited, QueuePaused, QueueResumed};
use crate::id::{Environment, QueueName};
use crate::rate::StartRate;
use crate::task::MAX_WEIGHT;
use crate::time::Timestamp;

use super::decide::{Deciding, Decision};
use super::{Team, TeamRefusal};

/// Limit of queues of a team that are paused or have limits, in both environments: every worker
/// keeps all of them in memory.
pub const MAX_RULED_QUEUES: usize = 1_000;
/// Longest reason of a pause, in characters.
pub const MAX_REASON_CHARS: usize = 500;
/// Highest concurrency of a queue.
pub const MAX_CONCURRENCY: u32 = 1_000_000;
/// Highest limit and burst of a rate.
pub const MAX_RATE: u32 = 1_000_000;
/// Longest time that a rate counts in, in milliseconds: a day.
pub const MAX_RATE_MS: u32 = 86_400_000;

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
}

impl Pause {
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

    /// Whether it has limits or a weight.
    #[must_use]
    pub fn has_settings(&self) -> bool {
        self.concurrency.is_some() || self.rate.is_some() || self.weight.is_some()
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
    },
    /// Let the tasks of a queue start again.
    Resume {
        environment: Environment,
        queue: QueueName,
    },
    /// Replace the limits of a queue.
    Limit {
        environment: Environment,
        queue: QueueName,
        /// Most attempts at a time; `None`: no limit.
        concurrency: Option<u32>,
        /// Most starts in a time; `None`: no limit.
        rate: Option<StartRate>,
        /// How many of its tasks start in a turn; `None`: one.
        weight: Option<u8>,
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
                });
            }
            ControlEvent::QueueLimited(e) => {
                (known.concurrency, known.rate) = (e.concurrency, e.rate);
                known.weight = e.weight;
            }
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
        } => {
            may_write(deciding, environment)?;
            let reason = reason.as_deref().map(valid_reason).transpose()?.flatten();
            let until = until.map(|until| valid_until(until, at)).transpose()?;
            let known = deciding.team.queue(environment, &queue);
            let paused = known.and_then(|known| known.paused(at));
            if paused.is_some_and(|pause| pause.until == until && pause.reason == reason) {
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
        } => {
            may_write(deciding, environment)?;
            if let Some(given) = concurrency {
                within("concurrency", given, MAX_CONCURRENCY)?;
            }
            if let Some(rate) = rate {
                within("rate.limit", rate.limit, MAX_RATE)?;
                within("rate.burst", rate.burst, MAX_RATE)?;
                if !(1_000..=MAX_RATE_MS).contains(&rate.per_ms) {
                    let message = "rate.per must be between 1s and 24h";
                    return Err(TeamRefusal::invalid("rate.per", message));
                }
            }
            if let Some(given) = weight {
                within("weight", given.into(), MAX_WEIGHT.into())?;
            }
            let known = deciding.team.queue(environment, &queue);
            let now = known.map(|known| (known.concurrency, known.rate, known.weight));
            if now.unwrap_or_default() == (concurrency, rate, weight) {
                return Ok(Vec::new());
            }
            has_room(deciding, environment, &queue)?;
            Ok(vec![ControlEvent::QueueLimited(QueueLimited {
                queue,
                team,
                environment,
                concurrency,
                rate,
                weight,
                at,
            })])
        }
    }
}

fn may_write(deciding: &Deciding<'_>, environment: Environment) -> Result<(), TeamRefusal> {
    deciding.needs_scope_in(Scope::QueuesWrite, environment)
}

/// Whether one more queue may be paused or have limits.
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
            "name: at most {MAX_RULED_QUEUES} queues of a team may be paused or have limits at a time"
        );
        return Err(TeamRefusal::invalid("name", message));
    }
    Ok(())
}

/// Trims and checks a reason; an empty one counts as absent.
fn valid_reason(given: &str) -> Result<Option<String>, TeamRefusal> {
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

fn valid_until(until: Timestamp, now: Timestamp) -> Result<Timestamp, TeamRefusal> {
    if until <= now {
        let message = "until must be in the future";
        return Err(TeamRefusal::invalid("until", message));
    }
    Ok(until)
}

fn within(field: &'static str, given: u32, most: u32) -> Result<(), TeamRefusal> {
    if (1..=most).contains(&given) {
        return Ok(());
    }
    let message = format!("{field} must be between 1 and {most}, not {given}");
    Err(TeamRefusal::invalid(field, message))
}
