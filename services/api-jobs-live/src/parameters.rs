//! Parameters of streams.

use http::HeaderMap;
use http::header::USER_AGENT;
use waybill_api_jobs::calls::{needs_queue, queue_name};
use waybill_domain::id::QueueName;
use waybill_domain::seq::StreamSeq;
use waybill_edge::error::ApiError;

use crate::event::names;
use crate::frame::Style;
use crate::reader::JobsReader;
use crate::wanted::{Selection, Wanted};

const LAST_EVENT_ID: &str = "last-event-id";

/// What a client asks for.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    pub(crate) queue: Option<QueueName>,
    pub(crate) job: Option<String>,
    pub(crate) names: Vec<String>,
    /// Where to go on. `None`: from now on.
    pub(crate) after: Option<StreamSeq>,
}

impl Asked {
    /// Reads a query string and headers. `Last-Event-ID` goes before `after`: who connects again sends both, and the URL is the older one.
    /// What is not known is ignored.
    pub(crate) fn read(query: &str, headers: &HeaderMap) -> Result<Self, ApiError> {
        let mut asked = Self::default();
        let given = url::form_urlencoded::parse(query.as_bytes());
        for (name, value) in given.filter(|(_, value)| !value.is_empty()) {
            match &*name {
                "queue" => asked.queue = Some(queue_name("queue", &value)?),
                "job_id" => asked.job = Some(value.into_owned()),
                "events" => asked.names = event_names(&value)?,
                "after" => asked.after = Some(position("after", &value)?),
                _ => {}
            }
        }
        let last = headers.get(LAST_EVENT_ID);
        let last = last.and_then(|id| id.to_str().ok()).map(str::trim);
        if let Some(last) = last.filter(|id| !id.is_empty()) {
            asked.after = Some(position("Last-Event-ID", last)?);
        }
        Ok(asked)
    }

    /// What of that the caller may see.
    pub(crate) fn wanted(&self, caller: &JobsReader) -> Result<Wanted, ApiError> {
        if let Some(queue) = &self.queue {
            needs_queue(caller, queue)?;
        }
        let mut wanted = Wanted::new(caller.only_queues(), self.names.clone());
        if self.queue.is_some() || self.job.is_some() {
            wanted.add(Selection {
                queue: self.queue.as_ref().map(ToString::to_string),
                job: self.job.clone(),
            });
        }
        Ok(wanted)
    }
}

/// How frames are written for a client.
pub(crate) fn style(headers: &HeaderMap) -> Style {
    Style::of(headers.get(USER_AGENT).map(http::HeaderValue::as_bytes))
}

fn event_names(list: &str) -> Result<Vec<String>, ApiError> {
    let words = list.split(',').map(str::trim);
    let words = words.filter(|word| !word.is_empty());
    let known = names();
    words
        .map(|word| match known.iter().any(|(name, _)| *name == word) {
            true => Ok(word.to_owned()),
            false => {
                let known: Vec<_> = known.iter().map(|(name, _)| *name).collect();
                let text = format!("events: must be some of {}", known.join(", "));
                Err(ApiError::bad_field("events", text).breaking("pattern"))
            }
        })
        .collect()
}

fn position(field: &'static str, text: &str) -> Result<StreamSeq, ApiError> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let read = text.parse().ok().filter(|_| digits).map(StreamSeq);
    read.ok_or_else(|| {
        let text = format!("{field}: must be the id of an event of this stream, a number");
        ApiError::bad_field(field, text).breaking("pattern")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn what_is_asked_for_is_read_and_what_is_wrong_named() {
        let query = "queue=q&job_id=J&events=job.created,%20job.failed,&after=7&token=x&colour=red";
        let asked = Asked::read(query, &HeaderMap::new()).expect("fine");
        assert_eq!(asked.queue.as_ref().map(QueueName::as_str), Some("q"));
        assert_eq!(asked.names, ["job.created", "job.failed"]);
        assert_eq!(
            (asked.job.as_deref(), asked.after),
            (Some("J"), Some(StreamSeq(7)))
        );
        let mut headers = HeaderMap::new();
        headers.insert(LAST_EVENT_ID, HeaderValue::from_static("9"));
        let asked = Asked::read(query, &headers).expect("fine");
        assert_eq!(asked.after, Some(StreamSeq(9)));
        for (query, field) in [
            ("queue=a%20b", "queue"),
            ("events=job.exploded", "events"),
            ("after=-1", "after"),
            ("after=99999999999999999999", "after"),
        ] {
            let error = Asked::read(query, &HeaderMap::new()).expect_err(query);
            assert_eq!(error.body.field.as_deref(), Some(field), "{query}");
        }
    }
}
