//! Rules that values of requests must keep, with the errors of those that do not.

use serde_json::value::RawValue;
use waybill_commands::entropy;
use waybill_domain::id::QueueName;
use waybill_domain::task::Priority;
use waybill_domain::time::Timestamp;
use waybill_domain::worker::WorkerName;
use waybill_edge::error::ApiError;
pub use waybill_edge::error::rules::broken;

/// Longest idempotency key, in characters.
const MAX_KEY_CHARS: usize = 255;
/// Longest tags, in bytes of JSON.
const MAX_TAGS_BYTES: usize = 64 * 1024;

/// A name of a queue.
///
/// # Errors
/// If it breaks a rule.
pub fn queue(field: &'static str, name: &str) -> Result<QueueName, ApiError> {
    let length = name.chars().count();
    if !(1..=QueueName::MAX_CHARS).contains(&length) {
        let text = format!(
            "must be 1 to {} characters, not {length}",
            QueueName::MAX_CHARS
        );
        return Err(broken(field, text, "length"));
    }
    QueueName::parse(name).map_err(|_| {
        let text = "must consist of letters, digits, - and _";
        broken(field, text, "pattern")
    })
}

/// A whole number within bounds, if it is given.
pub fn whole(
    field: &'static str,
    given: Option<i64>,
    (least, most): (i64, i64),
) -> Result<Option<i64>, ApiError> {
    match given {
        Some(value) if !(least..=most).contains(&value) => {
            let text = format!("must be between {least} and {most}, not {value}");
            Err(broken(field, text, "range"))
        }
        given => Ok(given),
    }
}

pub fn priority(field: &'static str, given: Option<i64>) -> Result<Option<Priority>, ApiError> {
    let most = i64::from(Priority::MAX.value());
    let given = whole(field, given, (-most, most))?;
    Ok(given.and_then(Priority::fine))
}

/// A time, if it is given.
pub fn time(field: &'static str, given: Option<&str>) -> Result<Option<Timestamp>, ApiError> {
    let Some(text) = given else { return Ok(None) };
    let read = Timestamp::parse_iso8601(text).map(Some);
    read.ok_or_else(|| broken(field, "must be an RFC 3339 time with a zone", "pattern"))
}

/// The same in a query string, where the `+` of a zone may have become a space.
pub fn time_in_query(
    field: &'static str,
    given: Option<&str>,
) -> Result<Option<Timestamp>, ApiError> {
    let Some(text) = given.filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let read = Timestamp::parse_in_query(text).map(Some);
    read.ok_or_else(|| broken(field, "must be an RFC 3339 time with a zone", "pattern"))
}

/// An idempotency key, if it is given.
pub fn key(given: Option<String>) -> Result<Option<String>, ApiError> {
    const FIELD: &str = "idempotency_key";
    let Some(key) = given else { return Ok(None) };
    let length = key.chars().count();
    if !(1..=MAX_KEY_CHARS).contains(&length) {
        let text = format!("must be 1 to {MAX_KEY_CHARS} characters, not {length}");
        return Err(broken(FIELD, text, "length"));
    }
    // Keys that Waybill makes have it.
    if key.contains('→') {
        return Err(broken(FIELD, "must not contain →", "pattern"));
    }
    Ok(Some(key))
}

/// Tags, if they are given: an object or a list.
pub fn tags(given: Option<Box<RawValue>>) -> Result<Option<String>, ApiError> {
    const FIELD: &str = "tags";
    let Some(tags) = given.filter(|tags| tags.get() != "null") else {
        return Ok(None);
    };
    let text = tags.get();
    if text.len() > MAX_TAGS_BYTES {
        let text = format!("must be at most {MAX_TAGS_BYTES} bytes, not {}", text.len());
        return Err(broken(FIELD, text, "length"));
    }
    if !text.starts_with(['{', '[']) {
        return Err(broken(FIELD, "must be an object or a list", "type"));
    }
    Ok(Some(text.to_owned()))
}

/// The name of a worker.
pub fn worker(name: &str) -> Result<WorkerName, ApiError> {
    WorkerName::parse(name).map_err(|error| broken("worker_id", error, "pattern"))
}

/// A time in the future.
pub fn future(field: &'static str, at: Option<Timestamp>) -> Result<Option<Timestamp>, ApiError> {
    match at {
        Some(at) if at <= entropy::now() => Err(broken(field, "must be in the future", "range")),
        at => Ok(at),
    }
}
