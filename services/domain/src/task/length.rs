//! Lengths of time as clients write them: `"90s"`, `"5m"`, `"1h30m"`, `"7d"`, or a number of seconds.

use std::time::Duration;

use super::request::{Invalid, shortened};

/// A length as the client sent it.
#[derive(Debug, Clone, PartialEq)]
pub enum Length {
    /// A number of seconds.
    Seconds(f64),
    /// A text with units.
    Text(String),
}

/// Units and their seconds, longest first.
const UNITS: [(&str, u64); 5] = [
    ("w", 604_800),
    ("d", 86_400),
    ("h", 3_600),
    ("m", 60),
    ("s", 1),
];

impl Length {
    /// The length, if it is at least a millisecond and at most `most`.
    pub fn read(&self, field: &'static str, most: Duration) -> Result<Duration, Invalid> {
        let read = match self {
            Self::Seconds(seconds) => Duration::try_from_secs_f64(*seconds).ok(),
            Self::Text(text) => parse(text),
        };
        let Some(length) = read else {
            let shown = match self {
                Self::Seconds(seconds) => seconds.to_string(),
                Self::Text(text) => format!("{:?}", shortened(text)),
            };
            return Err(Invalid::new(
                field,
                format!(
                    "{field} must be a length such as \"90s\", \"5m\", \"1h30m\" or \"7d\", or a number of seconds, not {shown}"
                ),
            ));
        };
        if length < Duration::from_millis(1) || length > most {
            return Err(Invalid::new(
                field,
                format!(
                    "{field} must be more than 0 and at most {} days",
                    most.as_secs() / 86_400
                ),
            ));
        }
        Ok(length)
    }
}

/// Parses one or more numbers with units, the longest unit first and each unit once.
fn parse(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    let mut length = Duration::ZERO;
    let mut units = UNITS.iter();
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: u64 = rest.get(..digits)?.parse().ok()?;
        rest = &rest[digits..];
        if let Some(after) = rest.strip_prefix("ms") {
            return after
                .is_empty()
                .then(|| length + Duration::from_millis(number));
        }
        let (unit, seconds) = units.find(|(unit, _)| rest.starts_with(unit))?;
        rest = &rest[unit.len()..];
        length = length.checked_add(Duration::from_secs(number.checked_mul(*seconds)?))?;
    }
    Some(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    const YEAR: Duration = Duration::from_secs(366 * 86_400);

    #[test]
    fn lengths_are_read_as_people_write_them() {
        for (text, seconds) in [
            ("90s", 90.0),
            ("5m", 300.0),
            ("1h30m", 5_400.0),
            ("7d", 604_800.0),
            ("2w", 1_209_600.0),
            ("1d2h3m4s", 93_784.0),
            ("250ms", 0.25),
            ("1s500ms", 1.5),
            (" 5m ", 300.0),
        ] {
            let read = Length::Text(text.into()).read("delay", YEAR).expect(text);
            assert!(
                (read.as_secs_f64() - seconds).abs() < 1e-9,
                "{text}: {read:?}"
            );
        }
        assert_eq!(
            Length::Seconds(1.5).read("delay", YEAR),
            Ok(Duration::from_millis(1_500))
        );
    }

    #[test]
    fn what_is_no_length_is_refused_by_the_name_of_its_field() {
        for text in [
            "",
            "5",
            "m",
            "5x",
            "-5m",
            "5m1h",
            "5m5m",
            "1.5h",
            "99999999999999999999d",
            "400d",
            "0s",
        ] {
            let refused = Length::Text(text.into())
                .read("expiresIn", YEAR)
                .expect_err(text);
            assert_eq!(refused.field, "expiresIn", "{text}");
        }
        for seconds in [-1.0, 0.0, f64::NAN, f64::INFINITY, 1e12] {
            assert!(
                Length::Seconds(seconds).read("delay", YEAR).is_err(),
                "{seconds}"
            );
        }
    }
}
