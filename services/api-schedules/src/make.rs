//! How a run becomes a task: by the way of every other creation, under a key that follows from the run, so that whoever makes it a second
//! time finds the first.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use waybill_api_jobs::rest::jobs::create::NewJob;
use waybill_api_tasks::accept::{Accepted, Accepting};
use waybill_api_tasks::credentials::Checked;
use waybill_api_tasks::idempotency::msg_id;
use waybill_api_tasks::request::CreateTask;
use waybill_domain::event::{ScheduleSet, ScheduledJob};
use waybill_domain::id::{QueueName, TeamId};
use waybill_domain::recurring::{Overlap, RunOf};
use waybill_domain::schedule::{Zone, template};
use waybill_domain::task::once::{Once, Singleton, SingletonMode};
use waybill_domain::task::{Limits, Priority};
use waybill_domain::time::Timestamp;
use waybill_domain::vault::CredentialHeaders;
use waybill_edge::body;
use waybill_edge::error::ApiError;
use waybill_edge::idempotency::Repeat;
use waybill_edge::warnings::{Handling, Warnings};
use waybill_log::{Append, Atomicity, Expectation, Log, Stream};

/// Checks everything about the task of a run that can be checked before it is stored.
pub fn check(
    accepting: &Accepting<'_>,
    limits: &Limits,
    set: &ScheduleSet,
    zone: &Zone,
    run: RunOf,
) -> Result<(Checked, Warnings), ApiError> {
    let (mut checked, unknown) = match set.job.as_deref() {
        Some(job) => {
            let checked = check_job(accepting, limits, set, job).map_err(within_task)?;
            (checked, Warnings::default())
        }
        None => check_task(accepting, limits, set, zone, &run)?,
    };
    // They would be stored for ever.
    let taken = checked
        .spec
        .take_raw_credentials(&CredentialHeaders::and(&[]));
    if checked.raw.is_some() || taken.is_some() {
        return Err(ApiError::bad_field(
            "task.headers",
            "task.headers: a schedule cannot keep credentials; put them into the vault and refer to them, such as {{tok_...}}",
        ));
    }
    let spec = &mut checked.spec;
    if let Some(mode) = mode(set.overlap) {
        if spec.once.is_some() || spec.ordering.is_some() {
            return Err(ApiError::bad_field(
                "overlap",
                "overlap must be allow if the task has singleton, dedup or orderingKey, which decide about it then",
            ));
        }
        spec.once = Some(Box::new(Once::Singleton(Singleton {
            key: format!("schedule→{}", set.schedule),
            mode,
        })));
    }
    if set.jitter_ms > 0 && !run.manual {
        let most = std::time::Duration::from_millis(set.jitter_ms.into());
        let jitter = i64::try_from(run.run.jitter(most).as_millis()).unwrap_or(0);
        spec.not_before = Some(Timestamp(run.due.0 + jitter));
    }
    spec.schedule = Some(Box::new(run));
    let mut warnings = Warnings::default();
    for warning in unknown.judge(Handling::Lenient)? {
        warnings.add(format!("task.{}", warning.field), warning.message);
    }
    Ok((checked, warnings))
}

fn check_task(
    accepting: &Accepting<'_>,
    limits: &Limits,
    set: &ScheduleSet,
    zone: &Zone,
    run: &RunOf,
) -> Result<(Checked, Warnings), ApiError> {
    let text = template::fill(&set.task, run, zone);
    let (request, unknown): (CreateTask, _) =
        body::parse_leniently(text.as_bytes()).map_err(within_task)?;
    refuse_what_runs_have_not(&request)?;
    let checked = accepting.check(request, limits).map_err(within_task)?;
    Ok((checked, unknown))
}

/// What the task of a schedule of the jobs API says: its queue, and the payload of its jobs as it was given.
#[derive(Debug, Deserialize, Serialize)]
pub struct JobTemplate {
    pub queue: QueueName,
    pub json: Box<RawValue>,
}

impl JobTemplate {
    /// Reads the task of a schedule.
    pub fn read(set: &ScheduleSet) -> Result<Self, ApiError> {
        serde_json::from_str(&set.task).map_err(|error| ApiError::internal(&error))
    }
}

fn check_job(
    accepting: &Accepting<'_>,
    limits: &Limits,
    set: &ScheduleSet,
    job: &ScheduledJob,
) -> Result<Checked, ApiError> {
    let template = JobTemplate::read(set)?;
    let new = NewJob {
        queue: template.queue,
        payload: template.json,
        priority: job
            .priority
            .and_then(|priority| Priority::fine(priority.into())),
        max_retries: job.max_retries,
        timeout_s: job.timeout_s,
        scheduled_at: None,
        expires_at: None,
        key: None,
        tags: job.tags.clone(),
    };
    new.into_task(accepting, limits)
}

/// Stores the task of a run, unless it is there. Returns whether it was not.
pub(crate) async fn make(
    accepting: &Accepting<'_>,
    log: &dyn Log,
    team: &TeamId,
    checked: Checked,
    key: String,
) -> Result<bool, ApiError> {
    let msg_id = msg_id(team, &key);
    let Accepted { created, record } = accepting.accept(checked, Some(key)).await?;
    let appended = log.append(Append {
        stream: Stream::Tasks,
        records: vec![record],
        expect: Expectation::None,
        atomicity: Atomicity::Ordered,
        msg_id: Some(msg_id),
    });
    let appended = appended
        .await
        .map_err(|error| ApiError::from(error).for_unknown(created.id, Repeat::ByKey))?;
    accepting.acknowledged(&appended);
    Ok(!appended.duplicate)
}

/// What the owner of the queue does with a run while earlier ones have not ended.
fn mode(overlap: Overlap) -> Option<SingletonMode> {
    match overlap {
        Overlap::Skip => Some(SingletonMode::Skip),
        Overlap::BufferAll => Some(SingletonMode::Queue),
        Overlap::CancelOther => Some(SingletonMode::CancelRunning),
        Overlap::Allow => None,
        Overlap::BufferOne => Some(SingletonMode::QueueOne),
    }
}

fn refuse_what_runs_have_not(request: &CreateTask) -> Result<(), ApiError> {
    for (field, given, instead) in [
        ("task.delayUntil", request.delay_until.is_some(), "when"),
        ("task.delay", request.delay.is_some(), "when or jitter"),
        (
            "task.deadline",
            request.deadline.is_some(),
            "task.expiresIn",
        ),
        (
            "task.idempotencyKey",
            request.idempotency_key.is_some(),
            "nothing: a run is made once",
        ),
        ("task.debounce", request.debounce.is_some(), "overlap"),
    ] {
        if given {
            let message = format!("{field} cannot be the same for every run; use {instead}");
            return Err(ApiError::bad_field(field, message));
        }
    }
    Ok(())
}

/// Names the field as it stands in the request for the schedule.
fn within_task(mut error: ApiError) -> ApiError {
    let field = error.body.field.take();
    error.body.field = Some(match field {
        Some(field) => format!("task.{field}").into(),
        None => "task".into(),
    });
    error
}
