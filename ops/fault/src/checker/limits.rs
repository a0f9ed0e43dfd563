//! Checks of what holds queues back: pauses, limits of concurrency and rates.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};

use super::Check;
use super::evidence::{Entry, Evidence, Rate, Request, Span, Step};
use super::lives::{Life, Lives};

/// A start tells the wall clock, which its worker reads after the monotonic one that the rate is about. So much may pass in between on a
/// machine that is busy, as long as it is less than a start's share of the rate.
pub(super) const BETWEEN_CLOCKS_MS: i64 = 50;
/// By how much the harness sets clocks wrong, in milliseconds.
const JUMP_MS: i64 = 3_600_000;

pub(super) fn checks(evidence: &Evidence, lives: &Lives<'_>) -> Vec<Check> {
    let queues = by_queue(evidence, lives);
    let of = |queue: &str| queues.get(queue).map_or(&[][..], Vec::as_slice);
    let with_slots = || {
        let limited = evidence.limited.iter();
        limited.filter_map(|limited| Some((&limited.queue, limited.concurrency? as usize)))
    };
    vec![
        Check::over(
            "nothing of a paused queue starts between the answer to its pause and its end",
            &evidence.pauses,
            |pause| {
                let of_queue = of(&pause.queue);
                start_in(
                    (&pause.queue, pause.span, pause.has_end),
                    of_queue,
                    evidence,
                )
            },
        ),
        Check::over(
            "of a limited queue no more attempts run than its limit",
            with_slots(),
            |(queue, most)| {
                running(of(queue))
                    .find(|(_, running)| *running > most)
                    .map(|(seq, running)| format!("{queue}: {running} of {most} run at {seq}"))
            },
        ),
        Check::over(
            "the target has no more calls of a limited queue at a time than its limit",
            with_slots(),
            |(queue, most)| {
                let is_of_queue = |request: &Request| request.queue == **queue;
                let (at, calls) = most_calls(evidence, lives, is_of_queue)?;
                (calls > most).then(|| format!("{queue}: {calls} calls of {most} at {at} us"))
            },
        ),
        Check::over(
            "of a queue with a rate no more attempts start than rate and burst allow",
            evidence
                .limited
                .iter()
                .filter_map(|limited| Some((&limited.queue, limited.rate?))),
            |(queue, rate)| too_fast(queue, rate, 0, of(queue)),
        ),
        Check::over(
            "when all have ended, a limited queue runs as many again as it may: no place of it is lost",
            with_slots(),
            |(queue, most)| {
                let entries = of(queue);
                let crowd = entries.partition_point(|entry| entry.seq <= evidence.before_crowd);
                let reached = running(&entries[crowd..]).map(|(_, running)| running).max();
                (reached < Some(most)).then(|| format!("{queue}: {reached:?} of {most}"))
            },
        ),
    ]
}

/// The log, by queue.
fn by_queue<'a>(evidence: &'a Evidence, lives: &Lives<'a>) -> HashMap<&'a str, Vec<&'a Entry>> {
    let wanted: HashSet<&str> = evidence
        .limited
        .iter()
        .map(|limited| limited.queue.as_str())
        .chain(evidence.pauses.iter().map(|pause| pause.queue.as_str()))
        .collect();
    let mut queues: HashMap<_, Vec<_>> = HashMap::new();
    for entry in &evidence.log {
        let request = lives.get(&entry.task).and_then(Life::request);
        if let Some((_, request)) = request
            && wanted.contains(request.queue.as_str())
        {
            queues
                .entry(request.queue.as_str())
                .or_default()
                .push(entry);
        }
    }
    queues
}

/// A start while its queue was paused, or its host was opened.
pub(super) fn start_in(
    (name, span, has_end): (&str, Span, bool),
    entries: &[&Entry],
    evidence: &Evidence,
) -> Option<String> {
    // A date is a matter of the worker's clock.
    if has_end && evidence.is_clock_wrong(span.from_ms, span.to_ms) {
        return None;
    }
    let first = entries.partition_point(|entry| entry.stored_ms <= span.from_ms);
    let started = entries[first..]
        .iter()
        .take_while(|entry| entry.stored_ms < span.to_ms)
        .find(|entry| matches!(entry.step, Step::Started(_)))?;
    Some(format!(
        "{} starts at {}, {} ms after {name} was held, for {} ms",
        started.task,
        started.seq,
        started.stored_ms - span.from_ms,
        span.to_ms - span.from_ms
    ))
}

/// After each start, its position and how many of these attempts are running.
pub(super) fn running<'a>(entries: &'a [&'a Entry]) -> impl Iterator<Item = (u64, usize)> + 'a {
    let mut running: HashSet<&str> = HashSet::new();
    entries.iter().filter_map(move |entry| {
        match entry.step {
            Step::Started(_) => {
                running.insert(&entry.task);
                return Some((entry.seq, running.len()));
            }
            Step::AttemptFailed { .. } | Step::Released(_) => {
                running.remove(entry.task.as_str());
            }
            _ if entry.step.ends().is_some() => {
                running.remove(entry.task.as_str());
            }
            _ => {}
        }
        None
    })
}

/// When the target had the most calls of such tasks at a time, and how many.
pub(super) fn most_calls(
    evidence: &Evidence,
    lives: &Lives<'_>,
    counts: impl Fn(&Request) -> bool,
) -> Option<(u64, usize)> {
    let is_counted = |life: &Life<'_>| life.request().is_some_and(|(_, request)| counts(request));
    let mut calls: Vec<_> = evidence
        .calls
        .iter()
        .filter(|call| !call.webhook)
        .filter(|call| {
            let life = lives.get(&call.task);
            // The target may go on with a call that its worker has given up.
            life.is_some_and(|life| is_counted(life) && !life.may_outlast(call.attempt))
        })
        .map(|call| (call.time_us, call.time_us + call.takes_us))
        .collect();
    calls.sort_unstable();
    let mut ends = BinaryHeap::new();
    calls
        .into_iter()
        .map(|(from, to)| {
            while ends.peek().is_some_and(|Reverse(end)| *end <= from) {
                ends.pop();
            }
            ends.push(Reverse(to));
            (from, ends.len())
        })
        .max_by_key(|(_, calls)| *calls)
}

/// The first starts that are more than `rate` allows, and may be in a time that is longer by `more_ms`.
pub(super) fn too_fast(name: &str, rate: Rate, more_ms: i64, entries: &[&Entry]) -> Option<String> {
    let mut starts: Vec<i64> = entries
        .iter()
        .filter(|entry| matches!(entry.step, Step::Started(_)))
        .map(|entry| true_time(entry))
        .collect();
    starts.sort_unstable();
    // From start i to start j are j - i + 1, of which `burst + limit * (t[j] - t[i]) / per` are allowed. So the least of `i * per - limit * t[i]` is the one
    // to compare with.
    let (limit, per) = (i64::from(rate.limit), i64::from(rate.per_ms));
    let slack =
        i64::from(rate.burst) * per + limit * (more_ms + BETWEEN_CLOCKS_MS.min(per / limit / 2));
    let since = starts.first().copied()?;
    let mut least = (i64::MAX, 0);
    for (number, at) in (0_i64..).zip(&starts) {
        let place = number * per - limit * (at - since);
        least = least.min((place, number));
        if place + per > least.0 + slack {
            let from = usize::try_from(least.1).unwrap_or(0);
            return Some(format!(
                "{name}: {} starts in {} ms, of {rate:?}",
                number - least.1 + 1,
                at - starts[from]
            ));
        }
    }
    None
}

/// When it happened by a clock that is right. That of its process may be an hour off.
fn true_time(entry: &Entry) -> i64 {
    let off = entry.at_ms - entry.stored_ms;
    let jumps = (off + off.signum() * JUMP_MS / 2) / JUMP_MS;
    entry.at_ms - jumps * JUMP_MS
}
