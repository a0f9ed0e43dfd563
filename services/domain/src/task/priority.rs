//! Priority of tasks in the order of service.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// From -100 to 100; higher ones are served first. The native API has ten of them, 1 to 10, which are -80 to 100 in steps of 20; the jobs
/// API has all.
///
/// Stored as the number of the native API where it has one, else as 1000 and the value: what was stored before there were finer ones keeps
/// its meaning.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(try_from = "u16", into = "u16")]
pub struct Priority(i16);

/// Added to a value that the native API has no number for.
const FINE: i16 = 1_000;

impl Priority {
    /// Between two priorities of the native API.
    pub const STEP: i16 = 20;
    /// Priority of a task that does not set one.
    pub const DEFAULT: Self = Self(0);
    /// The lowest priority.
    pub const LEAST: Self = Self(-100);
    /// The highest priority.
    pub const MAX: Self = Self(100);

    /// A priority of the native API. `None` if the number is not between 1 and 10.
    #[must_use]
    pub fn new(number: u8) -> Option<Self> {
        (1..=10)
            .contains(&number)
            .then(|| Self((i16::from(number) - 5) * Self::STEP))
    }

    /// `None` if the value is not between -100 and 100.
    #[must_use]
    pub fn fine(value: i64) -> Option<Self> {
        let value = i16::try_from(value).ok()?;
        (Self::LEAST.0..=Self::MAX.0)
            .contains(&value)
            .then_some(Self(value))
    }

    /// The nearest priority of the native API, 1 to 10.
    #[must_use]
    pub fn get(self) -> u8 {
        let steps = (self.0 + 5 * Self::STEP + Self::STEP / 2) / Self::STEP;
        u8::try_from(steps.clamp(1, 10)).unwrap_or(5)
    }

    /// From -100 to 100.
    #[must_use]
    pub fn value(self) -> i16 {
        self.0
    }
}

impl Default for Priority {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl TryFrom<u16> for Priority {
    type Error = &'static str;
    fn try_from(stored: u16) -> Result<Self, Self::Error> {
        let native = || Self::new(u8::try_from(stored).ok()?);
        let fine = || Self::fine(i64::from(stored) - i64::from(FINE));
        native()
            .or_else(fine)
            .ok_or("a priority is between 1 and 10, or 1000 and a value between -100 and 100")
    }
}

impl From<Priority> for u16 {
    fn from(priority: Priority) -> Self {
        let native = Priority::new(priority.get()) == Some(priority);
        let stored = if native {
            i16::from(priority.get())
        } else {
            FINE + priority.0
        };
        // Neither is negative.
        stored.unsigned_abs()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_priority_is_read_as_it_was_stored() {
        for value in -100..=100 {
            let priority = Priority::fine(value).expect("in range");
            let stored = serde_json::to_string(&priority).expect("plain");
            assert_eq!(
                serde_json::from_str::<Priority>(&stored).ok(),
                Some(priority)
            );
        }
        for value in [-101, 101, 1_000] {
            assert_eq!(Priority::fine(value), None);
        }
    }

    #[test]
    fn those_of_the_native_api_are_stored_as_ever_and_others_read_as_the_nearest() {
        for number in 1..=10 {
            let priority = Priority::new(number).expect("1 to 10");
            assert_eq!(u16::from(priority), u16::from(number));
            assert_eq!(priority.get(), number);
            assert_eq!(priority.value(), (i16::from(number) - 5) * 20);
        }
        for (value, nearest) in [(-100, 1), (-71, 1), (-1, 5), (9, 5), (10, 6), (99, 10)] {
            let priority = Priority::fine(value).expect("in range");
            assert_eq!(priority.get(), nearest, "{value}");
        }
        for stored in [0, 11, 899, 1_101] {
            assert!(Priority::try_from(stored).is_err(), "{stored}");
        }
    }
}
