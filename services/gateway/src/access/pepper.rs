//! The server's secret under which API keys and other credentials are hashed, and from which further secrets are derived.

use std::collections::BTreeMap;

use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

/// Fewer bytes could be guessed.
const LEAST_BYTES: usize = 32;

/// The pepper is too short.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a pepper has at least {LEAST_BYTES} bytes, not {found}")]
pub struct BadPepper {
    /// Bytes given.
    pub found: usize,
}

/// The secret in all its versions. New credentials are hashed under the current one; which one it was stands in every event that rests
/// on it, so older credentials go on working until their version is taken away.
pub struct Pepper {
    current: u32,
    versions: BTreeMap<u32, Zeroizing<Vec<u8>>>,
}

impl Pepper {
    /// From at least 32 random bytes.
    pub fn new(version: u32, bytes: Vec<u8>) -> Result<Self, BadPepper> {
        let pepper = Self {
            current: version,
            versions: BTreeMap::new(),
        };
        pepper.with_earlier(version, bytes)
    }

    /// Knows another version too, for credentials that were made under it.
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

    pub(crate) fn bytes(&self) -> &[u8] {
        self.of(self.current).unwrap_or_default()
    }

    /// The secret of a version, when it is known here.
    pub(crate) fn of(&self, version: u32) -> Option<&[u8]> {
        self.versions.get(&version).map(|bytes| &***bytes)
    }

    /// Every version that is known, with its secret.
    pub(crate) fn each(&self) -> impl Iterator<Item = (u32, &[u8])> {
        self.versions
            .iter()
            .map(|(version, bytes)| (*version, &***bytes))
    }

    /// A secret for one purpose, by HKDF-SHA-256 (RFC 5869) from the oldest version that is known: it must not change with a rotation.
    #[must_use]
    pub fn derive(&self, purpose: &str) -> Zeroizing<[u8; 32]> {
        let oldest = self.versions.values().next();
        let secret = oldest.map_or(&[][..], |bytes| bytes);
        let mut derived = Zeroizing::new([0; 32]);
        // Fails only for more than 255 blocks.
        let _ = Hkdf::<Sha256>::new(Some(b"waybill/v1"), secret)
            .expand(purpose.as_bytes(), &mut *derived);
        derived
    }
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
        assert_eq!(both.version(), 2);
        assert_eq!(both.of(1), Some(&[1_u8; 32][..]));
        assert_eq!(both.of(3), None);
        assert!(Pepper::new(1, vec![1; 31]).is_err());
    }
}
