//! Turns steps of the log into events of this API, once for all who listen on this gateway.
//!
//! A step says what happened to a task; whether that is a job, under which id and how long it was held stands in its row. The row may be newer
//! than the step: only what does not change is taken from it, and what the step itself says goes first.

use std::sync::Arc;

use quick_cache::sync::Cache;
use waybill_api_tasks::TasksApi;
use waybill_domain::event::FailureKind;
use waybill_domain::seq::StreamSeq;
use waybill_domain::task::{JobStatus, TaskRow};
use waybill_edge::iso::Iso;
use waybill_projector::QueryError;
use waybill_projector::query::{GetTask, Position};
use waybill_streams::Step;

use crate::event::{
    JobsEvent, JobsJobCompleted, JobsJobCreated, JobsJobFailed, JobsJobStatusChange,
};

/// Steps whose events are kept: what listeners that follow the log are told at about the same time.
const KEPT: usize = 4_096;

/// The events of one step.
pub(crate) type Events = Arc<[JobsEvent]>;

/// What was told lately.
pub(crate) struct Told {
    api: TasksApi,
    kept: Cache<StreamSeq, Events>,
}

impl Told {
    pub(crate) fn new(api: TasksApi) -> Self {
        Self {
            api,
            kept: Cache::new(KEPT),
        }
    }

    /// The events of a step; none if it is about no job. The row is read once, however many ask for it at a time.
    pub(crate) async fn of(&self, step: &Step) -> Result<Events, QueryError> {
        let read = self.kept.get_or_insert_async(&step.seq, self.read(step));
        read.await
    }

    async fn read(&self, step: &Step) -> Result<Events, QueryError> {
        if !tells(step.kind) {
            return Ok(Events::from([]));
        }
        let query = GetTask {
            id: step.task,
            team: None,
            detail: false,
        };
        let found = self.api.queries.ask(query, Position::tasks(step.seq));
        let events = found.await?.value.map(|view| events(step, &view.row));
        Ok(events.unwrap_or_default().into())
    }
}

/// Whether a kind of step is told to anybody.
fn tells(kind: &str) -> bool {
    matches!(
        kind,
        "created"
            | "started"
            | "attempt_failed"
            | "released"
            | "succeeded"
            | "dead"
            | "cancelled"
            | "expired"
            | "run_requested"
    )
}

/// What a step means for the job of a row. The change of the status comes last: after a final one nothing more is told.
fn events(step: &Step, row: &TaskRow) -> Vec<JobsEvent> {
    if !row.is_pulled() {
        return Vec::new();
    }
    let about = About { step, row };
    let before = about.before();
    let (told, change) = match step.kind {
        // A job that is retried after its end goes on as another task.
        "created" if row.job_root() != row.id => {
            (None, Some((JobStatus::Deadletter, about.waiting())))
        }
        "created" => (Some(about.created()), None),
        "started" => (None, Some((JobStatus::Pending, JobStatus::Processing))),
        "attempt_failed" => (
            about.failed(),
            Some((JobStatus::Processing, JobStatus::Pending)),
        ),
        "released" => (None, Some((JobStatus::Processing, JobStatus::Pending))),
        "succeeded" => (
            Some(about.completed()),
            Some((JobStatus::Processing, JobStatus::Completed)),
        ),
        "dead" => (about.failed(), Some((before, JobStatus::Deadletter))),
        "cancelled" => (None, Some((before, JobStatus::Cancelled))),
        "expired" => (None, Some((before, JobStatus::Failed))),
        "run_requested" if before == JobStatus::Scheduled => {
            (None, Some((JobStatus::Scheduled, JobStatus::Pending)))
        }
        _ => (None, None),
    };
    let change = change.map(|(old, new)| about.change(old.as_str(), new.as_str()));
    told.into_iter().chain(change).collect()
}

/// A step and the row of its task.
struct About<'a> {
    step: &'a Step,
    row: &'a TaskRow,
}

impl About<'_> {
    fn job(&self) -> String {
        self.row.job_root().uuid_text()
    }

    fn queue(&self) -> String {
        self.step.queue.to_string()
    }

    fn at(&self) -> Iso {
        Iso(self.step.at)
    }

    /// How the job stood before it ended, or was asked to run.
    fn before(&self) -> JobStatus {
        if self.step.view().attempt.is_some() {
            return JobStatus::Processing;
        }
        self.waiting()
    }

    fn waiting(&self) -> JobStatus {
        match self.row.not_before {
            Some(at) if at > self.step.at => JobStatus::Scheduled,
            _ => JobStatus::Pending,
        }
    }

    fn created(&self) -> JobsEvent {
        JobsEvent::JobCreated(JobsJobCreated {
            job_id: self.job(),
            queue_name: self.queue(),
            priority: self.row.priority.value(),
            timestamp: self.at(),
        })
    }

    fn change(&self, old_status: &'static str, new_status: &'static str) -> JobsEvent {
        JobsEvent::JobStatusChange(JobsJobStatusChange {
            job_id: self.job(),
            queue_name: self.queue(),
            old_status,
            new_status,
            timestamp: self.at(),
        })
    }

    fn completed(&self) -> JobsEvent {
        let mut attempts = self.row.attempts.iter();
        let attempt = attempts.find(|attempt| Some(attempt.number) == self.step.view().attempt);
        let held = attempt.map(|attempt| self.step.at.since(attempt.started_at));
        let millis = held.unwrap_or_default().as_millis();
        JobsEvent::JobCompleted(JobsJobCompleted {
            job_id: self.job(),
            queue_name: self.queue(),
            duration_ms: u64::try_from(millis).unwrap_or(u64::MAX),
            timestamp: self.at(),
        })
    }

    /// A failure, if a worker has reported it: nobody reports a lease that is over.
    fn failed(&self) -> Option<JobsEvent> {
        let view = self.step.view();
        let is_reported = view.error_kind == Some(FailureKind::Reported);
        is_reported.then(|| {
            JobsEvent::JobFailed(JobsJobFailed {
                job_id: self.job(),
                queue_name: self.queue(),
                error: view.error.clone().unwrap_or_default(),
                retry_count: view
                    .attempt
                    .unwrap_or_default()
                    .min(self.row.retry_count.into()),
                timestamp: self.at(),
            })
        })
    }
}
