//! Sealing for the tasks of an epoch: many envelopes, one stored key, and no way for whoever seals
//! to open what was sealed before.
//!
//! An epoch has a key pair, made from a random seed. The seed is wrapped to the KEK and stored like
//! any data key; the gateway keeps the public half alone, and forgets the rest at once. Each
//! envelope is sealed to it with an ephemeral key of its own (HPKE in Base mode, with the algorithms
//! of [`crate::wrap`]). The public half is written nowhere, and the wrapped seed is authenticated,
//! so nobody but a gateway makes such an envelope.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hpke::aead::AeadTag;
use hpke::{Deserializable, Kem as _, OpModeR, OpModeS, Serializable};
use zeroize::Zeroizing;

use crate::context::Context;
use crate::envelope::{MAX_PLAINTEXT_BYTES, TAG_BYTES};
use crate::keys::{KekId, X25519_BYTES};
use crate::random::Drawn;
use crate::seal::SealError;
use crate::secret::{DataKey, NotAuthentic, SecretBytes};
use crate::wrap::{Aead, Kdf, Kem, Wrapper};
use crate::wrapped::WrappedKey;

/// HPKE's `info`: the purpose of these keys.
const INFO: &[u8] = b"waybill vault epoch v1";
/// Format of these envelopes: their first byte, another one than that of envelopes with a data key.
const FORMAT: u8 = 2;
/// Bytes of an envelope besides its ciphertext.
const OVERHEAD: usize = 1 + X25519_BYTES + TAG_BYTES;
/// Length of the longest envelope as text: base64url without padding.
const MAX_TEXT: usize = (OVERHEAD + MAX_PLAINTEXT_BYTES).div_ceil(3) * 4;

/// The half of an epoch's key pair that seals.
pub struct EpochSealer(<Kem as hpke::Kem>::PublicKey);

/// The half that opens.
pub struct EpochOpener(<Kem as hpke::Kem>::PrivateKey);

/// Begins an epoch. Store the wrapped key, whose context is [`Context::epoch`], before anything that
/// is sealed: without it that is lost, while a wrapped key that nothing needs is harmless.
pub async fn begin_epoch(
    wrapper: &(impl Wrapper + ?Sized),
    kek: Option<KekId>,
    context: &Context<'_>,
) -> Result<(EpochSealer, WrappedKey), SealError> {
    let seed = DataKey::generate()?;
    let wrapped = wrapper.wrap_key(kek, context, &seed).await?;
    let (_, public) = Kem::derive_keypair(seed.expose());
    Ok((EpochSealer(public), wrapped))
}

impl EpochSealer {
    /// Seals a value, and returns `2 | encapsulated key 32 | ciphertext | tag 16` in unpadded
    /// base64url. It opens for this context only, whatever else is sealed in the epoch.
    pub fn seal(
        &self,
        context: &Context<'_>,
        plaintext: &SecretBytes,
    ) -> Result<String, SealError> {
        let size = SealError::Size(plaintext.len());
        if plaintext.is_empty() || plaintext.len() > MAX_PLAINTEXT_BYTES {
            return Err(size);
        }
        let mut drawn = Drawn::new()?;
        let mut buffer = Zeroizing::new(plaintext.expose().to_vec());
        let (encapsulated, tag) = hpke::single_shot_seal_inout_detached_with_rng::<Aead, Kdf, Kem>(
            &OpModeS::Base,
            &self.0,
            INFO,
            buffer.as_mut_slice().into(),
            &context.of_value(),
            &mut drawn,
        )
        .map_err(|_| size)?;
        drawn.sufficed()?;
        let mut bytes = Vec::with_capacity(OVERHEAD + buffer.len());
        bytes.push(FORMAT);
        bytes.extend_from_slice(&encapsulated.to_bytes());
        bytes.extend_from_slice(&buffer);
        bytes.extend_from_slice(&tag.to_bytes());
        Ok(URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl EpochOpener {
    /// From the seed that an [`Unwrapper`](crate::Unwrapper) has unwrapped for [`Context::epoch`].
    pub fn new(seed: &DataKey) -> Self {
        let (secret, _) = Kem::derive_keypair(seed.expose());
        Self(secret)
    }

    /// The value in an envelope, if it was sealed in this epoch for exactly this context. A text
    /// that is no envelope is not authentic either.
    pub fn open(&self, context: &Context<'_>, text: &str) -> Result<SecretBytes, NotAuthentic> {
        if text.len() > MAX_TEXT {
            return Err(NotAuthentic);
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| NotAuthentic)?;
        let split = bytes.split_first().and_then(|(format, rest)| {
            let (encapsulated, rest) = rest.split_first_chunk::<X25519_BYTES>()?;
            let (ciphertext, tag) = rest.split_last_chunk::<TAG_BYTES>()?;
            (*format == FORMAT && !ciphertext.is_empty()).then_some((encapsulated, ciphertext, tag))
        });
        let (encapsulated, ciphertext, tag) = split.ok_or(NotAuthentic)?;
        let encapsulated = <Kem as hpke::Kem>::EncappedKey::from_bytes(encapsulated);
        let tag = AeadTag::<Aead>::from_bytes(tag).map_err(|_| NotAuthentic)?;
        let mut plaintext = Zeroizing::new(ciphertext.to_vec());
        hpke::single_shot_open_inout_detached::<Aead, Kdf, Kem>(
            &OpModeR::Base,
            &self.0,
            &encapsulated.map_err(|_| NotAuthentic)?,
            INFO,
            plaintext.as_mut_slice().into(),
            &context.of_value(),
            &tag,
        )
        .map_err(|_| NotAuthentic)?;
        Ok(SecretBytes::new(std::mem::take(&mut *plaintext)))
    }
}

impl fmt::Debug for EpochSealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EpochSealer(..)")
    }
}

impl fmt::Debug for EpochOpener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EpochOpener(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (EpochSealer, EpochOpener) {
        let seed = DataKey::generate().expect("randomness");
        let (_, public) = Kem::derive_keypair(seed.expose());
        (EpochSealer(public), EpochOpener::new(&seed))
    }

    fn opened(opener: &EpochOpener, context: &Context<'_>, text: &str) -> Option<Vec<u8>> {
        let opened = opener.open(context, text).ok()?;
        Some(opened.expose().to_vec())
    }

    #[test]
    fn an_envelope_opens_in_its_epoch_and_for_its_task_alone() {
        let (sealer, opener) = pair();
        let context = Context::task("team_1", "task_1");
        let value = SecretBytes::from("Bearer a".to_owned());
        let text = sealer.seal(&context, &value).expect("sealed");
        assert_eq!(
            opened(&opener, &context, &text).as_deref(),
            Some(&b"Bearer a"[..])
        );
        let again = sealer.seal(&context, &value).expect("sealed");
        assert_ne!(text, again, "nothing shows that two tasks carry the same");
        for other in [
            Context::task("team_1", "task_2"),
            Context::task("team_1_test", "task_1"),
            Context::epoch("team_1", "task_1"),
        ] {
            assert_eq!(opened(&opener, &other, &text), None, "{other:?}");
        }
        assert_eq!(opened(&pair().1, &context, &text), None);
    }

    #[test]
    fn every_bit_counts_and_so_does_the_end() {
        let (sealer, opener) = pair();
        let context = Context::task("team_1", "task_1");
        let value = SecretBytes::from("a".to_owned());
        let text = sealer.seal(&context, &value).expect("sealed");
        let bytes = URL_SAFE_NO_PAD.decode(&text).expect("text");
        assert_eq!(bytes.len(), OVERHEAD + 1);
        for bit in 0..bytes.len() * 8 {
            // X25519 ignores the highest bit of a public key, but HPKE's key schedule covers it.
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let changed = URL_SAFE_NO_PAD.encode(changed);
            assert_eq!(opened(&opener, &context, &changed), None, "bit {bit}");
        }
        for length in 0..bytes.len() {
            let cut = URL_SAFE_NO_PAD.encode(&bytes[..length]);
            assert_eq!(opened(&opener, &context, &cut), None, "{length} bytes");
        }
        for other in [
            format!("{text}="),
            format!(" {text}"),
            "A".repeat(MAX_TEXT + 1),
        ] {
            assert_eq!(opened(&opener, &context, &other), None);
        }
    }

    #[test]
    fn other_sizes_are_refused() {
        let (sealer, opener) = pair();
        let context = Context::task("team_1", "task_1");
        let seal = |size| sealer.seal(&context, &SecretBytes::new(vec![7; size]));
        assert_eq!(seal(0), Err(SealError::Size(0)));
        let longest = seal(MAX_PLAINTEXT_BYTES).expect("sealed");
        let size = opened(&opener, &context, &longest).map(|value| value.len());
        assert_eq!(size, Some(MAX_PLAINTEXT_BYTES));
        let longer = MAX_PLAINTEXT_BYTES + 1;
        assert_eq!(seal(longer), Err(SealError::Size(longer)));
    }
}
