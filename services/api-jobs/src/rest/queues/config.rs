//! `GET /api/v1/queues/{name}` and `PUT /api/v1/queues/{name}/config`.

use axum::extract::{Path, State};
use axum::response::Response;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use utoipa::ToSchema;
use waybill_api_tasks::TasksApi;
use waybill_commands::entropy;
use waybill_domain::access::team::queues::QueueCommand;
use waybill_domain::access::team::queues::configure::Configure;
use waybill_domain::access::team::{Queue, Team, TeamCommand};
use waybill_domain::id::{QueueName, TeamId};
use waybill_domain::rate::StartRate;
use waybill_domain::time::Timestamp;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::{InQueues, QueuesRead, QueuesWrite};
use waybill_edge::error::{ApiError, JobsErrorBody};
use waybill_edge::iso::Iso;

use super::find;
use super::list::JobsQueueSummary;
use crate::body::{Body, Ignored};
use crate::find::uuid_text;
use crate::rest::jobs::create::{retries, timeout};
use crate::{permission, rules};

/// Milliseconds of the time that rates are told for.
const MINUTE_MS: u32 = 60_000;
/// Seconds of it.
const MINUTE_S: u32 = 60;

/// A queue and what is set of it.
#[derive(Debug, Serialize, ToSchema)]
pub struct JobsQueueConfig {
    pub id: String,
    pub organization_id: String,
    #[serde(flatten)]
    pub summary: JobsQueueSummary,
    /// The client's own. `backoff_base_seconds`, `backoff_multiplier` and `backoff_max_seconds` say how long a job pauses after a failure.
    #[schema(value_type = Object)]
    pub settings: Map<String, Value>,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Iso,
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Iso,
}

/// What is to be changed of a queue. What is absent stays.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default)]
pub struct JobsConfigureQueue {
    /// Retries of a job that does not say.
    #[schema(minimum = 0, maximum = 100)]
    pub max_retries: Option<i64>,
    /// `timeout_seconds` of a job that does not say.
    #[schema(minimum = 1, maximum = 86400)]
    pub default_timeout: Option<i64>,
    /// Most claims a minute.
    #[schema(minimum = 1, maximum = 100_000)]
    pub rate_limit: Option<i64>,
    /// `false` pauses the queue, `true` resumes it.
    pub enabled: Option<bool>,
    /// An object: its members are added or replaced, those that are `null` removed. Up to 16 KiB in all.
    #[schema(value_type = Option<Object>)]
    pub settings: Option<Value>,
}

/// Read a queue.
#[utoipa::path(
    get,
    path = "/api/v1/queues/{name}",
    operation_id = "jobs.queue.get",
    tag = "jobs",
    security(("api_key" = ["queues:read"])),
    params(("name" = String, Path, description = "Name of the queue")),
    responses(
        (status = 200, description = "The queue", body = JobsQueueConfig),
        (status = 404, description = "No such queue", body = JobsErrorBody),
    )
)]
pub(crate) async fn get_queue(
    State(state): State<TasksApi>,
    caller: Caller<InQueues<QueuesRead>>,
    Path(name): Path<String>,
) -> Result<Response, ApiError> {
    let found = find(&state, &caller, &name).await?;
    let founded = |team: &Team| team.info.as_ref().map(|info| info.created_at);
    let directory = state.auth.directory();
    let founded = directory.with_team(&caller.team.base(), founded).flatten();
    let config = JobsQueueConfig::new(
        &caller.team,
        &found.name,
        found.decided.as_ref(),
        founded.unwrap_or_else(entropy::now),
    );
    Ok(Ignored::default().answer(StatusCode::OK, config))
}

/// Change the settings of a queue; one that does not exist is there from then on.
///
/// They count for jobs that are created after the answer.
#[utoipa::path(
    put,
    path = "/api/v1/queues/{name}/config",
    operation_id = "jobs.queue.configure",
    tag = "jobs",
    security(("api_key" = ["queues:write"])),
    params(("name" = String, Path, description = "Name of the queue")),
    request_body = JobsConfigureQueue,
    responses((status = 200, description = "They hold", body = JobsQueueConfig))
)]
pub(crate) async fn configure_queue(
    State(state): State<TasksApi>,
    caller: Caller<InQueues<QueuesWrite>>,
    Path(name): Path<String>,
    Body(request, ignored): Body<JobsConfigureQueue>,
) -> Result<Response, ApiError> {
    let name = rules::queue("name", &name)?;
    permission::named(&caller, &name)?;
    let wanted = request.check(&caller.team, name.clone())?;
    let command = TeamCommand::Queue(QueueCommand::Configure(Box::new(wanted)));
    let team = caller.team.base();
    let after = state.control.run_team(&team, command, &caller.by()).await?;
    state.settle_everywhere(after.version).await?;
    let queue = after.state.queue(caller.team.environment(), &name);
    let config = JobsQueueConfig::new(&caller.team, &name, queue, entropy::now());
    Ok(ignored.answer(StatusCode::OK, config))
}

impl JobsConfigureQueue {
    fn check(self, team: &TeamId, queue: QueueName) -> Result<Configure, ApiError> {
        let rate = rules::whole("rate_limit", self.rate_limit, (1, 100_000))?;
        let rate = rate.and_then(|rate| u32::try_from(rate).ok());
        let settings = match self.settings {
            None | Some(Value::Null) => None,
            Some(Value::Object(settings)) => Some(settings),
            Some(_) => return Err(rules::broken("settings", "must be an object", "type")),
        };
        Ok(Configure {
            environment: team.environment(),
            queue,
            max_retries: retries("max_retries", self.max_retries)?,
            timeout_s: timeout("default_timeout", self.default_timeout)?,
            rate: rate.map(per_minute),
            enabled: self.enabled,
            settings,
        })
    }
}

/// So many claims a minute, of which a second's worth may be made up for at once.
fn per_minute(limit: u32) -> StartRate {
    StartRate {
        limit,
        per_ms: MINUTE_MS,
        burst: limit.div_ceil(MINUTE_S),
    }
}

impl JobsQueueConfig {
    /// `otherwise`: the time of a queue about which nothing was decided.
    fn new(team: &TeamId, name: &QueueName, queue: Option<&Queue>, otherwise: Timestamp) -> Self {
        let jobs = queue.and_then(|queue| queue.jobs.as_ref());
        let changed = queue.and_then(|queue| queue.changed_at);
        let created = jobs.map(|jobs| jobs.created_at).or(changed);
        Self {
            id: id(team, name),
            organization_id: team.base_str().to_owned(),
            summary: JobsQueueSummary::new(name, queue, entropy::now()),
            settings: queue.map(Queue::job_settings).unwrap_or_default(),
            created_at: Iso(created.unwrap_or(otherwise)),
            updated_at: Iso(changed.unwrap_or(otherwise)),
        }
    }
}

/// A queue has no id but its name; clients want one, which is always the same.
fn id(team: &TeamId, name: &QueueName) -> String {
    let digest = Sha256::digest(format!("{team} {name}"));
    let mut bits = [0; 16];
    bits.copy_from_slice(&digest[..16]);
    uuid_text(u128::from_be_bytes(bits))
}
