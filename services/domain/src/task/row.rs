//! What read models hold of a task: everything a client may ask for except what is large.
//!
//! Bodies and headers stay in the log, where [`TaskRow::created_seq`] and [`TaskRow::ended_seq`] find them; so a row is small however
//! large the task is, and no row has to be rewritten with a body in it. A row is a pure function of the events of its task in
//! the order of their sequences, so a row rebuilt from the log equals the one that grew.

use serde::{Deserialize, Serialize};

use crate::event::{
    Answer, Failure, Remains, Standing, TaskCreated, TaskEnd, TaskEvent, TaskReleased, TaskRestated,
};
use crate::id::{QueueName, TaskId, TeamId};
use crate::seq::StreamSeq;
use crate::task::history;
use crate::task::retry::{Backoff, RetryOn};
use crate::task::spec::{Method, Priority};
use crate::task::status::Status;
use crate::time::Timestamp;

pub use crate::task::history::{AnswerSummary, Attempt, Callback, MAX_ATTEMPTS, MAX_ERROR_BYTES};

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
    /// Where in TASKS it was created: its place in lists.
    pub created_seq: StreamSeq,
    /// Where in TASKS its headers and body are: its creation, or the latest restatement.
    pub stored_seq: StreamSeq,
    /// Where in TASKS it was created once more, which never should be and changes nothing. A read model has to know of it, as
    /// retention takes the first creation before the second.
    pub created_again: Option<StreamSeq>,
    /// Where in TASKS the answer is: its end, or the latest restatement after it.
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
    /// Why the last attempt failed, or that its answer was a redirect which was not followed.
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
                TaskEvent::Restated(restated) => Some(Self::restated(seq, restated)),
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
            stored_seq: seq,
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

    /// The row that a restatement alone leads to: what stands before it may be gone.
    fn restated(seq: StreamSeq, e: &TaskRestated) -> Self {
        let mut row = Self::created(e.position, &e.created);
        row.stored_seq = seq;
        row.seq = seq;
        row.started_at = e.history.started_at;
        row.updated_at = e.history.updated_at.unwrap_or(e.created.at);
        row.retry_count = e.failures;
        row.attempts.clone_from(&e.history.attempts);
        row.error.clone_from(&e.history.error);
        row.answer = e.history.answer;
        row.callback.clone_from(&e.history.callback);
        match &e.standing {
            // Whether a delay has passed is not stored: a row says `delayed` until the first attempt.
            Standing::Waiting { .. } | Standing::Ready { .. } if e.attempts == 0 => {}
            Standing::Waiting { until: due, .. } | Standing::Ready { since: due } => {
                row.status = Status::Pending;
                row.retry_at = Some(*due);
            }
            Standing::Running { .. } => row.status = Status::Processing,
            Standing::Ended { end, .. } => {
                let how = match end {
                    TaskEnd::Succeeded(_) => Status::Completed,
                    TaskEnd::Dead(_) => Status::Failed,
                    TaskEnd::Expired(_) => Status::Timeout,
                    TaskEnd::Cancelled(_) => Status::Cancelled,
                };
                row.end(how, seq, end.at());
            }
        }
        row
    }

    fn take_in(&mut self, seq: StreamSeq, event: &TaskEvent) {
        match event {
            TaskEvent::Created(_) => {
                self.created_again = Some(seq);
                return;
            }
            // Taken as it is, so that a row made anew behind it equals this one.
            TaskEvent::Restated(e) => {
                *self = Self::restated(seq, e);
                return;
            }
            TaskEvent::CallbackSent(_) | TaskEvent::CallbackFailed(_) => {
                self.callback = Callback::of(event);
                return;
            }
            _ if self.status.is_terminal() => return,
            TaskEvent::Started(e) => {
                self.status = Status::Processing;
                self.started_at.get_or_insert(e.at);
                self.retry_at = None;
                history::start_attempt(&mut self.attempts, e);
            }
            TaskEvent::AttemptFailed(e) => {
                self.status = Status::Pending;
                self.retry_at = Some(e.retry_at);
                self.retry_count += u16::from(e.counted);
                self.attempt_failed(e.attempt, e.at, &e.failure, e.answer.as_ref());
            }
            TaskEvent::Released(e) => {
                self.status = Status::Pending;
                let sentence = Some(TaskReleased::SENTENCE.to_owned());
                history::end_attempt(&mut self.attempts, e.attempt, e.at, None, sentence.clone());
                self.answer = None;
                self.error = sentence;
            }
            TaskEvent::Succeeded(e) => {
                self.end(Status::Completed, seq, e.at);
                history::end_attempt(&mut self.attempts, e.attempt, e.at, Some(&e.answer), None);
                self.answer = Some((&e.answer).into());
                self.error = e.answer.unfollowed_redirect();
            }
            TaskEvent::Dead(e) => {
                self.end(Status::Failed, seq, e.at);
                self.attempt_failed(e.attempt, e.at, &e.failure, e.answer.as_ref());
            }
            TaskEvent::Expired(e) => {
                self.end(Status::Timeout, seq, e.at);
                match e.attempt {
                    Some(attempt) => self.attempt_failed(attempt, e.at, &e.failure, None),
                    None => self.error = Some(history::sentence(&e.failure)),
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
        let error = history::sentence(failure);
        history::end_attempt(&mut self.attempts, number, at, answer, Some(error.clone()));
        self.answer = answer.map(AnswerSummary::from);
        self.error = Some(error);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_that_was_not_followed_says_where_it_led() {
        let answer = |status, location: Option<&str>| Answer {
            status,
            headers: location
                .map(|location| ("Location".to_owned(), location.to_owned()))
                .into_iter()
                .collect(),
            body: String::new(),
            encoding: crate::event::BodyEncoding::Text,
            body_bytes: 0,
            duration_ms: 1,
        };
        let said = answer(302, Some("https://b.example/login")).unfollowed_redirect();
        assert_eq!(
            said.as_deref(),
            Some("HTTP 302 redirects to https://b.example/login, which was not followed")
        );
        assert_eq!(answer(304, Some("/x")).unfollowed_redirect(), None);
        assert_eq!(answer(200, Some("/x")).unfollowed_redirect(), None);
        let long = answer(301, Some(&"x".repeat(5_000))).unfollowed_redirect();
        assert!(long.is_some_and(|said| said.len() < MAX_ERROR_BYTES));
    }
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
