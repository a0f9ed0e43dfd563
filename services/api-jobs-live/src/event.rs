//! What clients are told, as Spooled's know it: `{"type", "data"}`.

use serde::Serialize;
use utoipa::ToSchema;
use waybill_commands::entropy;
use waybill_edge::iso::Iso;

/// What has happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(tag = "type", content = "data")]
pub enum JobsEvent {
    JobCreated {
        job_id: String,
        queue_name: String,
        priority: i16,
        #[schema(value_type = String, format = DateTime)]
        timestamp: Iso,
    },
    /// Every change of the status. In the stream of a job, the first is its present one, with an `old_status` of "".
    JobStatusChange {
        job_id: String,
        queue_name: String,
        #[schema(value_type = String)]
        old_status: &'static str,
        #[schema(value_type = String)]
        new_status: &'static str,
        #[schema(value_type = String, format = DateTime)]
        timestamp: Iso,
    },
    JobCompleted {
        job_id: String,
        queue_name: String,
        /// From the claim to the end.
        duration_ms: u64,
        #[schema(value_type = String, format = DateTime)]
        timestamp: Iso,
    },
    /// A worker reported a failure.
    JobFailed {
        job_id: String,
        queue_name: String,
        error: String,
        /// Failures so far.
        retry_count: u32,
        #[schema(value_type = String, format = DateTime)]
        timestamp: Iso,
    },
    QueueStats {
        queue_name: String,
        pending: u64,
        processing: u64,
        completed: u64,
        failed: u64,
        #[schema(value_type = String, format = DateTime)]
        timestamp: Iso,
    },
    SystemHealth {
        /// Whether the log can be written and read.
        database: bool,
        redis: bool,
        #[schema(value_type = String, format = DateTime)]
        timestamp: Iso,
    },
    Ping {
        #[schema(value_type = String, format = DateTime)]
        timestamp: Iso,
    },
    Error {
        message: String,
        #[schema(value_type = String, format = DateTime)]
        timestamp: Iso,
    },
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
            Self::JobCreated { .. } => "job.created",
            Self::JobStatusChange { .. } => "job.status",
            Self::JobCompleted { .. } => "job.completed",
            Self::JobFailed { .. } => "job.failed",
            Self::QueueStats { .. } => "queue.stats",
            Self::SystemHealth { .. } => "system.health",
            Self::Ping { .. } => "ping",
            Self::Error { .. } => "error",
        }
    }

    /// The job and the queue that it is about. `None`: it is about no job.
    pub(crate) fn about(&self) -> Option<(&str, &str)> {
        match self {
            Self::JobCreated {
                job_id, queue_name, ..
            }
            | Self::JobStatusChange {
                job_id, queue_name, ..
            }
            | Self::JobCompleted {
                job_id, queue_name, ..
            }
            | Self::JobFailed {
                job_id, queue_name, ..
            } => Some((job_id, queue_name)),
            Self::QueueStats { .. }
            | Self::SystemHealth { .. }
            | Self::Ping { .. }
            | Self::Error { .. } => None,
        }
    }

    pub(crate) fn ping() -> Self {
        Self::Ping { timestamp: now() }
    }

    pub(crate) fn error(message: &str) -> Self {
        Self::Error {
            message: message.to_owned(),
            timestamp: now(),
        }
    }

    pub(crate) fn health(is_healthy: bool) -> Self {
        Self::SystemHealth {
            database: is_healthy,
            redis: is_healthy,
            timestamp: now(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use waybill_domain::time::Timestamp;

    #[test]
    fn an_event_is_its_type_and_its_data() {
        let event = JobsEvent::JobStatusChange {
            job_id: "j".to_owned(),
            queue_name: "q".to_owned(),
            old_status: "pending",
            new_status: "processing",
            timestamp: Iso(Timestamp(0)),
        };
        assert_eq!(
            serde_json::to_value(&event).expect("plain data"),
            json!({"type": "JobStatusChange", "data": {"job_id": "j", "queue_name": "q", "old_status": "pending",
                "new_status": "processing", "timestamp": "1970-01-01T00:00:00.000Z"}})
        );
        assert!(names().iter().any(|(name, _)| *name == event.name()));
    }
}
