//! The parameters that lists, streams and exports of activity have in common.

use std::collections::BTreeMap;

use serde::Deserialize;
use utoipa::IntoParams;
use waybill_domain::id::TaskId;
use waybill_domain::time::Timestamp;
use waybill_log::Stream;
use waybill_projector::query::{ActivityFilter, MAX_FILTER_BYTES, Outcome};

use waybill_edge::error::ApiError;
use waybill_edge::filters;

/// Filters of activity. An entry must match all that are given.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes what `QueryParameters` reads")]
pub(crate) struct FilterParameters {
    /// Only of this log: `control` (teams, people and credentials) or `tasks`.
    stream: Option<String>,
    /// Only by this actor, such as `key:key_4fG7aB2x`, `user:user_01k...`, `app:app_01k...` or `system:worker`, or the id alone.
    actor: Option<String>,
    /// Only events whose type begins with this text, such as `key.` or `task.created`.
    r#type: Option<String>,
    /// Only about the object with this id: a task, key, member, invitation, application, team, person or session.
    target: Option<String>,
    /// Only about this task.
    task_id: Option<String>,
    /// Only from this address.
    source: Option<String>,
    /// Only what was done (`ok`) or what was not allowed (`refused`).
    #[param(example = "refused")]
    outcome: Option<String>,
}

/// The period of the activity.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes what `QueryParameters` reads")]
pub(crate) struct TimeParameters {
    /// Only at or after this time (ISO 8601).
    after: Option<String>,
    /// Only before this time (ISO 8601).
    before: Option<String>,
}

/// Names of the filters.
pub(crate) const FILTERS: [&str; 7] = [
    "stream", "actor", "type", "target", "taskId", "source", "outcome",
];
/// Names of those that are about time.
pub(crate) const TIMES: [&str; 2] = ["after", "before"];

/// Parameters as given, each once and each known.
#[derive(Debug, Default)]
pub(crate) struct QueryParameters(BTreeMap<String, String>);

impl QueryParameters {
    /// Reads a query string. An unknown or repeated name is refused: to ignore it would show more than was asked for.
    pub(crate) fn read(query: Option<&str>, known: &[&[&'static str]]) -> Result<Self, ApiError> {
        let mut given = BTreeMap::new();
        for (name, value) in url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            if !known.iter().any(|names| names.contains(&&*name)) {
                let names: Vec<&str> = known.iter().copied().flatten().copied().collect();
                let shown: String = name.chars().take(40).collect();
                let message = format!(
                    "There is no parameter {shown:?}; there are {}",
                    names.join(", ")
                );
                return Err(ApiError::bad_field(shown, message));
            }
            if given.contains_key(&*name) {
                let message = format!("{name} must be given once");
                return Err(ApiError::bad_field(name.into_owned(), message));
            }
            given.insert(name.into_owned(), value.into_owned());
        }
        Ok(Self(given))
    }

    /// Whether any of these parameters is given.
    pub(crate) fn has_any(&self, names: &[&[&str]]) -> bool {
        let mut names = names.iter().copied().flatten();
        names.any(|name| self.0.contains_key(*name))
    }

    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    pub(crate) fn filter(&self) -> Result<ActivityFilter, ApiError> {
        Ok(ActivityFilter {
            stream: self.text("stream").map(stream).transpose()?,
            actor: self.text("actor").map(filters::actor).transpose()?,
            event: self.bounded("type")?,
            task: self.text("taskId").map(task).transpose()?,
            target: self.bounded("target")?,
            source: self.text("source").map(source).transpose()?,
            outcome: self.text("outcome").map(outcome).transpose()?,
            after: None,
            before: None,
        })
    }

    /// The filter with the period.
    pub(crate) fn filter_in_time(&self) -> Result<ActivityFilter, ApiError> {
        Ok(ActivityFilter {
            after: self.instant("after")?,
            before: self.instant("before")?,
            ..self.filter()?
        })
    }

    fn bounded(&self, field: &'static str) -> Result<Option<String>, ApiError> {
        match self.text(field) {
            Some(text) if text.len() > MAX_FILTER_BYTES => {
                let len = text.len();
                let message =
                    format!("{field} must be at most {MAX_FILTER_BYTES} bytes, not {len}");
                Err(ApiError::bad_field(field, message))
            }
            text => Ok(text.map(str::to_owned)),
        }
    }

    fn instant(&self, field: &'static str) -> Result<Option<Timestamp>, ApiError> {
        let Some(text) = self.text(field) else {
            return Ok(None);
        };
        let read = Timestamp::parse_in_query(text);
        let wrong = || {
            let message = format!(
                "{field} must be a time such as 2026-11-21T07:12:48.120Z, not {:?}",
                shown(text)
            );
            ApiError::bad_field(field, message)
        };
        read.map(Some).ok_or_else(wrong)
    }
}

/// The beginning of what was given, for a message.
fn shown(text: &str) -> String {
    text.chars().take(80).collect()
}

fn stream(text: &str) -> Result<Stream, ApiError> {
    match text {
        "control" => Ok(Stream::Control),
        "tasks" => Ok(Stream::Tasks),
        other => {
            let message = format!("stream must be control or tasks, not {:?}", shown(other));
            Err(ApiError::bad_field("stream", message))
        }
    }
}

fn task(text: &str) -> Result<TaskId, ApiError> {
    TaskId::parse(text).map_err(|_| {
        let message = format!("taskId must be the id of a task, not {:?}", shown(text));
        ApiError::bad_field("taskId", message)
    })
}

/// An address can be written in several ways; it is stored as `std` writes it.
fn source(text: &str) -> Result<String, ApiError> {
    let address: Result<std::net::IpAddr, _> = text.parse();
    address
        .map(|address| address.to_canonical().to_string())
        .map_err(|_| {
            let message = format!(
                "source must be an IP address such as 192.0.2.7 or 2001:db8::7, not {:?}",
                shown(text)
            );
            ApiError::bad_field("source", message)
        })
}

fn outcome(text: &str) -> Result<Outcome, ApiError> {
    match text {
        "ok" => Ok(Outcome::Ok),
        "refused" => Ok(Outcome::Refused),
        other => {
            let message = format!("outcome must be ok or refused, not {:?}", shown(other));
            Err(ApiError::bad_field("outcome", message))
        }
    }
}
