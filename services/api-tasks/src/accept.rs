//! Accepting a task: from a checked request to a record on the log, or to a refusal that says why not.
//!
//! Creations come one by one, in batches and with idempotency keys. All of them go through [`Accepting`], which seals the task's
//! credentials, fills in the defaults of its team, and refuses it while the log has no room.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use parking_lot::Mutex;
use waybill_domain::access::plan::Plan;
use waybill_domain::actor::{Actor, Origin};
use waybill_domain::dispatcher::RESTATEMENT_BYTES;
use waybill_domain::event::{TaskCreated, TaskEvent};
use waybill_domain::id::{EpochId, QueueName, TaskId, TeamId};
use waybill_domain::partition::Partition;
use waybill_domain::task::{Limits, QueueDefaults};
use waybill_domain::time::Timestamp;
use waybill_domain::trace::TraceParent;
use waybill_domain::vault::RawHeaders;
use waybill_log::subject::{CREATED, TaskSubject};
use waybill_log::{Append, Appended, Atomicity, Expectation, NewRecord, Stream, StreamSeq};

use super::object::Task;
use super::request::CreateTask;
use crate::credentials::{self, Checked};
use crate::state::TasksApi;
use waybill_commands::entropy;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::Need;
use waybill_edge::error::ApiError;
use waybill_edge::idempotency::Repeat;
use waybill_edge::position::PositionSlot;
use waybill_edge::request::RequestContext;

/// Every server takes events of this size, so only larger ones are compared with what this server says it takes.
const ALWAYS_TAKEN_BYTES: usize = 64 * 1024;
/// Bytes that are reserved for the subject and the headers of a message beside its payload.
const MESSAGE_OVERHEAD_BYTES: usize = 4 * 1024;

/// Records how many tasks were accepted and how long that took.
pub fn count_accepted(tasks: u64, start: Instant) {
    metrics::counter!("waybill_accepted_total").increment(tasks);
    metrics::histogram!("waybill_accept_seconds").record(start.elapsed().as_secs_f64());
}

/// What the caller's plan and the configuration allow.
pub fn limits<N: Need>(state: &TasksApi, caller: &Caller<N>) -> Limits {
    limits_of(state, &caller.plan)
}

/// What a plan and the configuration allow.
pub fn limits_of(state: &TasksApi, plan: &Plan) -> Limits {
    Limits {
        max_wait: plan.max_wait,
        max_delay: state.config.max_delay,
    }
}

/// An accepted task, ready to be appended.
pub struct Accepted {
    /// What is appended.
    pub created: TaskCreated,
    /// The same, as the log takes it.
    pub record: NewRecord,
}

/// Turns checked requests of one caller into records on the log.
pub struct Accepting<'a> {
    pub(crate) state: &'a TasksApi,
    pub(crate) team: &'a TeamId,
    plan: &'a Plan,
    /// The queues that the caller is limited to; `None`: it is not.
    only: Option<Vec<QueueName>>,
    actor: Actor,
    /// W3C trace context of what causes the creations.
    traceparent: Arc<str>,
    /// Where the request is told what it has acknowledged.
    position: PositionSlot,
    /// The request that causes them; `None` for an operation or a schedule, which has records of its own.
    origin: Option<Origin>,
    /// The error of the vault once sealing has failed: a batch then waits for an unavailable vault once, not a thousand times. Locked for a
    /// moment at a time, never across an await.
    vault_error: Mutex<Option<ApiError>>,
}

impl<'a> Accepting<'a> {
    /// On behalf of whoever sent a request.
    #[must_use]
    pub fn new<N: Need>(
        state: &'a TasksApi,
        caller: &'a Caller<N>,
        context: &'a RequestContext,
    ) -> Self {
        Self {
            state,
            team: &caller.team,
            plan: &caller.plan,
            only: caller.only_queues().map(<[_]>::to_vec),
            actor: caller.actor(),
            traceparent: Arc::clone(&context.traceparent),
            position: context.position.clone(),
            origin: Some(context.origin()),
            vault_error: Mutex::new(None),
        }
    }

    /// On behalf of an operation or a schedule, which is the actor.
    #[must_use]
    pub fn of_operation(
        state: &'a TasksApi,
        team: &'a TeamId,
        plan: &'a Plan,
        actor: Actor,
    ) -> Self {
        let trace = TraceParent::root(entropy::random(), entropy::random());
        Self {
            state,
            team,
            plan,
            only: None,
            actor,
            traceparent: trace.as_str().into(),
            position: PositionSlot::default(),
            origin: None,
            vault_error: Mutex::new(None),
        }
    }

    /// Checks everything about a request that can be checked before it is stored, and fills in what it leaves open from the settings of its
    /// queue.
    pub fn check(&self, request: CreateTask, limits: &Limits) -> Result<Checked, ApiError> {
        let given = request.given();
        let mut checked = self.check_as_given(request, limits)?;
        if let Some(defaults) = self.queue_defaults(&checked.spec.queue) {
            checked.fill_in(&defaults, given, limits);
        }
        Ok(checked)
    }

    pub fn queue_defaults(&self, queue: &QueueName) -> Option<QueueDefaults> {
        let environment = self.team.environment();
        let directory = self.state.auth.directory();
        let defaults = directory.with_team(&self.team.base(), |team| {
            let defaults = &team.queue(environment, queue)?.defaults;
            (!defaults.is_empty()).then(|| defaults.clone())
        });
        defaults.flatten()
    }

    /// The same without the settings of its queue: what does an ended task again is as that was.
    pub(crate) fn check_as_given(
        &self,
        request: CreateTask,
        limits: &Limits,
    ) -> Result<Checked, ApiError> {
        if request.refers_to_vault() {
            self.state.vault.check_configured()?;
        }
        let spec = request.check(limits, &self.state.config.egress, entropy::now())?;
        if self
            .only
            .as_ref()
            .is_some_and(|only| !only.contains(&spec.queue))
        {
            return Err(ApiError::outside_queues(&spec.queue));
        }
        let now = entropy::times().elapsed;
        self.state
            .queues
            .admit(self.team, &spec.queue, self.plan, now)?;
        Checked::new(self.state, self.team, spec)
    }

    /// Fills in what the task leaves open from the defaults of its queue and its team. They become part of the task, so that a worker needs
    /// no other source. The fingerprint of the request does not include them: repeated after they changed, it is still the same request.
    fn apply_team_defaults(&self, created: &mut TaskCreated) {
        let directory = self.state.auth.directory();
        let defaults = directory.with_team(&self.team.base(), |team| {
            Some(team.info.as_ref()?.tasks.clone())
        });
        let Some(defaults) = defaults.flatten() else {
            return;
        };
        // They judge answers of targets.
        if !created.is_pulled() {
            let outcome = defaults.of_queue(&created.queue);
            created.success = created.success.take().or(outcome.success);
            created.retry_on = created.retry_on.take().or(outcome.retry_on);
        }
        if created.on_complete_url.is_some() {
            created.webhook_pauses = defaults.webhook_pauses;
        }
    }

    /// The event that accepts a task, and its record; credentials of the task are sealed under a key that is stored. Refused
    /// when the log could not take it, or is full.
    pub async fn accept(
        &self,
        checked: Checked,
        key: Option<String>,
    ) -> Result<Accepted, ApiError> {
        let now = entropy::now();
        let partition = Partition::of(self.team, &checked.spec.queue, self.state.partitions);
        let id = TaskId::with_uuid(now, entropy::random_u128(), partition);
        self.accept_as(checked, key, id, now).await
    }

    /// The same with an id that was made before, for the partition of its queue.
    pub async fn accept_as(
        &self,
        mut checked: Checked,
        key: Option<String>,
        id: TaskId,
        now: Timestamp,
    ) -> Result<Accepted, ApiError> {
        // Checked before a key is stored in vain.
        self.state.room.check()?;
        if let Some(raw) = checked.raw.take() {
            let (envelope, epoch) = self.seal(id, &raw).await?;
            checked.spec.set_sealed(&raw, envelope, epoch);
        }
        self.event(checked, key, id, now)
    }

    /// The event of a task whose credentials are sealed, and its record.
    fn event(
        &self,
        checked: Checked,
        key: Option<String>,
        id: TaskId,
        now: Timestamp,
    ) -> Result<Accepted, ApiError> {
        let mut created = checked.spec.accept(id, self.team.clone(), key, now);
        if created.fingerprint.is_some() {
            created.fingerprint = checked.as_given.or(created.fingerprint);
        }
        self.apply_team_defaults(&mut created);
        created.created_by = Some(self.actor.clone());
        created.max_answer_bytes = Some(self.plan.max_answer_bytes)
            .filter(|bytes| *bytes != waybill_domain::event::task::USUAL_ANSWER_BYTES);
        let event = TaskEvent::Created(Box::new(created));
        let payload = Bytes::from(event.encode());
        if payload.len() > ALWAYS_TAKEN_BYTES {
            let largest = self.state.nats.server_info().max_payload;
            let room = largest.saturating_sub(MESSAGE_OVERHEAD_BYTES + RESTATEMENT_BYTES);
            if payload.len() > room {
                return Err(ApiError::too_large(room));
            }
        }
        self.state.room.admit(payload.len() as u64)?;
        let name = event.name();
        let TaskEvent::Created(created) = event else {
            return Err(ApiError::internal(&"an accepted task is a created one"));
        };
        let subject =
            TaskSubject::event(id.partition(), self.team, &created.queue, CREATED).to_string();
        let record = NewRecord {
            subject,
            event: name,
            actor: self.actor.to_string(),
            traceparent: Some((*self.traceparent).to_owned()),
            origin: self.origin.clone(),
            payload,
        };
        Ok(Accepted {
            created: *created,
            record,
        })
    }

    async fn seal(&self, id: TaskId, raw: &RawHeaders) -> Result<(String, EpochId), ApiError> {
        let failed = || self.vault_error.lock();
        let known = failed().clone();
        if let Some(error) = known {
            return Err(error);
        }
        let sealed = credentials::seal(self.state, self.team, id, raw).await;
        if let Err(error) = &sealed {
            *failed() = Some(error.clone());
        }
        sealed
    }

    /// Remembers the position that the client is about to be told, so that it reads its own writes.
    pub fn acknowledged(&self, appended: &Appended) {
        if let Some(&last) = appended.seqs.iter().max() {
            self.tell(last);
        }
    }

    /// The same, of something that was stored before.
    pub(crate) fn tell(&self, seq: StreamSeq) {
        self.state.acknowledge(&self.position, self.team, seq);
    }

    /// Stores a task without an idempotency key. The log's own retries store it once; a second request of the client is a second task.
    pub(crate) async fn keyless(&self, checked: Checked) -> Result<Task, ApiError> {
        let Accepted { created, record } = self.accept(checked, None).await?;
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
            Err(error) => Err(ApiError::from(error).for_unknown(created.id, Repeat::AfterLooking)),
        }
    }
}
