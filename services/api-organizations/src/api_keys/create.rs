//! `POST /api/v1/api-keys`. The key itself is in this one answer and is never shown again.

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use waybill_commands::NewKey;
use waybill_domain::access::plan::Guard;
use waybill_domain::access::scope::ScopeSet;
use waybill_domain::access::team::jobs_keys::NewJobsKey;
use waybill_domain::id::{Environment, TeamId};
use waybill_domain::time::Timestamp;
use waybill_edge::Edge;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::KeysWrite;
use waybill_edge::error::rules::broken;
use waybill_edge::error::{ApiError, JobsErrorBody};
use waybill_edge::iso::Iso;
use waybill_edge::limits::Guarded;
use waybill_edge::request::RequestContext;

use super::needs_brand;
use crate::body::{Body, secret};
use crate::permissions;

/// A key to be created.
#[derive(Debug, Deserialize, ToSchema)]
pub struct JobsCreateApiKey {
    /// 1 to 100 characters.
    pub name: String,
    /// Of `jobs:read`, `jobs:write`, `queues:read`, `queues:write`, `dlq:read` and `dlq:write`. Absent: all of them and administration, as far
    /// as the calling key has it.
    pub permissions: Option<Vec<String>>,
    /// The queues that it is limited to; absent, empty or with `*`: none.
    pub queues: Option<Vec<String>>,
    /// Requests per minute.
    #[schema(minimum = 1, maximum = 10000)]
    pub rate_limit: Option<u32>,
    /// From this time on it is not accepted (RFC 3339).
    #[schema(format = DateTime)]
    pub expires_at: Option<String>,
    /// `live` or `test`; a key makes keys of its own environment only.
    #[schema(value_type = Option<Environment>)]
    pub environment: Option<String>,
}

/// A key that was created.
#[derive(Debug, Serialize, ToSchema)]
pub struct JobsApiKeyCreated {
    pub id: String,
    /// The key itself: in this answer, and never again.
    pub key: String,
    pub name: String,
    pub permissions: Vec<&'static str>,
    pub queues: Vec<String>,
    pub rate_limit: Option<u32>,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Iso,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<Iso>,
}

/// Create a key of the organisation.
#[utoipa::path(
    post,
    path = "/api/v1/api-keys",
    operation_id = "jobs.api_key.create",
    tag = "jobs",
    security(("api_key" = ["keys:write"])),
    request_body = JobsCreateApiKey,
    responses(
        (status = 201, description = "Created, and accepted from now on", body = JobsApiKeyCreated),
        (status = 429, description = "The plan has no room for another key", body = JobsErrorBody),
    )
)]
pub(crate) async fn create_api_key(
    State(state): State<Edge>,
    caller: Caller<KeysWrite>,
    Extension(context): Extension<RequestContext>,
    Body(request): Body<JobsCreateApiKey>,
) -> Result<Response, ApiError> {
    caller.needs_api()?;
    needs_brand(&state)?;
    let environment = request.environment(caller.team.environment())?;
    let wish = request.wish(caller.scopes)?;
    let team = caller.team.base();
    let who = Guarded {
        source: None,
        account: None,
        team: Some(&team),
    };
    let limiter = &state.limiter;
    limiter
        .guard(&context.limits, Guard::KeyCreation, &who)
        .await?;
    let by = caller.by();
    let made = state.control.make_jobs_key(&team, &wish, environment, &by);
    let made = made.await.map_err(|error| of_this_api(error.into()))?;
    let created = created(&state, &team, &made, &wish).await?;
    Ok(secret(StatusCode::CREATED, created))
}

/// The name of a member as this API spells it.
pub(crate) fn of_this_api(mut error: ApiError) -> ApiError {
    if error.body.field.as_deref() == Some("expiresAt") {
        let text = error.body.message.replace("expiresAt", "expires_at");
        error.body.message = text.into();
        return error.about("expires_at").breaking("range");
    }
    error
}

/// The answer, once the key is accepted here.
pub(crate) async fn created(
    state: &Edge,
    team: &TeamId,
    made: &NewKey,
    wish: &NewJobsKey,
) -> Result<JobsApiKeyCreated, ApiError> {
    state.settle(made.seq).await?;
    debug_assert_eq!(made.created.team, *team);
    Ok(JobsApiKeyCreated {
        id: made.key.id().to_string(),
        key: made.key.reveal().to_owned(),
        name: made.created.name.clone(),
        permissions: permissions::words(wish.scopes),
        queues: wish.queues.iter().map(ToString::to_string).collect(),
        rate_limit: wish.rate_limit,
        created_at: Iso(made.created.at),
        expires_at: wish.expires_at.map(Iso),
    })
}

impl JobsCreateApiKey {
    pub(crate) fn environment(&self, usual: Environment) -> Result<Environment, ApiError> {
        let Some(text) = &self.environment else {
            return Ok(usual);
        };
        let wrong = || broken("environment", "must be live or test", "invalid");
        Environment::parse(text).ok_or_else(wrong)
    }

    /// The key that is asked for; `own` is what the caller may do.
    pub(crate) fn wish(self, own: ScopeSet) -> Result<NewJobsKey, ApiError> {
        let scopes = self.permissions.as_deref().map(permissions::read);
        let expires_at = self.expires_at.as_deref().map(time).transpose()?;
        Ok(NewJobsKey {
            name: self.name,
            scopes: scopes.transpose()?.unwrap_or(own),
            queues: permissions::queues(&self.queues.unwrap_or_default())?,
            expires_at,
            rate_limit: self.rate_limit,
        })
    }
}

fn time(text: &str) -> Result<Timestamp, ApiError> {
    let wrong = || {
        broken(
            "expires_at",
            "must be an RFC 3339 time with a zone",
            "pattern",
        )
    };
    Timestamp::parse_iso8601(text).ok_or_else(wrong)
}
