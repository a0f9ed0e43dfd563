//! Rows, as built from the events of a task.

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
        header_bytes: None,
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
        retry_pauses: OwnPauses::default(),
        fairness_key: None,
        fairness_weight: None,
        ordering: None,
        retry_bounds: RetryBounds::default(),
        replay_of: None,
        once: None,
        limits: Vec::new(),
        schedule: None,
        on_rate_limited: None,
        member: None,
        job: None,
        no_capture: false,
        retry_on: None,
        priority: Priority::DEFAULT,
        follow_redirects: false,
        on_complete_url: None,
        idempotency_key: None,
        fingerprint: None,
        resolve: crate::vault::Resolve::default(),
        success: None,
        deadline: None,
        expires_in_ms: None,
        tags: Vec::new(),
        metadata: std::collections::BTreeMap::new(),
        webhook_pauses: Vec::new(),
        max_answer_bytes: None,
        body_encoding: crate::event::BodyEncoding::Text,
        sealed: None,
        at: Timestamp(10),
        created_by: None,
    }));
    TaskRow::evolve(None, StreamSeq(1), &event).expect("a row")
}

fn started(attempt: u32) -> TaskEvent {
    TaskEvent::Started(TaskStarted {
        id: id(),
        attempt,
        at: Timestamp(100 * i64::from(attempt)),
        lease_until: Timestamp(9_000),
        probe: false,
        claim: None,
        waits: Vec::new(),
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
            header_bytes: None,
        },
        ok: None,
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
    let cancelled = TaskEvent::Cancelled(TaskCancelled::idle(id(), Timestamp(1_000)));
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
