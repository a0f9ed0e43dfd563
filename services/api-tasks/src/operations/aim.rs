//! Which tasks an operation is for: those that its conditions name, as far as its action makes sense for them.

use waybill_domain::event::{BulkAction, OperationCreated};
use waybill_domain::id::TeamId;
use waybill_domain::task::{Status, TaskRow};
use waybill_domain::time::Timestamp;
use waybill_projector::query::{Position, SelectTasks, Selection, TaskFilter};

use super::filter::task_filter;
use crate::state::TasksApi;
use waybill_edge::error::ApiError;

/// Queries for one count. Each looks at up to 20,000 tasks.
const MAX_LOOKS: usize = 50;

/// What an operation selects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Aim {
    pub(crate) filter: TaskFilter,
    pub(crate) or_cancelled_since: Option<Timestamp>,
}

impl Aim {
    /// What the operation selects, as of its creation: later tasks, later ends and later replays do not count, so that it ends, and so that
    /// whoever repeats a part of it finds the same tasks.
    pub(crate) fn of(operation: &OperationCreated) -> Result<Self, ApiError> {
        let mut filter = task_filter(&operation.filter)?;
        let (all, of_what): (&[Status], _) = match operation.action {
            BulkAction::Retry => (
                &[Status::Failed, Status::Timeout],
                "only dead letters can be retried",
            ),
            BulkAction::Replay => (
                &[
                    Status::Completed,
                    Status::Failed,
                    Status::Timeout,
                    Status::Cancelled,
                ],
                "only ended tasks can be replayed",
            ),
            BulkAction::Cancel => (
                &[Status::Pending, Status::Delayed, Status::Processing],
                "only open tasks can be cancelled",
            ),
            BulkAction::Purge => (
                &[
                    Status::Pending,
                    Status::Delayed,
                    Status::Failed,
                    Status::Timeout,
                ],
                "only tasks that wait and dead letters can be purged",
            ),
            BulkAction::ChangePriority => (
                &[Status::Pending, Status::Delayed],
                "only tasks that wait can get another priority",
            ),
            BulkAction::Undo if operation.priority.is_some() => {
                filter.statuses.clear();
                (
                    &[Status::Pending, Status::Delayed],
                    "only tasks that wait can have their priority back",
                )
            }
            BulkAction::Undo => {
                // What it was before is told by the record of its end.
                filter.statuses.clear();
                (&[Status::Cancelled], "only cancelled tasks can be restored")
            }
        };
        if let Some(other) = filter.statuses.iter().find(|status| !all.contains(status)) {
            let known: Vec<_> = all.iter().map(|status| status.as_str()).collect();
            return Err(ApiError::bad_field(
                "filter.status",
                format!(
                    "filter.status: {of_what}: {}; not {other}",
                    known.join(", ")
                ),
            ));
        }
        if filter.statuses.is_empty() {
            filter.statuses = all.to_vec();
        }
        let cancels = matches!(operation.action, BulkAction::Cancel | BulkAction::Purge);
        let since = cancels.then_some(operation.at);
        // An operation that is about priorities is for tasks that have not ended.
        if since.is_none() && operation.priority.is_none() {
            let before = filter.completed_before.unwrap_or(operation.at);
            filter.completed_before = Some(before.min(operation.at));
        }
        if operation.action == BulkAction::Retry {
            (filter.dead, filter.replayed) = (true, Some(false));
        }
        if operation.action == BulkAction::Purge {
            (filter.purgeable_at, filter.replayed) = (Some(operation.at), Some(false));
        }
        filter.up_to = Some(operation.up_to);
        Ok(Self {
            filter,
            or_cancelled_since: since,
        })
    }

    /// The next tasks.
    pub(crate) async fn select(
        &self,
        state: &TasksApi,
        team: &TeamId,
        cursor: Option<String>,
        limit: u16,
    ) -> Result<Selection, ApiError> {
        let query = SelectTasks {
            team: team.clone(),
            filter: self.filter.clone(),
            or_cancelled_since: self.or_cancelled_since,
            cursor,
            limit,
        };
        let min_seq = Position::tasks(self.filter.up_to.unwrap_or_default());
        Ok(state.queries.ask(query, min_seq).await?.value)
    }

    /// How many there are, if they are not too many.
    pub(crate) async fn count(
        &self,
        state: &TasksApi,
        team: &TeamId,
        most: u64,
    ) -> Result<u64, ApiError> {
        let (mut count, mut cursor) = (0, None);
        for _ in 0..MAX_LOOKS {
            let found = self.select(state, team, cursor, 0).await?;
            count += found.count;
            if count > most {
                break;
            }
            cursor = found.next;
            if cursor.is_none() {
                return Ok(count);
            }
        }
        let what = if count > most {
            format!("filter matches more than {most} tasks")
        } else {
            "filter has more than 1,000,000 tasks to look through".to_owned()
        };
        Err(ApiError::bad_field(
            "filter",
            format!("{what}; narrow it, for instance with createdAfter and createdBefore"),
        ))
    }

    /// The first of them, as examples.
    pub(crate) async fn examples(
        &self,
        state: &TasksApi,
        team: &TeamId,
        count: u16,
    ) -> Result<Vec<TaskRow>, ApiError> {
        let (mut rows, mut cursor) = (Vec::new(), None);
        for _ in 0..MAX_LOOKS {
            let found = self.select(state, team, cursor, count).await?;
            rows.extend(found.rows);
            cursor = found.next;
            if cursor.is_none() || rows.len() >= usize::from(count) {
                break;
            }
        }
        rows.truncate(count.into());
        Ok(rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use waybill_domain::id::{Environment, OperationId};
    use waybill_domain::task::Priority;
    use waybill_log::StreamSeq;

    fn operation(action: BulkAction, words: &[(&str, &str)]) -> OperationCreated {
        let words = words.iter();
        OperationCreated {
            operation: OperationId::of_text("a"),
            team: TeamId::new(Timestamp(1), 1),
            environment: Environment::Live,
            action,
            filter: words
                .map(|(word, value)| ((*word).to_owned(), vec![(*value).to_owned()]))
                .collect::<BTreeMap<_, _>>(),
            tasks: Vec::new(),
            undoes: None,
            rate: 1,
            reason: None,
            matched: 0,
            up_to: StreamSeq(7),
            created_by: String::new(),
            at: Timestamp(1_000),
            priority: None,
        }
    }

    #[test]
    fn each_action_is_for_its_kind_of_task_as_of_the_start() {
        let aim = |action, words: &[(&str, &str)]| Aim::of(&operation(action, words));
        let retry = aim(BulkAction::Retry, &[]).expect("valid").filter;
        assert_eq!(retry.statuses, [Status::Failed, Status::Timeout]);
        assert_eq!((retry.dead, retry.replayed), (true, Some(false)));
        assert_eq!(retry.completed_before, Some(Timestamp(1_000)));
        assert_eq!(retry.up_to, Some(StreamSeq(7)));
        let cancel = aim(BulkAction::Cancel, &[("status", "pending")]).expect("valid");
        assert_eq!(cancel.filter.statuses, [Status::Pending]);
        assert_eq!(cancel.or_cancelled_since, Some(Timestamp(1_000)));
        assert_eq!(cancel.filter.completed_before, None);
        let undo = aim(BulkAction::Undo, &[("status", "pending")]).expect("valid");
        assert_eq!(undo.filter.statuses, [Status::Cancelled]);
        let purge = aim(BulkAction::Purge, &[]).expect("valid");
        assert_eq!(purge.or_cancelled_since, Some(Timestamp(1_000)));
        let purge = purge.filter;
        assert_eq!(purge.purgeable_at, Some(Timestamp(1_000)));
        assert_eq!((purge.dead, purge.replayed), (false, Some(false)));
        assert!(!purge.statuses.contains(&Status::Processing), "{purge:?}");
        assert_eq!(purge.completed_before, None, "what waits has not ended");
        let given = OperationCreated {
            priority: Some(Priority::MAX),
            ..operation(BulkAction::ChangePriority, &[("status", "pending")])
        };
        let change = Aim::of(&given).expect("valid");
        assert_eq!(change.filter.statuses, [Status::Pending]);
        assert_eq!(
            (change.filter.completed_before, change.or_cancelled_since),
            (None, None)
        );
        let back = OperationCreated {
            action: BulkAction::Undo,
            ..given
        };
        let back = Aim::of(&back).expect("valid").filter;
        assert_eq!(back.statuses, [Status::Pending, Status::Delayed]);
        assert_eq!(back.completed_before, None);
        for (action, status) in [
            (BulkAction::ChangePriority, "processing"),
            (BulkAction::Purge, "processing"),
            (BulkAction::Purge, "completed"),
            (BulkAction::Retry, "completed"),
            (BulkAction::Replay, "pending"),
            (BulkAction::Cancel, "failed"),
        ] {
            let refused = aim(action, &[("status", status)]).expect_err("refused");
            assert_eq!(refused.body.field.as_deref(), Some("filter.status"));
        }
        let early = [("completedBefore", "1970-01-01T00:00:00.500Z")];
        let early = aim(BulkAction::Replay, &early).expect("valid").filter;
        assert_eq!(early.completed_before, Some(Timestamp(500)));
    }
}
