//! What a schedule says, in this API's words, and how that becomes a version of it.

use serde_json::value::RawValue;
use waybill_api_jobs::rest::jobs::create::{retries, timeout};
use waybill_api_jobs::rules;
use waybill_api_schedules::make::JobTemplate;
use waybill_domain::event::{ScheduleSet, ScheduledJob};
use waybill_domain::id::{QueueName, ScheduleId, TeamId};
use waybill_domain::recurring::{CatchUp, Overlap};
use waybill_domain::schedule::aggregate::{MAX_JOB_NAME_CHARS, MAX_TASK_BYTES};
use waybill_domain::schedule::{When, Zone, zones_version};
use waybill_domain::task::Invalid;
use waybill_domain::time::Timestamp;
use waybill_edge::error::ApiError;

/// Longest description, in characters.
const MAX_DESCRIPTION_CHARS: usize = 1_000;
/// Largest metadata, in bytes of JSON.
const MAX_METADATA_BYTES: usize = 64 * 1024;

/// What a schedule says.
pub(super) struct Wanted {
    pub(super) name: String,
    pub(super) cron: String,
    pub(super) zone: String,
    pub(super) payload: Box<RawValue>,
    pub(super) job: ScheduledJob,
}

impl Wanted {
    /// What its present version says.
    pub(super) fn of(current: &ScheduleSet, job: &ScheduledJob) -> Result<Self, ApiError> {
        Ok(Self {
            name: current.name.clone().unwrap_or_default(),
            cron: cron_of(current).to_owned(),
            zone: current.zone.clone(),
            payload: JobTemplate::read(current)?.json,
            job: job.clone(),
        })
    }

    /// The version that says so. Its number, author and time are filled in when it is decided.
    pub(super) fn draft(
        self,
        id: ScheduleId,
        team: &TeamId,
        now: Timestamp,
    ) -> Result<ScheduleSet, ApiError> {
        let template = JobTemplate {
            queue: self.job.queue.clone(),
            json: self.payload,
        };
        let task = serde_json::to_string(&template).map_err(|error| ApiError::internal(&error))?;
        if task.len() > MAX_TASK_BYTES {
            let text = format!("must be at most {MAX_TASK_BYTES} bytes with the queue's name");
            return Err(rules::broken("payload_template", text, "length"));
        }
        Ok(ScheduleSet {
            schedule: id,
            team: team.base(),
            environment: team.environment(),
            version: 0,
            name: Some(self.name),
            when: format!("crontab({})", self.cron),
            zone: self.zone,
            zones: zones_version().to_owned(),
            from: None,
            until: None,
            overlap: Overlap::Allow,
            catch_up: CatchUp::Last,
            jitter_ms: 0,
            task,
            set_by: String::new(),
            at: now,
            job: Some(Box::new(self.job)),
        })
    }
}

/// The expression of a schedule, as it was given.
pub(super) fn cron_of(current: &ScheduleSet) -> &str {
    let inner = current.when.strip_prefix("crontab(");
    inner
        .and_then(|rest| rest.strip_suffix(')'))
        .unwrap_or(&current.when)
}

pub(super) fn name(given: &str) -> Result<String, ApiError> {
    let name = given.trim();
    let length = name.chars().count();
    if !(1..=MAX_JOB_NAME_CHARS).contains(&length) {
        let text = format!("must be 1 to {MAX_JOB_NAME_CHARS} characters, not {length}");
        return Err(rules::broken("name", text, "length"));
    }
    Ok(name.to_owned())
}

pub(super) fn description(given: Option<String>) -> Result<Option<String>, ApiError> {
    let length = given.as_deref().map_or(0, |text| text.chars().count());
    if length > MAX_DESCRIPTION_CHARS {
        let text = format!("must be at most {MAX_DESCRIPTION_CHARS} characters, not {length}");
        return Err(rules::broken("description", text, "length"));
    }
    Ok(given)
}

pub(super) fn cron(given: &str) -> Result<String, ApiError> {
    let cron = given.trim();
    When::parse(&format!("crontab({cron})")).map_err(|invalid| in_our_words(&invalid))?;
    Ok(cron.to_owned())
}

pub(super) fn zone(given: Option<&str>) -> Result<String, ApiError> {
    let zone = given.unwrap_or("UTC").trim();
    Zone::parse(zone).map_err(|invalid| in_our_words(&invalid))?;
    Ok(zone.to_owned())
}

pub(super) fn metadata(given: Option<Box<RawValue>>) -> Result<Option<String>, ApiError> {
    let Some(given) = given.filter(|given| given.get() != "null") else {
        return Ok(None);
    };
    let text = given.get();
    if text.len() > MAX_METADATA_BYTES {
        let text = format!(
            "must be at most {MAX_METADATA_BYTES} bytes, not {}",
            text.len()
        );
        return Err(rules::broken("metadata", text, "length"));
    }
    Ok(Some(text.to_owned()))
}

/// The parts that say which jobs are made.
pub(super) fn job(
    queue: QueueName,
    (priority, max_retries, timeout_s): (Option<i64>, Option<i64>, Option<i64>),
    created_at: Timestamp,
) -> Result<ScheduledJob, ApiError> {
    Ok(ScheduledJob {
        queue,
        priority: rules::priority("priority", priority)?.map(waybill_domain::task::Priority::value),
        max_retries: retries("max_retries", max_retries)?,
        timeout_s: timeout("timeout_seconds", timeout_s)?,
        created_at,
        ..ScheduledJob::default()
    })
}

/// An error of the core about a value that has another name here.
fn in_our_words(invalid: &Invalid) -> ApiError {
    let text = invalid.message.strip_prefix(invalid.field);
    let text = text.unwrap_or(&invalid.message);
    rules::broken(
        ours(invalid.field),
        text.trim_start_matches([':', ' ']),
        "pattern",
    )
}

fn ours(field: &str) -> &'static str {
    match field {
        "when" => "cron_expression",
        "zone" => "timezone",
        "name" => "name",
        _ => "payload_template",
    }
}

/// The same of an error that is on its way to the client already.
pub(super) fn named(error: ApiError) -> ApiError {
    let Some(field) = error.body.field.as_deref() else {
        return error;
    };
    let text = error.body.message.strip_prefix(field);
    let text = text.unwrap_or(&error.body.message);
    let text = text.trim_start_matches([':', ' ']);
    let mut renamed = rules::broken(ours(field), text, "invalid");
    renamed.status = error.status;
    renamed
}
