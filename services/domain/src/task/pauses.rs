//! Pauses before retries that a task sets itself, as a list or by the name of a schedule.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::length::Length;
use super::request::{Invalid, shortened};
use super::retry::{BASE, Backoff};
use super::spec::MAX_RETRIES;

/// The longest pause that a task may set.
pub const LONGEST_OWN: Duration = Duration::from_secs(86_400);
/// Name of the schedule that lasts overnight, in requests.
pub const OVERNIGHT: &str = "overnight";
/// Its pauses, in seconds: 10 retries over almost 14 hours. They are short at first, for a target
/// that is only restarted, and never longer than four hours.
const OVERNIGHT_SECONDS: [u32; MAX_RETRIES as usize] = [
    10, 60, 300, 900, 1_800, 3_600, 7_200, 10_800, 10_800, 14_400,
];

/// The retry pauses in a request.
#[derive(Debug, Clone, PartialEq)]
pub enum BackoffRequest {
    /// A name, such as `exponential`, `fixed` or `overnight`.
    Word(String),
    /// The pause before each retry.
    Pauses(Vec<Length>),
}

/// Pauses before retry 1, 2, 3..., in milliseconds; the last one repeats. Empty if the task sets
/// none, and they grow by its back-off.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct OwnPauses(Vec<u32>);

impl OwnPauses {
    /// The schedule `overnight`.
    #[must_use]
    pub fn overnight() -> Self {
        Self(OVERNIGHT_SECONDS.map(|seconds| seconds * 1_000).to_vec())
    }

    /// These pauses, in milliseconds.
    #[must_use]
    pub fn of_millis(pauses: Vec<u32>) -> Self {
        Self(pauses)
    }

    /// Whether the task sets none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether they are the schedule `overnight`.
    #[must_use]
    pub fn is_overnight(&self) -> bool {
        *self == Self::overnight()
    }

    /// The pauses, in milliseconds.
    #[must_use]
    pub fn millis(&self) -> &[u32] {
        &self.0
    }

    /// How many pauses are listed.
    #[must_use]
    pub fn retries(&self) -> u16 {
        u16::try_from(self.0.len()).unwrap_or(u16::MAX)
    }

    /// The pause before retry 1, 2, 3..., without jitter.
    #[must_use]
    pub fn before(&self, retry: u32) -> Option<Duration> {
        let index = usize::try_from(retry.saturating_sub(1)).unwrap_or(usize::MAX);
        let millis = self.0.get(index).or(self.0.last())?;
        Some(Duration::from_millis((*millis).into()))
    }
}

/// What a request says: how pauses grow, and those of its own.
pub(super) fn read(request: Option<&BackoffRequest>) -> Result<(Backoff, OwnPauses), Invalid> {
    const FIELD: &str = "retryBackoff";
    let usual = Backoff::default();
    match request {
        None => Ok((usual, OwnPauses::default())),
        Some(BackoffRequest::Word(word)) if word == OVERNIGHT => {
            Ok((usual, OwnPauses::overnight()))
        }
        Some(BackoffRequest::Word(word)) => match Backoff::parse(word) {
            Some(backoff) => Ok((backoff, OwnPauses::default())),
            None => Err(Invalid::new(
                FIELD,
                format!(
                    "{FIELD} must be exponential, linear, fixed, {OVERNIGHT} or a list of pauses such as [\"10s\", \"5m\", \"2h\"], not {:?}",
                    shortened(word)
                ),
            )),
        },
        Some(BackoffRequest::Pauses(pauses)) => {
            if pauses.is_empty() || pauses.len() > usize::from(MAX_RETRIES) {
                return Err(Invalid::new(
                    FIELD,
                    format!(
                        "{FIELD} must list 1 to {MAX_RETRIES} pauses, not {}",
                        pauses.len()
                    ),
                ));
            }
            let own = pauses.iter().map(|pause| {
                let pause = pause.read(FIELD, LONGEST_OWN)?;
                if pause < BASE {
                    return Err(Invalid::new(
                        FIELD,
                        format!(
                            "{FIELD} must list pauses of at least {} s, not {} s",
                            BASE.as_secs(),
                            pause.as_secs_f64()
                        ),
                    ));
                }
                Ok(u32::try_from(pause.as_millis()).unwrap_or(u32::MAX))
            });
            Ok((usual, OwnPauses(own.collect::<Result<_, _>>()?)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(pauses: &[&str]) -> Result<OwnPauses, Invalid> {
        let pauses = pauses.iter().map(|text| Length::Text((*text).into()));
        read(Some(&BackoffRequest::Pauses(pauses.collect()))).map(|(_, own)| own)
    }

    #[test]
    fn overnight_outlives_outages_of_8_to_12_hours() {
        let word = BackoffRequest::Word(OVERNIGHT.into());
        let (_, own) = read(Some(&word)).expect("a word");
        assert!(own.is_overnight());
        assert_eq!(own.retries(), MAX_RETRIES);
        let mut at = Duration::ZERO;
        let mut attempts = vec![at];
        for retry in 1..=u32::from(MAX_RETRIES) {
            at += own.before(retry).expect("a pause");
            attempts.push(at);
        }
        let hours = |hours: u64| Duration::from_secs(hours * 3_600);
        for outage in 1..=12 {
            let next = attempts.iter().find(|at| **at >= hours(outage));
            let late = *next.expect("an attempt after it") - hours(outage);
            assert!(late <= hours(4), "after {outage} h it takes {late:?}");
        }
        assert!(at < hours(15), "an end comes the next day");
    }

    #[test]
    fn the_last_pause_of_a_list_repeats() {
        let own = listed(&["10s", "1m30s"]).expect("pauses");
        assert_eq!(own.millis(), [10_000, 90_000]);
        let before = |retry| own.before(retry).map(|pause| pause.as_secs());
        assert_eq!(
            [before(1), before(2), before(3)],
            [Some(10), Some(90), Some(90)]
        );
        assert_eq!(OwnPauses::default().before(1), None);
    }

    #[test]
    fn what_is_no_schedule_is_refused_with_what_would_be_right() {
        for (pauses, message) in [
            (&[][..], "retryBackoff must list 1 to 10 pauses, not 0"),
            (&["1s"; 11], "retryBackoff must list 1 to 10 pauses, not 11"),
            (
                &["500ms"],
                "retryBackoff must list pauses of at least 1 s, not 0.5 s",
            ),
            (
                &["25h"],
                "retryBackoff must be more than 0 and at most 1 days",
            ),
        ] {
            let refused = listed(pauses).expect_err(message);
            assert_eq!(
                (refused.field, &*refused.message),
                ("retryBackoff", message)
            );
        }
        let word = BackoffRequest::Word("never".into());
        let refused = read(Some(&word)).expect_err("no word");
        assert!(
            refused
                .message
                .contains("exponential, linear, fixed, overnight or a list"),
            "{refused}"
        );
    }
}
