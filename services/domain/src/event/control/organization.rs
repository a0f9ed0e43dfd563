//! Events of a team as the organisation that the jobs API shows.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::id::TeamId;
use crate::time::Timestamp;

/// A team took a slug: a word in addresses that is one team's for ever.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TeamSlugTaken {
    pub team: TeamId,
    /// 3 to 50 of a-z, 0-9 and -.
    pub slug: String,
    pub at: Timestamp,
}

/// What the jobs API keeps of a team beside its name and plan was set. The event has all values that apply from now on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TeamOrganizationSet {
    pub team: TeamId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub billing_email: Option<String>,
    /// An object in JSON, as it was sent. Absent: an empty one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settings: Option<String>,
    /// Limits that replace those of the plan, by their names in the jobs API.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub custom_limits: BTreeMap<String, u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stripe_customer_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stripe_subscription_id: Option<String>,
    /// Number of the webhook token, from which it is derived.
    #[serde(default)]
    pub webhook_token: u32,
    pub at: Timestamp,
}
