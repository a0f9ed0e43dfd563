//! A schedule as whoever runs it has it: what has an outcome, when to look again, and what to do.
//!
//! Pure: the runner asks which runs have a task already, decides with that, carries the steps out in
//! their order, and notes how far it has come. It may die between any two of these; another one
//! begins behind what is noted, and comes upon the tasks of the first.

use std::collections::{BTreeSet, VecDeque};

use super::aggregate::Schedule;
use super::settle::{Settled, Standing, settle};
use super::zone::Zone;
use crate::event::ScheduleSet;
use crate::recurring::RunId;
use crate::time::Timestamp;

/// Of the instants without an outcome, the first and the last so many may have a task: whoever ran the
/// schedule before has noted its progress long before so many were due, and fewer are caught up.
const MAY_BE_MADE: usize = 50_000;

/// One schedule that is run.
#[derive(Debug, Clone)]
pub struct Course {
    schedule: Schedule,
    /// The last instant that certainly has an outcome.
    settled: Timestamp,
}

/// What is to be done next. Steps are taken one after the other.
#[derive(Debug, Clone)]
pub struct Step {
    /// The version that is due.
    pub set: ScheduleSet,
    pub zone: Zone,
    pub settled: Settled,
}

impl Course {
    /// Begins to run a schedule. `reached`: what was due by then has an outcome, as its runner knew it.
    #[must_use]
    pub fn begin(schedule: Schedule, reached: Timestamp) -> Self {
        Self {
            settled: schedule.settled_by(reached),
            schedule,
        }
    }

    /// The schedule has changed. A new version may have begun before the time of this runner's clock.
    pub fn change(&mut self, schedule: Schedule) {
        if let Some(at) = schedule.replaced(self.schedule.last_version()) {
            self.settled = self.settled.min(at);
        }
        self.schedule = schedule;
    }

    /// When something is to be decided next; `None`: not before the schedule changes.
    #[must_use]
    pub fn next(&self, now: Timestamp) -> Option<Timestamp> {
        let next = self.schedule.next_due(self.settled)?;
        match self.schedule.paused(now) {
            Some(pause) if next >= pause.interval.from => pause.interval.until,
            _ => Some(next),
        }
    }

    /// Up to when all instants have outcomes: those of a pause have the pause.
    #[must_use]
    pub fn reached(&self, now: Timestamp) -> Timestamp {
        match self.next(now) {
            Some(next) if next <= now => self.settled,
            _ if !self.schedule.is_understood() => self.settled,
            _ => now,
        }
    }

    /// The runs that may have a task already.
    #[must_use]
    pub fn may_be_made(&self, now: Timestamp) -> BTreeSet<RunId> {
        let mut runs = BTreeSet::new();
        let until = self.schedule.decidable(now);
        for (set, after, until) in self.schedule.spans(self.settled, until) {
            let Ok((when, zone)) = set.times() else {
                continue;
            };
            let run = |at| RunId::due(&set.schedule, set.version, at);
            let mut last = VecDeque::new();
            for (place, due) in when.between(&zone, after, until).enumerate() {
                if place < MAY_BE_MADE {
                    runs.insert(run(due.at));
                    continue;
                }
                if last.len() == MAY_BE_MADE {
                    last.pop_front();
                }
                last.push_back(due.at);
            }
            runs.extend(last.into_iter().map(run));
        }
        runs
    }

    /// What to do about the instants that are due, in their order. `made`: the runs that have a task.
    #[must_use]
    pub fn decide(&self, now: Timestamp, made: &BTreeSet<RunId>) -> Vec<Step> {
        let mut steps = Vec::new();
        let pauses = self.schedule.pauses();
        let until = self.schedule.decidable(now);
        for (set, after, until) in self.schedule.spans(self.settled, until) {
            // Set by a newer version of the program: whoever has that decides.
            let Ok((when, zone)) = set.times() else {
                continue;
            };
            let due = when.between(&zone, after, until);
            let due = due.filter(|due| {
                made.is_empty() || !made.contains(&RunId::due(&set.schedule, set.version, due.at))
            });
            let standing = Standing {
                catch_up: set.catch_up,
                pauses: &pauses,
            };
            let settled = settle(due, &standing, now);
            steps.extend(settled.into_iter().map(|settled| Step {
                set: set.clone(),
                zone: zone.clone(),
                settled,
            }));
        }
        steps
    }

    /// A step was taken.
    pub fn taken(&mut self, step: &Step) {
        self.settled = self.settled.max(step.settled.to);
    }

    /// All steps were taken that were decided at that time.
    pub fn all_taken(&mut self, now: Timestamp) {
        if self.schedule.is_understood() {
            self.settled = self.settled.max(self.schedule.decidable(now));
        }
    }
}

#[cfg(test)]
mod tests;
