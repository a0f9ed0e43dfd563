//! What can be told about people: passwords, sessions, mail and outside issuers.

use std::sync::Arc;
use std::time::Duration;

use url::Url;

use super::SessionSecret;
use super::mail::{Mailer, NoMailer, OutboxTimes};
use super::oidc::{OidcConfig, OidcTimes};
use super::passwords::Cost;

/// How long an access token is good for.
pub const ACCESS_LIFETIME: Duration = Duration::from_secs(600);
/// How long a session lasts at most.
pub const SESSION_LIFETIME: Duration = Duration::from_secs(30 * 86_400);
/// How long a session lasts that is not used.
pub const SESSION_IDLE: Duration = Duration::from_secs(14 * 86_400);
/// How long a refresh token that was used gets the same answer again.
pub const REFRESH_GRACE: Duration = Duration::from_secs(10);

/// What a gateway needs for people.
#[derive(Clone)]
pub struct PeopleConfig {
    /// From which signing keys and log-ins under way are derived; the same for all gateways. Unset: derived from the pepper.
    pub secret: Option<SessionSecret>,
    /// Where clients find the API: `iss` of tokens, and above the callbacks of issuers. Unset: nowhere but on this machine.
    pub public_url: Option<Url>,
    /// A web application that letters point to, and that outside log-ins come back to.
    pub app_url: Option<Url>,
    /// What a password's hash costs.
    pub password_cost: Cost,
    /// How long an access token is good for; at most 15 minutes.
    pub access_lifetime: Duration,
    /// How long a session lasts at most.
    pub session_lifetime: Duration,
    /// How long a session lasts that is not used.
    pub session_idle: Duration,
    /// For so long a refresh token that was used gets the same answer again: two tabs refresh at once, and answers get lost.
    pub refresh_grace: Duration,
    /// How letters leave.
    pub mailer: Arc<dyn Mailer>,
    /// How often they are tried.
    pub outbox: OutboxTimes,
    /// Outside issuers.
    pub oidc: Vec<OidcConfig>,
    /// How long what they publish is believed.
    pub oidc_times: OidcTimes,
}

impl Default for PeopleConfig {
    /// No letters leave, nobody comes from outside.
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
