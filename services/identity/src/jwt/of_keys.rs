//! Tokens of sessions that were begun with an API key, as the jobs API has them: one to make requests with, one to refresh it by.
//!
//! They carry no rights. Whoever accepts one reads the key's state from the directory, so that a revoked, narrowed or deactivated key and an
//! ended session count at once. Their type differs from that of people's tokens, so neither is ever taken for the other.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use waybill_domain::id::{KeyId, TeamId};
use waybill_domain::time::Timestamp;

use super::{AccessTokens, LEEWAY, MOST_BYTES, TokenRefused, seconds};

/// From issue to expiry of a token that requests are made with.
pub const ACCESS_LIFETIME: Duration = Duration::from_secs(86_400);
/// From log-in to expiry of a token that refreshes: within the time that a signing key verifies after its own epoch.
pub const REFRESH_LIFETIME: Duration = Duration::from_secs(2_073_600);
/// `typ` of both.
const TYPE: &str = "key+jwt";

/// What a token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyTokenUse {
    Access,
    Refresh,
}

/// The claims of a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyClaims {
    pub iss: String,
    pub aud: String,
    /// The key that the session was begun with.
    pub sub: KeyId,
    /// Its team.
    pub org: TeamId,
    /// The session.
    pub sid: String,
    /// When the session was begun, in seconds since 1970.
    pub begun: u64,
    #[serde(rename = "use")]
    pub purpose: KeyTokenUse,
    /// Issued at, in seconds since 1970.
    pub iat: u64,
    /// Void from then on, in seconds since 1970.
    pub exp: u64,
}

/// A session that is begun with a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySession {
    pub key: KeyId,
    pub team: TeamId,
    pub id: String,
    /// When it was begun.
    pub begun: Timestamp,
}

impl KeyTokenUse {
    fn lifetime(self) -> Duration {
        match self {
            Self::Access => ACCESS_LIFETIME,
            Self::Refresh => REFRESH_LIFETIME,
        }
    }
}

impl AccessTokens {
    /// A token of that session.
    pub fn issue_for_key(
        &self,
        session: &KeySession,
        purpose: KeyTokenUse,
        now: Timestamp,
    ) -> Result<String, TokenRefused> {
        let iat = seconds(now);
        let claims = KeyClaims {
            iss: self.policy.issuer.clone(),
            aud: self.policy.audience.clone(),
            sub: session.key.clone(),
            org: session.team.clone(),
            sid: session.id.clone(),
            begun: seconds(session.begun),
            purpose,
            iat,
            exp: iat + purpose.lifetime().as_secs(),
        };
        self.sign(TYPE, &claims, now)
    }

    /// The claims of such a token that this deployment issued for that purpose and that has not expired.
    pub fn verify_of_key(
        &self,
        token: &str,
        purpose: KeyTokenUse,
        now: Timestamp,
    ) -> Result<KeyClaims, TokenRefused> {
        let claims: KeyClaims = self.open(TYPE, token, now)?;
        if claims.purpose != purpose {
            return Err(TokenRefused::Shape);
        }
        let (now, leeway) = (seconds(now), LEEWAY.as_secs());
        let longest = purpose.lifetime().as_secs();
        let life = claims.exp.checked_sub(claims.iat);
        let lives = now < claims.exp
            && claims.iat <= now + leeway
            && life.is_some_and(|life| life <= longest);
        if lives {
            Ok(claims)
        } else {
            Err(TokenRefused::Time)
        }
    }

    /// Whether a token says that it belongs to the session of a key. Nothing of it is verified.
    #[must_use]
    pub fn is_of_key(token: &str) -> bool {
        token.len() <= MOST_BYTES
            && jsonwebtoken::decode_header(token)
                .is_ok_and(|header| header.typ.as_deref() == Some(TYPE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SessionSecret;
    use crate::jwt::{TokenKeys, TokenPolicy};

    const NOW: Timestamp = Timestamp(1_800_000_000_000);

    fn tokens(audience: &str) -> AccessTokens {
        let secret = SessionSecret::new(vec![7; 32]).expect("long enough");
        let policy = TokenPolicy {
            issuer: "urn:waybill".into(),
            audience: audience.into(),
            lifetime: Duration::from_secs(600),
        };
        AccessTokens::new(TokenKeys::new(secret), policy)
    }

    fn session() -> KeySession {
        KeySession {
            key: KeyId::parse("key_4fG7aB2x").expect("an id"),
            team: TeamId::new(NOW, 1),
            id: "s1".into(),
            begun: NOW,
        }
    }

    #[test]
    fn a_token_is_good_for_its_purpose_and_time_alone() {
        let tokens = tokens("urn:waybill");
        let access = tokens.issue_for_key(&session(), KeyTokenUse::Access, NOW);
        let access = access.expect("issued");
        let refresh = tokens.issue_for_key(&session(), KeyTokenUse::Refresh, NOW);
        let refresh = refresh.expect("issued");
        let verify = |token: &str, purpose, at| tokens.verify_of_key(token, purpose, at);
        let claims = verify(&access, KeyTokenUse::Access, NOW).expect("good");
        assert_eq!(
            (claims.sid.as_str(), claims.exp - claims.iat),
            ("s1", 86_400)
        );
        let claims = verify(&refresh, KeyTokenUse::Refresh, NOW).expect("good");
        assert_eq!(claims.exp - claims.iat, 2_073_600);
        assert!(verify(&access, KeyTokenUse::Refresh, NOW).is_err());
        assert!(verify(&refresh, KeyTokenUse::Access, NOW).is_err());
        let later = NOW.plus(ACCESS_LIFETIME);
        assert_eq!(
            verify(&access, KeyTokenUse::Access, later),
            Err(TokenRefused::Time)
        );
        let last = NOW.plus(REFRESH_LIFETIME - Duration::from_secs(1));
        assert!(verify(&refresh, KeyTokenUse::Refresh, last).is_ok());
    }

    #[test]
    fn tokens_of_people_and_of_other_deployments_are_refused() {
        let (ours, theirs) = (tokens("urn:waybill"), tokens("urn:other"));
        let token = theirs.issue_for_key(&session(), KeyTokenUse::Access, NOW);
        let token = token.expect("issued");
        assert!(
            ours.verify_of_key(&token, KeyTokenUse::Access, NOW)
                .is_err()
        );
        assert!(ours.verify(&token, NOW).is_err());
        assert!(AccessTokens::is_of_key(&token));
        for rubbish in ["", "a.b.c", "sp_live_x"] {
            assert!(!AccessTokens::is_of_key(rubbish));
            let read = ours.verify_of_key(rubbish, KeyTokenUse::Access, NOW);
            assert!(read.is_err(), "{rubbish}");
        }
    }
}
