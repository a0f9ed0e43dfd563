//! Checks of the answers that clients were given.

use std::collections::{HashMap, HashSet};

use super::Check;
use super::evidence::{Evidence, Told};
use super::kept::Gone;
use super::lives::Lives;

pub(super) fn checks(evidence: &Evidence, lives: &Lives<'_>, gone: &Gone<'_>) -> Vec<Check> {
    let told = &evidence.told;
    let accepted = || {
        told.iter().filter_map(|told| match told {
            Told::Accepted { key, id } => Some((key.as_deref(), id.as_str())),
            _ => None,
        })
    };
    let mut first: HashMap<&str, &str> = HashMap::new();
    let keyed = accepted().filter_map(|(key, id)| Some((key?, id)));
    let unknown: HashSet<&str> = told
        .iter()
        .filter_map(|told| match told {
            Told::NotFound { id, told_ms } if !gone.may_be_unknown(id, *told_ms) => {
                Some(id.as_str())
            }
            _ => None,
        })
        .collect();
    vec![
        Check::over(
            "what was answered with 201 is in the log",
            accepted(),
            |(_, id)| {
                lives
                    .get(id)
                    .is_none()
                    .then(|| format!("{id} was accepted and is lost"))
            },
        ),
        Check::over(
            "the same idempotency key is answered with the same task",
            keyed,
            |(key, id)| {
                let earlier = *first.entry(key).or_insert(id);
                let is_other = earlier != id && !gone.excuses(lives, earlier, id);
                is_other.then(|| format!("{key} is {earlier} and {id}"))
            },
        ),
        Check::over(
            "what was answered as cancelled is cancelled",
            told.iter().filter_map(|told| match told {
                Told::Cancelled { id } => Some(id),
                _ => None,
            }),
            |id| match lives.get(id).and_then(super::lives::Life::end) {
                Some("cancelled") => None,
                other => Some(format!("{id} ended as {other:?}")),
            },
        ),
        Check::over(
            "a final status that was read stays",
            told.iter().filter_map(|told| match told {
                Told::Status { id, status } => Some((id, status)),
                _ => None,
            }),
            |(id, status)| {
                let end = lives.get(id).and_then(super::lives::Life::end);
                let is_final =
                    ["completed", "failed", "timeout", "cancelled"].contains(&status.as_str());
                (is_final && end != Some(status))
                    .then(|| format!("{id} was read as {status} and ended as {end:?}"))
            },
        ),
        Check::over(
            "an accepted task is never unknown",
            accepted(),
            |(_, id)| {
                unknown
                    .contains(id)
                    .then(|| format!("{id} was answered with 404"))
            },
        ),
        Check::over(
            "503 comes with Retry-After, and nothing hangs or breaks",
            told,
            |told| match told {
                Told::Unavailable {
                    what,
                    retry_after: false,
                } => Some(format!("{what}: 503 without Retry-After")),
                Told::NoAnswer { what, waited_ms } => {
                    Some(format!("{what}: no answer within {waited_ms} ms"))
                }
                Told::Odd { what, status, body } => Some(format!("{what}: {status} {body}")),
                _ => None,
            },
        ),
    ]
}
