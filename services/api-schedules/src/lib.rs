//! Schedules: tasks that are made by themselves, under `/v1/schedules`, with a ledger of what became of every instant.
//!
//! One file per endpoint. [`request`] is what a client sends, [`object`] what it gets, `make` how a run becomes a task, by the same way as
//! every other creation. The work itself is done in the background by one gateway at a time: [`runner`].

pub mod create;
pub mod delete;
pub mod get;
pub mod list;
pub mod make;
pub mod next;
pub mod object;
pub mod pause;
pub mod request;
pub mod runner;
pub mod runs;
pub mod set;
mod tag;
pub mod trigger;

use std::sync::Arc;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use waybill_api_tasks::TasksApi;
use waybill_domain::event::ScheduleSet;
use waybill_domain::id::{ScheduleId, TeamId};
use waybill_domain::schedule::Schedule;
use waybill_edge::error::ApiError;

/// The routes of this API.
#[must_use]
pub fn router() -> OpenApiRouter<TasksApi> {
    OpenApiRouter::new()
        .routes(routes!(create::create_schedule, list::list_schedules))
        .routes(routes!(
            get::get_schedule,
            set::set_schedule,
            delete::delete_schedule
        ))
        .routes(routes!(pause::pause_schedule))
        .routes(routes!(pause::resume_schedule))
        .routes(routes!(trigger::trigger_schedule))
        .routes(routes!(runs::list_runs))
        .routes(routes!(next::next_of_schedule))
}

/// A schedule of the team in its environment. Another team's is refused with 403, and one of the team's other environment is unknown, as
/// with tasks.
fn find(
    state: &TasksApi,
    team: &TeamId,
    id: &ScheduleId,
) -> Result<(Arc<Schedule>, ScheduleSet), ApiError> {
    let unknown = || ApiError::not_found("Schedule not found");
    let found = state.auth.directory().schedule(id).ok_or_else(unknown)?;
    let current = found.current().cloned().ok_or_else(unknown)?;
    if current.team.base() != team.base() {
        return Err(ApiError::forbidden());
    }
    if current.environment != team.environment() {
        return Err(unknown());
    }
    Ok((found, current))
}
