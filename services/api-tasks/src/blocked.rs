//! `blockedBy` of tasks in answers: what keeps each from running.
//!
//! Of a task that waits for its time or for its retry the read model knows it. The others are asked for, once for all tasks of a
//! partition, and without patience: a list is an answer also while a worker is away.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use futures::future::join_all;
use waybill_domain::command::{Blocker, OwnerReply, OwnerRequest};
use waybill_domain::id::{LimitKey, TaskId, TeamId};
use waybill_domain::partition::Partition;
use waybill_domain::task::Status;
use waybill_domain::time::Timestamp;
use waybill_edge::warnings::Warning;
use waybill_projector::query::TaskView;

use crate::state::TasksApi;
use crate::waiting::BlockedBy;

/// How long an answer waits for the owners of partitions, which are asked at the same time.
const PATIENCE: Duration = Duration::from_millis(500);

/// What keeps the tasks of an answer from running.
pub(crate) struct Blocked {
    /// Of those that do not run, and have not ended.
    by: HashMap<TaskId, Option<BlockedBy>>,
    /// How many of them nobody could tell about.
    unknown: usize,
}

/// A task, what keeps it from running, and the limit key if that is one.
type Told = (TaskId, Option<Blocker>, Option<LimitKey>);

/// What is known without asking.
enum Known {
    /// It runs, or has ended.
    Not,
    By(Blocker),
    /// It is for its owner to say.
    Asked,
}

impl Known {
    fn of(view: &TaskView, now: Timestamp) -> Self {
        match (view.status, view.row.not_before, view.row.retry_at) {
            (Status::Delayed, Some(until), _) => Self::By(Blocker::NotDue { until }),
            (Status::Pending, _, Some(until)) if until > now => {
                Self::By(Blocker::RetryPause { until })
            }
            (Status::Pending | Status::Delayed, ..) => Self::Asked,
            _ => Self::Not,
        }
    }
}

impl Blocked {
    /// Finds out about tasks of a team.
    pub(crate) async fn find<'v>(
        state: &TasksApi,
        team: &TeamId,
        views: impl IntoIterator<Item = &'v TaskView>,
        now: Timestamp,
    ) -> Self {
        let mut by = HashMap::new();
        let mut rows = HashMap::new();
        let mut asked: BTreeMap<Partition, Vec<TaskId>> = BTreeMap::new();
        for view in views {
            let id = view.row.id;
            match Known::of(view, now) {
                Known::Not => {}
                Known::By(blocker) => {
                    by.insert(id, Some(blocker.into()));
                }
                Known::Asked => {
                    rows.insert(id, &view.row);
                    asked.entry(id.partition()).or_default().push(id);
                }
            }
        }
        let questions = asked.iter().map(|(partition, tasks)| {
            let request = OwnerRequest::ExplainMany {
                tasks: tasks.clone(),
                team: team.clone(),
                keys: true,
            };
            ask(state, *partition, request)
        });
        let mut told = HashMap::new();
        for answer in join_all(questions).await {
            let answer = answer.into_iter();
            told.extend(answer.map(|(task, blocker, key)| (task, (blocker, key))));
        }
        let mut unknown = 0;
        for id in asked.into_values().flatten() {
            let told = told.remove(&id);
            unknown += usize::from(told.is_none());
            let told = told.and_then(|(blocker, key)| Some((blocker?, key)));
            let shown = told.zip(rows.get(&id)).map(|((blocker, key), row)| {
                BlockedBy::named(state, (team, row), (blocker, key), now)
            });
            by.insert(id, shown);
        }
        Self { by, unknown }
    }

    /// What to show of a task: nothing if it runs or has ended, `null` if nobody could tell.
    pub(crate) fn of(&self, id: TaskId) -> Option<Option<BlockedBy>> {
        self.by.get(&id).cloned()
    }

    /// Says of how many tasks it is not known.
    pub(crate) fn warning(&self) -> Option<Warning> {
        (self.unknown > 0).then(|| Warning {
            field: "blockedBy".into(),
            message: format!(
                "not known of {} of the tasks: their worker did not answer in time, or has not read them yet",
                self.unknown
            )
            .into(),
        })
    }
}

/// Asks the owner of a partition once; nothing if it does not answer in time, or what nobody here understands: a list is an answer then, too.
async fn ask(state: &TasksApi, partition: Partition, request: OwnerRequest) -> Vec<Told> {
    match state.owners.ask_one(partition, &request, PATIENCE).await {
        Ok(Some(OwnerReply::ExplainedWithKeys(told))) => told,
        // A worker of before.
        Ok(Some(OwnerReply::ExplainedMany(told))) => {
            let told = told.into_iter();
            told.map(|(task, blocker)| (task, blocker, None)).collect()
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use waybill_domain::event::{TaskEvent, samples};
    use waybill_domain::task::TaskRow;
    use waybill_log::StreamSeq;
    use waybill_projector::query::Detail;

    #[test]
    fn only_what_is_due_is_asked_for() {
        let mut samples = samples::task_events().into_iter();
        let Some(TaskEvent::Created(mut created)) = samples.next() else {
            panic!("the first sample is a creation");
        };
        let now = Timestamp(created.at.0 + 1_000);
        let later = Timestamp(now.0 + 1_000);
        created.not_before = Some(later);
        let created = TaskEvent::Created(created);
        let row = TaskRow::evolve(None, StreamSeq(1), &created).expect("a row");
        let known = |status, retry_at| {
            let mut row = row.clone();
            row.retry_at = retry_at;
            let view = TaskView {
                status,
                row,
                detail: Detail::Omitted,
                body_bytes: None,
                replayed_as: None,
            };
            Known::of(&view, now)
        };
        let is_not_due =
            |known| matches!(known, Known::By(Blocker::NotDue { until }) if until == later);
        assert!(is_not_due(known(Status::Delayed, None)));
        let pauses = known(Status::Pending, Some(later));
        assert!(matches!(pauses, Known::By(Blocker::RetryPause { until }) if until == later));
        assert!(matches!(known(Status::Pending, Some(now)), Known::Asked));
        assert!(matches!(known(Status::Pending, None), Known::Asked));
        for status in [Status::Processing, Status::Completed, Status::Cancelled] {
            assert!(matches!(known(status, None), Known::Not));
        }
    }
}
