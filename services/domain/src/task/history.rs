//! What is remembered of a task's past: its latest attempts, its last answer, and where its webhook stands.
//!
//! Read models hold it in their rows, and the dispatcher beside each open task that was tried, so that a restatement can carry it. Both
//! keep it by the functions here, and it is bounded whatever a task goes through.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::event::{Answer, Failure, TaskEvent, TaskReleased, TaskStarted};
use crate::time::Timestamp;

/// Attempts that are remembered, the latest ones. A task can have 11 that count and 3 lost with their workers.
pub const MAX_ATTEMPTS: usize = 16;
/// Longest error sentence that is remembered, in bytes.
pub const MAX_ERROR_BYTES: usize = 512;

/// The past of a task.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct History {
    /// When its first attempt began.
    #[serde(default)]
    pub started_at: Option<Timestamp>,
    /// When it last changed; absent: when it was created.
    #[serde(default)]
    pub updated_at: Option<Timestamp>,
    /// The latest [`MAX_ATTEMPTS`] attempts, in order.
    #[serde(default)]
    pub attempts: Vec<Attempt>,
    /// Why the last attempt failed, unless it succeeded.
    #[serde(default)]
    pub error: Option<String>,
    /// The last answer of the target, without headers and body.
    #[serde(default)]
    pub answer: Option<AnswerSummary>,
    /// The completion webhook, once it was tried.
    #[serde(default)]
    pub callback: Option<Callback>,
}

impl History {
    /// The past after one more event of an open task.
    pub fn take_in(&mut self, event: &TaskEvent) {
        match event {
            TaskEvent::Created(_) | TaskEvent::Restated(_) => return,
            TaskEvent::CallbackSent(_) | TaskEvent::CallbackFailed(_) => {
                self.callback = Callback::of(event);
                return;
            }
            TaskEvent::Started(e) => {
                self.started_at.get_or_insert(e.at);
                start_attempt(&mut self.attempts, e);
            }
            TaskEvent::AttemptFailed(e) => {
                self.attempt_failed(e.attempt, e.at, &e.failure, e.answer.as_ref());
            }
            TaskEvent::Released(e) => {
                let sentence = Some(TaskReleased::SENTENCE.to_owned());
                end_attempt(&mut self.attempts, e.attempt, e.at, None, sentence.clone());
                self.answer = None;
                self.error = sentence;
            }
            TaskEvent::Succeeded(e) => {
                end_attempt(&mut self.attempts, e.attempt, e.at, Some(&e.answer), None);
                self.answer = Some((&e.answer).into());
                self.error = e.answer.unfollowed_redirect();
            }
            TaskEvent::Dead(e) => {
                self.attempt_failed(e.attempt, e.at, &e.failure, e.answer.as_ref());
            }
            TaskEvent::Expired(e) => match e.attempt {
                Some(attempt) => self.attempt_failed(attempt, e.at, &e.failure, None),
                None => self.error = Some(sentence(&e.failure)),
            },
            TaskEvent::Cancelled(_) => {}
        }
        self.updated_at = Some(event.at());
    }

    fn attempt_failed(
        &mut self,
        number: u32,
        at: Timestamp,
        failure: &Failure,
        answer: Option<&Answer>,
    ) {
        let error = sentence(failure);
        end_attempt(&mut self.attempts, number, at, answer, Some(error.clone()));
        self.answer = answer.map(AnswerSummary::from);
        self.error = Some(error);
    }
}

/// One call of the target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Attempt {
    /// 1, 2, 3...
    pub number: u32,
    /// When it began.
    pub started_at: Timestamp,
    /// How long it took, once it has ended, in milliseconds.
    pub duration_ms: Option<u32>,
    /// HTTP status, when the target answered.
    pub status: Option<u16>,
    /// Why it failed.
    pub error: Option<String>,
}

/// An answer without headers and body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AnswerSummary {
    /// HTTP status.
    pub status: u16,
    /// Length of the whole body in bytes, as far as it was counted.
    pub body_bytes: u64,
    /// From sending to the end of the answer, in milliseconds.
    pub duration_ms: u32,
}

/// Where the completion webhook stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Callback {
    /// Deliveries tried so far.
    pub attempts: u32,
    /// When the last one was.
    pub at: Timestamp,
    /// HTTP status of the receiver, once it was delivered.
    pub delivered: Option<u16>,
    /// Why the last delivery failed.
    pub error: Option<String>,
    /// When the next delivery is due; none: delivered or given up.
    pub retry_at: Option<Timestamp>,
}

impl From<&Answer> for AnswerSummary {
    fn from(answer: &Answer) -> Self {
        Self {
            status: answer.status,
            body_bytes: answer.body_bytes,
            duration_ms: answer.duration_ms,
        }
    }
}

impl Callback {
    /// Where the webhook stands after a delivery; `None` for an event that is none of a delivery.
    pub(crate) fn of(event: &TaskEvent) -> Option<Self> {
        match event {
            TaskEvent::CallbackSent(e) => Some(Self {
                attempts: e.attempt,
                at: e.at,
                delivered: Some(e.status),
                error: None,
                retry_at: None,
            }),
            TaskEvent::CallbackFailed(e) => Some(Self {
                attempts: e.attempt,
                at: e.at,
                delivered: None,
                error: Some(sentence(&e.failure)),
                retry_at: e.retry_at,
            }),
            _ => None,
        }
    }
}

pub(crate) fn start_attempt(attempts: &mut Vec<Attempt>, started: &TaskStarted) {
    if attempts.len() >= MAX_ATTEMPTS {
        attempts.remove(0);
    }
    attempts.push(Attempt {
        number: started.attempt,
        started_at: started.at,
        duration_ms: None,
        status: None,
        error: None,
    });
}

pub(crate) fn end_attempt(
    attempts: &mut [Attempt],
    number: u32,
    at: Timestamp,
    answer: Option<&Answer>,
    error: Option<String>,
) {
    if let Some(attempt) = attempts.iter_mut().rfind(|a| a.number == number) {
        let elapsed = at.since(attempt.started_at).as_millis();
        let elapsed = u32::try_from(elapsed).unwrap_or(u32::MAX);
        attempt.duration_ms = Some(answer.map_or(elapsed, |answer| answer.duration_ms));
        attempt.status = answer.map(|answer| answer.status);
        attempt.error = error;
    }
}

/// The sentence of a failure, cut to [`MAX_ERROR_BYTES`].
pub(crate) fn sentence(failure: &Failure) -> String {
    let text = &failure.message;
    if text.len() <= MAX_ERROR_BYTES {
        return text.clone();
    }
    let room = MAX_ERROR_BYTES - '…'.len_utf8();
    let end = (0..=room)
        .rfind(|&at| text.is_char_boundary(at))
        .unwrap_or(0);
    format!("{}…", &text[..end])
}
