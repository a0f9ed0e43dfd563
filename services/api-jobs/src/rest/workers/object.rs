//! A worker as clients see it.

use std::time::Duration;

use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;
use waybill_domain::time::Timestamp;
use waybill_edge::iso::Iso;

use super::Worker;

/// Without a sign of life for so long, a worker is offline.
const OFFLINE_AFTER: Duration = Duration::from_secs(120);
/// After so many beats that did not come, it is degraded.
const MISSED: u32 = 2;
/// Jobs that a worker takes at a time, if it does not say.
pub(super) const USUAL_CONCURRENCY: u32 = 5;

/// How a worker does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum JobsWorkerStatus {
    Healthy,
    /// Two beats did not come, or it says so.
    Degraded,
    /// Nothing was heard of it for two minutes, or it has deregistered.
    Offline,
    /// Somebody drains it, or it says so.
    Draining,
}

/// A worker in a list.
#[derive(Debug, Serialize, ToSchema)]
pub struct JobsWorkerSummary {
    pub id: String,
    /// The first of its queues.
    pub queue_name: String,
    pub hostname: String,
    pub status: JobsWorkerStatus,
    /// Jobs that it holds.
    pub current_jobs: u32,
    pub max_concurrency: u32,
    #[schema(value_type = String, format = DateTime)]
    pub last_heartbeat: Iso,
}

/// A worker.
#[derive(Debug, Serialize, ToSchema)]
pub struct JobsWorker {
    #[serde(flatten)]
    pub summary: JobsWorkerSummary,
    pub organization_id: String,
    pub queue_names: Vec<String>,
    pub worker_type: Option<String>,
    /// As it was given.
    #[schema(value_type = serde_json::Value)]
    pub metadata: Box<RawValue>,
    pub version: Option<String>,
    /// After the owner of its partition has changed: its first registration since.
    #[schema(value_type = String, format = DateTime)]
    pub registered_at: Iso,
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Iso,
}

impl JobsWorkerSummary {
    pub(super) fn new(worker: &Worker, now: Timestamp) -> Self {
        let of = &worker.registered.registration;
        Self {
            id: worker.name.clone(),
            queue_name: of
                .queues
                .first()
                .map(ToString::to_string)
                .unwrap_or_default(),
            hostname: of.host.clone().unwrap_or_default(),
            status: status(worker, now),
            current_jobs: worker.held,
            max_concurrency: of.concurrency.unwrap_or(USUAL_CONCURRENCY),
            last_heartbeat: Iso(worker.last_seen()),
        }
    }
}

impl JobsWorker {
    pub(super) fn new(worker: &Worker, organization: &str, now: Timestamp) -> Self {
        let of = &worker.registered.registration;
        let metadata = of.metadata.clone();
        let metadata = metadata.and_then(|json| RawValue::from_string(json).ok());
        Self {
            summary: JobsWorkerSummary::new(worker, now),
            organization_id: organization.to_owned(),
            queue_names: of.queues.iter().map(ToString::to_string).collect(),
            worker_type: of.kind.clone(),
            metadata: metadata.unwrap_or_else(|| RawValue::NULL.to_owned()),
            version: of.version.clone(),
            registered_at: Iso(worker.registered.since),
            updated_at: Iso(worker.last_seen()),
        }
    }
}

impl Worker {
    fn last_seen(&self) -> Timestamp {
        self.seen.unwrap_or(self.registered.since)
    }
}

pub(crate) fn status(worker: &Worker, now: Timestamp) -> JobsWorkerStatus {
    let of = &worker.registered.registration;
    let says = of.status.as_deref();
    let silence = now.since(worker.last_seen());
    let beat = Duration::from_millis(of.beat_ms.into());
    if of.left || silence > OFFLINE_AFTER {
        JobsWorkerStatus::Offline
    } else if worker.is_drained || says == Some("draining") {
        JobsWorkerStatus::Draining
    } else if silence > beat * MISSED || says == Some("degraded") {
        JobsWorkerStatus::Degraded
    } else {
        JobsWorkerStatus::Healthy
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use waybill_domain::worker::{Registered, Registration};

    fn worker(says: Option<&str>, left: bool, is_drained: bool) -> Worker {
        Worker {
            name: "w".to_owned(),
            registered: Registered {
                since: Timestamp(0),
                registration: Registration {
                    queues: Vec::new(),
                    host: None,
                    version: None,
                    concurrency: None,
                    beat_ms: 10_000,
                    by: "key:key_4fG7aB2x".to_owned(),
                    kind: None,
                    metadata: None,
                    status: says.map(str::to_owned),
                    left,
                },
            },
            seen: Some(Timestamp(0)),
            held: 0,
            is_drained,
        }
    }

    #[test]
    fn a_worker_does_as_it_says_until_it_is_not_heard_of() {
        let at = |worker: &Worker, millis| status(worker, Timestamp(millis));
        let plain = worker(None, false, false);
        assert_eq!(at(&plain, 20_000), JobsWorkerStatus::Healthy);
        assert_eq!(at(&plain, 20_001), JobsWorkerStatus::Degraded);
        assert_eq!(at(&plain, 120_001), JobsWorkerStatus::Offline);
        let draining = worker(Some("draining"), false, false);
        assert_eq!(at(&draining, 20_001), JobsWorkerStatus::Draining);
        assert_eq!(
            at(&worker(None, false, true), 1),
            JobsWorkerStatus::Draining
        );
        assert_eq!(
            at(&worker(Some("degraded"), false, false), 1),
            JobsWorkerStatus::Degraded
        );
        assert_eq!(at(&worker(None, true, true), 1), JobsWorkerStatus::Offline);
    }
}
