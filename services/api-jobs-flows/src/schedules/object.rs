//! A schedule as it is read.

use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;
use waybill_api_jobs::models::job::USUAL_TIMEOUT_S;
use waybill_api_jobs::rest::queues::list::USUAL_RETRIES;
use waybill_api_schedules::make::JobTemplate;
use waybill_api_tasks::TasksApi;
use waybill_commands::entropy;
use waybill_domain::schedule::Schedule;
use waybill_domain::time::Timestamp;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::Need;
use waybill_edge::error::ApiError;
use waybill_edge::iso::Iso;
use waybill_projector::query::{Position, RunTally, TallyRuns};

use super::Found;
use super::wanted::cron_of;

/// When jobs are made by themselves, and which.
#[derive(Debug, Serialize, ToSchema)]
pub struct JobsSchedule {
    #[schema(example = "sched_01kc0q2v9x3d8e5h7j9m1n3p5r")]
    pub id: String,
    pub organization_id: String,
    pub name: String,
    pub description: Option<String>,
    #[schema(example = "0 9 * * MON-FRI")]
    pub cron_expression: String,
    pub timezone: String,
    pub queue_name: String,
    /// The payload of each job.
    #[schema(value_type = serde_json::Value)]
    pub payload_template: Box<RawValue>,
    pub priority: i16,
    pub max_retries: u16,
    pub timeout_seconds: u32,
    /// Whether it is not paused.
    pub is_active: bool,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_run_at: Option<Iso>,
    /// `null` while it is paused, or if it never runs again.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub next_run_at: Option<Iso>,
    /// How many of its jobs are kept, up to 10,000.
    pub run_count: u32,
    #[schema(value_type = Option<serde_json::Value>)]
    pub tags: Option<Box<RawValue>>,
    #[schema(value_type = Option<serde_json::Value>)]
    pub metadata: Option<Box<RawValue>>,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Iso,
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Iso,
}

impl JobsSchedule {
    fn new(found: &Found, tally: RunTally, now: Timestamp) -> Result<Self, ApiError> {
        let Found {
            schedule,
            current,
            job,
        } = found;
        let raw = |text: &Option<String>| {
            let text = text.clone()?;
            RawValue::from_string(text).ok()
        };
        Ok(Self {
            id: current.schedule.to_string(),
            organization_id: current.team.to_string(),
            name: current.name.clone().unwrap_or_default(),
            description: job.description.clone(),
            cron_expression: cron_of(current).to_owned(),
            timezone: current.zone.clone(),
            queue_name: job.queue.to_string(),
            payload_template: JobTemplate::read(current)?.json,
            priority: job.priority.unwrap_or(0),
            max_retries: job.max_retries.unwrap_or(USUAL_RETRIES),
            timeout_seconds: job.timeout_s.unwrap_or(USUAL_TIMEOUT_S),
            is_active: schedule.paused(now).is_none(),
            last_run_at: tally.last_at.map(Iso),
            next_run_at: next_run(schedule, now),
            run_count: tally.count,
            tags: raw(&job.tags),
            metadata: raw(&job.metadata),
            created_at: Iso(job.created_at),
            updated_at: Iso(current.at),
        })
    }

    /// Schedules with what has become of them.
    pub(super) async fn read<N: Need>(
        state: &TasksApi,
        caller: &Caller<N>,
        found: &[Found],
    ) -> Result<Vec<Self>, ApiError> {
        let query = TallyRuns {
            team: caller.team.clone(),
            schedules: found
                .iter()
                .map(|found| found.current.schedule.clone())
                .collect(),
        };
        let known = Position::tasks(state.acknowledged.to(&caller.team));
        let tallies = state.queries.ask(query, known).await?.value;
        let now = entropy::now();
        let tallies = tallies
            .into_iter()
            .chain(std::iter::repeat(RunTally::default()));
        let read = found.iter().zip(tallies);
        read.map(|(found, tally)| Self::new(found, tally, now))
            .collect()
    }

    /// One of them.
    pub(super) async fn read_one<N: Need>(
        state: &TasksApi,
        caller: &Caller<N>,
        found: &Found,
    ) -> Result<Self, ApiError> {
        let mut read = Self::read(state, caller, std::slice::from_ref(found)).await?;
        read.pop()
            .ok_or_else(|| ApiError::internal(&"a found schedule could not be read"))
    }
}

/// When a schedule that is not paused runs next.
pub(super) fn next_run(schedule: &Schedule, now: Timestamp) -> Option<Iso> {
    let next = schedule.next_due(now)?;
    schedule.paused(now).is_none().then_some(Iso(next))
}
