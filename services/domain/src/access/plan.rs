//! Plans: what a team may use. A plan is known by its name; one that nobody knows is as narrow as the smallest.

use std::time::Duration;

/// The plan of a team that names none.
pub const DEFAULT_PLAN: &str = "free";
/// The plan of the bootstrap team: trying and measuring are not throttled.
pub const UNLIMITED_PLAN: &str = "enterprise";

/// The plans there are.
pub const ALL_PLANS: [&str; 3] = [DEFAULT_PLAN, "pro", UNLIMITED_PLAN];

/// The limits of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlanLimits {
    /// Longest `maxWaitTime` of a task.
    pub max_wait: Duration,
}

impl PlanLimits {
    const FREE: Self = Self {
        max_wait: Duration::from_secs(30),
    };
    const PRO: Self = Self {
        max_wait: Duration::from_secs(120),
    };
    const ENTERPRISE: Self = Self {
        max_wait: Duration::from_secs(3600),
    };

    /// The limits of the plan of that name.
    #[must_use]
    pub fn of(plan: &str) -> Self {
        match plan {
            "pro" => Self::PRO,
            UNLIMITED_PLAN => Self::ENTERPRISE,
            _ => Self::FREE,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_plan_is_as_narrow_as_the_smallest() {
        assert_eq!(PlanLimits::of("platinum"), PlanLimits::of(DEFAULT_PLAN));
        assert_eq!(PlanLimits::of("pro").max_wait, Duration::from_secs(120));
        assert_eq!(PlanLimits::of("free").max_wait, Duration::from_secs(30));
        assert_eq!(
            PlanLimits::of(UNLIMITED_PLAN).max_wait,
            Duration::from_secs(3600)
        );
    }
}
