//! Windows: aligned periods of time, equal on all gateways with correct clocks.

use std::time::Duration;

use crate::access::plan::Policy;
use crate::time::Timestamp;

/// One window of a policy: from `id * w` to `(id + 1) * w` seconds since the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    id: u64,
    length_s: u64,
}

impl Window {
    /// The window of a policy that contains `now`.
    #[must_use]
    pub fn at(now: Timestamp, policy: &Policy) -> Self {
        let length_s = policy.window().as_secs();
        let now_s = u64::try_from(now.as_secs()).unwrap_or(0);
        Self {
            id: now_s / length_s,
            length_s,
        }
    }

    /// Number of the window, `floor(now / w)`: the last token of its counter's name.
    #[must_use]
    pub fn id(self) -> u64 {
        self.id
    }

    /// Number of the window before it.
    #[must_use]
    pub fn previous(self) -> u64 {
        self.id.saturating_sub(1)
    }

    /// End of the window in seconds since the epoch; a multiple of `w`.
    #[must_use]
    pub fn ends_s(self) -> u64 {
        (self.id + 1) * self.length_s
    }

    #[must_use]
    pub fn ends(self) -> Timestamp {
        Timestamp(i64::try_from(self.ends_s().saturating_mul(1000)).unwrap_or(i64::MAX))
    }

    /// Time until the window ends.
    #[must_use]
    pub fn left(self, now: Timestamp) -> Duration {
        self.ends().since(now).min(self.length())
    }

    #[must_use]
    pub fn length(self) -> Duration {
        Duration::from_secs(self.length_s)
    }
}
