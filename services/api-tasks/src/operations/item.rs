//! What an operation does to one of its tasks. Doing it twice is harmless: what is made has an idempotency key that is derived from the
//! operation and the task, and a task is cancelled once.

use waybill_commands::entropy;
use waybill_domain::access::plan::Plan;
use waybill_domain::command::OwnerRequest;
use waybill_domain::event::{BulkAction, OperationCreated, TaskEvent};
use waybill_domain::id::{OperationId, TeamId};
use waybill_domain::operation::{Verdict, actor, item_key};
use waybill_domain::task::{Status, TaskRow};
use waybill_domain::time::Timestamp;
use waybill_log::{Stream, TaskRecord, task_record};

use crate::accept::{Accepting, limits_of};
use crate::cancel::not_open;
use crate::dead_letters::retry::no_such_letter;
use crate::decided::{Decided, ask_to_change};
use crate::idempotency;
use crate::lookup;
use crate::replay::{again, go_on};
use crate::request::CreateTask;
use crate::state::TasksApi;
use waybill_edge::error::ApiError;
use waybill_edge::owners::no_owner;

/// What the tasks of one operation have in common.
pub(super) struct Work<'a> {
    pub(super) state: &'a TasksApi,
    pub(super) operation: &'a OperationCreated,
    /// The team in the environment of the tasks.
    pub(super) team: &'a TeamId,
    pub(super) plan: &'a Plan,
}

impl Work<'_> {
    /// Does it to a task. An error may pass: the task is to be tried again later.
    pub(super) async fn take(&self, row: &TaskRow) -> Result<Verdict, ApiError> {
        let taken = match self.operation.action {
            BulkAction::Cancel => self.cancel(row).await,
            BulkAction::Purge => self.purge(row).await,
            BulkAction::Retry if !row.is_dead_letter() => Err(no_such_letter()),
            BulkAction::Retry | BulkAction::Replay => self.make(row, CreateTask::default()).await,
            BulkAction::Undo => self.undo(row).await,
            BulkAction::ChangePriority => self.change_priority(row).await,
        };
        match taken {
            Err(error) if !may_pass(&error) => Ok(refused(&error)),
            other => other,
        }
    }

    async fn cancel(&self, row: &TaskRow) -> Result<Verdict, ApiError> {
        let request = OwnerRequest::Cancel {
            task: row.id,
            team: self.team.clone(),
            actor: actor(&self.operation.operation),
            traceparent: None,
        };
        self.cancel_by(row, &request).await
    }

    /// Removes a dead letter, or cancels a task that waits.
    async fn purge(&self, row: &TaskRow) -> Result<Verdict, ApiError> {
        let actor = actor(&self.operation.operation);
        let (task, team, traceparent) = (row.id, self.team.clone(), None);
        // Of tasks that are named one by one nothing else has looked at the status.
        let statuses = self.operation.filter.get("status");
        let is_named = !self.operation.tasks.is_empty();
        let is_letter = row.is_dead();
        if is_named && !is_letter && statuses.is_some() {
            return Err(no_such_letter());
        }
        if !is_letter {
            let request = OwnerRequest::CancelWaiting {
                task,
                team,
                actor,
                traceparent,
            };
            return self.cancel_by(row, &request).await;
        }
        if row.purged_at.is_some() {
            return Ok(Verdict::Done);
        }
        let request = OwnerRequest::PurgeLetter {
            task,
            team,
            queue: row.queue.clone(),
            actor,
            traceparent,
        };
        match ask_to_change(self.state, row.id, &request).await? {
            Decided::Done(_) => Ok(Verdict::Done),
            Decided::NotOpen => Err(no_such_letter()),
            // It has ended, and its owner has not read that yet.
            Decided::Running | Decided::AlreadyRequested(_) => Err(no_owner()),
        }
    }

    /// Asks the owner to cancel a task, in one way or another.
    async fn cancel_by(&self, row: &TaskRow, request: &OwnerRequest) -> Result<Verdict, ApiError> {
        let since = self.operation.at;
        if row.status == Status::Cancelled && row.completed_at.is_some_and(|at| at >= since) {
            return Ok(Verdict::Done);
        }
        if row.status.is_terminal() {
            return Err(not_open(row.status));
        }
        match ask_to_change(self.state, row.id, request).await? {
            Decided::Done(_) | Decided::AlreadyRequested(_) => Ok(Verdict::Done),
            // It does not wait any more, so it is none of those that match.
            Decided::Running if self.operation.tasks.is_empty() => Ok(Verdict::Skipped),
            Decided::Running => Err(not_open(Status::Processing)),
            Decided::NotOpen => {
                let view = lookup::find_as_of_now(self.state, self.team, row.id).await?;
                match view.status {
                    Status::Cancelled => Ok(Verdict::Done),
                    status if status.is_terminal() => Err(not_open(status)),
                    // The task was created, and its owner has not read that yet.
                    _ => Err(no_owner()),
                }
            }
        }
    }

    /// Makes the task that does this one again.
    async fn make(&self, row: &TaskRow, overrides: CreateTask) -> Result<Verdict, ApiError> {
        let Some(key) = item_key(self.operation, row.id) else {
            return Err(ApiError::internal(&"an action that makes no task"));
        };
        let by = actor(&self.operation.operation);
        let accepting = Accepting::of_operation(self.state, self.team, self.plan, by);
        let limits = limits_of(self.state, self.plan);
        let mut checked = match again(&accepting, row, overrides, &limits).await {
            Ok(checked) => checked,
            Err(error) => {
                // What it needs may be gone because it has been made already.
                let queries = &self.state.queries;
                let earlier = queries.by_idempotency_key(self.team, &key).await?;
                return earlier.map(|_| Verdict::Done).ok_or(error);
            }
        };
        if self.operation.action == BulkAction::Retry {
            go_on(&mut checked, row);
        }
        idempotency::create(&accepting, checked, key).await?;
        Ok(Verdict::Done)
    }

    async fn undo(&self, row: &TaskRow) -> Result<Verdict, ApiError> {
        let undone = self.operation.undoes.as_ref();
        if let Some(undone) = undone.filter(|_| self.operation.priority.is_some()) {
            return self.give_back(row, undone).await;
        }
        let Some(undone) = undone.filter(|_| row.status == Status::Cancelled) else {
            return Ok(Verdict::Skipped);
        };
        if !self.was_cancelled_by(row, undone).await? {
            return Ok(Verdict::Skipped);
        }
        let now = entropy::now();
        if row.deadline.is_some_and(|deadline| deadline <= now) {
            return Ok(Verdict::Refused {
                code: "deadline_passed".to_owned(),
                error: "The deadline of the task has passed meanwhile".to_owned(),
            });
        }
        let later = row.not_before.filter(|at| *at > now);
        let text = |at: Timestamp| at.to_string();
        let dates = CreateTask::dated(later.map(text), row.deadline.map(text));
        self.make(row, dates).await
    }

    /// Whether the record of the task's end names the operation, and no attempt was under way.
    async fn was_cancelled_by(
        &self,
        row: &TaskRow,
        operation: &OperationId,
    ) -> Result<bool, ApiError> {
        let Some(seq) = row.ended_seq else {
            return Ok(false);
        };
        let Some(record) = self.state.log.read(Stream::Tasks, seq).await? else {
            return Ok(false);
        };
        let Ok(TaskRecord::Event(TaskEvent::Cancelled(cancelled))) = task_record(&record) else {
            return Ok(false);
        };
        Ok(cancelled.id == row.id
            && cancelled.attempt.is_none()
            && record.actor == actor(operation).to_string())
    }
}

/// Whether trying again later may help: whoever answers is away, or has no room.
fn may_pass(error: &ApiError) -> bool {
    error.status == http::StatusCode::SERVICE_UNAVAILABLE
}

pub(super) fn refused(error: &ApiError) -> Verdict {
    Verdict::Refused {
        code: error.body.code.as_str().to_owned(),
        error: error.body.error.clone().into_owned(),
    }
}
