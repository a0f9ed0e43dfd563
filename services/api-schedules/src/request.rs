//! What a client sends to create or replace a schedule. Types are checked here, values by the core.

use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;
use waybill_commands::entropy;
use waybill_domain::event::ScheduleSet;
use waybill_domain::id::{ScheduleId, TeamId};
use waybill_domain::recurring::{CatchUp, MAX_JITTER, Overlap};
use waybill_domain::schedule::zones_version;
use waybill_domain::time::Timestamp;
use waybill_edge::error::ApiError;
use waybill_edge::lengths::Length;

/// Longest `catchUp.within`.
const MAX_WITHIN: Duration = Duration::from_secs(366 * 86_400);

/// When tasks are made, and which.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct NewSchedule {
    /// For people: up to 100 characters.
    #[schema(max_length = 100, example = "Morning report")]
    pub name: Option<String>,
    /// When it is due: `cron(0 9 * * MON-FRI)` (minute, hour, day of the month, month, day of the week; 0 and 7 are Sunday, and if both days
    /// are given, either counts), `every 5m` (a second to a year, counted from the beginning of 1970) or, once, `at 2030-01-31T09:00`.
    #[schema(required = true, example = "cron(0 9 * * MON-FRI)")]
    pub when: Option<String>,
    /// The zone whose clocks `when` names, by its IANA name. A local time that the clocks skip runs once, after the gap; one that comes twice
    /// runs once, the first time.
    #[schema(default = "UTC", example = "Europe/Madrid")]
    pub zone: Option<String>,
    /// It is not due earlier (ISO 8601).
    #[schema(format = DateTime)]
    pub from: Option<String>,
    /// It is not due later (ISO 8601).
    #[schema(format = DateTime)]
    pub until: Option<String>,
    /// What follows when an instant is due while an earlier run has not ended: `skip` it, `bufferAll` (each run waits for the end of the
    /// one before), `bufferOne` (the same, but it is skipped if another one waits already), `cancelOther` (the earlier ones are cancelled) or `allow` both.
    #[schema(value_type = Option<Overlap>, default = "skip")]
    pub overlap: Option<String>,
    /// What follows when instants were due while nothing could run.
    pub catch_up: Option<CatchUpPolicy>,
    /// Each run starts up to this much later, such as `30s`: by how much follows from its id. At most an hour.
    #[schema(value_type = Option<String>, example = "30s")]
    pub jitter: Option<Length>,
    /// The task of each run, as for `POST /v1/tasks`, at most 64 KiB. `{{run.id}}`, `{{run.dueAt}}`, `{{run.localTime}}` and
    /// `{{schedule.id}}` in its texts are filled in. Credentials cannot be given, only references to the vault.
    #[schema(required = true, value_type = Option<waybill_api_tasks::request::CreateTask>)]
    pub task: Option<Box<RawValue>>,
}

/// What follows when instants are more than a minute late, because nothing could run.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CatchUpPolicy {
    /// `none`: all are missed. `last`: the last one runs, unless a later one is on time. `all`: the last `max` of the time `within` run.
    #[schema(value_type = Option<CatchUpMode>, default = "last")]
    pub mode: Option<String>,
    /// With `all`: how many, 1 to 1,000.
    #[schema(minimum = 1, maximum = 1000, default = 10)]
    pub max: Option<u32>,
    /// With `all`: how late they may be, such as `6h`.
    #[schema(value_type = Option<String>, default = "1h")]
    pub within: Option<Length>,
}

/// Which of the late instants run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum CatchUpMode {
    /// None.
    None,
    /// The last one.
    Last,
    /// Several.
    All,
}

/// `catchUp` with `all` and without further words.
const USUAL_MOST: u32 = 10;
const USUAL_WITHIN: Duration = Duration::from_secs(3_600);

impl CatchUpPolicy {
    fn read(self) -> Result<CatchUp, ApiError> {
        let mode = self.mode.as_deref().unwrap_or("last");
        if mode != "all" {
            for (field, given) in [
                ("catchUp.max", self.max.is_some()),
                ("catchUp.within", self.within.is_some()),
            ] {
                if given {
                    let message = format!("{field} needs catchUp.mode to be all");
                    return Err(ApiError::bad_field(field, message));
                }
            }
        }
        match mode {
            "none" => Ok(CatchUp::None),
            "last" => Ok(CatchUp::Last),
            "all" => {
                let within = self.within.map(|length| length.0);
                let within = within.map(|length| length.read("catchUp.within", MAX_WITHIN));
                Ok(CatchUp::All {
                    most: self.max.unwrap_or(USUAL_MOST),
                    within_ms: millis(within.transpose()?.unwrap_or(USUAL_WITHIN)),
                })
            }
            other => Err(ApiError::bad_field(
                "catchUp.mode",
                format!("catchUp.mode must be none, last or all, not {other:?}"),
            )),
        }
    }
}

impl NewSchedule {
    /// The schedule as it is asked for. Version, author and time are filled in when it is decided.
    pub(crate) fn draft(self, id: ScheduleId, team: &TeamId) -> Result<ScheduleSet, ApiError> {
        let required =
            |field: &'static str| ApiError::bad_field(field, format!("{field} is required"));
        let jitter = self
            .jitter
            .map(|length| length.0.read("jitter", MAX_JITTER));
        let jitter = jitter.transpose()?.unwrap_or_default();
        Ok(ScheduleSet {
            schedule: id,
            team: team.base(),
            environment: team.environment(),
            version: 0,
            name: self.name,
            when: self.when.ok_or_else(|| required("when"))?,
            zone: self.zone.unwrap_or_else(|| "UTC".to_owned()),
            zones: zones_version().to_owned(),
            from: date("from", self.from.as_deref())?,
            until: date("until", self.until.as_deref())?,
            overlap: overlap(self.overlap.as_deref())?,
            catch_up: self.catch_up.unwrap_or_default().read()?,
            jitter_ms: u32::try_from(jitter.as_millis()).unwrap_or(u32::MAX),
            task: self.task.ok_or_else(|| required("task"))?.get().to_owned(),
            set_by: String::new(),
            at: entropy::now(),
            job: None,
        })
    }
}

fn overlap(text: Option<&str>) -> Result<Overlap, ApiError> {
    match text {
        None => Ok(Overlap::default()),
        Some("skip") => Ok(Overlap::Skip),
        Some("bufferAll") => Ok(Overlap::BufferAll),
        Some("bufferOne") => Ok(Overlap::BufferOne),
        Some("cancelOther") => Ok(Overlap::CancelOther),
        Some("allow") => Ok(Overlap::Allow),
        Some(other) => Err(ApiError::bad_field(
            "overlap",
            format!(
                "overlap must be skip, bufferOne, bufferAll, cancelOther or allow, not {other:?}"
            ),
        )),
    }
}

/// Reads a date.
pub(crate) fn date(field: &'static str, text: Option<&str>) -> Result<Option<Timestamp>, ApiError> {
    let Some(text) = text else { return Ok(None) };
    let read = Timestamp::parse_rfc3339(text);
    read.map(Some).ok_or_else(|| {
        let message =
            format!("{field} must be a date and time in ISO 8601, such as 2030-01-31T12:00:00Z");
        ApiError::bad_field(field, message)
    })
}

fn millis(length: Duration) -> i64 {
    i64::try_from(length.as_millis()).unwrap_or(i64::MAX)
}
