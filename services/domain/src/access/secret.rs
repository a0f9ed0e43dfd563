//! What all secrets that Waybill issues share: base 62, a checksum, and a keyed hash that is stored
//! in place of the secret.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// Characters of a checksum: 62^6 > 2^32.
pub(super) const CHECKSUM_CHARS: usize = 6;

/// Random bytes needed for one secret. Bytes that would bias the choice among 62 characters are
/// skipped, so there are spare ones.
pub const ENTROPY_BYTES: usize = 128;

/// The stored MAC of a secret: HMAC-SHA-256.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyMac([u8; 32]);

impl KeyMac {
    /// Hexadecimal, as in events.
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

    /// Compares in constant time.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

/// HMAC-SHA-256 over fields, each preceded by its length, so that no two lists of fields have the
/// same input.
pub(super) fn keyed(pepper: &[u8], fields: &[&str]) -> KeyMac {
    #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
    let mut mac = Hmac::<Sha256>::new_from_slice(pepper).expect("any length will do");
    for field in fields {
        let length = u32::try_from(field.len()).unwrap_or(u32::MAX);
        mac.update(&length.to_be_bytes());
        mac.update(field.as_bytes());
    }
    KeyMac(mac.finalize().into_bytes().into())
}

/// Appends `count` random characters. `None` when too many bytes had to be skipped, which does not
/// happen in practice.
pub(super) fn append_random(
    text: &mut String,
    count: usize,
    entropy: &[u8; ENTROPY_BYTES],
) -> Option<()> {
    // 248 is the largest multiple of 62 in a byte: larger values would make the first characters
    // likelier.
    let mut characters = entropy
        .iter()
        .filter(|&&b| b < 248)
        .map(|&b| BASE62[usize::from(b % 62)] as char);
    for _ in 0..count {
        text.push(characters.next()?);
    }
    Some(())
}

/// CRC-32 (IEEE) of the preceding text, as six base 62 characters.
pub(super) fn checksum(text: &str) -> String {
    let mut rest = crc32fast::hash(text.as_bytes()) as usize;
    let mut characters = [b'0'; CHECKSUM_CHARS];
    for place in characters.iter_mut().rev() {
        *place = BASE62[rest % 62];
        rest /= 62;
    }
    characters.iter().map(|&b| b as char).collect()
}
