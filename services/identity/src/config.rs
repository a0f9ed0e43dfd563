//! Configuration of how people sign in: passwords, sessions, mail and outside issuers.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use url::Url;
use waybill_mail::{Mailer, NoMailer, OutboxTimes};

use super::SessionSecret;
use super::oidc::{OidcConfig, OidcTimes};
use super::passwords::Cost;

/// How long an access token is good for.
pub const ACCESS_LIFETIME: Duration = Duration::from_secs(600);
/// How long a session lasts at most.
pub const SESSION_LIFETIME: Duration = Duration::from_secs(30 * 86_400);
/// How long a session lasts when nobody uses it.
pub const SESSION_IDLE: Duration = Duration::from_secs(14 * 86_400);
/// How long a used refresh token gets the same answer again.
pub const REFRESH_GRACE: Duration = Duration::from_secs(10);

/// Who may ask for an account. Outside issuers that are configured bring their people in whatever it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SignUpPolicy {
    /// Everybody may ask for one.
    #[default]
    Open,
    /// Whoever has an open invitation to a team.
    Invited,
    /// Nobody may ask for one.
    Off,
}

/// What a gateway needs for people.
#[derive(Clone)]
pub struct PeopleConfig {
    /// Secret from which signing keys and log-ins under way are derived; the same for all gateways. Unset: derived from the pepper.
    pub secret: Option<SessionSecret>,
    /// Public address of the API: `iss` of tokens, and the base of the issuers' callbacks. Unset: only this machine reaches it.
    pub public_url: Option<Url>,
    /// A web application that letters point to, and that outside log-ins come back to.
    pub app_url: Option<Url>,
    /// What a password's hash costs.
    pub password_cost: Cost,
    /// How long an access token is good for; at most 15 minutes.
    pub access_lifetime: Duration,
    /// How long a session lasts at most.
    pub session_lifetime: Duration,
    /// How long a session lasts when nobody uses it.
    pub session_idle: Duration,
    /// How long a used refresh token gets the same answer again: two tabs refresh at once, and answers get lost.
    pub refresh_grace: Duration,
    /// Who may ask for an account.
    pub sign_up: SignUpPolicy,
    /// How letters are sent.
    pub mailer: Arc<dyn Mailer>,
    /// How often, and for how long, sending is attempted.
    pub outbox: OutboxTimes,
    pub oidc: Vec<OidcConfig>,
    /// How long keys and metadata that they publish are cached.
    pub oidc_times: OidcTimes,
}

impl Default for PeopleConfig {
    /// Everybody may ask for one. but no letters leave; nobody comes from outside.
    fn default() -> Self {
        Self {
            secret: None,
            public_url: None,
            app_url: None,
            password_cost: Cost::FLOOR,
            access_lifetime: ACCESS_LIFETIME,
            session_lifetime: SESSION_LIFETIME,
            session_idle: SESSION_IDLE,
            refresh_grace: REFRESH_GRACE,
            sign_up: SignUpPolicy::Open,
            mailer: Arc::new(NoMailer),
            outbox: OutboxTimes::default(),
            oidc: Vec::new(),
            oidc_times: OidcTimes::default(),
        }
    }
}

impl std::fmt::Debug for PeopleConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PeopleConfig")
            .field("public_url", &self.public_url)
            .field("oidc", &self.oidc)
            .finish_non_exhaustive()
    }
}
