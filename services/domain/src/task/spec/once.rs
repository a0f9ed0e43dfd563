//! Keys by which not every task runs.

use std::time::Duration;

use super::order::key;
use crate::task::once::{Debounce, DebounceMode, DebounceRequest, MAX_WINDOW, Once, USUAL_WINDOW};
use crate::task::request::{Invalid, TaskRequest, shortened};
use crate::time::Timestamp;

/// What the request says about other tasks with the same key. `deadline` and `expires_in` are those
/// of the request, checked.
pub(super) fn once(
    request: &mut TaskRequest,
    deadline: Option<Timestamp>,
    expires_in: Option<Duration>,
    now: Timestamp,
) -> Result<Option<Box<Once>>, Invalid> {
    let Some(given) = request.debounce.take() else {
        return Ok(None);
    };
    let contradiction = |message: &str| Err(Invalid::new("debounce", message));
    if request.delay.is_some() || request.delay_until.is_some() {
        return contradiction(
            "debounce says when the task starts, as delay and delayUntil do; give one of them",
        );
    }
    if request.ordering_key.is_some() {
        return contradiction(
            "debounce leaves tasks out and orderingKey runs all of them in order; give one of them",
        );
    }
    let debounce = debounce(given)?;
    let delay = Duration::from_millis(debounce.delay_ms);
    if expires_in.is_some_and(|length| length <= delay) {
        return Err(Invalid::new(
            "expiresIn",
            format!(
                "expiresIn counts from the creation and must be longer than debounce.delay of {} s",
                delay.as_secs_f64()
            ),
        ));
    }
    let start = now.plus(delay);
    if let Some(deadline) = deadline.filter(|deadline| *deadline <= start) {
        return Err(Invalid::new(
            "deadline",
            format!(
                "deadline must be later than debounce.delay allows a start, {start}, not {deadline}"
            ),
        ));
    }
    Ok(Some(Box::new(Once::Debounce(debounce))))
}

fn debounce(given: DebounceRequest) -> Result<Debounce, Invalid> {
    const KEY: &str = "debounce.key";
    const DELAY: &str = "debounce.delay";
    const MAX_DELAY: &str = "debounce.maxDelay";
    let key = key(KEY, given.key)?.ok_or_else(|| Invalid::new(KEY, "debounce.key is required"))?;
    let delay = given
        .delay
        .ok_or_else(|| Invalid::new(DELAY, "debounce.delay is required"))?
        .read(DELAY, MAX_WINDOW)?;
    let max_delay = match given.max_delay {
        Some(length) => length.read(MAX_DELAY, MAX_WINDOW)?,
        None => (delay * USUAL_WINDOW).min(MAX_WINDOW),
    };
    if max_delay < delay {
        return Err(Invalid::new(
            MAX_DELAY,
            format!(
                "debounce.maxDelay must be at least debounce.delay, {} s, not {} s",
                delay.as_secs_f64(),
                max_delay.as_secs_f64()
            ),
        ));
    }
    let mode = match given.mode.as_deref() {
        None => DebounceMode::default(),
        Some(text) => DebounceMode::parse(text).ok_or_else(|| {
            Invalid::new(
                "debounce.mode",
                format!(
                    "debounce.mode must be \"first\" or \"last\", not {:?}",
                    shortened(text)
                ),
            )
        })?,
    };
    let millis = |length: Duration| u64::try_from(length.as_millis()).unwrap_or(u64::MAX);
    Ok(Debounce {
        key,
        delay_ms: millis(delay),
        max_delay_ms: millis(max_delay),
        mode,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::request::Limits;
    use crate::task::spec::TaskSpec;
    use crate::task::{DebounceMode, Length};

    const NOW: Timestamp = Timestamp(1_800_000_000_000);

    fn limits() -> Limits {
        Limits {
            max_wait: Duration::from_secs(120),
            max_delay: Duration::from_secs(15 * 86_400),
        }
    }

    fn request() -> TaskRequest {
        TaskRequest {
            target_url: Some("https://example.com/".into()),
            ..TaskRequest::default()
        }
    }

    #[test]
    fn a_debounce_is_checked_and_what_contradicts_it() {
        let debounce = || DebounceRequest {
            key: Some("a".into()),
            delay: Some(Length::Text("5s".into())),
            max_delay: None,
            mode: None,
        };
        let with = |given: DebounceRequest, change: &dyn Fn(&mut TaskRequest)| {
            let mut request = request();
            request.debounce = Some(given);
            change(&mut request);
            TaskSpec::check(request, &limits(), NOW)
        };
        let usual = with(debounce(), &|_| {}).expect("fine");
        let Some(Once::Debounce(read)) = usual.once.as_deref() else {
            panic!("a debounce");
        };
        assert_eq!((read.delay_ms, read.max_delay_ms), (5_000, 50_000));
        assert_eq!(read.mode, DebounceMode::Last);
        let long = DebounceRequest {
            delay: Some(Length::Text("6d".into())),
            mode: Some("first".into()),
            ..debounce()
        };
        let long = with(long, &|_| {}).expect("fine");
        let Some(Once::Debounce(read)) = long.once.as_deref() else {
            panic!("a debounce");
        };
        assert_eq!(read.max_delay_ms, 7 * 86_400_000, "never more than 7 days");
        let text = |text: &str| Some(Length::Text(text.into()));
        for (given, field, part) in [
            (
                DebounceRequest {
                    key: None,
                    ..debounce()
                },
                "debounce.key",
                "required",
            ),
            (
                DebounceRequest {
                    key: Some("x".repeat(129)),
                    ..debounce()
                },
                "debounce.key",
                "1 to 128 characters",
            ),
            (
                DebounceRequest {
                    delay: None,
                    ..debounce()
                },
                "debounce.delay",
                "required",
            ),
            (
                DebounceRequest {
                    delay: text("8d"),
                    ..debounce()
                },
                "debounce.delay",
                "at most 7 days",
            ),
            (
                DebounceRequest {
                    max_delay: text("4s"),
                    ..debounce()
                },
                "debounce.maxDelay",
                "at least debounce.delay, 5 s, not 4 s",
            ),
            (
                DebounceRequest {
                    max_delay: text("8d"),
                    ..debounce()
                },
                "debounce.maxDelay",
                "at most 7 days",
            ),
            (
                DebounceRequest {
                    mode: Some("all".into()),
                    ..debounce()
                },
                "debounce.mode",
                "\"first\" or \"last\", not \"all\"",
            ),
        ] {
            let invalid = with(given, &|_| {}).expect_err(field);
            assert_eq!(invalid.field, field);
            assert!(invalid.message.contains(part), "{}", invalid.message);
        }
        let refused = |field: &str, part: &str, change: &dyn Fn(&mut TaskRequest)| {
            let invalid = with(debounce(), change).expect_err(field);
            assert_eq!(invalid.field, field);
            assert!(invalid.message.contains(part), "{}", invalid.message);
        };
        refused("debounce", "give one of them", &|r| r.delay = text("1m"));
        refused("debounce", "give one of them", &|r| {
            r.delay_until = Some(NOW.plus(Duration::from_secs(60)).to_string());
        });
        refused("debounce", "orderingKey", &|r| {
            r.ordering_key = Some("a".into())
        });
        refused("expiresIn", "longer than debounce.delay of 5 s", &|r| {
            r.expires_in = text("5s");
        });
        refused("deadline", "later than debounce.delay allows", &|r| {
            r.deadline = Some(NOW.plus(Duration::from_secs(5)).to_string());
        });
        let print = |given| with(given, &|_| {}).expect("fine").fingerprint();
        let first = print(debounce());
        assert_eq!(first, print(debounce()));
        for other in [
            DebounceRequest {
                key: Some("b".into()),
                ..debounce()
            },
            DebounceRequest {
                delay: text("6s"),
                ..debounce()
            },
            DebounceRequest {
                max_delay: text("6s"),
                ..debounce()
            },
            DebounceRequest {
                mode: Some("first".into()),
                ..debounce()
            },
        ] {
            assert_ne!(first, print(other));
        }
        let without = TaskSpec::check(request(), &limits(), NOW).expect("fine");
        assert_ne!(first, without.fingerprint());
    }
}
