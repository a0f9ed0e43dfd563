//! What the jobs API keeps of a queue, and how it changes one: only what is named.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Queue, has_room, may_write};
use crate::access::team::TeamRefusal;
use crate::access::team::decide::{Deciding, Decision};
use crate::event::{ControlEvent, QueueDefaultsChanged, QueueLimited, QueuePaused, QueueResumed};
use crate::id::{Environment, QueueName};
use crate::rate::StartRate;
use crate::task::pauses::{LONGEST_OWN, OwnPauses};
use crate::task::queue_defaults::DefaultPauses;
use crate::task::{Backoff, QueueDefaults};
use crate::time::Timestamp;

/// Limit of the settings of a queue, in bytes of JSON.
pub const MAX_SETTINGS_BYTES: usize = 16 * 1024;
/// Pauses that are listed of a backoff; the last one repeats.
const LISTED_PAUSES: usize = 32;
/// The members of settings that say how pauses between attempts grow.
const BACKOFF: [&str; 3] = [
    "backoff_base_seconds",
    "backoff_multiplier",
    "backoff_max_seconds",
];

/// What the jobs API keeps of a queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct QueueJobs {
    /// The client's own: an object as JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settings: Option<String>,
    pub created_at: Timestamp,
}

/// What is to be changed of a queue. A `None` keeps.
#[derive(Debug, Clone)]
pub struct Configure {
    pub environment: Environment,
    pub queue: QueueName,
    pub max_retries: Option<u16>,
    pub timeout_s: Option<u32>,
    pub rate: Option<StartRate>,
    /// `false` pauses it, `true` resumes it.
    pub enabled: Option<bool>,
    /// Members that are added or replaced; those that are `null` are removed.
    pub settings: Option<Map<String, Value>>,
}

impl Queue {
    /// The settings of the jobs API.
    #[must_use]
    pub fn job_settings(&self) -> Map<String, Value> {
        let text = self.jobs.as_ref().and_then(|jobs| jobs.settings.as_deref());
        let read = text.and_then(|text| serde_json::from_str(text).ok());
        read.unwrap_or_default()
    }
}

pub(super) fn decide(deciding: &Deciding<'_>, wanted: Configure) -> Decision {
    let (team, at) = (deciding.info.id.clone(), deciding.now);
    let (environment, queue) = (wanted.environment, wanted.queue);
    may_write(deciding, environment)?;
    let none = Queue::default();
    let known = deciding.team.queue(environment, &queue).unwrap_or(&none);
    let mut defaults = known.defaults.clone();
    if wanted.max_retries.is_some() {
        defaults.max_retries = wanted.max_retries;
    }
    if wanted.timeout_s.is_some() {
        defaults.job_timeout_s = wanted.timeout_s;
    }
    let mut settings = known.job_settings();
    for (name, value) in wanted.settings.into_iter().flatten() {
        if BACKOFF.contains(&name.as_str()) {
            // What the platform says, if nothing of it is left.
            defaults.pauses = None;
        }
        if value.is_null() {
            settings.remove(&name);
        } else {
            settings.insert(name, value);
        }
    }
    if let Some(pauses) = pauses(&settings)? {
        defaults.pauses = Some(pauses);
    }
    // Values in memory are always written.
    let text = serde_json::to_string(&settings).unwrap_or_default();
    if text.len() > MAX_SETTINGS_BYTES {
        let message = format!("settings must be at most {MAX_SETTINGS_BYTES} bytes");
        return Err(TeamRefusal::invalid("settings", message));
    }
    let former = known.jobs.as_ref();
    let jobs = QueueJobs {
        settings: (!settings.is_empty()).then_some(text),
        created_at: former.map_or(at, |jobs| jobs.created_at),
    };
    let mut events = Vec::new();
    if let Some(rate) = wanted.rate.filter(|rate| known.rate != Some(*rate)) {
        events.push(ControlEvent::QueueLimited(QueueLimited {
            queue: queue.clone(),
            team: team.clone(),
            environment,
            concurrency: known.concurrency,
            rate: Some(rate),
            weight: known.weight,
            at,
            retention_s: known.retention_s,
        }));
    }
    if known.defaults != defaults || former != Some(&jobs) {
        events.push(changed(deciding, environment, &queue, defaults, Some(jobs)));
    }
    match wanted.enabled {
        Some(false) if known.paused(at).is_none() => {
            events.push(ControlEvent::QueuePaused(QueuePaused {
                queue: queue.clone(),
                team,
                environment,
                reason: None,
                until: None,
                paused_by: deciding.by.to_string(),
                at,
                drain: false,
            }));
        }
        Some(true) if known.pause.is_some() => {
            events.push(ControlEvent::QueueResumed(QueueResumed {
                queue: queue.clone(),
                team,
                environment,
                at,
            }));
        }
        Some(_) | None => {}
    }
    if !events.is_empty() {
        has_room(deciding, environment, &queue)?;
    }
    Ok(events)
}

/// Everything that was decided about a queue is forgotten.
pub(super) fn forget(
    deciding: &Deciding<'_>,
    environment: Environment,
    queue: &QueueName,
) -> Decision {
    may_write(deciding, environment)?;
    let Some(known) = deciding.team.queue(environment, queue) else {
        return Ok(Vec::new());
    };
    let (team, at) = (deciding.info.id.clone(), deciding.now);
    let mut events = Vec::new();
    let limits = (
        known.concurrency,
        known.rate,
        known.weight,
        known.retention_s,
    );
    if limits != (None, None, None, None) {
        events.push(ControlEvent::QueueLimited(QueueLimited {
            queue: queue.clone(),
            team: team.clone(),
            environment,
            concurrency: None,
            rate: None,
            weight: None,
            at,
            retention_s: None,
        }));
    }
    if !known.defaults.is_empty() || known.jobs.is_some() {
        let nothing = QueueDefaults::default();
        events.push(changed(deciding, environment, queue, nothing, None));
    }
    if known.pause.is_some() {
        events.push(ControlEvent::QueueResumed(QueueResumed {
            queue: queue.clone(),
            team,
            environment,
            at,
        }));
    }
    Ok(events)
}

fn changed(
    deciding: &Deciding<'_>,
    environment: Environment,
    queue: &QueueName,
    defaults: QueueDefaults,
    jobs: Option<QueueJobs>,
) -> ControlEvent {
    ControlEvent::QueueDefaultsChanged(Box::new(QueueDefaultsChanged {
        queue: queue.clone(),
        team: deciding.info.id.clone(),
        environment,
        defaults,
        at: deciding.now,
        jobs,
    }))
}

/// The pauses that settings name: `base`, that times `multiplier`, and so on, at most `max`.
fn pauses(settings: &Map<String, Value>) -> Result<Option<DefaultPauses>, TeamRefusal> {
    if BACKOFF.iter().all(|name| !settings.contains_key(*name)) {
        return Ok(None);
    }
    let longest = LONGEST_OWN.as_secs_f64();
    let number = |name: &'static str, usual: f64, least: f64, most: f64| match settings.get(name) {
        None => Ok(usual),
        Some(given) => {
            let given = given.as_f64();
            let fine = given.filter(|given| (least..=most).contains(given));
            fine.ok_or_else(|| {
                let message = format!("settings: {name} must be a number from {least} to {most}");
                TeamRefusal::invalid("settings", message)
            })
        }
    };
    let [base, multiplier, max] = BACKOFF;
    let base = number(base, 1.0, 0.0, longest)?;
    let multiplier = number(multiplier, 2.0, 1.0, 100.0)?;
    let max = number(max, 60.0, 0.0, longest)?;
    let mut listed: Vec<u32> = Vec::new();
    let mut next = base;
    while listed.len() < LISTED_PAUSES {
        let pause = next.min(max);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "at most a day in milliseconds, and not negative"
        )]
        let millis = (pause * 1_000.0).round() as u32;
        listed.push(millis);
        if pause >= max || multiplier <= 1.0 {
            break;
        }
        next *= multiplier;
    }
    Ok(Some(DefaultPauses {
        backoff: Backoff::Exponential,
        own: OwnPauses::of_millis(listed),
        min_ms: None,
        max_ms: None,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(settings: &Value) -> Option<Vec<u32>> {
        let pauses = pauses(settings.as_object()?).ok()??;
        Some(pauses.own.millis().to_vec())
    }

    #[test]
    fn pauses_grow_as_settings_say() {
        let json = |text: &str| serde_json::from_str::<Value>(text).expect("json");
        assert_eq!(listed(&json(r#"{"colour": 1}"#)), None);
        let growing = json(
            r#"{"backoff_base_seconds": 0.5, "backoff_multiplier": 3, "backoff_max_seconds": 10}"#,
        );
        assert_eq!(listed(&growing), Some(vec![500, 1_500, 4_500, 10_000]));
        let fixed = json(r#"{"backoff_base_seconds": 5, "backoff_multiplier": 1}"#);
        assert_eq!(listed(&fixed), Some(vec![5_000]));
        let usual = listed(&json(r#"{"backoff_multiplier": 2}"#)).expect("pauses");
        assert_eq!(usual[..3], [1_000, 2_000, 4_000]);
        assert_eq!(usual.last(), Some(&60_000));
        for wrong in [
            r#"{"backoff_base_seconds": -1}"#,
            r#"{"backoff_multiplier": 0.5}"#,
            r#"{"backoff_max_seconds": "x"}"#,
        ] {
            let settings = json(wrong);
            let refused = pauses(settings.as_object().expect("an object"));
            assert!(refused.is_err(), "{wrong}");
        }
    }
}
