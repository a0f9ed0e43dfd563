//! Proof keys for code exchange (PKCE, RFC 7636): the client that redeems a code is the one that
//! requested it. `S256` only.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// The only supported method: with `plain`, anybody who sees the authorization request could redeem
/// the code.
pub const METHOD: &str = "S256";
const CHALLENGE_CHARS: usize = 43;
const VERIFIER_CHARS: std::ops::RangeInclusive<usize> = 43..=128;

/// SHA-256 of a verifier, in unpadded base64url.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge(String);

impl Challenge {
    /// Parses a challenge: 43 characters of base64url.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let valid = text.len() == CHALLENGE_CHARS && BASE64_URL_SAFE_NO_PAD.decode(text).is_ok();
        valid.then(|| Self(text.into()))
    }

    /// The challenge of a verifier; `None` if the text cannot be a verifier (RFC 7636, 4.1).
    #[must_use]
    pub fn of(verifier: &str) -> Option<Self> {
        let valid = VERIFIER_CHARS.contains(&verifier.len())
            && verifier
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~'));
        valid.then(|| Self(BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(verifier))))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Compares with the stored challenge, in constant time.
    #[must_use]
    pub fn is(&self, stored: &str) -> bool {
        self.0.as_bytes().ct_eq(stored.as_bytes()).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_specification() {
        // RFC 7636, appendix B.
        let challenge = Challenge::of("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk").expect("good");
        assert!(challenge.is("E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"));
        assert_eq!(Challenge::parse(challenge.as_str()), Some(challenge));
    }

    #[test]
    fn what_is_too_short_or_of_other_characters_is_neither() {
        assert_eq!(Challenge::of(&"a".repeat(42)), None);
        assert_eq!(Challenge::of(&"a".repeat(129)), None);
        assert_eq!(Challenge::of(&"+".repeat(43)), None);
        assert_eq!(Challenge::parse(&"a".repeat(44)), None);
        assert_eq!(Challenge::parse(&"+".repeat(43)), None);
        assert_eq!(Challenge::parse(""), None);
    }
}
