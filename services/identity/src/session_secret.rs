//! The server's secret from which everything about sessions is derived: signing keys of access tokens, and log-ins under way.

use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

/// Shortest secret, in bytes: a shorter one could be guessed.
const LEAST_BYTES: usize = 32;

/// The secret is too short.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a session secret has at least {LEAST_BYTES} bytes, not {found}")]
pub struct BadSessionSecret {
    pub found: usize,
}

/// The secret, the same for all gateways of a deployment.
#[derive(Clone)]
pub struct SessionSecret(Zeroizing<Vec<u8>>);

impl SessionSecret {
    /// From at least 32 random bytes.
    pub fn new(bytes: Vec<u8>) -> Result<Self, BadSessionSecret> {
        let bytes = Zeroizing::new(bytes);
        if bytes.len() < LEAST_BYTES {
            return Err(BadSessionSecret { found: bytes.len() });
        }
        Ok(Self(bytes))
    }

    /// From a key that was derived from another secret.
    pub(crate) fn from_key(key: &[u8; 32]) -> Self {
        Self(Zeroizing::new(key.to_vec()))
    }

    /// 32 bytes for one purpose; they tell nothing about those for another (HKDF, RFC 5869).
    pub(crate) fn derive(&self, purpose: &str, context: &[u8]) -> Zeroizing<[u8; 32]> {
        derive(&self.0, purpose, context)
    }
}

/// HKDF-SHA-256 with `purpose`, a zero byte and `context` as its info: at most 8160 bytes.
pub(crate) fn derive<const BYTES: usize>(
    secret: &[u8],
    purpose: &str,
    context: &[u8],
) -> Zeroizing<[u8; BYTES]> {
    const { assert!(BYTES <= 8160, "255 blocks of 32 bytes") };
    let mut bytes = Zeroizing::new([0; BYTES]);
    #[expect(clippy::expect_used, reason = "the length is checked above")]
    Hkdf::<Sha256>::new(None, secret)
        .expand_multi_info(&[purpose.as_bytes(), b"\0", context], &mut bytes[..])
        .expect("not too many bytes");
    bytes
}

impl std::fmt::Debug for SessionSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SessionSecret(hidden)")
    }
}
