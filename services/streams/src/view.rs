//! How an event of a task looks to a subscriber: the one place where stored events become JSON for clients.
//!
//! A subscriber is told what happened, not what was sent or answered: bodies and headers are in no event of a stream, so that a
//! stream stays small and a reader of events alone learns no payload. The whole answer is at `GET /v1/tasks/{id}`.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use bytes::Bytes;
use serde::Serialize;
use utoipa::ToSchema;
use waybill_domain::event::{Answer, Failure, FailureKind, TaskEvent};
use waybill_domain::id::{QueueName, TaskId};
use waybill_domain::seq::StreamSeq;
use waybill_domain::task::Status;
use waybill_domain::task::once::InsteadReason;
use waybill_domain::time::Timestamp;
use waybill_log::subject::TaskSubject;
use waybill_log::{Poison, Reason, Record, Stream, TaskRecord, Unreadable, task_record};

use super::TaskEventType;
use super::frame;
use super::labels::{Labelled, Labels};

/// One event of a task. Which of the optional fields are there depends on `type`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = TaskEvent)]
pub struct TaskEventView {
    /// Position in the log, also the `id:` of the server-sent event: resume with `Last-Event-ID` or `?after=`.
    #[schema(example = 48_120)]
    pub id: u64,
    /// `task.` and what happened; also the `event:` of the server-sent event.
    #[serde(rename = "type")]
    #[schema(example = "task.succeeded", value_type = TaskEventType)]
    pub kind: String,
    /// Id of the task that it happened to.
    pub task_id: String,
    /// Queue of the task.
    #[schema(example = "default")]
    pub queue: String,
    /// The task's status after this event. Absent on `task.callback_sent` and `task.callback_failed`, which do not change it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "completed")]
    pub status: Option<Status>,
    /// When it was decided: ISO 8601, UTC, milliseconds.
    #[schema(example = "2026-11-21T07:12:48.120Z", format = DateTime)]
    pub at: String,
    /// Who caused it: `key:<key id>` or `system:<role>`.
    #[schema(example = "system:worker")]
    pub actor: String,
    /// Number of the attempt (of the delivery, for callbacks): 1, 2, 3...
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// Whether the task ended with a success. Present on the event that ends it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ok: Option<bool>,
    /// The words that the client gave the task to find it by.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// The texts that the client gave the task.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// `["tags", "metadata"]` where the read model could not tell them in time: `GET /v1/tasks/{id}` does once it answers. Not there otherwise.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>, example = json!(["tags", "metadata"]))]
    pub missing: Vec<&'static str>,
    /// HTTP status of the answer, when there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status_code: Option<u16>,
    /// From sending to the end of the answer, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<u32>,
    /// Length of the answer's body, in bytes. Counting stops at about 1 MiB; `truncated` then says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_bytes: Option<u64>,
    /// `["responseBytes"]` when counting stopped before the end of the body; absent otherwise.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>, example = json!(["responseBytes"]))]
    pub truncated: Vec<&'static str>,
    /// Why it failed: a sentence for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Why it failed: a class for programs, such as `timeout` or `http_status`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "http_status")]
    pub error_kind: Option<FailureKind>,
    /// When the next attempt or delivery is due. Absent on a `task.callback_failed` that was the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    pub retry_at: Option<String>,
    /// On `task.created`: not to be started before.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    pub delay_until: Option<String>,
    /// On `task.cancelled`: the task that runs instead of one that was superseded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub superseded_by: Option<String>,
    /// On `task.cancelled`: the task of its singleton that had not ended, of one that was skipped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skipped_for: Option<String>,
    /// On `task.cancelled`: the task that it duplicates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duplicate_of: Option<String>,
    /// On `task.priority_changed`: the priority from now on, from 1 to 10.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<u8>,
    /// On `task.started`: the worker that claimed the task. Absent if a target is called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worker: Option<String>,
    /// On `task.progressed`: how far the worker that has claimed the task has come, 0 to 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<u8>,
    /// On `task.progressed`: what that worker is doing, in its words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// On `task.limit_paused`: the key of the limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paused_limit: Option<String>,
    /// On `task.limit_paused`: when the pause ends by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    pub paused_until: Option<String>,
    /// On `task.target_disabled`: since when every attempt at the host has failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    pub failing_since: Option<String>,
}

impl TaskEventView {
    fn new(record: &Record, queue: &str, event: &TaskEvent) -> Self {
        let mut view = Self {
            id: record.seq.0,
            kind: format!("task.{}", event.kind()),
            task_id: event.id().to_string(),
            queue: queue.to_owned(),
            status: status_after(event),
            at: event.at().to_rfc3339(),
            actor: record.actor.clone(),
            attempt: None,
            ok: None,
            tags: Vec::new(),
            metadata: BTreeMap::new(),
            missing: Vec::new(),
            status_code: None,
            duration: None,
            response_bytes: None,
            truncated: Vec::new(),
            error: None,
            error_kind: None,
            retry_at: None,
            delay_until: None,
            superseded_by: None,
            skipped_for: None,
            duplicate_of: None,
            priority: None,
            worker: None,
            progress: None,
            message: None,
            paused_limit: None,
            paused_until: None,
            failing_since: None,
        };
        match event {
            TaskEvent::Created(e) => {
                view.delay_until = e.not_before.map(Timestamp::to_rfc3339);
            }
            TaskEvent::RunRequested(_)
            | TaskEvent::Purged(_)
            | TaskEvent::CallbackRequested(_)
            | TaskEvent::Unblocked(_)
            | TaskEvent::Restated(_) => {}
            TaskEvent::TargetDisabled(e) => view.failing_since = Some(e.since.to_rfc3339()),
            TaskEvent::LimitPaused(e) => {
                view.paused_limit = Some(e.key.as_str().to_owned());
                view.paused_until = Some(e.until.to_rfc3339());
            }
            TaskEvent::Started(e) => {
                view.attempt = Some(e.attempt);
                view.worker = e.claim.as_ref().map(|claim| claim.worker.clone());
            }
            TaskEvent::Progressed(e) => {
                view.attempt = Some(e.attempt);
                (view.progress, view.message) = (e.percent, e.message.clone());
            }
            TaskEvent::AttemptFailed(e) => {
                view.attempt = Some(e.attempt);
                view.retry_at = Some(e.retry_at.to_rfc3339());
                view.failed(&e.failure, e.answer.as_ref());
            }
            TaskEvent::Released(e) => {
                view.attempt = Some(e.attempt);
                view.error = Some(e.sentence().to_owned());
            }
            TaskEvent::Succeeded(e) => {
                view.attempt = Some(e.attempt);
                view.ok = Some(e.is_ok());
                view.answered(&e.answer);
            }
            TaskEvent::Dead(e) => {
                view.ok = Some(false);
                view.attempt = Some(e.attempt);
                view.failed(&e.failure, e.answer.as_ref());
            }
            TaskEvent::CancelRequested(e) => view.attempt = Some(e.attempt),
            TaskEvent::PriorityChanged(e) => view.priority = Some(e.priority.get()),
            TaskEvent::Cancelled(e) => {
                view.ok = Some(false);
                view.attempt = e.attempt;
                view.error = e.sentence();
                if let Some(instead) = e.instead {
                    let id = Some(instead.task.to_string());
                    match instead.reason {
                        InsteadReason::Skipped => view.skipped_for = id,
                        InsteadReason::Duplicate => view.duplicate_of = id,
                        InsteadReason::Debounced
                        | InsteadReason::Replaced
                        | InsteadReason::Refreshed => {
                            view.superseded_by = id;
                        }
                    }
                }
            }
            TaskEvent::Expired(e) => {
                view.ok = Some(false);
                view.attempt = e.attempt;
                view.failed(&e.failure, None);
            }
            TaskEvent::CallbackSent(e) => {
                view.attempt = Some(e.attempt);
                view.status_code = Some(e.status);
            }
            TaskEvent::CallbackFailed(e) => {
                view.attempt = Some(e.attempt);
                view.retry_at = e.retry_at.map(Timestamp::to_rfc3339);
                view.failed(&e.failure, None);
            }
        }
        view
    }

    fn answered(&mut self, answer: &Answer) {
        self.status_code = Some(answer.status);
        self.duration = Some(answer.duration_ms);
        self.response_bytes = Some(answer.body_bytes);
        if !Answer::is_counted(answer.body_bytes) {
            self.truncated = vec!["responseBytes"];
        }
    }

    fn failed(&mut self, failure: &Failure, answer: Option<&Answer>) {
        self.error = Some(failure.message.clone());
        self.error_kind = Some(failure.kind);
        if let Some(answer) = answer {
            self.answered(answer);
        }
    }
}

/// The status of a task right after an event; `None` when the event does not change it.
fn status_after(event: &TaskEvent) -> Option<Status> {
    Some(match event {
        TaskEvent::Created(e) if e.not_before.is_some_and(|due| due > e.at) => Status::Delayed,
        TaskEvent::Created(_)
        | TaskEvent::AttemptFailed(_)
        | TaskEvent::Released(_)
        | TaskEvent::RunRequested(_) => Status::Pending,
        TaskEvent::Started(_) => Status::Processing,
        TaskEvent::Succeeded(_) => Status::Completed,
        TaskEvent::Dead(e) => e.status(),
        TaskEvent::Cancelled(_) => Status::Cancelled,
        TaskEvent::Expired(_) => Status::Timeout,
        TaskEvent::CancelRequested(_)
        | TaskEvent::Purged(_)
        | TaskEvent::CallbackSent(_)
        | TaskEvent::CallbackFailed(_)
        | TaskEvent::CallbackRequested(_)
        | TaskEvent::PriorityChanged(_)
        | TaskEvent::Progressed(_)
        | TaskEvent::Unblocked(_)
        | TaskEvent::LimitPaused(_)
        | TaskEvent::TargetDisabled(_)
        | TaskEvent::Restated(_) => {
            return None;
        }
    })
}

/// The short names of the events that can leave a task in a status.
pub(crate) fn kinds_leading_to(status: Status) -> &'static [&'static str] {
    match status {
        Status::Pending => &["created", "attempt_failed", "released", "run_requested"],
        Status::Delayed => &["created"],
        Status::Processing => &["started"],
        Status::Completed => &["succeeded"],
        Status::Failed => &["dead"],
        Status::Timeout => &["expired", "dead"],
        Status::Cancelled => &["cancelled"],
    }
}

/// A log as clients name it.
pub fn stream_name(stream: Stream) -> &'static str {
    match stream {
        Stream::Control => "control",
        Stream::Tasks => "tasks",
    }
}

/// `task.created` of `task.created.v1`: the version is how an event is stored, not what happened.
pub fn short_type(event: &str) -> &str {
    match event.rsplit_once(".v") {
        Some((short, version)) if version.bytes().all(|b| b.is_ascii_digit()) => short,
        _ => event,
    }
}

/// What an event says about how much is still to come of its task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Milestone {
    /// The task begins, with or without a completion webhook.
    Begins {
        /// Its outcome will be one more event after the terminal one.
        webhook: bool,
    },
    /// More is to come.
    Underway,
    /// The terminal event.
    Terminal,
    /// The completion webhook was delivered or given up.
    WebhookDone,
}

impl Milestone {
    fn of(event: &TaskEvent) -> Self {
        match event {
            TaskEvent::Created(e) => Self::Begins {
                webhook: e.on_complete_url.is_some(),
            },
            TaskEvent::Started(_)
            | TaskEvent::AttemptFailed(_)
            | TaskEvent::Released(_)
            | TaskEvent::RunRequested(_)
            | TaskEvent::PriorityChanged(_)
            | TaskEvent::CancelRequested(_) => Self::Underway,
            TaskEvent::Succeeded(_)
            | TaskEvent::Dead(_)
            | TaskEvent::Cancelled(_)
            | TaskEvent::Expired(_) => Self::Terminal,
            TaskEvent::CallbackSent(_) => Self::WebhookDone,
            TaskEvent::CallbackFailed(e) if e.retry_at.is_none() => Self::WebhookDone,
            TaskEvent::CallbackFailed(_)
            | TaskEvent::CallbackRequested(_)
            | TaskEvent::Progressed(_)
            | TaskEvent::Restated(_)
            | TaskEvent::Purged(_)
            | TaskEvent::Unblocked(_)
            | TaskEvent::LimitPaused(_)
            | TaskEvent::TargetDisabled(_) => Self::Underway,
        }
    }
}

/// One event, decoded once and shared by all listeners; written as JSON once, when the first of them wants it.
#[derive(Debug)]
pub struct Step {
    /// Position in TASKS.
    pub seq: StreamSeq,
    pub task: TaskId,
    pub queue: QueueName,
    /// Short name, such as `succeeded`.
    pub kind: &'static str,
    /// Status of the task after it.
    pub status: Option<Status>,
    /// How much is still to come.
    pub milestone: Milestone,
    /// When it was decided.
    pub at: Timestamp,
    view: TaskEventView,
    /// Of a creation: the labels that it brings.
    brings: Option<Labels>,
    labelled: Labelled,
    frame: OnceLock<Bytes>,
}

impl Step {
    /// Decodes a record; `None` when nothing happened to a task: an owner's announcement, or a task stated again, or a heartbeat of the worker that has claimed it.
    pub fn read(record: &Record) -> Result<Option<Self>, Unreadable> {
        let event = match task_record(record)? {
            TaskRecord::Event(event) => event,
            TaskRecord::Owned(..) => return Ok(None),
        };
        // A heartbeat only extends a lease.
        let is_heartbeat =
            matches!(&event, TaskEvent::Progressed(event) if event.progress().is_none());
        if is_heartbeat || matches!(event, TaskEvent::Restated(_)) {
            return Ok(None);
        }
        let queue = match TaskSubject::parse(&record.subject) {
            Some(TaskSubject::Event { queue, .. }) => QueueName::parse(queue).ok(),
            _ => None,
        };
        let queue = queue.ok_or_else(|| {
            let detail = format!("{} names no queue", record.subject);
            Poison::new(Reason::Misplaced, detail)
        })?;
        let brings = match &event {
            TaskEvent::Created(e) => Some(Labels {
                tags: e.tags.clone(),
                metadata: e.metadata.clone(),
            }),
            _ => None,
        };
        Ok(Some(Self {
            seq: record.seq,
            task: event.id(),
            kind: event.kind(),
            status: status_after(&event),
            milestone: Milestone::of(&event),
            at: event.at(),
            view: TaskEventView::new(record, queue.as_str(), &event),
            queue,
            brings,
            labelled: Labelled::Unasked,
            frame: OnceLock::new(),
        }))
    }

    /// The labels that the event itself brings, once.
    pub(crate) fn created_with(&mut self) -> Option<Labels> {
        self.brings.take()
    }

    /// What is known of the labels of its task.
    pub(crate) fn labelled(&self) -> &Labelled {
        &self.labelled
    }

    /// Adds the labels of its task, before anybody sees it.
    pub(crate) fn label(&mut self, labelled: Labelled) {
        match &labelled {
            Labelled::Known(labels) => {
                self.view.tags.clone_from(&labels.tags);
                self.view.metadata.clone_from(&labels.metadata);
            }
            Labelled::Unavailable => self.view.missing = vec!["tags", "metadata"],
            Labelled::Unasked => {}
        }
        self.labelled = labelled;
    }

    /// The event as clients see it.
    #[must_use]
    pub fn view(&self) -> &TaskEventView {
        &self.view
    }

    /// The event as a server-sent event.
    #[must_use]
    pub fn frame(&self) -> &Bytes {
        self.frame
            .get_or_init(|| frame::event(self.seq, &self.view.kind, &self.view))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use waybill_domain::event::{BodyEncoding, TaskSucceeded};
    use waybill_domain::partition::Partition;

    #[test]
    fn a_length_that_was_not_counted_to_its_end_is_said_to_be_none() {
        let record = Record {
            seq: StreamSeq(1),
            follows: StreamSeq(0),
            time: Timestamp(1),
            subject: String::new(),
            event: String::new(),
            actor: "system:worker".to_owned(),
            traceparent: None,
            origin: None,
            msg_id: None,
            exact: None,
            payload: Bytes::new(),
        };
        let told = |body_bytes| {
            let event = TaskEvent::Succeeded(TaskSucceeded {
                ok: None,
                id: TaskId::new(Timestamp(1), 1, Partition::new(0).expect("one")),
                attempt: 1,
                at: Timestamp(1),
                answer: Answer {
                    status: 200,
                    headers: Vec::new(),
                    body: String::new(),
                    encoding: BodyEncoding::Text,
                    body_bytes,
                    duration_ms: 1,
                    header_bytes: None,
                },
            });
            let view = TaskEventView::new(&record, "q", &event);
            serde_json::to_value(view).expect("plain data")
        };
        let whole = told(Answer::COUNTED_BODY_BYTES);
        assert_eq!(whole["responseBytes"], Answer::COUNTED_BODY_BYTES);
        assert!(whole.get("truncated").is_none(), "{whole}");
        let endless = told(Answer::COUNTED_BODY_BYTES + 1);
        assert_eq!(endless["truncated"], serde_json::json!(["responseBytes"]));
    }

    #[test]
    fn an_event_is_named_without_its_version() {
        assert_eq!(short_type("task.attempt_failed.v1"), "task.attempt_failed");
        assert_eq!(short_type("task.vanished"), "task.vanished");
    }
}
