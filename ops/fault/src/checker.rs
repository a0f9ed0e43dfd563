//! Compares what clients were told, what the target received and what subscribers read with what the log holds.
//!
//! Pure: evidence in, verdicts out. The log is taken as the truth. Each check is one promise to
//! users, and reports what broke it. A check without a single case fails too, since it has proved
//! nothing.

mod again;
mod calls;
mod evidence;
mod flows;
mod hosts;
mod kept;
mod limits;
mod lives;
mod orders;
mod pulled;
mod reads;
mod scheduled;
mod shared;
mod steered;
#[cfg(test)]
mod tests;
mod told;

use std::fmt;

pub(crate) use evidence::{
    Call, Entry, Evidence, Held, Judged, Limited, Listed, Output, Pause, Purge, Rate, Reported,
    Restated, Scheduled, Shared, Span, Step, Stood, Streamed, Told, Window,
};

/// How many violations of a check are printed.
const SHOWN: usize = 10;

/// The verdict on one promise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Check {
    /// The promise.
    pub(crate) name: &'static str,
    /// How many cases were examined.
    pub(crate) cases: usize,
    /// A description of each case that broke it.
    pub(crate) violations: Vec<String>,
}

impl Check {
    /// Examines each case; `broken` returns how a case breaks the promise, or `None`.
    fn over<T>(
        name: &'static str,
        cases: impl IntoIterator<Item = T>,
        mut broken: impl FnMut(T) -> Option<String>,
    ) -> Self {
        let mut check = Self {
            name,
            cases: 0,
            violations: Vec::new(),
        };
        for case in cases {
            check.cases += 1;
            check.violations.extend(broken(case));
        }
        check
    }

    /// A check with a single case.
    pub(crate) fn of(name: &'static str, fact: Result<(), String>) -> Self {
        Self::over(name, [fact], Result::err)
    }

    pub(crate) fn passed(&self) -> bool {
        self.cases > 0 && self.violations.is_empty()
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if self.passed() { "ok    " } else { "FAILED" };
        write!(f, "{word} {} ({} cases)", self.name, self.cases)?;
        for violation in self.violations.iter().take(SHOWN) {
            write!(f, "\n         {violation}")?;
        }
        match self.violations.len().saturating_sub(SHOWN) {
            0 => Ok(()),
            more => write!(f, "\n         and {more} more"),
        }
    }
}

/// All checks.
pub(crate) fn check(evidence: &Evidence) -> Vec<Check> {
    let lives = lives::Lives::of(&evidence.log);
    let gone = kept::Gone::of(evidence, &lives);
    let mut checks = lives.checks(&gone);
    checks.extend(told::checks(evidence, &lives, &gone));
    checks.extend(calls::checks(evidence, &lives));
    checks.extend(reads::checks(evidence, &lives, &gone));
    checks.extend(orders::checks(evidence, &lives));
    checks.extend(limits::checks(evidence, &lives));
    checks.extend(shared::checks(evidence, &lives));
    checks.extend(hosts::checks(evidence, &lives));
    checks.extend(steered::checks(evidence, &lives, &gone));
    checks.extend(again::checks(evidence, &lives));
    checks.extend(kept::checks(evidence, &lives));
    checks.extend(pulled::checks(evidence, &lives));
    checks.extend(scheduled::checks(evidence, &lives));
    checks.extend(flows::checks(evidence, &lives, &gone));
    checks
}
