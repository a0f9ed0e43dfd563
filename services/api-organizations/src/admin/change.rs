//! What administrators change: organisations made, updated and deleted, and keys made for them.

use std::collections::BTreeMap;

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;
use waybill_commands::OrganizationWish;
use waybill_domain::access::plan::jobs::{CUSTOM_LIMITS, JobsLimits};
use waybill_domain::access::scope::ScopeSet;
use waybill_domain::access::team::TeamCommand;
use waybill_domain::access::team::organization::OrganizationChange;
use waybill_domain::id::Environment;
use waybill_edge::Edge;
use waybill_edge::auth::admin_key::Administrator;
use waybill_edge::error::rules::broken;
use waybill_edge::error::{ApiError, JobsErrorBody};

use super::find;
use crate::api_keys::create::{JobsApiKeyCreated, JobsCreateApiKey, created, of_this_api};
use crate::api_keys::needs_brand;
use crate::body::{Body, secret};
use crate::field::Field;
use crate::organizations::create::{JobsOrganizationCreated, email, first_key, found, settings};
use crate::organizations::object::{JobsOrganization, Secrets};

/// An organisation to be created.
#[derive(Debug, Deserialize, ToSchema)]
pub struct JobsAdminCreate {
    name: String,
    slug: String,
    /// `free` (the default), `starter`, `pro` or `enterprise`.
    plan_tier: Option<String>,
    billing_email: Option<String>,
    /// An object.
    #[schema(value_type = Option<serde_json::Value>)]
    settings: Option<Value>,
    /// Limits that replace those of the plan, by their names in `GET /api/v1/admin/plans`.
    #[schema(value_type = Option<serde_json::Value>)]
    custom_limits: Option<Value>,
}

/// Changes of an organisation: what is absent stays, `null` clears.
#[derive(Debug, Deserialize, ToSchema)]
pub struct JobsAdminUpdate {
    name: Option<String>,
    /// `free`, `starter`, `pro` or `enterprise`.
    plan_tier: Option<String>,
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    billing_email: Field<String>,
    #[serde(default)]
    #[schema(value_type = Option<serde_json::Value>)]
    settings: Field<Value>,
    /// `null` or `{}`: those of the plan.
    #[serde(default)]
    #[schema(value_type = Option<serde_json::Value>)]
    custom_limits: Field<Value>,
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    stripe_customer_id: Field<String>,
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    stripe_subscription_id: Field<String>,
}

/// Create an organisation on any plan.
#[utoipa::path(
    post,
    path = "/api/v1/admin/organizations",
    operation_id = "jobs.admin.create_organization",
    tag = "jobs",
    params(("X-Admin-Key" = String, Header, description = "The key of administrators")),
    request_body = JobsAdminCreate,
    responses(
        (status = 201, description = "Created, with its first key", body = JobsOrganizationCreated),
        (status = 400, description = "A member is wrong or unknown", body = JobsErrorBody),
        (status = 401, description = "Administration is not configured, or the key is missing or wrong", body = JobsErrorBody),
        (status = 409, description = "The slug is taken", body = JobsErrorBody),
    )
)]
pub(crate) async fn create_for_admin(
    State(state): State<Edge>,
    administrator: Administrator,
    Body(request): Body<JobsAdminCreate>,
) -> Result<Response, ApiError> {
    let wish = OrganizationWish {
        name: request.name,
        slug: request.slug,
        plan: plan(request.plan_tier.as_deref().unwrap_or("free"))?,
        billing_email: request.billing_email.map(email).transpose()?,
        settings: request.settings.map(settings).transpose()?,
        custom_limits: request.custom_limits.map_or(Ok(BTreeMap::new()), limits)?,
        key: first_key(),
    };
    let created = found(&state, wish, &administrator.by()).await?;
    Ok(secret(StatusCode::CREATED, created))
}

fn plan(tier: &str) -> Result<String, ApiError> {
    let plan = JobsLimits::plan_of(tier).map(str::to_owned);
    let text = "must be free, starter, pro or enterprise";
    plan.ok_or_else(|| broken("plan_tier", text, "invalid"))
}

/// Limits by name; those that are `null` are the plan's.
fn limits(value: Value) -> Result<BTreeMap<String, u64>, ApiError> {
    let wrong = |text: String| broken("custom_limits", text, "invalid");
    let Value::Object(named) = value else {
        return Err(wrong("must be an object".to_owned()));
    };
    let mut limits = BTreeMap::new();
    for (name, value) in named {
        if !CUSTOM_LIMITS.contains(&name.as_str()) {
            let (name, all) = (name.chars().take(40).collect::<String>(), CUSTOM_LIMITS);
            return Err(wrong(format!(
                "has names of {}, not {name:?}",
                all.join(", ")
            )));
        }
        if value.is_null() {
            continue;
        }
        let number = value.as_u64();
        let number = number.ok_or_else(|| wrong(format!("{name} must be a whole number")))?;
        limits.insert(name, number);
    }
    Ok(limits)
}

/// Change an organisation.
#[utoipa::path(
    patch,
    path = "/api/v1/admin/organizations/{id}",
    operation_id = "jobs.admin.update_organization",
    tag = "jobs",
    params(
        ("id" = String, Path, description = "Id of the organisation"),
        ("X-Admin-Key" = String, Header, description = "The key of administrators"),
    ),
    request_body = JobsAdminUpdate,
    responses(
        (status = 200, description = "The organisation, as it is on every gateway", body = JobsOrganization),
        (status = 400, description = "A member is wrong or unknown", body = JobsErrorBody),
        (status = 401, description = "Administration is not configured, or the key is missing or wrong", body = JobsErrorBody),
        (status = 404, description = "No such organisation", body = JobsErrorBody),
    )
)]
pub(crate) async fn update_for_admin(
    state: State<Edge>,
    administrator: Administrator,
    id: Path<String>,
    body: Body<JobsAdminUpdate>,
) -> Result<Response, ApiError> {
    change(state, administrator, id, body).await
}

/// Change an organisation: the same as `PATCH`.
#[utoipa::path(
    put,
    path = "/api/v1/admin/organizations/{id}",
    operation_id = "jobs.admin.replace_organization",
    tag = "jobs",
    params(
        ("id" = String, Path, description = "Id of the organisation"),
        ("X-Admin-Key" = String, Header, description = "The key of administrators"),
    ),
    request_body = JobsAdminUpdate,
    responses(
        (status = 200, description = "The organisation, as it is on every gateway", body = JobsOrganization),
        (status = 400, description = "A member is wrong or unknown", body = JobsErrorBody),
        (status = 401, description = "Administration is not configured, or the key is missing or wrong", body = JobsErrorBody),
        (status = 404, description = "No such organisation", body = JobsErrorBody),
    )
)]
pub(crate) async fn replace_for_admin(
    state: State<Edge>,
    administrator: Administrator,
    id: Path<String>,
    body: Body<JobsAdminUpdate>,
) -> Result<Response, ApiError> {
    change(state, administrator, id, body).await
}

async fn change(
    State(state): State<Edge>,
    administrator: Administrator,
    Path(id): Path<String>,
    Body(request): Body<JobsAdminUpdate>,
) -> Result<Response, ApiError> {
    let team = find(&state, &id)?;
    let change = OrganizationChange {
        name: request.name,
        plan: request.plan_tier.as_deref().map(plan).transpose()?,
        billing_email: request.billing_email.change(email)?,
        settings: request.settings.change(settings)?,
        custom_limits: request.custom_limits.change(limits)?,
        stripe_customer_id: request.stripe_customer_id.change(short)?,
        stripe_subscription_id: request.stripe_subscription_id.change(short)?,
        ..OrganizationChange::default()
    };
    let command = TeamCommand::ChangeOrganization(Box::new(change));
    let by = administrator.by();
    let after = state.control.run_team(&team, command, &by);
    let after = after.await?;
    state.settle_everywhere(after.version).await?;
    let found = JobsOrganization::find(&state, &team, Secrets::Hidden)?;
    Ok((StatusCode::OK, axum::Json(found)).into_response())
}

/// An id at Stripe.
fn short(text: String) -> Result<String, ApiError> {
    if text.len() <= 255 {
        Ok(text)
    } else {
        Err(broken(
            "stripe_customer_id",
            "must be at most 255 bytes, as stripe_subscription_id",
            "length",
        ))
    }
}

/// Delete an organisation: its keys stop at once, and it never comes back.
#[utoipa::path(
    delete,
    path = "/api/v1/admin/organizations/{id}",
    operation_id = "jobs.admin.delete_organization",
    tag = "jobs",
    params(
        ("id" = String, Path, description = "Id of the organisation"),
        ("X-Admin-Key" = String, Header, description = "The key of administrators"),
    ),
    responses(
        (status = 204, description = "Deleted, on every gateway"),
        (status = 401, description = "Administration is not configured, or the key is missing or wrong", body = JobsErrorBody),
        (status = 404, description = "No such organisation", body = JobsErrorBody),
    )
)]
pub(crate) async fn delete_for_admin(
    State(state): State<Edge>,
    administrator: Administrator,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    let team = find(&state, &id)?;
    let command = TeamCommand::DeleteOrganization;
    let by = administrator.by();
    let deleted = state.control.run_team(&team, command, &by);
    let deleted = deleted.await?;
    state.settle_everywhere(deleted.version).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Create a key of an organisation.
#[utoipa::path(
    post,
    path = "/api/v1/admin/organizations/{id}/api-keys",
    operation_id = "jobs.admin.create_api_key",
    tag = "jobs",
    params(
        ("id" = String, Path, description = "Id of the organisation"),
        ("X-Admin-Key" = String, Header, description = "The key of administrators"),
    ),
    request_body = JobsCreateApiKey,
    responses(
        (status = 201, description = "Created, and accepted from now on", body = JobsApiKeyCreated),
        (status = 400, description = "A member is wrong or unknown", body = JobsErrorBody),
        (status = 401, description = "Administration is not configured, or the key is missing or wrong", body = JobsErrorBody),
        (status = 404, description = "No such organisation", body = JobsErrorBody),
        (status = 429, description = "The plan has no room for another key", body = JobsErrorBody),
    )
)]
pub(crate) async fn create_key_for_admin(
    State(state): State<Edge>,
    administrator: Administrator,
    Path(id): Path<String>,
    Body(request): Body<JobsCreateApiKey>,
) -> Result<Response, ApiError> {
    let team = find(&state, &id)?;
    let environment = request.environment(Environment::Live)?;
    needs_brand(&state)?;
    let wish = request.wish(ScopeSet::all())?;
    let by = administrator.by();
    let made = state.control.make_jobs_key(&team, &wish, environment, &by);
    let made = made.await.map_err(|error| of_this_api(error.into()))?;
    let created = created(&state, &team, &made, &wish).await?;
    Ok(secret(StatusCode::CREATED, created))
}
