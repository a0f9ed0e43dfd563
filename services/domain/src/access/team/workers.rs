//! Workers that pull: whether somebody drains them, and the commands that change it.
//!
//! A worker exists by claiming; a drain is about its name, and outlives its process, every restart
//! and every deployment.

#[cfg(test)]
mod tests;

use crate::event::{ControlEvent, WorkerDrained, WorkerResumed};
use crate::id::Environment;
use crate::time::Timestamp;
use crate::worker::WorkerName;

use super::decide::{Deciding, Decision};
use super::pause::{Pause, Stated};
use super::queues::may_write;
use super::{Team, TeamRefusal};

/// Limit of workers of a team that drain at a time, in both environments: every gateway keeps all of
/// them in memory.
pub const MAX_DRAINING: usize = 1_000;

/// Commands about the workers of a team.
#[derive(Debug, Clone)]
pub enum WorkerCommand {
    /// Give a worker no further task, or state its drain anew.
    Drain {
        environment: Environment,
        worker: WorkerName,
        /// Why, for people.
        reason: Option<String>,
        /// When the drain ends by itself; `None`: never.
        until: Option<Timestamp>,
    },
    /// Give it tasks again.
    Resume {
        environment: Environment,
        worker: WorkerName,
    },
}

impl Team {
    /// The drain of a worker that is in force.
    #[must_use]
    pub fn drain(
        &self,
        environment: Environment,
        worker: &WorkerName,
        now: Timestamp,
    ) -> Option<&Pause> {
        // Asked for every claim, and nearly always nobody drains anything.
        if self.draining.is_empty() {
            return None;
        }
        let drain = self.draining.get(&(environment, worker.clone()))?;
        (!drain.is_over(now)).then_some(drain)
    }

    pub(super) fn evolve_worker(&mut self, event: &ControlEvent) {
        match event {
            ControlEvent::WorkerDrained(e) => {
                // Those that have ended by themselves are forgotten, so that names of workers that
                // are drained once and never again do not add up.
                self.draining.retain(|_, drain| !drain.is_over(e.at));
                let drain = Pause {
                    since: e.at,
                    until: e.until,
                    reason: e.reason.clone(),
                    by: e.drained_by.clone(),
                    drain: true,
                };
                let drain = drain.anew(self.drain(e.environment, &e.worker, e.at));
                self.draining
                    .insert((e.environment, e.worker.clone()), drain);
            }
            ControlEvent::WorkerResumed(e) => {
                self.draining.remove(&(e.environment, e.worker.clone()));
            }
            _ => {}
        }
    }
}

pub(super) fn decide(deciding: &Deciding<'_>, command: WorkerCommand) -> Decision {
    let (team, at) = (deciding.info.id.clone(), deciding.now);
    match command {
        WorkerCommand::Drain {
            environment,
            worker,
            reason,
            until,
        } => {
            may_write(deciding, environment)?;
            let stated = Stated::checked(reason.as_deref(), until, at)?;
            let known = deciding.team.drain(environment, &worker, at);
            if known.is_some_and(|known| stated.repeats(known)) {
                return Ok(Vec::new());
            }
            let others = deciding.team.draining.values();
            let others = others.filter(|drain| !drain.is_over(at)).count();
            if known.is_none() && others >= MAX_DRAINING {
                let message =
                    format!("name: at most {MAX_DRAINING} workers of a team may drain at a time");
                return Err(TeamRefusal::invalid("name", message));
            }
            Ok(vec![ControlEvent::WorkerDrained(WorkerDrained {
                worker,
                team,
                environment,
                reason: stated.reason,
                until: stated.until,
                drained_by: deciding.by.to_string(),
                at,
            })])
        }
        WorkerCommand::Resume {
            environment,
            worker,
        } => {
            may_write(deciding, environment)?;
            // One that is over by this clock may not be by that of another gateway.
            let place = (environment, worker);
            if !deciding.team.draining.contains_key(&place) {
                return Ok(Vec::new());
            }
            let (environment, worker) = place;
            Ok(vec![ControlEvent::WorkerResumed(WorkerResumed {
                worker,
                team,
                environment,
                at,
            })])
        }
    }
}
