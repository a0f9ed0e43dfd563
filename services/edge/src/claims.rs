//! Claims of pulled tasks, as all APIs for workers have them: what a worker is given, and what it reports.

use serde_json::value::RawValue;
use waybill_domain::access::plan::Plan;
use waybill_domain::command::ClaimedTask;
use waybill_domain::event::{Answer, BodyEncoding, TaskCreated, TaskEvent};
use waybill_domain::workflow::places;
use waybill_log::{Stream, TaskRecord, task_record};

use crate::error::ApiError;
use crate::state::Edge;

/// The request of a claimed task with the results that it takes over: as its owner had it at hand, else from the log.
///
/// # Errors
/// If the log cannot be read, or does not have it.
pub async fn request_of(state: &Edge, task: &ClaimedTask) -> Result<TaskCreated, ApiError> {
    let created = creation(state, task).await?;
    places::fill_in(created, &task.given).map_err(|why| ApiError::internal(&why))
}

async fn creation(state: &Edge, task: &ClaimedTask) -> Result<TaskCreated, ApiError> {
    let carried = task.creation.as_ref().and_then(|encoded| {
        TaskEvent::decode("task.created.v1", &encoded.0)
            .ok()?
            .into_request()
    });
    if let Some(created) = carried {
        return Ok(created);
    }
    let record = state.log.read(Stream::Tasks, task.stored).await?;
    let event = record.and_then(|record| match task_record(&record) {
        Ok(TaskRecord::Event(event)) => Some(event),
        Ok(TaskRecord::Owned(..)) | Err(_) => None,
    });
    let created = event.and_then(TaskEvent::into_request);
    created.ok_or_else(|| ApiError::internal(&"the request of a claimed task is not in the log"))
}

/// What a worker completed a task with, as the answer of a target would be.
///
/// # Errors
/// If it is larger than the plan stores.
pub fn as_answer(result: Option<Box<RawValue>>, plan: &Plan) -> Result<Answer, ApiError> {
    let body = result.map(|json| json.get().to_owned());
    let body = body.unwrap_or_default();
    let most = usize::try_from(plan.max_answer_bytes).unwrap_or(usize::MAX);
    if body.len() > most {
        return Err(ApiError::too_large(most));
    }
    let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
    Ok(Answer {
        status: 200,
        headers: if body.is_empty() { Vec::new() } else { headers },
        body_bytes: body.len() as u64,
        body,
        encoding: BodyEncoding::Text,
        duration_ms: 0,
        header_bytes: None,
    })
}
