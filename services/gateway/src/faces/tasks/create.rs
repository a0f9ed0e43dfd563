//! `POST /v1/tasks`: a task that is answered with 201 is on disk.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use axum::Extension;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use waybill_domain::access::plan::Plan;
use waybill_domain::actor::Actor;
use waybill_domain::event::{TaskCreated, TaskEvent};
use waybill_domain::id::{TaskId, TeamId};
use waybill_domain::partition::Partition;
use waybill_domain::task::Limits;
use waybill_domain::vault::RawHeaders;
use waybill_log::subject::{CREATED, TaskSubject};
use waybill_log::{
    Append, AppendError, Appended, Atomicity, Expectation, KeyName, NewRecord, Stream,
};

use super::idempotency::{self, Outcome, Repeat};
use super::object::{Task, TaskEnvelope};
use super::request::CreateTask;
use crate::auth::Caller;
use crate::auth::needs::{Need, TasksWrite};
use crate::body::Json;
use crate::edge::RequestContext;
use crate::entropy;
use crate::error::{ApiError, ErrorBody};
use crate::state::AppState;
use crate::vault::tasks::{self, Checked};

/// Marks an answer that repeats an earlier one.
pub(crate) const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
/// Every server takes events of this size, so only larger ones are compared with what this server says it takes.
const ALWAYS_TAKEN_BYTES: usize = 64 * 1024;
/// What the subject and the headers of a message take beside its payload, generously.
const MESSAGE_OVERHEAD_BYTES: usize = 4 * 1024;
/// Room that a creation leaves for what its restatement says beside it: how the task stands, and its latest attempts.
const RESTATEMENT_BYTES: usize = 64 * 1024;

/// Create a task.
///
/// With an `Idempotency-Key`, the same request again answers with the first task and `Idempotency-Replayed: true`. Credentials in its
/// headers are not compared: of them nothing is kept that could be.
#[utoipa::path(
    post,
    path = "/v1/tasks",
    tag = "tasks",
    security(("api_key" = ["tasks:write"])),
    params(("Idempotency-Key" = Option<String>, Header, description = "1 to 255 printable ASCII characters")),
    request_body = CreateTask,
    responses(
        (status = 201, description = "Accepted: it is on disk", body = TaskEnvelope),
        (status = 400, description = "A field is wrong; `field` names it", body = ErrorBody),
        (status = 401, description = "No or no valid API key", body = ErrorBody),
        (status = 403, description = "The key lacks the scope", body = ErrorBody),
        (status = 413, description = "The request is too large", body = ErrorBody),
        (status = 422, description = "The Idempotency-Key belongs to another request", body = ErrorBody),
        (status = 503, description = "Not accepted (`log_full`: for want of room), or (`outcome_unknown`) not confirmed; see Retry-After", body = ErrorBody),
    )
)]
pub(crate) async fn create_task(
    State(state): State<AppState>,
    caller: Caller<TasksWrite>,
    Extension(context): Extension<RequestContext>,
    headers: HeaderMap,
    Json(request): Json<CreateTask>,
) -> Result<Response, ApiError> {
    caller.needs_api()?;
    let start = Instant::now();
    let key = idempotency::key(&headers)?;
    let accepting = Accepting::new(&state, &caller, &context);
    let checked = accepting.check(request, &limits(&state, &caller))?;
    let outcome = match key {
        None => Outcome::First(accepting.keyless(checked).await?),
        Some(key) => idempotency::create(&accepting, checked, key).await?,
    };
    if let Outcome::First(_) = outcome {
        count_accepted(1, start);
    }
    Ok(answer(outcome))
}

/// How many were accepted and how long that took.
pub(crate) fn count_accepted(tasks: u64, start: Instant) {
    metrics::counter!("waybill_accepted_total").increment(tasks);
    metrics::histogram!("waybill_accept_seconds").record(start.elapsed().as_secs_f64());
}

fn answer(outcome: Outcome) -> Response {
    let (task, replayed) = outcome.into_parts();
    let mut response = (StatusCode::CREATED, axum::Json(TaskEnvelope { task })).into_response();
    if replayed {
        response
            .headers_mut()
            .insert(REPLAYED, HeaderValue::from_static("true"));
    }
    response
}

/// What the caller's plan and the configuration allow.
pub(crate) fn limits<N: Need>(state: &AppState, caller: &Caller<N>) -> Limits {
    Limits {
        max_wait: caller.plan.max_wait,
        max_delay: state.config.max_delay,
    }
}

/// A task on its way to the log.
pub(crate) struct Accepted {
    pub(crate) created: TaskCreated,
    pub(crate) record: NewRecord,
    /// The key that its credentials are sealed with, when it brought some.
    pub(crate) seal: Option<KeyName>,
}

/// Turns checked requests of one caller into records on the log.
pub(crate) struct Accepting<'a> {
    pub(crate) state: &'a AppState,
    pub(crate) team: &'a TeamId,
    plan: &'a Plan,
    actor: Actor,
    context: &'a RequestContext,
    /// Why nothing could be sealed, once that was found out: a batch waits for it once, not a thousand times.
    vault_away: Mutex<Option<ApiError>>,
}

impl<'a> Accepting<'a> {
    pub(crate) fn new<N: Need>(
        state: &'a AppState,
        caller: &'a Caller<N>,
        context: &'a RequestContext,
    ) -> Self {
        Self {
            state,
            team: &caller.team,
            plan: &caller.plan,
            actor: caller.actor(),
            context,
            vault_away: Mutex::new(None),
        }
    }

    /// Checks a request, all but what can only be said by storing it.
    pub(crate) fn check(&self, request: CreateTask, limits: &Limits) -> Result<Checked, ApiError> {
        if request.refers_to_vault() {
            self.state.vault.check_configured()?;
        }
        let spec = request.check(limits, &self.state.config.egress, entropy::now())?;
        let now = entropy::times().elapsed;
        self.state
            .queues
            .admit(self.team, &spec.queue, self.plan, now)?;
        Checked::new(self.state, self.team, spec)
    }

    /// The event that accepts a task, and its record; credentials of the task are sealed, and the key of the seal is stored. Refused
    /// when the log could not take it, or is full.
    pub(crate) async fn accept(
        &self,
        checked: Checked,
        key: Option<String>,
    ) -> Result<Accepted, ApiError> {
        let now = entropy::now();
        let Checked { mut spec, raw } = checked;
        let partition = Partition::of(self.team, &spec.queue, self.state.partitions);
        let id = TaskId::new(now, entropy::random_u128(), partition);
        // Before a key is stored for nothing.
        self.state.room.check()?;
        let mut seal = None;
        if let Some(raw) = &raw {
            let (envelope, name) = self.seal(id, raw).await?;
            spec.set_sealed(raw, envelope);
            seal = Some(name);
        }
        let event = TaskEvent::Created(Box::new(spec.accept(id, self.team.clone(), key, now)));
        let payload = Bytes::from(event.encode());
        if payload.len() > ALWAYS_TAKEN_BYTES {
            let largest = self.state.nats.server_info().max_payload;
            let room = largest.saturating_sub(MESSAGE_OVERHEAD_BYTES + RESTATEMENT_BYTES);
            if payload.len() > room {
                tasks::forget(self.state, seal);
                return Err(ApiError::too_large(room));
            }
        }
        if let Err(full) = self.state.room.admit(payload.len() as u64) {
            tasks::forget(self.state, seal);
            return Err(full.into());
        }
        let name = event.name();
        let TaskEvent::Created(created) = event else {
            return Err(ApiError::internal(&"an accepted task is a created one"));
        };
        let subject = TaskSubject::event(partition, self.team, &created.queue, CREATED).to_string();
        let record = NewRecord {
            subject,
            event: name,
            actor: self.actor.to_string(),
            traceparent: Some((*self.context.traceparent).to_owned()),
            origin: Some(self.context.origin()),
            payload,
        };
        Ok(Accepted {
            created: *created,
            record,
            seal,
        })
    }

    async fn seal(&self, id: TaskId, raw: &RawHeaders) -> Result<(String, KeyName), ApiError> {
        let away = || {
            self.vault_away
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
        };
        let known = away().clone();
        if let Some(error) = known {
            return Err(error);
        }
        let sealed = tasks::seal(self.state, self.team, id, raw).await;
        if let Err(error) = &sealed {
            *away() = Some(error.clone());
        }
        sealed
    }

    /// What an append that failed means to the client, and to the key of the task's seal: of a task that may be stored it is kept.
    pub(crate) fn not_appended(&self, error: AppendError, seal: Option<KeyName>) -> ApiError {
        if !matches!(error, AppendError::Unknown { .. }) {
            tasks::forget(self.state, seal);
        }
        error.into()
    }

    /// Remembers what the client is about to be told, so that it reads its own writes.
    pub(crate) fn acknowledged(&self, appended: &Appended) {
        if let Some(&last) = appended.seqs.iter().max() {
            self.state.acknowledged.told(self.team, last);
        }
    }

    /// Stores a task that nobody can ask for twice. The log's own retries are harmless; a client's second request is a second task.
    pub(crate) async fn keyless(&self, checked: Checked) -> Result<Task, ApiError> {
        let Accepted {
            created,
            record,
            seal,
        } = self.accept(checked, None).await?;
        let appended = self.state.log.append(Append {
            stream: Stream::Tasks,
            records: vec![record],
            expect: Expectation::None,
            atomicity: Atomicity::Ordered,
            msg_id: None,
        });
        match appended.await {
            Ok(appended) => {
                self.acknowledged(&appended);
                Ok(Task::created(created))
            }
            Err(error) => Err(self
                .not_appended(error, seal)
                .for_unknown(created.id, Repeat::AfterLooking)),
        }
    }
}
