//! `PUT /api/v1/schedules/{id}`: what is given is changed, and nothing else.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, State};
use axum::response::Response;
use http::StatusCode;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;
use waybill_api_jobs::body::Body;
use waybill_api_jobs::rest::jobs::create::{retries, timeout};
use waybill_api_jobs::rules;
use waybill_api_schedules::set::{check, store};
use waybill_api_tasks::TasksApi;
use waybill_commands::entropy;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::{InQueues, JobsWrite};
use waybill_edge::error::{ApiError, ErrorCode, JobsErrorBody};
use waybill_edge::request::RequestContext;
use waybill_edge::warnings::{Handling, Warnings};

use super::object::JobsSchedule;
use super::wanted::{self, Wanted};
use super::{Found, find, pause};

/// A member that is kept if it is absent, and emptied if it is `null`.
#[derive(Debug, Default, Serialize)]
#[serde(untagged)]
pub enum Change<T> {
    #[default]
    Keep,
    Clear,
    To(T),
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Change<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let given = Option::<T>::deserialize(deserializer)?;
        Ok(given.map_or(Self::Clear, Self::To))
    }
}

impl<T> Change<T> {
    /// The value after the change, if there is one.
    fn apply<U>(
        self,
        present: Option<U>,
        read: impl FnOnce(T) -> Result<Option<U>, ApiError>,
    ) -> Result<Option<U>, ApiError> {
        match self {
            Self::Keep => Ok(present),
            Self::Clear => Ok(None),
            Self::To(value) => read(value),
        }
    }
}

/// What is to be changed of a schedule. What is absent stays; its queue stays in any case.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub struct JobsUpdateSchedule {
    #[schema(min_length = 1, max_length = 255)]
    pub name: Option<String>,
    /// `null` removes it.
    #[serde(default)]
    #[schema(value_type = Option<String>, max_length = 1000)]
    pub description: Change<String>,
    pub cron_expression: Option<String>,
    pub timezone: Option<String>,
    #[schema(value_type = Option<serde_json::Value>)]
    pub payload_template: Option<Box<RawValue>>,
    #[schema(minimum = -100, maximum = 100)]
    pub priority: Option<i64>,
    #[schema(minimum = 0, maximum = 100)]
    pub max_retries: Option<i64>,
    #[schema(minimum = 1, maximum = 86400)]
    pub timeout_seconds: Option<i64>,
    /// `false` pauses it, `true` resumes it.
    pub is_active: Option<bool>,
    /// `null` removes them.
    #[serde(default)]
    #[schema(value_type = Option<serde_json::Value>)]
    pub tags: Change<Box<RawValue>>,
    /// `null` removes it.
    #[serde(default)]
    #[schema(value_type = Option<serde_json::Value>)]
    pub metadata: Change<Box<RawValue>>,
}

/// Change a schedule.
///
/// A schedule can be changed 16 times an hour.
#[utoipa::path(
    put,
    path = "/api/v1/schedules/{id}",
    operation_id = "jobs.schedule.update",
    tag = "jobs",
    security(("api_key" = ["jobs:write"])),
    params(("id" = String, Path, description = "Id of the schedule")),
    request_body = JobsUpdateSchedule,
    responses(
        (status = 200, description = "It is changed", body = JobsSchedule),
        (status = 404, description = "No such schedule", body = JobsErrorBody),
        (status = 409, description = "It was changed 16 times within an hour", body = JobsErrorBody),
    )
)]
pub(crate) async fn update_schedule(
    State(state): State<TasksApi>,
    caller: Caller<InQueues<JobsWrite>>,
    Extension(context): Extension<RequestContext>,
    Path(id): Path<String>,
    Body(request, ignored): Body<JobsUpdateSchedule>,
) -> Result<Response, ApiError> {
    caller.needs_api()?;
    let mut found = find(&state, &caller, &id)?;
    let is_active = request.is_active;
    let wanted = request.apply(Wanted::of(&found.current, &found.job)?)?;
    let schedule = found.current.schedule.clone();
    let draft = wanted.draft(schedule, &caller.team, entropy::now())?;
    let nothing = Warnings::default();
    check(
        &state,
        &caller,
        &context,
        &draft,
        nothing,
        Handling::Lenient,
    )
    .map_err(wanted::named)?;
    let after = store(&state, &caller, draft, Some(found.current.version)).await;
    let after = after.map_err(changed_meanwhile)?;
    let shown = Found::shown(Arc::new(after.state), &caller);
    found = shown.ok_or_else(|| ApiError::not_found("Schedule not found"))?;
    match is_active {
        Some(false) => found = pause::pause(&state, &caller, &found).await?,
        Some(true) => found = pause::resume(&state, &caller, &context, &found).await?,
        None => {}
    }
    let read = JobsSchedule::read_one(&state, &caller, &found).await?;
    Ok(ignored.answer(StatusCode::OK, read))
}

/// Somebody else has changed it since it was read: nothing of this request was stored.
fn changed_meanwhile(error: ApiError) -> ApiError {
    if error.status != StatusCode::PRECONDITION_FAILED {
        return wanted::named(error);
    }
    let text = "The schedule was changed by another request meanwhile; repeat this one";
    ApiError::conflict(ErrorCode::Conflict, text)
}

impl JobsUpdateSchedule {
    fn apply(self, mut wanted: Wanted) -> Result<Wanted, ApiError> {
        if let Some(name) = &self.name {
            wanted.name = wanted::name(name)?;
        }
        if let Some(cron) = &self.cron_expression {
            wanted.cron = wanted::cron(cron)?;
        }
        if self.timezone.is_some() {
            wanted.zone = wanted::zone(self.timezone.as_deref())?;
        }
        if let Some(payload) = self.payload_template {
            wanted.payload = payload;
        }
        let job = &mut wanted.job;
        if let Some(priority) = rules::priority("priority", self.priority)? {
            job.priority = Some(priority.value());
        }
        job.max_retries = retries("max_retries", self.max_retries)?.or(job.max_retries);
        job.timeout_s = timeout("timeout_seconds", self.timeout_seconds)?.or(job.timeout_s);
        let description = job.description.take();
        job.description = self
            .description
            .apply(description, |text| wanted::description(Some(text)))?;
        let tags = job.tags.take();
        job.tags = self.tags.apply(tags, |tags| rules::tags(Some(tags)))?;
        let metadata = job.metadata.take();
        job.metadata = self
            .metadata
            .apply(metadata, |metadata| wanted::metadata(Some(metadata)))?;
        Ok(wanted)
    }
}
