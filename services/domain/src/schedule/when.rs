//! The one field that says when: `cron(0 9 * * MON-FRI)`, `every 5m` or `at 2030-01-31T09:00`. The
//! jobs API's is `crontab(0 0 9 * * MON-FRI)`: it may have seconds, and leaves out local times that
//! the clocks skip.

use std::time::Duration;

use jiff::civil::{DateTime, Time};

use super::cron::Cron;
use super::zone::{Local, Zone};
use crate::task::length::Length;
use crate::task::request::{Invalid, shortened};
use crate::time::Timestamp;

/// Shortest and longest pause of `every`.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(366 * 86_400));
/// Limit of the text, in bytes.
const MAX_BYTES: usize = 500;

/// When a schedule is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum When {
    /// At the minutes of a calendar, by the clocks of a zone.
    Cron(Cron, Gaps),
    /// Again and again after a pause, in milliseconds, counted from the beginning of 1970 so that
    /// another version of the schedule is due at the same instants.
    Every(i64),
    /// Once, at an instant.
    AtInstant(Timestamp),
    /// Once, at a local time.
    AtLocal(DateTime),
}

/// What becomes of a local time that the clocks skip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gaps {
    /// It is due at the end of the gap.
    RunAfter,
    /// It is not due on that day.
    LeaveOut,
}

/// What the clocks of a zone did to an instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Oddity {
    /// Its local time does not exist on that day: it runs after the gap.
    Skipped,
    /// Its local time comes twice on that day: it runs at the first.
    Repeated,
}

/// An instant that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    pub at: Timestamp,
    /// `None` on most days.
    pub oddity: Option<Oddity>,
}

impl From<Local> for Due {
    fn from(local: Local) -> Self {
        let oddity = match local {
            Local::Once(_) => None,
            Local::Skipped(_) => Some(Oddity::Skipped),
            Local::Repeated(_) => Some(Oddity::Repeated),
        };
        Self {
            at: local.instant(),
            oddity,
        }
    }
}

impl When {
    /// Reads the field.
    ///
    /// # Errors
    /// If it is none of the three forms, or never due.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let text = text.trim();
        if text.len() > MAX_BYTES {
            let message = format!(
                "when must have at most {MAX_BYTES} bytes, not {}",
                text.len()
            );
            return Err(Invalid::new("when", message));
        }
        let within = |name| text.strip_prefix(name)?.strip_suffix(')');
        if let Some(fields) = within("cron(") {
            return Cron::parse(fields).map(|cron| Self::Cron(cron, Gaps::RunAfter));
        }
        if let Some(fields) = within("crontab(") {
            let cron = Cron::parse_with_seconds(fields)?;
            return Ok(Self::Cron(cron, Gaps::LeaveOut));
        }
        if let Some(length) = text.strip_prefix("every ") {
            let (least, most) = PAUSES;
            let length = Length::Text(length.trim().to_owned()).read("when", most)?;
            if length < least {
                return Err(Invalid::new(
                    "when",
                    "when: every must be 1s or longer".to_owned(),
                ));
            }
            let millis = i64::try_from(length.as_millis()).unwrap_or(i64::MAX);
            return Ok(Self::Every(millis));
        }
        if let Some(date) = text.strip_prefix("at ") {
            let date = date.trim();
            if let Some(at) = Timestamp::parse_rfc3339(date) {
                return Ok(Self::AtInstant(at));
            }
            if let Ok(local) = date.parse::<DateTime>() {
                return Ok(Self::AtLocal(local));
            }
        }
        let shown = shortened(text);
        let message = format!(
            "when must be cron(0 9 * * MON-FRI), every 5m, at 2030-01-31T09:00 or the like, not {shown:?}"
        );
        Err(Invalid::new("when", message))
    }

    /// The first instant later than `after`; `None` if there is none.
    #[must_use]
    pub fn next(&self, zone: &Zone, after: Timestamp) -> Option<Due> {
        let later = |due: Due| (due.at > after).then_some(due);
        match self {
            Self::Every(millis) => {
                let count = after.0.div_euclid(*millis) + 1;
                let at = Timestamp(count.checked_mul(*millis)?);
                (at <= Timestamp::MAX).then_some(Due { at, oddity: None })
            }
            Self::AtInstant(at) => later(Due {
                at: *at,
                oddity: None,
            }),
            Self::AtLocal(local) => zone.instant(*local).map(Due::from).and_then(later),
            Self::Cron(cron, gaps) => next_of(cron, *gaps, zone, after),
        }
    }

    /// The instants later than `after`, at most up to and with `until`.
    pub fn between<'a>(
        &'a self,
        zone: &'a Zone,
        after: Timestamp,
        until: Timestamp,
    ) -> impl Iterator<Item = Due> + Clone + 'a {
        let first = self.next(zone, after);
        std::iter::successors(first, move |last| self.next(zone, last.at))
            .take_while(move |due| due.at <= until)
    }
}

/// Local times in their order have instants in their order, of which those of one gap are the same.
/// So the first one that is later is the next.
fn next_of(cron: &Cron, gaps: Gaps, zone: &Zone, after: Timestamp) -> Option<Due> {
    let now = zone.local(after)?;
    let mut day = cron.day_from(now.date())?;
    loop {
        // Of a time before, the instant is not later.
        let from = if day == now.date() {
            (now.hour(), now.minute())
        } else {
            (0, 0)
        };
        for (hour, minute, second) in cron.times(from) {
            let time = Time::new(hour, minute, second, 0).ok()?;
            let due = Due::from(zone.instant(day.to_datetime(time))?);
            if gaps == Gaps::LeaveOut && due.oddity == Some(Oddity::Skipped) {
                continue;
            }
            if due.at > after {
                return Some(due);
            }
        }
        day = cron.day_from(day.tomorrow().ok()?)?;
    }
}
