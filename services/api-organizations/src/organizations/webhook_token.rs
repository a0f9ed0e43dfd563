//! The token that senders of incoming webhooks prove themselves by. It is derived from the master secret, so it is not stored.

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use waybill_domain::access::team::TeamCommand;
use waybill_domain::access::team::organization::{NextToken, OrganizationChange};
use waybill_domain::id::TeamId;
use waybill_domain::signature::derive_ingest_token;
use waybill_edge::Edge;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::KeysWrite;
use waybill_edge::error::rules::broken;
use waybill_edge::error::{ApiError, ErrorCode, JobsErrorBody};

use crate::body::secret;

/// The token of incoming webhooks.
#[derive(Debug, Serialize, ToSchema)]
pub struct JobsWebhookToken {
    pub webhook_token: String,
    /// The same.
    pub token: String,
    /// Where senders post to.
    pub webhook_url: String,
}

/// The token of an organisation. `None`: this gateway has no master secret.
pub(crate) fn of(state: &Edge, team: &TeamId) -> Option<String> {
    let master = state.signing.as_ref()?;
    let number = |team: &waybill_domain::access::team::Team| team.organization.webhook_token;
    let number = state.auth.directory().with_team(team, number)?;
    Some(derive_ingest_token(master, team, number))
}

fn shown(state: &Edge, team: &TeamId) -> Result<Response, ApiError> {
    let token = of(state, team).ok_or_else(|| {
        let text = "This gateway has no secret that tokens of webhooks are derived from";
        ApiError::unavailable(ErrorCode::SigningNotConfigured, text)
    })?;
    let base = state.config.people.public_url.as_ref();
    let base = base.map(|url| url.as_str().trim_end_matches('/').to_owned());
    let base = base.unwrap_or_else(|| format!("http://{}", state.config.listen));
    let told = JobsWebhookToken {
        webhook_token: token.clone(),
        token,
        webhook_url: format!("{base}/api/v1/webhooks/{team}/custom"),
    };
    Ok(secret(StatusCode::OK, told))
}

/// Read the token of incoming webhooks.
#[utoipa::path(
    get,
    path = "/api/v1/organizations/webhook-token",
    operation_id = "jobs.webhook_token.get",
    tag = "jobs",
    security(("api_key" = ["keys:write"])),
    responses(
        (status = 200, description = "The token", body = JobsWebhookToken),
        (status = 503, description = "No master secret is configured", body = JobsErrorBody),
    )
)]
pub(crate) async fn get_webhook_token(
    State(state): State<Edge>,
    caller: Caller<KeysWrite>,
) -> Result<Response, ApiError> {
    shown(&state, &caller.team.base())
}

/// Move on to another token. The former one is void on every gateway.
#[utoipa::path(
    post,
    path = "/api/v1/organizations/webhook-token/regenerate",
    operation_id = "jobs.webhook_token.regenerate",
    tag = "jobs",
    security(("api_key" = ["keys:write"])),
    responses(
        (status = 200, description = "The token from now on", body = JobsWebhookToken),
        (status = 503, description = "No master secret is configured", body = JobsErrorBody),
    )
)]
pub(crate) async fn regenerate_webhook_token(
    State(state): State<Edge>,
    caller: Caller<KeysWrite>,
) -> Result<Response, ApiError> {
    let team = caller.team.base();
    let change = OrganizationChange {
        webhook_token: NextToken::MoveOn,
        ..OrganizationChange::default()
    };
    let command = TeamCommand::ChangeOrganization(Box::new(change));
    let after = state.control.run_team(&team, command, &caller.by()).await?;
    state.settle_everywhere(after.version).await?;
    shown(&state, &team)
}

/// Refused: incoming webhooks are never without a token.
#[utoipa::path(
    post,
    path = "/api/v1/organizations/webhook-token/clear",
    operation_id = "jobs.webhook_token.clear",
    tag = "jobs",
    security(("api_key" = ["keys:write"])),
    responses((status = 400, description = "Always", body = JobsErrorBody))
)]
pub(crate) async fn clear_webhook_token(_: Caller<KeysWrite>) -> ApiError {
    let text = "cannot be cleared; regenerate it instead";
    broken("webhook_token", text, "invalid")
}
