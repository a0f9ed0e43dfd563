//! `POST /api/v1/schedules`.

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;
use waybill_api_jobs::body::Body;
use waybill_api_jobs::{permission, rules};
use waybill_api_schedules::create::MAX_SCHEDULES;
use waybill_api_schedules::set::{check, store};
use waybill_api_tasks::TasksApi;
use waybill_commands::entropy;
use waybill_domain::event::ScheduledJob;
use waybill_domain::id::ScheduleId;
use waybill_domain::time::Timestamp;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::{InQueues, JobsWrite};
use waybill_edge::error::{ApiError, ErrorCode, JobsErrorBody};
use waybill_edge::iso::Iso;
use waybill_edge::request::RequestContext;
use waybill_edge::warnings::{Handling, Warnings};

use super::object::next_run;
use super::wanted::{self, Wanted};

/// A schedule to be created.
#[derive(Debug, Deserialize, ToSchema)]
pub struct JobsCreateSchedule {
    #[schema(min_length = 1, max_length = 255, example = "Morning report")]
    pub name: String,
    #[schema(max_length = 1000)]
    pub description: Option<String>,
    /// Five fields of cron (minute, hour, day of month, month, day of week), or six with the second first. A local time that the clocks
    /// skip is left out, one that comes twice runs once.
    #[schema(example = "0 9 * * MON-FRI")]
    pub cron_expression: String,
    /// An IANA name, or a distance from UTC such as `+05:30`.
    #[schema(default = "UTC", example = "Europe/Madrid")]
    pub timezone: Option<String>,
    /// 1 to 100 letters, digits, `-` and `_`.
    #[schema(min_length = 1, max_length = 100, example = "reports")]
    pub queue_name: String,
    /// The payload of each job: any JSON, up to 64 KiB.
    #[schema(value_type = serde_json::Value)]
    pub payload_template: Box<RawValue>,
    #[schema(default = 0, minimum = -100, maximum = 100)]
    pub priority: Option<i64>,
    #[schema(minimum = 0, maximum = 100)]
    pub max_retries: Option<i64>,
    #[schema(default = 300, minimum = 1, maximum = 86400)]
    pub timeout_seconds: Option<i64>,
    /// Tags of each job: an object or a list.
    #[schema(value_type = Option<serde_json::Value>)]
    pub tags: Option<Box<RawValue>>,
    /// Any JSON of the client's, up to 64 KiB.
    #[schema(value_type = Option<serde_json::Value>)]
    pub metadata: Option<Box<RawValue>>,
}

/// A schedule that was created.
#[derive(Debug, Serialize, ToSchema)]
pub struct JobsScheduleCreated {
    pub id: String,
    pub name: String,
    pub cron_expression: String,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub next_run_at: Option<Iso>,
}

/// Create a schedule: from now on it makes a job whenever it is due.
///
/// When nothing could run for a while, the runs that were missed are skipped, and one runs at once.
#[utoipa::path(
    post,
    path = "/api/v1/schedules",
    operation_id = "jobs.schedule.create",
    tag = "jobs",
    security(("api_key" = ["jobs:write"])),
    request_body = JobsCreateSchedule,
    responses(
        (status = 201, description = "It is on disk", body = JobsScheduleCreated),
        (status = 409, description = "The team has 10,000 schedules", body = JobsErrorBody),
    )
)]
pub(crate) async fn create_schedule(
    State(state): State<TasksApi>,
    caller: Caller<InQueues<JobsWrite>>,
    Extension(context): Extension<RequestContext>,
    Body(request, ignored): Body<JobsCreateSchedule>,
) -> Result<Response, ApiError> {
    caller.needs_api()?;
    let now = entropy::now();
    let wanted = request.check(now)?;
    permission::named(&caller, &wanted.job.queue)?;
    if state.auth.directory().count_schedules(&caller.team) >= MAX_SCHEDULES {
        let text = format!("The organization has {MAX_SCHEDULES} schedules; delete one first");
        return Err(ApiError::conflict(ErrorCode::Conflict, text));
    }
    let (name, cron_expression) = (wanted.name.clone(), wanted.cron.clone());
    let id = ScheduleId::new(now, entropy::random_u128());
    let draft = wanted.draft(id.clone(), &caller.team, now)?;
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
    let after = store(&state, &caller, draft, Some(0)).await;
    let after = after.map_err(wanted::named)?;
    let created = JobsScheduleCreated {
        id: id.to_string(),
        name,
        cron_expression,
        next_run_at: next_run(&after.state, now),
    };
    Ok(ignored.answer(StatusCode::CREATED, created))
}

impl JobsCreateSchedule {
    fn check(self, now: Timestamp) -> Result<Wanted, ApiError> {
        let queue = rules::queue("queue_name", &self.queue_name)?;
        let terms = (self.priority, self.max_retries, self.timeout_seconds);
        Ok(Wanted {
            name: wanted::name(&self.name)?,
            cron: wanted::cron(&self.cron_expression)?,
            zone: wanted::zone(self.timezone.as_deref())?,
            payload: self.payload_template,
            job: ScheduledJob {
                description: wanted::description(self.description)?,
                tags: rules::tags(self.tags)?,
                metadata: wanted::metadata(self.metadata)?,
                ..wanted::job(queue, terms, now)?
            },
        })
    }
}
