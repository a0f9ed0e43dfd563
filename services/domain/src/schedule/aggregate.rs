//! A schedule as its events tell it, and the commands to it.

use crate::access::Aggregate;
use crate::access::team::TeamRefusal;
use crate::access::team::pause::valid_reason;
use crate::actor::Actor;
use crate::event::{
    ControlEvent, ScheduleDeleted, SchedulePaused, ScheduleResumed, ScheduleSet, ScheduleSettled,
};
use crate::recurring::{CatchUp, MAX_JITTER, Outcome};
use crate::schedule::settle::MAX_CAUGHT_UP;
use crate::schedule::template;
use crate::schedule::{Interval, Settled, When, Zone};
use crate::task::request::Invalid;
use crate::time::Timestamp;

/// Limit of the stored request for a task, in bytes.
pub const MAX_TASK_BYTES: usize = 65_536;
/// Limit of a name, in characters.
pub const MAX_NAME_CHARS: usize = 100;
/// The same of a schedule of the jobs API.
pub const MAX_JOB_NAME_CHARS: usize = 255;
/// Limit of the versions that are kept because instants of theirs may have no outcome yet.
const MAX_VERSIONS: usize = 16;
/// How long a version is kept after its end, in milliseconds.
const KEPT_MS: i64 = 3_600_000;
/// How much later than it was set a version may have become known to whoever runs schedules, in
/// milliseconds, with the differences between clocks. A gateway that knows less than the log of some
/// seconds ago has no lease, and runs nothing.
const KNOWN_WITHIN_MS: i64 = 600_000;

/// A schedule, built from its events.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Schedule {
    /// Its versions, the present one last. Empty until it exists.
    versions: Vec<ScheduleSet>,
    /// Its pauses, as far as the kept versions have been paused; the last one may be in force.
    pauses: Vec<Pause>,
    /// When it was deleted.
    pub deleted: Option<Timestamp>,
    /// The last instant of which is noted that it did not fire, and of which version it is; those
    /// before have outcomes too.
    settled: Option<(u32, Timestamp)>,
}

/// A pause of a schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pause {
    /// The instants that it holds.
    pub interval: Interval,
    /// Why, for people.
    pub reason: Option<String>,
    /// Who paused it.
    pub by: String,
}

/// Commands to a schedule.
#[derive(Debug, Clone)]
pub enum ScheduleCommand {
    /// Create it, or replace it by a next version. The version, who did so and when are filled in.
    Set {
        draft: Box<ScheduleSet>,
        /// Only if this is its version, 0 if it does not exist; `None`: whatever it is.
        only_if: Option<u32>,
    },
    /// Let nothing run that is due from now on, or state the pause anew.
    Pause {
        /// Why, for people.
        reason: Option<String>,
        /// When the pause ends by itself; `None`: never.
        until: Option<Timestamp>,
    },
    /// Be due again.
    Resume,
    /// Never be due again.
    Delete,
    /// Note instants that did not fire.
    Settle {
        /// The version that was due.
        version: u32,
        settled: Settled,
        /// Why their task was refused, if it was.
        refused: Option<String>,
    },
}

/// Why a command is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleRefusal {
    #[error("Schedule not found")]
    NoSuchSchedule,
    /// It has another version than the one that was to be replaced.
    #[error("The schedule has version {0} by now")]
    Changed(u32),
    #[error("A schedule can be replaced {MAX_VERSIONS} times an hour at most")]
    TooOften,
    /// The API that replaces it is not the one that made it.
    #[error("The schedule was made by another API; replace it there")]
    OtherApi,
    /// What it says of times makes no sense.
    #[error("{0}")]
    InvalidSchedule(Invalid),
    /// Another value of the request is invalid.
    #[error(transparent)]
    Invalid(TeamRefusal),
}

impl Schedule {
    /// The present version; `None` if it does not exist.
    #[must_use]
    pub fn current(&self) -> Option<&ScheduleSet> {
        self.versions.last().filter(|_| self.deleted.is_none())
    }

    /// The pause that is in force.
    #[must_use]
    pub fn paused(&self, now: Timestamp) -> Option<&Pause> {
        let last = self.pauses.last()?;
        last.interval
            .until
            .is_none_or(|until| now < until)
            .then_some(last)
    }

    /// When it was paused.
    #[must_use]
    pub fn pauses(&self) -> Vec<Interval> {
        self.pauses.iter().map(|pause| pause.interval).collect()
    }

    /// Each version with the instants that are its own: later than the first, up to the last.
    #[must_use]
    pub fn spans(
        &self,
        after: Timestamp,
        now: Timestamp,
    ) -> Vec<(&ScheduleSet, Timestamp, Timestamp)> {
        let ends = self.versions.iter().skip(1).map(|next| next.at);
        let spans = self.versions.iter().zip(ends.chain([Timestamp::MAX]));
        spans
            .map(|(version, end)| {
                // What is due at `from` is due.
                let from = version
                    .from
                    .map_or(version.at, |from| version.at.max(Timestamp(from.0 - 1)));
                let end = end.min(now).min(version.until.unwrap_or(Timestamp::MAX));
                (version, from.max(after), end)
            })
            .filter(|(_, after, end)| after < end)
            .collect()
    }

    /// The last instant that certainly has an outcome, for whoever begins to run it. `reached`: by all
    /// schedules, whatever was due by then has an outcome, as its runner knew them.
    #[must_use]
    pub fn settled_by(&self, reached: Timestamp) -> Timestamp {
        let horizon = Timestamp(reached.0.saturating_sub(KNOWN_WITHIN_MS));
        let recent = self.versions.iter().find(|version| version.at > horizon);
        let mut settled = recent.map_or(reached, |version| reached.min(version.at));
        // What was due in a pause is noted when that is over.
        for Interval { from, until } in self.pauses() {
            if until.is_none_or(|until| until > horizon) {
                settled = settled.min(Timestamp(from.0 - 1));
            }
        }
        // By a clock that is ahead, instants of a version may be noted that the next one replaced.
        let noted = self.settled.map(|(version, to)| {
            let next = self.replaced(version);
            next.map_or(to, |next| to.min(next))
        });
        settled.max(noted.unwrap_or(settled))
    }

    /// When a version was replaced.
    #[must_use]
    pub fn replaced(&self, version: u32) -> Option<Timestamp> {
        let next = self.versions.iter().find(|next| next.version > version);
        next.map(|next| next.at)
    }

    /// The number of its last version; 0 if it does not exist.
    #[must_use]
    pub fn last_version(&self) -> u32 {
        self.versions.last().map_or(0, |last| last.version)
    }

    /// Whether anything of it changed so late that whoever reached that instant may have known less.
    #[must_use]
    pub fn changed_after(&self, reached: Timestamp) -> bool {
        let horizon = Timestamp(reached.0.saturating_sub(KNOWN_WITHIN_MS));
        let versions = self.versions.iter().map(|version| version.at);
        let pauses = self
            .pauses
            .iter()
            .flat_map(|pause| [Some(pause.interval.from), pause.interval.until]);
        versions
            .chain(pauses.flatten())
            .any(|changed| changed > horizon)
    }

    /// Up to when its instants can be decided: a pause that is in force is told when it is over.
    #[must_use]
    pub fn decidable(&self, now: Timestamp) -> Timestamp {
        self.paused(now)
            .map_or(now, |pause| Timestamp(pause.interval.from.0 - 1).min(now))
    }

    /// The first instant after another one, of whichever version it is, whether paused or not.
    #[must_use]
    pub fn next_due(&self, after: Timestamp) -> Option<Timestamp> {
        let spans = self.spans(after, Timestamp::MAX).into_iter();
        let mut next = spans.filter_map(|(set, after, until)| {
            let (when, zone) = set.times().ok()?;
            let due = when.next(&zone, after)?.at;
            (due <= until).then_some(due)
        });
        next.next().filter(|_| self.deleted.is_none())
    }

    /// Whether this build understands all of its versions.
    #[must_use]
    pub fn is_understood(&self) -> bool {
        self.versions.iter().all(|set| set.times().is_ok())
    }

    fn existing(&self) -> Result<&ScheduleSet, ScheduleRefusal> {
        self.current().ok_or(ScheduleRefusal::NoSuchSchedule)
    }

    fn set(
        &self,
        draft: ScheduleSet,
        only_if: Option<u32>,
        by: &Actor,
        now: Timestamp,
    ) -> Result<Vec<ControlEvent>, ScheduleRefusal> {
        if self.deleted.is_some() {
            return Err(ScheduleRefusal::NoSuchSchedule);
        }
        let version = self.current().map_or(0, |current| current.version);
        if let Some(current) = self.current()
            && current.job.is_some() != draft.job.is_some()
        {
            return Err(ScheduleRefusal::OtherApi);
        }
        if only_if.is_some_and(|only_if| only_if != version) {
            return Err(ScheduleRefusal::Changed(version));
        }
        let mut new = draft.checked(now)?;
        (new.version, new.set_by, new.at) = (version + 1, by.to_string(), now);
        if let Some(current) = self.current()
            && is_same(current, &new)
        {
            return Ok(Vec::new());
        }
        let recent = self
            .versions
            .iter()
            .filter(|old| old.at.0 > now.0 - KEPT_MS);
        if recent.count() >= MAX_VERSIONS {
            return Err(ScheduleRefusal::TooOften);
        }
        Ok(vec![ControlEvent::ScheduleSet(Box::new(new))])
    }

    /// Forgets versions that ended long before, and their pauses.
    fn forget(&mut self, now: Timestamp) {
        let horizon = Timestamp(now.0 - KEPT_MS);
        // A version ends where the next one begins.
        let gone = self
            .versions
            .iter()
            .skip(1)
            .take_while(|next| next.at < horizon);
        let gone = gone.count();
        self.versions.drain(..gone);
        let Some(first) = self.versions.first().map(|first| first.at) else {
            return;
        };
        self.pauses
            .retain(|pause| pause.interval.until.is_none_or(|until| until >= first));
    }

    /// Ends the pause that is in force.
    fn end_pause(&mut self, at: Timestamp) {
        if let Some(last) = self.pauses.last_mut()
            && last.interval.until.is_none_or(|until| at < until)
        {
            last.interval.until = Some(at);
        }
    }
}

impl Aggregate for Schedule {
    type Command = ScheduleCommand;
    type Rules = ();
    type Refusal = ScheduleRefusal;

    fn decide(
        &self,
        command: ScheduleCommand,
        by: &Actor,
        (): &(),
        now: Timestamp,
    ) -> Result<Vec<ControlEvent>, ScheduleRefusal> {
        if let ScheduleCommand::Set { draft, only_if } = command {
            return self.set(*draft, only_if, by, now);
        }
        let known = self.existing()?;
        let (schedule, team) = (known.schedule.clone(), known.team.clone());
        let environment = known.environment;
        let event = match command {
            ScheduleCommand::Set { .. } => return Ok(Vec::new()),
            ScheduleCommand::Pause { reason, until } => {
                let reason = reason.as_deref().map(valid_reason).transpose();
                let reason = reason.map_err(ScheduleRefusal::Invalid)?.flatten();
                if until.is_some_and(|until| until <= now) {
                    let refusal = TeamRefusal::invalid("until", "until must be in the future");
                    return Err(ScheduleRefusal::Invalid(refusal));
                }
                let paused = self.paused(now);
                if paused.is_some_and(|is| is.interval.until == until && is.reason == reason) {
                    return Ok(Vec::new());
                }
                ControlEvent::SchedulePaused(SchedulePaused {
                    schedule,
                    team,
                    environment,
                    reason,
                    until,
                    paused_by: by.to_string(),
                    at: now,
                })
            }
            ScheduleCommand::Resume if self.paused(now).is_none() => return Ok(Vec::new()),
            ScheduleCommand::Resume => ControlEvent::ScheduleResumed(ScheduleResumed {
                schedule,
                team,
                environment,
                at: now,
            }),
            ScheduleCommand::Delete => ControlEvent::ScheduleDeleted(ScheduleDeleted {
                schedule,
                team,
                environment,
                at: now,
            }),
            // A run that fires is told by its task.
            ScheduleCommand::Settle { settled, .. } if settled.outcome == Outcome::Fired => {
                return Ok(Vec::new());
            }
            ScheduleCommand::Settle {
                version,
                settled,
                refused,
            } => {
                // Noted before, by whoever ran it then.
                if self
                    .settled
                    .is_some_and(|known| (version, settled.to) <= known)
                {
                    return Ok(Vec::new());
                }
                ControlEvent::ScheduleSettled(ScheduleSettled {
                    schedule,
                    team,
                    environment,
                    version,
                    outcome: settled.outcome,
                    from: settled.from.at,
                    to: settled.to,
                    count: settled.count,
                    refused,
                    at: now,
                })
            }
        };
        Ok(vec![event])
    }

    fn evolve(&mut self, event: &ControlEvent) {
        match event {
            ControlEvent::ScheduleSet(e) => {
                // Applied once more, it changes nothing.
                let is_new = self
                    .versions
                    .last()
                    .is_none_or(|last| last.version < e.version);
                if is_new {
                    self.versions.push((**e).clone());
                    self.forget(e.at);
                }
            }
            ControlEvent::SchedulePaused(e) => {
                // Applied once more, it takes its own place.
                self.pauses.retain(|pause| pause.interval.from < e.at);
                self.end_pause(e.at);
                self.pauses.push(Pause {
                    interval: Interval {
                        from: e.at,
                        until: e.until,
                    },
                    reason: e.reason.clone(),
                    by: e.paused_by.clone(),
                });
            }
            ControlEvent::ScheduleResumed(e) => self.end_pause(e.at),
            ControlEvent::ScheduleSettled(e) => {
                self.settled = self.settled.max(Some((e.version, e.to)));
            }
            ControlEvent::ScheduleDeleted(e) => self.deleted = Some(e.at),
            _ => {}
        }
    }
}

impl ScheduleSet {
    /// When it is due, and by the clocks of which zone.
    ///
    /// # Errors
    /// If this build does not understand it, though it was checked when it was set.
    pub fn times(&self) -> Result<(When, Zone), Invalid> {
        Ok((When::parse(&self.when)?, Zone::parse(&self.zone)?))
    }

    /// Checks what a client chose, and trims the name.
    fn checked(mut self, now: Timestamp) -> Result<Self, ScheduleRefusal> {
        let wrong = |field, message: String| {
            Err(ScheduleRefusal::InvalidSchedule(Invalid::new(
                field, message,
            )))
        };
        let (when, zone) = self.times().map_err(ScheduleRefusal::InvalidSchedule)?;
        let most = MAX_JITTER.as_secs();
        if u128::from(self.jitter_ms) > MAX_JITTER.as_millis() {
            return wrong("jitter", format!("jitter must be at most {most} seconds"));
        }
        if let CatchUp::All { most, within_ms } = self.catch_up {
            if !(1..=MAX_CAUGHT_UP).contains(&most) {
                let message = format!("catchUp.max must be 1 to {MAX_CAUGHT_UP}, not {most}");
                return wrong("catchUp.max", message);
            }
            if within_ms < 1 {
                return wrong(
                    "catchUp.within",
                    "catchUp.within must be more than 0".to_owned(),
                );
            }
        }
        let begin = self.from.map_or(now, |from| now.max(Timestamp(from.0 - 1)));
        let first = when.next(&zone, begin);
        if first.is_none_or(|first| self.until.is_some_and(|until| first.at > until)) {
            let message = "when: no instant is left at which it would be due".to_owned();
            return wrong("when", message);
        }
        if self.task.len() > MAX_TASK_BYTES {
            let given = self.task.len();
            let message = format!("task must have at most {MAX_TASK_BYTES} bytes, not {given}");
            return wrong("task", message);
        }
        // The payload of a job is its client's, places or not.
        if self.job.is_none() {
            template::check(&self.task).map_err(ScheduleRefusal::InvalidSchedule)?;
        }
        self.name = self.name.take().map(|name| name.trim().to_owned());
        self.name = self.name.take().filter(|name| !name.is_empty());
        let chars = self.name.as_deref().map_or(0, |name| name.chars().count());
        let most = match self.job {
            Some(_) => MAX_JOB_NAME_CHARS,
            None => MAX_NAME_CHARS,
        };
        if chars > most {
            let message = format!("name must be at most {most} characters, not {chars}");
            return wrong("name", message);
        }
        Ok(self)
    }
}

/// Whether both say the same. Versions, times and people do not matter.
fn is_same(a: &ScheduleSet, b: &ScheduleSet) -> bool {
    let said = |of: &ScheduleSet| ScheduleSet {
        version: 0,
        zones: String::new(),
        set_by: String::new(),
        at: Timestamp(0),
        ..of.clone()
    };
    said(a) == said(b)
}

#[cfg(test)]
mod tests;
