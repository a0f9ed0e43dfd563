//! What an operation that changes priorities does to one of its tasks, and what takes it back.

use waybill_domain::command::OwnerRequest;
use waybill_domain::id::OperationId;
use waybill_domain::operation::{Verdict, actor};
use waybill_domain::task::{Priority, TaskRow};

use super::item::Work;
use crate::change::{ended, running};
use crate::decided::{Decided, ask_to_change};
use crate::lookup;
use waybill_edge::error::ApiError;
use waybill_edge::owners::no_owner;

impl Work<'_> {
    /// Gives a task the priority of the operation.
    pub(super) async fn change_priority(&self, row: &TaskRow) -> Result<Verdict, ApiError> {
        match self.operation.priority {
            Some(priority) => self.give(row, priority).await,
            // Written by a version that knows other operations.
            None => Ok(Verdict::Skipped),
        }
    }

    /// Gives a task back the priority that another operation took from it, unless somebody has changed it since.
    pub(super) async fn give_back(
        &self,
        row: &TaskRow,
        undone: &OperationId,
    ) -> Result<Verdict, ApiError> {
        let by = |operation: &OperationId| {
            let last = row.changed_priority.as_ref();
            last.filter(|last| last.operation.as_ref() == Some(operation))
        };
        if by(&self.operation.operation).is_some() {
            return Ok(Verdict::Done);
        }
        match by(undone) {
            Some(changed) => self.give(row, changed.from).await,
            None => Ok(Verdict::Skipped),
        }
    }

    async fn give(&self, row: &TaskRow, priority: Priority) -> Result<Verdict, ApiError> {
        if row.status.is_terminal() {
            return Err(ended(row.status));
        }
        let request = OwnerRequest::ChangePriority {
            task: row.id,
            team: self.team.clone(),
            priority,
            operation: Some(self.operation.operation.clone()),
            actor: actor(&self.operation.operation),
            traceparent: None,
        };
        match ask_to_change(self.state, row.id, &request).await? {
            Decided::Done(_) | Decided::AlreadyRequested(_) => Ok(Verdict::Done),
            // It has started since it was found: it is not one of those that match any more.
            Decided::Running if self.operation.tasks.is_empty() => Ok(Verdict::Skipped),
            Decided::Running => Err(running()),
            Decided::NotOpen => {
                let view = lookup::find_as_of_now(self.state, self.team, row.id).await?;
                if !view.status.is_terminal() {
                    // The task was created, and its owner has not read that yet.
                    return Err(no_owner());
                }
                if self.operation.tasks.is_empty() {
                    return Ok(Verdict::Skipped);
                }
                Err(ended(view.status))
            }
        }
    }
}
