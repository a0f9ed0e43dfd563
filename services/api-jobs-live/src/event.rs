//! What clients are told, as Spooled's know it: `{"type", "data"}`.

use serde::Serialize;
use utoipa::ToSchema;
use waybill_commands::entropy;
use waybill_edge::iso::Iso;

/// What has happened.
// The data of each has a name of its own: generators of clients make one of it, and stumble over objects within objects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(tag = "type", content = "data")]
pub enum JobsEvent {
    JobCreated(JobsJobCreated),
    JobStatusChange(JobsJobStatusChange),
    JobCompleted(JobsJobCompleted),
    JobFailed(JobsJobFailed),
    QueueStats(JobsQueueNumbers),
    SystemHealth(JobsSystemHealth),
    Ping(JobsPing),
    Error(JobsStreamError),
}

/// A job was created.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct JobsJobCreated {
    pub job_id: String,
    pub queue_name: String,
    pub priority: i16,
    #[schema(value_type = String, format = DateTime)]
    pub timestamp: Iso,
}

/// Every change of the status. In the stream of a job, the first is its present one, with an `old_status` of "".
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct JobsJobStatusChange {
    pub job_id: String,
    pub queue_name: String,
    #[schema(value_type = String)]
    pub old_status: &'static str,
    #[schema(value_type = String)]
    pub new_status: &'static str,
    #[schema(value_type = String, format = DateTime)]
    pub timestamp: Iso,
}

/// A worker has completed a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct JobsJobCompleted {
    pub job_id: String,
    pub queue_name: String,
    /// From the claim to the end.
    pub duration_ms: u64,
    #[schema(value_type = String, format = DateTime)]
    pub timestamp: Iso,
}

/// A worker reported a failure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct JobsJobFailed {
    pub job_id: String,
    pub queue_name: String,
    pub error: String,
    /// Failures so far.
    pub retry_count: u32,
    #[schema(value_type = String, format = DateTime)]
    pub timestamp: Iso,
}

/// The numbers of a queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct JobsQueueNumbers {
    pub queue_name: String,
    pub pending: u64,
    pub processing: u64,
    pub completed: u64,
    pub failed: u64,
    #[schema(value_type = String, format = DateTime)]
    pub timestamp: Iso,
}

/// How the gateway does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct JobsSystemHealth {
    /// Whether the log can be written and read.
    pub database: bool,
    pub redis: bool,
    #[schema(value_type = String, format = DateTime)]
    pub timestamp: Iso,
}

/// The connection is alive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct JobsPing {
    #[schema(value_type = String, format = DateTime)]
    pub timestamp: Iso,
}

/// There is no such job, a command is wrong, or events are no longer kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct JobsStreamError {
    pub message: String,
    #[schema(value_type = String, format = DateTime)]
    pub timestamp: Iso,
}

/// The names of the events in streams, with what each one means.
pub(crate) fn names() -> [(&'static str, &'static str); 8] {
    [
        ("job.created", "a job was created"),
        ("job.status", "the status of a job has changed"),
        ("job.completed", "a worker has completed a job"),
        ("job.failed", "a worker reports that a job failed"),
        ("queue.stats", "the numbers of a queue"),
        ("system.health", "how the gateway does, every 10 seconds"),
        ("ping", "the connection is alive"),
        ("error", "there is no such job, or the stream has a gap"),
    ]
}

/// The events of a stream, as a list in Markdown.
#[must_use]
pub fn described() -> String {
    let lines = names().map(|(name, meaning)| format!("- `{name}`, data `JobsEvent`: {meaning}\n"));
    lines.concat()
}

fn now() -> Iso {
    Iso(entropy::now())
}

impl JobsEvent {
    /// Its name in streams of server-sent events.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::JobCreated(_) => "job.created",
            Self::JobStatusChange(_) => "job.status",
            Self::JobCompleted(_) => "job.completed",
            Self::JobFailed(_) => "job.failed",
            Self::QueueStats(_) => "queue.stats",
            Self::SystemHealth(_) => "system.health",
            Self::Ping(_) => "ping",
            Self::Error(_) => "error",
        }
    }

    /// The job and the queue that it is about. `None`: it is about no job.
    pub(crate) fn about(&self) -> Option<(&str, &str)> {
        match self {
            Self::JobCreated(JobsJobCreated {
                job_id, queue_name, ..
            })
            | Self::JobStatusChange(JobsJobStatusChange {
                job_id, queue_name, ..
            })
            | Self::JobCompleted(JobsJobCompleted {
                job_id, queue_name, ..
            })
            | Self::JobFailed(JobsJobFailed {
                job_id, queue_name, ..
            }) => Some((job_id, queue_name)),
            Self::QueueStats(_) | Self::SystemHealth(_) | Self::Ping(_) | Self::Error(_) => None,
        }
    }

    pub(crate) fn ping() -> Self {
        Self::Ping(JobsPing { timestamp: now() })
    }

    pub(crate) fn error(message: &str) -> Self {
        Self::Error(JobsStreamError {
            message: message.to_owned(),
            timestamp: now(),
        })
    }

    pub(crate) fn health(is_healthy: bool) -> Self {
        Self::SystemHealth(JobsSystemHealth {
            database: is_healthy,
            redis: is_healthy,
            timestamp: now(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use waybill_domain::time::Timestamp;

    #[test]
    fn an_event_is_its_type_and_its_data() {
        let event = JobsEvent::JobStatusChange(JobsJobStatusChange {
            job_id: "j".to_owned(),
            queue_name: "q".to_owned(),
            old_status: "pending",
            new_status: "processing",
            timestamp: Iso(Timestamp(0)),
        });
        assert_eq!(
            serde_json::to_value(&event).expect("plain data"),
            json!({"type": "JobStatusChange", "data": {"job_id": "j", "queue_name": "q", "old_status": "pending",
                "new_status": "processing", "timestamp": "1970-01-01T00:00:00.000Z"}})
        );
        assert!(names().iter().any(|(name, _)| *name == event.name()));
    }
}
