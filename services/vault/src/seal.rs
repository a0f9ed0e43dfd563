//! Seal, open and rewrap a record: the two layers together.

use subtle::ConstantTimeEq;

use crate::context::Context;
use crate::envelope::{Envelope, MAX_PLAINTEXT_BYTES};
use crate::keys::KekId;
use crate::random::{NoRandomness, random};
use crate::secret::{DataKey, NotAuthentic, SecretBytes};
use crate::wrap::{UnwrapError, Unwrapper, WrapError, Wrapper};
use crate::wrapped::WrappedKey;

/// Seals a value under a new data key, wrapped to the KEK with that id or to the newest. Store the
/// wrapped key first: an envelope without one is lost, while a wrapped key without an envelope is
/// harmless.
pub async fn seal(
    wrapper: &(impl Wrapper + ?Sized),
    kek: Option<KekId>,
    context: &Context<'_>,
    plaintext: &SecretBytes,
) -> Result<(Envelope, WrappedKey), SealError> {
    let size = SealError::Size(plaintext.len());
    if plaintext.is_empty() || plaintext.len() > MAX_PLAINTEXT_BYTES {
        return Err(size);
    }
    let key = DataKey::generate()?;
    let envelope = key.seal(context, &*random()?, plaintext).ok_or(size)?;
    let wrapped = wrapper.wrap_key(kek, context, &key).await?;
    Ok((envelope, wrapped))
}

/// Opens a record, if a trusted sender sealed it for exactly this context. A cache keeps the result
/// of [`unwrap_key`](Unwrapper::unwrap_key) and calls [`DataKey::open`].
pub async fn open(
    unwrapper: &(impl Unwrapper + ?Sized),
    context: &Context<'_>,
    envelope: &Envelope,
    wrapped: &WrappedKey,
) -> Result<SecretBytes, OpenError> {
    let key = unwrapper.unwrap_key(context, wrapped).await?;
    Ok(key.open(context, envelope)?)
}

/// Wraps the same data key to another KEK. The envelope stays the same, and the data key never
/// leaves memory. The result is opened once before it is returned, so that erasing the old wrapped
/// key loses nothing even if the two rings do not match.
pub async fn rewrap(
    unwrapper: &(impl Unwrapper + ?Sized),
    wrapper: &(impl Wrapper + ?Sized),
    kek: Option<KekId>,
    context: &Context<'_>,
    wrapped: &WrappedKey,
) -> Result<WrappedKey, RewrapError> {
    let key = unwrapper.unwrap_key(context, wrapped).await?;
    let made = wrapper.wrap_key(kek, context, &key).await?;
    let again = unwrapper.unwrap_key(context, &made).await;
    let again = again.map_err(|error| match error {
        UnwrapError::Unavailable(_) => RewrapError::Unwrap(error),
        _ => RewrapError::NotOpened(error),
    })?;
    if !bool::from(again.expose().ct_eq(key.expose())) {
        let kek = UnwrapError::NotAuthentic(made.kek());
        return Err(RewrapError::NotOpened(kek));
    }
    Ok(made)
}

/// Why a value could not be sealed. There is nothing to store.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The value is empty or too long.
    #[error("a sealed value has between 1 and {MAX_PLAINTEXT_BYTES} bytes, not {0}")]
    Size(usize),
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
    #[error(transparent)]
    Wrap(#[from] WrapError),
}

/// Why a record could not be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Unwrap(#[from] UnwrapError),
    /// The data key is correct, but the envelope is not authentic.
    #[error(transparent)]
    NotAuthentic(#[from] NotAuthentic),
}

/// Why a data key could not be rewrapped. The old wrapped key stays valid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RewrapError {
    #[error(transparent)]
    Unwrap(#[from] UnwrapError),
    #[error(transparent)]
    Wrap(#[from] WrapError),
    /// The new wrapped key cannot be opened, because the rings do not match.
    #[error("a key that was wrapped anew cannot be opened again, so the old one is kept: {0}")]
    NotOpened(UnwrapError),
}
