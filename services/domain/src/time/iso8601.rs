//! ISO 8601 as people write it: more spellings than RFC 3339 allows, as long as each denotes one
//! point in time.
//!
//! Seconds may be omitted, and minutes with them. A fraction may follow a comma, an offset may be
//! `+0200` or `+02`, midnight may be `T24:00`, and date and time may be written without separators.
//! A text that does not denote one point in time is refused: a date without a time, or a time
//! without a zone.
//! Parsers of RFC 3339, such as the one of `jiff`, refuse half of these spellings, which clients have always been allowed.

use super::{Timestamp, days_from_civil, days_in_month};

const DAY_MILLIS: i64 = 86_400_000;

pub(super) fn parse(text: &str) -> Option<Timestamp> {
    // The minus sign of the standard is not the one on keyboards.
    let text = text.trim().replace('\u{2212}', "-");
    let mut rest = Rest(text.as_bytes());
    let date = date(&mut rest)?;
    if !rest.takes(b"Tt ") {
        return None;
    }
    let time = time(&mut rest)?;
    rest.takes(b" ");
    let offset = offset(&mut rest)?;
    rest.0.is_empty().then_some(Timestamp(date + time - offset))
}

/// The rest of the text.
struct Rest<'a>(&'a [u8]);

impl Rest<'_> {
    fn takes(&mut self, any: &[u8]) -> bool {
        match self.0.split_first() {
            Some((first, rest)) if any.contains(first) => {
                self.0 = rest;
                true
            }
            _ => false,
        }
    }

    fn begins_with_digit(&self) -> bool {
        self.0.first().is_some_and(u8::is_ascii_digit)
    }

    fn digits(&mut self, count: usize) -> Option<i64> {
        let (digits, rest) = self.0.split_at_checked(count)?;
        let value = digits.iter().try_fold(0, |value: i64, digit| {
            let digit = digit.is_ascii_digit().then(|| i64::from(digit - b'0'))?;
            Some(value * 10 + digit)
        })?;
        self.0 = rest;
        Some(value)
    }
}

/// Milliseconds from 1970 to the beginning of the day.
fn date(rest: &mut Rest<'_>) -> Option<i64> {
    let year = rest.digits(4)?;
    let extended = rest.takes(b"-");
    let month = rest.digits(2)?;
    if rest.takes(b"-") != extended {
        return None;
    }
    let day = rest.digits(2)?;
    let valid = (1..=12).contains(&month) && (1..=days_in_month(year, month)).contains(&day);
    valid.then(|| days_from_civil(year, month, day) * DAY_MILLIS)
}

/// Milliseconds from the beginning of the day.
fn time(rest: &mut Rest<'_>) -> Option<i64> {
    let hour = rest.digits(2)?;
    let extended = rest.takes(b":");
    let minute = match extended || rest.begins_with_digit() {
        true => rest.digits(2)?,
        false => 0,
    };
    let has_seconds = if extended {
        rest.takes(b":")
    } else {
        rest.begins_with_digit()
    };
    let (mut second, mut millis) = (0, 0);
    if has_seconds {
        second = rest.digits(2)?;
        if rest.takes(b".,") {
            millis = fraction(rest)?;
        }
    }
    // The end of a day is the beginning of the next. A leap second is read as the last second of
    // its minute.
    let ends_day = hour == 24 && minute == 0 && second == 0 && millis == 0;
    if !(hour < 24 || ends_day) || minute > 59 || second > 60 {
        return None;
    }
    Some(((hour * 60 + minute) * 60 + second.min(59)) * 1000 + millis)
}

/// Milliseconds of a fraction; finer digits are cut off.
fn fraction(rest: &mut Rest<'_>) -> Option<i64> {
    let mut millis = rest.digits(1)? * 100;
    for place in [10, 1] {
        if rest.begins_with_digit() {
            millis += rest.digits(1)? * place;
        }
    }
    while rest.begins_with_digit() {
        rest.digits(1)?;
    }
    Some(millis)
}

/// Offset from UTC in milliseconds, positive to the east.
fn offset(rest: &mut Rest<'_>) -> Option<i64> {
    if rest.takes(b"Zz") {
        return Some(0);
    }
    let sign = match (rest.takes(b"+"), rest.takes(b"-")) {
        (true, false) => 1,
        (false, true) => -1,
        _ => return None,
    };
    let hours = rest.digits(2)?;
    let minutes = match rest.takes(b":") || rest.begins_with_digit() {
        true => rest.digits(2)?,
        false => 0,
    };
    (hours < 24 && minutes < 60).then_some(sign * (hours * 60 + minutes) * 60_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn spellings_of_one_instant() {
        let at = Timestamp::parse_rfc3339("2026-11-21T10:00:00Z");
        for text in [
            "2026-11-21T10Z",
            "2026-11-21T12+02",
            "2026-11-21T10:00Z",
            "2026-11-21T10:00:00Z",
            "2026-11-21t10:00:00.000z",
            "2026-11-21 10:00:00 Z",
            "2026-11-21T10:00:00,0Z",
            "2026-11-21T12:00:00+0200",
            "2026-11-21T12:00+02",
            "2026-11-21T10:00:00+00",
            "2026-11-21T05:30:00-04:30",
            "2026-11-21T05:30:00\u{2212}0430",
            "20261121T100000Z",
            "20261121T1000Z",
            " 2026-11-21T10:00:00.0000009Z\n",
        ] {
            assert_eq!(parse(text), at, "{text}");
        }
        assert_eq!(
            parse("2026-12-31T24:00Z"),
            Timestamp::parse_rfc3339("2027-01-01T00:00:00Z")
        );
        assert_eq!(
            parse("2026-11-21T10:00:00,5Z").map(|at| at.0 % 1000),
            Some(500)
        );
    }

    #[test]
    fn what_does_not_say_one_instant_is_refused() {
        for text in [
            "",
            "2026-11-21",
            "2026-11-21T10:00",
            "2026-11-21T1Z",
            "2026-11-21T10:Z",
            "2026-11-21T10,5Z",
            "2026-11-21T24:01Z",
            "2026-11-21T24:00:00.001Z",
            "2026-11-21T25:00Z",
            "2026-11-21T10:60Z",
            "2026-02-29T10:00Z",
            "2026-1121T10:00Z",
            "202611-21T10:00Z",
            "2026-11-21T10:00Zz",
            "2026-11-21T10:00:00.Z",
            "2026-11-21T10:00+24",
            "2026-11-21T10:00+2",
            "2026-11-21T10:00+-02:00",
            "2026-11-21T10:0\u{ff10}Z",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn whatever_rfc_3339_says_is_read_alike(text in "[0-9]{4}-[01][0-9]-[0-3][0-9][Tt ][0-2][0-9]:[0-6][0-9]:[0-6][0-9](\\.[0-9]{1,5})?(Z|z|[+-][0-2][0-9]:[0-6][0-9])") {
            if let Some(at) = Timestamp::parse_rfc3339(&text) {
                prop_assert_eq!(parse(&text), Some(at));
            }
        }

        #[test]
        fn no_text_makes_it_panic(text in ".{0,40}") {
            let _ = parse(&text);
        }
    }
}
