//! How the tasks of an operation are named: by the conditions of `GET /v1/tasks`, each with one value or several.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};
use serde_json::Value;
use utoipa::ToSchema;
use waybill_domain::id::QueueName;
use waybill_domain::task::Status;
use waybill_projector::query::{MAX_FILTER_BYTES, MAX_FILTER_VALUES, TaskFilter, WebhookState};

use crate::list::ListParams;
use waybill_edge::error::ApiError;

/// Conditions, all of which must hold; `{}` stands for every task. They are those of `GET /v1/tasks`. One that takes several values takes
/// one as well.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct OperationFilter {
    /// What the task is now.
    #[schema(value_type = Option<Vec<Status>>)]
    #[serde(default, deserialize_with = "given")]
    status: Option<Values>,
    /// Names of queues.
    #[schema(value_type = Option<Vec<String>>)]
    #[serde(default, deserialize_with = "given")]
    queue: Option<Values>,
    /// Tags, all of which the task must have.
    #[schema(value_type = Option<Vec<String>>)]
    #[serde(default, deserialize_with = "given")]
    tag: Option<Values>,
    /// Hosts that are called; without a port, at any port.
    #[schema(value_type = Option<Vec<String>>)]
    #[serde(default, deserialize_with = "given")]
    host: Option<Values>,
    /// Last answers: statuses (`503`) or classes (`5xx`).
    #[schema(value_type = Option<Vec<String>>)]
    #[serde(default, deserialize_with = "given")]
    http_status: Option<Values>,
    /// A part of the error, ignoring case.
    #[schema(value_type = Option<String>)]
    #[serde(default, deserialize_with = "given")]
    error_contains: Option<Values>,
    /// At least as many attempts.
    #[schema(value_type = Option<u32>, minimum = 1)]
    #[serde(default, deserialize_with = "given")]
    min_attempts: Option<Values>,
    /// Accepted at or after this time (ISO 8601).
    #[schema(value_type = Option<String>, format = DateTime)]
    #[serde(default, deserialize_with = "given")]
    created_after: Option<Values>,
    /// Accepted before this time (ISO 8601).
    #[schema(value_type = Option<String>, format = DateTime)]
    #[serde(default, deserialize_with = "given")]
    created_before: Option<Values>,
    /// Ended at or after this time (ISO 8601).
    #[schema(value_type = Option<String>, format = DateTime)]
    #[serde(default, deserialize_with = "given")]
    completed_after: Option<Values>,
    /// Ended before this time (ISO 8601).
    #[schema(value_type = Option<String>, format = DateTime)]
    #[serde(default, deserialize_with = "given")]
    completed_before: Option<Values>,
    /// This target URL; with a `*` at its end, every URL with this prefix.
    #[schema(value_type = Option<String>)]
    #[serde(default, deserialize_with = "given")]
    target: Option<Values>,
    /// A part of the id, the URL or the queue.
    #[schema(value_type = Option<String>)]
    #[serde(default, deserialize_with = "given")]
    q: Option<Values>,
    /// State of the completion webhook.
    #[schema(value_type = Option<WebhookState>)]
    #[serde(default, deserialize_with = "given")]
    webhook: Option<Values>,
    /// Whether the end was a success.
    #[schema(value_type = Option<bool>)]
    #[serde(default, deserialize_with = "given")]
    ok: Option<Values>,
    /// Who created it, such as `key:key_4fG7aB2x`, or the id alone.
    #[schema(value_type = Option<String>)]
    #[serde(default, deserialize_with = "given")]
    actor: Option<Values>,
}

/// One value, or several.
#[derive(Debug)]
struct Values(Vec<String>);

impl<'de> Deserialize<'de> for Values {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        fn text(value: &Value) -> Option<String> {
            match value {
                Value::String(text) => Some(text.clone()),
                Value::Number(number) => Some(number.to_string()),
                Value::Bool(whether) => Some(whether.to_string()),
                Value::Null | Value::Array(_) | Value::Object(_) => None,
            }
        }
        let given = Value::deserialize(deserializer)?;
        let values = match &given {
            Value::Array(list) => list.iter().map(text).collect(),
            one => text(one).map(|text| vec![text]),
        };
        let expected = "expected a text, a number, true, false or a list of these";
        values
            .map(Self)
            .ok_or_else(|| serde::de::Error::custom(expected))
    }
}

impl OperationFilter {
    /// Every task of a queue that waits.
    pub(crate) fn waiting_in(queue: &QueueName) -> Self {
        let values = |values: &[&str]| {
            let values = values.iter().map(|value| (*value).to_owned());
            Some(Values(values.collect()))
        };
        Self {
            queue: values(&[queue.as_str()]),
            status: values(&[Status::Pending.as_str(), Status::Delayed.as_str()]),
            ..Self::default()
        }
    }
}

/// A condition that is `null` is refused like an empty one.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Values>, D::Error> {
    Values::deserialize(deserializer).map(Some)
}

/// Conditions that take several values.
const LISTS: [&str; 5] = ["status", "queue", "tag", "host", "httpStatus"];

impl OperationFilter {
    /// The conditions that are given, by their names. None of them is empty: it would be no condition, and what was to be a few tasks
    /// would be all of them.
    pub(crate) fn words(self) -> Result<BTreeMap<String, Vec<String>>, ApiError> {
        let all = [
            ("status", self.status),
            ("queue", self.queue),
            ("tag", self.tag),
            ("host", self.host),
            ("httpStatus", self.http_status),
            ("errorContains", self.error_contains),
            ("minAttempts", self.min_attempts),
            ("createdAfter", self.created_after),
            ("createdBefore", self.created_before),
            ("completedAfter", self.completed_after),
            ("completedBefore", self.completed_before),
            ("target", self.target),
            ("q", self.q),
            ("webhook", self.webhook),
            ("ok", self.ok),
            ("actor", self.actor),
        ];
        let mut words = BTreeMap::new();
        for (word, values) in all {
            if let Some(Values(values)) = values {
                words.insert(word.to_owned(), checked(word, values)?);
            }
        }
        // Every value is read once before it is stored.
        task_filter(&words)?;
        Ok(words)
    }
}

fn checked(word: &str, given: Vec<String>) -> Result<Vec<String>, ApiError> {
    let wrong = |what: String| {
        let field = format!("filter.{word}");
        Err(ApiError::bad_field(
            field.clone(),
            format!("{field} {what}"),
        ))
    };
    let values: Vec<String> = if LISTS.contains(&word) {
        // As in a query string, a comma stands between two values.
        let values = given.iter().flat_map(|value| value.split(','));
        values.map(|value| value.trim().to_owned()).collect()
    } else if given.len() > 1 {
        return wrong(format!("takes one value, not {}", given.len()));
    } else {
        given
    };
    if values.is_empty() || values.iter().any(|value| value.trim().is_empty()) {
        return wrong("must not be empty; leave it out instead".to_owned());
    }
    if values.len() > MAX_FILTER_VALUES {
        let count = values.len();
        return wrong(format!(
            "must have at most {MAX_FILTER_VALUES} values, not {count}"
        ));
    }
    if let Some(long) = values.iter().find(|value| value.len() > MAX_FILTER_BYTES) {
        let bytes = long.len();
        return wrong(format!(
            "must be at most {MAX_FILTER_BYTES} bytes, not {bytes}"
        ));
    }
    Ok(values)
}

/// The filter that the conditions stand for.
pub(crate) fn task_filter(words: &BTreeMap<String, Vec<String>>) -> Result<TaskFilter, ApiError> {
    let read = ListParams::of_words(words).and_then(|params| params.filter());
    read.map_err(|error| match error.body.field.clone() {
        Some(field) if field != "filter" => error.about(format!("filter.{field}")),
        _ => error,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use waybill_edge::body::parse;

    fn words(json: &str) -> Result<BTreeMap<String, Vec<String>>, (String, String)> {
        let filter: Result<OperationFilter, _> = parse(json.as_bytes());
        filter.and_then(OperationFilter::words).map_err(|error| {
            let field = error.body.field.clone().unwrap_or_default();
            (field.into_owned(), error.body.error.into_owned())
        })
    }

    #[test]
    fn conditions_are_read_as_in_a_query_string() {
        let read = words(
            r#"{"status": "failed,timeout", "queue": ["mail", "sms"], "httpStatus": [503, "4xx"], "minAttempts": 3, "ok": false}"#,
        )
        .expect("valid");
        assert_eq!(read["status"], ["failed", "timeout"]);
        assert_eq!(read["httpStatus"], ["503", "4xx"]);
        let filter = task_filter(&read).expect("valid");
        assert_eq!(filter.queues.len(), 2);
        assert_eq!((filter.min_attempts, filter.ok), (Some(3), Some(false)));
        let every = task_filter(&BTreeMap::new()).expect("valid");
        assert_eq!(every, TaskFilter::default());
    }

    #[test]
    fn what_is_no_condition_is_refused_by_its_name() {
        for (json, field) in [
            (r#"{"queue": ""}"#, "filter.queue"),
            (r#"{"queue": []}"#, "filter.queue"),
            (r#"{"queue": "a,"}"#, "filter.queue"),
            (r#"{"queue": "a b"}"#, "filter.queue"),
            (r#"{"status": "dead"}"#, "filter.status"),
            (r#"{"q": ["a", "b"]}"#, "filter.q"),
            (r#"{"minAttempts": 0}"#, "filter.minAttempts"),
            (r#"{"minAttempts": "some"}"#, "filter"),
            (r#"{"createdAfter": "now"}"#, "filter.createdAfter"),
            (r#"{"webhook": "lost"}"#, "filter.webhook"),
            (r#"{"ok": "maybe"}"#, "filter.ok"),
        ] {
            let (found, error) = words(json).expect_err(json);
            assert_eq!(found, field, "{json}: {error}");
        }
        for json in [r#"{"limit": 3}"#, r#"{"queue": null}"#, r#"{"queue": {}}"#] {
            assert!(words(json).is_err(), "{json}");
        }
        let many = format!(r#"{{"tag": {:?}}}"#, vec!["a"; 21]);
        assert_eq!(words(&many).expect_err("too many").0, "filter.tag");
        let long = format!(r#"{{"q": {:?}}}"#, "a".repeat(1_025));
        assert_eq!(words(&long).expect_err("too long").0, "filter.q");
    }
}
