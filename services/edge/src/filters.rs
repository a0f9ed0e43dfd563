//! Conditions of lists of tasks, as they stand in query strings.

use crate::Edge;
use crate::error::ApiError;
use crate::iso::Iso;
use serde::Serialize;
use utoipa::ToSchema;
use waybill_commands::entropy;
use waybill_domain::access::team::Team;
use waybill_domain::actor::Actor;
use waybill_domain::id::{AppId, KeyId, QueueName, TeamId, UserId};
use waybill_domain::time::Timestamp;
use waybill_projector::query::{self, HttpStatus, TaskFilter};

/// Parameters that may be given several times.
pub const LISTS: [&str; 4] = ["queue", "tag", "host", "httpStatus"];

/// Entries of a page whose request does not say how many.
const DEFAULT_LIMIT: u16 = 20;

/// Reads `limit`: from 1 to `most`, by default 20.
pub fn limit(given: Option<i64>, most: u16) -> Result<u16, ApiError> {
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
pub fn given(text: Option<&str>) -> Option<&str> {
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
pub struct Conditions<'a> {
    pub queue: Option<&'a str>,
    pub tag: Option<&'a str>,
    pub host: Option<&'a str>,
    pub http_status: Option<&'a str>,
    pub error_contains: Option<&'a str>,
    pub min_attempts: Option<i64>,
    pub created_after: Option<&'a str>,
    pub created_before: Option<&'a str>,
    pub completed_after: Option<&'a str>,
    pub completed_before: Option<&'a str>,
    pub actor: Option<&'a str>,
    pub q: Option<&'a str>,
}

/// The longest text that names an actor, in bytes.
const MAX_ACTOR_BYTES: usize = 200;

/// Parameters of a list of tasks: its own, and the conditions that all such lists share.
#[macro_export]
macro_rules! with_conditions {
    ($(#[$about:meta])* pub struct $name:ident { $($own:tt)* }) => {
        $(#[$about])*
        pub struct $name {
            $($own)*
            /// Only of these queues, separated by commas or as several parameters.
            queue: Option<String>,
            /// Only with this tag, or with all of several, given as with `queue`.
            tag: Option<String>,
            /// Only to one of these hosts; without a port, at any port. Several as with `queue`.
            host: Option<String>,
            /// Only with one of these last answers: statuses (`503`) or classes (`5xx`). Several as with `queue`.
            http_status: Option<String>,
            /// Only with this text in `error`, ignoring case.
            error_contains: Option<String>,
            /// Only with at least as many attempts.
            #[param(minimum = 1)]
            min_attempts: Option<i64>,
            /// Only created at or after this time (ISO 8601).
            created_after: Option<String>,
            /// Only created before this time (ISO 8601).
            created_before: Option<String>,
            /// Only those that ended at or after this time (ISO 8601).
            completed_after: Option<String>,
            /// Only those that ended before this time (ISO 8601).
            completed_before: Option<String>,
            /// Only created by this actor, such as `key:key_4fG7aB2x`, `user:user_01k...`, `app:app_01k...` or `system:worker`, or the id alone.
            actor: Option<String>,
            /// Only those whose id, URL or queue contains this text.
            q: Option<String>,
        }

        impl $name {
            fn conditions(&self) -> $crate::filters::Conditions<'_> {
                $crate::filters::Conditions {
                    queue: self.queue.as_deref(),
                    tag: self.tag.as_deref(),
                    host: self.host.as_deref(),
                    http_status: self.http_status.as_deref(),
                    error_contains: self.error_contains.as_deref(),
                    min_attempts: self.min_attempts,
                    created_after: self.created_after.as_deref(),
                    created_before: self.created_before.as_deref(),
                    completed_after: self.completed_after.as_deref(),
                    completed_before: self.completed_before.as_deref(),
                    actor: self.actor.as_deref(),
                    q: self.q.as_deref(),
                }
            }
        }
    };
}

impl Conditions<'_> {
    /// What they ask for. An error names the parameter that cannot be read.
    pub fn filter(&self) -> Result<TaskFilter, ApiError> {
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
            actor: given(self.actor).map(actor).transpose()?,
            q: given(self.q).map(str::to_owned),
            ..TaskFilter::default()
        })
    }
}

/// An actor, by its text or by its id alone.
pub fn actor(text: &str) -> Result<Actor, ApiError> {
    let by_id = || {
        let key = KeyId::parse(text).ok().map(Actor::Key);
        let user = || UserId::parse(text).ok().map(Actor::User);
        let app = || AppId::parse(text).ok().map(Actor::App);
        key.or_else(user).or_else(app)
    };
    let written = || {
        let actor = Actor::parse(text);
        // Any other text parses as a role of the system with that name.
        (actor.to_string() == text && text.len() <= MAX_ACTOR_BYTES).then_some(actor)
    };
    by_id().or_else(written).ok_or_else(|| {
        let shown: String = text.chars().take(40).collect();
        let message = format!(
            "actor must be key:<id>, user:<id>, app:<id>, system:<role> or operator:<name>, not {shown:?}"
        );
        ApiError::bad_field("actor", message)
    })
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

/// `kind`: tasks that are called, that are pulled, or both.
pub fn kind(given: Option<&str>) -> Result<Option<bool>, ApiError> {
    match given {
        None | Some("all") => Ok(None),
        Some("task") => Ok(Some(false)),
        Some("job") => Ok(Some(true)),
        Some(_) => Err(ApiError::bad_field("kind", "kind must be task, job or all")),
    }
}

/// Narrows a filter to the queues that a caller is limited to, if it is; other queues that the filter names are refused.
pub fn keep_within(filter: &mut TaskFilter, only: Option<&[QueueName]>) -> Result<(), ApiError> {
    let Some(only) = only else { return Ok(()) };
    let mut named = filter.queue.iter().chain(&filter.queues);
    if let Some(other) = named.find(|queue| !only.contains(queue)) {
        return Err(ApiError::outside_queues(other));
    }
    match only {
        _ if filter.queue.is_some() || !filter.queues.is_empty() => {}
        // One queue has an index.
        [queue] => filter.queue = Some(queue.clone()),
        queues => filter.queues = queues.to_vec(),
    }
    Ok(())
}

/// `true` or `false`.
pub fn boolean(field: &'static str, text: &str) -> Result<bool, ApiError> {
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

/// Leaves out of a list what its queues no longer show.
pub fn hide(edge: &Edge, team: &TeamId, filter: &mut TaskFilter) {
    let (environment, now) = (team.environment(), entropy::now());
    let of_team = |of: &Team| of.shows_from(environment, now);
    let directory = edge.auth.directory();
    let mut hidden = directory
        .with_team(&team.base(), of_team)
        .unwrap_or_default();
    // A condition that hides nothing would cost a list its index.
    if let Some(queue) = &filter.queue {
        hidden.retain(|of, _| of == queue);
    }
    let wanted = filter.wanted();
    if wanted.is_empty() || wanted.iter().any(|status| status.is_terminal()) {
        filter.hidden = hidden;
    }
}

/// How much was looked at for a condition that has no index.
#[derive(Debug, Serialize, ToSchema)]
pub struct Searched {
    /// How many tasks, from the place where the page begins.
    #[schema(example = 20000)]
    tasks: u64,
    /// When the oldest of them was created; `null` if nothing was looked at.
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

    #[test]
    fn an_actor_is_meant_by_its_text_or_its_id() {
        let key = KeyId::from_public("4fG7aB2x").expect("an id");
        for text in ["key:key_4fG7aB2x", "key_4fG7aB2x"] {
            assert_eq!(actor(text).expect("fine"), Actor::Key(key.clone()));
        }
        assert_eq!(actor("system:worker").expect("fine"), Actor::worker());
        for bad in ["", "key:", "key:x", "nobody", "user:key_4fG7aB2x"] {
            assert!(actor(bad).is_err(), "{bad}");
        }
    }
}
