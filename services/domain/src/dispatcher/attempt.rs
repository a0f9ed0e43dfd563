//! What follows an attempt, and what follows a delivery of a completion webhook.

use std::time::Duration;

use super::action::{CallKind, Running};
use super::open::Open;
use crate::event::{
    AttemptFailed, Failure, FailureKind, Standing, TaskDead, TaskEnd, TaskEvent, TaskExpired,
    TaskSucceeded,
};
use crate::id::TaskId;
use crate::task::retry::{self, Backoff, Outcome, Verdict};
use crate::time::{Times, Timestamp};

/// Attempts in a row that may be lost with their workers before each further one uses up a retry: with the pauses between them, about
/// an hour. Crashes and cut connections come to an end within that time; a task whose attempts are still lost is likely what kills
/// its workers, and must not do so for ever.
const MAX_LOST: u32 = 65;
/// Attempts in a row that the worker may be unable to make before each further one uses up a retry: about a day.
const MAX_FAULTS: u32 = 1_450;
/// The longest pause after an attempt that was lost or could not be made.
const LONGEST_UNCOUNTED_PAUSE: Duration = Duration::from_secs(60);
/// Attempts of one task that may fail for want of the vault: with the pauses between them, about a day.
const MAX_WITHOUT_VAULT: u32 = 300;
/// The longest pause before the vault is asked again.
const LONGEST_VAULT_PAUSE: Duration = Duration::from_secs(300);
/// Pauses before the second and each further delivery of a completion webhook, in seconds: 8 tries over more than a day, so that a
/// receiver may be down for a night. The schedule that Standard Webhooks recommends.
const DELIVERY_PAUSES: [u64; 7] = [5, 300, 1_800, 7_200, 18_000, 36_000, 36_000];

/// The event that an attempt's outcome leads to.
pub(super) fn after(
    task: &Open,
    id: TaskId,
    attempt: u32,
    outcome: Outcome,
    times: Times,
) -> TaskEvent {
    let now = times.wall;
    let verdict = retry::judge(&outcome, task.retry_on.as_deref());
    let (failure, answer) = match outcome {
        Outcome::Answered(answer) if verdict == Verdict::Completed => {
            return TaskEvent::Succeeded(TaskSucceeded {
                id,
                attempt,
                at: now,
                answer,
            });
        }
        Outcome::Answered(answer) => (retry::http_failure(answer.status), Some(answer)),
        Outcome::Failed(failure) => (failure, None),
    };
    let dead = |failure, answer| {
        TaskEvent::Dead(TaskDead {
            id,
            attempt,
            at: now,
            failure,
            answer,
        })
    };
    let again = |failure, answer, retry_at, counted| {
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
            let pause = Some(pause.min(LONGEST_UNCOUNTED_PAUSE));
            let retry_at = retry::due(Backoff::Exponential, attempt, pause, id, now);
            return again(failure, answer, retry_at, false);
        }
        failure
            .message
            .push_str(". It is so many attempts in a row that this one uses up a retry");
    }
    if failure.kind == FailureKind::VaultAway {
        let uncounted = attempt.saturating_sub(u32::from(task.failures));
        if uncounted > MAX_WITHOUT_VAULT {
            return dead(failure, answer);
        }
        let pause = Backoff::Exponential.pause(uncounted.max(1));
        let pause = Some(pause.min(LONGEST_VAULT_PAUSE));
        let retry_at = retry::due(Backoff::Exponential, attempt, pause, id, now);
        return again(failure, answer, retry_at, false);
    }
    if verdict == Verdict::Hopeless {
        return dead(failure, answer);
    }
    if task.is_overdue(times) {
        let failure = too_late(task, Some(&failure));
        return TaskEvent::Expired(TaskExpired {
            id,
            attempt: Some(attempt),
            at: now,
            failure,
        });
    }
    if task.failures >= task.max_retries {
        return dead(failure, answer);
    }
    let wanted = answer
        .as_ref()
        .and_then(|answer| retry::retry_after(answer, now));
    let retry_at = retry::due(task.backoff, u32::from(task.failures) + 1, wanted, id, now);
    again(failure, answer, retry_at, true)
}

/// How many failures of this kind in a row use up no retry; `None`: they always do, or have a rule of their own.
fn uncounted(kind: FailureKind) -> Option<u32> {
    match kind {
        FailureKind::WorkerLost => Some(MAX_LOST),
        FailureKind::WorkerFault => Some(MAX_FAULTS),
        _ => None,
    }
}

/// The call that this event is about.
pub(super) fn call_of(event: &TaskEvent) -> Option<Running> {
    let (number, kind) = match event {
        TaskEvent::Started(e) => (e.attempt, CallKind::Attempt),
        TaskEvent::AttemptFailed(e) => (e.attempt, CallKind::Attempt),
        TaskEvent::Released(e) => (e.attempt, CallKind::Attempt),
        TaskEvent::Succeeded(e) => (e.attempt, CallKind::Attempt),
        TaskEvent::Dead(e) => (e.attempt, CallKind::Attempt),
        TaskEvent::Expired(e) => (e.attempt?, CallKind::Attempt),
        TaskEvent::CallbackSent(e) => (e.attempt, CallKind::Delivery),
        TaskEvent::CallbackFailed(e) => (e.attempt, CallKind::Delivery),
        TaskEvent::Created(_) | TaskEvent::Cancelled(_) | TaskEvent::Restated(_) => return None,
    };
    Some(Running {
        task: event.id(),
        number,
        kind,
    })
}

/// About how many bytes the event takes in the log: what answers bring is all that varies.
pub(super) fn weight(event: &TaskEvent) -> usize {
    /// Everything else, generously.
    const REST: usize = 1_024;
    /// What is remembered of a task's past, at the most.
    const HISTORY: usize = 16 * 1_024;
    let (answer, more) = match event {
        TaskEvent::Succeeded(e) => (Some(&e.answer), 0),
        TaskEvent::AttemptFailed(e) => (e.answer.as_ref(), 0),
        TaskEvent::Dead(e) => (e.answer.as_ref(), 0),
        TaskEvent::Restated(e) => {
            let answer = match &e.standing {
                Standing::Ended { end, .. } => match end {
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

/// The failure of an attempt whose worker is gone.
pub(super) fn lost() -> Failure {
    Failure {
        kind: FailureKind::WorkerLost,
        message:
            "The worker was lost during the attempt; the target may or may not have been called"
                .into(),
    }
}

/// The failure of a task whose time over all attempts has passed.
pub(super) fn too_late(task: &Open, last: Option<&Failure>) -> Failure {
    let seconds = f64::from(task.max_wait_ms) / 1000.0;
    let mut message = format!("Timed out: not completed within maxWaitTime of {seconds} s");
    if let Some(last) = last {
        message.push_str("; the last attempt: ");
        message.push_str(&last.message);
    }
    Failure {
        kind: FailureKind::Timeout,
        message,
    }
}

/// The status of a delivery that went well, or its failure and when the next one is due.
pub(super) fn delivered(
    outcome: &Outcome,
    id: TaskId,
    number: u32,
    now: Timestamp,
) -> Result<u16, (Failure, Option<Timestamp>)> {
    let failure = match outcome {
        Outcome::Answered(answer) if (200..300).contains(&answer.status) => {
            return Ok(answer.status);
        }
        Outcome::Answered(answer) => retry::http_failure(answer.status),
        Outcome::Failed(failure) => failure.clone(),
    };
    let hopeless = matches!(
        failure.kind,
        FailureKind::BlockedAddress | FailureKind::InvalidRequest
    );
    // A receiver that says 410 Gone wants no further deliveries (Standard Webhooks, "Webhook delivery").
    let unwanted = matches!(outcome, Outcome::Answered(answer) if answer.status == 410);
    let pause = usize::try_from(number)
        .ok()
        .and_then(|number| DELIVERY_PAUSES.get(number.checked_sub(1)?))
        .filter(|_| !hopeless && !unwanted);
    let retry_at = pause.map(|pause| retry::after(Duration::from_secs(*pause), number, id, now));
    Err((failure, retry_at))
}
