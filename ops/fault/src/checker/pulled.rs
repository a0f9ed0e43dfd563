//! What workers that pull were given, and what became of what they reported.

use std::collections::{BTreeMap, BTreeSet};

use super::Check;
use super::evidence::{Evidence, Reported, Step, Told};
use super::lives::{Life, Lives};

pub(super) fn checks(evidence: &Evidence, lives: &Lives<'_>) -> Vec<Check> {
    let reports = || {
        evidence.told.iter().filter_map(|told| match told {
            Told::Reported(report) => Some(&**report),
            _ => None,
        })
    };
    let taken: BTreeMap<(&str, u32), &Reported> = reports()
        .filter(|report| report.taken)
        .map(|report| ((report.id.as_str(), report.attempt), report))
        .collect();
    let mut given = BTreeSet::new();
    let claimed = evidence.told.iter().filter_map(|told| match told {
        Told::Claimed { id, attempt } => Some((id.as_str(), *attempt)),
        _ => None,
    });
    let pulled = || {
        let lives = lives.iter();
        lives.filter(|(_, life)| life.request().is_some_and(|(_, request)| request.pulled))
    };
    vec![
        Check::over(
            "no attempt is given to two claims",
            claimed.clone(),
            |(id, attempt)| {
                (!given.insert((id, attempt)))
                    .then(|| format!("{id}: attempt {attempt} was given twice"))
            },
        ),
        Check::over(
            "what a claim was given had started",
            claimed,
            |(id, attempt)| {
                let started = lives.get(id).and_then(|life| life.started_ms(attempt));
                started
                    .is_none()
                    .then(|| format!("{id}: attempt {attempt} never started"))
            },
        ),
        Check::over(
            "a report that was taken is how its attempt ended",
            reports().filter(|report| report.taken),
            |report| {
                let end = lives.get(&report.id)?.end_of(report.attempt);
                (!report.is(end)).then(|| format!("{}: it ended by {end:?}", report.shown()))
            },
        ),
        Check::over(
            // Failures may have been found otherwise, by the end of a lease.
            "a completion that was refused has not happened",
            reports().filter(|report| !report.taken && report.how == "complete"),
            |report| {
                let end = lives.get(&report.id)?.end_of(report.attempt);
                report
                    .is(end)
                    .then(|| format!("{}: it ended by {end:?}", report.shown()))
            },
        ),
        Check::over(
            "no report is taken whose lease was over",
            reports().filter(|report| report.is_late()),
            |report| {
                // Where a clock was wrong, an owner that took over may have reckoned with more time.
                let is_excused = evidence.is_clock_wrong(report.asked_ms, report.answered_ms);
                (report.taken && !is_excused)
                    .then(|| format!("{}: {} ms late", report.shown(), report.late_by()))
            },
        ),
        Check::over(
            "an attempt that failed was reported so, or its lease was over",
            pulled().flat_map(|(id, life)| {
                let failures = life.failures().map(move |(attempt, _)| (id, attempt));
                failures.collect::<Vec<_>>()
            }),
            |(id, attempt)| {
                let report = taken.get(&(id, attempt))?;
                (report.how != "fail").then(|| format!("{}: it has failed", report.shown()))
            },
        ),
        Check::over(
            "a pulled task fails for good only when its attempts are used up",
            pulled().filter(|(_, life)| life.end() == Some("failed")),
            |(id, life)| {
                // Those that ended without a fault of the worker's use up no retry.
                let counted = life.failures().filter(|(_, lost)| !lost).count();
                let retries = life.request()?.1.max_retries;
                (counted < usize::from(retries))
                    .then(|| format!("{id}: {counted} of {retries} retries were used up"))
            },
        ),
    ]
}

impl Reported {
    /// Whether this is what the event says that ended the attempt.
    fn is(&self, end: Option<&Step>) -> bool {
        match end {
            Some(Step::Succeeded { .. }) => self.how == "complete",
            Some(Step::AttemptFailed { lost: false, .. } | Step::Dead { .. }) => self.how == "fail",
            Some(Step::Released(_)) => self.how == "release",
            _ => false,
        }
    }

    /// How long after the end of the lease it was sent at least: no heartbeat was in between.
    fn late_by(&self) -> i64 {
        self.sent_ms - self.told_ms - i64::try_from(self.lease_ms).unwrap_or(i64::MAX)
    }

    /// A second is how long it may take until a lease that is over is found to be so.
    fn is_late(&self) -> bool {
        self.how == "complete" && self.is_frozen && self.late_by() > 1_000
    }

    fn shown(&self) -> String {
        let Self {
            id, attempt, how, ..
        } = self;
        format!("{id}: {how} of attempt {attempt}")
    }
}

impl Life<'_> {
    /// The event that ended an attempt.
    fn end_of(&self, attempt: u32) -> Option<&Step> {
        let steps = self.steps.iter().map(|entry| &entry.step);
        let mut ends = steps.filter(|step| match step {
            Step::AttemptFailed { attempt: of, .. }
            | Step::Succeeded { attempt: of, .. }
            | Step::Dead { attempt: of, .. }
            | Step::Released(of) => *of == attempt,
            Step::Expired { attempt: of, .. } | Step::Cancelled { attempt: of, .. } => {
                *of == Some(attempt)
            }
            _ => false,
        });
        ends.next()
    }

    /// The attempts that failed, and whether that was no fault of the worker's.
    fn failures(&self) -> impl Iterator<Item = (u32, bool)> + '_ {
        self.steps.iter().filter_map(|entry| match entry.step {
            Step::AttemptFailed { attempt, lost } => Some((attempt, lost)),
            _ => None,
        })
    }
}
