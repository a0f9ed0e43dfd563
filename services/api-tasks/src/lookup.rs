//! Finding a task: 404 when it exists nowhere, 403 when it is another team's.

use futures::future::BoxFuture;
use waybill_commands::entropy;
use waybill_domain::access::team::Team;
use waybill_domain::id::{TaskId, TeamId};
use waybill_domain::task::TaskRow;
use waybill_log::{Stream, StreamSeq};
use waybill_projector::query::{Detail, GetTask, Position, TaskView};

use crate::state::TasksApi;
use waybill_edge::error::ApiError;

pub(crate) fn no_such_task() -> ApiError {
    ApiError::not_found("Task not found")
}

/// Refuses another team's task with 403. A task of the team's other environment is unknown (404): environments do not see each other.
pub(crate) fn own_task(owner: &TeamId, team: &TeamId) -> Result<(), ApiError> {
    if owner == team {
        Ok(())
    } else if owner.base_str() == team.base_str() {
        Err(no_such_task())
    } else {
        Err(ApiError::forbidden())
    }
}

/// The team's task with headers, bodies and answer, at least as of the last write that this gateway acknowledged to the team.
pub async fn find(state: &TasksApi, team: &TeamId, id: TaskId) -> Result<TaskView, ApiError> {
    find_as_of(state, team, id, state.acknowledged.to(team)).await
}

/// The same, as of `min_seq` at least.
pub(crate) async fn find_as_of(
    state: &TasksApi,
    team: &TeamId,
    id: TaskId,
    min_seq: StreamSeq,
) -> Result<TaskView, ApiError> {
    let mut view = certain(state, team, id, min_seq, true).await?;
    if view.detail == Detail::Omitted {
        // It had no room in the projector's reply.
        view.detail = waybill_projector::detail::read(&*state.log, &view.row).await?;
    }
    Ok(view)
}

/// The same, as of the end of the log.
pub(crate) async fn find_as_of_now(
    state: &TasksApi,
    team: &TeamId,
    id: TaskId,
) -> Result<TaskView, ApiError> {
    let end = state.log.bounds(Stream::Tasks).await?.last;
    find_as_of(state, team, id, end).await
}

/// The team's task without headers, bodies and answer, as of `min_seq` at least.
pub async fn find_row(
    state: &TasksApi,
    team: &TeamId,
    id: TaskId,
    min_seq: StreamSeq,
) -> Result<TaskRow, ApiError> {
    Ok(certain(state, team, id, min_seq, false).await?.row)
}

/// Asks a projector, and once more as of the end of the log before the task is called absent. Another gateway may have accepted it, and the
/// projector that answered may be cut off from the leader of the log, where it took the end of its own copy for the end of the log.
/// Boxed, since the compiler copies the body of an asynchronous function into each crate that awaits it.
fn certain<'a>(
    state: &'a TasksApi,
    team: &'a TeamId,
    id: TaskId,
    min_seq: StreamSeq,
    detail: bool,
) -> BoxFuture<'a, Result<TaskView, ApiError>> {
    Box::pin(async move {
        let query = GetTask {
            id,
            team: None,
            detail,
        };
        let asked = state.queries.ask(query.clone(), Position::tasks(min_seq));
        let mut found = asked.await?.value;
        if found.is_none() {
            let end = state.log.bounds(Stream::Tasks).await?.last;
            let asked = state.queries.ask(query, Position::tasks(end));
            found = asked.await?.value;
        }
        let view = found.ok_or_else(no_such_task)?;
        own_task(&view.row.team, team)?;
        if is_hidden(state, team, &view.row) {
            return Err(no_such_task());
        }
        Ok(view)
    })
}

/// Whether the queue of a task no longer shows it.
fn is_hidden(state: &TasksApi, team: &TeamId, row: &TaskRow) -> bool {
    if row.completed_at.is_none() {
        return false;
    }
    let shows_from = |of: &Team| {
        let queue = of.queue(team.environment(), &row.queue)?;
        queue.shows_from(entropy::now())
    };
    let directory = state.auth.directory();
    let from = directory.with_team(&team.base(), shows_from).flatten();
    from.is_some_and(|from| row.is_over_since(from))
}
