//! Answers queries from a read model. Nothing here waits: the service decides whether the model is
//! fresh enough.

use std::collections::BTreeMap;

use waybill_domain::id::{QueueName, TaskId};
use waybill_domain::task::{Status, TaskRow};
use waybill_domain::time::Timestamp;
use waybill_log::{Stream, StreamSeq};
use waybill_store::{KeyRange, Store, StoreError, View};

use super::page::InvalidQuery;
use super::{
    BY_ID, IDEMPOTENCY, ModelError, TASKS, activity, audit, decode, flows, groups, jobs, keys,
    list, matching, quarantine, runs, select,
};
use crate::query::{
    ActivityNews, ActivityPage, AreKeysUsed, ByIdempotencyKey, Consistency, CountJobs, Counters,
    DeadGroups, Flow, FlowPage, FollowActivity, GetFlow, GetStats, GroupDeadLetters,
    IdempotentTask, Inclusion, JobCounts, JobPage, ListActivity, ListFlows, ListJobs, ListRuns,
    ListSkipped, ListTasks, MAX_QUEUES, MAX_SCAN, Position, ProveConsistency, ProveInclusion,
    QueueCounts, RunPage, RunTally, Searched, SelectTasks, Selection, SkippedPage, Stats,
    TallyRuns, Total,
};

/// Why there is no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReaderError {
    #[error(transparent)]
    Invalid(#[from] InvalidQuery),
    #[error(transparent)]
    Model(#[from] ModelError),
}

impl From<StoreError> for ReaderError {
    fn from(error: StoreError) -> Self {
        Self::Model(error.into())
    }
}

/// The rows of a page, before their large parts are read from the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowPage {
    /// Newest first, each with its current status.
    pub rows: Vec<(Status, TaskRow)>,
    /// Of those that were replayed: the last task that does it again.
    pub replays: BTreeMap<TaskId, TaskId>,
    /// What was looked at, if a filter has no index.
    pub searched: Option<Searched>,
    /// Total number of matches.
    pub total: Total,
    /// Cursor of the next page.
    pub next: Option<String>,
}

/// Reads a model. Cheap to clone.
#[derive(Clone)]
pub struct Reader {
    store: Store,
}

impl Reader {
    #[must_use]
    pub fn new(store: Store) -> Self {
        Self { store }
    }

    /// A page of quarantined records of both logs.
    pub fn skipped(&self, query: &ListSkipped) -> Result<SkippedPage, ReaderError> {
        quarantine::list(&self.store.view()?, query)
    }

    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The row of a task.
    pub fn task(&self, id: TaskId) -> Result<Option<TaskRow>, ReaderError> {
        self.reading(|view| {
            let Some(created) = view.get(BY_ID, &keys::id(id))? else {
                return Ok(None);
            };
            match view.get(TASKS, &created)? {
                Some(row) => Ok(Some(decode(TASKS, &row)?)),
                None => Err(super::row_error(BY_ID, "a task without a row").into()),
            }
        })
    }

    /// The last task that does an ended one again.
    pub fn last_replay(&self, of: TaskId) -> Result<Option<TaskId>, ReaderError> {
        self.reading(|view| matching::last_replay(view, of))
    }

    /// Dead letters of a team by their causes.
    pub fn dead_groups(
        &self,
        query: &GroupDeadLetters,
        now: Timestamp,
    ) -> Result<DeadGroups, ReaderError> {
        self.reading(|view| groups::dead(view, query, now))
    }

    /// The next tasks that an operation goes through.
    pub fn select(&self, query: &SelectTasks, now: Timestamp) -> Result<Selection, ReaderError> {
        self.reading(|view| select::select(view, query, now))
    }

    /// The first task that was created with an idempotency key and is still kept.
    pub fn by_idempotency_key(
        &self,
        query: &ByIdempotencyKey,
    ) -> Result<Option<IdempotentTask>, ReaderError> {
        self.reading(|view| {
            let range = KeyRange::prefix(&keys::idempotency(&query.team, &query.key));
            let Some(row) = view.range(IDEMPOTENCY, &range)?.next() else {
                return Ok(None);
            };
            let (key, value) = row?;
            let (id, fingerprint) = decode(IDEMPOTENCY, &value)?;
            let created_seq = keys::seq(&key)
                .ok_or_else(|| super::row_error(IDEMPOTENCY, "a key without a sequence"))?;
            Ok(Some(IdempotentTask {
                id,
                created_seq,
                fingerprint,
            }))
        })
    }

    /// Of each idempotency key, whether a task was created with it that is still kept.
    pub fn are_keys_used(&self, query: &AreKeysUsed) -> Result<Vec<bool>, ReaderError> {
        self.reading(|view| runs::are_keys_used(view, query))
    }

    /// How often schedules have run.
    pub fn runs_tally(&self, query: &TallyRuns) -> Result<Vec<RunTally>, ReaderError> {
        self.reading(|view| runs::tally(view, query))
    }

    /// What became of the instants of a schedule.
    pub fn runs(&self, query: &ListRuns, now: Timestamp) -> Result<RunPage, ReaderError> {
        self.reading(|view| runs::list(view, query, now))
    }

    /// A workflow with all of its members.
    pub fn flow(&self, query: &GetFlow) -> Result<Option<Flow>, ReaderError> {
        self.reading(|view| flows::get(view, query))
    }

    /// Workflows of a team, newest first.
    pub fn flows(&self, query: &ListFlows) -> Result<FlowPage, ReaderError> {
        self.reading(|view| flows::list(view, query))
    }

    /// Tasks of a team, newest first, and how far the model had read.
    pub fn list(
        &self,
        query: &ListTasks,
        now: Timestamp,
    ) -> Result<(RowPage, Position), ReaderError> {
        self.reading(|view| Ok((list::list(view, query, now)?, position(view)?)))
    }

    /// Jobs of a team.
    pub fn jobs(&self, query: &ListJobs, now: Timestamp) -> Result<JobPage, ReaderError> {
        self.reading(|view| jobs::list(view, query, now))
    }

    /// Number of jobs of a team by status.
    pub fn job_counts(&self, query: &CountJobs, now: Timestamp) -> Result<JobCounts, ReaderError> {
        self.reading(|view| jobs::count(view, query, now))
    }

    /// Number of tasks of a team by status.
    pub fn counters(
        &self,
        team: &waybill_domain::id::TeamId,
        only: Option<&waybill_domain::id::QueueName>,
        now: Timestamp,
    ) -> Result<Counters, ReaderError> {
        self.reading(|view| {
            let mut scan = MAX_SCAN;
            let mut counters = Counters {
                exact: true,
                ..Counters::default()
            };
            for row in list::counted(view, team, only)? {
                let (queue, counts) = row?;
                if counters.queues.len() == MAX_QUEUES {
                    counters.truncated = true;
                    break;
                }
                let delayed = counts.of(Status::Delayed);
                let due = if delayed == 0 {
                    Total {
                        count: 0,
                        exact: true,
                    }
                } else {
                    list::due(view, team, &queue, now, &mut scan)?
                };
                counters.exact &= due.exact;
                counters.queues.push(QueueCounts {
                    pending: counts.of(Status::Pending) + due.count,
                    delayed: delayed.saturating_sub(due.count),
                    processing: counts.of(Status::Processing),
                    completed: counts.of(Status::Completed),
                    failed: counts.of(Status::Failed),
                    timeout: counts.of(Status::Timeout),
                    cancelled: counts.of(Status::Cancelled),
                    waiting_since: list::waiting_since(view, team, &queue, now)?,
                    queue,
                });
            }
            Ok(counters)
        })
    }

    /// What happened to the tasks of a team in a time.
    pub fn stats(&self, query: &GetStats, now: Timestamp) -> Result<Stats, ReaderError> {
        self.reading(|view| super::stats::stats(view, query, now))
    }

    /// Who did what, newest first.
    pub fn activity(&self, query: &ListActivity) -> Result<ActivityPage, ReaderError> {
        self.reading(|view| activity::list(view, query))
    }

    /// The activity after a position, oldest first.
    pub fn follow_activity(&self, query: &FollowActivity) -> Result<ActivityNews, ReaderError> {
        self.reading(|view| activity::follow(view, query, position(view)?))
    }

    /// Proves that an event is in its audit tree; `None` if it is not.
    pub fn inclusion(&self, query: &ProveInclusion) -> Result<Option<Inclusion>, ReaderError> {
        self.reading(|view| audit::inclusion(view, query))
    }

    /// Proves that an audit tree is an extension of an earlier one.
    pub fn consistency(&self, query: &ProveConsistency) -> Result<Consistency, ReaderError> {
        self.reading(|view| audit::consistency(view, query))
    }

    /// Reads from one consistent view. An unreadable row condemns the store.
    fn reading<T>(
        &self,
        read: impl FnOnce(&View<'_>) -> Result<T, ReaderError>,
    ) -> Result<T, ReaderError> {
        let answer = {
            let view = self.store.view()?;
            read(&view)
        };
        if let Err(ReaderError::Model(error @ ModelError::Row { .. })) = &answer {
            self.store.condemn(&error.to_string());
        }
        answer
    }
}

fn position(view: &View<'_>) -> Result<Position, ReaderError> {
    let at = |stream: Stream| -> Result<StreamSeq, ReaderError> {
        let checkpoint = view.checkpoint(stream.name())?;
        Ok(StreamSeq(checkpoint.map_or(0, |at| at.seq)))
    };
    Ok(Position {
        control: at(Stream::Control)?,
        tasks: at(Stream::Tasks)?,
    })
}

/// A queue with its counts.
pub(super) type QueueRow = Result<(QueueName, super::counts::Counts), ReaderError>;
