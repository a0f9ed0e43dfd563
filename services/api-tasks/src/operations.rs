//! Operations: one thing done to many tasks, under `/v1/operations`.
//!
//! One file per endpoint: [`create`], [`preview`], [`list`], [`get`], [`steer`] (pause, resume, cancel), [`undo`], and
//! [`retry_many`], the short form for dead letters. [`filter`] is how tasks
//! are named, [`aim`] which of them an action is for, [`object`] an operation as clients see it. The work itself is done in the background
//! by one gateway at a time: [`run`] holds the lease, `slice` does the next tasks, `item` one of them.

pub mod aim;
pub mod create;
pub mod filter;
pub mod get;
mod item;
pub mod list;
pub mod object;
pub mod preview;
pub mod retry_many;
pub mod run;
mod slice;
pub mod steer;
pub mod undo;

use std::sync::Arc;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use waybill_domain::id::{OperationId, TeamId};
use waybill_domain::operation::Operation;
use waybill_edge::error::ApiError;

use crate::state::TasksApi;

/// The routes of operations.
pub(crate) fn router() -> OpenApiRouter<TasksApi> {
    OpenApiRouter::new()
        .routes(routes!(create::create_operation, list::list_operations))
        .routes(routes!(preview::preview_operation))
        .routes(routes!(get::get_operation))
        .routes(routes!(retry_many::retry_dead_letters))
        .routes(routes!(steer::pause_operation))
        .routes(routes!(steer::resume_operation))
        .routes(routes!(steer::cancel_operation))
        .routes(routes!(undo::undo_operation))
}

/// An operation of the team in its environment. Another team's is refused with 403, and one of the team's other environment is unknown, as
/// with tasks.
fn find(state: &TasksApi, team: &TeamId, id: &OperationId) -> Result<Arc<Operation>, ApiError> {
    let unknown = || ApiError::not_found("Operation not found");
    let found = state.auth.directory().operation(id).ok_or_else(unknown)?;
    let created = found.created.as_ref().ok_or_else(unknown)?;
    if created.team.base() != team.base() {
        return Err(ApiError::forbidden());
    }
    if created.environment != team.environment() {
        return Err(unknown());
    }
    Ok(found)
}
