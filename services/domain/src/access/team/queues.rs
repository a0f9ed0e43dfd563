//! Queues: whether they are paused and what limits they have, and the commands that change it.

pub mod configure;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use sha2::{Digest, Sha256};

use crate::access::scope::Scope;
use crate::event::{ControlEvent, QueueDefaultsChanged, QueueLimited, QueuePaused, QueueResumed};
use crate::id::{Environment, QueueName};
use crate::limit::{LimitBounds, MAX_CONCURRENCY, MAX_RATE, MAX_RATE_MS};
use crate::rate::StartRate;
use crate::task::{MAX_WEIGHT, QueueDefaults};
use crate::time::Timestamp;

use self::configure::{Configure, QueueJobs};
use super::decide::{Deciding, Decision};
use super::pause::{Pause, Stated};
use super::{Team, TeamRefusal};

/// Limit of queues of a team that are paused or have settings, in both environments: every worker
/// and gateway keeps all of them in memory.
pub const MAX_RULED_QUEUES: usize = 1_000;
/// For how long a queue may show what has ended, in seconds: an hour to a leap year.
pub const RETENTION_S: RangeInclusive<u32> = 3_600..=31_622_400;

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
    /// Seconds after its end for which lists and reads show a task; `None`: as long as the log has it.
    pub retention_s: Option<u32>,
    /// What the jobs API keeps of it.
    pub jobs: Option<QueueJobs>,
    /// When anything was decided about it last.
    pub changed_at: Option<Timestamp>,
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
            || self.retention_s.is_some()
            || !self.defaults.is_empty()
            || self.jobs.is_some()
    }

    /// Stands for the settings of a queue, which a `PUT` replaces: it differs if they do. A queue that is
    /// not known has the same tag as one without settings.
    #[must_use]
    pub fn tag(queue: Option<&Self>) -> String {
        let none = Self::default();
        let queue = queue.unwrap_or(&none);
        let settings = (queue.concurrency, queue.rate, &queue.defaults, queue.weight);
        // Serialising plain values to memory cannot fail.
        let mut settings = rmp_serde::to_vec_named(&settings).unwrap_or_default();
        // Without it the tag is that of earlier versions.
        settings.extend(queue.retention_s.into_iter().flat_map(u32::to_be_bytes));
        hex::encode(&Sha256::digest(settings)[..8])
    }

    /// Tasks that ended before that are not shown; `None`: all are that the log has.
    #[must_use]
    pub fn shows_from(&self, now: Timestamp) -> Option<Timestamp> {
        let retention = i64::from(self.retention_s?) * 1_000;
        Some(Timestamp(now.0.saturating_sub(retention)))
    }

    fn is_ruled(&self, now: Timestamp) -> bool {
        self.paused(now).is_some() || self.has_settings()
    }
}

/// Commands about the queues of a team.
#[derive(Debug, Clone)]
pub enum QueueCommand {
    /// Change what is named, for the jobs API.
    Configure(Box<Configure>),
    /// Forget everything that was decided about a queue.
    Forget {
        environment: Environment,
        queue: QueueName,
    },
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
        /// Seconds after its end for which lists and reads show a task; `None`: as long as the log has it.
        retention_s: Option<u32>,
    },
}

impl Team {
    /// What was decided about a queue.
    #[must_use]
    pub fn queue(&self, environment: Environment, name: &QueueName) -> Option<&Queue> {
        self.queues.get(&(environment, name.clone()))
    }

    /// The queues of an environment about which something was decided.
    pub fn queues_in(
        &self,
        environment: Environment,
    ) -> impl Iterator<Item = (&QueueName, &Queue)> {
        let mine = self
            .queues
            .iter()
            .filter(move |((of, _), _)| *of == environment);
        mine.map(|((_, name), queue)| (name, queue))
    }

    /// The queues that do not show all that has ended, and since when tasks must have ended to be shown.
    #[must_use]
    pub fn shows_from(
        &self,
        environment: Environment,
        now: Timestamp,
    ) -> BTreeMap<QueueName, Timestamp> {
        self.queues_in(environment)
            .filter_map(|(name, queue)| Some((name.clone(), queue.shows_from(now)?)))
            .collect()
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
                let pause = Pause {
                    since: at,
                    until: e.until,
                    reason: e.reason.clone(),
                    by: e.paused_by.clone(),
                    drain: e.drain,
                };
                known.pause = Some(pause.anew(known.paused(at)));
            }
            ControlEvent::QueueLimited(e) => {
                (known.concurrency, known.rate) = (e.concurrency, e.rate);
                (known.weight, known.retention_s) = (e.weight, e.retention_s);
            }
            ControlEvent::QueueDefaultsChanged(e) => {
                known.defaults.clone_from(&e.defaults);
                known.jobs.clone_from(&e.jobs);
            }
            _ => known.pause = None,
        }
        known.changed_at = Some(at);
        let bare = Queue {
            changed_at: known.changed_at,
            ..Queue::default()
        };
        if *known == bare {
            self.queues.remove(&place);
        }
    }
}

pub(super) fn decide(deciding: &Deciding<'_>, command: QueueCommand) -> Decision {
    let (team, at) = (deciding.info.id.clone(), deciding.now);
    match command {
        QueueCommand::Configure(wanted) => configure::decide(deciding, *wanted),
        QueueCommand::Forget { environment, queue } => {
            configure::forget(deciding, environment, &queue)
        }
        QueueCommand::Pause {
            environment,
            queue,
            reason,
            until,
            drain,
        } => {
            may_write(deciding, environment)?;
            let stated = Stated::checked(reason.as_deref(), until, at)?;
            let known = deciding.team.queue(environment, &queue);
            let paused = known.and_then(|known| known.paused(at));
            if paused.is_some_and(|pause| stated.repeats(pause) && pause.drain == drain) {
                return Ok(Vec::new());
            }
            has_room(deciding, environment, &queue)?;
            Ok(vec![ControlEvent::QueuePaused(QueuePaused {
                queue,
                team,
                environment,
                reason: stated.reason,
                until: stated.until,
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
            retention_s,
        } => {
            may_write(deciding, environment)?;
            check_bounds(LimitBounds { concurrency, rate })?;
            if let Some(given) = weight {
                within("weight", given.into(), 1, MAX_WEIGHT.into())?;
            }
            if retention_s.is_some_and(|length| !RETENTION_S.contains(&length)) {
                let message = "retention must be between 1h and 366d";
                return Err(TeamRefusal::invalid("retention", message));
            }
            let known = deciding.team.queue(environment, &queue);
            let mut defaults = defaults;
            // The native API does not know it.
            defaults.job_timeout_s = known.and_then(|known| known.defaults.job_timeout_s);
            if only_if.is_some_and(|tags| !tags.contains(&Queue::tag(known))) {
                return Err(TeamRefusal::SettingsChanged);
            }
            let limits = known.map(|of| (of.concurrency, of.rate, of.weight, of.retention_s));
            let has_limits = limits.unwrap_or_default() == (concurrency, rate, weight, retention_s);
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
                    retention_s,
                })
            });
            let changed = (!has_defaults).then(|| {
                ControlEvent::QueueDefaultsChanged(Box::new(QueueDefaultsChanged {
                    queue: queue.clone(),
                    team: team.clone(),
                    environment,
                    defaults: *defaults,
                    at,
                    // The native API does not know them.
                    jobs: known.and_then(|known| known.jobs.clone()),
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
