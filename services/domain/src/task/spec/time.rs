//! When a task may run, how long its exchanges may take, and when it ends in any case.

use std::time::Duration;

use super::{DEFAULT_SECONDS, MAX_TIMEOUT};
use crate::task::length::Length;
use crate::task::request::{Invalid, Limits, TaskRequest, shortened};
use crate::time::Timestamp;

/// Converts seconds of a request to milliseconds: at least one, and at most the limit. Without a
/// value, the default or the limit, whichever is smaller.
fn seconds(field: &'static str, value: Option<f64>, limit: Duration) -> Result<u32, Invalid> {
    let value = value.unwrap_or_else(|| DEFAULT_SECONDS.min(limit.as_secs_f64()));
    if !(value >= 0.001 && value <= limit.as_secs_f64()) {
        return Err(Invalid::new(
            field,
            format!(
                "{field} must be more than 0 and at most {} seconds, not {value}",
                limit.as_secs()
            ),
        ));
    }
    Ok(u32::try_from(Duration::from_secs_f64(value).as_millis()).unwrap_or(u32::MAX))
}

/// The time limits of one exchange: `timeout` of an attempt, and `maxWaitTime`, which bounds it and
/// is limited by the plan. A missing value follows from the given one, and an excessive value is
/// refused, never shortened silently.
pub(super) fn windows(request: &TaskRequest, limits: &Limits) -> Result<(u32, u32), Invalid> {
    let plan = limits.max_wait;
    let max_wait = match request.max_wait_seconds {
        Some(_) => Some(seconds("maxWaitTime", request.max_wait_seconds, plan)?),
        None => None,
    };
    let timeout = match request.timeout_seconds {
        Some(_) => Some(seconds(
            "timeout",
            request.timeout_seconds,
            MAX_TIMEOUT.min(plan),
        )?),
        None => None,
    };
    let usual = seconds("timeout", None, plan)?;
    match (timeout, max_wait) {
        (Some(timeout), Some(max_wait)) if timeout > max_wait => Err(Invalid::new(
            "timeout",
            format!(
                "timeout must be at most maxWaitTime, {} s, which bounds each exchange with the target, not {} s",
                f64::from(max_wait) / 1000.0,
                f64::from(timeout) / 1000.0
            ),
        )),
        (Some(timeout), Some(max_wait)) => Ok((timeout, max_wait)),
        (Some(timeout), None) => Ok((timeout, timeout.max(usual))),
        (None, Some(max_wait)) => Ok((usual.min(max_wait), max_wait)),
        (None, None) => Ok((usual, usual)),
    }
}

fn date(field: &'static str, text: &str) -> Result<Timestamp, Invalid> {
    Timestamp::parse_iso8601(text).ok_or_else(|| {
        Invalid::new(
            field,
            format!(
                "{field} must be an ISO 8601 time with a zone, such as 2030-01-31T12:00:00.000Z, not {:?}",
                shortened(text)
            ),
        )
    })
}

pub(super) fn not_before(
    request: &TaskRequest,
    max_delay: Duration,
    now: Timestamp,
) -> Result<Option<Timestamp>, Invalid> {
    let at = match (&request.delay_until, &request.delay) {
        (Some(_), Some(_)) => {
            return Err(Invalid::new(
                "delay",
                "delay and delayUntil say the same thing; give one of them",
            ));
        }
        (None, Some(delay)) => return Ok(Some(now.plus(delay.read("delay", max_delay)?))),
        (Some(text), None) => date("delayUntil", text)?,
        (None, None) => return Ok(None),
    };
    if at.since(now) > max_delay {
        return Err(Invalid::new(
            "delayUntil",
            format!(
                "delayUntil must be at most {} days ahead",
                max_delay.as_secs() / 86_400
            ),
        ));
    }
    Ok(Some(at))
}

pub(super) fn deadline(
    text: Option<&str>,
    not_before: Option<Timestamp>,
    now: Timestamp,
) -> Result<Option<Timestamp>, Invalid> {
    let Some(text) = text else { return Ok(None) };
    let deadline = date("deadline", text)?;
    let begin = not_before.unwrap_or(now).max(now);
    if deadline <= begin {
        let what = if begin > now {
            "the time the task is delayed until"
        } else {
            "now"
        };
        return Err(Invalid::new(
            "deadline",
            format!("deadline must be later than {what}, {begin}, not {deadline}"),
        ));
    }
    Ok(Some(deadline))
}

pub(super) fn expires_in(
    length: Option<&Length>,
    not_before: Option<Timestamp>,
    limits: &Limits,
    now: Timestamp,
) -> Result<Option<Duration>, Invalid> {
    let Some(length) = length else {
        return Ok(None);
    };
    let length = length.read("expiresIn", limits.max_delay)?;
    let delay = not_before.map_or(Duration::ZERO, |at| at.since(now));
    if length <= delay {
        return Err(Invalid::new(
            "expiresIn",
            format!(
                "expiresIn counts from the creation and must be longer than the delay of {} s",
                delay.as_secs()
            ),
        ));
    }
    Ok(Some(length))
}
