//! `POST /api/v1/workers/register`.

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;
use waybill_api_tasks::TasksApi;
use waybill_commands::entropy;
use waybill_domain::id::QueueName;
use waybill_domain::task::pull::MAX_CLAIMED_QUEUES;
use waybill_domain::worker::{
    MAX_HOST_CHARS, MAX_VERSION_CHARS, Registration, WorkerName, is_plain,
};
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::{InQueues, JobsWrite};
use waybill_edge::error::ApiError;
use waybill_edge::workers::beat;

use super::object::USUAL_CONCURRENCY;
use crate::body::Body;
use crate::{permission, rules};

/// Seconds between two beats of a worker.
const BEAT_SECS: u32 = 10;
/// Seconds of the lease that a worker should ask for.
const LEASE_SECS: u32 = 30;
/// Longest `worker_type`, in characters.
const MAX_KIND_CHARS: usize = 50;
/// Longest metadata, in bytes of JSON.
const MAX_METADATA_BYTES: usize = 4_096;

/// What a worker says about itself.
#[derive(Debug, Deserialize, ToSchema)]
pub struct JobsRegisterWorker {
    /// The queue whose jobs it takes. Instead, several as `queue_names`.
    pub queue_name: Option<String>,
    #[schema(min_items = 1, max_items = 100)]
    pub queue_names: Option<Vec<String>>,
    /// The machine that it runs on.
    #[schema(min_length = 1, max_length = 255)]
    pub hostname: String,
    /// 1 to 100 letters, digits, `.`, `-` and `_`; the same one again replaces what it said before. Without it, one is made.
    #[schema(min_length = 1, max_length = 100)]
    pub worker_id: Option<String>,
    #[schema(max_length = 50)]
    pub worker_type: Option<String>,
    /// How many jobs it takes at a time.
    #[schema(default = 5, minimum = 1, maximum = 100)]
    pub max_concurrency: Option<i64>,
    /// Any JSON of up to 4 KiB.
    #[schema(value_type = Option<serde_json::Value>)]
    pub metadata: Option<Box<RawValue>>,
    /// What it runs.
    #[schema(max_length = 50)]
    pub version: Option<String>,
}

/// How it should go on.
#[derive(Debug, Serialize, ToSchema)]
pub struct JobsRegistered {
    pub id: String,
    pub queue_name: String,
    pub lease_duration_secs: u32,
    pub heartbeat_interval_secs: u32,
}

/// Register a worker, or describe it anew.
#[utoipa::path(
    post,
    path = "/api/v1/workers/register",
    operation_id = "jobs.worker.register",
    tag = "jobs",
    security(("api_key" = ["jobs:write"])),
    request_body = JobsRegisterWorker,
    responses((status = 201, description = "It is listed", body = JobsRegistered))
)]
pub(crate) async fn register_worker(
    State(state): State<TasksApi>,
    caller: Caller<InQueues<JobsWrite>>,
    Body(request, ignored): Body<JobsRegisterWorker>,
) -> Result<Response, ApiError> {
    let registered = register(&state, &caller, request).await?;
    Ok(ignored.answer(StatusCode::CREATED, registered))
}

/// Registers a worker, or describes it anew.
///
/// # Errors
/// If a value breaks a rule, or one of the queues is not the caller's.
pub async fn register(
    state: &TasksApi,
    caller: &Caller<InQueues<JobsWrite>>,
    request: JobsRegisterWorker,
) -> Result<JobsRegistered, ApiError> {
    caller.needs_api()?;
    let (worker, registration) = request.check(caller.actor().to_string())?;
    for queue in &registration.queues {
        permission::named(caller, queue)?;
    }
    let queue = registration.queues.first().map(ToString::to_string);
    beat(state, caller, &worker, registration).await?;
    Ok(JobsRegistered {
        id: worker.to_string(),
        queue_name: queue.unwrap_or_default(),
        lease_duration_secs: LEASE_SECS,
        heartbeat_interval_secs: BEAT_SECS,
    })
}

impl JobsRegisterWorker {
    fn check(self, by: String) -> Result<(WorkerName, Registration), ApiError> {
        let queues = queues(self.queue_name, self.queue_names)?;
        let worker = match self.worker_id {
            Some(id) => named(&id)?,
            None => rules::worker(&format!("worker-{:032x}", entropy::random_u128()))?,
        };
        let concurrency = rules::whole("max_concurrency", self.max_concurrency, (1, 100))?;
        Ok((
            worker,
            Registration {
                queues,
                host: text("hostname", Some(self.hostname), MAX_HOST_CHARS)?,
                version: text("version", self.version, MAX_VERSION_CHARS)?,
                concurrency: concurrency
                    .and_then(|given| u32::try_from(given).ok())
                    .or(Some(USUAL_CONCURRENCY)),
                beat_ms: BEAT_SECS * 1_000,
                by,
                kind: text("worker_type", self.worker_type, MAX_KIND_CHARS)?,
                metadata: metadata(self.metadata)?,
                status: None,
                left: false,
            },
        ))
    }
}

fn queues(one: Option<String>, several: Option<Vec<String>>) -> Result<Vec<QueueName>, ApiError> {
    let names: Vec<String> = match (one, several) {
        (Some(one), several) => {
            let mut names = several.unwrap_or_default();
            names.retain(|name| *name != one);
            names.insert(0, one);
            names
        }
        (None, Some(several)) => several,
        (None, None) => {
            let mut error = rules::broken("queue_name", "is required", "required");
            error.status = StatusCode::UNPROCESSABLE_ENTITY;
            return Err(error);
        }
    };
    if !(1..=MAX_CLAIMED_QUEUES).contains(&names.len()) {
        let text = format!(
            "must be 1 to {MAX_CLAIMED_QUEUES} queues, not {}",
            names.len()
        );
        return Err(rules::broken("queue_names", text, "length"));
    }
    names
        .iter()
        .map(|name| rules::queue("queue_name", name))
        .collect()
}

fn named(id: &str) -> Result<WorkerName, ApiError> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if !id.chars().all(is_plain) {
        let text = "must consist of letters, digits, ., - and _";
        return Err(rules::broken("worker_id", text, "pattern"));
    }
    rules::worker(id)
}

fn text(
    field: &'static str,
    given: Option<String>,
    most: usize,
) -> Result<Option<String>, ApiError> {
    if given.as_ref().is_some_and(|text| !is_plain(text, most)) {
        let text = format!("must be 1 to {most} characters without control characters");
        return Err(rules::broken(field, text, "length"));
    }
    Ok(given)
}

pub(super) fn metadata(given: Option<Box<RawValue>>) -> Result<Option<String>, ApiError> {
    let text = given.map(|json| json.get().to_owned());
    let length = text.as_ref().map_or(0, String::len);
    if length > MAX_METADATA_BYTES {
        let text = format!("must be at most {MAX_METADATA_BYTES} bytes, not {length}");
        return Err(rules::broken("metadata", text, "length"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_out_of_bounds_are_refused_by_name() {
        let long = "x".repeat(256);
        for (json, field) in [
            (r#"{"hostname": "h"}"#.to_owned(), "queue_name"),
            (
                r#"{"hostname": "h", "queue_names": []}"#.to_owned(),
                "queue_names",
            ),
            (
                r#"{"hostname": "h", "queue_name": "a b"}"#.to_owned(),
                "queue_name",
            ),
            (
                r#"{"hostname": "", "queue_name": "q"}"#.to_owned(),
                "hostname",
            ),
            (
                format!(r#"{{"hostname": "{long}", "queue_name": "q"}}"#),
                "hostname",
            ),
            (
                r#"{"hostname": "h", "queue_name": "q", "worker_id": "a b"}"#.to_owned(),
                "worker_id",
            ),
            (
                r#"{"hostname": "h", "queue_name": "q", "max_concurrency": 101}"#.to_owned(),
                "max_concurrency",
            ),
        ] {
            let request: JobsRegisterWorker = serde_json::from_str(&json).expect("the shape");
            let error = request.check(String::new()).expect_err(&json);
            assert_eq!(error.body.field.as_deref(), Some(field), "{json}");
        }
        let plain = r#"{"hostname": "h", "queue_name": "q", "queue_names": ["p", "q"]}"#;
        let plain: JobsRegisterWorker = serde_json::from_str(plain).expect("the shape");
        let (worker, of) = plain.check(String::new()).expect("fine");
        assert!(worker.as_str().starts_with("worker-"));
        let queues: Vec<_> = of.queues.iter().map(QueueName::as_str).collect();
        assert_eq!((queues, of.concurrency), (vec!["q", "p"], Some(5)));
    }
}
