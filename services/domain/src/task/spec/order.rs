//! Queue, priority and retries of a task.

use super::{MAX_COUNTED_ATTEMPTS, MAX_RETRIES};
use crate::id::QueueName;
use crate::task::request::{Invalid, shortened};
use crate::task::retry::{MAX_CONDITIONS, RetryOn};

pub(super) fn queue(text: Option<&str>) -> Result<QueueName, Invalid> {
    text.map_or_else(
        || Ok(QueueName::default()),
        |text| {
            QueueName::parse(text).map_err(|_| {
                Invalid::new(
                    "queue",
                    format!(
                        "queue must be 1 to {} of a-z, A-Z, 0-9, _ and -, not {:?}",
                        QueueName::MAX_CHARS,
                        shortened(text)
                    ),
                )
            })
        },
    )
}

pub(super) fn whole(
    field: &'static str,
    value: Option<i64>,
    least: u16,
    most: u16,
) -> Result<Option<u16>, Invalid> {
    let Some(value) = value else { return Ok(None) };
    match u16::try_from(value) {
        Ok(small) if (least..=most).contains(&small) => Ok(Some(small)),
        _ => Err(Invalid::new(
            field,
            format!("{field} must be between {least} and {most}, not {value}"),
        )),
    }
}

/// Retries after the first attempt, from `maxRetries` or `maxAttempts`. Both may be given if they
/// say the same.
pub(super) fn retries(retries: Option<i64>, attempts: Option<i64>) -> Result<Option<u16>, Invalid> {
    let retries = whole("maxRetries", retries, 0, MAX_RETRIES)?;
    let attempts = whole("maxAttempts", attempts, 1, MAX_COUNTED_ATTEMPTS)?;
    match (retries, attempts) {
        (Some(retries), Some(attempts)) if retries + 1 != attempts => Err(Invalid::new(
            "maxAttempts",
            format!(
                "maxAttempts of {attempts} contradicts maxRetries of {retries}, which are {} attempts; give one of them",
                retries + 1
            ),
        )),
        (retries, attempts) => Ok(retries.or(attempts.map(|attempts| attempts - 1))),
    }
}

pub(crate) fn retry_on(conditions: &[String]) -> Result<RetryOn, Invalid> {
    if conditions.len() > MAX_CONDITIONS {
        return Err(Invalid::new(
            "retryOn",
            format!(
                "retryOn must hold at most {MAX_CONDITIONS} conditions, not {}",
                conditions.len()
            ),
        ));
    }
    RetryOn::parse(conditions).map_err(|wrong| {
        Invalid::new(
            "retryOn",
            format!(
                "retryOn must hold statuses (\"503\"), classes (\"3xx\", \"4xx\", \"5xx\"), \"timeout\" or \"connection\", not {:?}",
                shortened(&wrong)
            ),
        )
    })
}
