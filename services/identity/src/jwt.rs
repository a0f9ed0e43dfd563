//! Access tokens of signed-in people: JSON Web Tokens as RFC 9068 shapes them, signed with Ed25519.
//!
//! The signature is a second lock. Whoever accepts a token also looks up its session and the person's generation in the directory, so
//! that a log-out counts at once. Nothing in a token's header chooses how it is verified: one algorithm, one type, and a key of ours
//! or none; `jku`, `x5u` and `jwk` are not read. Claims are read into strict types, since a library that takes a wrongly typed `exp`
//! for an absent one (CVE-2026-25537) would accept it for ever.

use std::time::Duration;

use jsonwebtoken::{Algorithm, Header, Validation};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use waybill_domain::id::{SessionId, UserId};
use waybill_domain::time::Timestamp;

mod keys;
pub mod of_keys;
#[cfg(test)]
mod tests;

pub use keys::{EPOCH, Jwk, JwkSet, TokenKeys};

/// Longest life of an access token.
pub const MOST_LIFETIME: Duration = Duration::from_secs(15 * 60);
/// How far clocks of gateways may differ.
pub const LEEWAY: Duration = Duration::from_secs(30);
/// Longest token that is looked at, in bytes; ours have about 500.
pub const MOST_BYTES: usize = 2048;
/// `typ` of an access token (RFC 9068, 2.1).
const TYPE: &str = "at+jwt";

/// The claims of an access token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessClaims {
    /// Who issued it.
    pub iss: String,
    pub aud: String,
    /// Who is signed in.
    pub sub: UserId,
    /// In which session.
    pub sid: SessionId,
    /// The person's generation: a token of an earlier one is void.
    #[serde(rename = "gen")]
    pub generation: u64,
    /// Issued at, in seconds since 1970.
    pub iat: u64,
    /// Void from then on, in seconds since 1970.
    pub exp: u64,
    /// Not valid before, in seconds since 1970. Tokens of Waybill have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nbf: Option<u64>,
    /// Its own id.
    pub jti: String,
}

/// Why a token is not accepted. Clients learn only that it is not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenRefused {
    /// Not three parts of base64url with a header of ours.
    #[error("not an access token")]
    Shape,
    /// `kid` names no key that is good now.
    #[error("its key id is unknown")]
    Key,
    /// The signature, or what the library checks of the claims.
    #[error("{0}")]
    Invalid(String),
    /// Expired, not yet valid, or with impossible times.
    #[error("expired or not yet valid")]
    Time,
}

/// Whose tokens are issued and accepted, and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenPolicy {
    /// `iss`: the deployment's public address.
    pub issuer: String,
    /// `aud`: the API.
    pub audience: String,
    /// From issue to expiry, at most [`MOST_LIFETIME`].
    pub lifetime: Duration,
}

/// Issues and verifies access tokens. Needs no network and no lock that is held for long.
#[derive(Debug)]
pub struct AccessTokens {
    keys: TokenKeys,
    policy: TokenPolicy,
    validation: Validation,
}

/// What a token is issued for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bearer {
    pub user: UserId,
    pub session: SessionId,
    /// The person's generation.
    pub generation: u64,
}

impl AccessTokens {
    /// Tokens of one deployment.
    #[must_use]
    pub fn new(keys: TokenKeys, mut policy: TokenPolicy) -> Self {
        policy.lifetime = policy.lifetime.min(MOST_LIFETIME);
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        validation.set_issuer(&[&policy.issuer]);
        validation.set_audience(&[&policy.audience]);
        // Times are judged below, by the clock that everything else here goes by, and `iat` with them.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        Self {
            keys,
            policy,
            validation,
        }
    }

    /// How long a token is valid.
    #[must_use]
    pub fn lifetime(&self) -> Duration {
        self.policy.lifetime
    }

    /// The public keys, for whoever wants to verify tokens themselves.
    #[must_use]
    pub fn jwks(&self, now: Timestamp) -> JwkSet {
        self.keys.public(now)
    }

    /// A token for that person and session. `jti` makes it unique.
    pub fn issue(
        &self,
        bearer: &Bearer,
        jti: u128,
        now: Timestamp,
    ) -> Result<String, TokenRefused> {
        let iat = seconds(now);
        let claims = AccessClaims {
            iss: self.policy.issuer.clone(),
            aud: self.policy.audience.clone(),
            sub: bearer.user.clone(),
            sid: bearer.session.clone(),
            generation: bearer.generation,
            iat,
            exp: iat + self.policy.lifetime.as_secs(),
            nbf: None,
            jti: format!("{jti:032x}"),
        };
        self.sign(TYPE, &claims, now)
    }

    /// A token of a type.
    fn sign(
        &self,
        typ: &'static str,
        claims: &impl Serialize,
        now: Timestamp,
    ) -> Result<String, TokenRefused> {
        let key = self.keys.signing(now);
        let mut header = Header::new(Algorithm::EdDSA);
        header.typ = Some(typ.into());
        header.kid = Some(key.id.clone());
        jsonwebtoken::encode(&header, claims, &key.signs)
            .map_err(|error| TokenRefused::Invalid(error.to_string()))
    }

    /// The claims of a token of that type that this deployment signed. Whether it is valid now is the caller's to ask.
    fn open<C: DeserializeOwned>(
        &self,
        typ: &'static str,
        token: &str,
        now: Timestamp,
    ) -> Result<C, TokenRefused> {
        if token.len() > MOST_BYTES {
            return Err(TokenRefused::Shape);
        }
        let header = jsonwebtoken::decode_header(token).map_err(|_| TokenRefused::Shape)?;
        let ours = header.typ.as_deref() == Some(typ)
            && header.alg == Algorithm::EdDSA
            && header.crit.is_none();
        if !ours {
            return Err(TokenRefused::Shape);
        }
        let kid = header.kid.as_deref().ok_or(TokenRefused::Key)?;
        let key = self.keys.verifying(kid, now).ok_or(TokenRefused::Key)?;
        jsonwebtoken::decode(token, &key.verifies, &self.validation)
            .map(|token| token.claims)
            .map_err(|error| TokenRefused::Invalid(error.to_string()))
    }

    /// The claims of a token that this deployment issued and that is valid now.
    pub fn verify(&self, token: &str, now: Timestamp) -> Result<AccessClaims, TokenRefused> {
        let claims: AccessClaims = self.open(TYPE, token, now)?;
        let (now, leeway) = (seconds(now), LEEWAY.as_secs());
        let lives = now < claims.exp.saturating_add(leeway)
            && claims.iat <= now + leeway
            && claims.nbf.is_none_or(|nbf| nbf <= now + leeway)
            // Nothing that we issue lives longer, whatever it says.
            && claims.exp.checked_sub(claims.iat).is_some_and(|life| life <= MOST_LIFETIME.as_secs());
        if lives {
            Ok(claims)
        } else {
            Err(TokenRefused::Time)
        }
    }
}

fn seconds(at: Timestamp) -> u64 {
    u64::try_from(at.as_secs()).unwrap_or(0)
}
