//! `GET /api/v1/auth/me`.

use axum::extract::State;
use http::HeaderMap;
use serde::Serialize;
use utoipa::ToSchema;
use waybill_domain::access::team::Team;
use waybill_domain::time::Timestamp;
use waybill_edge::Edge;
use waybill_edge::auth::{Holder, credential, key_session};
use waybill_edge::error::ApiError;
use waybill_edge::iso::Iso;
use waybill_identity::jwt::of_keys::KeyTokenUse;

use crate::permissions;

/// The end of a key that has none: clients read a time here. 9999-12-31T23:59:59Z.
const NO_END: Timestamp = Timestamp(253_402_300_799_000);

/// Who calls.
#[derive(Debug, Serialize, ToSchema)]
pub struct JobsMe {
    pub organization_id: String,
    pub api_key_id: String,
    /// The queues that the key is limited to; empty: none.
    pub queues: Vec<String>,
    pub permissions: Vec<&'static str>,
    #[schema(value_type = String, format = DateTime)]
    pub issued_at: Iso,
    /// The year 9999: never.
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Iso,
    pub organization: JobsMeOrganization,
}

/// The organisation of the caller.
#[derive(Debug, Serialize, ToSchema)]
pub struct JobsMeOrganization {
    pub id: String,
    pub name: String,
    pub slug: String,
    /// `free`, `starter`, `pro` or `enterprise`.
    pub plan_tier: &'static str,
    pub billing_email: Option<String>,
}

/// Read who calls, with a key or a token.
#[utoipa::path(
    get,
    path = "/api/v1/auth/me",
    operation_id = "jobs.auth.me",
    tag = "jobs",
    security(("api_key" = [])),
    responses((status = 200, description = "The caller", body = JobsMe))
)]
pub(crate) async fn me(
    State(state): State<Edge>,
    holder: Holder,
    headers: HeaderMap,
) -> Result<axum::Json<JobsMe>, ApiError> {
    let presented = credential::presented(&headers)?;
    let session = key_session::standing(&state, presented, KeyTokenUse::Access).await;
    let key = &holder.key;
    let at = |seconds: u64| Timestamp(i64::try_from(seconds).unwrap_or(0).saturating_mul(1_000));
    let (issued_at, expires_at) = match session {
        Some((_, claims)) => (at(claims.iat), at(claims.exp)),
        None => (key.created.at, key.accepted_until().unwrap_or(NO_END)),
    };
    let team = holder.team.base();
    let directory = state.auth.directory();
    let limits = directory.jobs_limits(&team);
    let tier = limits.map_or("free", |limits| limits.tier);
    let organization = |team: &Team| JobsMeOrganization {
        id: key.created.team.to_string(),
        name: team
            .info
            .as_ref()
            .map(|info| info.name.clone())
            .unwrap_or_default(),
        slug: team.slug(),
        plan_tier: tier,
        billing_email: team.organization.billing_email.clone(),
    };
    let organization = directory.with_team(&team, organization);
    let organization = organization.ok_or_else(|| ApiError::not_found("Organization not found"))?;
    Ok(axum::Json(JobsMe {
        organization_id: team.to_string(),
        api_key_id: key.created.key.to_string(),
        queues: key.created.queues.iter().map(ToString::to_string).collect(),
        permissions: permissions::words(key.scopes),
        issued_at: Iso(issued_at),
        expires_at: Iso(expires_at),
        organization,
    }))
}
