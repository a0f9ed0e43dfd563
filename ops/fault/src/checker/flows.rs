//! Checks of workflows: tasks that run after others.

use std::collections::{BTreeMap, BTreeSet};

use super::Check;
use super::evidence::{Evidence, Member, Step, Told};
use super::kept::Gone;
use super::lives::{Life, Lives};

/// A task of a workflow.
#[derive(Clone, Copy)]
struct Of<'a> {
    id: &'a str,
    member: &'a Member,
    life: &'a Life<'a>,
}

/// What was stored together: the tasks of a workflow, or those of a retry of it, which has a number from 1.
type Families<'a> = BTreeMap<(&'a str, u16), Vec<Of<'a>>>;

pub(super) fn checks(evidence: &Evidence, lives: &Lives<'_>, gone: &Gone<'_>) -> Vec<Check> {
    let mut families = Families::new();
    for (id, life) in lives.iter() {
        if let Some(member) = life.request().and_then(|(_, of)| of.member.as_ref()) {
            let family = families.entry((&member.workflow, member.retry));
            family.or_default().push(Of { id, member, life });
        }
    }
    let members = || families.values().flatten().copied();
    let told = || evidence.told.iter();
    vec![
        Check::over(
            "the tasks of a workflow are all made, or none",
            &families,
            |((flow, retry), family)| {
                let names: BTreeSet<_> = family.iter().map(|of| &of.member.name).collect();
                let of = family.first().map_or(0, |of| usize::from(of.member.of));
                (names.len() != of || family.len() != of).then(|| {
                    let (made, names) = (family.len(), names.len());
                    format!("{flow}, retry {retry}: {made} tasks with {names} names of {of}")
                })
            },
        ),
        Check::over(
            "a workflow that was answered with 201 is in the log",
            told().filter_map(|told| match told {
                Told::Flow { id, tasks } => Some((id.as_str(), *tasks)),
                _ => None,
            }),
            |(flow, tasks)| {
                let made = families.get(&(flow, 0)).map_or(0, Vec::len);
                (made != tasks).then(|| format!("{flow} has {made} tasks of {tasks}"))
            },
        ),
        Check::over(
            "a task of a workflow runs after those that it waits for have completed",
            members().filter(|of| !of.member.after.is_empty()),
            |of| {
                let started = of.life.steps.iter();
                let started = started.filter(|entry| matches!(entry.step, Step::Started(_)));
                let first = started.map(|entry| entry.seq).min()?;
                let is_early = |other: &&String| {
                    let completed = lives.get(other.as_str()).and_then(completed);
                    completed.is_none_or(|seq| seq > first)
                };
                let early = of.member.after.iter().filter(is_early).count();
                let may_run = if of.member.any {
                    early < of.member.after.len()
                } else {
                    early == 0
                };
                (!may_run).then(|| format!("{} starts at {first}, before {early} others", of.id))
            },
        ),
        Check::over(
            "a task of a workflow is cancelled because of others just if it can never run",
            members().filter(|of| !of.member.after.is_empty()),
            |of| {
                let never = never_runs(of.member, lives);
                match (never, because_of_others(of.life), of.life.end()) {
                    (true, true, _) | (false, false, _) => None,
                    // Somebody else was faster.
                    (true, false, Some("cancelled")) if !has_started(of.life) => None,
                    (_, _, end) => {
                        Some(format!("{} ends as {end:?}, it never runs: {never}", of.id))
                    }
                }
            },
        ),
        Check::over(
            "nothing of a workflow starts once its cancellation is answered",
            told().filter_map(|told| match told {
                Told::FlowCancelled { id, told_ms } => Some((id.as_str(), *told_ms)),
                _ => None,
            }),
            |(flow, told_ms)| {
                let family = families.get(&(flow, 0))?;
                let late = family.iter().find_map(|of| {
                    let steps = of.life.steps.iter();
                    let mut late = steps.filter(|entry| {
                        matches!(entry.step, Step::Started(_)) && entry.stored_ms > told_ms
                    });
                    Some((of.id, late.next()?.seq))
                });
                late.map(|(id, seq)| format!("{flow}: {id} starts at {seq}"))
            },
        ),
        Check::over(
            "a retry of a workflow makes again what failed and what was cancelled because of it",
            told().filter_map(|told| match told {
                Told::FlowRetried { id } => Some(id.as_str()),
                _ => None,
            }),
            |flow| {
                let before = families.get(&(flow, 0))?.iter();
                let failed = before.filter(|of| {
                    because_of_others(of.life)
                        || matches!(of.life.end(), Some("failed" | "timeout"))
                });
                let failed: BTreeMap<_, _> = failed.map(|of| (&of.member.name, of.id)).collect();
                let again = families.get(&(flow, 1));
                let again: BTreeSet<_> = again
                    .into_iter()
                    .flatten()
                    .map(|of| &of.member.name)
                    .collect();
                // What has left the log since then, or before, is not made again.
                let mut missing = failed.iter().filter(|(name, _)| !again.contains(*name));
                let missing = missing.find(|(_, id)| !gone.is_gone(id));
                let extra = again.iter().find(|name| !failed.contains_key(*name));
                (missing.is_some() || extra.is_some())
                    .then(|| format!("{flow}: without {missing:?}, with {extra:?}"))
            },
        ),
    ]
}

/// Where it completed.
fn completed(life: &Life<'_>) -> Option<u64> {
    let mut steps = life.steps.iter();
    let end = steps.find(|entry| matches!(entry.step, Step::Succeeded { .. }))?;
    Some(end.seq)
}

fn has_started(life: &Life<'_>) -> bool {
    let mut steps = life.steps.iter();
    steps.any(|entry| matches!(entry.step, Step::Started(_)))
}

fn because_of_others(life: &Life<'_>) -> bool {
    life.steps.iter().any(|entry| {
        matches!(
            entry.step,
            Step::Cancelled {
                predecessor: true,
                ..
            }
        )
    })
}

/// Whether those that it runs after have ended so that it cannot run any more.
fn never_runs(member: &Member, lives: &Lives<'_>) -> bool {
    let has_ended_otherwise = |other: &String| {
        let end = lives.get(other).and_then(Life::end);
        end.is_some_and(|end| end != "completed")
    };
    if member.any {
        member.after.iter().all(has_ended_otherwise)
    } else {
        member.after.iter().any(has_ended_otherwise)
    }
}
