//! Checks of what tasks of several queues share: limits, the windows of debounces, and purges of a queue.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::Check;
use super::evidence::{Entry, Evidence, Request, Step, Told};
use super::limits::{most_calls, running, too_fast};
use super::lives::{Life, Lives};

/// For so long a start may be used that a partition was handed out of a rate.
const HANDED_OUT_MS: i64 = 1_000;

pub(super) fn checks(evidence: &Evidence, lives: &Lives<'_>) -> Vec<Check> {
    let keys = by_key(evidence, lives);
    let of = |key: &str| keys.get(key).map_or(&[][..], Vec::as_slice);
    let with_slots = || {
        let shared = evidence.shared.iter();
        shared.filter_map(|shared| Some((&shared.key, shared.concurrency? as usize)))
    };
    let windows = windows(lives);
    let purged: Vec<_> = evidence
        .told
        .iter()
        .filter_map(|told| match told {
            Told::Purged { ids, is_done } => Some((ids, is_done)),
            _ => None,
        })
        .collect();
    vec![
        Check::over(
            "over all queues no more attempts run than a shared limit allows",
            with_slots(),
            |(key, most)| {
                running(of(key))
                    .find(|(_, running)| *running > most)
                    .map(|(seq, running)| format!("{key}: {running} of {most} run at {seq}"))
            },
        ),
        Check::over(
            "the target has no more calls at a time than a shared limit allows",
            with_slots(),
            |(key, most)| {
                let names = |request: &Request| request.limits.contains(key);
                let (at, calls) = most_calls(evidence, lives, names)?;
                (calls > most).then(|| format!("{key}: {calls} calls of {most} at {at} us"))
            },
        ),
        Check::over(
            "over all queues no more attempts start than a shared rate allows, and the starts that were handed out",
            evidence
                .shared
                .iter()
                .filter_map(|shared| Some((&shared.key, shared.rate?))),
            |(key, rate)| too_fast(key, rate, HANDED_OUT_MS, of(key)),
        ),
        Check::over(
            "when all have ended, as many run again as a shared limit allows: no share of it is lost",
            with_slots(),
            |(key, most)| {
                let entries = of(key);
                let crowd = entries.partition_point(|entry| entry.seq <= evidence.before_crowd);
                let reached = running(&entries[crowd..]).map(|(_, running)| running).max();
                (reached < Some(most)).then(|| format!("{key}: {reached:?} of {most}"))
            },
        ),
        Check::over(
            "when a debounced task starts, all before it in its window have started or given way",
            windows.values().flat_map(|tasks| {
                let starts = tasks.iter().enumerate();
                starts.filter_map(|(place, task)| Some((task, task.started?, &tasks[..place])))
            }),
            |(task, started, before)| {
                let waits = before.iter().find(|other| {
                    let first = other.started.into_iter().chain(other.ended).min();
                    first.is_none_or(|first| first > started)
                })?;
                Some(format!(
                    "{} starts at {started} before {}",
                    task.id, waits.id
                ))
            },
        ),
        Check::over(
            "a task that gave way to another one of its window never started, and names another one of it",
            windows
                .values()
                .flat_map(|tasks| tasks.iter().map(move |task| (task, tasks)))
                .filter_map(|(task, tasks)| Some((task, task.instead?, tasks))),
            |(task, instead, tasks)| {
                let other = tasks.iter().find(|other| other.id == instead);
                match other {
                    _ if task.started.is_some() => Some(format!("{} had started", task.id)),
                    None => Some(format!("{} gave way to {instead}", task.id)),
                    Some(other) if other.id == task.id => {
                        Some(format!("{} gave way to itself", task.id))
                    }
                    Some(_) => None,
                }
            },
        ),
        Check::over(
            "what waited in a queue when it was purged is cancelled, and never starts",
            purged
                .iter()
                .flat_map(|(ids, is_done)| ids.iter().map(move |id| (id, **is_done))),
            |(id, is_done)| {
                let life = lives.get(id)?;
                let started = life
                    .steps
                    .iter()
                    .any(|entry| matches!(entry.step, Step::Started(_)));
                match life.end() {
                    _ if !is_done => Some(format!("the purge of {id} is not completed")),
                    Some("cancelled") if !started => None,
                    end => Some(format!("{id} ended as {end:?}, started: {started}")),
                }
            },
        ),
    ]
}

/// The log, by shared key.
fn by_key<'a>(evidence: &'a Evidence, lives: &Lives<'a>) -> HashMap<&'a str, Vec<&'a Entry>> {
    let shared: HashSet<&str> = evidence
        .shared
        .iter()
        .map(|shared| shared.key.as_str())
        .collect();
    let mut keys: HashMap<_, Vec<_>> = HashMap::new();
    for entry in &evidence.log {
        let Some((_, request)) = lives.get(&entry.task).and_then(Life::request) else {
            continue;
        };
        for key in &request.limits {
            if shared.contains(key.as_str()) {
                keys.entry(key.as_str()).or_default().push(entry);
            }
        }
    }
    keys
}

/// A task with a debounce.
struct Debounced<'a> {
    id: &'a str,
    /// Positions of its first start and of its end.
    started: Option<u64>,
    ended: Option<u64>,
    /// The task that runs instead.
    instead: Option<&'a str>,
}

/// The tasks with a debounce by queue and key, in the order of their creation.
fn windows<'a>(lives: &Lives<'a>) -> BTreeMap<(&'a str, &'a str), Vec<Debounced<'a>>> {
    let mut found: BTreeMap<_, BTreeMap<u64, Debounced<'_>>> = BTreeMap::new();
    for (id, life) in lives.iter() {
        let Some((seq, request)) = life.request() else {
            continue;
        };
        let Some(key) = &request.debounce else {
            continue;
        };
        let position = |wanted: fn(&Step) -> bool| {
            let entry = life.steps.iter().find(|entry| wanted(&entry.step));
            entry.map(|entry| entry.seq)
        };
        let instead = life.steps.iter().find_map(|entry| match &entry.step {
            Step::Cancelled { instead, .. } => instead.as_deref(),
            _ => None,
        });
        let debounced = Debounced {
            id,
            started: position(|step| matches!(step, Step::Started(_))),
            ended: position(|step| step.ends().is_some()),
            instead,
        };
        let window = (request.queue.as_str(), key.as_str());
        found.entry(window).or_default().insert(seq, debounced);
    }
    let in_order = |(window, tasks): (_, BTreeMap<u64, Debounced<'a>>)| {
        (window, tasks.into_values().collect())
    };
    found.into_iter().map(in_order).collect()
}
