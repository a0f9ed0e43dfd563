//! `?explain=retries` of a creation: when the attempts of the task may be made.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use waybill_domain::task::retry_plan::{self, RetryTerms};

use super::lengths::Seconds;
use super::object::Task;
use waybill_edge::error::ApiError;
use waybill_edge::iso::Iso;
use waybill_edge::query::HasLists;
use waybill_edge::warnings::{Handling, Warning, Warnings};

/// What the answer to a creation explains beside the task.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ExplainParams {
    /// `retries`: the answer has `retries`, the attempts that are made should each of them fail.
    #[param(value_type = Option<String>, example = "retries")]
    #[serde(default)]
    explain: Explain,
}

impl HasLists for ExplainParams {}

/// What is explained.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Explain {
    /// The answer explains nothing.
    #[default]
    Nothing,
    /// When attempts are made.
    Retries,
}

impl<'de> Deserialize<'de> for Explain {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match &*String::deserialize(deserializer)? {
            "" => Ok(Self::Nothing),
            "retries" => Ok(Self::Retries),
            _ => Err(serde::de::Error::custom("must be retries")),
        }
    }
}

impl ExplainParams {
    /// The attempts of the task, when they were asked for.
    pub(crate) fn attempts(&self, task: &Task) -> Option<Vec<PlannedAttempt>> {
        let plan = || task.retry_terms.plan().into_iter();
        (self.explain == Explain::Retries).then(|| plan().map(PlannedAttempt::from).collect())
    }
}

/// Warns of retries that cannot be made because the task ends before them, and of too few of them for what they are to outlive; with
/// `Prefer: handling=strict` the request is refused. Called before the task is stored.
pub(crate) fn warn_of_retries(
    mut warnings: Warnings,
    terms: &RetryTerms,
    handling: Handling,
) -> Result<Vec<Warning>, ApiError> {
    let told = [terms.what_cannot_fit(), terms.what_falls_short()];
    for (field, message) in told.into_iter().flatten() {
        warnings.add(field, message);
    }
    warnings.judge(handling)
}

/// An attempt that will be made, should all before it fail. Time in the queue, and longer pauses that the target asks for by
/// `Retry-After`, come on top.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlannedAttempt {
    /// 1, 2, 3...
    #[schema(example = 2)]
    number: u32,
    /// Seconds between the end of the attempt before it and this one, without jitter.
    #[schema(value_type = f64, example = 1)]
    pause: Seconds,
    /// The same with the largest jitter.
    #[schema(value_type = f64, example = 1.1)]
    longest_pause: Seconds,
    /// Its earliest start: each attempt before it fails at once.
    #[schema(value_type = String, format = DateTime)]
    earliest: Iso,
    /// Its latest start: each attempt before it takes the whole `timeout`, and each pause is the longest.
    #[schema(value_type = String, format = DateTime)]
    latest: Iso,
    /// Whether that is before `deadline` and within `expiresIn` and, for a retry, `maxAge`: `always`, `maybe` (if attempts before it fail sooner than they may)
    /// or `never`.
    #[schema(value_type = String, example = "always")]
    fits: &'static str,
}

fn seconds(length: Duration) -> Seconds {
    Seconds(u64::try_from(length.as_millis()).unwrap_or(u64::MAX))
}

impl From<retry_plan::PlannedAttempt> for PlannedAttempt {
    fn from(planned: retry_plan::PlannedAttempt) -> Self {
        Self {
            number: planned.number,
            pause: seconds(planned.pause),
            longest_pause: seconds(planned.longest_pause),
            earliest: Iso(planned.earliest),
            latest: Iso(planned.latest),
            fits: planned.fits.as_str(),
        }
    }
}
