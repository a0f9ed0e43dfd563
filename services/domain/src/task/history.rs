//! What is remembered of a task's past: its latest attempts, its last answer, and the state of its
//! webhook.
//!
//! Read models keep it in their rows, and the dispatcher beside each open task that was attempted,
//! so that a restatement can carry it. Both update it with the functions here, which keep it
//! bounded whatever happens to a task.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::event::{Answer, Failure, FailureKind, TaskEvent, TaskStarted};
use crate::task::pull::{Progress, Settled};
use crate::task::waits::Waited;
use crate::time::Timestamp;

/// Number of latest attempts that are remembered. A task usually has at most 11 that count and a
/// few that were lost with their workers.
pub const MAX_ATTEMPTS: usize = 16;
/// Limit of a remembered error message, in bytes.
pub const MAX_ERROR_BYTES: usize = 512;

/// The past of a task.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct History {
    /// When the first attempt began.
    #[serde(default)]
    pub started_at: Option<Timestamp>,
    /// When the task last changed; absent if only by its creation.
    #[serde(default)]
    pub updated_at: Option<Timestamp>,
    /// The latest [`MAX_ATTEMPTS`] attempts, in order.
    #[serde(default)]
    pub attempts: Vec<Attempt>,
    /// Error of the last attempt, unless it succeeded.
    #[serde(default)]
    pub error: Option<String>,
    /// The last answer of the target, without headers and body.
    #[serde(default)]
    pub answer: Option<AnswerSummary>,
    /// State of the completion webhook, once a delivery was tried.
    #[serde(default)]
    pub callback: Option<Callback>,
    /// When it was removed from the dead letters.
    #[serde(default)]
    pub purged_at: Option<Timestamp>,
    /// How far the worker of the running attempt has come.
    #[serde(default)]
    pub progress: Option<Progress>,
}

impl History {
    /// Adds another event of an open task.
    pub fn take_in(&mut self, event: &TaskEvent) {
        match event {
            TaskEvent::Created(_)
            | TaskEvent::CallbackRequested(_)
            | TaskEvent::Restated(_)
            | TaskEvent::Unblocked(_)
            | TaskEvent::LimitPaused(_)
            | TaskEvent::TargetDisabled(_) => {
                return;
            }
            TaskEvent::CallbackSent(_) | TaskEvent::CallbackFailed(_) => {
                self.callback = Callback::of(event);
                return;
            }
            TaskEvent::Purged(e) => {
                self.purged_at.get_or_insert(e.at);
            }
            TaskEvent::Started(e) => {
                self.started_at.get_or_insert(e.at);
                self.progress = None;
                start_attempt(&mut self.attempts, e);
            }
            TaskEvent::Progressed(e) => match e.progress() {
                None => return,
                progress => self.progress = progress,
            },
            TaskEvent::AttemptFailed(e) => {
                self.attempt_failed(e.attempt, e.at, &e.failure, e.answer.as_ref());
            }
            TaskEvent::Released(e) => {
                let sentence = Some(e.sentence().to_owned());
                end_attempt(&mut self.attempts, e.attempt, e.at, None, sentence.clone());
                self.answer = None;
                self.error = sentence;
            }
            TaskEvent::Succeeded(e) => {
                end_attempt(&mut self.attempts, e.attempt, e.at, Some(&e.answer), None);
                self.answer = Some((&e.answer).into());
                self.error = e.answer.unfollowed_redirect();
            }
            TaskEvent::Dead(e) if has_ended(&self.attempts, e.attempt) => {
                self.error = Some(sentence(&e.failure));
            }
            TaskEvent::Dead(e) => {
                self.attempt_failed(e.attempt, e.at, &e.failure, e.answer.as_ref());
            }
            TaskEvent::Expired(e) => match e.attempt {
                Some(attempt) => self.attempt_failed(attempt, e.at, &e.failure, None),
                None => self.error = Some(sentence(&e.failure)),
            },
            // `updated_at` already records these events.
            TaskEvent::RunRequested(_)
            | TaskEvent::CancelRequested(_)
            | TaskEvent::PriorityChanged(_) => {}
            TaskEvent::Cancelled(e) => {
                if e.after.is_some() || e.instead.is_some() || e.predecessor.is_some() {
                    self.error = e.sentence();
                }
                if let (Some(attempt), Some(sentence)) = (e.attempt, e.sentence()) {
                    let sentence = shortened(&sentence);
                    end_attempt(
                        &mut self.attempts,
                        attempt,
                        e.at,
                        None,
                        Some(sentence.clone()),
                    );
                    self.answer = None;
                    self.error = Some(sentence);
                }
            }
        }
        settle(&mut self.attempts, event);
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

/// One call to the target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Attempt {
    /// Number of the attempt, from 1.
    pub number: u32,
    pub started_at: Timestamp,
    /// How long the attempt took, in milliseconds. Absent while it runs.
    pub duration_ms: Option<u32>,
    /// HTTP status, if the target answered.
    pub status: Option<u16>,
    /// Error message, if the attempt failed.
    pub error: Option<String>,
    /// Name of the worker that claimed it; absent if it is a call.
    #[serde(default)]
    pub worker: Option<String>,
    /// How that worker ended its claim; absent if it did not.
    #[serde(default)]
    pub settled: Option<Settled>,
    /// When the next attempt was due, if it failed and another one was to follow.
    #[serde(default)]
    pub retry_at: Option<Timestamp>,
    /// What kept it from starting since the task had become ready; empty if nothing but the turns of
    /// others did.
    #[serde(default)]
    pub waits: Vec<Waited>,
}

/// An answer without headers and body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AnswerSummary {
    /// HTTP status of the answer.
    pub status: u16,
    /// Length of the whole body in bytes, as far as it was read.
    pub body_bytes: u64,
    /// Time from sending the request to the end of the answer, in milliseconds.
    pub duration_ms: u32,
}

/// State of the completion webhook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Callback {
    /// Deliveries tried so far.
    pub attempts: u32,
    /// When the last one was tried.
    pub at: Timestamp,
    /// HTTP status of the receiver, if the webhook was delivered.
    pub delivered: Option<u16>,
    /// Error message of the last delivery, if it failed.
    pub error: Option<String>,
    /// When the next delivery is due. Absent if there is none.
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
    /// The state after a delivery; `None` for an event that is not about a delivery.
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
        worker: started.claim.as_ref().map(|claim| claim.worker.clone()),
        settled: None,
        retry_at: None,
        waits: started.waits.clone(),
    });
}

/// Notes when the next attempt is due, and how the worker that had claimed an attempt has ended its
/// claim, if the event says so.
pub(crate) fn settle(attempts: &mut [Attempt], event: &TaskEvent) {
    if let TaskEvent::AttemptFailed(failed) = event {
        let attempt = attempts.iter_mut().rfind(|of| of.number == failed.attempt);
        if let Some(attempt) = attempt {
            attempt.retry_at = Some(failed.retry_at);
        }
    }
    let is_reported = |failure: &Failure| failure.kind == FailureKind::Reported;
    let (number, settled) = match event {
        TaskEvent::Succeeded(e) => (e.attempt, Settled::Completed),
        TaskEvent::AttemptFailed(e) if is_reported(&e.failure) => (e.attempt, Settled::Failed),
        TaskEvent::Dead(e) if is_reported(&e.failure) => (e.attempt, Settled::Failed),
        TaskEvent::Released(e) if e.returned => (e.attempt, Settled::Released),
        _ => return,
    };
    let attempt = attempts.iter_mut().rfind(|of| of.number == number);
    if let Some(attempt) = attempt.filter(|attempt| attempt.worker.is_some()) {
        attempt.settled = Some(settled);
    }
}

/// How the worker that had claimed that attempt ended its claim; `None` if it did not, or if the
/// attempt is too long ago to be remembered.
#[must_use]
pub fn settled(attempts: &[Attempt], number: u32) -> Option<Settled> {
    attempts.iter().rfind(|of| of.number == number)?.settled
}

/// Whether that attempt is known to have ended. A task that is too old for a retry ends after its
/// last attempt, which stays as it was.
pub(crate) fn has_ended(attempts: &[Attempt], number: u32) -> bool {
    let attempt = attempts.iter().rfind(|attempt| attempt.number == number);
    attempt.is_some_and(|attempt| attempt.duration_ms.is_some())
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

/// The message of a failure, truncated to [`MAX_ERROR_BYTES`].
pub(crate) fn sentence(failure: &Failure) -> String {
    shortened(&failure.message)
}

impl Failure {
    /// The same with its message truncated to [`MAX_ERROR_BYTES`].
    #[must_use]
    pub(crate) fn shortened(&self) -> Self {
        Self {
            kind: self.kind,
            message: sentence(self),
        }
    }
}

/// A message, truncated to [`MAX_ERROR_BYTES`].
pub(crate) fn shortened(text: &str) -> String {
    if text.len() <= MAX_ERROR_BYTES {
        return text.to_owned();
    }
    let room = MAX_ERROR_BYTES - '…'.len_utf8();
    let end = (0..=room)
        .rfind(|&at| text.is_char_boundary(at))
        .unwrap_or(0);
    format!("{}…", &text[..end])
}
