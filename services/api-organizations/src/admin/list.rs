//! `GET /api/v1/admin/organizations` and one of them.

use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use waybill_edge::Edge;
use waybill_edge::auth::admin_key::Administrator;
use waybill_edge::error::rules::broken;
use waybill_edge::error::{ApiError, JobsErrorBody};
use waybill_edge::iso::Iso;
use waybill_edge::query::Query;
use waybill_projector::query::{CountJobs, Position};

use super::find;
use crate::organizations::object::{JobsOrganization, Secrets};
use crate::usage::{counts, live, usage};

const USUAL_LIMIT: usize = 50;
const MAX_LIMIT: usize = 100;

/// Which organisations, and in which order.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub(crate) struct AdminListParams {
    /// `free`, `starter`, `pro` or `enterprise`.
    plan_tier: Option<String>,
    /// Part of the name or the slug.
    search: Option<String>,
    /// 1 to 100.
    #[param(default = 50)]
    limit: Option<usize>,
    offset: usize,
    /// `created_at`, `updated_at`, `name`, `slug` or `plan_tier`.
    #[param(default = "created_at")]
    sort_by: Option<String>,
    /// `asc` or `desc`.
    #[param(default = "desc")]
    sort_order: Option<String>,
}

/// A page of organisations.
#[derive(Debug, Serialize, ToSchema)]
pub struct JobsAdminList {
    pub organizations: Vec<JobsAdminOrganization>,
    /// On all pages.
    pub total: usize,
    pub limit: usize,
    pub offset: usize,
}

/// An organisation as administrators see it in a list.
#[derive(Debug, Serialize, ToSchema)]
pub struct JobsAdminOrganization {
    pub id: String,
    pub name: String,
    pub slug: String,
    pub plan_tier: &'static str,
    pub billing_email: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Iso,
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Iso,
    pub usage: JobsAdminUsage,
}

/// What it has.
#[derive(Debug, Serialize, ToSchema)]
pub struct JobsAdminUsage {
    pub jobs_today: u64,
    pub active_jobs: u64,
    pub queues: u64,
    /// Not counted yet: 0.
    pub workers: u64,
    pub api_keys: u64,
}

/// List all organisations.
#[utoipa::path(
    get,
    path = "/api/v1/admin/organizations",
    operation_id = "jobs.admin.organizations",
    tag = "jobs",
    params(AdminListParams, ("X-Admin-Key" = String, Header, description = "The key of administrators")),
    responses(
        (status = 200, description = "A page of them", body = JobsAdminList),
        (status = 401, description = "`X-Admin-Key` is not right", body = JobsErrorBody),
    )
)]
pub(crate) async fn list_all(
    State(state): State<Edge>,
    _administrator: Administrator,
    Query(params): Query<AdminListParams>,
) -> Result<axum::Json<JobsAdminList>, ApiError> {
    let limit = params.limit.unwrap_or(USUAL_LIMIT).clamp(1, MAX_LIMIT);
    let teams = state.auth.directory().teams().into_iter();
    let mut found: Vec<JobsOrganization> = teams
        .filter_map(|team| JobsOrganization::find(&state, &team, Secrets::Hidden).ok())
        .filter(|of| {
            params
                .plan_tier
                .as_deref()
                .is_none_or(|tier| of.plan_tier == tier)
        })
        .filter(|of| params.search.as_deref().is_none_or(|part| has(of, part)))
        .collect();
    sort(&mut found, &params)?;
    let total = found.len();
    let mut page = Vec::new();
    for of in found.into_iter().skip(params.offset).take(limit) {
        let team = find(&state, &of.id)?;
        let used = counts(&state, &live(&team)).await?;
        page.push(JobsAdminOrganization {
            id: of.id,
            name: of.name,
            slug: of.slug,
            plan_tier: of.plan_tier,
            billing_email: of.billing_email,
            created_at: of.created_at,
            updated_at: of.updated_at,
            usage: JobsAdminUsage {
                jobs_today: used.jobs_today,
                active_jobs: used.active_jobs,
                queues: used.queues,
                workers: 0,
                api_keys: used.api_keys,
            },
        });
    }
    Ok(axum::Json(JobsAdminList {
        organizations: page,
        total,
        limit,
        offset: params.offset,
    }))
}

fn has(of: &JobsOrganization, part: &str) -> bool {
    let part = part.to_lowercase();
    of.name.to_lowercase().contains(&part) || of.slug.contains(&part)
}

fn sort(found: &mut [JobsOrganization], params: &AdminListParams) -> Result<(), ApiError> {
    match params.sort_by.as_deref().unwrap_or("created_at") {
        "created_at" => found.sort_by_key(JobsOrganization::created),
        "updated_at" => found.sort_by_key(|of| of.updated_at.0),
        "name" => found.sort_by(|a, b| a.name.cmp(&b.name)),
        "slug" => found.sort_by(|a, b| a.slug.cmp(&b.slug)),
        "plan_tier" => found.sort_by_key(|of| of.plan_tier),
        _ => {
            let text = "must be created_at, updated_at, name, slug or plan_tier";
            return Err(broken("sort_by", text, "invalid"));
        }
    }
    match params.sort_order.as_deref().unwrap_or("desc") {
        "asc" => {}
        "desc" => found.reverse(),
        _ => return Err(broken("sort_order", "must be asc or desc", "invalid")),
    }
    Ok(())
}

/// Read an organisation, what it uses, and how many keys and jobs it has.
#[utoipa::path(
    get,
    path = "/api/v1/admin/organizations/{id}",
    operation_id = "jobs.admin.organization",
    tag = "jobs",
    params(
        ("id" = String, Path, description = "Id of the organisation"),
        ("X-Admin-Key" = String, Header, description = "The key of administrators"),
    ),
    responses(
        (status = 200, description = "The organisation, with `usage_info`, `api_keys_count` and `total_jobs`", body = JobsOrganization),
        (status = 401, description = "Administration is not configured, or the key is missing or wrong", body = JobsErrorBody),
        (status = 404, description = "No such organisation", body = JobsErrorBody),
    )
)]
pub(crate) async fn get_one(
    State(state): State<Edge>,
    _administrator: Administrator,
    Path(id): Path<String>,
) -> Result<axum::Json<Value>, ApiError> {
    let team = find(&state, &id)?;
    let found = JobsOrganization::find(&state, &team, Secrets::Hidden)?;
    let used = usage(&state, &live(&team)).await?;
    let keys = used.usage.api_keys.current;
    let jobs = CountJobs {
        team: live(&team),
        queue: None,
        queues: Vec::new(),
    };
    let jobs = state.queries.ask(jobs, Position::default()).await?.value;
    let written = |error: serde_json::Error| ApiError::internal(&error);
    let mut shown = serde_json::to_value(found).map_err(written)?;
    shown["usage_info"] = serde_json::to_value(used).map_err(written)?;
    shown["api_keys_count"] = keys.into();
    shown["total_jobs"] = jobs.total().into();
    Ok(axum::Json(shown))
}
