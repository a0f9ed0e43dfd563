//! Queue, priority, keys and retries of a task.

use super::{MAX_COUNTED_ATTEMPTS, MAX_KEY_CHARS, MAX_RETRIES, MAX_WEIGHT};
use crate::id::QueueName;
use crate::task::ordering::{OnFailure, Ordering};
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

/// A name that the client gives to some of its tasks.
pub(super) fn key(field: &'static str, text: Option<String>) -> Result<Option<String>, Invalid> {
    let Some(text) = text else { return Ok(None) };
    let length = text.chars().count();
    if (1..=MAX_KEY_CHARS).contains(&length) && !text.chars().any(char::is_control) {
        return Ok(Some(text));
    }
    Err(Invalid::new(
        field,
        format!(
            "{field} must have 1 to {MAX_KEY_CHARS} characters and no control characters, not {:?} ({length} characters)",
            shortened(&text)
        ),
    ))
}

/// How many tasks of a fairness key start in a turn.
pub(super) fn weight(given: Option<i64>, key: Option<&str>) -> Result<Option<u8>, Invalid> {
    const FIELD: &str = "fairnessWeight";
    let weight = whole(FIELD, given, 1, MAX_WEIGHT.into())?;
    if weight.is_some() && key.is_none() {
        let message =
            "fairnessWeight says how often it is the turn of a key; it needs a fairnessKey";
        return Err(Invalid::new(FIELD, message));
    }
    Ok(weight.and_then(|weight| u8::try_from(weight).ok()))
}

pub(super) fn ordering(
    given: Option<String>,
    on_failure: Option<&str>,
) -> Result<Option<Ordering>, Invalid> {
    const FIELD: &str = "onFailure";
    let Some(key) = key("orderingKey", given)? else {
        return match on_failure {
            None => Ok(None),
            Some(_) => Err(Invalid::new(
                FIELD,
                "onFailure says what becomes of the tasks behind this one; it needs an orderingKey",
            )),
        };
    };
    let on_failure = match on_failure {
        None => OnFailure::default(),
        Some(text) => OnFailure::parse(text).ok_or_else(|| {
            Invalid::new(
                FIELD,
                format!(
                    "onFailure must be \"skip\", \"cancelRest\" or \"block\", not {:?}",
                    shortened(text)
                ),
            )
        })?,
    };
    Ok(Some(Ordering { key, on_failure }))
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
