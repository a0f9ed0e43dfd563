//! Reads and verifies the id token of an issuer (OpenID Connect Core 1.0, 3.1.3.7).

use jsonwebtoken::jwk::{Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;
use subtle::ConstantTimeEq as _;
use waybill_domain::time::Timestamp;

use super::{OidcAlgorithm, OutsideIdentity};

/// Longest id token that is looked at, in bytes.
const MOST_BYTES: usize = 16 * 1024;
/// Longest subject (Core 1.0, 2).
const MOST_SUBJECT_BYTES: usize = 255;
const MOST_NAME_CHARS: usize = 100;
const LEEWAY_S: u64 = 30;

/// What a token must say: its issuer, its audience and the log-in that it answers.
pub(super) struct Expected<'a> {
    pub(super) issuer: &'a str,
    pub(super) client_id: &'a str,
    pub(super) nonce: &'a str,
    pub(super) algorithms: &'a [OidcAlgorithm],
}

/// Why a token is not accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum IdTokenRefused {
    /// Its key id is unknown, perhaps because the issuer has rotated its keys.
    UnknownKey,
    Invalid(String),
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    aud: OneOrMany,
    #[serde(default)]
    azp: Option<String>,
    exp: u64,
    iat: u64,
    #[serde(default)]
    nbf: Option<u64>,
    nonce: String,
    #[serde(default)]
    email: Option<String>,
    #[serde(default)]
    email_verified: Option<serde_json::Value>,
    #[serde(default)]
    name: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl OidcAlgorithm {
    fn jws(self) -> Algorithm {
        match self {
            Self::RS256 => Algorithm::RS256,
            Self::ES256 => Algorithm::ES256,
            Self::EdDSA => Algorithm::EdDSA,
        }
    }
}

/// Who it is, if the token is what was expected.
pub(super) fn verify(
    token: &str,
    keys: &[Jwk],
    expected: &Expected<'_>,
    now: Timestamp,
) -> Result<OutsideIdentity, IdTokenRefused> {
    let invalid = |reason: &str| IdTokenRefused::Invalid(reason.to_owned());
    if token.len() > MOST_BYTES {
        return Err(invalid("the id token is too long"));
    }
    let header =
        jsonwebtoken::decode_header(token).map_err(|_| invalid("it is no signed token"))?;
    let algorithm = header.alg;
    if header.crit.is_some()
        || !expected
            .algorithms
            .iter()
            .any(|allowed| allowed.jws() == algorithm)
    {
        return Err(invalid(
            "its signature algorithm is not among those configured",
        ));
    }
    let key = key_for(keys, header.kid.as_deref(), algorithm)?;
    let mut validation = Validation::new(algorithm);
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    validation.set_issuer(&[expected.issuer]);
    validation.set_audience(&[expected.client_id]);
    validation.validate_exp = false;
    let claims: Claims = jsonwebtoken::decode(token, &key, &validation)
        .map_err(|error| IdTokenRefused::Invalid(error.to_string()))?
        .claims;
    check(&claims, expected, now).map_err(invalid)?;
    let vouched = claims.email_verified == Some(serde_json::Value::Bool(true));
    Ok(OutsideIdentity {
        issuer: claims.iss,
        subject: claims.sub,
        verified_email: claims.email.filter(|_| vouched),
        name: claims
            .name
            .map(|name| name.chars().take(MOST_NAME_CHARS).collect()),
    })
}

/// Checks that the library does not make, or makes less strictly.
fn check(claims: &Claims, expected: &Expected<'_>, now: Timestamp) -> Result<(), &'static str> {
    let now = u64::try_from(now.as_secs()).unwrap_or(0);
    if claims.iss != expected.issuer {
        return Err("it is another issuer's");
    }
    let audiences = match &claims.aud {
        OneOrMany::One(audience) => std::slice::from_ref(audience),
        OneOrMany::Many(audiences) => audiences,
    };
    if !audiences
        .iter()
        .any(|audience| audience == expected.client_id)
    {
        return Err("it is for somebody else");
    }
    let authorized = claims.azp.as_deref();
    if authorized.is_some_and(|azp| azp != expected.client_id)
        || (audiences.len() > 1 && authorized.is_none())
    {
        return Err("it was issued to somebody else");
    }
    if now >= claims.exp.saturating_add(LEEWAY_S) {
        return Err("it has expired");
    }
    if claims.iat > now + LEEWAY_S || claims.nbf.is_some_and(|nbf| nbf > now + LEEWAY_S) {
        return Err("it is from the future");
    }
    let same: bool = claims
        .nonce
        .as_bytes()
        .ct_eq(expected.nonce.as_bytes())
        .into();
    if !same {
        return Err("it is the answer to another log-in");
    }
    if claims.sub.is_empty() || claims.sub.len() > MOST_SUBJECT_BYTES {
        return Err("its subject has no or too many bytes");
    }
    Ok(())
}

/// The key that the header names. Without a name there must be only one that could have signed.
fn key_for(
    keys: &[Jwk],
    kid: Option<&str>,
    algorithm: Algorithm,
) -> Result<DecodingKey, IdTokenRefused> {
    let mut fitting = keys.iter().filter(|jwk| {
        let common = &jwk.common;
        kid.is_none_or(|kid| common.key_id.as_deref() == Some(kid))
            && common
                .public_key_use
                .as_ref()
                .is_none_or(|purpose| *purpose == PublicKeyUse::Signature)
            && common
                .key_algorithm
                .is_none_or(|named| named.to_string() == format!("{algorithm:?}"))
            && DecodingKey::from_jwk(jwk).is_ok_and(|key| key.family() == algorithm.family())
    });
    match (fitting.next(), fitting.next()) {
        (Some(jwk), None) => DecodingKey::from_jwk(jwk).map_err(|_| IdTokenRefused::UnknownKey),
        _ => Err(IdTokenRefused::UnknownKey),
    }
}
