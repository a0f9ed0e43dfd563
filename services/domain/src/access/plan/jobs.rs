//! What the plans allow in the jobs API: counts of its resources, in the numbers of its contract.
//!
//! An administrator may replace single numbers for one organisation.

use std::collections::BTreeMap;

use super::{DEFAULT_PLAN, UNLIMITED_PLAN};

/// Limits of an organisation in the jobs API. `None`: unlimited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobsLimits {
    /// `free`, `starter`, `pro` or `enterprise`.
    pub tier: &'static str,
    /// The name shown to people.
    pub display_name: &'static str,
    pub max_jobs_per_day: Option<u64>,
    /// Jobs that are scheduled, pending or processing.
    pub max_active_jobs: Option<u64>,
    pub max_queues: Option<u64>,
    pub max_workers: Option<u64>,
    pub max_api_keys: Option<u64>,
    pub max_schedules: Option<u64>,
    pub max_workflows: Option<u64>,
    pub max_webhooks: Option<u64>,
    pub max_payload_size_bytes: u64,
    pub job_retention_days: u64,
    pub history_retention_days: u64,
}

/// Names that an administrator may replace limits by.
pub const CUSTOM_LIMITS: [&str; 11] = [
    "max_jobs_per_day",
    "max_active_jobs",
    "max_queues",
    "max_workers",
    "max_api_keys",
    "max_schedules",
    "max_workflows",
    "max_webhooks",
    "max_payload_size_bytes",
    "job_retention_days",
    "history_retention_days",
];

const FREE: JobsLimits = JobsLimits {
    tier: "free",
    display_name: "Free",
    max_jobs_per_day: Some(1_000),
    max_active_jobs: Some(10),
    max_queues: Some(2),
    max_workers: Some(1),
    max_api_keys: Some(2),
    max_schedules: Some(1),
    max_workflows: Some(0),
    max_webhooks: Some(1),
    max_payload_size_bytes: 64 * 1024,
    job_retention_days: 3,
    history_retention_days: 1,
};

const STARTER: JobsLimits = JobsLimits {
    tier: "starter",
    display_name: "Starter",
    max_jobs_per_day: Some(10_000),
    max_active_jobs: Some(500),
    max_queues: Some(10),
    max_workers: Some(5),
    max_api_keys: Some(5),
    max_schedules: Some(10),
    max_workflows: Some(5),
    max_webhooks: Some(5),
    max_payload_size_bytes: 256 * 1024,
    job_retention_days: 14,
    history_retention_days: 7,
};

const PRO: JobsLimits = JobsLimits {
    tier: "pro",
    display_name: "Pro",
    max_jobs_per_day: Some(100_000),
    max_active_jobs: Some(5_000),
    max_queues: Some(50),
    max_workers: Some(25),
    // Decided for all APIs: Pro has no cap of keys.
    max_api_keys: None,
    max_schedules: Some(50),
    max_workflows: Some(25),
    max_webhooks: Some(20),
    max_payload_size_bytes: 1024 * 1024,
    job_retention_days: 30,
    history_retention_days: 30,
};

const ENTERPRISE: JobsLimits = JobsLimits {
    tier: "enterprise",
    display_name: "Enterprise",
    max_jobs_per_day: None,
    max_active_jobs: None,
    max_queues: None,
    max_workers: None,
    max_api_keys: None,
    max_schedules: None,
    max_workflows: None,
    max_webhooks: None,
    max_payload_size_bytes: 1024 * 1024,
    job_retention_days: 90,
    history_retention_days: 90,
};

impl JobsLimits {
    /// All tiers, from the narrowest to the widest.
    pub const ALL: [Self; 4] = [FREE, STARTER, PRO, ENTERPRISE];

    /// The limits of a plan of the catalogue, by its own name. The name of a plan that is in no catalogue must not come here: it has the
    /// limits of `free`.
    #[must_use]
    pub fn of(plan: &str) -> Self {
        match plan {
            DEFAULT_PLAN => FREE,
            "starter" => STARTER,
            "pro" | "team" => PRO,
            _ => ENTERPRISE,
        }
    }

    /// The plan of the built-in catalogue that a tier stands for.
    #[must_use]
    pub fn plan_of(tier: &str) -> Option<&'static str> {
        match tier {
            "free" => Some(DEFAULT_PLAN),
            "starter" => Some("starter"),
            "pro" => Some("pro"),
            "enterprise" => Some(UNLIMITED_PLAN),
            _ => None,
        }
    }

    /// The tier above, by which a refusal advertises.
    #[must_use]
    pub fn upgrade_to(&self) -> Option<&'static str> {
        let at = Self::ALL.iter().position(|of| of.tier == self.tier)?;
        Self::ALL.get(at + 1).map(|next| next.tier)
    }

    /// With the numbers that an administrator set for one organisation.
    #[must_use]
    pub fn with(mut self, custom: &BTreeMap<String, u64>) -> Self {
        for (name, value) in custom {
            let limit = match name.as_str() {
                "max_jobs_per_day" => &mut self.max_jobs_per_day,
                "max_active_jobs" => &mut self.max_active_jobs,
                "max_queues" => &mut self.max_queues,
                "max_workers" => &mut self.max_workers,
                "max_api_keys" => &mut self.max_api_keys,
                "max_schedules" => &mut self.max_schedules,
                "max_workflows" => &mut self.max_workflows,
                "max_webhooks" => &mut self.max_webhooks,
                "max_payload_size_bytes" => {
                    self.max_payload_size_bytes = *value;
                    continue;
                }
                "job_retention_days" => {
                    self.job_retention_days = *value;
                    continue;
                }
                "history_retention_days" => {
                    self.history_retention_days = *value;
                    continue;
                }
                _ => continue,
            };
            *limit = Some(*value);
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_those_of_the_contract() {
        let caps = |plan: &str| {
            let of = JobsLimits::of(plan);
            (of.max_jobs_per_day, of.max_active_jobs, of.max_api_keys)
        };
        assert_eq!(caps("free"), (Some(1_000), Some(10), Some(2)));
        assert_eq!(caps("starter"), (Some(10_000), Some(500), Some(5)));
        assert_eq!(caps("pro"), (Some(100_000), Some(5_000), None));
        assert_eq!(caps("team"), caps("pro"));
        assert_eq!(caps("enterprise"), (None, None, None));
        assert_eq!(JobsLimits::of("gold").tier, "enterprise");
    }

    #[test]
    fn a_custom_limit_replaces_one_number_and_every_name_is_known() {
        let plain = JobsLimits::of("free");
        for name in CUSTOM_LIMITS {
            let custom = plain.clone().with(&[(name.to_owned(), 77)].into());
            assert_ne!(custom, plain, "{name}");
        }
        let unknown = [("max_wishes".to_owned(), 77)].into();
        assert_eq!(plain.clone().with(&unknown), plain);
    }

    #[test]
    fn a_refusal_advertises_the_next_tier() {
        assert_eq!(JobsLimits::of("free").upgrade_to(), Some("starter"));
        assert_eq!(JobsLimits::of("pro").upgrade_to(), Some("enterprise"));
        assert_eq!(JobsLimits::of("enterprise").upgrade_to(), None);
    }
}
