//! `GET /v1/tasks/{id}/explain`: why a task does not run, and what its time was spent on.
//!
//! Only the owner of the task's partition knows the order of service and its slots, so it is asked. What is past is in the read model.

mod whose;

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use waybill_domain::command::{Blocker, Explained, MAX_AHEAD, OwnerReply, OwnerRequest};
use waybill_domain::id::{TaskId, TeamId};
use waybill_domain::task::Status;
use waybill_domain::task::intervals::{self, Spent};
use waybill_domain::task::waits::WaitKind;
use waybill_domain::time::Timestamp;
use waybill_projector::query::TaskView;

use super::lookup;
use crate::state::TasksApi;
use waybill_commands::entropy;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::{InQueues, TasksRead};
use waybill_edge::error::{ApiError, ErrorBody};
use waybill_edge::iso::Iso;
use waybill_edge::lenient::{LenientQuery, NoParameters};
use waybill_edge::owners::no_owner;
use waybill_edge::path::Id;
use waybill_edge::warnings::{Handling, Warning};

/// `{"explanation": ...}`
#[derive(Debug, Serialize, ToSchema)]
pub struct ExplanationEnvelope {
    explanation: TaskExplanation,
    /// The parts of the request that have no effect: at most 20. Absent if all of it has an effect.
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
    /// Of a task that waits: since when it is known what kept it from running, since its worker has changed or the wait has many parts. `null`: from the
    /// beginning.
    #[schema(value_type = Option<String>, format = DateTime)]
    known_since: Option<Iso>,
}

/// What keeps a task from running.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BlockedBy {
    kind: BlockedByKind,
    /// Until when, if that is known.
    #[schema(value_type = Option<String>, format = DateTime)]
    until: Option<Iso>,
    /// The task that comes first, of `order`, `order_blocked`, `singleton` and `predecessors`.
    task_id: Option<String>,
    /// The key of the limit, of `limit_paused`, `limit_concurrency` and `limit_rate`.
    limit: Option<String>,
    /// Who has paused it, of `queue_paused` and `limit_paused`, or opened it, of `target_open`. `null` if nobody has: a host rests by its
    /// rule, and a limit pauses as a target has asked.
    #[schema(example = "user:01JX3E4W6T0000000000000000")]
    by: Option<String>,
    /// Why, in the words of whoever did that.
    reason: Option<String>,
    /// The same for people.
    message: &'static str,
}

/// Kinds of what keeps a task from running.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum BlockedByKind {
    /// It was delayed.
    NotDue,
    /// It pauses before its next attempt.
    RetryPause,
    /// Another task comes first by its `orderingKey`.
    Order,
    /// Its host fails, so that nothing is started there but a probe now and then.
    TargetOpen,
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
    /// One of its `limits` is paused.
    LimitPaused,
    /// As many attempts run as one of its `limits` allows.
    LimitConcurrency,
    /// As many attempts were started as one of its `limits` allows.
    LimitRate,
    /// No worker has claimed it.
    Unclaimed,
    /// A task before it by its `orderingKey` has failed, and blocks the others.
    OrderBlocked,
    /// It runs after other tasks of its workflow, which have not ended.
    Predecessors,
    /// Nobody listens to its queue or host, as somebody has to in the test environment.
    WaitingForListener,
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
            Blocker::TargetOpen { .. } => (
                Kind::TargetOpen,
                "Its host fails, so that nothing is started there but a probe now and then",
            ),
            Blocker::Singleton { .. } => (
                Kind::Singleton,
                "Another task has the key of its singleton, or comes first to it",
            ),
            Blocker::Debounced { .. } => (
                Kind::Debounce,
                "It waits until no other task with the key of its debounce comes",
            ),
            Blocker::LimitPaused { .. } => (Kind::LimitPaused, "One of its limits is paused"),
            Blocker::LimitConcurrency => (
                Kind::LimitConcurrency,
                "As many attempts are running as one of its limits allows",
            ),
            Blocker::LimitRate { .. } => (
                Kind::LimitRate,
                "As many attempts were started as one of its limits allows",
            ),
            Blocker::Unclaimed => (Kind::Unclaimed, "No worker has claimed it"),
            Blocker::WaitingForListener => (
                Kind::WaitingForListener,
                "It is waiting for a listener: nobody holds a lease for its queue or host",
            ),
            Blocker::OrderBlocked { .. } => (
                Kind::OrderBlocked,
                "A task before it by its orderingKey has failed, and blocks it until it is retried or unblocked",
            ),
            Blocker::Predecessors { .. } => (
                Kind::Predecessors,
                "It is waiting for predecessors: it runs after other tasks of its workflow, which have not ended",
            ),
        };
        let until = blocker.until().map(Iso);
        let task_id = match blocker {
            Blocker::OrderHead { task }
            | Blocker::OrderBlocked { task }
            | Blocker::Predecessors { task, .. }
            | Blocker::Singleton { task } => Some(task.to_string()),
            _ => None,
        };
        Self {
            kind,
            until,
            task_id,
            limit: None,
            by: None,
            reason: None,
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
    /// What kept it from running then. `null` of an attempt, and of a wait of which nothing else is known than that others had their turns or no slot was
    /// free.
    blocked_by: Option<IntervalBlocker>,
}

/// What kept a task from running for a part of its time.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct IntervalBlocker {
    /// `turn` also for want of a slot, and `order` also behind a failed task, of what is over.
    kind: BlockedByKind,
    /// The key of the limit, of `limit_paused`, `limit_concurrency` and `limit_rate`.
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<String>,
}

/// What a part of a task's time was spent on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum IntervalKind {
    /// It was not due yet.
    Delayed,
    /// It was kept from running, or paused before its next attempt.
    Waited,
    /// An attempt was made.
    Attempt,
}

impl From<WaitKind> for BlockedByKind {
    fn from(by: WaitKind) -> Self {
        match by {
            WaitKind::Debounce => Self::Debounce,
            WaitKind::Predecessors => Self::Predecessors,
            WaitKind::Order => Self::Order,
            WaitKind::Singleton => Self::Singleton,
            WaitKind::TargetOpen => Self::TargetOpen,
            WaitKind::QueuePaused => Self::QueuePaused,
            WaitKind::QueueConcurrency => Self::QueueConcurrency,
            WaitKind::QueueRate => Self::QueueRate,
            WaitKind::LimitPaused => Self::LimitPaused,
            WaitKind::LimitConcurrency => Self::LimitConcurrency,
            WaitKind::LimitRate => Self::LimitRate,
            WaitKind::Turn => Self::Turn,
            WaitKind::Unclaimed => Self::Unclaimed,
            WaitKind::WaitingForListener => Self::WaitingForListener,
        }
    }
}

impl From<intervals::Interval> for Interval {
    fn from(interval: intervals::Interval) -> Self {
        let (kind, blocker, attempt) = match interval.spent {
            Spent::Delayed => (
                IntervalKind::Delayed,
                Some((BlockedByKind::NotDue, None)),
                None,
            ),
            Spent::Paused => (
                IntervalKind::Waited,
                Some((BlockedByKind::RetryPause, None)),
                None,
            ),
            Spent::Waited(by) => {
                let by = by.map(|(by, limit)| (by.into(), limit));
                (IntervalKind::Waited, by, None)
            }
            Spent::Attempt(number) => (IntervalKind::Attempt, None, Some(number)),
        };
        Self {
            kind,
            from: Iso(interval.from),
            to: interval.to.map(Iso),
            attempt,
            blocked_by: blocker.map(|(kind, limit)| IntervalBlocker {
                kind,
                limit: limit.map(|key| key.as_str().to_owned()),
            }),
        }
    }
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
    caller: Caller<InQueues<TasksRead>>,
    Id(id): Id<TaskId>,
    handling: Handling,
    LenientQuery(NoParameters {}, warnings): LenientQuery<NoParameters>,
) -> Result<axum::Json<ExplanationEnvelope>, ApiError> {
    let warnings = warnings.judge(handling)?;
    let mut view = lookup::find(&state, &caller.team, id).await?;
    caller.may_use(&view.row.queue)?;
    let mut explained = None;
    if !view.status.is_terminal() {
        let (task, team) = (id, caller.team.clone());
        match state
            .owners
            .ask_about(id, &OwnerRequest::Explain { task, team })
            .await?
        {
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
            | OwnerReply::Health(_)
            | OwnerReply::Granted(_)
            | OwnerReply::Limits(_)
            | OwnerReply::Claimed(_)
            | OwnerReply::Reported { .. }
            | OwnerReply::Extended { .. }
            | OwnerReply::LeaseLost
            | OwnerReply::Several(_)
            | OwnerReply::Workers(_)
            | OwnerReply::Noted
            | OwnerReply::ExplainedMany(_)
            | OwnerReply::ExplainedWithKeys(_)
            | OwnerReply::TryAgain => return Err(no_owner()),
        }
    }
    Ok(axum::Json(ExplanationEnvelope {
        explanation: TaskExplanation::of(&state, (&caller.team, &view), explained, entropy::now()),
        warnings,
    }))
}

impl TaskExplanation {
    fn of(
        state: &TasksApi,
        (team, view): (&TeamId, &TaskView),
        explained: Option<Explained>,
        now: Timestamp,
    ) -> Self {
        let explained = explained.unwrap_or(Explained {
            blocker: None,
            ahead: None,
            not_before: None,
            limit: None,
            waits: Vec::new(),
            known_since: None,
        });
        let told = intervals::intervals(&view.row, &explained.waits, now);
        let mut intervals: Vec<Interval> = told.into_iter().map(Interval::from).collect();
        let blocked_by = explained.blocker.map(|blocker| {
            BlockedBy::named(state, (team, &view.row), (blocker, explained.limit), now)
        });
        // What goes on is known best by who was asked now.
        if let (Some(last), Some(now)) = (intervals.last_mut(), &blocked_by)
            && last.to.is_none()
            && last.attempt.is_none()
        {
            last.blocked_by = Some(IntervalBlocker {
                kind: now.kind,
                limit: now.limit.clone(),
            });
        }
        Self {
            task_id: view.row.id.to_string(),
            status: view.status,
            blocked_by,
            ahead_of_you: explained.ahead.map(|ahead| ahead.min(MAX_AHEAD)),
            earliest_start: explained.not_before.map(Iso),
            intervals,
            known_since: explained.known_since.map(Iso),
        }
    }
}
