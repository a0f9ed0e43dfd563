//! The rule by which a team lets a failing host rest.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Most attempts at a host that are remembered, and the largest window of a share.
pub const WINDOW: u32 = 64;
/// Most failures in a row that a rule may wait for.
pub const MAX_IN_A_ROW: u32 = 1_000;
/// Shortest pause before a probe, in milliseconds.
pub const MIN_PAUSE_MS: u32 = 1_000;
/// Longest pause before a probe, in milliseconds: a day.
pub const MAX_PAUSE_MS: u32 = 86_400_000;
/// Shortest time after which a host that only fails is disabled, in milliseconds: an hour.
pub const MIN_DISABLE_MS: u32 = 3_600_000;
/// Longest time after which a host that only fails is disabled, in milliseconds: 30 days.
pub const MAX_DISABLE_MS: u32 = 2_592_000_000;

/// When nothing more is started at a host, and for how long. At least one of the two conditions is
/// set, and either suffices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HealthRule {
    /// So many attempts in a row have failed; absent: no such condition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_a_row: Option<u32>,
    /// Such a share of the latest attempts has failed; absent: no such condition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<FailureShare>,
    /// Milliseconds from the last failure to the first probe; each probe that fails doubles it.
    pub pause_ms: u32,
    /// The longest pause, in milliseconds; at least `pause_ms`.
    pub max_pause_ms: u32,
    /// Milliseconds for which it must have failed without a success between, until it is not even probed
    /// any more; absent: it is always probed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disable_after_ms: Option<u32>,
}

/// A share of the latest attempts at a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FailureShare {
    /// Failed ones in a hundred; 1 to 100.
    pub percent: u8,
    /// The number of latest attempts that are looked at; 2 to [`WINDOW`]. With fewer there is no
    /// share.
    pub of: u8,
}

impl HealthRule {
    /// The pause before the next probe, after so many probes that failed.
    #[must_use]
    pub fn pause(&self, probes: u16) -> Duration {
        let doubled = u64::from(self.pause_ms) << u32::from(probes).min(31);
        Duration::from_millis(doubled.min(self.max_pause_ms.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_grows_to_its_bound() {
        let rule = HealthRule {
            in_a_row: Some(3),
            share: None,
            pause_ms: 30_000,
            max_pause_ms: 100_000,
            disable_after_ms: None,
        };
        let pauses: Vec<_> = [0, 1, 2, 40, u16::MAX]
            .map(|probes| rule.pause(probes).as_secs())
            .into();
        assert_eq!(pauses, [30, 60, 100, 100, 100]);
    }
}
