//! `POST /api/v1/jobs`: a job that is answered is on disk.

use std::time::Instant;

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;
use waybill_api_tasks::TasksApi;
use waybill_api_tasks::accept::{Accepted, Accepting, count_accepted, limits};
use waybill_api_tasks::credentials::Checked;
use waybill_api_tasks::idempotency::msg_id;
use waybill_api_tasks::request::CreateTask;
use waybill_commands::entropy;
use waybill_domain::event::TaskEvent;
use waybill_domain::id::{QueueName, TaskId};
use waybill_domain::task::{Backoff, JobTerms, Limits, Priority};
use waybill_domain::time::Timestamp;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::{InQueues, JobsWrite, Need};
use waybill_edge::error::{ApiError, ErrorCode};
use waybill_edge::idempotency::Repeat;
use waybill_log::{Append, Atomicity, Expectation, Stream, StreamSeq, TaskRecord, task_record};

use crate::body::Body;
use crate::{permission, rules};

/// The longest pause between two attempts, with its jitter: a minute and a tenth of it.
const LONGEST_PAUSE_MS: u32 = 66_000;
/// Longest `job_type` that lists find jobs by, in bytes.
const MAX_TYPE_BYTES: usize = 255;

/// A job to be created.
#[derive(Debug, Deserialize, ToSchema)]
pub struct JobsCreateJob {
    /// 1 to 100 letters, digits, `-` and `_`.
    #[schema(min_length = 1, max_length = 100, example = "emails")]
    pub queue_name: String,
    /// Any JSON.
    #[schema(value_type = serde_json::Value)]
    pub payload: Box<RawValue>,
    /// Higher ones are claimed first.
    #[schema(default = 0, minimum = -100, maximum = 100)]
    pub priority: Option<i64>,
    /// Retries after the first attempt. Without it, what the queue says, else 3.
    #[schema(minimum = 0, maximum = 100)]
    pub max_retries: Option<i64>,
    /// Seconds that its worker should take at most. The lease enforces it, and nothing else.
    #[schema(default = 300, minimum = 1, maximum = 86400)]
    pub timeout_seconds: Option<i64>,
    /// Not before this time (RFC 3339); one that has passed is at once.
    #[schema(format = DateTime)]
    pub scheduled_at: Option<String>,
    /// After this time it is not worked on: it ends as `failed`.
    #[schema(format = DateTime)]
    pub expires_at: Option<String>,
    /// Makes a repeated creation the first one again, as long as the job is kept.
    #[schema(min_length = 1, max_length = 255)]
    pub idempotency_key: Option<String>,
    /// An object or a list, up to 64 KiB of JSON. Lists find jobs by tags of up to 4 KiB.
    #[schema(value_type = Option<serde_json::Value>)]
    pub tags: Option<Box<RawValue>>,
    #[schema(ignore)]
    pub parent_job_id: Option<serde::de::IgnoredAny>,
    #[schema(ignore)]
    pub completion_webhook: Option<serde::de::IgnoredAny>,
    #[schema(ignore)]
    pub completion_webhook_secret: Option<serde::de::IgnoredAny>,
}

/// A job that was created, now or before.
#[derive(Debug, Serialize, ToSchema)]
pub struct JobsCreated {
    /// A UUID.
    pub id: String,
    /// `false`: an earlier request with the same idempotency key had created it.
    pub created: bool,
}

/// Create a job.
#[utoipa::path(
    post,
    path = "/api/v1/jobs",
    operation_id = "jobs.job.create",
    tag = "jobs",
    security(("api_key" = ["jobs:write"])),
    request_body = JobsCreateJob,
    responses(
        (status = 200, description = "The idempotency key is known: nothing was changed", body = JobsCreated),
        (status = 201, description = "It is on disk", body = JobsCreated),
    )
)]
pub(crate) async fn create_job(
    State(state): State<TasksApi>,
    caller: Caller<InQueues<JobsWrite>>,
    Body(request, ignored): Body<JobsCreateJob>,
) -> Result<Response, ApiError> {
    let made = create(&state, &caller, request).await?;
    let status = if made.created {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    Ok(ignored.answer(status, made))
}

/// Creates a job, unless its idempotency key is known.
///
/// # Errors
/// If a value breaks a rule, the queue is not the caller's, or the job cannot be stored.
pub async fn create(
    state: &TasksApi,
    caller: &Caller<InQueues<JobsWrite>>,
    request: JobsCreateJob,
) -> Result<JobsCreated, ApiError> {
    caller.needs_api()?;
    let start = Instant::now();
    let job = request.check()?;
    permission::named(caller, &job.queue)?;
    let accepting = Accepting::new(state, caller, caller.context());
    let key = job.key.clone();
    let checked = job.into_task(&accepting, &limits(state, caller))?;
    let (id, created) = store(state, caller, &accepting, checked, key).await?;
    if created {
        count_accepted(1, start);
    }
    let id = id.uuid_text();
    Ok(JobsCreated { id, created })
}

/// A job whose values keep the rules.
#[derive(Debug)]
pub struct NewJob {
    pub queue: QueueName,
    pub payload: Box<RawValue>,
    pub priority: Option<Priority>,
    pub max_retries: Option<u16>,
    pub timeout_s: Option<u32>,
    pub scheduled_at: Option<Timestamp>,
    pub expires_at: Option<Timestamp>,
    pub key: Option<String>,
    pub tags: Option<String>,
}

impl JobsCreateJob {
    pub fn check(self) -> Result<NewJob, ApiError> {
        for (field, given) in [
            ("parent_job_id", self.parent_job_id.is_some()),
            ("completion_webhook", self.completion_webhook.is_some()),
            (
                "completion_webhook_secret",
                self.completion_webhook_secret.is_some(),
            ),
        ] {
            if given {
                return Err(rules::broken(field, "is not available yet", "unsupported"));
            }
        }
        let scheduled_at = rules::time("scheduled_at", self.scheduled_at.as_deref())?;
        let expires_at = rules::time("expires_at", self.expires_at.as_deref())?;
        let expires_at = rules::future("expires_at", expires_at)?;
        if expires_at
            .zip(scheduled_at)
            .is_some_and(|(end, start)| end <= start)
        {
            return Err(rules::broken(
                "expires_at",
                "must be after scheduled_at",
                "range",
            ));
        }
        Ok(NewJob {
            queue: rules::queue("queue_name", &self.queue_name)?,
            payload: self.payload,
            priority: rules::priority("priority", self.priority)?,
            max_retries: retries("max_retries", self.max_retries)?,
            timeout_s: timeout("timeout_seconds", self.timeout_seconds)?,
            scheduled_at,
            expires_at,
            key: rules::key(self.idempotency_key)?,
            tags: rules::tags(self.tags)?,
        })
    }
}

pub fn retries(field: &'static str, given: Option<i64>) -> Result<Option<u16>, ApiError> {
    let given = rules::whole(field, given, (0, 100))?;
    Ok(given.and_then(|given| u16::try_from(given).ok()))
}

pub fn timeout(field: &'static str, given: Option<i64>) -> Result<Option<u32>, ApiError> {
    let given = rules::whole(field, given, (1, 86_400))?;
    Ok(given.and_then(|given| u32::try_from(given).ok()))
}

impl NewJob {
    /// The task that it becomes.
    pub fn into_task(
        self,
        accepting: &Accepting<'_>,
        limits: &Limits,
    ) -> Result<Checked, ApiError> {
        let now = entropy::now();
        let later = self.scheduled_at.filter(|at| *at > now);
        if later.is_some_and(|at| at.since(now) > limits.max_delay) {
            let days = limits.max_delay.as_secs() / 86_400;
            let text = format!("must be at most {days} days ahead");
            return Err(rules::broken("scheduled_at", text, "range"));
        }
        let of_queue = accepting.queue_defaults(&self.queue);
        let of_queue = of_queue.and_then(|defaults| defaults.job_timeout_s);
        let terms = JobTerms {
            timeout_s: self.timeout_s.or(of_queue),
            tags: self.tags,
            job_type: job_type(&self.payload),
            root: None,
        };
        let mut request = CreateTask::default();
        request.queue = Some(self.queue.to_string());
        request.json = Some(self.payload);
        let mut checked = accepting.check(request, limits)?;
        let spec = &mut checked.spec;
        spec.not_before = later;
        spec.deadline = self.expires_at;
        if let Some(priority) = self.priority {
            spec.priority = priority;
        }
        if let Some(retries) = self.max_retries {
            spec.max_retries = retries;
        }
        // Unless its queue has pauses of its own: 1, 2, 4 s and so on, up to a minute.
        let has_own = !spec.retry_pauses.is_empty() || !spec.retry_bounds.are_usual();
        if spec.backoff == Backoff::Exponential && !has_own {
            spec.retry_bounds.max_ms = Some(LONGEST_PAUSE_MS);
        }
        spec.job = Some(Box::new(terms));
        Ok(checked)
    }
}

/// The member `job_type` of a payload.
fn job_type(payload: &RawValue) -> Option<String> {
    #[derive(Deserialize)]
    struct Typed {
        job_type: Option<String>,
    }
    let typed: Typed = serde_json::from_str(payload.get()).ok()?;
    typed.job_type.filter(|of| of.len() <= MAX_TYPE_BYTES)
}

/// Stores a job, unless its key is known. Returns its id, and whether it was created now.
pub async fn store<N: Need>(
    state: &TasksApi,
    caller: &Caller<N>,
    accepting: &Accepting<'_>,
    checked: Checked,
    key: Option<String>,
) -> Result<(TaskId, bool), ApiError> {
    if let Some(key) = &key {
        let earlier = state.queries.by_idempotency_key(&caller.team, key).await?;
        if let Some(earlier) = earlier {
            return Ok(known(state, caller, earlier.id, earlier.created_seq));
        }
    }
    let msg_id = key.as_deref().map(|key| msg_id(&caller.team, key));
    let repeat = if key.is_some() {
        Repeat::ByKey
    } else {
        Repeat::AfterLooking
    };
    let Accepted { created, record } = accepting.accept(checked, key).await?;
    let appended = state.log.append(Append {
        stream: Stream::Tasks,
        records: vec![record],
        expect: Expectation::None,
        atomicity: Atomicity::Ordered,
        msg_id,
    });
    let appended = appended
        .await
        .map_err(|error| ApiError::from(error).for_unknown(created.id, repeat))?;
    accepting.acknowledged(&appended);
    if !appended.duplicate {
        return Ok((created.id, true));
    }
    let seq = appended.seqs.first().copied().unwrap_or_default();
    let stored = stored_at(state, seq).await?;
    if stored == created.id {
        // This request's own first try, which had been stored.
        return Ok((created.id, true));
    }
    Ok(known(state, caller, stored, seq))
}

/// A job that an earlier request has created.
fn known<N: Need>(
    state: &TasksApi,
    caller: &Caller<N>,
    id: TaskId,
    seq: StreamSeq,
) -> (TaskId, bool) {
    state.acknowledge(&caller.context().position, &caller.team, seq);
    (id, false)
}

async fn stored_at(state: &TasksApi, seq: StreamSeq) -> Result<TaskId, ApiError> {
    let record = state.log.read(Stream::Tasks, seq).await?.ok_or_else(|| {
        ApiError::conflict(
            ErrorCode::IdempotencyExpired,
            "The idempotency key belongs to a job that is no longer kept; use another key",
        )
    })?;
    match task_record(&record) {
        Ok(TaskRecord::Event(TaskEvent::Created(created))) => Ok(created.id),
        Ok(_) => Err(ApiError::internal(&format!("no job is stored at {seq}"))),
        Err(error) => Err(ApiError::internal(&error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(json: &str) -> Result<NewJob, ApiError> {
        serde_json::from_str::<JobsCreateJob>(json)
            .expect("the shape")
            .check()
    }

    #[test]
    fn a_broken_rule_names_its_field() {
        let long = "x".repeat(256);
        for (member, field) in [
            (r#""queue_name": """#.to_owned(), "queue_name"),
            (r#""queue_name": "a b""#.to_owned(), "queue_name"),
            (r#""priority": 101"#.to_owned(), "priority"),
            (r#""priority": -101"#.to_owned(), "priority"),
            (r#""max_retries": -1"#.to_owned(), "max_retries"),
            (r#""max_retries": 101"#.to_owned(), "max_retries"),
            (r#""timeout_seconds": 0"#.to_owned(), "timeout_seconds"),
            (r#""timeout_seconds": 86401"#.to_owned(), "timeout_seconds"),
            (r#""scheduled_at": "soon""#.to_owned(), "scheduled_at"),
            (r#""expires_at": "2001-01-01T00:00:00Z""#.to_owned(), "expires_at"),
            (
                r#""expires_at": "2100-01-01T00:00:00Z", "scheduled_at": "2100-01-01T01:00:00+01:00""#
                    .to_owned(),
                "expires_at",
            ),
            (format!(r#""idempotency_key": "{long}""#), "idempotency_key"),
            (r#""idempotency_key": """#.to_owned(), "idempotency_key"),
            (r#""tags": 1"#.to_owned(), "tags"),
            (format!(r#""tags": ["{}"]"#, "x".repeat(65_536)), "tags"),
            (r#""parent_job_id": "x""#.to_owned(), "parent_job_id"),
        ] {
            let mut object: serde_json::Map<String, serde_json::Value> =
                serde_json::from_str(&format!("{{{member}}}")).expect("an object");
            object.entry("queue_name").or_insert("q".into());
            object.entry("payload").or_insert(1.into());
            let json = serde_json::Value::Object(object).to_string();
            let error = job(&json).expect_err(&member);
            assert_eq!(error.body.field.as_deref(), Some(field), "{member}");
            assert_eq!(error.status, StatusCode::BAD_REQUEST);
        }
    }

    #[test]
    fn any_json_is_a_payload_and_its_type_is_found() {
        let typed = |payload: &str| {
            let json = format!(r#"{{"queue_name": "q", "payload": {payload}}}"#);
            job_type(&job(&json).expect("fine").payload)
        };
        assert_eq!(
            typed(r#"{"job_type": "mail", "n": 1}"#).as_deref(),
            Some("mail")
        );
        for payload in ["null", "1", "[1]", "{}", r#"{"job_type": 1}"#, r#""x""#] {
            assert_eq!(typed(payload), None, "{payload}");
        }
    }
}
