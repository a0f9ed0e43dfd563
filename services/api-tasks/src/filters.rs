//! Conditions of lists of tasks, as they stand in query strings.

use serde::Serialize;
use utoipa::ToSchema;
use waybill_domain::id::QueueName;
use waybill_domain::time::Timestamp;
use waybill_edge::error::ApiError;
use waybill_edge::iso::Iso;
use waybill_projector::query::{self, HttpStatus, TaskFilter};

/// Parameters that may be given several times.
pub(crate) const LISTS: [&str; 4] = ["queue", "tag", "host", "httpStatus"];

/// Entries of a page whose request does not say how many.
const DEFAULT_LIMIT: u16 = 20;

/// Reads `limit`: from 1 to `most`, by default 20.
pub(crate) fn limit(given: Option<i64>, most: u16) -> Result<u16, ApiError> {
    let Some(limit) = given else {
        return Ok(DEFAULT_LIMIT);
    };
    let read = u16::try_from(limit).ok();
    read.filter(|limit| (1..=most).contains(limit))
        .ok_or_else(|| {
            let message = format!("limit must be between 1 and {most}, not {limit}");
            ApiError::bad_field("limit", message)
        })
}

/// A parameter without a value, as forms send it, counts as absent.
pub(crate) fn given(text: Option<&str>) -> Option<&str> {
    text.filter(|text| !text.is_empty())
}

/// The values of a list with commas between them.
fn values(list: Option<&str>) -> impl Iterator<Item = &str> {
    list.unwrap_or_default()
        .split(',')
        .map(str::trim)
        .filter(|value| !value.is_empty())
}

/// Conditions that lists of tasks and of dead letters share.
#[derive(Debug, Default)]
pub(crate) struct Conditions<'a> {
    pub(crate) queue: Option<&'a str>,
    pub(crate) tag: Option<&'a str>,
    pub(crate) host: Option<&'a str>,
    pub(crate) http_status: Option<&'a str>,
    pub(crate) error_contains: Option<&'a str>,
    pub(crate) min_attempts: Option<i64>,
    pub(crate) created_after: Option<&'a str>,
    pub(crate) created_before: Option<&'a str>,
    pub(crate) completed_after: Option<&'a str>,
    pub(crate) completed_before: Option<&'a str>,
}

impl Conditions<'_> {
    pub(crate) fn filter(&self) -> Result<TaskFilter, ApiError> {
        let mut queues = values(self.queue)
            .map(queue)
            .collect::<Result<Vec<_>, _>>()?;
        // One queue has an index.
        let queue = (queues.len() == 1).then(|| queues.pop()).flatten();
        Ok(TaskFilter {
            queue,
            queues,
            tags: values(self.tag).map(str::to_owned).collect(),
            hosts: values(self.host).map(str::to_owned).collect(),
            http_statuses: values(self.http_status)
                .map(http_status)
                .collect::<Result<_, _>>()?,
            error: given(self.error_contains).map(str::to_owned),
            min_attempts: self.min_attempts.map(attempts).transpose()?,
            created_after: instant("createdAfter", self.created_after)?,
            created_before: instant("createdBefore", self.created_before)?,
            completed_after: instant("completedAfter", self.completed_after)?,
            completed_before: instant("completedBefore", self.completed_before)?,
            ..TaskFilter::default()
        })
    }
}

fn queue(text: &str) -> Result<QueueName, ApiError> {
    QueueName::parse(text)
        .map_err(|_| ApiError::bad_field("queue", "queue must be the name of a queue"))
}

fn http_status(text: &str) -> Result<HttpStatus, ApiError> {
    HttpStatus::parse(text).ok_or_else(|| {
        ApiError::bad_field(
            "httpStatus",
            "httpStatus must be a status (503) or a class (1xx to 5xx)",
        )
    })
}

fn attempts(number: i64) -> Result<u32, ApiError> {
    u32::try_from(number)
        .ok()
        .filter(|number| *number > 0)
        .ok_or_else(|| {
            let message = format!("minAttempts must be 1 or more, not {number}");
            ApiError::bad_field("minAttempts", message)
        })
}

/// `true` or `false`.
pub(crate) fn boolean(field: &'static str, text: &str) -> Result<bool, ApiError> {
    match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(ApiError::bad_field(
            field,
            format!("{field} must be true or false"),
        )),
    }
}

fn instant(field: &'static str, text: Option<&str>) -> Result<Option<Timestamp>, ApiError> {
    let Some(text) = given(text) else {
        return Ok(None);
    };
    Timestamp::parse_in_query(text).map(Some).ok_or_else(|| {
        ApiError::bad_field(
            field,
            format!(
                "{field} must be an ISO 8601 time with a zone, such as 2030-01-31T12:00:00.000Z"
            ),
        )
    })
}

/// How much was looked at for a condition that has no index.
#[derive(Debug, Serialize, ToSchema)]
pub struct Searched {
    /// How many tasks, from the place where the page begins.
    #[schema(example = 20000)]
    tasks: u64,
    /// When the oldest of them was created; `null` if there was none.
    #[schema(value_type = Option<String>, format = DateTime)]
    from: Option<Iso>,
    /// When the newest of them was created.
    #[schema(value_type = Option<String>, format = DateTime)]
    to: Option<Iso>,
    /// Whether nothing older is left to look at. Otherwise `nextCursor` goes on.
    complete: bool,
}

impl From<query::Searched> for Searched {
    fn from(searched: query::Searched) -> Self {
        let (to, from) = searched.window.unzip();
        Self {
            tasks: searched.tasks,
            from: from.map(Iso),
            to: to.map(Iso),
            complete: searched.complete,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_queue_is_found_by_its_index_and_several_are_looked_for() {
        let filter = |queue| {
            let conditions = Conditions {
                queue: Some(queue),
                ..Conditions::default()
            };
            conditions.filter().expect("names")
        };
        assert!(!filter("mail").has_no_index());
        let several = filter("mail, sms,");
        assert_eq!((several.queue.is_none(), several.queues.len()), (true, 2));
        assert!(several.has_no_index());
    }

    #[test]
    fn what_is_no_condition_is_refused_by_its_name() {
        let field = |conditions: Conditions<'_>| {
            let error = conditions.filter().expect_err("refused");
            error.body.field.map(|field| field.to_string())
        };
        for (name, conditions) in [
            (
                "queue",
                Conditions {
                    queue: Some("a b"),
                    ..Conditions::default()
                },
            ),
            (
                "httpStatus",
                Conditions {
                    http_status: Some("6xx"),
                    ..Conditions::default()
                },
            ),
            (
                "httpStatus",
                Conditions {
                    http_status: Some("503,0"),
                    ..Conditions::default()
                },
            ),
            (
                "minAttempts",
                Conditions {
                    min_attempts: Some(0),
                    ..Conditions::default()
                },
            ),
            (
                "completedAfter",
                Conditions {
                    completed_after: Some("now"),
                    ..Conditions::default()
                },
            ),
        ] {
            assert_eq!(field(conditions).as_deref(), Some(name));
        }
    }
}
