//! The five fields of cron: minute, hour, day of month, month, day of week; and, where its reader
//! takes six, the second before them. A day matches if the day of month or the day of week does,
//! where both are restricted; `0` and `7` are Sunday.

use jiff::civil::Date;

use crate::task::request::{Invalid, shortened};

const MONTHS: [&str; 12] = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];
const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
/// Days of each month, in a leap year.
const LENGTHS: [u64; 12] = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
/// The longest that no day may match: 29 February around a year that is no leap year.
const MAX_DAYS: u32 = 8 * 366 + 1;

/// A calendar of seconds. Each field is a set of bits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cron {
    seconds: u64,
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// Whether the day of month, and the day of week, is restricted.
    by: (bool, bool),
}

/// A field: its name, the numbers it has, and names for some of them.
struct Field {
    name: &'static str,
    from: u8,
    to: u8,
    names: &'static [&'static str],
}

const SECOND: Field = Field {
    name: "second",
    from: 0,
    to: 59,
    names: &[],
};

const FIELDS: [Field; 5] = [
    Field {
        name: "minute",
        from: 0,
        to: 59,
        names: &[],
    },
    Field {
        name: "hour",
        from: 0,
        to: 23,
        names: &[],
    },
    Field {
        name: "day of month",
        from: 1,
        to: 31,
        names: &[],
    },
    Field {
        name: "month",
        from: 1,
        to: 12,
        names: &MONTHS,
    },
    Field {
        name: "day of week",
        from: 0,
        to: 7,
        names: &DAYS,
    },
];

fn invalid(message: impl std::fmt::Display) -> Invalid {
    Invalid::new("when", format!("when: {message}"))
}

impl Field {
    fn number(&self, text: &str) -> Result<u8, Invalid> {
        let lower = text.to_ascii_lowercase();
        if let Some(place) = self.names.iter().position(|name| *name == lower) {
            return Ok(u8::try_from(place).unwrap_or(0) + self.from);
        }
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse().ok().filter(|_| digits);
        number
            .filter(|number| (self.from..=self.to).contains(number))
            .ok_or_else(|| {
                let (name, from, to) = (self.name, self.from, self.to);
                let shown = shortened(text);
                invalid(format!("the {name} must be {from} to {to}, not {shown:?}"))
            })
    }

    /// The bits of a field, and whether it restricts anything.
    fn read(&self, text: &str) -> Result<(u64, bool), Invalid> {
        if text == "*" {
            return Ok((self.bits(self.from, self.to, 1), false));
        }
        let mut bits = 0;
        for part in text.split(',') {
            let (range, step) = match part.split_once('/') {
                Some((range, step)) => (range, Some(self.step(step)?)),
                None => (part, None),
            };
            let (from, to) = match range.split_once('-') {
                _ if range == "*" => (self.from, self.to),
                Some((from, to)) => (self.number(from)?, self.number(to)?),
                // `5/10` is from 5 to the end.
                None if step.is_some() => (self.number(range)?, self.to),
                None => (self.number(range)?, self.number(range)?),
            };
            if from > to {
                let name = self.name;
                return Err(invalid(format!(
                    "the {name} {range:?} ends before it begins"
                )));
            }
            bits |= self.bits(from, to, step.unwrap_or(1));
        }
        Ok((bits, true))
    }

    fn step(&self, text: &str) -> Result<u8, Invalid> {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let step = text
            .parse()
            .ok()
            .filter(|step| digits && (1..=self.to).contains(step));
        step.ok_or_else(|| {
            let (name, to, shown) = (self.name, self.to, shortened(text));
            invalid(format!(
                "a step of the {name} must be 1 to {to}, not {shown:?}"
            ))
        })
    }

    fn bits(&self, from: u8, to: u8, step: u8) -> u64 {
        (from..=to)
            .step_by(usize::from(step.max(1)))
            .fold(0, |bits, number| bits | (1 << number))
    }
}

impl Cron {
    /// Reads the five fields.
    ///
    /// # Errors
    /// If a field is invalid, there are not five of them, or no day ever matches.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let given: Vec<_> = text.split_ascii_whitespace().collect();
        let [minute, hour, day, month, weekday] = given[..] else {
            let count = given.len();
            let message = format!(
                "cron has five fields (minute, hour, day of month, month, day of week), not {count}; there are no seconds, use every for less than a minute"
            );
            return Err(invalid(message));
        };
        Self::read(1, [minute, hour, day, month, weekday])
    }

    /// Reads five fields, or six of which the first one is the second.
    ///
    /// # Errors
    /// If a field is invalid, there are not five or six of them, or no day ever matches.
    pub fn parse_with_seconds(text: &str) -> Result<Self, Invalid> {
        let given: Vec<_> = text.split_ascii_whitespace().collect();
        match given[..] {
            [minute, hour, day, month, weekday] => {
                Self::read(1, [minute, hour, day, month, weekday])
            }
            [second, minute, hour, day, month, weekday] => {
                let seconds = SECOND.read(second)?.0;
                Self::read(seconds, [minute, hour, day, month, weekday])
            }
            _ => Err(invalid(format!(
                "cron has five fields (minute, hour, day of month, month, day of week), or six with the second first, not {}",
                given.len()
            ))),
        }
    }

    fn read(seconds: u64, fields: [&str; 5]) -> Result<Self, Invalid> {
        let [minute, hour, day, month, weekday] = fields;
        let [minutes, hours, days, months, weekdays] = &FIELDS;
        let (days, by_day) = days.read(day)?;
        let (weekdays, by_weekday) = weekdays.read(weekday)?;
        let read = Self {
            seconds,
            minutes: minutes.read(minute)?.0,
            hours: hours.read(hour)?.0,
            days,
            months: months.read(month)?.0,
            // 7 is Sunday as well.
            weekdays: (weekdays | (weekdays >> 7)) & 0x7f,
            by: (by_day, by_weekday),
        };
        let has_day = |(month, length): (usize, &u64)| {
            let first_days = (1 << (length + 1)) - 1;
            read.months & (2 << month) != 0 && read.days & first_days != 0
        };
        if !by_weekday && !LENGTHS.iter().enumerate().any(has_day) {
            return Err(invalid("no month that it names has such a day".to_owned()));
        }
        Ok(read)
    }

    /// Whether it has times on a day.
    fn has(&self, date: Date) -> bool {
        let bit = |set: u64, number: i8| set & (1 << number) != 0;
        let day = bit(self.days, date.day());
        let weekday = bit(self.weekdays, date.weekday().to_sunday_zero_offset());
        let matches = match self.by {
            (true, true) => day || weekday,
            _ => day && weekday,
        };
        bit(self.months, date.month()) && matches
    }

    /// The first day with times, that one or later; `None` at the end of the calendar.
    pub(super) fn day_from(&self, mut date: Date) -> Option<Date> {
        for _ in 0..=MAX_DAYS {
            if self.has(date) {
                return Some(date);
            }
            date = date.tomorrow().ok()?;
        }
        None
    }

    /// The hours, minutes and seconds of a day with times, in their order, from a minute on.
    pub(super) fn times(&self, from: (i8, i8)) -> impl Iterator<Item = (i8, i8, i8)> + '_ {
        let bit = |set: u64, number: i8| set & (1 << number) != 0;
        let hours = (from.0..24).filter(move |hour| bit(self.hours, *hour));
        hours.flat_map(move |hour| {
            let first = if hour == from.0 { from.1 } else { 0 };
            let minutes = (first..60).filter(move |minute| bit(self.minutes, *minute));
            minutes.flat_map(move |minute| {
                let seconds = (0..60).filter(move |second| bit(self.seconds, *second));
                seconds.map(move |second| (hour, minute, second))
            })
        })
    }
}
