//! How long leases last, and the clock that measures them.

use std::time::Duration;

/// A reading of a clock that is never set and that runs on while the machine sleeps: on Linux
/// `CLOCK_BOOTTIME`. Readings can only be compared on the same machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Uptime(pub Duration);

impl Uptime {
    /// This reading plus a duration; saturates.
    #[must_use]
    pub fn plus(self, by: Duration) -> Self {
        Self(self.0.saturating_add(by))
    }

    /// Time passed since `earlier`; zero if that is not earlier.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

/// How long leases last. Every gateway and worker of one log must use the same values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FenceTiming {
    /// Length of a lease. It must outlast the election of a stream leader (4 to 9 s on
    /// nats-server), or each election takes every gateway out of service.
    pub lease: Duration,
    /// Interval between renewals.
    pub renewal: Duration,
    /// How much slower or faster than real time a clock may run, in parts per million. Ordinary crystals are below 200.
    pub drift_ppm: u32,
    /// After this long without a lease, a gateway appends another start event to CONTROL. It must
    /// be well below the age at which FENCE deletes marks.
    pub restart_after: Duration,
}

/// A timing under which gateways would not serve, or not safely.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ImpossibleTiming {
    /// A single lost renewal would take the gateway out of service.
    #[error(
        "a lease of {lease:?} is too short for renewals every {renewal:?}: it must last three of them"
    )]
    TooFewRenewals {
        /// Length of a lease.
        lease: Duration,
        /// Interval between renewals.
        renewal: Duration,
    },
    /// Twice the drift leaves no usable time of a lease.
    #[error(
        "a drift of {0} parts per million leaves nothing of a lease; at most 200000 are allowed"
    )]
    TooMuchDrift(u32),
}

impl Default for FenceTiming {
    fn default() -> Self {
        Self::lasting(Duration::from_secs(12))
    }
}

impl FenceTiming {
    /// Renewals within one lease.
    const RENEWALS: u32 = 4;
    /// Denominator of parts per million.
    const WHOLE: u64 = 1_000_000;
    /// More than any real clock drifts; clocks in the simulation drift by half of it.
    const MAX_DRIFT_PPM: u32 = 200_000;

    /// Timing with leases of this length, and renewals in proportion.
    #[must_use]
    pub fn lasting(lease: Duration) -> Self {
        Self {
            lease,
            renewal: lease / Self::RENEWALS,
            drift_ppm: 1_000,
            restart_after: Duration::from_secs(30 * 60),
        }
    }

    /// Checks that gateways can serve safely with this timing.
    ///
    /// # Errors
    /// Names the rule that is broken.
    pub fn check(&self) -> Result<(), ImpossibleTiming> {
        if self.renewal.is_zero() || self.renewal.saturating_mul(3) > self.lease {
            return Err(ImpossibleTiming::TooFewRenewals {
                lease: self.lease,
                renewal: self.renewal,
            });
        }
        if self.drift_ppm > Self::MAX_DRIFT_PPM {
            return Err(ImpossibleTiming::TooMuchDrift(self.drift_ppm));
        }
        Ok(())
    }

    /// How long a gateway uses a lease, by its own clock, from the sending of the renewal: T(1 -
    /// 2ρ). Even on the slowest clock this is less than T in real time.
    #[must_use]
    pub fn usable(&self) -> Duration {
        self.lease.saturating_sub(self.margin())
    }

    /// How long to wait, by any clock, until a lease that exists now has certainly ended: T(1 +
    /// 2ρ). Even on the fastest clock this is more than T in real time.
    #[must_use]
    pub fn horizon(&self) -> Duration {
        self.lease.saturating_add(self.margin())
    }

    fn margin(&self) -> Duration {
        let nanos = u64::try_from(self.lease.as_nanos()).unwrap_or(u64::MAX);
        let drift = 2 * u64::from(self.drift_ppm);
        // Whole and remainder are computed apart, so that no product overflows; rounded up.
        let whole = (nanos / Self::WHOLE).saturating_mul(drift);
        let rest = (nanos % Self::WHOLE * drift).div_ceil(Self::WHOLE);
        Duration::from_nanos(whole.saturating_add(rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_that_of_the_design() {
        let timing = FenceTiming::default();
        assert_eq!(timing.check(), Ok(()));
        assert_eq!(timing.renewal, Duration::from_secs(3));
        assert_eq!(timing.usable(), Duration::from_millis(11_976));
        assert_eq!(timing.horizon(), Duration::from_millis(12_024));
    }

    #[test]
    fn the_margin_outweighs_the_drift() {
        for drift_ppm in [1, 200, 1_000, 100_000] {
            let timing = FenceTiming {
                drift_ppm,
                ..FenceTiming::lasting(Duration::from_nanos(12_000_000_007))
            };
            let rho = f64::from(drift_ppm) / 1e6;
            let lease = timing.lease.as_secs_f64();
            assert!(timing.usable().as_secs_f64() / (1.0 - rho) < lease);
            assert!(timing.horizon().as_secs_f64() / (1.0 + rho) > lease);
        }
    }

    #[test]
    fn what_cannot_work_is_refused() {
        let good = FenceTiming::default();
        let few = FenceTiming {
            renewal: good.lease / 2,
            ..good
        };
        assert!(matches!(
            few.check(),
            Err(ImpossibleTiming::TooFewRenewals { .. })
        ));
        let none = FenceTiming {
            renewal: Duration::ZERO,
            ..good
        };
        assert!(none.check().is_err());
        let wild = FenceTiming {
            drift_ppm: 200_001,
            ..good
        };
        assert_eq!(wild.check(), Err(ImpossibleTiming::TooMuchDrift(200_001)));
    }
}
