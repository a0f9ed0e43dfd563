//! Priority of tasks in the order of service.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// From 1 to 10; higher ones are served first.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(try_from = "u8", into = "u8")]
pub struct Priority(u8);

impl Priority {
    /// Priority of a task that does not set one.
    pub const DEFAULT: Self = Self(5);
    /// The lowest priority.
    pub const LEAST: Self = Self(1);
    /// The highest priority.
    pub const MAX: Self = Self(10);

    /// `None` if the value is not between 1 and 10.
    #[must_use]
    pub fn new(value: u8) -> Option<Self> {
        (1..=10).contains(&value).then_some(Self(value))
    }

    #[must_use]
    pub fn get(self) -> u8 {
        self.0
    }
}

impl Default for Priority {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl TryFrom<u8> for Priority {
    type Error = &'static str;
    fn try_from(value: u8) -> Result<Self, Self::Error> {
        Self::new(value).ok_or("a priority is between 1 and 10")
    }
}

impl From<Priority> for u8 {
    fn from(priority: Priority) -> Self {
        priority.0
    }
}
