//! API keys: `<brand>_<live|test>_<id8><secret32><crc6>`, all base 62 (design/access.md 2.3 and 2.4).
//!
//! The checksum lets a scanner tell a key from noise without asking anybody; it is no security check. What is stored is an
//! HMAC under a server's pepper, so neither a log nor a backup can be used to recognise or to try a key, and nobody who can
//! write events but lacks the pepper can mint one.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::id::{KeyId, TeamId};

/// Digits, upper case, lower case.
const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const PUBLIC_CHARS: usize = 8;
const SECRET_CHARS: usize = 32;
const CHECKSUM_CHARS: usize = 6;
const BODY_CHARS: usize = PUBLIC_CHARS + SECRET_CHARS + CHECKSUM_CHARS;

/// Random bytes a new key is offered; those that would bias the choice among 62 are passed over.
pub const ENTROPY_BYTES: usize = 128;

/// Environment of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Environment {
    /// Real work.
    Live,
    /// Trying things.
    Test,
}

impl Environment {
    fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Test => "test",
        }
    }
}

/// A whole API key. Never stored; it has no `Debug` that shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey {
    text: String,
    id: KeyId,
}

impl std::fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ApiKey({})", self.id)
    }
}

/// What is stored of a key to recognise it: HMAC-SHA-256.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyMac([u8; 32]);

impl KeyMac {
    /// As in events.
    #[must_use]
    pub fn to_hex(&self) -> String {
        hex::encode(self.0)
    }

    /// Reads what [`KeyMac::to_hex`] writes.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).ok()?;
        Some(Self(bytes))
    }
}

impl ApiKey {
    /// Makes a key from random bytes. `None` in the practically impossible case that too many of them had to be passed over.
    #[must_use]
    pub fn generate(
        brand: &str,
        environment: Environment,
        entropy: &[u8; ENTROPY_BYTES],
    ) -> Option<Self> {
        // 248 is the largest multiple of 62 in a byte: above it, low characters would be likelier.
        let mut characters = entropy
            .iter()
            .filter(|&&b| b < 248)
            .map(|&b| BASE62[usize::from(b % 62)] as char);
        let mut text = format!("{brand}_{}_", environment.as_str());
        for _ in 0..PUBLIC_CHARS + SECRET_CHARS {
            text.push(characters.next()?);
        }
        text.push_str(&checksum(&text));
        Self::parse(&text)
    }

    /// Reads a key: its shape and its checksum. Whether it is anybody's is another question.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if !text.is_ascii() {
            return None;
        }
        let (prefix, body) = text.rsplit_once('_')?;
        let (brand, environment) = prefix.rsplit_once('_')?;
        let valid = (2..=8).contains(&brand.len())
            && brand.bytes().all(|b| b.is_ascii_lowercase())
            && matches!(environment, "live" | "test")
            && body.len() == BODY_CHARS
            && body.bytes().all(|b| b.is_ascii_alphanumeric());
        if !valid {
            return None;
        }
        let (signed, sum) = text.split_at(text.len() - CHECKSUM_CHARS);
        if checksum(signed) != sum {
            return None;
        }
        let id = KeyId::from_public(&body[..PUBLIC_CHARS]).ok()?;
        Some(Self {
            text: text.into(),
            id,
        })
    }

    /// Its id, which holds its public part.
    #[must_use]
    pub fn id(&self) -> &KeyId {
        &self.id
    }

    /// What it begins with, such as `wb_live_`.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.text[..self.text.len() - BODY_CHARS]
    }

    /// Its last four characters.
    #[must_use]
    pub fn last4(&self) -> &str {
        &self.text[self.text.len() - 4..]
    }

    /// The key itself, to be shown once.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.text
    }

    /// What is stored of it. Bound to key and team, so that a MAC copied into another team's event is worthless.
    #[must_use]
    pub fn mac(&self, pepper: &[u8], team: &TeamId) -> KeyMac {
        KeyMac(self.keyed(pepper, team).finalize().into_bytes().into())
    }

    /// Whether this is the key of which `mac` was stored; takes the same time either way.
    #[must_use]
    pub fn matches(&self, mac: &KeyMac, pepper: &[u8], team: &TeamId) -> bool {
        self.mac(pepper, team).0.ct_eq(&mac.0).into()
    }

    fn keyed(&self, pepper: &[u8], team: &TeamId) -> Hmac<Sha256> {
        #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
        let mut mac = Hmac::<Sha256>::new_from_slice(pepper).expect("any length will do");
        for field in ["apikey/v1", self.id.as_str(), team.as_str(), &self.text] {
            let length = u32::try_from(field.len()).unwrap_or(u32::MAX);
            mac.update(&length.to_be_bytes());
            mac.update(field.as_bytes());
        }
        mac
    }
}

/// CRC-32 (IEEE) of all that comes before, as six base 62 characters.
fn checksum(text: &str) -> String {
    let mut rest = crc32fast::hash(text.as_bytes()) as usize;
    let mut characters = [b'0'; CHECKSUM_CHARS];
    for place in characters.iter_mut().rev() {
        *place = BASE62[rest % 62];
        rest /= 62;
    }
    characters.iter().map(|&b| b as char).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Timestamp;
    use proptest::prelude::*;

    fn key(seed: u8) -> ApiKey {
        let mut entropy = [0; ENTROPY_BYTES];
        for (at, byte) in (0_u8..).zip(entropy.iter_mut()) {
            *byte = seed.wrapping_mul(31).wrapping_add(at.wrapping_mul(7)) % 248;
        }
        ApiKey::generate("wb", Environment::Live, &entropy).expect("enough entropy")
    }

    #[test]
    fn a_key_is_recognised_by_its_mac_and_only_within_its_team() {
        let (team, other) = (TeamId::new(Timestamp(1), 1), TeamId::new(Timestamp(1), 2));
        let mac = key(1).mac(b"pepper", &team);
        assert!(key(1).matches(&mac, b"pepper", &team));
        assert!(!key(2).matches(&mac, b"pepper", &team));
        assert!(!key(1).matches(&mac, b"other pepper", &team));
        assert!(!key(1).matches(&mac, b"pepper", &other));
        assert_eq!(KeyMac::from_hex(&mac.to_hex()), Some(mac));
    }

    #[test]
    fn a_live_key_cannot_be_turned_into_a_test_key() {
        let swapped = key(1).reveal().replace("_live_", "_test_");
        assert_eq!(ApiKey::parse(&swapped), None);
    }

    #[test]
    fn it_is_not_shown_by_accident() {
        assert!(!format!("{:?}", key(1)).contains(&key(1).reveal()[20..]));
    }

    proptest! {
        #[test]
        fn one_wrong_character_is_seen_offline(at in 0_usize..54, to in proptest::char::range('0', 'z')) {
            let mut text = key(3).reveal().to_string();
            prop_assume!(text.as_bytes()[at] != to as u8);
            text.replace_range(at..=at, &to.to_string());
            prop_assert_eq!(ApiKey::parse(&text), None);
        }

        #[test]
        fn no_text_makes_it_panic(text in ".{0,80}") {
            let _ = ApiKey::parse(&text);
        }
    }
}
