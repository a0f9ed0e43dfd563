//! The stream CAPTURES: what was sent and answered in each call of a target or of a webhook. It has
//! no events: a capture that is lost costs nothing but sight.
//!
//! A capture is published without waiting for the server, and the stream drops it after seven days,
//! or earlier if it is full. Each call has a subject of its own, so reading those of a task needs no
//! index.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use waybill_domain::event::BodyEncoding;
use waybill_domain::id::{TaskId, TeamId};
use waybill_domain::time::Timestamp;

use crate::ReadError;

/// First token of the subjects of CAPTURES.
const PREFIX: &str = "captures";
/// Bytes of a body that are kept.
pub const CAPTURED_BODY_BYTES: usize = 4 * 1024;
/// Bytes of names and values of headers that are kept. The first header that does not fit is left
/// out, and so are all after it.
pub const CAPTURED_HEADER_BYTES: usize = 4 * 1024;
/// Captures of a task that are returned, the latest ones.
pub const MAX_CAPTURES: usize = 200;

/// What was called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CapturedKind {
    /// The target of the task.
    Attempt,
    /// Its `onCompleteUrl`.
    Delivery,
}

impl CapturedKind {
    /// The name in subjects and answers.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Attempt => "attempt",
            Self::Delivery => "delivery",
        }
    }
}

/// Which call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapturedCall {
    /// The team in its environment.
    pub team: TeamId,
    pub task: TaskId,
    pub kind: CapturedKind,
    /// Number of the attempt or of the delivery, from 1.
    pub number: u32,
}

/// The subjects of all captures of a task.
#[must_use]
pub fn of_task(team: &TeamId, task: TaskId) -> String {
    format!("{PREFIX}.{team}.{task}.*.*")
}

/// One call as it was made, without the secrets that it carried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capture {
    #[serde(flatten)]
    pub call: CapturedCall,
    /// When it was sent.
    pub at: Timestamp,
    /// From the beginning to the end of the call, in milliseconds.
    pub duration_ms: u32,
    pub method: String,
    pub url: String,
    pub request: CapturedMessage,
    /// HTTP status of the answer. Absent: the call failed before one came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<CapturedMessage>,
    /// Why there was no answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

impl Capture {
    /// The subject. A webhook that is sent again counts its deliveries anew, so the time is part of it.
    #[must_use]
    pub fn subject(&self) -> String {
        let CapturedCall {
            team,
            task,
            kind,
            number,
        } = &self.call;
        let (kind, at) = (kind.name(), self.at.0);
        format!("{PREFIX}.{team}.{task}.{kind}.{number}-{at}")
    }
}

/// The headers and the beginning of the body of a request or an answer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapturedMessage {
    /// In order.
    pub headers: Vec<(String, String)>,
    /// Whether some headers are left out.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub headers_cut: bool,
    pub body: String,
    /// Encoding of `body`.
    #[serde(default)]
    pub encoding: BodyEncoding,
    /// Bytes of the whole body, as far as it was read.
    pub body_bytes: u64,
}

/// Where captures are kept.
#[async_trait]
pub trait Captures: Send + Sync + 'static {
    /// Keeps a capture, unless that is not possible at once. Never waits for an acknowledgement:
    /// no call is delayed or repeated for it.
    async fn capture(&self, capture: Capture);

    /// The captures of a task, by time; at most the latest [`MAX_CAPTURES`].
    async fn captures(&self, team: &TeamId, task: TaskId) -> Result<Vec<Capture>, ReadError>;
}

#[cfg(test)]
mod tests {
    use waybill_domain::partition::Partition;

    use super::*;

    #[test]
    fn a_call_has_a_subject_of_its_own_among_those_of_its_task() {
        let sent = |at: i64| Capture {
            call: CapturedCall {
                team: TeamId::parse("team_01kc0q2v9x3d8e5h7j9m1n3p5r").expect("an id"),
                task: TaskId::new(Timestamp(1), 1, Partition::new(0).expect("a partition")),
                kind: CapturedKind::Delivery,
                number: 1,
            },
            at: Timestamp(at),
            duration_ms: 0,
            method: "POST".into(),
            url: "https://a.example/".into(),
            request: CapturedMessage::default(),
            status: None,
            answer: None,
            failure: None,
        };
        let (first, again) = (sent(1), sent(2));
        let subject = first.subject();
        assert!(subject.ends_with(".delivery.1-1"), "{subject}");
        assert_ne!(subject, again.subject(), "it was sent again by request");
        let filter = of_task(&first.call.team, first.call.task);
        assert!(crate::subject::matches(&filter, &subject), "{filter}");
    }
}
