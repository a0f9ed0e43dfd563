//! Instructions of a request to the sink, in path segments and query; the last instruction of a
//! kind wins.
//!
//! `/delay/200ms/status/503` waits, then answers 503; `?delay=200ms&status=503` after any path does
//! the same. Segments that are not instructions are ignored, so `/orders/17` is answered with 200.

use std::borrow::Cow;
use std::time::Duration;

use http::StatusCode;

/// How a request is answered.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Answer {
    /// `200 {"ok":true}`.
    #[default]
    Ok,
    /// `/status/503`: that status.
    Status(StatusCode),
    /// `/echo`: 200 with the request's own body and content type.
    Echo,
    /// `/hang`: no answer; the connection stays open until the caller closes it.
    Hang,
    /// `/close`: closes the connection without an answer.
    Close,
    /// `/trickle` or `/trickle/100ms`: 200, then one byte per second or per given interval, without
    /// an end.
    Trickle(Duration),
    /// `/big/1000000`: 200 with a body of this many bytes and its `Content-Length`.
    Big(u64),
    /// `/endless`: 200 with a body that does not end.
    Endless,
    /// `/broken/1000`: 200 announcing more, but the connection closes after this many bytes.
    Broken(u64),
    /// `/header/20000`: 200 with one header of this many bytes.
    Header(usize),
    /// `/redirect?to=URL`: redirects there, with 302 or the requested status.
    Redirect { to: String },
    /// `/flaky/2` or `?fail=2`: 500 to the first two requests of each task, then 200.
    Flaky(u32),
    /// `/script/500,429,200`: one status after the other to the requests of each task; the last one
    /// repeats.
    Script(Vec<StatusCode>),
}

/// An answer with its delay and modifiers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    pub answer: Answer,
    /// `/delay/2s`, `/delay/200ms`: time to wait before the answer.
    pub delay: Option<Duration>,
    /// `?retryAfter=2`: sent as `Retry-After`.
    pub retry_after: Option<String>,
    /// `?status=503`: status of an [`Answer::Redirect`], or of any other answer.
    pub status: Option<StatusCode>,
}

impl From<Answer> for Plan {
    fn from(answer: Answer) -> Self {
        Self {
            answer,
            ..Self::default()
        }
    }
}

impl Plan {
    /// Parses the instructions in `path?query`.
    #[must_use]
    pub fn of(path: &str, query: Option<&str>) -> Self {
        // The common case, which load tests measure.
        if path == "/" && query.is_none() {
            return Self::default();
        }
        let mut plan = Self::default();
        let mut segments = path.split('/').filter(|s| !s.is_empty()).peekable();
        while let Some(word) = segments.next() {
            if plan.instruct(word, segments.peek().copied()) {
                segments.next();
            }
        }
        for (name, value) in url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            plan.parameter(&name, value);
        }
        plan
    }

    /// Parses one word of a path; returns whether the next segment was its argument.
    fn instruct(&mut self, word: &str, next: Option<&str>) -> bool {
        let next = next.unwrap_or_default();
        match word {
            "echo" => self.answer = Answer::Echo,
            "hang" => self.answer = Answer::Hang,
            "close" => self.answer = Answer::Close,
            "endless" => self.answer = Answer::Endless,
            "redirect" => self.answer = Answer::Redirect { to: String::new() },
            "trickle" => {
                let every = duration(next);
                self.answer = Answer::Trickle(every.unwrap_or(Duration::from_secs(1)));
                return every.is_some();
            }
            _ => {
                let Some(answer) = with_argument(word, next) else {
                    self.delay = match word {
                        "delay" => duration(next).or(self.delay),
                        _ => return false,
                    };
                    return true;
                };
                if let Answer::Status(status) = answer {
                    self.status = Some(status);
                }
                self.answer = answer;
                return true;
            }
        }
        false
    }

    fn parameter(&mut self, name: &str, value: Cow<'_, str>) {
        match name {
            "delay" => self.delay = duration(&value).or(self.delay),
            "retryAfter" => self.retry_after = Some(value.into_owned()),
            "status" => self.status = status(&value).or(self.status),
            "to" => {
                self.answer = Answer::Redirect {
                    to: value.into_owned(),
                };
            }
            "fail" | "flaky" | "script" | "big" | "broken" | "header" => {
                if let Some(answer) = with_argument(name, &value) {
                    self.answer = answer;
                }
            }
            _ => {}
        }
    }

    /// Status for the `visit`-th request of a task (from 1); `None` if it gets no answer.
    #[must_use]
    pub fn status_at(&self, visit: u32) -> Option<StatusCode> {
        let own = match &self.answer {
            Answer::Hang | Answer::Close => return None,
            Answer::Status(status) => Some(*status),
            Answer::Flaky(failures) if visit <= *failures => {
                return Some(StatusCode::INTERNAL_SERVER_ERROR);
            }
            Answer::Script(statuses) => {
                let nth = usize::try_from(visit.saturating_sub(1)).unwrap_or(usize::MAX);
                return statuses.get(nth).or(statuses.last()).copied();
            }
            Answer::Redirect { .. } => Some(StatusCode::FOUND),
            _ => None,
        };
        Some(self.status.or(own).unwrap_or(StatusCode::OK))
    }

    /// Whether the answer depends on how many requests of the task came before.
    #[must_use]
    pub fn counts_visits(&self) -> bool {
        matches!(self.answer, Answer::Flaky(_) | Answer::Script(_))
    }
}

fn with_argument(word: &str, argument: &str) -> Option<Answer> {
    match word {
        "status" => status(argument).map(Answer::Status),
        "big" => argument.parse().ok().map(Answer::Big),
        "broken" => argument.parse().ok().map(Answer::Broken),
        "header" => argument.parse().ok().map(Answer::Header),
        "fail" | "flaky" => argument.parse().ok().map(Answer::Flaky),
        "script" => {
            let statuses: Option<Vec<_>> = argument.split(',').map(status).collect();
            statuses.map(Answer::Script)
        }
        _ => None,
    }
}

/// Parses a final status: an informational one would leave the caller waiting, and the server
/// cannot send it.
fn status(text: &str) -> Option<StatusCode> {
    let status: StatusCode = text.parse().ok()?;
    (!status.is_informational()).then_some(status)
}

/// `2s`, `200ms`, or a bare number of milliseconds.
fn duration(text: &str) -> Option<Duration> {
    if let Some(millis) = text.strip_suffix("ms") {
        return millis.parse().ok().map(Duration::from_millis);
    }
    if let Some(secs) = text.strip_suffix('s') {
        return secs.parse().ok().map(Duration::from_secs);
    }
    text.parse().ok().map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_without_instructions_is_answered_with_200() {
        assert_eq!(Plan::of("/orders/17", Some("a=b")), Plan::default());
        assert_eq!(Plan::default().status_at(1), Some(StatusCode::OK));
    }

    #[test]
    fn segments_combine() {
        let plan = Plan::of("/delay/200ms/status/503", Some("retryAfter=2"));
        assert_eq!(plan.delay, Some(Duration::from_millis(200)));
        assert_eq!(plan.retry_after.as_deref(), Some("2"));
        assert_eq!(plan.status_at(1), Some(StatusCode::SERVICE_UNAVAILABLE));
        assert_eq!(
            Plan::of("/x", Some("delay=2s&status=503")).status_at(1),
            plan.status_at(1)
        );
    }

    #[test]
    fn flaky_fails_so_many_times_and_then_succeeds() {
        let plan = Plan::of("/flaky/2", None);
        let statuses: Vec<u16> = (1..=3)
            .filter_map(|n| plan.status_at(n))
            .map(|s| s.as_u16())
            .collect();
        assert_eq!(statuses, [500, 500, 200]);
    }

    #[test]
    fn a_script_is_followed_and_its_last_status_stays() {
        let plan = Plan::of("/script/500,429,200", None);
        let statuses: Vec<u16> = (1..=4)
            .filter_map(|n| plan.status_at(n))
            .map(|s| s.as_u16())
            .collect();
        assert_eq!(statuses, [500, 429, 200, 200]);
    }

    #[test]
    fn a_redirect_can_choose_its_status() {
        let plan = Plan::of("/redirect", Some("to=http%3A%2F%2Fa%2F&status=307"));
        assert_eq!(
            plan.answer,
            Answer::Redirect {
                to: "http://a/".to_owned()
            }
        );
        assert_eq!(plan.status_at(1), Some(StatusCode::TEMPORARY_REDIRECT));
    }

    #[test]
    fn nonsense_is_ignored() {
        for path in [
            "/status/9999",
            "/status/100",
            "/big/x",
            "/script/1,2",
            "/delay",
            "//",
        ] {
            assert_eq!(
                Plan::of(path, None).status_at(1),
                Some(StatusCode::OK),
                "{path}"
            );
        }
    }
}
