//! Bounds of the pauses between attempts: how short and how long they may be, how far they are
//! spread, and how old a task may be when it is retried.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::length::Length;
use super::pauses::{LONGEST_OWN, OwnPauses};
use super::request::{Invalid, Limits, TaskRequest, shortened};
use super::retry::{BASE, LONGEST};

/// Parts of a pause by which jitter is counted.
const WHOLE: u16 = 1_000;

/// The largest share of a pause that is added to it, in thousandths, so that tasks that failed
/// together are not retried together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Jitter(u16);

impl Default for Jitter {
    fn default() -> Self {
        Self::TENTH
    }
}

impl Jitter {
    /// Pauses are as long as they say.
    pub const NONE: Self = Self(0);
    /// Up to a tenth is added.
    pub const TENTH: Self = Self(WHOLE / 10);
    /// Up to the whole pause is added.
    pub const FULL: Self = Self(WHOLE);

    /// The largest addition to a pause.
    #[must_use]
    pub fn most(self, pause: Duration) -> Duration {
        let millis = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        Duration::from_millis(millis.saturating_mul(self.thousandths()) / u64::from(WHOLE))
    }

    /// The share in thousandths of a pause, 0 to 1000. A stored value beyond that counts as 1000.
    #[must_use]
    pub fn thousandths(self) -> u64 {
        self.0.min(WHOLE).into()
    }

    /// The longest pause that is not longer than `most` with the largest addition.
    fn room_within(self, most: Duration) -> Duration {
        let millis = u64::try_from(most.as_millis()).unwrap_or(u64::MAX);
        let whole = u64::from(WHOLE);
        Duration::from_millis(millis.saturating_mul(whole) / (whole + self.thousandths()))
    }
}

/// The jitter in a request.
#[derive(Debug, Clone, PartialEq)]
pub enum JitterRequest {
    /// `none`, `tenth` or `full`.
    Word(String),
    /// A share of the pause, 0 to 1.
    Share(f64),
}

/// Bounds of a task's retries. Encoded by position in snapshots and rows: new fields come last.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RetryBounds {
    /// The shortest pause, from which pauses grow, in milliseconds. Absent: a second.
    #[serde(default)]
    pub min_ms: Option<u32>,
    /// The longest pause, jitter included, in milliseconds. Absent: an hour for pauses that grow
    /// and for `Retry-After`, before jitter; pauses that a task lists are as long as listed.
    #[serde(default)]
    pub max_ms: Option<u32>,
    /// How far pauses are spread.
    #[serde(default)]
    pub jitter: Jitter,
    /// No retry begins later than this after acceptance, in milliseconds.
    #[serde(default)]
    pub max_age_ms: Option<u64>,
}

impl RetryBounds {
    /// Whether a task sets none of them.
    #[must_use]
    pub fn are_usual(&self) -> bool {
        *self == Self::default()
    }

    /// The shortest pause, from which pauses grow.
    #[must_use]
    pub fn shortest(&self) -> Duration {
        self.min_ms
            .map_or(BASE, |millis| Duration::from_millis(millis.into()))
    }

    /// How old the task may be when a retry begins.
    #[must_use]
    pub fn max_age(&self) -> Option<Duration> {
        self.max_age_ms.map(Duration::from_millis)
    }

    /// The longest pause with its jitter, if the task sets one.
    pub(super) fn longest(&self) -> Option<Duration> {
        self.max_ms
            .map(|millis| Duration::from_millis(millis.into()))
    }

    /// The longest pause before jitter, unless the task sets one.
    fn usual_longest(&self) -> Duration {
        LONGEST.max(self.shortest())
    }

    /// The span of a pause that should be as long as `pause`. If the task bounds it, it is so much
    /// shorter that its jitter still has room.
    pub(super) fn span(&self, pause: Duration) -> Span {
        let Some(longest) = self.longest() else {
            let pause = pause.max(self.shortest()).min(self.usual_longest());
            return self.spread(pause);
        };
        let pause = pause.min(self.jitter.room_within(longest));
        self.spread(pause.max(self.shortest()).min(longest))
    }

    /// The span of a pause that the task lists. It is not shortened, except for its jitter.
    pub(super) fn listed(&self, pause: Duration) -> Span {
        self.spread(pause)
    }

    /// The span of a pause that a target asks for. It is never shorter than that, up to the longest
    /// pause.
    pub(super) fn asked(&self, wanted: Duration) -> Span {
        let longest = self.longest().unwrap_or_else(|| self.usual_longest());
        self.spread(wanted.max(self.shortest()).min(longest))
    }

    fn spread(&self, pause: Duration) -> Span {
        let to = pause.saturating_add(self.jitter.most(pause));
        Span {
            from: pause,
            to: self
                .longest()
                .map_or(to, |longest| to.min(longest).max(pause)),
        }
    }
}

/// How long a pause may be: between both, inclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    pub from: Duration,
    pub to: Duration,
}

/// What a request says about them, for a task that lists those pauses.
pub(super) fn read(
    request: &TaskRequest,
    own: &OwnPauses,
    limits: &Limits,
) -> Result<RetryBounds, Invalid> {
    let bounds = RetryBounds {
        min_ms: pause("minDelay", request.min_delay.as_ref())?,
        max_ms: pause("maxDelay", request.max_delay.as_ref())?,
        jitter: jitter(request.jitter.as_ref())?,
        max_age_ms: request
            .max_age
            .as_ref()
            .map(|age| age.read("maxAge", limits.max_delay))
            .transpose()?
            .map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX)),
    };
    let shortest = bounds.shortest();
    if let Some(longest) = bounds.longest().filter(|longest| *longest < shortest) {
        return Err(Invalid::new(
            "maxDelay",
            format!(
                "maxDelay must be at least minDelay, {} s, not {} s",
                shortest.as_secs_f64(),
                longest.as_secs_f64()
            ),
        ));
    }
    // A bound that changed a listed pause would contradict the list, so it is refused.
    let listed = own.millis();
    if let (Some(least), Some(min)) = (listed.iter().min(), bounds.min_ms)
        && min > *least
    {
        return Err(outside("minDelay", "at most the shortest", *least));
    }
    if let (Some(most), Some(max)) = (listed.iter().max(), bounds.max_ms)
        && max < *most
    {
        return Err(outside("maxDelay", "at least the longest", *most));
    }
    Ok(bounds)
}

fn outside(field: &'static str, how: &str, millis: u32) -> Invalid {
    Invalid::new(
        field,
        format!(
            "{field} must be {how} pause of retryBackoff, {} s",
            f64::from(millis) / 1000.0
        ),
    )
}

fn pause(field: &'static str, length: Option<&Length>) -> Result<Option<u32>, Invalid> {
    let Some(length) = length else {
        return Ok(None);
    };
    let pause = length.read(field, LONGEST_OWN)?;
    if pause < BASE {
        return Err(Invalid::new(
            field,
            format!(
                "{field} must be at least {} s, not {} s",
                BASE.as_secs(),
                pause.as_secs_f64()
            ),
        ));
    }
    Ok(Some(u32::try_from(pause.as_millis()).unwrap_or(u32::MAX)))
}

fn jitter(request: Option<&JitterRequest>) -> Result<Jitter, Invalid> {
    const FIELD: &str = "jitter";
    let refused = |shown: String| {
        Invalid::new(
            FIELD,
            format!("{FIELD} must be none, tenth, full or a share from 0 to 1, not {shown}"),
        )
    };
    match request {
        None => Ok(Jitter::default()),
        Some(JitterRequest::Word(word)) => match &**word {
            "none" => Ok(Jitter::NONE),
            "tenth" => Ok(Jitter::TENTH),
            "full" => Ok(Jitter::FULL),
            _ => Err(refused(format!("{:?}", shortened(word)))),
        },
        Some(JitterRequest::Share(share)) if (0.0..=1.0).contains(share) => {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "between 0 and 1000"
            )]
            let thousandths = (share * f64::from(WHOLE)).round() as u16;
            Ok(Jitter(thousandths))
        }
        Some(JitterRequest::Share(share)) => Err(refused(share.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(text: &str) -> Option<Length> {
        Some(Length::Text(text.into()))
    }

    fn check(change: impl FnOnce(&mut TaskRequest)) -> Result<RetryBounds, Invalid> {
        let mut request = TaskRequest::default();
        change(&mut request);
        let limits = Limits {
            max_wait: Duration::from_secs(30),
            max_delay: Duration::from_secs(366 * 86_400),
        };
        let (_, own) = super::super::pauses::read(request.retry_backoff.as_ref())?;
        read(&request, &own, &limits)
    }

    #[test]
    fn bounds_that_contradict_something_are_refused_by_name() {
        use super::super::pauses::BackoffRequest;
        let listed = || {
            let pauses = ["10s", "5m"].map(|text| Length::Text(text.into()));
            Some(BackoffRequest::Pauses(pauses.to_vec()))
        };
        let refused = |change: &dyn Fn(&mut TaskRequest)| {
            let error = check(change).expect_err("refused");
            (error.field, error.message)
        };
        for (field, message, refused) in [
            (
                "maxDelay",
                "maxDelay must be at least minDelay, 60 s, not 30 s",
                refused(&|r| (r.min_delay, r.max_delay) = (seconds("1m"), seconds("30s"))),
            ),
            (
                "minDelay",
                "minDelay must be at least 1 s, not 0.5 s",
                refused(&|r| r.min_delay = seconds("500ms")),
            ),
            (
                "minDelay",
                "minDelay must be at most the shortest pause of retryBackoff, 10 s",
                refused(&|r| (r.retry_backoff, r.min_delay) = (listed(), seconds("11s"))),
            ),
            (
                "maxDelay",
                "maxDelay must be at least the longest pause of retryBackoff, 300 s",
                refused(&|r| (r.retry_backoff, r.max_delay) = (listed(), seconds("4m"))),
            ),
            (
                "jitter",
                "jitter must be none, tenth, full or a share from 0 to 1, not \"half\"",
                refused(&|r| r.jitter = Some(JitterRequest::Word("half".into()))),
            ),
            (
                "jitter",
                "jitter must be none, tenth, full or a share from 0 to 1, not 1.5",
                refused(&|r| r.jitter = Some(JitterRequest::Share(1.5))),
            ),
        ] {
            assert_eq!(refused, (field, message.to_owned()));
        }
        assert!(check(|r| r.jitter = Some(JitterRequest::Share(f64::NAN))).is_err());
        let fits = check(|r| {
            r.retry_backoff = listed();
            r.min_delay = seconds("10s");
            r.max_delay = seconds("5m");
        });
        assert_eq!(fits.map(|bounds| bounds.max_ms), Ok(Some(300_000)));
    }

    #[test]
    fn jitter_has_room_below_the_longest_pause_and_stays_above_what_a_target_asks_for() {
        let bounds = check(|r| {
            (r.min_delay, r.max_delay) = (seconds("10s"), seconds("1m"));
            r.jitter = Some(JitterRequest::Word("full".into()));
        })
        .expect("bounds");
        let span = |from, to| Span {
            from: Duration::from_secs(from),
            to: Duration::from_secs(to),
        };
        assert_eq!(bounds.span(Duration::from_secs(10)), span(10, 20));
        assert_eq!(bounds.span(Duration::from_secs(900)), span(30, 60));
        assert_eq!(bounds.asked(Duration::from_secs(50)), span(50, 60));
        assert_eq!(bounds.asked(Duration::from_secs(5)), span(10, 20));
        assert_eq!(bounds.asked(Duration::from_secs(99)), span(60, 60));
        let usual = RetryBounds::default();
        assert_eq!(usual.span(Duration::from_secs(9_000)), span(3_600, 3_960));
    }
}
