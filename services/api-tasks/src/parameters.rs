//! The parameters of event streams: `?after=`, `Last-Event-ID` and the filters.

use std::time::Duration;

use axum::response::Response;
use http::HeaderMap;
use tokio::time::Instant;
use waybill_domain::seq::StreamSeq;

use waybill_edge::error::ApiError;
use waybill_edge::warnings::{self, WARNINGS, Warning};
use waybill_log::Stream;
use waybill_streams::BadParameter;

use crate::state::TasksApi;

/// Pause between two reads of the end of the log.
const PAUSE: Duration = Duration::from_millis(100);

/// What browsers send when they connect again.
const LAST_EVENT_ID: &str = "last-event-id";

/// The parameters as given. Others are ignored; a list may come as several parameters of one name.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct StreamParameters {
    pub(crate) after: Option<StreamSeq>,
    pub(crate) queues: Vec<String>,
    pub(crate) types: Vec<String>,
    pub(crate) statuses: Vec<String>,
    pub(crate) ok: Option<bool>,
}

impl StreamParameters {
    /// Reads query string and headers. `Last-Event-ID` goes before `after`: a browser that connects again sends both, and the URL
    /// is the older one.
    pub(crate) fn read(query: &str, headers: &HeaderMap) -> Result<Self, BadParameter> {
        let mut parameters = Self::default();
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "after" => parameters.after = Some(position("after", &value)?),
                "queue" => parameters.queues.push(value.into_owned()),
                "type" => parameters.types.push(value.into_owned()),
                "status" => parameters.statuses.push(value.into_owned()),
                "ok" => parameters.ok = boolean(&value)?,
                _ => {}
            }
        }
        if let Some(id) = headers.get(LAST_EVENT_ID) {
            let id = String::from_utf8_lossy(id.as_bytes());
            if !id.trim().is_empty() {
                parameters.after = Some(position("Last-Event-ID", id.trim())?);
            }
        }
        Ok(parameters)
    }
}

/// A parameter without a value, as forms send it, counts as absent.
fn boolean(text: &str) -> Result<Option<bool>, BadParameter> {
    match text {
        "" => Ok(None),
        "true" => Ok(Some(true)),
        "false" => Ok(Some(false)),
        _ => Err(BadParameter {
            field: "ok",
            message: "ok must be true or false".into(),
        }),
    }
}

fn position(field: &'static str, text: &str) -> Result<StreamSeq, BadParameter> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let parsed = text.parse().ok().filter(|_| digits);
    parsed.map(StreamSeq).ok_or_else(|| {
        let shown: String = text.chars().take(40).collect();
        BadParameter {
            field,
            message: format!(
                "{field} must be the id of an event, a whole number such as 48120, not {shown:?}"
            ),
        }
    })
}

/// The stream, with the names of parameters that it does not know.
pub(crate) fn warned(mut stream: Response, warnings: &[Warning]) -> Response {
    if let Some(names) = warnings::header(warnings) {
        stream.headers_mut().insert(WARNINGS, names);
    }
    stream
}

/// The end of the log, which must be at `after` or later. A position that the log has not reached comes from another log or is made up; or
/// it was reported by a server that had read more than the one that leads the log now, so such a position is waited for.
pub async fn end_behind(state: &TasksApi, after: StreamSeq) -> Result<StreamSeq, ApiError> {
    let give_up = Instant::now() + state.config.election;
    loop {
        let end = state.log.bounds(Stream::Tasks).await?.last;
        match within(after, end) {
            Ok(()) => return Ok(end),
            Err(beyond) if Instant::now() + PAUSE >= give_up => return Err(beyond.into()),
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

fn within(after: StreamSeq, last: StreamSeq) -> Result<(), BadParameter> {
    if after <= last {
        return Ok(());
    }
    Err(BadParameter {
        field: "after",
        message: format!("after must be at most {last}, the last position of the log, not {after}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn read(query: &str, last_event_id: Option<&str>) -> Result<StreamParameters, BadParameter> {
        let mut headers = HeaderMap::new();
        if let Some(id) = last_event_id {
            headers.insert(LAST_EVENT_ID, HeaderValue::from_str(id).expect("a value"));
        }
        StreamParameters::read(query, &headers)
    }

    #[test]
    fn the_header_of_a_reconnecting_browser_goes_before_its_url() {
        let after = |query, id| read(query, id).expect("fine").after;
        assert_eq!(after("after=5", None), Some(StreamSeq(5)));
        assert_eq!(after("after=5", Some("9")), Some(StreamSeq(9)));
        assert_eq!(after("after=5", Some("")), Some(StreamSeq(5)));
        assert_eq!(after("x=1", None), None);
    }

    #[test]
    fn what_is_no_position_is_refused() {
        for text in ["", "-1", "+1", "1.5", "x", "99999999999999999999", "1 "] {
            let refused = read(&format!("after={text}"), None).expect_err("refused");
            assert_eq!(refused.field, "after");
        }
        assert_eq!(
            read("", Some("evt")).expect_err("refused").field,
            "Last-Event-ID"
        );
        assert!(within(StreamSeq(3), StreamSeq(3)).is_ok());
        assert_eq!(
            within(StreamSeq(4), StreamSeq(3))
                .expect_err("beyond")
                .message,
            "after must be at most 3, the last position of the log, not 4"
        );
    }

    #[test]
    fn a_list_may_be_given_twice() {
        let parameters = read("queue=a,b&queue=c&type=task.created", None).expect("fine");
        assert_eq!(parameters.queues, ["a,b", "c"]);
        assert_eq!(parameters.types, ["task.created"]);
    }
}
