//! API keys: `<brand>_<live|test>_<id8><secret32><crc6>`, all base 62 (docs/design/access.md, "API keys").
//!
//! The checksum lets a scanner recognise a key without asking a server; it is no security check.
//! Only an HMAC under the server's pepper is stored, so neither a log nor a backup can be used to
//! recognise or to try a key, and writing events does not suffice to mint one without the pepper.

use crate::access::secret::{CHECKSUM_CHARS, append_random, checksum, keyed};
pub use crate::access::secret::{ENTROPY_BYTES, KeyMac};
use crate::id::{Environment, KeyId, TeamId};

const PUBLIC_CHARS: usize = 8;
const SECRET_CHARS: usize = 32;
const BODY_CHARS: usize = PUBLIC_CHARS + SECRET_CHARS + CHECKSUM_CHARS;

/// A whole API key. It is never stored, and its `Debug` output does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey {
    text: String,
    id: KeyId,
    environment: Environment,
}

impl std::fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ApiKey({})", self.id)
    }
}

impl ApiKey {
    /// Makes a key from random bytes. `None` in the practically impossible case that too many of
    /// them had to be skipped.
    #[must_use]
    pub fn generate(
        brand: &str,
        environment: Environment,
        entropy: &[u8; ENTROPY_BYTES],
    ) -> Option<Self> {
        let mut text = format!("{brand}_{environment}_");
        append_random(&mut text, PUBLIC_CHARS + SECRET_CHARS, entropy)?;
        text.push_str(&checksum(&text));
        Self::parse(&text)
    }

    /// Parses a key and checks its checksum. Whether the key exists is not checked here.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if !text.is_ascii() {
            return None;
        }
        let (prefix, body) = text.rsplit_once('_')?;
        let (brand, environment) = prefix.rsplit_once('_')?;
        let environment = Environment::parse(environment)?;
        let valid = is_brand(brand)
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
            environment,
        })
    }

    /// The id, which contains the public part of the key.
    #[must_use]
    pub fn id(&self) -> &KeyId {
        &self.id
    }

    /// The environment in the key's prefix. The MAC covers it.
    #[must_use]
    pub fn environment(&self) -> Environment {
        self.environment
    }

    /// Brand of the key, such as `wb`.
    #[must_use]
    pub fn brand(&self) -> &str {
        self.text.split('_').next().unwrap_or_default()
    }

    /// Prefix of the key, such as `wb_live_`.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.text[..self.text.len() - BODY_CHARS]
    }

    /// The last four characters, for lists of keys.
    #[must_use]
    pub fn last4(&self) -> &str {
        &self.text[self.text.len() - 4..]
    }

    /// The key in clear text, to be shown once.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.text
    }

    /// The MAC to store. It covers key, team and (in the text) environment, so a MAC copied into
    /// another event is useless.
    #[must_use]
    pub fn mac(&self, pepper: &[u8], team: &TeamId) -> KeyMac {
        keyed(
            pepper,
            &["apikey/v1", self.id.as_str(), team.as_str(), &self.text],
        )
    }

    /// Whether `mac` was made from this key; compares in constant time.
    #[must_use]
    pub fn matches(&self, mac: &KeyMac, pepper: &[u8], team: &TeamId) -> bool {
        self.mac(pepper, team).is(mac)
    }
}

/// The brand that other products use as well: keys with it are accepted everywhere, but never
/// generated.
pub const FOREIGN_BRAND: &str = "sk";

/// Whether keys of a brand are accepted, given the brands in the configuration.
#[must_use]
pub fn is_accepted_brand(brand: &str, configured: &[String]) -> bool {
    brand == FOREIGN_BRAND || configured.iter().any(|known| known == brand)
}

/// Whether a text can be a brand: 2 to 8 lower-case letters.
#[must_use]
pub fn is_brand(text: &str) -> bool {
    (2..=8).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_lowercase())
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
