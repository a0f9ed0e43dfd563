//! Defaults for the tasks of a team, or of one of its queues.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::TeamRefusal;
use crate::id::QueueName;
use crate::task::request::{Invalid, shortened};
use crate::task::spec::retry_on;
use crate::task::{RetryOn, Success};

/// Limit of repeated deliveries of a completion webhook that a team may configure.
pub(super) const MAX_WEBHOOK_PAUSES: usize = 20;
/// Longest pause before a repeated delivery, in seconds: three days.
pub(super) const MAX_WEBHOOK_PAUSE_SECONDS: u32 = 259_200;
/// Limit of queues with defaults of their own: one event carries all of them.
pub(super) const MAX_QUEUES: usize = 100;

/// Options that apply to tasks that do not set them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TaskDefaults {
    /// For tasks whose queue has no defaults either.
    pub outcome: OutcomeDefaults,
    /// Pauses before the second and each further delivery of completion webhooks, in seconds.
    /// Empty: the platform's pauses.
    pub webhook_pauses: Vec<u32>,
    /// For tasks of these queues; what a queue leaves open falls back to `outcome`.
    pub queues: BTreeMap<QueueName, OutcomeDefaults>,
}

/// Which outcomes are a success and which are retried. Absent to leave it open.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OutcomeDefaults {
    /// Answers that count as a success.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub success: Option<Success>,
    /// Conditions for a retry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_on: Option<RetryOn>,
}

/// Changes to the defaults. `None` leaves a value as it is; an empty text or list restores the
/// platform's default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TaskDefaultsChange {
    /// Answers that count as a success.
    pub success: Option<String>,
    /// Conditions for a retry.
    pub retry_on: Option<Vec<String>>,
    /// Pauses before the second and each further delivery of completion webhooks, in seconds.
    pub webhook_pauses: Option<Vec<u32>>,
    /// By name of the queue, its complete new defaults. An empty change removes the queue's
    /// defaults.
    pub queues: Vec<(String, QueueDefaultsChange)>,
}

/// New defaults of one queue.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct QueueDefaultsChange {
    /// Answers that count as a success.
    pub success: Option<String>,
    /// Conditions for a retry.
    pub retry_on: Option<Vec<String>>,
}

impl TaskDefaults {
    /// Defaults for a task in that queue.
    #[must_use]
    pub fn of_queue(&self, queue: &QueueName) -> OutcomeDefaults {
        let own = self.queues.get(queue).cloned().unwrap_or_default();
        OutcomeDefaults {
            success: own.success.or_else(|| self.outcome.success.clone()),
            retry_on: own.retry_on.or_else(|| self.outcome.retry_on.clone()),
        }
    }

    /// The defaults after a change.
    pub(super) fn changed(&self, change: TaskDefaultsChange) -> Result<Self, TeamRefusal> {
        let TaskDefaultsChange {
            success,
            retry_on,
            webhook_pauses,
            queues,
        } = change;
        let mut after = self.clone();
        if let Some(text) = success {
            after.outcome.success = read_success(&text).map_err(|bad| refused("", &bad))?;
        }
        if let Some(conditions) = retry_on {
            after.outcome.retry_on = read_retry_on(&conditions).map_err(|bad| refused("", &bad))?;
        }
        if let Some(pauses) = webhook_pauses {
            check_pauses(&pauses)?;
            after.webhook_pauses = pauses;
        }
        for (name, wanted) in queues {
            let at = format!("queues.{}.", shortened(&name));
            let queue = QueueName::parse(&name).map_err(|_| {
                TeamRefusal::invalid(
                    "queues",
                    format!(
                        "queues must name queues of 1 to {} of a-z, A-Z, 0-9, _ and -, not {:?}",
                        QueueName::MAX_CHARS,
                        shortened(&name)
                    ),
                )
            })?;
            let success = wanted.success.as_deref().map(read_success).transpose();
            let retry_on = wanted.retry_on.as_deref().map(read_retry_on).transpose();
            let outcome = OutcomeDefaults {
                success: success.map_err(|bad| refused(&at, &bad))?.flatten(),
                retry_on: retry_on.map_err(|bad| refused(&at, &bad))?.flatten(),
            };
            if outcome == OutcomeDefaults::default() {
                after.queues.remove(&queue);
            } else {
                after.queues.insert(queue, outcome);
            }
        }
        if after.queues.len() > MAX_QUEUES {
            return Err(TeamRefusal::invalid(
                "queues",
                format!(
                    "queues: at most {MAX_QUEUES} queues may have defaults of their own, not {}",
                    after.queues.len()
                ),
            ));
        }
        Ok(after)
    }
}

/// Parses a rule of success; an empty text restores the platform's rule.
fn read_success(text: &str) -> Result<Option<Success>, Invalid> {
    if text.is_empty() {
        return Ok(None);
    }
    Success::parse(text)
        .map(Some)
        .map_err(|bad| Invalid::new("success", bad.to_string()))
}

/// Parses conditions for a retry; an empty list restores the platform's conditions.
fn read_retry_on(conditions: &[String]) -> Result<Option<RetryOn>, Invalid> {
    if conditions.is_empty() {
        return Ok(None);
    }
    retry_on(conditions).map(Some)
}

fn refused(at: &str, invalid: &Invalid) -> TeamRefusal {
    let field = if at.is_empty() {
        invalid.field
    } else {
        "queues"
    };
    TeamRefusal::invalid(field, format!("{at}{}", invalid.message))
}

fn check_pauses(pauses: &[u32]) -> Result<(), TeamRefusal> {
    let invalid = |message| Err(TeamRefusal::invalid("webhookRetrySeconds", message));
    if pauses.len() > MAX_WEBHOOK_PAUSES {
        return invalid(format!(
            "webhookRetrySeconds must hold at most {MAX_WEBHOOK_PAUSES} pauses, not {}",
            pauses.len()
        ));
    }
    let wrong = |pause: &&u32| !(1..=MAX_WEBHOOK_PAUSE_SECONDS).contains(*pause);
    match pauses.iter().find(wrong) {
        Some(wrong) => invalid(format!(
            "webhookRetrySeconds: each pause must be between 1 and {MAX_WEBHOOK_PAUSE_SECONDS} seconds, not {wrong}"
        )),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(name: &str) -> QueueName {
        QueueName::parse(name).expect("a name")
    }

    fn of_queue(name: &str, success: &str, retry_on: &[&str]) -> TaskDefaultsChange {
        let own = QueueDefaultsChange {
            success: Some(success.into()),
            retry_on: Some(retry_on.iter().map(|text| (*text).to_owned()).collect()),
        };
        TaskDefaultsChange {
            queues: vec![(name.into(), own)],
            ..TaskDefaultsChange::default()
        }
    }

    #[test]
    fn what_is_left_out_stays_and_what_is_empty_is_the_usual_again() {
        let start = TaskDefaults::default();
        let all = start
            .changed(TaskDefaultsChange {
                success: Some("2xx".into()),
                retry_on: Some(vec!["5xx".into()]),
                webhook_pauses: Some(vec![5, 60]),
                queues: Vec::new(),
            })
            .expect("fine");
        assert_eq!(all.webhook_pauses, [5, 60]);
        assert!(all.outcome.success.is_some() && all.outcome.retry_on.is_some());
        let same = all.changed(TaskDefaultsChange::default()).expect("fine");
        assert_eq!(same, all);
        let none = all
            .changed(TaskDefaultsChange {
                success: Some(String::new()),
                retry_on: Some(Vec::new()),
                webhook_pauses: Some(Vec::new()),
                queues: Vec::new(),
            })
            .expect("fine");
        assert_eq!(none, start);
    }

    #[test]
    fn a_queue_goes_before_its_team_in_what_it_says() {
        let team = TaskDefaults::default()
            .changed(TaskDefaultsChange {
                success: Some("2xx".into()),
                retry_on: Some(vec!["timeout".into()]),
                ..TaskDefaultsChange::default()
            })
            .expect("fine");
        let both = team
            .changed(of_queue("mail", "2xx,404", &[]))
            .expect("fine");
        let rule = |queue: &QueueName| {
            let outcome = both.of_queue(queue);
            (
                outcome.success.map(|rule| rule.to_string()),
                outcome.retry_on.map(|on| on.as_slice().to_vec()),
            )
        };
        let timeout = Some(vec!["timeout".to_owned()]);
        assert_eq!(
            rule(&queue("mail")),
            (Some("2xx,404".into()), timeout.clone())
        );
        assert_eq!(rule(&queue("other")), (Some("2xx".into()), timeout));
        let other = both.changed(of_queue("jobs", "", &["503"])).expect("fine");
        assert_eq!(other.queues.len(), 2, "each queue by itself");
        let again = both.changed(of_queue("mail", "", &[])).expect("fine");
        assert_eq!(again, team);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let refused = |change| match TaskDefaults::default().changed(change) {
            Err(TeamRefusal::Invalid { field, message }) => (field, message),
            other => panic!("{other:?}"),
        };
        let (field, _) = refused(TaskDefaultsChange {
            success: Some("all".into()),
            ..TaskDefaultsChange::default()
        });
        assert_eq!(field, "success");
        let (field, _) = refused(TaskDefaultsChange {
            retry_on: Some(vec!["sometimes".into()]),
            ..TaskDefaultsChange::default()
        });
        assert_eq!(field, "retryOn");
        for pauses in [vec![0], vec![MAX_WEBHOOK_PAUSE_SECONDS + 1], vec![1; 21]] {
            let (field, _) = refused(TaskDefaultsChange {
                webhook_pauses: Some(pauses),
                ..TaskDefaultsChange::default()
            });
            assert_eq!(field, "webhookRetrySeconds");
        }
        let (field, message) = refused(of_queue("mail", "all", &[]));
        assert_eq!(field, "queues");
        assert!(message.starts_with("queues.mail.success must"), "{message}");
        assert_eq!(refused(of_queue("a b", "2xx", &[])).0, "queues");
        let many = (0..=MAX_QUEUES).map(|n| {
            let own = QueueDefaultsChange {
                success: Some("2xx".into()),
                retry_on: None,
            };
            (format!("q{n}"), own)
        });
        let (field, message) = refused(TaskDefaultsChange {
            queues: many.collect(),
            ..TaskDefaultsChange::default()
        });
        assert_eq!(field, "queues");
        assert!(message.ends_with("not 101"), "{message}");
    }
}
