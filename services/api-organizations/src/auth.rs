//! Logging in with an API key: a session whose tokens stand for the key.
//!
//! Nothing is stored of a session until it is ended. Its tokens carry no rights: each request reads what the key may do now.

mod check_email;
mod log_in;
mod log_out;
mod me;
mod refresh;
mod validate;

use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use waybill_commands::entropy;
use waybill_domain::id::{KeyId, TeamId};
use waybill_domain::time::Timestamp;
use waybill_edge::Edge;
use waybill_edge::error::ApiError;
use waybill_identity::jwt::of_keys::{ACCESS_LIFETIME, KeySession, KeyTokenUse, REFRESH_LIFETIME};

pub use check_email::JobsEmailCheck;
pub use log_in::JobsLogIn;
pub use log_out::JobsLogOut;
pub use me::{JobsMe, JobsMeOrganization};
pub use refresh::{JobsRefresh, JobsRefreshed};
pub use validate::{JobsClaims, JobsTokenCheck, JobsValidate};

pub(crate) fn router() -> OpenApiRouter<Edge> {
    OpenApiRouter::new()
        .routes(routes!(log_in::log_in))
        .routes(routes!(refresh::refresh))
        .routes(routes!(log_out::log_out))
        .routes(routes!(me::me))
        .routes(routes!(validate::validate))
        .routes(routes!(check_email::check_email))
}

/// The tokens of a session.
#[derive(Debug, Serialize, ToSchema)]
pub struct JobsTokens {
    pub access_token: String,
    pub refresh_token: String,
    /// `Bearer`
    pub token_type: &'static str,
    /// Seconds until the access token expires.
    pub expires_in: u64,
    /// Seconds until the refresh token expires.
    pub refresh_expires_in: u64,
}

/// Begins a session with that key.
pub(crate) fn begin(state: &Edge, key: KeyId, team: TeamId) -> Result<JobsTokens, ApiError> {
    let now = entropy::now();
    let session = KeySession {
        key,
        team,
        id: format!("{:032x}", entropy::random_u128()),
        begun: now,
    };
    Ok(JobsTokens {
        access_token: issue(state, &session, KeyTokenUse::Access, now)?,
        refresh_token: issue(state, &session, KeyTokenUse::Refresh, now)?,
        token_type: "Bearer",
        expires_in: ACCESS_LIFETIME.as_secs(),
        refresh_expires_in: REFRESH_LIFETIME.as_secs(),
    })
}

fn issue(
    state: &Edge,
    session: &KeySession,
    purpose: KeyTokenUse,
    now: Timestamp,
) -> Result<String, ApiError> {
    let issued = state.people.tokens.issue_for_key(session, purpose, now);
    issued.map_err(|error| ApiError::internal(&error))
}
