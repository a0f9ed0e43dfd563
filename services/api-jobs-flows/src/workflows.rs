//! Workflows: jobs of one queue that are made together, of which some run after others. [`read`] makes members of a request, [`object`] is
//! what clients get.

pub mod cancel;
pub mod create;
pub mod dependencies;
pub mod get;
pub mod jobs;
pub mod list;
pub mod object;
pub mod read;
pub mod retry;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use waybill_api_jobs::find::uuid;
use waybill_api_tasks::TasksApi;
use waybill_api_workflows::find::find as find_flow;
use waybill_domain::id::WorkflowId;
use waybill_domain::time::Timestamp;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::Need;
use waybill_edge::error::ApiError;
use waybill_projector::query::Flow;

pub(crate) fn router() -> OpenApiRouter<TasksApi> {
    OpenApiRouter::new()
        .routes(routes!(create::create_workflow, list::list_workflows))
        .routes(routes!(get::get_workflow))
        .routes(routes!(cancel::cancel_workflow))
        .routes(routes!(retry::retry_workflow))
        .routes(routes!(jobs::workflow_jobs))
        .routes(routes!(jobs::workflow_job_statuses))
        .routes(routes!(jobs::workflow_job))
        .routes(routes!(dependencies::job_dependencies))
}

/// Bits of a ULID that are not its time.
const RANDOM_BITS: u32 = 80;

/// The UUID of a workflow: the 128 bits of its id.
pub(crate) fn uuid_text(id: &WorkflowId) -> String {
    waybill_api_jobs::find::uuid_text(id.bits())
}

fn id_of(text: &str) -> Option<WorkflowId> {
    let bits = uuid(text)?;
    let at = i64::try_from(bits >> RANDOM_BITS).ok()?;
    let id = WorkflowId::new(Timestamp(at), bits & ((1 << RANDOM_BITS) - 1));
    (id.bits() == bits).then_some(id)
}

fn no_such_workflow() -> ApiError {
    ApiError::not_found("Workflow not found")
}

/// The workflow with that UUID. One that is missing, of another team or in a queue that the key is kept from is 404, all alike.
pub(crate) async fn find<N: Need>(
    state: &TasksApi,
    caller: &Caller<N>,
    text: &str,
) -> Result<(WorkflowId, Flow), ApiError> {
    let id = id_of(text).ok_or_else(no_such_workflow)?;
    let flow = find_flow(state, &caller.team, &id).await?;
    if caller.may_use(&flow.queue).is_err() {
        return Err(no_such_workflow());
    }
    Ok((id, flow))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workflow_is_found_by_the_uuid_that_it_is_shown_with() {
        let id = WorkflowId::new(Timestamp(1_800_000_000_000), u128::MAX >> 48);
        let text = uuid_text(&id);
        assert_eq!(id_of(&text), Some(id.clone()));
        assert_eq!(id_of(&text.to_uppercase()), Some(id));
        for other in ["", "flow_01", "not-a-uuid"] {
            assert_eq!(id_of(other), None, "{other}");
        }
    }
}
