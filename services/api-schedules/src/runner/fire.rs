//! What is done about an instant that is due.

use std::time::Instant;

use waybill_api_tasks::TasksApi;
use waybill_api_tasks::accept::{Accepted, Accepting, count_accepted, limits_of};
use waybill_commands::{Author, CommandError};
use waybill_domain::access::team::Team;
use waybill_domain::actor::Actor;
use waybill_domain::event::{Boundary, ScheduleSet};
use waybill_domain::id::TeamId;
use waybill_domain::partition::Partition;
use waybill_domain::recurring::{Outcome, RunId, RunOf};
use waybill_domain::schedule::{Schedule, ScheduleCommand, ScheduleRefusal, Settled, Step};
use waybill_domain::time::Timestamp;
use waybill_edge::error::ApiError;
use waybill_log::NewRecord;

use crate::make;

/// A run whose task is to be stored.
pub(super) struct Run {
    pub(super) team: TeamId,
    pub(super) partition: Partition,
    pub(super) record: NewRecord,
    due: Timestamp,
    /// When it was found to be due.
    now: Timestamp,
    start: Instant,
}

impl Run {
    /// Counts it as stored.
    pub(super) fn count(&self) {
        count_accepted(1, self.start);
        metrics::counter!("waybill_schedule_runs_total", "outcome" => "fired").increment(1);
        let late = self.now.since(self.due).as_secs_f64() + self.start.elapsed().as_secs_f64();
        metrics::histogram!("waybill_schedule_late_seconds").record(late);
    }
}

/// How a step is taken.
pub(super) enum Way {
    /// Its task is to be stored, beside others.
    Store(Box<Run>),
    /// Its instants have their outcome; tells whether the schedule goes on. Or that could not be stored.
    Taken(Result<bool, ApiError>),
}

/// Begins to take a step: notes instants that do not fire, and makes the task of one that does up to where it is to be stored. If the
/// task is refused, that is noted.
pub(super) async fn begin(state: &TasksApi, step: &Step, now: Timestamp) -> Way {
    match step.settled.outcome {
        Outcome::Fired => fire(state, step, now)
            .await
            .unwrap_or_else(|error| Way::Taken(Err(error))),
        Outcome::Missed | Outcome::Paused => Way::Taken(note(state, step, None).await),
    }
}

async fn fire(state: &TasksApi, step: &Step, now: Timestamp) -> Result<Way, ApiError> {
    let start = Instant::now();
    let set = &step.set;
    let directory = state.auth.directory();
    let exists = directory.with_team(&set.team, Team::is_there) == Some(true);
    let Some(plan) = directory.plan_of(&set.team).filter(|_| exists) else {
        return Ok(Way::Taken(Ok(false)));
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
        Ok((checked, _)) => accepting.accept(checked, Some(key)).await,
        Err(error) => Err(error),
    };
    match made {
        Ok(Accepted { created, record }) => Ok(Way::Store(Box::new(Run {
            partition: created.id.partition(),
            team,
            record,
            due,
            now,
            start,
        }))),
        Err(error) if may_pass(&error) => Err(error),
        Err(error) => {
            let refused = Some(error.body.error.clone().into_owned());
            Ok(Way::Taken(note(state, step, refused).await))
        }
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
