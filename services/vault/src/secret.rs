//! Secret bytes in memory: wiped when dropped, not shown by `Debug`, and not cloneable.

use std::fmt;

use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{Aes256Gcm, Tag};
use secrecy::{ExposeSecret, SecretBox};
use zeroize::Zeroizing;

use crate::context::Context;
use crate::envelope::{Envelope, NONCE_BYTES, TAG_BYTES};
use crate::random::{NoRandomness, random};

/// Length of a data key: AES-256.
pub const DATA_KEY_BYTES: usize = 32;

/// A plaintext: the value of a token, or the headers of a task.
///
/// Do not let the `Vec` that it is made from grow: what a reallocation leaves behind is not wiped.
pub struct SecretBytes(SecretBox<Vec<u8>>);

impl SecretBytes {
    /// Takes ownership of the bytes, without a copy.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(SecretBox::new(Box::new(bytes)))
    }

    /// The plaintext. Call this only where it is used.
    pub fn expose(&self) -> &[u8] {
        self.0.expose_secret()
    }

    /// Size in bytes.
    pub fn len(&self) -> usize {
        self.expose().len()
    }

    pub fn is_empty(&self) -> bool {
        self.expose().is_empty()
    }
}

impl From<Vec<u8>> for SecretBytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self::new(bytes)
    }
}

impl From<String> for SecretBytes {
    fn from(text: String) -> Self {
        Self::new(text.into_bytes())
    }
}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretBytes(..)")
    }
}

/// The key of one version of a value, or of the headers of one task. It encrypts a single message,
/// so a random nonce never repeats under it.
pub struct DataKey(SecretBox<[u8; DATA_KEY_BYTES]>);

impl DataKey {
    /// Generates a key with randomness of the operating system.
    pub fn generate() -> Result<Self, NoRandomness> {
        Ok(Self::from_bytes(&*random()?))
    }

    /// The key that an [`Unwrapper`](crate::Unwrapper) has unwrapped.
    pub fn from_bytes(bytes: &[u8; DATA_KEY_BYTES]) -> Self {
        Self(SecretBox::init_with_mut(
            |key: &mut [u8; DATA_KEY_BYTES]| {
                *key = *bytes;
            },
        ))
    }

    /// The key bytes, only for a [`Wrapper`](crate::Wrapper).
    pub fn expose(&self) -> &[u8; DATA_KEY_BYTES] {
        self.0.expose_secret()
    }

    /// The value in the envelope, if it was sealed under this key for exactly this context.
    pub fn open(
        &self,
        context: &Context<'_>,
        envelope: &Envelope,
    ) -> Result<SecretBytes, NotAuthentic> {
        let mut plaintext = Zeroizing::new(envelope.ciphertext().to_vec());
        self.cipher()
            .decrypt_inout_detached(
                envelope.nonce().into(),
                &context.of_value(),
                plaintext.as_mut_slice().into(),
                envelope.tag().into(),
            )
            .map_err(|_| NotAuthentic)?;
        Ok(SecretBytes::new(std::mem::take(&mut *plaintext)))
    }

    /// Encrypts once. `None` if the plaintext is longer than GCM allows, which the caller must have
    /// checked.
    pub(crate) fn seal(
        &self,
        context: &Context<'_>,
        nonce: &[u8; NONCE_BYTES],
        plaintext: &SecretBytes,
    ) -> Option<Envelope> {
        let mut buffer = Zeroizing::new(plaintext.expose().to_vec());
        let tag: Tag = self
            .cipher()
            .encrypt_inout_detached(
                nonce.into(),
                &context.of_value(),
                buffer.as_mut_slice().into(),
            )
            .ok()?;
        let tag: [u8; TAG_BYTES] = tag.into();
        Some(Envelope::assemble(nonce, &buffer, &tag))
    }

    fn cipher(&self) -> Aes256Gcm {
        Aes256Gcm::new(self.expose().into())
    }
}

impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DataKey(..)")
    }
}

/// The envelope was not sealed under this key for this context, or was changed since. The cases
/// cannot be told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the sealed value is not authentic: changed, moved, or sealed under another key")]
pub struct NotAuthentic;
