//! `POST /api/v1/organizations`: a team with its slug and its first key.

use std::collections::BTreeMap;

use axum::Extension;
use axum::extract::{FromRequestParts, State};
use axum::response::Response;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use waybill_commands::{Author, OrganizationWish};
use waybill_domain::access::email::Email;
use waybill_domain::access::plan::{DEFAULT_PLAN, Guard};
use waybill_domain::access::scope::ScopeSet;
use waybill_domain::access::team::jobs_keys::NewJobsKey;
use waybill_domain::access::team::organization::MAX_SETTINGS_BYTES;
use waybill_domain::actor::Actor;
use waybill_edge::Edge;
use waybill_edge::auth::admin_key::Administrator;
use waybill_edge::error::rules::broken;
use waybill_edge::error::{ApiError, JobsErrorBody};
use waybill_edge::iso::Iso;
use waybill_edge::limits::Guarded;
use waybill_edge::request::RequestContext;
use waybill_identity::SignUpPolicy;

use super::object::{JobsOrganization, Secrets};
use crate::api_keys::needs_brand;
use crate::body::{Body, secret};

/// The actor that events of sign-ups without a person name.
const SIGN_UP: &str = "jobs-sign-up";

/// An organisation to be created.
#[derive(Debug, Deserialize, ToSchema)]
pub struct JobsCreateOrganization {
    /// 3 to 100 characters.
    #[schema(min_length = 3, max_length = 100)]
    pub name: String,
    /// 3 to 50 of a-z, 0-9 and -; it is the organisation's for ever.
    #[schema(
        min_length = 3,
        max_length = 50,
        pattern = "^[a-z0-9][a-z0-9-]*[a-z0-9]$"
    )]
    pub slug: String,
    pub billing_email: Option<String>,
}

/// An organisation that was created, and its first key.
#[derive(Debug, Serialize, ToSchema)]
pub struct JobsOrganizationCreated {
    pub organization: JobsOrganization,
    pub api_key: JobsFirstKey,
}

/// The first key of an organisation. It may do everything.
#[derive(Debug, Serialize, ToSchema)]
pub struct JobsFirstKey {
    pub id: String,
    /// The key itself: in this answer, and never again.
    pub key: String,
    pub name: String,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Iso,
}

/// Who founds an organisation: anybody where sign-up is open, else an administrator.
#[derive(Debug)]
pub(crate) struct Founder(Author);

impl FromRequestParts<Edge> for Founder {
    type Rejection = ApiError;

    async fn from_request_parts(
        parts: &mut http::request::Parts,
        state: &Edge,
    ) -> Result<Self, ApiError> {
        let has_key = parts.headers.contains_key("x-admin-key");
        if has_key || state.people.sign_up != SignUpPolicy::Open {
            let administrator = Administrator::from_request_parts(parts, state).await?;
            return Ok(Self(administrator.by()));
        }
        let Extension(context) = Extension::<RequestContext>::from_request_parts(parts, state)
            .await
            .map_err(|error| ApiError::internal(&error))?;
        state
            .limiter
            .admit_source(&context.limits, context.source)?;
        state.auth.check_caught_up()?;
        state.fence.may_decide_soon().await?;
        let who = Guarded {
            source: Some(context.source),
            account: None,
            team: None,
        };
        let guard = state.limiter.guard(&context.limits, Guard::SignUp, &who);
        guard.await?;
        Ok(Self(Author {
            actor: Actor::System(SIGN_UP.into()),
            origin: Some(context.origin()),
        }))
    }
}

/// Create an organisation on the plan `free`.
#[utoipa::path(
    post,
    path = "/api/v1/organizations",
    operation_id = "jobs.organization.create",
    tag = "jobs",
    params(("X-Admin-Key" = Option<String>, Header, description = "Where sign-up is not open")),
    request_body = JobsCreateOrganization,
    responses(
        (status = 201, description = "Created, with its first key", body = JobsOrganizationCreated),
        (status = 400, description = "A member is wrong or unknown", body = JobsErrorBody),
        (status = 401, description = "Sign-up is not open, and `X-Admin-Key` is not right", body = JobsErrorBody),
        (status = 409, description = "The slug is taken", body = JobsErrorBody),
    )
)]
pub(crate) async fn create_organization(
    State(state): State<Edge>,
    Founder(by): Founder,
    Body(request): Body<JobsCreateOrganization>,
) -> Result<Response, ApiError> {
    let wish = OrganizationWish {
        name: request.name,
        slug: request.slug,
        plan: DEFAULT_PLAN.to_owned(),
        billing_email: request.billing_email.map(email).transpose()?,
        settings: None,
        custom_limits: BTreeMap::new(),
        key: first_key(),
    };
    let created = found(&state, wish, &by).await?;
    Ok(secret(StatusCode::CREATED, created))
}

/// The first key of an organisation: all scopes, no limits.
pub(crate) fn first_key() -> NewJobsKey {
    NewJobsKey {
        name: "Default API key".to_owned(),
        scopes: ScopeSet::all(),
        queues: Vec::new(),
        expires_at: None,
        rate_limit: None,
    }
}

pub(crate) async fn found(
    state: &Edge,
    wish: OrganizationWish,
    by: &Author,
) -> Result<JobsOrganizationCreated, ApiError> {
    needs_brand(state)?;
    let (team, made) = state.control.found_organization(wish, by).await?;
    state.settle(made.seq).await?;
    Ok(JobsOrganizationCreated {
        organization: JobsOrganization::find(state, &team, Secrets::Shown)?,
        api_key: JobsFirstKey {
            id: made.key.id().to_string(),
            key: made.key.reveal().to_owned(),
            name: made.created.name.clone(),
            created_at: Iso(made.created.at),
        },
    })
}

/// An email address, as it was sent.
pub(crate) fn email(text: String) -> Result<String, ApiError> {
    match Email::parse(&text) {
        Ok(_) => Ok(text),
        Err(_) => Err(broken(
            "billing_email",
            "is not an email address",
            "pattern",
        )),
    }
}

/// Settings as they are stored: an object, without the token that Waybill keeps itself.
pub(crate) fn settings(value: Value) -> Result<String, ApiError> {
    let Value::Object(mut settings) = value else {
        return Err(broken("settings", "must be an object", "type"));
    };
    settings.remove("webhook_token");
    let text = Value::Object(settings).to_string();
    if text.len() > MAX_SETTINGS_BYTES {
        let text = format!(
            "must be at most {MAX_SETTINGS_BYTES} bytes, not {}",
            text.len()
        );
        return Err(broken("settings", text, "length"));
    }
    Ok(text)
}
