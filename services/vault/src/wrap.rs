//! Wrapping data keys: the traits behind which a key management service would stand, and the rings that do it today with HPKE.
//!
//! HPKE (RFC 9180) in Auth mode, one shot per key: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM.

use std::sync::Arc;

use async_trait::async_trait;
use hpke::aead::{AeadTag, AesGcm256};
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::{Deserializable, OpModeR, OpModeS, Serializable};
use zeroize::Zeroizing;

use crate::context::Context;
use crate::keys::KekId;
use crate::live::LiveRing;
use crate::random::{Drawn, NoRandomness};
use crate::ring::{OpenRing, SealRing};
use crate::secret::{DATA_KEY_BYTES, DataKey};
use crate::wrapped::{SEALED_KEY_BYTES, WrappedKey};

pub(crate) type Aead = AesGcm256;
pub(crate) type Kdf = HkdfSha256;
pub(crate) type Kem = X25519HkdfSha256;

/// HPKE's `info`: what these keys are used for.
const INFO: &[u8] = b"waybill vault data key v1";

/// Wraps data keys to a KEK: what a gateway can do.
#[async_trait]
pub trait Wrapper: Send + Sync {
    /// The KEKs it can wrap to, the newest first.
    fn keks(&self) -> Vec<KekId>;

    /// Wraps a data key for this context, to the KEK of that name or to the newest.
    async fn wrap_key(
        &self,
        kek: Option<KekId>,
        context: &Context<'_>,
        key: &DataKey,
    ) -> Result<WrappedKey, WrapError>;
}

/// Unwraps data keys: what a worker can do.
#[async_trait]
pub trait Unwrapper: Send + Sync {
    /// The KEKs it can unwrap from, the newest first.
    fn keks(&self) -> Vec<KekId>;

    /// The data key, if a trusted sender wrapped it for exactly this context.
    async fn unwrap_key(
        &self,
        context: &Context<'_>,
        wrapped: &WrappedKey,
    ) -> Result<DataKey, UnwrapError>;
}

/// A data key could not be wrapped; nothing was sealed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WrapError {
    /// The named KEK is not among those it has.
    #[error("this process cannot seal under the KEK {0}: its ring does not have it")]
    UnknownKek(KekId),
    /// The KEK's public half cannot be used.
    #[error("the public half of the KEK {0} is refused")]
    Refused(KekId),
    /// No random bytes.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
    /// A service does not answer; try again later.
    #[error("the key service cannot wrap a key at present: {0}")]
    Unavailable(String),
}

/// A data key could not be unwrapped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnwrapError {
    /// The record's KEK is not among those it has. No other is tried.
    #[error("this process cannot open a record under the KEK {0}: its ring does not have it")]
    UnknownKek(KekId),
    /// Changed, moved to another place, or made by nobody who is trusted.
    #[error(
        "the wrapped data key under the KEK {0} is not authentic: changed, moved, or not made by a trusted sender"
    )]
    NotAuthentic(KekId),
    /// A service does not answer; try again later.
    #[error("the key service cannot unwrap a key at present: {0}")]
    Unavailable(String),
}

#[async_trait]
impl Wrapper for SealRing {
    fn keks(&self) -> Vec<KekId> {
        Self::keks(self)
    }

    async fn wrap_key(
        &self,
        kek: Option<KekId>,
        context: &Context<'_>,
        key: &DataKey,
    ) -> Result<WrappedKey, WrapError> {
        self.wrap_drawn(kek, context, key, Drawn::new()?)
    }
}

impl SealRing {
    /// Wraps with an ephemeral key of that seed, which must be random and never used again.
    pub(crate) fn wrap_drawn(
        &self,
        kek: Option<KekId>,
        context: &Context<'_>,
        key: &DataKey,
        mut drawn: Drawn,
    ) -> Result<WrappedKey, WrapError> {
        let Some(public) = self.kek(kek) else {
            // A ring is never empty, so only a name can be unknown.
            let named = kek.unwrap_or(KekId::from_bytes(Default::default()));
            return Err(WrapError::UnknownKek(named));
        };
        let id = public.id();
        let sender = self.sender_secret();
        let mode = OpModeS::Auth((sender.key().clone(), sender.public().key().clone()));
        let mut buffer = Zeroizing::new(*key.expose());
        let (encapsulated, tag) = hpke::single_shot_seal_inout_detached_with_rng::<Aead, Kdf, Kem>(
            &mode,
            public.key(),
            INFO,
            buffer.as_mut_slice().into(),
            &context.of_wrap(id),
            &mut drawn,
        )
        .map_err(|_| WrapError::Refused(id))?;
        drawn.sufficed()?;
        let mut sealed = [0; SEALED_KEY_BYTES];
        let (ciphertext, tag_bytes) = sealed.split_at_mut(DATA_KEY_BYTES);
        ciphertext.copy_from_slice(buffer.as_slice());
        tag.write_exact(tag_bytes);
        let encapsulated = encapsulated.to_bytes().into();
        Ok(WrappedKey::assemble(id, &encapsulated, &sealed))
    }
}

#[async_trait]
impl Unwrapper for OpenRing {
    fn keks(&self) -> Vec<KekId> {
        Self::keks(self)
    }

    async fn unwrap_key(
        &self,
        context: &Context<'_>,
        wrapped: &WrappedKey,
    ) -> Result<DataKey, UnwrapError> {
        let id = wrapped.kek();
        let kek = self.kek(id).ok_or(UnwrapError::UnknownKek(id))?;
        let refused = UnwrapError::NotAuthentic(id);
        let refuse = |_| refused.clone();
        let encapsulated = <Kem as hpke::Kem>::EncappedKey::from_bytes(wrapped.encapsulated());
        let encapsulated = encapsulated.map_err(refuse)?;
        let (ciphertext, tag) = wrapped.sealed().split_at(DATA_KEY_BYTES);
        let tag = AeadTag::<Aead>::from_bytes(tag).map_err(refuse)?;
        let associated = context.of_wrap(id);
        // A record names its KEK but not its sender, so the trusted ones are asked in turn. This is not the trap of trying several
        // keys: to make a record that two of them open, one would need the secrets of both, and who has one may seal anyway.
        for sender in self.trusted() {
            let mut buffer = Zeroizing::new([0; DATA_KEY_BYTES]);
            buffer.copy_from_slice(ciphertext);
            let opened = hpke::single_shot_open_inout_detached::<Aead, Kdf, Kem>(
                &OpModeR::Auth(sender.key().clone()),
                kek.key(),
                &encapsulated,
                INFO,
                buffer.as_mut_slice().into(),
                &associated,
                &tag,
            );
            if opened.is_ok() {
                return Ok(DataKey::from_bytes(&buffer));
            }
        }
        Err(refused)
    }
}

#[async_trait]
impl Wrapper for LiveRing<SealRing> {
    fn keks(&self) -> Vec<KekId> {
        self.current().keks()
    }

    async fn wrap_key(
        &self,
        kek: Option<KekId>,
        context: &Context<'_>,
        key: &DataKey,
    ) -> Result<WrappedKey, WrapError> {
        self.current().wrap_key(kek, context, key).await
    }
}

#[async_trait]
impl Unwrapper for LiveRing<OpenRing> {
    fn keks(&self) -> Vec<KekId> {
        self.current().keks()
    }

    async fn unwrap_key(
        &self,
        context: &Context<'_>,
        wrapped: &WrappedKey,
    ) -> Result<DataKey, UnwrapError> {
        self.current().unwrap_key(context, wrapped).await
    }
}

#[async_trait]
impl<W: Wrapper + ?Sized> Wrapper for Arc<W> {
    fn keks(&self) -> Vec<KekId> {
        (**self).keks()
    }

    async fn wrap_key(
        &self,
        kek: Option<KekId>,
        context: &Context<'_>,
        key: &DataKey,
    ) -> Result<WrappedKey, WrapError> {
        (**self).wrap_key(kek, context, key).await
    }
}

#[async_trait]
impl<U: Unwrapper + ?Sized> Unwrapper for Arc<U> {
    fn keks(&self) -> Vec<KekId> {
        (**self).keks()
    }

    async fn unwrap_key(
        &self,
        context: &Context<'_>,
        wrapped: &WrappedKey,
    ) -> Result<DataKey, UnwrapError> {
        (**self).unwrap_key(context, wrapped).await
    }
}

#[cfg(test)]
mod tests;
