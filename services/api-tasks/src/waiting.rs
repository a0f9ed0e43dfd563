//! `GET /v1/tasks/{id}/explain`: why a task does not run, and what its time was spent on.
//!
//! Only the owner of the task's partition knows the order of service and its slots, so it is asked. What is past is in the read model.

use std::time::Duration;

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use waybill_domain::command::{Blocker, Explained, MAX_AHEAD, OwnerReply, OwnerRequest};
use waybill_domain::id::TaskId;
use waybill_domain::task::row::TaskRow;
use waybill_domain::task::{EndReason, Status};
use waybill_domain::time::Timestamp;
use waybill_projector::query::TaskView;

use super::lookup;
use super::owner::{ask_owner, no_owner};
use crate::state::TasksApi;
use waybill_commands::entropy;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::TasksRead;
use waybill_edge::error::{ApiError, ErrorBody};
use waybill_edge::iso::Iso;
use waybill_edge::lenient::{LenientQuery, NoParameters};
use waybill_edge::path::Id;
use waybill_edge::warnings::{Handling, Warning};

/// `{"explanation": ...}`
#[derive(Debug, Serialize, ToSchema)]
pub struct ExplanationEnvelope {
    explanation: TaskExplanation,
    /// What of the request has no effect: at most 20 warnings; absent when there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<Warning>,
}

/// Why a task does not run, and what its time was spent on.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TaskExplanation {
    task_id: String,
    status: Status,
    /// What keeps it from running now. `null` while it runs, and after its end.
    blocked_by: Option<BlockedBy>,
    /// How many tasks come before it: by its `orderingKey` or its singleton, or else in its queue by its `fairnessKey`. 10000 stands for as many or more. `null`
    /// when that does not matter now.
    ahead_of_you: Option<u32>,
    /// It does not start before this time. `null`: as soon as nothing blocks it.
    #[schema(value_type = Option<String>, format = DateTime)]
    earliest_start: Option<Iso>,
    /// What its time was spent on, oldest first. Of a task with many attempts the latest.
    intervals: Vec<Interval>,
}

/// What keeps a task from running.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BlockedBy {
    kind: BlockedByKind,
    /// Until when, if that is known.
    #[schema(value_type = Option<String>, format = DateTime)]
    until: Option<Iso>,
    /// The task that comes first, of `order` and `singleton`.
    task_id: Option<String>,
    /// The same for people.
    message: &'static str,
}

/// Kinds of what keeps a task from running, in the order in which they apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum BlockedByKind {
    /// It was delayed.
    NotDue,
    /// It pauses before its next attempt.
    RetryPause,
    /// Another task comes first by its `orderingKey`.
    Order,
    /// Its queue is paused.
    QueuePaused,
    /// Its queue has as many attempts running as it may have at a time.
    QueueConcurrency,
    /// Its queue has started as many attempts as its rate allows.
    QueueRate,
    /// Its team has no slot left on the worker.
    TeamFull,
    /// Its host has no slot left on the worker.
    HostFull,
    /// The worker has no slot left.
    NoSlot,
    /// The worker pauses, because it could not make its last calls.
    WorkerPauses,
    /// It is the turn of others, or it starts at any moment.
    Turn,
    /// What was decided about it is being stored.
    BeingStored,
    /// It waits until no other task with the key of its debounce comes.
    Debounce,
    /// Another task has the key of its singleton, or comes first to it.
    Singleton,
}

impl From<Blocker> for BlockedBy {
    fn from(blocker: Blocker) -> Self {
        use BlockedByKind as Kind;
        let (kind, message) = match blocker {
            Blocker::NotDue { .. } => (Kind::NotDue, "It was delayed until then"),
            Blocker::RetryPause { .. } => (Kind::RetryPause, "It pauses before its next attempt"),
            Blocker::OrderHead { .. } => (
                Kind::Order,
                "Another task comes first by its orderingKey and has not ended",
            ),
            Blocker::QueuePaused { .. } => (Kind::QueuePaused, "Its queue is paused"),
            Blocker::QueueConcurrency => (
                Kind::QueueConcurrency,
                "Its queue has as many attempts running as it may have at a time",
            ),
            Blocker::QueueRate { .. } => (
                Kind::QueueRate,
                "Its queue has started as many attempts as its rate allows",
            ),
            Blocker::TeamFull => (Kind::TeamFull, "Its team uses all slots that it may have"),
            Blocker::HostFull => (Kind::HostFull, "Its host uses all slots that it may have"),
            Blocker::NoSlot => (Kind::NoSlot, "All slots of the worker are in use"),
            Blocker::WorkerPauses => (
                Kind::WorkerPauses,
                "The worker pauses, because it could not make its last calls",
            ),
            Blocker::Turn => (
                Kind::Turn,
                "It is the turn of others, or it starts at any moment",
            ),
            Blocker::BeingStored => (
                Kind::BeingStored,
                "What was decided about it is being stored",
            ),
            Blocker::Singleton { .. } => (
                Kind::Singleton,
                "Another task has the key of its singleton, or comes first to it",
            ),
            Blocker::Debounced { .. } => (
                Kind::Debounce,
                "It waits until no other task with the key of its debounce comes",
            ),
        };
        let until = blocker.until().map(Iso);
        let task_id = match blocker {
            Blocker::OrderHead { task } | Blocker::Singleton { task } => Some(task.to_string()),
            _ => None,
        };
        Self {
            kind,
            until,
            task_id,
            message,
        }
    }
}

/// A part of a task's time.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Interval {
    kind: IntervalKind,
    #[schema(value_type = String, format = DateTime)]
    from: Iso,
    /// `null` while it goes on, and for an attempt of which the end is not known.
    #[schema(value_type = Option<String>, format = DateTime)]
    to: Option<Iso>,
    /// Number of the attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt: Option<u32>,
}

/// What a part of a task's time was spent on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum IntervalKind {
    /// It was not due yet.
    Delayed,
    /// It waited for its turn and for a slot; between attempts also for the end of the pause.
    Waited,
    /// An attempt was made.
    Attempt,
}

/// Tell why a task does not run.
///
/// What keeps it from running now, how many tasks are ahead of it, the earliest time at which it could start, and what its time was spent on
/// so far.
#[utoipa::path(
    get,
    path = "/v1/tasks/{id}/explain",
    operation_id = "tasks.task.explain",
    tag = "tasks",
    security(("api_key" = ["tasks:read"])),
    params(("id" = String, Path, description = "Id of the task")),
    responses(
        (status = 200, description = "Why it does not run", body = ExplanationEnvelope),
        (status = 400, description = "An unknown parameter, with `Prefer: handling=strict`", body = ErrorBody),
        (status = 404, description = "No such task", body = ErrorBody),
        (status = 503, description = "The partition has no owner right now; retry after `Retry-After`", body = ErrorBody),
    )
)]
pub(crate) async fn explain_task(
    State(state): State<TasksApi>,
    caller: Caller<TasksRead>,
    Id(id): Id<TaskId>,
    handling: Handling,
    LenientQuery(NoParameters {}, warnings): LenientQuery<NoParameters>,
) -> Result<axum::Json<ExplanationEnvelope>, ApiError> {
    let warnings = warnings.judge(handling)?;
    let mut view = lookup::find(&state, &caller.team, id).await?;
    let mut explained = None;
    if !view.status.is_terminal() {
        let (task, team) = (id, caller.team.clone());
        match ask_owner(&state, id, &OwnerRequest::Explain { task, team }).await? {
            OwnerReply::Explained(told) => explained = Some(told),
            OwnerReply::NotOpen => {
                // It has ended meanwhile, or its owner has not read its creation.
                view = lookup::find_as_of_now(&state, &caller.team, id).await?;
                if !view.status.is_terminal() {
                    return Err(no_owner());
                }
            }
            OwnerReply::Done { .. }
            | OwnerReply::Running
            | OwnerReply::AlreadyRequested { .. }
            | OwnerReply::TryAgain => return Err(no_owner()),
        }
    }
    Ok(axum::Json(ExplanationEnvelope {
        explanation: TaskExplanation::of(&view, explained, entropy::now()),
        warnings,
    }))
}

impl TaskExplanation {
    fn of(view: &TaskView, explained: Option<Explained>, now: Timestamp) -> Self {
        let explained = explained.unwrap_or(Explained {
            blocker: None,
            ahead: None,
            not_before: None,
        });
        Self {
            task_id: view.row.id.to_string(),
            status: view.status,
            blocked_by: explained.blocker.map(BlockedBy::from),
            ahead_of_you: explained.ahead.map(|ahead| ahead.min(MAX_AHEAD)),
            earliest_start: explained.not_before.map(Iso),
            intervals: intervals(&view.row, now),
        }
    }
}

/// What the time of a task was spent on.
fn intervals(row: &TaskRow, now: Timestamp) -> Vec<Interval> {
    let interval = |kind, from, to: Option<Timestamp>, attempt| Interval {
        kind,
        from: Iso(from),
        to: to.map(Iso),
        attempt,
    };
    let mut all = Vec::new();
    let mut from = row.created_at;
    if let Some(due) = row.not_before.filter(|due| *due > from) {
        // It may have ended before.
        let until = row.completed_at.map_or(due, |end| end.min(due));
        let is_over = until <= now;
        let to = is_over.then_some(until);
        all.push(interval(IntervalKind::Delayed, from, to, None));
        if !is_over {
            return all;
        }
        from = until;
    }
    for attempt in &row.attempts {
        let began = attempt.started_at;
        if began > from {
            all.push(interval(IntervalKind::Waited, from, Some(began), None));
        }
        let length = attempt.duration_ms.map(u64::from);
        let ended = length.map(|millis| began.plus(Duration::from_millis(millis)));
        let number = Some(attempt.number);
        all.push(interval(IntervalKind::Attempt, began, ended, number));
        from = from.max(ended.unwrap_or(began));
    }
    match row.completed_at {
        None if row.status != Status::Processing => {
            all.push(interval(IntervalKind::Waited, from, None, None));
        }
        // It ended without another attempt.
        Some(end) if end > from && ended_while_it_waited(row) => {
            all.push(interval(IntervalKind::Waited, from, Some(end), None));
        }
        _ => {}
    }
    all
}

/// Whether no attempt was running when it ended. Storing the end of an attempt takes a moment, too.
fn ended_while_it_waited(row: &TaskRow) -> bool {
    match row.end_reason {
        Some(
            EndReason::Cancelled
            | EndReason::Superseded
            | EndReason::Skipped
            | EndReason::Duplicate,
        ) => row.cancel_requested.is_none(),
        Some(EndReason::Expired) => row
            .attempts
            .last()
            .is_none_or(|last| last.duration_ms.is_some()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use waybill_domain::event::samples;
    use waybill_domain::event::{
        AttemptFailed, Failure, FailureKind, TaskCancelled, TaskEvent, TaskStarted,
    };
    use waybill_log::StreamSeq;

    #[test]
    fn the_time_of_a_task_is_told_from_its_creation_to_its_end() {
        let mut samples = samples::task_events().into_iter();
        let Some(TaskEvent::Created(mut created)) = samples.next() else {
            panic!("the first sample is a creation");
        };
        let id = created.id;
        let at = |seconds: i64| Timestamp(1_800_000_000_000 + seconds * 1_000);
        (created.at, created.not_before) = (at(0), Some(at(10)));
        let created = TaskEvent::Created(created);
        let row = TaskRow::evolve(None, StreamSeq(1), &created).expect("a row");
        let told = |row: &TaskRow, now| -> Vec<_> {
            let all = intervals(row, at(now));
            all.into_iter()
                .map(|one| {
                    let since = |at: Iso| (at.0.0 - 1_800_000_000_000) / 1_000;
                    (one.kind, since(one.from), one.to.map(since), one.attempt)
                })
                .collect()
        };
        use IntervalKind::{Attempt, Delayed, Waited};
        assert_eq!(told(&row, 5), [(Delayed, 0, None, None)]);
        assert_eq!(
            told(&row, 11),
            [(Delayed, 0, Some(10), None), (Waited, 10, None, None)]
        );
        let started = TaskEvent::Started(TaskStarted {
            id,
            attempt: 1,
            at: at(12),
            lease_until: at(60),
        });
        let row = TaskRow::evolve(Some(row), StreamSeq(2), &started).expect("a row");
        let before = [(Delayed, 0, Some(10), None), (Waited, 10, Some(12), None)];
        let mut expected = before.to_vec();
        expected.push((Attempt, 12, None, Some(1)));
        assert_eq!(told(&row, 13), expected);
        let failed = TaskEvent::AttemptFailed(AttemptFailed {
            id,
            attempt: 1,
            at: at(14),
            failure: Failure {
                kind: FailureKind::Connect,
                message: "no".into(),
            },
            answer: None,
            retry_at: at(20),
            counted: true,
        });
        let row = TaskRow::evolve(Some(row), StreamSeq(3), &failed).expect("a row");
        let mut expected = before.to_vec();
        expected.push((Attempt, 12, Some(14), Some(1)));
        expected.push((Waited, 14, None, None));
        assert_eq!(told(&row, 15), expected);
        let cancelled = TaskEvent::Cancelled(TaskCancelled::idle(id, at(16)));
        let row = TaskRow::evolve(Some(row), StreamSeq(4), &cancelled).expect("a row");
        expected.pop();
        expected.push((Waited, 14, Some(16), None));
        assert_eq!(told(&row, 99), expected);
    }
}
