//! Points in time. The core never reads a clock: the time is an argument, given by two clocks
//! ([`Times`]).
//!
//! The calendar is the dozen lines below and not `jiff` or `chrono`: an instant is written in one form and never has a zone, and the core
//! stays free of crates that can read clocks and zone files.

mod iso8601;

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Milliseconds since 1970-01-01T00:00:00Z.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Default,
    Serialize,
    Deserialize,
    JsonSchema,
)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

/// The last instant that still has a four-digit year: 9999-12-31T23:59:59.999Z.
const MAX_MILLIS: i64 = 253_402_300_799_999;

impl Timestamp {
    /// The latest time that can be represented.
    pub const MAX: Self = Self(MAX_MILLIS);

    /// This time plus a duration, capped at [`Timestamp::MAX`].
    #[must_use]
    pub fn plus(self, by: Duration) -> Self {
        let by = i64::try_from(by.as_millis()).unwrap_or(MAX_MILLIS);
        Self(self.0.saturating_add(by).min(MAX_MILLIS))
    }

    /// Time passed since `earlier`; zero if that is not earlier.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// Whole seconds since the epoch, as signatures and HTTP headers use them.
    #[must_use]
    pub fn as_secs(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// RFC 3339 in UTC with milliseconds: `2026-11-21T07:12:48.120Z`.
    #[must_use]
    pub fn to_rfc3339(self) -> String {
        let days = self.0.div_euclid(86_400_000);
        let of_day = self.0.rem_euclid(86_400_000);
        let (year, month, day) = civil_from_days(days);
        let (secs, millis) = (of_day / 1000, of_day % 1000);
        format!(
            "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{millis:03}Z",
            secs / 3600,
            secs / 60 % 60,
            secs % 60
        )
    }

    /// Parses an HTTP date such as `Wed, 21 Oct 2015 07:28:00 GMT` (RFC 9110, 5.6.7), including the
    /// obsolete forms.
    #[must_use]
    pub fn parse_http_date(text: &str) -> Option<Self> {
        let at = httpdate::parse_http_date(text).ok()?;
        let since = at.duration_since(std::time::UNIX_EPOCH).ok()?;
        Some(Self(0).plus(since))
    }

    /// Parses the spellings of ISO 8601 that people and libraries produce, such as
    /// `2026-11-21T10:00Z`, an offset of `+0200`, a fraction of `,5` or midnight as `T24:00`.
    #[must_use]
    pub fn parse_iso8601(text: &str) -> Option<Self> {
        iso8601::parse(text)
    }

    /// The same in a query string, where an unescaped `+` arrives as a space.
    #[must_use]
    pub fn parse_in_query(text: &str) -> Option<Self> {
        Self::parse_iso8601(text).or_else(|| {
            let (date, offset) = text.rsplit_once(' ')?;
            Self::parse_iso8601(&format!("{date}+{offset}"))
        })
    }

    /// Parses RFC 3339: date, `T` or a space, time, optional fraction, `Z` or an offset. Fractions
    /// of a millisecond are cut off.
    #[must_use]
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        if !text.is_ascii() || bytes.len() < 20 {
            return None;
        }
        let number = |from: usize, to: usize| -> Option<i64> {
            let part = text.get(from..to)?;
            part.bytes().all(|b| b.is_ascii_digit()).then_some(())?;
            part.parse().ok()
        };
        let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
        let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
        let separators = bytes[4] == b'-'
            && bytes[7] == b'-'
            && matches!(bytes[10], b'T' | b't' | b' ')
            && bytes[13] == b':'
            && bytes[16] == b':';
        // POSIX time cannot represent a leap second, so it is read as the last second of its
        // minute.
        let valid = (1..=12).contains(&month)
            && (1..=days_in_month(year, month)).contains(&day)
            && hour < 24
            && minute < 60
            && second <= 60;
        if !separators || !valid {
            return None;
        }
        let mut rest = &text[19..];
        let mut millis = 0;
        if let Some(fraction) = rest.strip_prefix('.') {
            let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
            if digits == 0 {
                return None;
            }
            for place in 0..3 {
                let digit = fraction.as_bytes()[..digits]
                    .get(place)
                    .map_or(0, |b| b - b'0');
                millis = millis * 10 + i64::from(digit);
            }
            rest = &fraction[digits..];
        }
        let offset_minutes = match rest.as_bytes() {
            [b'Z' | b'z'] => 0,
            [sign @ (b'+' | b'-'), _, _, b':', _, _] => {
                let from = text.len() - 5;
                let (hours, minutes) = (number(from, from + 2)?, number(from + 3, from + 5)?);
                if hours > 23 || minutes > 59 {
                    return None;
                }
                (hours * 60 + minutes) * if *sign == b'-' { -1 } else { 1 }
            }
            _ => return None,
        };
        let secs =
            days_from_civil(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second.min(59)
                - offset_minutes * 60;
        Some(Self(secs * 1000 + millis))
    }
}

/// A reading of a process's monotonic clock: milliseconds since an arbitrary start.
///
/// Readings can only be compared within one process, so they are never stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Elapsed(pub i64);

impl Elapsed {
    /// This reading plus a duration.
    #[must_use]
    pub fn plus(self, by: Duration) -> Self {
        let by = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
        Self(self.0.saturating_add(by))
    }

    /// Time passed since `earlier`; zero if that is not earlier.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

/// The current time by both clocks of a process, read together.
///
/// The wall clock may jump: operators set it, NTP steps it, and every machine has its own. So
/// lengths of time (pauses, limits, leases) are measured with `elapsed`, and `wall` is for dates
/// that clients chose and for the times in events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// The monotonic clock.
    pub elapsed: Elapsed,
    /// The wall clock.
    pub wall: Timestamp,
}

impl Times {
    /// The end of a period that began at `at`, for which only the log knows the beginning.
    ///
    /// The remaining time is `length - clamp(wall - at, 0, length)`: however wrong either wall
    /// clock is, it is between zero and the whole length.
    #[must_use]
    pub fn end_of(self, at: Timestamp, length: Duration) -> Elapsed {
        let passed = self.wall.since(at);
        self.elapsed.plus(length.saturating_sub(passed))
    }

    /// When something happened that the log dates `at`: not later than now, however wrong a clock is.
    #[must_use]
    pub fn began(self, at: Timestamp) -> Elapsed {
        let passed = i64::try_from(self.wall.since(at).as_millis()).unwrap_or(i64::MAX);
        Elapsed(self.elapsed.0.saturating_sub(passed))
    }

    /// Converts a date to the monotonic clock, assuming that neither clock jumps in between. For
    /// estimates, not for decisions.
    #[must_use]
    pub fn place(self, date: Timestamp) -> Elapsed {
        let ahead = date.0.saturating_sub(self.wall.0);
        Elapsed(self.elapsed.0.saturating_add(ahead))
    }
}

impl std::fmt::Display for Timestamp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.to_rfc3339())
    }
}

/// Days from 1970-01-01 to a date of the proleptic Gregorian calendar (Howard Hinnant,
/// "chrono-Compatible Low-Level Date Algorithms").
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// The inverse of [`days_from_civil`].
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_instants_are_written_and_read() {
        for (text, millis) in [
            ("1970-01-01T00:00:00.000Z", 0),
            ("2000-02-29T23:59:59.999Z", 951_868_799_999),
            ("2026-11-21T07:12:48.120Z", 1_795_245_168_120),
            ("9999-12-31T23:59:59.999Z", MAX_MILLIS),
        ] {
            assert_eq!(Timestamp(millis).to_rfc3339(), text);
            assert_eq!(Timestamp::parse_rfc3339(text), Some(Timestamp(millis)));
        }
        assert_eq!(
            Timestamp::parse_rfc3339("2026-11-21T09:12:48.12+02:00"),
            Some(Timestamp(1_795_245_168_120))
        );
    }

    #[test]
    fn what_is_no_instant_is_refused() {
        for text in [
            "",
            "2026-11-21",
            "2026-11-21T07:12:48",
            "2026-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-11-21T24:00:00Z",
            "2026-11-21T07:12:48.Z",
            "2026-11-21T07:12:48+0200",
            "2026-11-21T07:12:48Zz",
            "2026-11-21T07:12:４8Z",
        ] {
            assert_eq!(Timestamp::parse_rfc3339(text), None, "{text}");
        }
    }

    #[test]
    fn what_remains_of_a_length_is_between_nothing_and_the_whole() {
        let (began, length) = (Timestamp(1_000_000), Duration::from_secs(10));
        for (wall, remains) in [
            (1_000_000, 10_000),
            (1_004_000, 6_000),
            (1_010_000, 0),
            (i64::MAX, 0),
            (999_999, 10_000),
            (-5_000_000, 10_000),
            (i64::MIN, 10_000),
        ] {
            let now = Times {
                elapsed: Elapsed(7),
                wall: Timestamp(wall),
            };
            assert_eq!(now.end_of(began, length), Elapsed(7 + remains), "{wall}");
        }
    }

    #[test]
    fn a_plus_that_arrives_as_a_space_is_an_offset() {
        let at = Timestamp::parse_rfc3339("2026-11-21T10:00:00Z");
        for text in [
            "2026-11-21T12:00:00 02:00",
            "2026-11-21 12:00 0200",
            "2026-11-21T10:00Z",
            "2026-11-21 10:00 Z",
        ] {
            assert_eq!(Timestamp::parse_in_query(text), at, "{text}");
        }
        assert_eq!(Timestamp::parse_in_query("2026-11-21 10:00"), None);
    }

    proptest! {
        #[test]
        fn every_instant_survives_its_text(millis in 0..=MAX_MILLIS) {
            let at = Timestamp(millis);
            prop_assert_eq!(Timestamp::parse_rfc3339(&at.to_rfc3339()), Some(at));
        }

        #[test]
        fn no_text_makes_it_panic(text in ".{0,40}") {
            let _ = Timestamp::parse_rfc3339(&text);
        }
    }
}
