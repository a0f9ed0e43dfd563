//! What follows from an attempt, and from a delivery of a completion webhook.

use std::time::Duration;

use super::action::{CallKind, Running};
use super::open::Open;
use crate::event::task::USUAL_ANSWER_BYTES;
use crate::event::{
    Answer, AttemptFailed, Failure, FailureKind, Standing, TaskDead, TaskEnd, TaskEvent,
    TaskExpired, TaskSucceeded,
};
use crate::id::TaskId;
use crate::task::retry::{self, Backoff, Outcome, Verdict};
use crate::task::{cancel, steering};
use crate::time::{Times, Timestamp};

/// Attempts in a row that may be lost with their workers before each further one uses up a retry;
/// with the pauses between them, about an hour. Crashes and network failures end within that time.
/// A task whose attempts are still lost then is probably what kills its workers, and must not do so
/// for ever.
const MAX_LOST: u32 = 65;
/// Attempts in a row that the worker may be unable to make before each further one uses up a retry;
/// about a day.
const MAX_FAULTS: u32 = 1_450;
/// Longest pause after an attempt that was lost or could not be made.
const LONGEST_UNCOUNTED_PAUSE: Duration = Duration::from_secs(60);
/// Attempts of one task that may fail because the vault is unavailable; with the pauses between
/// them, about a day.
const MAX_WITHOUT_VAULT: u32 = 300;
/// Longest pause before the vault is tried again.
const LONGEST_VAULT_PAUSE: Duration = Duration::from_secs(300);
/// Pauses before the second and each further delivery of a completion webhook, in seconds: 8
/// deliveries over more than a day, so that a receiver may be down for a night. Standard Webhooks
/// recommends this schedule.
const DELIVERY_PAUSES: [u32; 7] = [5, 300, 1_800, 7_200, 18_000, 36_000, 36_000];

/// The end of a task that may make no further attempt.
pub(super) fn overdue(task: &Open, id: TaskId, now: Times) -> TaskEvent {
    match &task.last_failure {
        Some(last) if !task.has_expired(now) => TaskEvent::Dead(TaskDead {
            id,
            attempt: task.attempts,
            at: now.wall,
            failure: too_old(task, (**last).clone()),
            answer: None,
            cancels_to: None,
        }),
        last => TaskEvent::Expired(TaskExpired {
            id,
            attempt: None,
            at: now.wall,
            failure: too_late(task, last.as_deref(), now),
            cancels_to: None,
            waits: Vec::new(),
        }),
    }
}

/// The event that follows from an attempt's outcome. Once cancellation is requested, no further
/// attempt follows.
pub(super) fn after(
    task: &Open,
    id: TaskId,
    attempt: u32,
    outcome: Outcome,
    times: Times,
) -> TaskEvent {
    match judged(task, id, attempt, outcome, times) {
        TaskEvent::AttemptFailed(failed) if task.cancel_requested.is_some() => {
            TaskEvent::Cancelled(cancel::instead_of_retry(failed))
        }
        event => event,
    }
}

/// The same, without regard to a requested cancellation.
fn judged(task: &Open, id: TaskId, attempt: u32, outcome: Outcome, times: Times) -> TaskEvent {
    let now = times.wall;
    let verdict = retry::judge(&outcome, task.retry_on.as_deref(), task.success.as_deref());
    let (failure, answer) = match outcome {
        Outcome::Answered(answer) if verdict == Verdict::Completed => {
            return TaskEvent::Succeeded(TaskSucceeded {
                id,
                attempt,
                at: now,
                answer,
                // Without a rule of the task's own, the status alone determines it.
                ok: task.success.is_some().then_some(true),
            });
        }
        Outcome::Answered(answer) => (retry::answer_failure(&answer), Some(answer)),
        Outcome::Failed(failure) => (failure, None),
    };
    let declined = answer.as_ref().and_then(steering::declines_retry);
    let dead = |failure, answer| {
        TaskEvent::Dead(TaskDead {
            id,
            attempt,
            at: now,
            failure,
            answer,
            cancels_to: None,
        })
    };
    let again = |failure, mut answer: Option<Answer>, retry_at, counted| {
        // This answer does not end the task, and there may be many, so only its beginning is kept.
        if let Some(answer) = &mut answer {
            answer.cut(USUAL_ANSWER_BYTES as usize);
        }
        TaskEvent::AttemptFailed(AttemptFailed {
            id,
            attempt,
            at: now,
            failure,
            answer,
            retry_at,
            counted,
        })
    };
    let mut failure = failure;
    if let Some(most) = uncounted(failure.kind) {
        if task.uncounted < most {
            let pause = Backoff::Exponential.pause(task.uncounted + 1);
            let pause = pause.min(LONGEST_UNCOUNTED_PAUSE);
            let retry_at = retry::after(pause, attempt, id, now);
            return again(failure, answer, retry_at, false);
        }
        failure
            .message
            .push_str(". After so many such attempts in a row, this one uses up a retry");
    }
    if failure.kind == FailureKind::VaultAway {
        let uncounted = attempt.saturating_sub(u32::from(task.failures));
        if uncounted > MAX_WITHOUT_VAULT {
            return dead(failure, answer);
        }
        let pause = Backoff::Exponential.pause(uncounted.max(1));
        let retry_at = retry::after(pause.min(LONGEST_VAULT_PAUSE), attempt, id, now);
        return again(failure, answer, retry_at, false);
    }
    if verdict == Verdict::Hopeless {
        return dead(failure, answer);
    }
    if let Some(said) = declined {
        failure
            .message
            .push_str(&format!(". The target wants no retry ({said})"));
        return dead(failure, answer);
    }
    if task.has_expired(times) {
        let failure = too_late(task, Some(&failure), times);
        return TaskEvent::Expired(TaskExpired {
            id,
            attempt: Some(attempt),
            at: now,
            failure,
            cancels_to: None,
            waits: Vec::new(),
        });
    }
    if task.failures >= task.max_retries {
        return dead(failure, answer);
    }
    let wanted = answer
        .as_ref()
        .and_then(|answer| steering::retry_after(answer, now));
    let retry = u32::from(task.failures) + 1;
    let (own, bounds) = (&task.retry_pauses, &task.retry_bounds);
    let span = retry::pause(task.backoff, own, bounds, retry, wanted);
    let retry_at = retry::within(span, retry, id, now);
    if task.is_too_old_to_retry(times.elapsed.plus(retry_at.since(now))) {
        return dead(too_old(task, failure), answer);
    }
    again(failure, answer, retry_at, true)
}

/// How many failures of this kind in a row use up no retry; `None` if they always do, or have their
/// own rule.
fn uncounted(kind: FailureKind) -> Option<u32> {
    match kind {
        FailureKind::WorkerLost => Some(MAX_LOST),
        FailureKind::WorkerFault => Some(MAX_FAULTS),
        _ => None,
    }
}

/// The call that an event belongs to.
pub(super) fn call_of(event: &TaskEvent) -> Option<Running> {
    let (number, kind) = match event {
        TaskEvent::Started(e) => (e.attempt, CallKind::Attempt),
        TaskEvent::AttemptFailed(e) => (e.attempt, CallKind::Attempt),
        TaskEvent::Released(e) => (e.attempt, CallKind::Attempt),
        TaskEvent::Succeeded(e) => (e.attempt, CallKind::Attempt),
        TaskEvent::Dead(e) => (e.attempt, CallKind::Attempt),
        TaskEvent::Expired(e) => (e.attempt?, CallKind::Attempt),
        TaskEvent::Cancelled(e) => (e.attempt?, CallKind::Attempt),
        TaskEvent::CallbackSent(e) => (e.attempt, CallKind::Delivery),
        TaskEvent::CallbackFailed(e) => (e.attempt, CallKind::Delivery),
        TaskEvent::Created(_)
        | TaskEvent::RunRequested(_)
        | TaskEvent::CancelRequested(_)
        | TaskEvent::CallbackRequested(_)
        | TaskEvent::Restated(_)
        | TaskEvent::Purged(_)
        | TaskEvent::PriorityChanged(_)
        | TaskEvent::Progressed(_)
        | TaskEvent::Unblocked(_)
        | TaskEvent::LimitPaused(_)
        | TaskEvent::TargetDisabled(_) => return None,
    };
    Some(Running {
        task: event.id(),
        number,
        kind,
    })
}

/// Estimate of an event's size in the log; only answers and histories vary much.
pub(super) fn weight(event: &TaskEvent) -> usize {
    /// A generous estimate of everything else.
    const REST: usize = 1_024;
    /// Limit of a task's stored history.
    const HISTORY: usize = 16 * 1_024;
    let (answer, more) = match event {
        TaskEvent::Succeeded(e) => (Some(&e.answer), 0),
        TaskEvent::AttemptFailed(e) => (e.answer.as_ref(), 0),
        TaskEvent::Dead(e) => (e.answer.as_ref(), 0),
        TaskEvent::CallbackRequested(e) | TaskEvent::Restated(e) => {
            let answer = match &e.standing {
                Standing::Ended { end, .. } => match &**end {
                    TaskEnd::Succeeded(end) => Some(&end.answer),
                    TaskEnd::Dead(end) => end.answer.as_ref(),
                    TaskEnd::Expired(_) | TaskEnd::Cancelled(_) => None,
                },
                _ => None,
            };
            (answer, HISTORY + e.created.stored_bytes() as usize)
        }
        _ => (None, 0),
    };
    REST + more
        + answer.map_or(0, |answer| {
            let headers = answer.headers.iter();
            let headers = headers.map(|(name, value)| name.len() + value.len());
            answer.body.len() + headers.sum::<usize>()
        })
}

/// The failure of an attempt whose worker was lost.
pub(super) fn lost() -> Failure {
    Failure {
        kind: FailureKind::WorkerLost,
        message:
            "The worker was lost during the attempt; the target may or may not have been called"
                .into(),
    }
}

/// The failure of a task that passed its deadline or expired.
pub(super) fn too_late(task: &Open, last: Option<&Failure>, now: Times) -> Failure {
    let mut message = match (task.deadline, task.expires_in_ms) {
        (Some(deadline), _) if task.is_past_deadline(now) => {
            format!("Timed out: not completed before its deadline {deadline}")
        }
        (_, Some(millis)) => {
            #[expect(clippy::cast_precision_loss, reason = "at most a year")]
            let seconds = millis as f64 / 1000.0;
            format!("Timed out: not completed within expiresIn of {seconds} s")
        }
        _ => "Timed out: not completed in time".to_owned(),
    };
    if let Some(last) = last {
        message.push_str("; the last attempt: ");
        message.push_str(&last.message);
    }
    Failure {
        kind: FailureKind::Timeout,
        message,
    }
}

/// The failure of a task that would be older than its `maxAge` when it is retried.
pub(super) fn too_old(task: &Open, mut last: Failure) -> Failure {
    #[expect(clippy::cast_precision_loss, reason = "at most a year")]
    let seconds = task.retry_bounds.max_age_ms.unwrap_or_default() as f64 / 1000.0;
    last.message.push_str(&format!(
        ". Not retried: the retry would begin later than its maxAge of {seconds} s"
    ));
    last
}

/// The status of a successful delivery, or else its failure and when the next one is due.
pub(super) fn delivered(
    outcome: &Outcome,
    task: &Open,
    id: TaskId,
    number: u32,
    now: Timestamp,
) -> Result<u16, (Failure, Option<Timestamp>)> {
    let failure = match outcome {
        Outcome::Answered(answer) if (200..300).contains(&answer.status) => {
            return Ok(answer.status);
        }
        Outcome::Answered(answer) => retry::answer_failure(answer),
        Outcome::Failed(failure) => failure.clone(),
    };
    let hopeless = matches!(
        failure.kind,
        FailureKind::BlockedAddress | FailureKind::InvalidRequest
    );
    // A receiver that answers 410 Gone wants no further deliveries (Standard Webhooks, "Webhook
    // delivery"), and one that declines a retry gets no further delivery of this webhook.
    let unwanted = matches!(
        outcome,
        Outcome::Answered(answer)
            if answer.status == 410 || steering::declines_retry(answer).is_some()
    );
    let own = &task.webhook_pauses;
    let pauses = if own.is_empty() {
        &DELIVERY_PAUSES[..]
    } else {
        own
    };
    let pause = usize::try_from(number)
        .ok()
        .and_then(|number| pauses.get(number.checked_sub(1)?))
        .filter(|_| !hopeless && !unwanted);
    // A receiver may lengthen the pause and not shorten it: the pauses are what lets it be down for
    // a night.
    let wanted = match outcome {
        Outcome::Answered(answer) => steering::retry_after(answer, now),
        Outcome::Failed(_) => None,
    };
    let wanted = wanted.unwrap_or_default().min(retry::LONGEST);
    let retry_at = pause.map(|pause| {
        let pause = Duration::from_secs((*pause).into()).max(wanted);
        retry::after(pause, number, id, now)
    });
    Err((failure, retry_at))
}
