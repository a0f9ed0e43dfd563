//! Log-in by an outside OpenID Connect issuer, with us as its relying party.
//!
//! The authorization code flow with PKCE (`S256`), `state` and `nonce` (OpenID Connect Core 1.0, RFC 7636, RFC 9700). A log-in begins
//! with a cookie in the browser and ends only in that browser: [`attempt`] derives all three values from what the cookie holds, so no
//! gateway has to remember a log-in under way, and somebody else's code pasted into a victim's browser fits no cookie there.
//! What the issuer sends is hostile until its signature is checked: bounded in size and time, no redirects, no proxies, and `https`
//! everywhere except on loopback.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use url::Url;
use waybill_domain::time::Timestamp;
use zeroize::Zeroizing;

use crate::SessionSecret;

mod attempt;
mod fetch;
mod id_token;
mod issuer;
#[cfg(test)]
mod tests;

pub use attempt::ATTEMPT_LIFETIME;

use attempt::Attempts;
use fetch::Fetcher;
use issuer::Issuer;

/// A signature that an issuer may use. Which ones it does use is not left to the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum OidcAlgorithm {
    /// RSA with PKCS #1 v1.5 and SHA-256.
    RS256,
    /// ECDSA with P-256 and SHA-256.
    ES256,
    /// `EdDSA` with the curve Ed25519.
    EdDSA,
}

/// An issuer, as configured.
#[derive(Clone)]
pub struct OidcConfig {
    /// Its name in paths: lower-case letters, digits and dashes.
    pub name: String,
    /// Its identifier, exactly as it stands in its tokens.
    pub issuer: String,
    /// Id of this deployment at the issuer.
    pub client_id: String,
    /// Secret of this deployment at the issuer; without one, PKCE alone protects the code.
    pub client_secret: Option<Zeroizing<String>>,
    /// Scopes to ask for; `openid` is always among them.
    pub scopes: Vec<String>,
    pub algorithms: Vec<OidcAlgorithm>,
}

impl std::fmt::Debug for OidcConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "OidcConfig({} at {})", self.name, self.issuer)
    }
}

/// How long what an issuer publishes is cached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OidcTimes {
    /// Age at which metadata and keys are fetched again.
    pub fresh: Duration,
    /// Least time between two fetches, also after a failure and when a token names an unknown key.
    pub least_pause: Duration,
    /// For a whole exchange with the issuer.
    pub timeout: Duration,
}

impl Default for OidcTimes {
    fn default() -> Self {
        Self {
            fresh: Duration::from_secs(3600),
            least_pause: Duration::from_secs(30),
            timeout: Duration::from_secs(10),
        }
    }
}

/// Why issuers cannot be used as configured.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OidcRefused {
    /// The name does not fit into a path.
    #[error("name: must be 1 to 40 lower-case letters, digits and dashes, not {0:?}")]
    Name(String),
    /// Two issuers have the same name.
    #[error("name: {0:?} is configured twice")]
    Twice(String),
    /// Not an address of an issuer.
    #[error(
        "issuer: must be an https URL without query and fragment (http only on loopback), not {0:?}"
    )]
    Issuer(String),
    /// No algorithm is left.
    #[error("algorithms: at least one of RS256, ES256 and EdDSA")]
    Algorithms,
    #[error("client_id: must not be empty")]
    Client,
    /// The HTTP client cannot be made.
    #[error("no HTTP client: {0}")]
    Http(String),
}

/// Why a log-in failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OidcError {
    /// 404: no issuer has that name.
    #[error("no such issuer")]
    NoSuchIssuer,
    /// 400: the cookie is missing, is another browser's or too old, or `state` belongs to another log-in.
    #[error("this log-in was not begun in this browser, or too long ago; begin again")]
    NotBegunHere,
    /// 400: the issuer refused, with its error code.
    #[error("the issuer refused the log-in: {0}")]
    Declined(String),
    /// 400: what came back is not acceptable. The reason is for the log.
    #[error("the issuer's answer is not acceptable: {0}")]
    Unacceptable(String),
    /// 503: the issuer does not answer.
    #[error("the issuer does not answer: {0}")]
    Unavailable(String),
}

/// Where a browser is sent, and the cookie that it is given.
#[derive(Clone, PartialEq, Eq)]
pub struct AuthorizationRedirect {
    /// The issuer's page.
    pub location: Url,
    /// Value of the cookie, to be set for [`ATTEMPT_LIFETIME`].
    pub cookie: String,
}

/// The query parameters with which the issuer sends a browser back.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct OidcReturn {
    /// The authorization code.
    pub code: Option<String>,
    /// The `state` with which the log-in began.
    pub state: Option<String>,
    /// The issuer, if it says so (RFC 9207).
    pub iss: Option<String>,
    /// Why there is no code: an error code of RFC 6749, 4.1.2.1.
    pub error: Option<String>,
}

/// What an issuer says about a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutsideIdentity {
    /// The issuer's identifier.
    pub issuer: String,
    /// The person's, unique and lasting there.
    pub subject: String,
    /// Their address, if the issuer sends it and says that it is verified.
    pub verified_email: Option<String>,
    /// Their name, if the issuer sends it.
    pub name: Option<String>,
}

/// All issuers of a deployment.
#[derive(Debug)]
pub struct Oidc {
    issuers: BTreeMap<String, Arc<Issuer>>,
    attempts: Attempts,
}

impl Oidc {
    /// Does not contact the issuers yet. `public_url`: where browsers find this deployment; callbacks are below it.
    pub fn new(
        configs: Vec<OidcConfig>,
        times: OidcTimes,
        secret: &SessionSecret,
        public_url: &Url,
    ) -> Result<Self, OidcRefused> {
        let mut issuers = BTreeMap::new();
        if !configs.is_empty() {
            let fetcher = Fetcher::new(times.timeout)?;
            for config in configs {
                let name = config.name.clone();
                let issuer = Issuer::new(config, times, fetcher.clone(), public_url)?;
                if issuers.insert(name.clone(), Arc::new(issuer)).is_some() {
                    return Err(OidcRefused::Twice(name));
                }
            }
        }
        Ok(Self {
            issuers,
            attempts: Attempts::new(secret),
        })
    }

    #[must_use]
    pub fn nobody(secret: &SessionSecret) -> Self {
        Self {
            issuers: BTreeMap::new(),
            attempts: Attempts::new(secret),
        }
    }

    /// Names of all issuers.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.issuers.keys().map(String::as_str)
    }

    /// Begins a log-in.
    pub async fn start(
        &self,
        name: &str,
        now: Timestamp,
    ) -> Result<AuthorizationRedirect, OidcError> {
        let issuer = self.issuers.get(name).ok_or(OidcError::NoSuchIssuer)?;
        let attempt = self.attempts.begin(name, now);
        let location = issuer.authorization_url(&attempt).await?;
        Ok(AuthorizationRedirect {
            location,
            cookie: attempt.cookie,
        })
    }

    /// Ends a log-in: identifies the person.
    pub async fn finish(
        &self,
        name: &str,
        cookie: Option<&str>,
        answer: &OidcReturn,
        now: Timestamp,
    ) -> Result<OutsideIdentity, OidcError> {
        let issuer = self.issuers.get(name).ok_or(OidcError::NoSuchIssuer)?;
        // First of all: an answer to a log-in that this browser did not begin is not even looked at.
        let attempt = cookie
            .and_then(|cookie| self.attempts.resume(name, cookie, now))
            .filter(|attempt| {
                answer
                    .state
                    .as_deref()
                    .is_some_and(|state| attempt.is_of(state))
            })
            .ok_or(OidcError::NotBegunHere)?;
        issuer.redeem(&attempt, answer, now).await
    }
}

/// Addresses of issuers: `https`, or `http` on this machine.
fn is_safe(url: &Url) -> bool {
    let loopback = match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        None => return false,
    };
    let no_login = url.username().is_empty() && url.password().is_none();
    no_login && (url.scheme() == "https" || (url.scheme() == "http" && loopback))
}
