//! Signing keys that rotate by themselves.
//!
//! The seed of an epoch's key is derived from the session secret and the epoch's number, so every gateway has the same keys without
//! telling the others. A key signs for one epoch and verifies during the one before and the one after, which covers clocks that
//! differ and tokens issued just before the change.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::SigningKey;
use jsonwebtoken::{DecodingKey, EncodingKey};
use parking_lot::RwLock;
use serde::Serialize;
use sha2::{Digest, Sha256};
use utoipa::ToSchema;
use waybill_domain::time::Timestamp;
use zeroize::Zeroizing;

use crate::SessionSecret;

/// How long a key signs.
pub const EPOCH: Duration = Duration::from_secs(30 * 86_400);
/// The bytes before an Ed25519 seed in PKCS #8 (RFC 8410, 7).
const PKCS8_PREFIX: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// One epoch's key.
pub(super) struct Key {
    /// First 16 hexadecimal characters of the SHA-256 of the public key.
    pub(super) id: String,
    pub(super) signs: EncodingKey,
    pub(super) verifies: DecodingKey,
    public: [u8; 32],
}

/// The keys of the last, this and the next epoch.
struct Ring {
    epoch: i64,
    keys: [Arc<Key>; 3],
}

/// The keys that are valid at a time.
pub struct TokenKeys {
    secret: SessionSecret,
    ring: RwLock<Arc<Ring>>,
}

impl std::fmt::Debug for TokenKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenKeys(hidden)")
    }
}

/// A public key as RFC 8037 writes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Jwk {
    /// `OKP`: an octet key pair.
    kty: &'static str,
    /// The curve: `Ed25519`.
    crv: &'static str,
    /// The algorithm: `EdDSA`.
    alg: &'static str,
    /// `sig`: it verifies signatures.
    #[serde(rename = "use")]
    purpose: &'static str,
    /// Names it in the header of a token.
    kid: String,
    /// The key: 32 bytes in base64url.
    x: String,
}

/// Public keys as RFC 7517 lists them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct JwkSet {
    /// Those of the last, this and the next epoch.
    pub keys: Vec<Jwk>,
}

impl TokenKeys {
    /// Keys derived from that secret.
    #[must_use]
    pub fn new(secret: SessionSecret) -> Self {
        let ring = RwLock::new(Arc::new(Ring::of(&secret, 0)));
        Self { secret, ring }
    }

    pub(super) fn signing(&self, now: Timestamp) -> Arc<Key> {
        Arc::clone(&self.at(now).keys[1])
    }

    pub(super) fn verifying(&self, id: &str, now: Timestamp) -> Option<Arc<Key>> {
        self.at(now).keys.iter().find(|key| key.id == id).cloned()
    }

    pub(super) fn public(&self, now: Timestamp) -> JwkSet {
        let jwk = |key: &Arc<Key>| Jwk {
            kty: "OKP",
            crv: "Ed25519",
            alg: "EdDSA",
            purpose: "sig",
            kid: key.id.clone(),
            x: URL_SAFE_NO_PAD.encode(key.public),
        };
        JwkSet {
            keys: self.at(now).keys.iter().map(jwk).collect(),
        }
    }

    fn at(&self, now: Timestamp) -> Arc<Ring> {
        let length = i64::try_from(EPOCH.as_secs()).unwrap_or(i64::MAX);
        let epoch = now.as_secs().div_euclid(length);
        // A poisoned lock still holds a whole ring: it is replaced in one assignment.
        let ring = Arc::clone(&self.ring.read());
        if ring.epoch == epoch {
            return ring;
        }
        let ring = Arc::new(Ring::of(&self.secret, epoch));
        *self.ring.write() = Arc::clone(&ring);
        ring
    }
}

impl Ring {
    fn of(secret: &SessionSecret, epoch: i64) -> Self {
        let key = |epoch| Arc::new(Key::of(secret, epoch));
        Self {
            epoch,
            keys: [
                key(epoch.saturating_sub(1)),
                key(epoch),
                key(epoch.saturating_add(1)),
            ],
        }
    }
}

impl Key {
    fn of(secret: &SessionSecret, epoch: i64) -> Self {
        let seed = secret.derive("waybill access token key v1", &epoch.to_be_bytes());
        let public = SigningKey::from_bytes(&seed).verifying_key().to_bytes();
        let pkcs8 = Zeroizing::new([&PKCS8_PREFIX[..], &seed[..]].concat());
        Self {
            id: hex::encode(&Sha256::digest(public)[..8]),
            signs: EncodingKey::from_ed_der(&pkcs8),
            verifies: DecodingKey::from_ed_der(&public),
            public,
        }
    }
}
