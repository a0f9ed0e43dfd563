//! Checks of what read models and subscribers show, and of what the processes printed.

use std::collections::HashMap;

use super::Check;
use super::evidence::{Entry, Evidence, Listed, Streamed};
use super::kept::Gone;
use super::lives::{Life, Lives};

pub(super) fn checks(evidence: &Evidence, lives: &Lives<'_>, gone: &Gone<'_>) -> Vec<Check> {
    let as_the_log = |listed: &Listed| {
        let end = lives.get(&listed.id).and_then(Life::end);
        (end != Some(&listed.status))
            .then(|| format!("{} is {} and ended as {end:?}", listed.id, listed.status))
    };
    let mut times: HashMap<&str, usize> = HashMap::new();
    for listed in &evidence.listed {
        *times.entry(&listed.id).or_default() += 1;
    }
    vec![
        Check::over(
            "a task reads as the log ends it",
            &evidence.read,
            as_the_log,
        ),
        Check::over(
            "a task is listed as the log ends it",
            &evidence.listed,
            as_the_log,
        ),
        Check::over("the list holds every task once", lives.iter(), |(id, _)| {
            let (found, kept) = (times.get(id).copied().unwrap_or(0), !gone.is_gone(id));
            (found != usize::from(kept)).then(|| format!("{id} is listed {found} times"))
        }),
        Check::over(
            "a stream has every event once, in order, over all its connections",
            &evidence.streamed,
            |stream| wrong(stream, &evidence.log, evidence.first()),
        ),
        Check::over("no process prints a secret", &evidence.outputs, |output| {
            (!output.secrets.is_empty())
                .then(|| format!("{} prints {}", output.process, output.secrets.join(" and ")))
        }),
        Check::over("no process panics", &evidence.outputs, |output| {
            let first = output.panics.first()?;
            Some(format!("{}: {first}", output.process))
        }),
    ]
}

/// The name of what a stream says in place of events that were purged, with the last position that is gone.
const GAP: &str = "gap";

/// The first event in which a stream differs from the log, of which everything before `first` was purged in the end.
fn wrong(stream: &Streamed, log: &[Entry], first: u64) -> Option<String> {
    let Streamed {
        name,
        after,
        events,
        connections,
    } = stream;
    let mut expected = log.iter().filter(|entry| entry.seq > *after).peekable();
    let mut got = events.iter();
    loop {
        let got = got.next();
        if let Some((id, kind)) = got
            && kind == GAP
            && *id < first
        {
            while expected.next_if(|entry| entry.seq <= *id).is_some() {}
            continue;
        }
        let expected = match (expected.next(), got) {
            (None, None) => return None,
            (Some(entry), Some((id, kind))) if entry.seq == *id && entry.step.name() == kind => {
                continue;
            }
            (expected, _) => expected.map(|entry| (entry.seq, entry.step.name())),
        };
        return Some(format!(
            "{name}: {got:?} instead of {expected:?}, over {connections} connections"
        ));
    }
}
