//! A schedule as clients see it.

use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;
use waybill_domain::event::ScheduleSet;
use waybill_domain::id::Environment;
use waybill_domain::recurring::{CatchUp, Overlap};
use waybill_domain::schedule::Schedule;
use waybill_domain::time::Timestamp;
use waybill_edge::iso::Iso;
use waybill_edge::lengths::Seconds;
use waybill_edge::warnings::Warning;

use crate::request::CatchUpMode;
use crate::runs::RunObject;

/// The answer about a schedule.
#[derive(Debug, Serialize, ToSchema)]
pub struct ScheduleEnvelope {
    pub(crate) schedule: ScheduleObject,
    /// The parts of the request that have no effect: at most 20. Absent if all of it has an effect.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) warnings: Vec<Warning>,
}

/// When tasks are made, and which.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScheduleObject {
    #[schema(example = "sched_01kc0q2v9x3d8e5h7j9m1n3p5r")]
    id: String,
    /// `live` or `test`: where its tasks are.
    #[schema(value_type = Environment)]
    environment: &'static str,
    /// From 1, one more with each replacement; also the `ETag`.
    version: u32,
    name: Option<String>,
    #[schema(example = "cron(0 9 * * MON-FRI)")]
    when: String,
    #[schema(example = "Europe/Madrid")]
    zone: String,
    #[schema(value_type = Option<String>, format = DateTime)]
    from: Option<Iso>,
    #[schema(value_type = Option<String>, format = DateTime)]
    until: Option<Iso>,
    overlap: Overlap,
    catch_up: ShownCatchUp,
    /// Seconds by which runs start later at most.
    #[schema(value_type = f64)]
    jitter: Seconds,
    /// The task of each run, as given.
    #[schema(value_type = Object)]
    task: Option<Box<RawValue>>,
    /// The pause, while it is paused.
    pause: Option<SchedulePause>,
    /// When it is due next; `null` while it is paused, or if it never is again.
    #[schema(value_type = Option<String>, format = DateTime)]
    next_due_at: Option<Iso>,
    /// Who set this version, such as `user:user_01...` or `key:key_4fG7aB2x`.
    set_by: String,
    /// When this version was set.
    #[schema(value_type = String, format = DateTime)]
    set_at: Iso,
    /// Where a list was asked for them (`runs`): what became of its latest instants, latest decision first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) latest_runs: Option<Vec<RunObject>>,
}

/// What follows when instants are more than a minute late.
#[derive(Debug, Serialize, ToSchema)]
pub struct ShownCatchUp {
    mode: CatchUpMode,
    /// With `all`: how many.
    #[serde(skip_serializing_if = "Option::is_none")]
    max: Option<u32>,
    /// With `all`: how late they may be, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<f64>)]
    within: Option<Seconds>,
}

impl From<CatchUp> for ShownCatchUp {
    fn from(policy: CatchUp) -> Self {
        let plain = |mode| Self {
            mode,
            max: None,
            within: None,
        };
        match policy {
            CatchUp::None => plain(CatchUpMode::None),
            CatchUp::Last => plain(CatchUpMode::Last),
            CatchUp::All { most, within_ms } => Self {
                mode: CatchUpMode::All,
                max: Some(most),
                within: Some(Seconds(u64::try_from(within_ms).unwrap_or(0))),
            },
        }
    }
}

/// A pause that is in force.
#[derive(Debug, Serialize, ToSchema)]
pub struct SchedulePause {
    #[schema(value_type = String, format = DateTime)]
    since: Iso,
    /// When it ends by itself; `null`: when it is resumed.
    #[schema(value_type = Option<String>, format = DateTime)]
    until: Option<Iso>,
    reason: Option<String>,
    /// Who paused it.
    by: String,
}

impl ScheduleObject {
    pub(crate) fn new(schedule: &Schedule, current: &ScheduleSet, now: Timestamp) -> Self {
        let paused = schedule.paused(now);
        let next = schedule.next_due(now).filter(|_| paused.is_none());
        Self {
            id: current.schedule.to_string(),
            environment: current.environment.as_str(),
            version: current.version,
            name: current.name.clone(),
            when: current.when.clone(),
            zone: current.zone.clone(),
            from: current.from.map(Iso),
            until: current.until.map(Iso),
            overlap: current.overlap,
            catch_up: current.catch_up.into(),
            jitter: Seconds(current.jitter_ms.into()),
            task: RawValue::from_string(current.task.clone()).ok(),
            pause: paused.map(|pause| SchedulePause {
                since: Iso(pause.interval.from),
                until: pause.interval.until.map(Iso),
                reason: pause.reason.clone(),
                by: pause.by.clone(),
            }),
            next_due_at: next.map(Iso),
            set_by: current.set_by.clone(),
            set_at: Iso(current.at),
            latest_runs: None,
        }
    }
}
