//! The limits that a task shares with others.

use std::time::Duration;

use crate::id::LimitKey;
use crate::limit::{MAX_CONCURRENCY, MAX_LIMITS, MAX_RATE, MAX_RATE_MS, TaskLimit};
use crate::rate::StartRate;
use crate::task::rate_limited::OnRateLimited;
use crate::task::request::{Invalid, LimitRequest, RateRequest, shortened};

/// What follows from an answer that says that the target is called too often.
pub(super) fn on_rate_limited(
    given: Option<&str>,
    limits: Option<&[LimitRequest]>,
) -> Result<Option<OnRateLimited>, Invalid> {
    const FIELD: &str = "onRateLimited";
    let Some(text) = given else { return Ok(None) };
    let known = OnRateLimited::parse(text).ok_or_else(|| {
        let given = shortened(text);
        Invalid::new(
            FIELD,
            format!("onRateLimited must be \"pauseKey\", not {given:?}"),
        )
    })?;
    if limits.unwrap_or_default().is_empty() {
        let message =
            "onRateLimited: \"pauseKey\" pauses the first of the task's limits; it needs limits";
        return Err(Invalid::new(FIELD, message));
    }
    Ok(Some(known))
}

pub(super) fn limits(given: Vec<LimitRequest>) -> Result<Vec<TaskLimit>, Invalid> {
    if given.len() > MAX_LIMITS {
        return Err(Invalid::new(
            "limits",
            format!(
                "limits must hold at most {MAX_LIMITS} keys, not {}",
                given.len()
            ),
        ));
    }
    let mut limits: Vec<TaskLimit> = Vec::with_capacity(given.len());
    for one in given {
        let limit = limit(one)?;
        if limits.iter().any(|other| other.key == limit.key) {
            return Err(Invalid::new(
                "limits",
                format!(
                    "limits must name each key once, not {:?} twice",
                    limit.key.as_str()
                ),
            ));
        }
        limits.push(limit);
    }
    Ok(limits)
}

fn limit(given: LimitRequest) -> Result<TaskLimit, Invalid> {
    let Some(key) = given.key else {
        return Err(Invalid::new("limits.key", "limits.key is required"));
    };
    let key = LimitKey::parse(&key).map_err(|_| {
        Invalid::new(
            "limits.key",
            format!(
                "limits.key must be 1 to {} of a-z, A-Z, 0-9, _, -, : and @, not {:?}",
                LimitKey::MAX_CHARS,
                shortened(&key)
            ),
        )
    })?;
    Ok(TaskLimit {
        key,
        concurrency: within("limits.concurrency", given.concurrency, MAX_CONCURRENCY)?,
        rate: given.rate.map(rate).transpose()?,
    })
}

fn rate(given: RateRequest) -> Result<StartRate, Invalid> {
    let missing =
        |field: &'static str| Invalid::new(field, format!("{field} is required with a rate"));
    let limit = within("limits.rate.limit", given.limit, MAX_RATE)?;
    let limit = limit.ok_or_else(|| missing("limits.rate.limit"))?;
    const PER: &str = "limits.rate.per";
    let per = given.per.ok_or_else(|| missing(PER))?;
    let longest = Duration::from_millis(MAX_RATE_MS.into());
    let per = per.read(PER, longest)?;
    let per_ms = u32::try_from(per.as_millis()).unwrap_or(MAX_RATE_MS);
    if per_ms < 1_000 {
        return Err(Invalid::new(
            PER,
            format!("{PER} must be between 1s and 24h"),
        ));
    }
    let burst = within("limits.rate.burst", given.burst, MAX_RATE)?;
    Ok(StartRate {
        limit,
        per_ms,
        burst: burst.unwrap_or(1),
    })
}

fn within(field: &'static str, given: Option<i64>, most: u32) -> Result<Option<u32>, Invalid> {
    let Some(given) = given else { return Ok(None) };
    match u32::try_from(given) {
        Ok(small) if (1..=most).contains(&small) => Ok(Some(small)),
        _ => Err(Invalid::new(
            field,
            format!("{field} must be between 1 and {most}, not {given}"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::length::Length;

    fn of(key: &str) -> LimitRequest {
        LimitRequest {
            key: Some(key.into()),
            ..LimitRequest::default()
        }
    }

    fn rated(limit: Option<i64>, per: Option<Length>, burst: Option<i64>) -> LimitRequest {
        LimitRequest {
            rate: Some(RateRequest { limit, per, burst }),
            ..of("k")
        }
    }

    #[test]
    fn each_bad_limit_is_refused_with_its_field() {
        let minute = || Some(Length::Text("1m".into()));
        for (given, field, words) in [
            (
                vec![of("a"), of("b"), of("c"), of("d"), of("e")],
                "limits",
                "at most 4",
            ),
            (vec![of("a"), of("a")], "limits", "each key once"),
            (vec![LimitRequest::default()], "limits.key", "required"),
            (vec![of("")], "limits.key", "1 to 100"),
            (vec![of("a.b")], "limits.key", "a.b"),
            (vec![of(&"k".repeat(101))], "limits.key", "1 to 100"),
            (
                vec![LimitRequest {
                    concurrency: Some(0),
                    ..of("a")
                }],
                "limits.concurrency",
                "between 1 and 1000000, not 0",
            ),
            (
                vec![LimitRequest {
                    concurrency: Some(1_000_001),
                    ..of("a")
                }],
                "limits.concurrency",
                "not 1000001",
            ),
            (
                vec![rated(None, minute(), None)],
                "limits.rate.limit",
                "required",
            ),
            (
                vec![rated(Some(-1), minute(), None)],
                "limits.rate.limit",
                "not -1",
            ),
            (
                vec![rated(Some(1), None, None)],
                "limits.rate.per",
                "required",
            ),
            (
                vec![rated(Some(1), Some(Length::Seconds(0.5)), None)],
                "limits.rate.per",
                "1s and 24h",
            ),
            (
                vec![rated(Some(1), Some(Length::Text("2d".into())), None)],
                "limits.rate.per",
                "at most 1 days",
            ),
            (
                vec![rated(Some(1), minute(), Some(0))],
                "limits.rate.burst",
                "not 0",
            ),
        ] {
            let refused = limits(given).expect_err(words);
            assert_eq!(refused.field, field);
            assert!(refused.message.contains(words), "{}", refused.message);
        }
        let good = limits(vec![of("customer:17"), rated(Some(5), minute(), None)]);
        let good = good.expect("valid");
        assert_eq!(good[0].key.as_str(), "customer:17");
        assert_eq!(
            good[1].rate,
            Some(StartRate {
                limit: 5,
                per_ms: 60_000,
                burst: 1
            })
        );
    }
}
