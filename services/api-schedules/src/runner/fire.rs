//! What is done about the instants of one schedule that are due.

use std::collections::BTreeSet;
use std::time::Instant;

use waybill_api_tasks::TasksApi;
use waybill_api_tasks::accept::{Accepting, count_accepted, limits_of};
use waybill_commands::{Author, CommandError};
use waybill_domain::access::team::Team;
use waybill_domain::actor::Actor;
use waybill_domain::event::{Boundary, ScheduleSet};
use waybill_domain::recurring::{Outcome, RunId, RunOf};
use waybill_domain::schedule::{Course, Schedule, ScheduleCommand, ScheduleRefusal, Settled, Step};
use waybill_domain::time::Timestamp;
use waybill_edge::error::ApiError;

use crate::make;

/// What came of it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Done {
    /// Whether all that was due has an outcome.
    pub(super) is_complete: bool,
    /// Whether there is nobody left for whom the schedule could run.
    pub(super) is_over: bool,
    pub(super) has_fired: bool,
}

/// Takes the steps that are due, in their order, up to the first one that cannot be taken now.
pub(super) async fn settle(
    state: &TasksApi,
    course: &mut Course,
    made: &BTreeSet<RunId>,
    now: Timestamp,
) -> Done {
    // What was made by somebody else is not noted either, as far as is known here.
    let mut done = Done {
        has_fired: !made.is_empty(),
        ..Done::default()
    };
    for step in course.decide(now, made) {
        let taken = match step.settled.outcome {
            Outcome::Fired => {
                done.has_fired = true;
                fire(state, &step, now).await
            }
            Outcome::Missed | Outcome::Paused => note(state, &step, None).await,
        };
        match taken {
            Ok(true) => course.taken(&step),
            Ok(false) => {
                done.is_over = true;
                return done;
            }
            Err(error) => {
                tracing::warn!(%error, schedule = %step.set.schedule, due = %step.settled.from.at, "a schedule does not get on; trying again");
                return done;
            }
        }
    }
    course.all_taken(now);
    done.is_complete = true;
    done
}

/// Makes the task of an instant; if it is refused, that is noted. Returns whether the schedule goes on.
async fn fire(state: &TasksApi, step: &Step, now: Timestamp) -> Result<bool, ApiError> {
    let start = Instant::now();
    let set = &step.set;
    let directory = state.auth.directory();
    let exists = directory.with_team(&set.team, Team::is_there) == Some(true);
    let Some(plan) = directory.plan_of(&set.team).filter(|_| exists) else {
        return Ok(false);
    };
    let team = set.team.in_environment(set.environment);
    let due = step.settled.from.at;
    let run = RunOf {
        schedule: set.schedule.clone(),
        version: set.version,
        run: RunId::due(&set.schedule, set.version, due),
        due,
        manual: false,
    };
    let key = run.run.key();
    let accepting = Accepting::of_operation(state, &team, &plan, actor(set));
    let limits = limits_of(state, &plan);
    let made = match make::check(&accepting, &limits, set, &step.zone, run) {
        Ok((checked, _)) => make::make(&accepting, &*state.log, &team, checked, key).await,
        Err(error) => Err(error),
    };
    match made {
        Ok(is_new) => {
            if is_new {
                count_accepted(1, start);
                metrics::counter!("waybill_schedule_runs_total", "outcome" => "fired").increment(1);
                let late = now.since(due).as_secs_f64() + start.elapsed().as_secs_f64();
                metrics::histogram!("waybill_schedule_late_seconds").record(late);
            }
            Ok(true)
        }
        Err(error) if may_pass(&error) => Err(error),
        Err(error) => note(state, step, Some(error.body.error.clone().into_owned())).await,
    }
}

/// Notes instants that did not fire. Returns whether the schedule goes on.
async fn note(state: &TasksApi, step: &Step, refused: Option<String>) -> Result<bool, ApiError> {
    let set = &step.set;
    let outcome = match step.settled.outcome {
        Outcome::Paused => Outcome::Paused,
        Outcome::Missed | Outcome::Fired => Outcome::Missed,
    };
    if outcome == Outcome::Missed {
        tracing::warn!(
            schedule = %set.schedule,
            team = %set.team,
            from = %step.settled.from.at,
            to = %step.settled.to,
            count = step.settled.count,
            refused = refused.as_deref(),
            "instants of a schedule are missed"
        );
    }
    let command = ScheduleCommand::Settle {
        version: set.version,
        settled: Settled {
            outcome,
            ..step.settled
        },
        refused,
    };
    let boundary = Boundary::Schedule(set.schedule.clone());
    let by = Author::from(actor(set));
    let run = state.control.run::<Schedule>(&boundary, command, &(), &by);
    match run.await {
        Ok(after) => {
            if after.changed {
                let word = match outcome {
                    Outcome::Paused => "paused",
                    Outcome::Missed | Outcome::Fired => "missed",
                };
                metrics::counter!("waybill_schedule_runs_total", "outcome" => word)
                    .increment(step.settled.count);
            }
            Ok(true)
        }
        Err(CommandError::Refused(ScheduleRefusal::NoSuchSchedule)) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// The actor that records name which a schedule causes. The schedule says whose it is.
fn actor(set: &ScheduleSet) -> Actor {
    Actor::System(set.schedule.to_string())
}

/// Whether trying again later may help: whoever answers is away, or has no room.
fn may_pass(error: &ApiError) -> bool {
    error.status.is_server_error() || error.status == http::StatusCode::TOO_MANY_REQUESTS
}
