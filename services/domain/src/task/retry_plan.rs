//! When the attempts of a task may be made, so that a client can check its retry settings in
//! advance.
//!
//! The times are bounds. At the earliest, each attempt fails at once; at the latest, each uses its
//! full time limit. In addition, attempts may wait for a slot, and a target may ask for a longer
//! pause with `Retry-After`.

use std::time::Duration;

use super::bounds::RetryBounds;
use super::once::Once;
use super::pauses::{OVERNIGHT, OwnPauses};
use super::retry::{self, Backoff};
use super::row::TaskRow;
use super::spec::TaskSpec;
use crate::event::TaskCreated;
use crate::time::Timestamp;

/// The options of a task that determine when its attempts are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryTerms {
    accepted: Timestamp,
    not_before: Option<Timestamp>,
    longest_attempt: Duration,
    max_retries: u16,
    backoff: Backoff,
    pauses: OwnPauses,
    bounds: RetryBounds,
    deadline: Option<Timestamp>,
    expires_in: Option<Duration>,
}

/// The terms of a task that was accepted at that time. Request, event and row of a task use the
/// same names for these fields.
macro_rules! terms {
    ($task:expr, $accepted:expr) => {
        RetryTerms {
            accepted: $accepted,
            not_before: first_start($task.not_before, $task.once.as_deref(), $accepted),
            longest_attempt: longest($task.timeout_ms, $task.max_wait_ms),
            max_retries: $task.max_retries,
            backoff: $task.backoff,
            pauses: $task.retry_pauses.clone(),
            bounds: $task.retry_bounds,
            deadline: $task.deadline,
            expires_in: $task.expires_in_ms.map(Duration::from_millis),
        }
    };
}

impl RetryTerms {
    /// Terms of a task that is about to be accepted.
    #[must_use]
    pub fn of(task: &TaskSpec, now: Timestamp) -> Self {
        terms!(task, now)
    }
}

impl From<&TaskCreated> for RetryTerms {
    fn from(task: &TaskCreated) -> Self {
        terms!(task, task.at)
    }
}

impl From<&TaskRow> for RetryTerms {
    fn from(task: &TaskRow) -> Self {
        terms!(task, task.created_at)
    }
}

/// When the first attempt may start, by its delay or its debounce.
fn first_start(
    not_before: Option<Timestamp>,
    once: Option<&Once>,
    accepted: Timestamp,
) -> Option<Timestamp> {
    not_before.or_else(|| {
        let debounce = once?.debounce()?;
        Some(accepted.plus(Duration::from_millis(debounce.delay_ms)))
    })
}

fn longest(timeout_ms: u32, max_wait_ms: u32) -> Duration {
    Duration::from_millis(timeout_ms.min(max_wait_ms).into())
}

/// Whether an attempt can begin before the task ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fits {
    /// Yes, however long the attempts before it take.
    Always,
    /// Only if the attempts before it fail early enough.
    Maybe,
    /// No, the task has ended by then.
    Never,
}

impl Fits {
    /// The name in API answers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Always => "always",
            Self::Maybe => "maybe",
            Self::Never => "never",
        }
    }
}

/// A planned attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlannedAttempt {
    /// Number of the attempt, from 1.
    pub number: u32,
    /// The pause before the attempt, without jitter.
    pub pause: Duration,
    /// The same with the largest jitter.
    pub longest_pause: Duration,
    /// The attempt does not begin earlier.
    pub earliest: Timestamp,
    /// The attempt begins no later, unless it must wait for a slot: every attempt before it uses
    /// its full time limit, and every pause has the maximum jitter.
    pub latest: Timestamp,
    /// Whether the attempt begins before the task ends.
    pub fits: Fits,
}

impl RetryTerms {
    /// The first attempt and all retries, assuming that each of them fails.
    #[must_use]
    pub fn plan(&self) -> Vec<PlannedAttempt> {
        let (end, age) = (self.end(), self.last_retry());
        let begin = self.not_before.unwrap_or(self.accepted).max(self.accepted);
        let (mut earliest, mut latest) = (begin, begin);
        let mut attempts = Vec::with_capacity(usize::from(self.max_retries) + 1);
        for retry in 0..=u32::from(self.max_retries) {
            let (mut pause, mut longest_pause, mut end) = (Duration::ZERO, Duration::ZERO, end);
            if retry > 0 {
                let span = retry::pause(self.backoff, &self.pauses, &self.bounds, retry, None);
                (pause, longest_pause) = (span.from, span.to);
                earliest = earliest.plus(pause);
                latest = latest.plus(self.longest_attempt).plus(longest_pause);
                end = end.into_iter().chain(age).min();
            }
            let fits = match end {
                Some(end) if earliest >= end => Fits::Never,
                Some(end) if latest >= end => Fits::Maybe,
                _ => Fits::Always,
            };
            attempts.push(PlannedAttempt {
                number: retry + 1,
                pause,
                longest_pause,
                earliest,
                latest,
                fits,
            });
        }
        attempts
    }

    /// When the last retry may begin, because of `maxAge`.
    fn last_retry(&self) -> Option<Timestamp> {
        self.bounds.max_age().map(|age| self.accepted.plus(age))
    }

    /// When the task ends in any case.
    fn end(&self) -> Option<Timestamp> {
        let expires = self.expires_in.map(|length| self.accepted.plus(length));
        [self.deadline, expires].into_iter().flatten().min()
    }

    /// Why some retries can never be made, with the field that ends the task earlier; `None` if
    /// every retry may be made.
    #[must_use]
    pub fn what_cannot_fit(&self) -> Option<(&'static str, String)> {
        let age = self.last_retry();
        let end = self.end().into_iter().chain(age).min()?;
        let plan = self.plan();
        let never = plan.iter().filter(|attempt| attempt.fits == Fits::Never);
        let never = never.count();
        if never == 0 {
            return None;
        }
        let (field, bound) = if self.deadline == Some(end) {
            ("deadline", "before the task ends")
        } else if age == Some(end) && self.end() != age {
            ("maxAge", "before the task is too old for them")
        } else {
            ("expiresIn", "before the task ends")
        };
        let retries = self.max_retries;
        let fitting = usize::from(retries).saturating_sub(never);
        let last = plan.last().map_or(end, |attempt| attempt.earliest);
        Some((
            field,
            format!(
                "only {fitting} of {retries} retries can begin {bound} at {end}, even when every attempt fails at once: \
                 the last one is due at {last}"
            ),
        ))
    }
}

impl RetryTerms {
    /// Says so when the task takes a schedule by the name of what it outlives, and too few of its retries for that.
    #[must_use]
    pub fn what_falls_short(&self) -> Option<(&'static str, String)> {
        let retries = self.max_retries;
        let whole = self.pauses.retries();
        if retries >= whole || !self.pauses.is_overnight() {
            return None;
        }
        let covered: Duration = (1..=u32::from(retries))
            .filter_map(|retry| self.pauses.before(retry))
            .sum();
        Some((
            "maxRetries",
            format!(
                "{retries} of the {whole} retries of {OVERNIGHT} are over after {} s; without maxRetries it outlives a night",
                covered.as_secs()
            ),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{TaskId, TeamId};
    use crate::partition::Partition;
    use crate::task::once::{Debounce, DebounceMode};
    use crate::task::{Limits, TaskRequest, TaskSpec};
    use proptest::prelude::*;

    fn created(change: impl FnOnce(&mut TaskCreated)) -> TaskCreated {
        let request = TaskRequest {
            target_url: Some("https://example.com/".into()),
            ..TaskRequest::default()
        };
        let limits = Limits {
            max_wait: Duration::from_secs(120),
            max_delay: Duration::from_secs(86_400),
        };
        let now = Timestamp(1_000_000);
        let spec = TaskSpec::check(request, &limits, now).expect("fine");
        let id = TaskId::new(now, 7, Partition::default());
        let mut created = spec.accept(id, TeamId::new(now, 1), None, now);
        change(&mut created);
        created
    }

    #[test]
    fn attempts_lie_between_all_failing_at_once_and_all_taking_their_time() {
        let task = created(|task| {
            task.max_retries = 3;
            task.timeout_ms = 10_000;
        });
        let plan = RetryTerms::from(&task).plan();
        assert_eq!(plan.len(), 4);
        assert_eq!((plan[0].earliest, plan[0].latest), (task.at, task.at));
        // Pauses of 1 + 2 + 4 s, each with up to a tenth of jitter, and three attempts of 10 s.
        let millis = |at: Timestamp| at.since(task.at).as_millis();
        assert_eq!(
            (millis(plan[3].earliest), millis(plan[3].latest)),
            (7_000, 37_700)
        );
        assert!(plan.iter().all(|attempt| attempt.fits == Fits::Always));
        assert_eq!(RetryTerms::from(&task).what_cannot_fit(), None);
    }

    #[test]
    fn what_cannot_fit_is_told_by_the_field_that_ends_the_task() {
        let short = created(|task| {
            task.max_retries = 10;
            task.timeout_ms = 1_000;
            task.expires_in_ms = Some(10_000);
        });
        let planned = RetryTerms::from(&short).plan();
        let fits: Vec<_> = planned.iter().map(|attempt| attempt.fits).collect();
        assert_eq!(
            &fits[..4],
            [Fits::Always, Fits::Always, Fits::Always, Fits::Maybe]
        );
        assert!(
            fits[4..].iter().all(|fits| *fits == Fits::Never),
            "{fits:?}"
        );
        let (field, message) = RetryTerms::from(&short).what_cannot_fit().expect("told");
        assert_eq!(field, "expiresIn");
        assert!(
            message.starts_with("only 3 of 10 retries can begin"),
            "{message}"
        );

        let by_date = created(|task| {
            task.max_retries = 10;
            task.deadline = Some(task.at.plus(Duration::from_secs(10)));
            task.expires_in_ms = Some(20_000);
        });
        let (field, _) = RetryTerms::from(&by_date).what_cannot_fit().expect("told");
        assert_eq!(field, "deadline");
    }

    #[test]
    fn the_plan_of_a_night_has_its_pauses_and_its_deadline_is_told() {
        let night = |change: fn(&mut TaskCreated)| {
            created(|task| {
                task.max_retries = 10;
                task.retry_pauses = OwnPauses::overnight();
                change(task);
            })
        };
        let plan = RetryTerms::from(&night(|_| ())).plan();
        assert_eq!(plan.len(), 11);
        let last = plan[10].earliest.since(plan[0].earliest);
        assert!(last > Duration::from_secs(12 * 3_600), "{last:?}");
        assert_eq!(plan[7].pause, Duration::from_secs(7_200));

        let short = RetryTerms::from(&night(|task| task.expires_in_ms = Some(6 * 3_600_000)));
        let (field, message) = short.what_cannot_fit().expect("told");
        assert_eq!(field, "expiresIn");
        assert!(message.starts_with("only 7 of 10 retries"), "{message}");
        assert_eq!(short.what_falls_short(), None);

        let few = RetryTerms::from(&night(|task| task.max_retries = 3));
        let (field, message) = few.what_falls_short().expect("told");
        assert_eq!(field, "maxRetries");
        assert!(
            message.starts_with("3 of the 10 retries of overnight are over after 370 s"),
            "{message}"
        );
    }

    #[test]
    fn a_delay_moves_the_whole_plan() {
        let due = Timestamp(9_000_000);
        let plan = RetryTerms::from(&created(|task| task.not_before = Some(due))).plan();
        assert_eq!((plan[0].earliest, plan[0].latest), (due, due));
        let debounced = created(|task| {
            task.once = Some(Box::new(Once::Debounce(Debounce {
                key: "a".into(),
                delay_ms: 5_000,
                max_delay_ms: 50_000,
                mode: DebounceMode::Last,
            })));
        });
        let due = debounced.at.plus(Duration::from_secs(5));
        assert_eq!(RetryTerms::from(&debounced).plan()[0].earliest, due);
    }

    proptest! {
        #[test]
        fn attempts_come_in_order_and_what_never_fits_is_the_end_of_the_plan(retries in 0_u16..=10, timeout in 1_u32..900_000, expires in proptest::option::of(1_u64..10_000_000)) {
            let task = created(|task| {
                task.max_retries = retries;
                task.timeout_ms = timeout;
                task.max_wait_ms = timeout;
                task.expires_in_ms = expires;
            });
            let plan = RetryTerms::from(&task).plan();
            prop_assert_eq!(plan.len(), usize::from(retries) + 1);
            for pair in plan.windows(2) {
                prop_assert!(pair[0].earliest < pair[1].earliest && pair[0].latest < pair[1].latest);
                prop_assert!(pair[0].fits != Fits::Never || pair[1].fits == Fits::Never);
            }
            prop_assert!(plan.iter().all(|attempt| attempt.earliest <= attempt.latest));
            prop_assert!(plan[0].fits != Fits::Never, "it is not over before it begins");
        }
    }
}
