//! Wrapping of data keys: the traits that a key management service would implement, and the rings
//! that implement them with HPKE.
//!
//! HPKE (RFC 9180) in Auth mode, one-shot per key: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256,
//! AES-256-GCM.

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

/// HPKE's `info`: the purpose of these keys.
const INFO: &[u8] = b"waybill vault data key v1";

/// Wraps data keys to a KEK, as a gateway does.
#[async_trait]
pub trait Wrapper: Send + Sync {
    /// Ids of the KEKs that it can wrap to, newest first.
    fn keks(&self) -> Vec<KekId>;

    /// Wraps a data key for this context, to the KEK with that id or to the newest.
    async fn wrap_key(
        &self,
        kek: Option<KekId>,
        context: &Context<'_>,
        key: &DataKey,
    ) -> Result<WrappedKey, WrapError>;
}

/// Unwraps data keys, as a worker does.
#[async_trait]
pub trait Unwrapper: Send + Sync {
    /// Ids of the KEKs that it can unwrap from, newest first.
    fn keks(&self) -> Vec<KekId>;

    /// Returns the data key, if a trusted sender wrapped it for exactly this context.
    async fn unwrap_key(
        &self,
        context: &Context<'_>,
        wrapped: &WrappedKey,
    ) -> Result<DataKey, UnwrapError>;
}

/// Why a data key could not be wrapped. Nothing was sealed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WrapError {
    /// The named KEK is not in the ring.
    #[error("this process cannot seal under the KEK {0}: its ring does not have it")]
    UnknownKek(KekId),
    /// The public half of the KEK cannot be used.
    #[error("the public half of the KEK {0} is refused")]
    Refused(KekId),
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
    /// The key service does not answer; try again later.
    #[error("the key service cannot wrap a key at present: {0}")]
    Unavailable(String),
}

/// Why a data key could not be unwrapped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnwrapError {
    /// The record's KEK is not in the ring. No other KEK is tried.
    #[error("this process cannot open a record under the KEK {0}: its ring does not have it")]
    UnknownKek(KekId),
    /// The wrapped key was changed, moved to another place, or not made by a trusted sender.
    #[error(
        "the wrapped data key under the KEK {0} is not authentic: changed, moved, or not made by a trusted sender"
    )]
    NotAuthentic(KekId),
    /// The key service does not answer; try again later.
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
    /// Wraps with the ephemeral key of that seed, which must be random and never be used again.
    pub(crate) fn wrap_drawn(
        &self,
        kek: Option<KekId>,
        context: &Context<'_>,
        key: &DataKey,
        mut drawn: Drawn,
    ) -> Result<WrappedKey, WrapError> {
        let Some(public) = self.kek(kek) else {
            // A ring is never empty, so only a given id can be unknown.
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
        // A record names its KEK but not its sender, so the trusted senders are tried in turn. This
        // is not the trap of trying several keys: making a record that two of them open requires
        // the secrets of both, and whoever has one may seal anyway.
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
