//! What the target received.

use std::collections::{HashMap, HashSet};

use super::Check;
use super::evidence::{Call, Entry, Evidence, Step};
use super::lives::{Life, Lives};

pub(super) fn checks(evidence: &Evidence, lives: &Lives<'_>) -> Vec<Check> {
    let attempts = || evidence.calls.iter().filter(|call| !call.webhook);
    let received: HashSet<(&str, u32, u16)> = attempts()
        .map(|call| (call.task.as_str(), call.attempt, call.status))
        .collect();
    let delivered: HashSet<&str> = evidence
        .calls
        .iter()
        .filter(|call| call.webhook)
        .map(|call| call.task.as_str())
        .collect();
    let mut highest: HashMap<&str, u32> = HashMap::new();
    let seen: HashSet<(&str, u32)> = attempts()
        .map(|call| (call.task.as_str(), call.attempt))
        .collect();
    let mut checks = vec![
        Check::over(
            "no call is made before its start is in the log",
            attempts(),
            |call| early(call, lives),
        ),
        Check::over(
            "a task that succeeded was called and answered so",
            lives.iter().filter(|(_, life)| !is_pulled(life)),
            |(id, life)| {
                let missing = life.steps.iter().find_map(|entry| match entry.step {
                    Step::Succeeded { attempt, status } => {
                        (!received.contains(&(id, attempt, status))).then_some((attempt, status))
                    }
                    _ => None,
                })?;
                Some(format!(
                    "{id}: attempt {} was never received and answered with {}",
                    missing.0, missing.1
                ))
            },
        ),
        Check::over(
            "the attempts of a task arrive in order",
            attempts(),
            |call| {
                let before = highest.entry(&call.task).or_default();
                let late = call.attempt < *before;
                *before = call.attempt.max(*before);
                // A worker that lost its partition may still finish a call that it has begun:
                // delivery is at least once.
                let excused = lives
                    .get(&call.task)
                    .is_some_and(|life| life.was_lost(call.attempt));
                (late && !excused)
                    .then(|| format!("{}: attempt {} after {before}", call.task, call.attempt))
            },
        ),
        Check::over(
            "a completion webhook is delivered when the task has ended",
            lives.iter().filter(|(_, life)| life.wants_webhook()),
            |(id, life)| {
                if !life.webhook_closed() {
                    return Some(format!("{id}: neither delivered nor given up"));
                }
                let sent = life
                    .steps
                    .iter()
                    .any(|entry| entry.step == Step::CallbackSent);
                (sent && !delivered.contains(id))
                    .then(|| format!("{id}: recorded as delivered, but not received"))
            },
        ),
        Check::over(
            "an attempt that failed was seen by the target, or its worker was lost or at fault",
            failures(evidence, lives),
            |(entry, attempt, lost)| {
                let seen = lost || seen.contains(&(entry.task.as_str(), attempt));
                (!seen).then(|| format!("{}: attempt {attempt} at {}", entry.task, entry.seq))
            },
        ),
    ];
    // The check would fail for lack of cases if no restart was planned.
    if !evidence.planned.is_empty() {
        checks.push(Check::over(
            "a restart that was planned loses no attempt",
            &evidence.planned,
            |window| {
                let lost: Vec<String> = failures(evidence, lives)
                    .filter(|(entry, _, lost)| {
                        *lost && (window.after..window.until).contains(&(entry.seq - 1))
                    })
                    .map(|(entry, attempt, _)| format!("{} attempt {attempt}", entry.task))
                    .collect();
                (!lost.is_empty()).then(|| format!("{window:?}: {}", lost.join(", ")))
            },
        ));
    }
    checks
}

fn is_pulled(life: &Life<'_>) -> bool {
    life.request().is_some_and(|(_, request)| request.pulled)
}

/// Attempts of tasks that are called which failed: the event, the attempt's number, and whether its worker was lost.
fn failures<'a>(
    evidence: &'a Evidence,
    lives: &'a Lives<'_>,
) -> impl Iterator<Item = (&'a Entry, u32, bool)> {
    let is_called = |entry: &&Entry| !lives.get(&entry.task).is_some_and(is_pulled);
    let called = evidence.log.iter().filter(is_called);
    called.filter_map(|entry| match entry.step {
        Step::AttemptFailed { attempt, lost } => Some((entry, attempt, lost)),
        _ => None,
    })
}

fn early(call: &Call, lives: &Lives<'_>) -> Option<String> {
    let Call {
        task,
        attempt,
        time_us,
        ..
    } = call;
    let Some(started_ms) = lives.get(task).and_then(|life| life.started_ms(*attempt)) else {
        return Some(format!(
            "{task}: attempt {attempt} was received, but never started"
        ));
    };
    // Both times are from this machine's clock; the log's is truncated to milliseconds.
    let started_us = u64::try_from(started_ms).unwrap_or(0) * 1000;
    (*time_us < started_us).then(|| {
        format!(
            "{task}: attempt {attempt} was received {} us before its start",
            started_us - time_us
        )
    })
}
