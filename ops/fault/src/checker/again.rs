//! Checks of tasks that clients told to run now, or to be done again.

use std::collections::HashMap;

use super::Check;
use super::evidence::{Evidence, Step, Told};
use super::lives::{Life, Lives};

pub(super) fn checks(evidence: &Evidence, lives: &Lives<'_>) -> Vec<Check> {
    let told = &evidence.told;
    let again = || {
        told.iter().filter_map(|told| match told {
            Told::Again {
                of,
                id,
                as_dead_letter,
            } => Some((of.as_str(), id.as_str(), *as_dead_letter)),
            _ => None,
        })
    };
    let mut retried: HashMap<&str, &str> = HashMap::new();
    vec![
        Check::over(
            "a task that was told to run now became ready then, unless its time had come",
            told.iter().filter_map(|told| match told {
                Told::RunNow { id, told_ms } => Some((id, *told_ms)),
                _ => None,
            }),
            |(id, told_ms)| {
                let life = lives.get(id)?;
                let requested = life
                    .steps
                    .iter()
                    .any(|entry| entry.step == Step::RunRequested);
                let due_ms = life.request()?.1.due_ms?;
                let created_ms = life.steps.first()?.stored_ms;
                let was_due = due_ms <= told_ms || evidence.is_clock_wrong(created_ms, told_ms);
                (!requested && !was_due).then(|| format!("{id}: it was due at {due_ms} only"))
            },
        ),
        Check::over(
            "a task that does another again says which",
            again(),
            |(of, id, _)| {
                let request = lives.get(id).and_then(Life::request);
                let says = request.and_then(|(_, request)| request.again.as_deref());
                (says != Some(of)).then(|| format!("{id} says {says:?} instead of {of}"))
            },
        ),
        Check::over(
            "a dead letter is retried once, whoever asks how often",
            again().filter(|(_, _, as_dead_letter)| *as_dead_letter),
            |(of, id, _)| {
                let first = *retried.entry(of).or_insert(id);
                (first != id).then(|| format!("{of} is retried as {first} and as {id}"))
            },
        ),
    ]
}
