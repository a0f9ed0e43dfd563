//! The server's secret under which API keys and other credentials are hashed, and from which other
//! secrets are derived.

use std::collections::BTreeMap;

use hkdf::Hkdf;
use sha2::Sha256;
use waybill_domain::access::email::{Email, EmailHash};
use waybill_domain::access::secret::KeyMac;
use waybill_domain::access::token::{Token, TokenKind};
use zeroize::Zeroizing;

use crate::entropy;

/// Shorter secrets could be guessed.
const LEAST_BYTES: usize = 32;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a pepper has at least {LEAST_BYTES} bytes, not {found}")]
pub struct BadPepper {
    pub found: usize,
}

/// The secret in all its versions. New credentials are hashed under the current version. Each event
/// records the version that it used, so older credentials remain valid until their version is
/// removed.
pub struct Pepper {
    current: u32,
    versions: BTreeMap<u32, Zeroizing<Vec<u8>>>,
}

impl Pepper {
    /// Takes at least 32 random bytes.
    pub fn new(version: u32, bytes: Vec<u8>) -> Result<Self, BadPepper> {
        let pepper = Self {
            current: version,
            versions: BTreeMap::new(),
        };
        pepper.with_earlier(version, bytes)
    }

    /// Adds another version, for credentials that were hashed under it.
    pub fn with_earlier(mut self, version: u32, bytes: Vec<u8>) -> Result<Self, BadPepper> {
        if bytes.len() < LEAST_BYTES {
            return Err(BadPepper { found: bytes.len() });
        }
        self.versions.insert(version, Zeroizing::new(bytes));
        Ok(self)
    }

    /// The version that new credentials are hashed under.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.current
    }

    pub fn bytes(&self) -> &[u8] {
        self.of(self.current).unwrap_or_default()
    }

    /// The secret of a version, if it is known here.
    pub fn of(&self, version: u32) -> Option<&[u8]> {
        self.versions.get(&version).map(|bytes| &***bytes)
    }

    /// All known versions with their secrets.
    pub fn each(&self) -> impl Iterator<Item = (u32, &[u8])> {
        self.versions
            .iter()
            .map(|(version, bytes)| (*version, &***bytes))
    }

    /// Derives a secret for one purpose, by HKDF-SHA-256 (RFC 5869), from the oldest known version:
    /// it must not change with a rotation.
    #[must_use]
    pub fn derive(&self, purpose: &str) -> Zeroizing<[u8; 32]> {
        let oldest = self.versions.values().next();
        derived(oldest.map_or(&[][..], |bytes| bytes), purpose)
    }

    /// The same from one version, for what is stored with the version that it belongs to. `None`:
    /// that version is not known here.
    #[must_use]
    pub fn derive_of(&self, version: u32, purpose: &str) -> Option<Zeroizing<[u8; 32]>> {
        Some(derived(self.of(version)?, purpose))
    }

    /// The key under which email addresses are hashed.
    #[must_use]
    pub fn address_key(&self) -> Zeroizing<[u8; 32]> {
        self.derive("email")
    }

    /// The hash of an address, which stands for it in subjects and counters.
    #[must_use]
    pub fn address(&self, email: &Email) -> EmailHash {
        email.hash(&self.address_key()[..])
    }

    /// A new token that belongs to the thing with that ULID, its MAC, and the version of the
    /// pepper. `None` only if randomness fails.
    #[must_use]
    pub fn token(&self, brand: &str, kind: TokenKind, ulid: &str) -> Option<(Token, KeyMac, u32)> {
        let token = Token::generate(brand, kind, ulid, &entropy::fresh())?;
        let mac = token.mac(self.bytes());
        Some((token, mac, self.version()))
    }
}

fn derived(secret: &[u8], purpose: &str) -> Zeroizing<[u8; 32]> {
    let mut derived = Zeroizing::new([0; 32]);
    // Fails only for more than 255 blocks of output.
    let _ =
        Hkdf::<Sha256>::new(Some(b"waybill/v1"), secret).expand(purpose.as_bytes(), &mut *derived);
    derived
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_derived_outlives_a_rotation() {
        let first = Pepper::new(1, vec![1; 32]).expect("long enough");
        let both = Pepper::new(2, vec![2; 32])
            .and_then(|pepper| pepper.with_earlier(1, vec![1; 32]))
            .expect("long enough");
        assert_eq!(*first.derive("email"), *both.derive("email"));
        assert_ne!(*first.derive("email"), *first.derive("other"));
        assert_eq!(first.derive_of(1, "mail"), both.derive_of(1, "mail"));
        assert_ne!(both.derive_of(1, "mail"), both.derive_of(2, "mail"));
        assert_eq!(first.derive_of(2, "mail"), None);
        assert_eq!(both.version(), 2);
        assert_eq!(both.of(1), Some(&[1_u8; 32][..]));
        assert_eq!(both.of(3), None);
        assert!(Pepper::new(1, vec![1; 31]).is_err());
    }
}
