//! What became of the instants of schedules.

use std::collections::{BTreeMap, HashMap};

use super::Check;
use super::evidence::{Evidence, Scheduled};
use super::lives::Lives;

/// Milliseconds between two instants of each schedule.
const EVERY_MS: i64 = 1_000;

pub(super) fn checks(evidence: &Evidence, lives: &Lives<'_>) -> Vec<Check> {
    let mut fired: HashMap<&str, BTreeMap<i64, Vec<&str>>> = HashMap::new();
    for (id, life) in lives.iter() {
        if let Some((schedule, due_ms)) = life.request().and_then(|(_, of)| of.run.as_ref()) {
            let of_schedule = fired.entry(schedule).or_default();
            of_schedule.entry(*due_ms).or_default().push(id);
        }
    }
    let runs = fired.iter().flat_map(|(schedule, of_schedule)| {
        of_schedule
            .iter()
            .map(move |(due, ids)| (*schedule, *due, ids))
    });
    vec![
        Check::over(
            "no instant of a schedule fires twice",
            runs,
            |(schedule, due, ids)| {
                (ids.len() > 1).then(|| format!("{schedule} at {due}: {}", ids.join(", ")))
            },
        ),
        Check::over(
            "every instant of a schedule fires, whichever process is gone when it is due",
            evidence.scheduled.iter().flat_map(instants),
            |(schedule, due)| {
                let has = fired.get(schedule).is_some_and(|of| of.contains_key(&due));
                let is_excused = evidence.is_clock_wrong(due, due);
                (!has && !is_excused).then(|| format!("{schedule} at {due} did not fire"))
            },
        ),
        Check::over(
            "no instant of a schedule fires that came after its pause",
            &evidence.scheduled,
            |schedule| {
                let last = fired.get(schedule.id.as_str())?.keys().next_back()?;
                (*last > schedule.paused_ms).then(|| {
                    format!(
                        "{} at {last}, paused at {}",
                        schedule.id, schedule.paused_ms
                    )
                })
            },
        ),
    ]
}

/// The instants between the answer that set a schedule and the request that paused it.
fn instants(schedule: &Scheduled) -> impl Iterator<Item = (&str, i64)> {
    let first = schedule.from_ms - schedule.from_ms.rem_euclid(EVERY_MS) + EVERY_MS;
    let all = (0..).map(move |number| first + number * EVERY_MS);
    all.take_while(|due| *due < schedule.until_ms)
        .map(|due| (schedule.id.as_str(), due))
}
