//! Finding a task: 404 when it exists nowhere, 403 when it is another team's.

use waybill_domain::id::{TaskId, TeamId};
use waybill_log::StreamSeq;
use waybill_projector::Answered;
use waybill_projector::query::{Detail, TaskView};

use crate::error::ApiError;
use crate::state::AppState;

/// Reads an id of a path. What is no id names no task.
pub(crate) fn parse_id(text: &str) -> Result<TaskId, ApiError> {
    TaskId::parse(text).map_err(|_| no_such_task())
}

pub(crate) fn no_such_task() -> ApiError {
    ApiError::not_found("Task not found")
}

/// Refuses another team's task. One of the team's own other environment is not there: nothing crosses over.
pub(crate) fn own_task(owner: &TeamId, team: &TeamId) -> Result<(), ApiError> {
    if owner == team {
        Ok(())
    } else if owner.base_str() == team.base_str() {
        Err(no_such_task())
    } else {
        Err(ApiError::forbidden())
    }
}

/// The team's task, with all that is large about it, as of `min_seq` at least.
pub(crate) async fn find(
    state: &AppState,
    team: &TeamId,
    id: TaskId,
    min_seq: StreamSeq,
) -> Result<Answered<TaskView>, ApiError> {
    let found = state.queries.task(None, id, min_seq).await?;
    let mut view = found.value.ok_or_else(no_such_task)?;
    own_task(&view.row.team, team)?;
    if view.detail == Detail::Omitted {
        // It had no room in the projector's reply.
        view.detail = waybill_projector::detail::read(&*state.log, &view.row).await?;
    }
    Ok(Answered {
        value: view,
        as_of: found.as_of,
    })
}
