//! What read models hold of a task: everything a client may ask for except what is large.
//!
//! Bodies and headers stay in the log, where [`TaskRow::created_seq`] and [`TaskRow::ended_seq`] find them; so a row is small however
//! large the task is, and no row has to be rewritten with a body in it. A row is a pure function of the events of its task in
//! the order of their sequences, so a row rebuilt from the log equals the one that grew.

use serde::{Deserialize, Serialize};

use crate::event::{Answer, Failure, Remains, TaskCreated, TaskEvent};
use crate::id::{QueueName, TaskId, TeamId};
use crate::seq::StreamSeq;
use crate::task::retry::{Backoff, RetryOn};
use crate::task::spec::{Method, Priority};
use crate::task::status::Status;
use crate::time::Timestamp;

/// Attempts a row remembers, the latest ones. A task can have 11 that count and 3 lost with their workers.
pub const MAX_ATTEMPTS: usize = 16;
/// Longest error sentence in a row, in bytes.
pub const MAX_ERROR_BYTES: usize = 512;

/// A task as lists and single reads show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskRow {
    /// The task.
    pub id: TaskId,
    /// Whose it is.
    pub team: TeamId,
    /// Where it queues.
    pub queue: QueueName,
    /// Where it stands, but for the passing of time: ask [`TaskRow::status_at`].
    pub status: Status,
    /// What is called.
    pub url: String,
    /// How it is called.
    pub method: Method,
    /// Higher first.
    pub priority: Priority,
    /// Time limit of one attempt, in milliseconds.
    pub timeout_ms: u32,
    /// Time limit over all attempts, in milliseconds.
    pub max_wait_ms: u32,
    /// Not to be started before.
    pub not_before: Option<Timestamp>,
    /// Retries after the first attempt.
    pub max_retries: u16,
    /// How the pause before a retry grows.
    pub backoff: Backoff,
    /// What retries, when the task says so itself.
    pub retry_on: Option<RetryOn>,
    /// Follow up to three redirects.
    pub follow_redirects: bool,
    /// Called when the task has ended.
    pub on_complete_url: Option<String>,
    /// The client's idempotency key.
    pub idempotency_key: Option<String>,
    /// Where in TASKS the creation is: headers and body.
    pub created_seq: StreamSeq,
    /// Where in TASKS it was created once more, which never should be and changes nothing. A read model has to know of it, as
    /// retention takes the first creation before the second.
    pub created_again: Option<StreamSeq>,
    /// Where in TASKS the end is: the answer.
    pub ended_seq: Option<StreamSeq>,
    /// The last event taken in.
    pub seq: StreamSeq,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When it last changed. Its completion webhook is no change of the task.
    pub updated_at: Timestamp,
    /// When its first attempt began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub completed_at: Option<Timestamp>,
    /// When the next attempt is due, while it waits for one.
    pub retry_at: Option<Timestamp>,
    /// Retries that were granted so far. An attempt lost with its worker does not use one up.
    pub retry_count: u16,
    /// The latest [`MAX_ATTEMPTS`] attempts, in order.
    pub attempts: Vec<Attempt>,
    /// Why the last attempt failed, unless it succeeded.
    pub error: Option<String>,
    /// The last answer of the target, without headers and body.
    pub answer: Option<AnswerSummary>,
    /// The completion webhook, once it was tried.
    pub callback: Option<Callback>,
    /// The latest event of this task in the log that does not count, because it is damaged or stands where it does not belong.
    #[serde(default)]
    pub damage: Option<Damage>,
}

/// An event that does not count. What it said is not known, so the rest of the row is what the log says without it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Damage {
    /// Where in TASKS it stands.
    pub seq: StreamSeq,
    /// The value of `Wb-Event`.
    pub event: String,
    /// Why it does not count, as a word: `malformed` or `misplaced`.
    pub reason: String,
}

/// One call of the target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnswerSummary {
    /// HTTP status.
    pub status: u16,
    /// Length of the whole body in bytes, as far as it was counted.
    pub body_bytes: u64,
    /// From sending to the end of the answer, in milliseconds.
    pub duration_ms: u32,
}

/// Where the completion webhook stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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

impl TaskRow {
    /// The row after one more event of its task. `None`: no row and no creation to make one of, since retention has dropped it.
    ///
    /// Events come in the order of their sequences. One that was taken in already changes nothing, and nothing but the completion
    /// webhook changes a task that has ended.
    #[must_use]
    pub fn evolve(row: Option<Self>, seq: StreamSeq, event: &TaskEvent) -> Option<Self> {
        let Some(mut row) = row else {
            return match event {
                TaskEvent::Created(created) => Some(Self::created(seq, created)),
                _ => None,
            };
        };
        row.evolve_in_place(seq, event);
        Some(row)
    }

    /// The same for a row that is there.
    pub fn evolve_in_place(&mut self, seq: StreamSeq, event: &TaskEvent) {
        if seq > self.seq {
            self.seq = seq;
            self.take_in(seq, event);
        }
    }

    /// Notes that an event of this task does not count.
    pub fn damaged(&mut self, damage: Damage) {
        if damage.seq > self.seq {
            self.seq = damage.seq;
            self.damage = Some(damage);
        }
    }

    /// A task of which the creation cannot be read, so that nobody can ever call it: it has failed.
    #[must_use]
    pub fn of_damaged_creation(
        id: TaskId,
        team: TeamId,
        queue: QueueName,
        remains: Remains,
        at: Timestamp,
        damage: Damage,
    ) -> Self {
        let error = format!(
            "The record of this task's creation, {} of the log, is damaged: it was never called and cannot be",
            damage.seq
        );
        let mut row = Self {
            status: Status::Failed,
            url: remains.url.unwrap_or_default(),
            method: remains.method.unwrap_or_default(),
            priority: remains.priority.unwrap_or_default(),
            completed_at: Some(at),
            error: Some(error),
            ..Self::bare(id, team, queue, damage.seq, at)
        };
        row.damage = Some(damage);
        row
    }

    /// Where it stands at a given time: `delayed` becomes `pending` by the clock alone, without an event.
    #[must_use]
    pub fn status_at(&self, now: Timestamp) -> Status {
        match self.not_before {
            Some(at) if self.status == Status::Delayed && at <= now => Status::Pending,
            _ => self.status,
        }
    }

    fn created(seq: StreamSeq, e: &TaskCreated) -> Self {
        Self {
            status: if e.not_before.is_some() {
                Status::Delayed
            } else {
                Status::Pending
            },
            url: e.url.clone(),
            method: e.method,
            priority: e.priority,
            timeout_ms: e.timeout_ms,
            max_wait_ms: e.max_wait_ms,
            not_before: e.not_before,
            max_retries: e.max_retries,
            backoff: e.backoff,
            retry_on: e.retry_on.clone(),
            follow_redirects: e.follow_redirects,
            on_complete_url: e.on_complete_url.clone(),
            idempotency_key: e.idempotency_key.clone(),
            ..Self::bare(e.id, e.team.clone(), e.queue.clone(), seq, e.at)
        }
    }

    /// A task of which no more is known than where it belongs and when it was made.
    fn bare(id: TaskId, team: TeamId, queue: QueueName, seq: StreamSeq, at: Timestamp) -> Self {
        Self {
            id,
            team,
            queue,
            status: Status::Pending,
            url: String::new(),
            method: Method::default(),
            priority: Priority::default(),
            timeout_ms: 0,
            max_wait_ms: 0,
            not_before: None,
            max_retries: 0,
            backoff: Backoff::default(),
            retry_on: None,
            follow_redirects: false,
            on_complete_url: None,
            idempotency_key: None,
            created_seq: seq,
            created_again: None,
            ended_seq: None,
            seq,
            created_at: at,
            updated_at: at,
            started_at: None,
            completed_at: None,
            retry_at: None,
            retry_count: 0,
            attempts: Vec::new(),
            error: None,
            answer: None,
            callback: None,
            damage: None,
        }
    }

    fn take_in(&mut self, seq: StreamSeq, event: &TaskEvent) {
        match event {
            TaskEvent::Created(_) => {
                self.created_again = Some(seq);
                return;
            }
            TaskEvent::CallbackSent(e) => {
                self.callback = Some(Callback {
                    attempts: e.attempt,
                    at: e.at,
                    delivered: Some(e.status),
                    error: None,
                    retry_at: None,
                });
                return;
            }
            TaskEvent::CallbackFailed(e) => {
                self.callback = Some(Callback {
                    attempts: e.attempt,
                    at: e.at,
                    delivered: None,
                    error: Some(sentence(&e.failure)),
                    retry_at: e.retry_at,
                });
                return;
            }
            _ if self.status.is_terminal() => return,
            TaskEvent::Started(e) => {
                self.status = Status::Processing;
                self.started_at.get_or_insert(e.at);
                self.retry_at = None;
                if self.attempts.len() == MAX_ATTEMPTS {
                    self.attempts.remove(0);
                }
                self.attempts.push(Attempt {
                    number: e.attempt,
                    started_at: e.at,
                    duration_ms: None,
                    status: None,
                    error: None,
                });
            }
            TaskEvent::AttemptFailed(e) => {
                self.status = Status::Pending;
                self.retry_at = Some(e.retry_at);
                self.retry_count += u16::from(e.counted);
                self.attempt_failed(e.attempt, e.at, &e.failure, e.answer.as_ref());
            }
            TaskEvent::Succeeded(e) => {
                self.end(Status::Completed, seq, e.at);
                self.attempt_ended(e.attempt, e.at, Some(&e.answer), None);
                self.answer = Some((&e.answer).into());
                self.error = None;
            }
            TaskEvent::Dead(e) => {
                self.end(Status::Failed, seq, e.at);
                self.attempt_failed(e.attempt, e.at, &e.failure, e.answer.as_ref());
            }
            TaskEvent::Expired(e) => {
                self.end(Status::Timeout, seq, e.at);
                match e.attempt {
                    Some(attempt) => self.attempt_failed(attempt, e.at, &e.failure, None),
                    None => self.error = Some(sentence(&e.failure)),
                }
            }
            TaskEvent::Cancelled(e) => self.end(Status::Cancelled, seq, e.at),
        }
        self.updated_at = event.at();
    }

    fn end(&mut self, how: Status, seq: StreamSeq, at: Timestamp) {
        self.status = how;
        self.ended_seq = Some(seq);
        self.completed_at = Some(at);
        self.retry_at = None;
    }

    fn attempt_failed(
        &mut self,
        number: u32,
        at: Timestamp,
        failure: &Failure,
        answer: Option<&Answer>,
    ) {
        let error = sentence(failure);
        self.attempt_ended(number, at, answer, Some(error.clone()));
        self.answer = answer.map(AnswerSummary::from);
        self.error = Some(error);
    }

    fn attempt_ended(
        &mut self,
        number: u32,
        at: Timestamp,
        answer: Option<&Answer>,
        error: Option<String>,
    ) {
        if let Some(attempt) = self.attempts.iter_mut().rfind(|a| a.number == number) {
            let elapsed = at.since(attempt.started_at).as_millis();
            let elapsed = u32::try_from(elapsed).unwrap_or(u32::MAX);
            attempt.duration_ms = Some(answer.map_or(elapsed, |answer| answer.duration_ms));
            attempt.status = answer.map(|answer| answer.status);
            attempt.error = error;
        }
    }
}

fn sentence(failure: &Failure) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{
        AttemptFailed, BodyEncoding, CallbackSent, FailureKind, TaskCancelled, TaskStarted,
        TaskSucceeded,
    };
    use crate::partition::Partition;

    fn id() -> TaskId {
        TaskId::new(Timestamp(1), 2, Partition::new(3).expect("in range"))
    }

    fn created(not_before: Option<Timestamp>) -> TaskRow {
        let event = TaskEvent::Created(Box::new(TaskCreated {
            id: id(),
            team: TeamId::new(Timestamp(1), 1),
            queue: QueueName::default(),
            url: "https://example.org/".into(),
            method: Method::Post,
            headers: vec![],
            body: None,
            timeout_ms: 1,
            max_wait_ms: 1,
            not_before,
            max_retries: 3,
            backoff: Backoff::Exponential,
            retry_on: None,
            priority: Priority::DEFAULT,
            follow_redirects: false,
            on_complete_url: None,
            idempotency_key: None,
            fingerprint: None,
            resolve: crate::vault::Resolve::default(),
            sealed: None,
            at: Timestamp(10),
        }));
        TaskRow::evolve(None, StreamSeq(1), &event).expect("a row")
    }

    fn started(attempt: u32) -> TaskEvent {
        TaskEvent::Started(TaskStarted {
            id: id(),
            attempt,
            at: Timestamp(100 * i64::from(attempt)),
            lease_until: Timestamp(9_000),
        })
    }

    fn failed(attempt: u32, counted: bool, message: &str) -> TaskEvent {
        TaskEvent::AttemptFailed(AttemptFailed {
            id: id(),
            attempt,
            at: Timestamp(100 * i64::from(attempt) + 30),
            failure: Failure {
                kind: FailureKind::Connect,
                message: message.into(),
            },
            answer: None,
            retry_at: Timestamp(5_000),
            counted,
        })
    }

    fn succeeded(attempt: u32) -> TaskEvent {
        TaskEvent::Succeeded(TaskSucceeded {
            id: id(),
            attempt,
            at: Timestamp(900),
            answer: Answer {
                status: 201,
                headers: vec![],
                body: "ok".into(),
                encoding: BodyEncoding::Text,
                body_bytes: 2,
                duration_ms: 12,
            },
        })
    }

    fn after(mut row: TaskRow, events: &[TaskEvent]) -> TaskRow {
        for event in events {
            let seq = row.seq.next();
            row = TaskRow::evolve(Some(row), seq, event).expect("a row");
        }
        row
    }

    #[test]
    fn a_delay_passes_without_an_event() {
        let row = created(Some(Timestamp(50)));
        assert_eq!(row.status_at(Timestamp(49)), Status::Delayed);
        assert_eq!(row.status_at(Timestamp(50)), Status::Pending);
        let row = after(row, &[started(1)]);
        assert_eq!(row.status_at(Timestamp(49)), Status::Processing);
    }

    #[test]
    fn a_task_waiting_for_a_retry_is_pending_and_says_why() {
        let row = after(created(None), &[started(1), failed(1, true, "no route")]);
        assert_eq!(row.status, Status::Pending);
        assert_eq!(row.retry_count, 1);
        assert_eq!(row.retry_at, Some(Timestamp(5_000)));
        assert_eq!(row.error.as_deref(), Some("no route"));
        assert_eq!(row.attempts[0].duration_ms, Some(30));
    }

    #[test]
    fn an_attempt_lost_with_its_worker_is_no_retry() {
        let row = after(created(None), &[started(1), failed(1, false, "lost")]);
        assert_eq!(row.retry_count, 0);
    }

    #[test]
    fn success_ends_it_and_clears_the_error() {
        let events = [started(1), failed(1, true, "no"), started(2), succeeded(2)];
        let row = after(created(None), &events);
        assert_eq!(row.status, Status::Completed);
        assert_eq!((row.error, row.retry_at), (None, None));
        assert_eq!(row.ended_seq, Some(StreamSeq(5)));
        assert_eq!(row.started_at, Some(Timestamp(100)));
        assert_eq!(row.completed_at, Some(Timestamp(900)));
        assert_eq!(row.attempts[1].status, Some(201));
        assert_eq!(row.answer.map(|answer| answer.duration_ms), Some(12));
    }

    #[test]
    fn nothing_but_its_webhook_changes_a_task_that_has_ended() {
        let ended = after(created(None), &[started(1), succeeded(1)]);
        let cancelled = TaskEvent::Cancelled(TaskCancelled {
            id: id(),
            at: Timestamp(1_000),
        });
        let sent = TaskEvent::CallbackSent(CallbackSent {
            id: id(),
            attempt: 1,
            at: Timestamp(1_000),
            status: 204,
        });
        let row = after(ended.clone(), &[started(2), cancelled, sent]);
        assert_eq!(row.callback.as_ref().and_then(|c| c.delivered), Some(204));
        let untouched = TaskRow {
            seq: ended.seq,
            callback: None,
            ..row
        };
        assert_eq!(untouched, ended);
    }

    #[test]
    fn an_event_taken_in_before_changes_nothing() {
        let row = after(created(None), &[started(1), failed(1, true, "no")]);
        let again = TaskRow::evolve(Some(row.clone()), StreamSeq(2), &started(1));
        assert_eq!(again, Some(row));
    }

    #[test]
    fn the_rest_of_a_task_without_its_creation_makes_no_row() {
        assert_eq!(TaskRow::evolve(None, StreamSeq(9), &started(1)), None);
    }

    #[test]
    fn a_row_is_bounded() {
        let mut row = created(None);
        for attempt in 1..=40 {
            row = after(
                row,
                &[started(attempt), failed(attempt, true, &"ä".repeat(5_000))],
            );
        }
        assert_eq!(row.attempts.len(), MAX_ATTEMPTS);
        assert_eq!(row.attempts[MAX_ATTEMPTS - 1].number, 40);
        assert!(
            row.error
                .is_some_and(|error| error.len() <= MAX_ERROR_BYTES && error.ends_with('…'))
        );
    }
}
