//! `POST /v1/operations`: begin an operation.

use std::collections::{BTreeMap, BTreeSet};

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Deserialize;
use utoipa::ToSchema;
use waybill_commands::entropy;
use waybill_domain::event::{Boundary, BulkAction, OperationCreated};
use waybill_domain::id::{OperationId, TaskId};
use waybill_domain::operation::{
    MAX_NAMED, MAX_OPEN, Operation, OperationCommand, default_rate, max_matched,
};
use waybill_log::Stream;

use super::aim::Aim;
use super::filter::OperationFilter;
use crate::change::wanted_priority;
use crate::create::REPLAYED;
use crate::state::TasksApi;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::TasksWrite;
use waybill_edge::body::Json;
use waybill_edge::error::{ApiError, ErrorBody, ErrorCode};
use waybill_edge::idempotency::key as request_key;
use waybill_edge::operation::OperationEnvelope;

/// What to do, and to which tasks: `filter` or `ids`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct NewOperation {
    /// `retry` tries dead letters again, each once; `replay` does ended tasks again; `cancel` cancels open ones; `purge` cancels those that
    /// wait, and removes dead letters from the list of them; `changePriority` gives those that wait another priority.
    #[schema(required = true, value_type = NewAction)]
    action: Option<NewAction>,
    /// Which tasks, as of now.
    filter: Option<OperationFilter>,
    /// Instead: the tasks themselves, up to 1,000.
    #[schema(max_items = 1000)]
    ids: Option<Vec<String>>,
    /// Most tasks a second; without it 100, and 1,000 for `purge`.
    #[schema(minimum = 1, maximum = 1000)]
    rate: Option<u32>,
    /// Why, for people: up to 500 characters.
    reason: Option<String>,
    /// The priority that `changePriority` gives; required with it, and only there.
    #[schema(minimum = 1, maximum = 10)]
    priority: Option<i64>,
}

/// What an operation can be created for.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum NewAction {
    /// Try dead letters again, each once.
    Retry,
    /// Do ended tasks again.
    Replay,
    /// Cancel open tasks.
    Cancel,
    /// Cancel tasks that wait, and remove dead letters from the list of them.
    Purge,
    /// Give tasks that wait another priority.
    #[serde(rename = "changePriority")]
    ChangePriority,
}

impl NewOperation {
    /// The same for one action.
    pub(crate) fn to(
        action: NewAction,
        filter: Option<OperationFilter>,
        ids: Option<Vec<String>>,
        rate: Option<u32>,
        reason: Option<String>,
    ) -> Self {
        Self {
            action: Some(action),
            filter,
            ids,
            rate,
            reason,
            priority: None,
        }
    }

    /// The operation as of now, before its tasks are counted.
    pub(super) async fn draft(
        self,
        state: &TasksApi,
        caller: &Caller<TasksWrite>,
        id: OperationId,
    ) -> Result<OperationCreated, ApiError> {
        let action = match self.action {
            Some(NewAction::Retry) => BulkAction::Retry,
            Some(NewAction::Replay) => BulkAction::Replay,
            Some(NewAction::Cancel) => BulkAction::Cancel,
            Some(NewAction::Purge) => BulkAction::Purge,
            Some(NewAction::ChangePriority) => BulkAction::ChangePriority,
            None => {
                return Err(ApiError::bad_field(
                    "action",
                    "action is required: retry, replay, cancel, purge or changePriority",
                ));
            }
        };
        let priority = match (action, self.priority) {
            (BulkAction::ChangePriority, given) => Some(wanted_priority(given)?),
            (_, None) => None,
            (_, Some(_)) => {
                return Err(ApiError::bad_field(
                    "priority",
                    "priority is for the action changePriority; leave it out",
                ));
            }
        };
        let (filter, tasks) = match (self.filter, self.ids) {
            (Some(filter), None) => (filter.words()?, Vec::new()),
            (None, Some(ids)) => (BTreeMap::new(), named(&ids)?),
            (None, None) => {
                return Err(ApiError::bad_field(
                    "filter",
                    "filter or ids is required; the filter {} stands for every task",
                ));
            }
            (Some(_), Some(_)) => {
                return Err(ApiError::bad_field(
                    "ids",
                    "ids and filter exclude each other; give one of them",
                ));
            }
        };
        let up_to = state.log.bounds(Stream::Tasks).await?.last;
        Ok(OperationCreated {
            operation: id,
            team: caller.team.base(),
            environment: caller.team.environment(),
            action,
            filter,
            matched: tasks.len() as u64,
            tasks,
            undoes: None,
            rate: self.rate.unwrap_or(default_rate(action)),
            reason: self.reason,
            up_to,
            created_by: caller.actor().to_string(),
            at: entropy::now(),
            priority,
        })
    }
}

/// Each task once, in the order given.
fn named(ids: &[String]) -> Result<Vec<TaskId>, ApiError> {
    if !(1..=MAX_NAMED).contains(&ids.len()) {
        let message = format!("ids must have 1 to {MAX_NAMED} entries, not {}", ids.len());
        return Err(ApiError::bad_field("ids", message));
    }
    let mut seen = BTreeSet::new();
    let mut named = Vec::new();
    for (place, text) in ids.iter().enumerate() {
        let id = TaskId::parse(text).map_err(|_| {
            let field = format!("ids[{place}]");
            ApiError::bad_field(field.clone(), format!("{field} must be the id of a task"))
        })?;
        if seen.insert(id) {
            named.push(id);
        }
    }
    Ok(named)
}

/// Begin an operation.
///
/// It is on disk with the answer, and is done in the background, by any gateway: another one goes on if that one dies. It is for the tasks
/// that match now, at most 100,000, or 1,000,000 to purge; tasks that are accepted later are left alone. Each task is looked at again when its turn comes, and one
/// that does not match any more is left alone too. `POST /v1/operations/preview` counts them first.
///
/// With an `Idempotency-Key`, repeating the request answers with the same operation. Without one, a repeated `retry` makes nothing twice
/// either.
#[utoipa::path(
    post,
    path = "/v1/operations",
    operation_id = "tasks.operation.create",
    tag = "operations",
    security(("api_key" = ["tasks:write"])),
    params(("Idempotency-Key" = Option<String>, Header, description = "1 to 255 printable ASCII characters")),
    request_body = NewOperation,
    responses(
        (status = 201, description = "The operation is on disk", body = OperationEnvelope, headers(("Idempotency-Replayed" = bool, description = "`true` when an earlier request with the same `Idempotency-Key` had this answer"))),
        (status = 409, description = "20 operations of the team are not over (`too_many_operations`)", body = ErrorBody),
        (status = 422, description = "The Idempotency-Key belongs to another request", body = ErrorBody),
    )
)]
pub(crate) async fn create_operation(
    State(state): State<TasksApi>,
    caller: Caller<TasksWrite>,
    headers: HeaderMap,
    Json(request): Json<NewOperation>,
) -> Result<Response, ApiError> {
    create(&state, &caller, &headers, request).await
}

/// Counts the tasks of an operation and begins it.
pub(crate) async fn create(
    state: &TasksApi,
    caller: &Caller<TasksWrite>,
    headers: &HeaderMap,
    request: NewOperation,
) -> Result<Response, ApiError> {
    let draft = drafted(state, caller, headers, request).await?;
    count_and_begin(state, caller, draft).await
}

/// The operation of a request, with the id that the client's key stands for.
pub(super) async fn drafted(
    state: &TasksApi,
    caller: &Caller<TasksWrite>,
    headers: &HeaderMap,
    request: NewOperation,
) -> Result<OperationCreated, ApiError> {
    caller.needs_api()?;
    let id = match request_key(headers)? {
        // A client may send the same key to both environments.
        Some(key) => OperationId::of_text(&format!("{} {key}", caller.team)),
        None => OperationId::new(entropy::now(), entropy::random_u128()),
    };
    request.draft(state, caller, id).await
}

/// Begins an operation, and counts its tasks before unless it is known already.
pub(super) async fn count_and_begin(
    state: &TasksApi,
    caller: &Caller<TasksWrite>,
    mut draft: OperationCreated,
) -> Result<Response, ApiError> {
    let known = state.auth.directory().operation(&draft.operation);
    if known.is_none() && draft.tasks.is_empty() {
        let aim = Aim::of(&draft)?;
        has_room(state, caller)?;
        let most = max_matched(draft.action);
        draft.matched = aim.count(state, &caller.team, most).await?;
    }
    begin(state, caller, draft).await
}

/// Stores an operation, or finds the one that was stored by the same request.
pub(super) async fn begin(
    state: &TasksApi,
    caller: &Caller<TasksWrite>,
    draft: OperationCreated,
) -> Result<Response, ApiError> {
    if state.auth.directory().operation(&draft.operation).is_none() {
        has_room(state, caller)?;
    }
    let boundary = Boundary::Operation(draft.operation.clone());
    let command = OperationCommand::Create(Box::new(draft));
    let by = caller.by();
    let run = state.control.run::<Operation>(&boundary, command, &(), &by);
    let after = run.await?;
    state.settle(after.version).await?;
    let envelope = OperationEnvelope::new(&after.state)
        .ok_or_else(|| ApiError::internal(&"an operation without its creation"))?;
    let mut response = (StatusCode::CREATED, axum::Json(envelope)).into_response();
    if !after.changed {
        let headers = response.headers_mut();
        headers.insert(REPLAYED, HeaderValue::from_static("true"));
    }
    Ok(response)
}

/// Whether the team may have one more operation, as far as this gateway knows.
fn has_room(state: &TasksApi, caller: &Caller<TasksWrite>) -> Result<(), ApiError> {
    let known = state.auth.directory().operations_of(&caller.team);
    let open = known.iter().filter(|operation| !operation.is_over());
    if open.count() < MAX_OPEN {
        return Ok(());
    }
    Err(ApiError::conflict(
        ErrorCode::TooManyOperations,
        format!(
            "{MAX_OPEN} operations of the team are not over; wait for one of them, or cancel it"
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_bounded_read_and_taken_once() {
        let id = "task_01kc0q2v9x3d8e5h7j9m1n3p5r0d".to_owned();
        assert_eq!(
            named(&[id.clone(), id.clone()]).map(|ids| ids.len()).ok(),
            Some(1)
        );
        let field = |ids: &[String]| {
            let error = named(ids).expect_err("refused");
            error.body.field.map(String::from)
        };
        assert_eq!(field(&[]).as_deref(), Some("ids"));
        assert_eq!(field(&vec![id.clone(); 1_001]).as_deref(), Some("ids"));
        assert_eq!(field(&[id, "task_x".into()]).as_deref(), Some("ids[1]"));
    }
}
