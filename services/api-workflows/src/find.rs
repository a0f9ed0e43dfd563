//! Finding a workflow of the team.

use waybill_api_tasks::TasksApi;
use waybill_domain::id::{TeamId, WorkflowId};
use waybill_edge::error::ApiError;
use waybill_log::{Stream, StreamSeq};
use waybill_projector::query::{Flow, GetFlow, Position};

/// The workflow, at least as of the last write that this gateway acknowledged to the team. A workflow of another team, or of the team's other
/// environment, is unknown.
pub async fn find(state: &TasksApi, team: &TeamId, id: &WorkflowId) -> Result<Flow, ApiError> {
    match as_of(state, team, id, state.acknowledged.to(team)).await? {
        Some(flow) => Ok(flow),
        // Another gateway may have accepted it.
        None => find_now(state, team, id).await,
    }
}

/// The same, as of the end of the log.
pub async fn find_now(state: &TasksApi, team: &TeamId, id: &WorkflowId) -> Result<Flow, ApiError> {
    let end = state.log.bounds(Stream::Tasks).await?.last;
    let found = as_of(state, team, id, end).await?;
    found.ok_or_else(|| ApiError::not_found("Workflow not found"))
}

async fn as_of(
    state: &TasksApi,
    team: &TeamId,
    id: &WorkflowId,
    seq: StreamSeq,
) -> Result<Option<Flow>, ApiError> {
    let query = GetFlow {
        team: team.clone(),
        workflow: id.clone(),
    };
    Ok(state.queries.ask(query, Position::tasks(seq)).await?.value)
}
