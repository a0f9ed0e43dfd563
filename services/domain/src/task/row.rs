//! What read models store about a task: everything that a client may ask for, except large values.
//!
//! Bodies and headers stay in the log, where [`TaskRow::stored_seq`] and [`TaskRow::ended_seq`]
//! locate them. So a row is small however large the task is, and updating it never rewrites a body.
//! A row is a pure function of the events of its task in sequence order, so a row that is rebuilt
//! from the log equals the one that was updated step by step.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::actor::Actor;
use crate::event::{
    Answer, Failure, Remains, Standing, TaskCreated, TaskEnd, TaskEvent, TaskRestated,
};
use crate::flow::MemberOf;
use crate::id::{QueueName, TaskId, TeamId};
use crate::limit::TaskLimit;
use crate::recurring::RunOf;
use crate::seq::StreamSeq;
use crate::task::bounds::RetryBounds;
use crate::task::change_priority::ChangedPriority;
use crate::task::history;
use crate::task::job::JobTerms;
use crate::task::method::Method;
use crate::task::once::Once;
use crate::task::ordering::{OnFailure, Ordering};
use crate::task::pauses::OwnPauses;
use crate::task::priority::Priority;
use crate::task::pull::Progress;
use crate::task::rate_limited::OnRateLimited;
use crate::task::retry::{Backoff, RetryOn};
use crate::task::status::{EndReason, Status};
use crate::task::success::Success;
use crate::task::waits::Waited;
use crate::time::Timestamp;

pub use crate::task::history::{AnswerSummary, Attempt, Callback, MAX_ATTEMPTS, MAX_ERROR_BYTES};

/// A task as shown in lists and single reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskRow {
    pub id: TaskId,
    pub team: TeamId,
    /// The queue of the task.
    pub queue: QueueName,
    /// Stored status, which ignores that a delay may have passed: use [`TaskRow::status_at`].
    pub status: Status,
    /// The target's URL.
    pub url: String,
    pub method: Method,
    /// From 1 to 10; higher ones are served first.
    pub priority: Priority,
    /// Whose turn the task takes among the tasks of its queue.
    pub fairness_key: Option<String>,
    /// How many tasks of its fairness key start in a turn; `None`: one.
    pub fairness_weight: Option<u8>,
    /// The task starts after the end of those that were created before it with the same key.
    pub ordering: Option<Ordering>,
    /// The limits that it shares with other tasks.
    pub limits: Vec<TaskLimit>,
    /// Time limit of one attempt, in milliseconds.
    pub timeout_ms: u32,
    /// Time limit of one exchange with the target, in milliseconds.
    pub max_wait_ms: u32,
    /// The first attempt does not start earlier.
    pub not_before: Option<Timestamp>,
    /// Retries after the first attempt.
    pub max_retries: u16,
    /// How the pause before a retry grows.
    pub backoff: Backoff,
    /// Pauses before retries that the task lists itself; empty if it lists none.
    pub retry_pauses: OwnPauses,
    /// Conditions for a retry, if the task sets them.
    pub retry_on: Option<RetryOn>,
    /// Answers that count as a success; `None` for the contract's rule.
    pub success: Option<Success>,
    /// After this date, the task is not worked on.
    pub deadline: Option<Timestamp>,
    /// Milliseconds after acceptance when the task expires.
    pub expires_in_ms: Option<u64>,
    /// Words chosen by the client, to search for.
    pub tags: Vec<String>,
    /// Texts chosen by the client.
    pub metadata: BTreeMap<String, String>,
    /// Whether the end counts as a success; `None` while the task is open.
    pub ok: Option<bool>,
    /// Why the task ended; `None` while it is open.
    pub end_reason: Option<EndReason>,
    /// Whether to follow up to three redirects.
    pub follow_redirects: bool,
    /// URL to call when the task has ended.
    pub on_complete_url: Option<String>,
    /// The client's idempotency key.
    pub idempotency_key: Option<String>,
    /// Sequence of its creation in TASKS, by which lists are ordered.
    pub created_seq: StreamSeq,
    /// Sequence of the record in TASKS that has its headers and body: the creation or the latest
    /// restatement.
    pub stored_seq: StreamSeq,
    /// Sequence of a second creation in TASKS, which should never exist and changes nothing. A read
    /// model must know about it, since retention purges the first creation before the second.
    pub created_again: Option<StreamSeq>,
    /// Sequence of the record in TASKS that has the answer: the end, or the latest restatement
    /// after it.
    pub ended_seq: Option<StreamSeq>,
    /// Sequence of the last event applied.
    pub seq: StreamSeq,
    /// When the task was accepted.
    pub created_at: Timestamp,
    /// When the task last changed. Deliveries of its completion webhook do not count as changes.
    pub updated_at: Timestamp,
    /// When the first attempt began.
    pub started_at: Option<Timestamp>,
    /// When the task ended.
    pub completed_at: Option<Timestamp>,
    /// When the next attempt is due; `None` unless the task waits for a retry.
    pub retry_at: Option<Timestamp>,
    /// Retries used so far. An attempt that was lost with its worker uses none.
    pub retry_count: u16,
    /// The latest [`MAX_ATTEMPTS`] attempts, in order.
    pub attempts: Vec<Attempt>,
    /// Error of the last attempt, or that its answer was a redirect that was not followed.
    pub error: Option<String>,
    /// The last answer of the target, without headers and body.
    pub answer: Option<AnswerSummary>,
    /// State of the completion webhook, once a delivery was tried.
    pub callback: Option<Callback>,
    /// The latest event of this task that does not count, because its record is damaged or
    /// misplaced.
    #[serde(default)]
    pub damage: Option<Damage>,
    /// When cancellation was requested during an attempt.
    #[serde(default)]
    pub cancel_requested: Option<Timestamp>,
    /// Length of the body in bytes. `None` if there is no body, or if an older read model did not
    /// record it.
    #[serde(default)]
    pub body_bytes: Option<u64>,
    /// Bounds of pauses and retries.
    #[serde(default)]
    pub retry_bounds: RetryBounds,
    /// The ended task that it does again.
    #[serde(default)]
    pub replay_of: Option<TaskId>,
    /// What it shares with others of its queue that name the same key.
    #[serde(default)]
    pub once: Option<Box<Once>>,
    /// The task that ran instead, if it gave way.
    #[serde(default)]
    pub instead: Option<TaskId>,
    /// When it was removed from the dead letters.
    #[serde(default)]
    pub purged_at: Option<Timestamp>,
    /// The last change of its priority.
    #[serde(default)]
    pub changed_priority: Option<ChangedPriority>,
    /// Until when the worker that has claimed the task holds its lease, by the clock of the
    /// partition's owner; `None` while nobody has claimed it.
    #[serde(default)]
    pub lease_until: Option<Timestamp>,
    /// How far that worker has come.
    #[serde(default)]
    pub progress: Option<Progress>,
    /// The run of a schedule that it is.
    #[serde(default)]
    pub schedule: Option<Box<RunOf>>,
    /// What follows, beside a retry, when the target says that it is called too often.
    #[serde(default)]
    pub on_rate_limited: Option<OnRateLimited>,
    /// The member of a workflow that it is.
    #[serde(default)]
    pub member: Option<Box<MemberOf>>,
    /// Of a task that ended while it waited: what kept it from running until then.
    #[serde(default)]
    pub waits: Vec<Waited>,
    /// Who created it; `None` if no record tells any more.
    #[serde(default)]
    pub created_by: Option<Actor>,
    /// What the jobs API keeps of it, without long tags.
    #[serde(default)]
    pub job: Option<Box<JobTerms>>,
}

/// An event that does not count. Its contents are unknown, so the rest of the row reflects the log
/// without it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Damage {
    /// Sequence of the record in TASKS.
    pub seq: StreamSeq,
    /// Value of the header `Wb-Event`.
    pub event: String,
    /// Why it does not count: `malformed` or `misplaced`.
    pub reason: String,
}

impl TaskRow {
    /// The row after another event of its task. `None` if there is neither a row nor a creation to
    /// start from, because retention has purged it.
    ///
    /// Events must come in sequence order. An event that was already applied changes nothing, and
    /// an ended task is only changed by its completion webhook.
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

    /// Like [`TaskRow::evolve`], for an existing row.
    pub fn evolve_in_place(&mut self, seq: StreamSeq, event: &TaskEvent) {
        if seq > self.seq {
            self.seq = seq;
            self.take_in(seq, event);
        }
    }

    /// Records that an event of this task does not count.
    pub fn damaged(&mut self, damage: Damage) {
        if damage.seq > self.seq {
            self.seq = damage.seq;
            self.damage = Some(damage);
        }
    }

    /// A failed task for a creation that cannot be read, and for which no call can ever be made.
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
            ok: Some(false),
            end_reason: Some(EndReason::Dead),
            ..Self::bare(id, team, queue, damage.seq, at)
        };
        row.damage = Some(damage);
        row
    }

    /// Whether it failed for good: it did not expire, and nobody cancelled it.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        matches!(self.end_reason, Some(EndReason::Dead | EndReason::Timeout))
    }

    /// Whether it is among the dead letters: it failed for good, and nobody has removed it.
    #[must_use]
    pub fn is_dead_letter(&self) -> bool {
        self.is_dead() && self.purged_at.is_none()
    }

    /// The status at a given time: `delayed` becomes `pending` with the passing of time, without an
    /// event.
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
            fairness_key: e.fairness_key.clone(),
            fairness_weight: e.fairness_weight,
            ordering: e.ordering.clone(),
            limits: e.limits.clone(),
            on_rate_limited: e.on_rate_limited,
            timeout_ms: e.timeout_ms,
            max_wait_ms: e.max_wait_ms,
            not_before: e.not_before,
            max_retries: e.max_retries,
            backoff: e.backoff,
            retry_pauses: e.retry_pauses.clone(),
            retry_bounds: e.retry_bounds,
            replay_of: e.replay_of,
            once: e.once.clone(),
            retry_on: e.retry_on.clone(),
            success: e.success.clone(),
            deadline: e.deadline,
            expires_in_ms: e.expires_in_ms,
            tags: e.tags.clone(),
            metadata: e.metadata.clone(),
            follow_redirects: e.follow_redirects,
            on_complete_url: e.on_complete_url.clone(),
            idempotency_key: e.idempotency_key.clone(),
            body_bytes: e.body.as_ref().map(|body| body.len() as u64),
            schedule: e.schedule.clone(),
            member: e.member.clone(),
            created_by: e.created_by.clone(),
            job: e.job.as_ref().map(|job| Box::new(job.listed())),
            ..Self::bare(e.id, e.team.clone(), e.queue.clone(), seq, e.at)
        }
    }

    /// A row with nothing but the owner and the time of creation.
    fn bare(id: TaskId, team: TeamId, queue: QueueName, seq: StreamSeq, at: Timestamp) -> Self {
        Self {
            id,
            team,
            queue,
            status: Status::Pending,
            url: String::new(),
            method: Method::default(),
            priority: Priority::default(),
            fairness_key: None,
            fairness_weight: None,
            ordering: None,
            limits: Vec::new(),
            timeout_ms: 0,
            max_wait_ms: 0,
            not_before: None,
            max_retries: 0,
            backoff: Backoff::default(),
            retry_pauses: OwnPauses::default(),
            retry_on: None,
            success: None,
            deadline: None,
            expires_in_ms: None,
            tags: Vec::new(),
            metadata: BTreeMap::new(),
            ok: None,
            end_reason: None,
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
            cancel_requested: None,
            body_bytes: None,
            retry_bounds: RetryBounds::default(),
            replay_of: None,
            once: None,
            instead: None,
            purged_at: None,
            changed_priority: None,
            lease_until: None,
            progress: None,
            schedule: None,
            on_rate_limited: None,
            member: None,
            waits: Vec::new(),
            created_by: None,
            job: None,
        }
    }

    /// Whether it ended before that time, and nothing is left to be done about it: one that may block
    /// others by its ordering key is still to be retried.
    #[must_use]
    pub fn is_over_since(&self, time: Timestamp) -> bool {
        let ordering = self.ordering.as_ref();
        let blocks =
            ordering.is_some_and(|of| of.on_failure == OnFailure::Block) && self.is_dead_letter();
        self.completed_at.is_some_and(|at| at < time) && !blocks
    }

    /// Whether workers of the team claim the task, instead of a target being called.
    #[must_use]
    pub fn is_pulled(&self) -> bool {
        // Of a damaged creation the URL may be missing.
        self.url.is_empty() && self.damage.is_none()
    }

    /// The row that follows from a restatement alone, since older records may be purged.
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
        row.cancel_requested = e.cancel_requested;
        row.purged_at = e.history.purged_at;
        if let Some(changed) = &e.changed_priority {
            row.priority = changed.to;
            row.changed_priority = Some(changed.clone());
        }
        row.progress.clone_from(&e.history.progress);
        match &e.standing {
            // Somebody asked for it before its time.
            Standing::Ready { since }
                if e.attempts == 0 && e.created.not_before.is_some_and(|due| *since < due) =>
            {
                row.status = Status::Pending;
            }
            // Whether a delay has passed is not stored: a row keeps the status `delayed` until the
            // first attempt.
            Standing::Waiting { .. } | Standing::Ready { .. } if e.attempts == 0 => {}
            Standing::Waiting { until: due, .. } | Standing::Ready { since: due } => {
                row.status = Status::Pending;
                row.retry_at = Some(*due);
            }
            Standing::Running { lease, .. } => {
                row.status = Status::Processing;
                let lease = lease.as_ref();
                row.lease_until = lease.map(|lease| until(lease.since, lease.lease_ms));
            }
            Standing::Ended { end, .. } => {
                row.end(end, seq);
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
            // The history is replaced, so that a row rebuilt from the restatement on equals this
            // one.
            TaskEvent::CallbackRequested(e) | TaskEvent::Restated(e) => {
                *self = Self::restated(seq, e);
                return;
            }
            TaskEvent::CallbackSent(_) | TaskEvent::CallbackFailed(_) => {
                self.callback = Callback::of(event);
                return;
            }
            TaskEvent::Purged(e) => {
                // Nothing but an end makes a dead letter.
                if !self.is_dead() {
                    return;
                }
                self.purged_at.get_or_insert(e.at);
            }
            // They concern others.
            TaskEvent::Unblocked(_) | TaskEvent::LimitPaused(_) | TaskEvent::TargetDisabled(_) => {
                return;
            }
            _ if self.status.is_terminal() => return,
            TaskEvent::Started(e) => {
                self.status = Status::Processing;
                self.started_at.get_or_insert(e.at);
                self.retry_at = None;
                self.progress = None;
                let claim = e.claim.as_ref();
                self.lease_until = claim.map(|claim| until(e.at, claim.lease_ms));
                history::start_attempt(&mut self.attempts, e);
            }
            TaskEvent::Progressed(e) => {
                if self.lease_until.is_some() {
                    self.lease_until = Some(until(e.at, e.lease_ms));
                }
                match e.progress() {
                    None => return,
                    progress => self.progress = progress,
                }
            }
            TaskEvent::AttemptFailed(e) => {
                self.status = Status::Pending;
                self.lease_until = None;
                self.retry_at = Some(e.retry_at);
                self.retry_count += u16::from(e.counted);
                self.attempt_failed(e.attempt, e.at, &e.failure, e.answer.as_ref());
            }
            TaskEvent::Released(e) => {
                self.status = Status::Pending;
                self.lease_until = None;
                let sentence = Some(e.sentence().to_owned());
                history::end_attempt(&mut self.attempts, e.attempt, e.at, None, sentence.clone());
                self.answer = None;
                self.error = sentence;
            }
            TaskEvent::Succeeded(e) => {
                self.end(&TaskEnd::Succeeded(e.clone()), seq);
                history::end_attempt(&mut self.attempts, e.attempt, e.at, Some(&e.answer), None);
                self.answer = Some((&e.answer).into());
                self.error = e.answer.unfollowed_redirect();
            }
            TaskEvent::Dead(e) => {
                self.end(&TaskEnd::Dead(e.clone()), seq);
                if history::has_ended(&self.attempts, e.attempt) {
                    self.error = Some(history::sentence(&e.failure));
                } else {
                    self.attempt_failed(e.attempt, e.at, &e.failure, e.answer.as_ref());
                }
            }
            TaskEvent::Expired(e) => {
                self.end(&TaskEnd::Expired(e.clone()), seq);
                match e.attempt {
                    Some(attempt) => self.attempt_failed(attempt, e.at, &e.failure, None),
                    None => self.error = Some(history::sentence(&e.failure)),
                }
            }
            TaskEvent::RunRequested(e) => {
                self.status = Status::Pending;
                self.retry_at = self.retry_at.map(|_| e.at);
            }
            TaskEvent::CancelRequested(e) => {
                self.cancel_requested.get_or_insert(e.at);
            }
            TaskEvent::PriorityChanged(e) => {
                self.priority = e.priority;
                self.changed_priority = Some(e.into());
            }
            TaskEvent::Cancelled(e) => {
                self.end(&TaskEnd::Cancelled(e.clone()), seq);
                if e.after.is_some() || e.instead.is_some() || e.predecessor.is_some() {
                    self.error = e.sentence();
                }
                if let (Some(attempt), Some(sentence)) = (e.attempt, e.sentence()) {
                    let sentence = history::shortened(&sentence);
                    let said = Some(sentence.clone());
                    history::end_attempt(&mut self.attempts, attempt, e.at, None, said);
                    self.answer = None;
                    self.error = Some(sentence);
                }
            }
        }
        history::settle(&mut self.attempts, event);
        self.updated_at = event.at();
    }

    fn end(&mut self, end: &TaskEnd, seq: StreamSeq) {
        let (ok, reason) = (end.is_ok(), end.reason());
        self.status = end.status();
        (self.ok, self.end_reason) = (Some(ok), Some(reason));
        self.ended_seq = Some(seq);
        self.completed_at = Some(end.at());
        (self.retry_at, self.lease_until) = (None, None);
        self.waits = end.waits().to_vec();
        if let TaskEnd::Cancelled(end) = end {
            self.instead = end.instead.map(|instead| instead.task);
        }
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

fn until(since: Timestamp, lease_ms: u32) -> Timestamp {
    since.plus(Duration::from_millis(lease_ms.into()))
}

#[cfg(test)]
mod tests;
