//! The wrapped data key: `1 | KEK id 8 | HPKE enc 32 | ciphertext 32 | tag 16`. Once it is erased,
//! its envelope is noise.

use std::fmt;

use crate::context::FORMAT;
use crate::keys::{KEY_ID_BYTES, KekId, X25519_BYTES};
use crate::secret::DATA_KEY_BYTES;

/// Exact length of a wrapped key.
pub const WRAPPED_KEY_BYTES: usize = 1 + KEY_ID_BYTES + X25519_BYTES + SEALED_KEY_BYTES;
/// Length of a data key with GCM's tag.
pub(crate) const SEALED_KEY_BYTES: usize = DATA_KEY_BYTES + crate::envelope::TAG_BYTES;

/// A data key, wrapped to one KEK for one context.
#[derive(Clone, PartialEq, Eq)]
pub struct WrappedKey {
    kek: KekId,
    encapsulated: [u8; X25519_BYTES],
    sealed: [u8; SEALED_KEY_BYTES],
}

impl WrappedKey {
    /// Parses the bytes; accepts only what [`to_bytes`](Self::to_bytes) writes.
    pub fn parse(bytes: &[u8]) -> Result<Self, WrappedKeyError> {
        let size = || WrappedKeyError::Size(bytes.len());
        let bytes: &[u8; WRAPPED_KEY_BYTES] = bytes.try_into().map_err(|_| size())?;
        let (format, rest) = bytes.split_first().ok_or_else(size)?;
        if *format != FORMAT {
            return Err(WrappedKeyError::Format(*format));
        }
        let (kek, rest) = rest.split_first_chunk().ok_or_else(size)?;
        let (encapsulated, rest) = rest.split_first_chunk().ok_or_else(size)?;
        let sealed = rest.try_into().map_err(|_| size())?;
        Ok(Self::assemble(
            KekId::from_bytes(*kek),
            encapsulated,
            sealed,
        ))
    }

    pub fn to_bytes(&self) -> [u8; WRAPPED_KEY_BYTES] {
        let mut bytes = [0; WRAPPED_KEY_BYTES];
        let (format, rest) = bytes.split_at_mut(1);
        let (kek, rest) = rest.split_at_mut(KEY_ID_BYTES);
        let (encapsulated, sealed) = rest.split_at_mut(X25519_BYTES);
        format.copy_from_slice(&[FORMAT]);
        kek.copy_from_slice(&self.kek.to_bytes());
        encapsulated.copy_from_slice(&self.encapsulated);
        sealed.copy_from_slice(&self.sealed);
        bytes
    }

    /// Id of the KEK that it claims to be wrapped to; only unwrapping proves it.
    pub fn kek(&self) -> KekId {
        self.kek
    }

    pub(crate) fn assemble(
        kek: KekId,
        encapsulated: &[u8; X25519_BYTES],
        sealed: &[u8; SEALED_KEY_BYTES],
    ) -> Self {
        Self {
            kek,
            encapsulated: *encapsulated,
            sealed: *sealed,
        }
    }

    pub(crate) fn encapsulated(&self) -> &[u8; X25519_BYTES] {
        &self.encapsulated
    }

    pub(crate) fn sealed(&self) -> &[u8; SEALED_KEY_BYTES] {
        &self.sealed
    }
}

impl fmt::Debug for WrappedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WrappedKey(KEK {})", self.kek)
    }
}

/// The bytes are not a wrapped key. The error does not quote them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WrappedKeyError {
    /// The length is wrong.
    #[error("a wrapped data key has {WRAPPED_KEY_BYTES} bytes, not {0}")]
    Size(usize),
    /// Another version wrote it, or it is something else.
    #[error("a wrapped data key has format {FORMAT}, not {0}")]
    Format(u8),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrapped_key_has_89_bytes_and_names_its_kek() {
        assert_eq!(WRAPPED_KEY_BYTES, 89);
        let bytes: Vec<u8> = [vec![1], vec![0xab; 8], vec![2; 32], vec![3; 48]].concat();
        let key = WrappedKey::parse(&bytes).expect("a wrapped key");
        assert_eq!(key.to_bytes().as_slice(), bytes);
        assert_eq!(key.kek().to_string(), "abababababababab");
        assert_eq!(format!("{key:?}"), "WrappedKey(KEK abababababababab)");
    }

    #[test]
    fn other_sizes_and_formats_are_refused() {
        for size in (0..200).filter(|&size| size != WRAPPED_KEY_BYTES) {
            let bytes = vec![1; size];
            assert_eq!(WrappedKey::parse(&bytes), Err(WrappedKeyError::Size(size)));
        }
        for format in (0..=u8::MAX).filter(|&format| format != FORMAT) {
            let bytes = [format; WRAPPED_KEY_BYTES];
            assert_eq!(
                WrappedKey::parse(&bytes),
                Err(WrappedKeyError::Format(format))
            );
        }
    }
}
