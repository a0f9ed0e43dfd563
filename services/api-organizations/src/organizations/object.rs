//! An organisation as this API shows it.

use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;
use waybill_domain::access::team::Team;
use waybill_domain::id::TeamId;
use waybill_domain::time::Timestamp;
use waybill_edge::Edge;
use waybill_edge::error::ApiError;
use waybill_edge::iso::Iso;

use super::{no_such_organization, webhook_token};

/// An organisation.
#[derive(Debug, Serialize, ToSchema)]
pub struct JobsOrganization {
    pub id: String,
    pub name: String,
    pub slug: String,
    /// `free`, `starter`, `pro` or `enterprise`.
    pub plan_tier: &'static str,
    pub billing_email: Option<String>,
    /// As it was sent; `webhook_token` in it is Waybill's.
    #[schema(value_type = serde_json::Value)]
    pub settings: Value,
    /// Limits that replace those of the plan; `null`: none.
    #[schema(value_type = Option<serde_json::Value>)]
    pub custom_limits: Option<Value>,
    pub stripe_customer_id: Option<String>,
    pub stripe_subscription_id: Option<String>,
    /// Not known: `null`, as the next two.
    pub stripe_subscription_status: Option<String>,
    pub stripe_current_period_end: Option<String>,
    pub stripe_cancel_at_period_end: Option<bool>,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Iso,
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Iso,
}

/// An organisation in a list.
#[derive(Debug, Serialize, ToSchema)]
pub struct JobsOrganizationSummary {
    pub id: String,
    pub name: String,
    pub slug: String,
    /// `free`, `starter`, `pro` or `enterprise`.
    pub plan_tier: &'static str,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Iso,
}

/// Whether secrets of the organisation are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Secrets {
    Shown,
    Hidden,
}

impl JobsOrganization {
    /// The organisation, unless it was deleted.
    pub(crate) fn find(state: &Edge, id: &TeamId, secrets: Secrets) -> Result<Self, ApiError> {
        let directory = state.auth.directory();
        let limits = directory.jobs_limits(id);
        let tier = limits.map_or("free", |limits| limits.tier);
        let found = directory
            .with_team(id, |team| Self::new(team, tier))
            .flatten();
        let mut found = found.ok_or_else(no_such_organization)?;
        if secrets == Secrets::Shown
            && let Some(token) = webhook_token::of(state, id)
            && let Value::Object(settings) = &mut found.settings
        {
            settings.insert("webhook_token".to_owned(), token.into());
        }
        Ok(found)
    }

    fn new(team: &Team, plan_tier: &'static str) -> Option<Self> {
        let info = team.info.as_ref().filter(|info| info.deleted.is_none())?;
        let kept = &team.organization;
        let settings = kept.settings.as_deref();
        let settings = settings.and_then(|text| serde_json::from_str(text).ok());
        let limits = &kept.custom_limits;
        Some(Self {
            id: info.id.to_string(),
            name: info.name.clone(),
            slug: team.slug(),
            plan_tier,
            billing_email: kept.billing_email.clone(),
            settings: settings.unwrap_or_else(|| Value::Object(Map::new())),
            custom_limits: (!limits.is_empty())
                .then(|| serde_json::to_value(limits).unwrap_or_default()),
            stripe_customer_id: kept.stripe_customer_id.clone(),
            stripe_subscription_id: kept.stripe_subscription_id.clone(),
            stripe_subscription_status: None,
            stripe_current_period_end: None,
            stripe_cancel_at_period_end: None,
            created_at: Iso(info.created_at),
            updated_at: Iso(kept.updated_at.unwrap_or(info.created_at)),
        })
    }

    pub(crate) fn created(&self) -> Timestamp {
        self.created_at.0
    }

    pub(crate) fn summary(self) -> JobsOrganizationSummary {
        JobsOrganizationSummary {
            id: self.id,
            name: self.name,
            slug: self.slug,
            plan_tier: self.plan_tier,
            created_at: self.created_at,
        }
    }
}
