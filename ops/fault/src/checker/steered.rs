//! Checks of operations: one thing that is done to many tasks.

use std::collections::{HashMap, HashSet};

use super::Check;
use super::evidence::{Evidence, Step, Told};
use super::kept::Gone;
use super::lives::{Life, Lives};

/// So many tasks of an operation may come sooner than its rate allows: another gateway that goes on with it, or the same one after a restart,
/// begins to count anew.
const SOONER: usize = 2;

pub(super) fn checks(evidence: &Evidence, lives: &Lives<'_>, gone: &Gone<'_>) -> Vec<Check> {
    let mut again: HashMap<&str, Vec<i64>> = HashMap::new();
    for (_, life) in lives.iter() {
        if let Some((_, request)) = life.request()
            && let Some(of) = &request.again
            && let Some(created) = life.steps.first()
        {
            again.entry(of).or_default().push(created.stored_ms);
        }
    }
    let told = &evidence.told;
    let retried: Vec<_> = told
        .iter()
        .filter_map(|told| match told {
            Told::Retried {
                ids,
                rate,
                asked_ms,
                is_done,
            } => Some((ids, *rate, *asked_ms, *is_done)),
            _ => None,
        })
        .collect();
    let asked_for: HashSet<&str> = told
        .iter()
        .filter_map(|told| match told {
            Told::Again { of, .. } => Some(of.as_str()),
            _ => None,
        })
        .collect();
    let undone = told.iter().filter_map(|told| match told {
        Told::PrioritiesUndone {
            ids,
            priorities,
            is_done,
        } => Some(ids.iter().map(move |id| (id, *priorities, *is_done))),
        _ => None,
    });
    let called_off = told.iter().filter_map(|told| match told {
        Told::CalledOff {
            ids,
            told_ms,
            until_ms,
            is_done,
        } => Some((ids, *told_ms, *until_ms, *is_done)),
        _ => None,
    });
    vec![
        Check::over(
            "an operation retries each of its dead letters, once",
            retried
                .iter()
                .flat_map(|(ids, _, _, is_done)| ids.iter().map(move |id| (id, *is_done))),
            |(id, is_done)| {
                let times = again.get(id.as_str()).map_or(0, Vec::len);
                match times {
                    _ if !is_done => Some(format!("the operation for {id} is not completed")),
                    1 => None,
                    // It may have been gone when its turn came.
                    0 if gone.is_gone(id) => None,
                    _ => Some(format!("{id} is retried {times} times")),
                }
            },
        ),
        Check::over(
            "an operation takes no more tasks a second than it was told",
            &retried,
            |(ids, rate, asked_ms, _)| {
                // Without those that others were told are retried: it may have been them.
                let own = ids.iter().filter(|id| !asked_for.contains(id.as_str()));
                let made = own.filter_map(|id| again.get(id.as_str())?.first());
                let mut made: Vec<_> = made.filter(|made| *made >= asked_ms).collect();
                made.sort_unstable();
                let too_soon = (0..).zip(&made).skip(SOONER).find(|(number, made)| {
                    let place = number - i64::try_from(SOONER).unwrap_or(0);
                    ***made < asked_ms + place * 1_000 / i64::from(*rate)
                });
                too_soon.map(|(number, made)| {
                    format!(
                        "task {number} at {rate} a second comes after {} ms",
                        *made - asked_ms
                    )
                })
            },
        ),
        Check::over(
            "a change of priorities reaches each task, and is undone for each",
            undone.flatten(),
            |(id, (before, after), is_done)| {
                let changes = changes(lives.get(id)?);
                let expected = [(before, after), (after, before)];
                match is_done {
                    false => Some(format!("the operation for {id} is not completed")),
                    true => (changes != expected).then(|| format!("{id} has {changes:?}")),
                }
            },
        ),
        Check::over(
            "after it was called off an operation takes no more than one second's tasks, and what is left can be cancelled",
            called_off,
            |(ids, told_ms, until_ms, is_done)| {
                let ends = ids.iter().filter_map(|id| {
                    let end = lives
                        .get(id)?
                        .steps
                        .iter()
                        .find(|entry| entry.step.ends().is_some())?;
                    Some(end.stored_ms)
                });
                let after = ends
                    .filter(|end| (told_ms + 1..until_ms).contains(end))
                    .count();
                match is_done {
                    false => Some(format!("{ids:?} are not all cancelled")),
                    true => {
                        (after > 1).then(|| format!("{after} of {ids:?} are cancelled afterwards"))
                    }
                }
            },
        ),
    ]
}

fn changes(life: &Life<'_>) -> Vec<(u8, u8)> {
    let changes = life.steps.iter().filter_map(|entry| match entry.step {
        Step::PriorityChanged { from, to } => Some((from, to)),
        _ => None,
    });
    changes.collect()
}
