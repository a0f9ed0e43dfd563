//! Schedules whose runs are jobs. [`wanted`] is what one says, from a request or from its present version; [`object`] what clients get.

pub mod create;
pub mod delete;
pub mod get;
pub mod history;
pub mod list;
pub mod object;
pub mod pause;
pub mod set;
pub mod trigger;
mod wanted;

use std::sync::Arc;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use waybill_api_tasks::TasksApi;
use waybill_domain::event::{ScheduleSet, ScheduledJob};
use waybill_domain::id::ScheduleId;
use waybill_domain::schedule::Schedule;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::Need;
use waybill_edge::error::ApiError;

pub(crate) fn router() -> OpenApiRouter<TasksApi> {
    OpenApiRouter::new()
        .routes(routes!(create::create_schedule, list::list_schedules))
        .routes(routes!(
            get::get_schedule,
            set::update_schedule,
            delete::delete_schedule
        ))
        .routes(routes!(pause::pause_schedule))
        .routes(routes!(pause::resume_schedule))
        .routes(routes!(trigger::trigger_schedule))
        .routes(routes!(history::schedule_history))
}

/// A schedule of this API, with its present version.
#[derive(Clone)]
pub(crate) struct Found {
    pub(crate) schedule: Arc<Schedule>,
    pub(crate) current: ScheduleSet,
    pub(crate) job: ScheduledJob,
}

impl Found {
    /// What is shown of a schedule: `None` if it is gone, was made by the native API or lies in a queue that the key is kept from.
    fn shown<N: Need>(schedule: Arc<Schedule>, caller: &Caller<N>) -> Option<Self> {
        let current = schedule.current()?.clone();
        let job = current.job.as_deref()?.clone();
        let is_theirs = current.team.base() == caller.team.base()
            && current.environment == caller.team.environment()
            && caller.may_use(&job.queue).is_ok();
        is_theirs.then_some(Self {
            schedule,
            current,
            job,
        })
    }
}

/// The schedule with that id. One that is missing, of another team or in a queue that the key is kept from is 404, all alike.
pub(crate) fn find<N: Need>(
    state: &TasksApi,
    caller: &Caller<N>,
    id: &str,
) -> Result<Found, ApiError> {
    let known = ScheduleId::parse(id).ok();
    let known = known.and_then(|id| state.auth.directory().schedule(&id));
    let found = known.and_then(|schedule| Found::shown(schedule, caller));
    found.ok_or_else(|| ApiError::not_found("Schedule not found"))
}
