//! An operation as clients see it, in the answers of all APIs that begin, read or steer one, and how it is found.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use utoipa::ToSchema;
use waybill_domain::event::{BulkAction, ItemRefused};
use waybill_domain::id::{Environment, OperationId, TeamId};
use waybill_domain::operation::{Operation, State};
use waybill_domain::task::Priority;

use crate::Edge;
use crate::error::ApiError;
use crate::iso::Iso;

/// The answer about an operation.
#[derive(Debug, Serialize, ToSchema)]
pub struct OperationEnvelope {
    operation: OperationObject,
}

/// The operations of a team.
#[derive(Debug, Serialize, ToSchema)]
pub struct OperationList {
    /// Newest first, without `ids` and `refusals`: all that are not over, and the last 100 that are.
    operations: Vec<OperationObject>,
}

/// What an operation does now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum OperationState {
    /// It takes one task after the other. At most four of a team do so at a time; further ones wait.
    Running,
    /// It takes no further task until it is resumed.
    Paused,
    /// It was cancelled. What it had done stays done.
    Cancelled,
    /// It has taken all of its tasks.
    Completed,
}

impl From<State> for OperationState {
    fn from(state: State) -> Self {
        match state {
            State::Running => Self::Running,
            State::Paused => Self::Paused,
            State::Cancelled => Self::Cancelled,
            State::Completed => Self::Completed,
        }
    }
}

/// One thing that is done to many tasks.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct OperationObject {
    #[schema(example = "op_01kc0q2v9x3d8e5h7j9m1n3p5r")]
    id: String,
    action: BulkAction,
    state: OperationState,
    /// `live` or `test`: where its tasks are.
    #[schema(value_type = Environment)]
    environment: &'static str,
    /// Its conditions, each with its values; `null` if its tasks are named by `ids`.
    filter: Option<BTreeMap<String, Vec<String>>>,
    /// The tasks that it names one by one. Absent in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Vec<String>)]
    ids: Option<Vec<String>>,
    /// The operation that it undoes.
    undoes: Option<String>,
    /// Most tasks a second.
    rate: u32,
    reason: Option<String>,
    /// How many tasks matched when it was created.
    matched: u64,
    /// Tasks to which it was done so far. Written down after each hundredth of them.
    done: u64,
    /// Tasks to which it could not be done.
    refused: u64,
    /// The first 100 of these, with reasons. Absent in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Vec<OperationRefused>)]
    refusals: Option<Vec<OperationRefused>>,
    /// Who created it, such as `user:user_01...` or `key:key_4fG7aB2x`.
    created_by: String,
    #[schema(value_type = String, format = DateTime)]
    created_at: Iso,
    /// Since when it is paused.
    #[schema(value_type = Option<String>, format = DateTime)]
    paused_at: Option<Iso>,
    paused_by: Option<String>,
    /// When it was completed or cancelled.
    #[schema(value_type = Option<String>, format = DateTime)]
    ended_at: Option<Iso>,
    cancelled_by: Option<String>,
    /// The priority that `changePriority` gives; of an `undo` of such an operation, the one that it takes back. Absent on others.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = u8)]
    priority: Option<u8>,
}

/// A task to which an operation could not be done.
#[derive(Debug, Serialize, ToSchema)]
pub struct OperationRefused {
    /// Id of the task.
    #[schema(example = "task_01kc0q2v9x3d8e5h7j9m1n3p5r0d")]
    id: String,
    /// A stable word for programs, as in errors.
    #[schema(example = "request_gone")]
    code: String,
    /// A sentence for people.
    error: String,
}

impl From<&ItemRefused> for OperationRefused {
    fn from(refused: &ItemRefused) -> Self {
        Self {
            id: refused.task.to_string(),
            code: refused.code.clone(),
            error: refused.error.clone(),
        }
    }
}

impl OperationObject {
    /// All of it; `None` for one that was never created.
    fn whole(operation: &Operation) -> Option<Self> {
        let created = operation.created.as_deref()?;
        Some(Self {
            ids: Some(created.tasks.iter().map(ToString::to_string).collect()),
            refusals: Some(operation.progress.refusals.iter().map(Into::into).collect()),
            ..Self::listed(operation)?
        })
    }

    /// As in a list.
    fn listed(operation: &Operation) -> Option<Self> {
        let created = operation.created.as_deref()?;
        let paused = operation.paused.as_ref().filter(|_| !operation.is_over());
        Some(Self {
            id: created.operation.to_string(),
            action: created.action,
            state: operation.state().into(),
            environment: created.environment.as_str(),
            filter: created.tasks.is_empty().then(|| created.filter.clone()),
            ids: None,
            undoes: created.undoes.as_ref().map(ToString::to_string),
            rate: created.rate,
            reason: created.reason.clone(),
            matched: created.matched,
            done: operation.progress.done,
            refused: operation.progress.refused,
            refusals: None,
            created_by: created.created_by.clone(),
            created_at: Iso(created.at),
            paused_at: paused.map(|(at, _)| Iso(*at)),
            paused_by: paused.map(|(_, by)| by.clone()),
            ended_at: operation.over_at().map(Iso),
            cancelled_by: operation.cancelled.as_ref().map(|(_, by)| by.clone()),
            priority: created.priority.map(Priority::get),
        })
    }
}

impl OperationEnvelope {
    /// All of an operation; `None` for one that was never created.
    #[must_use]
    pub fn new(operation: &Operation) -> Option<Self> {
        OperationObject::whole(operation).map(|operation| Self { operation })
    }
}

impl OperationList {
    /// These operations, as in a list.
    #[must_use]
    pub fn of(operations: &[Arc<Operation>]) -> Self {
        let listed = operations
            .iter()
            .filter_map(|operation| OperationObject::listed(operation));
        Self {
            operations: listed.collect(),
        }
    }
}

/// An operation of the team in its environment. Another team's is refused with 403, and one of the team's other environment is unknown, as
/// with tasks.
pub fn find(edge: &Edge, team: &TeamId, id: &OperationId) -> Result<Arc<Operation>, ApiError> {
    let unknown = || ApiError::not_found("Operation not found");
    let found = edge.auth.directory().operation(id).ok_or_else(unknown)?;
    let created = found.created.as_ref().ok_or_else(unknown)?;
    if created.team.base() != team.base() {
        return Err(ApiError::forbidden());
    }
    if created.environment != team.environment() {
        return Err(unknown());
    }
    Ok(found)
}
