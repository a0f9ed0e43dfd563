//! Seal, open and rewrap a record: the two layers together.

use subtle::ConstantTimeEq;

use crate::context::Context;
use crate::envelope::{Envelope, MAX_PLAINTEXT_BYTES};
use crate::keys::KekId;
use crate::random::{NoRandomness, random};
use crate::secret::{DataKey, NotAuthentic, SecretBytes};
use crate::wrap::{UnwrapError, Unwrapper, WrapError, Wrapper};
use crate::wrapped::WrappedKey;

/// Seals a value under a new data key, wrapped to the KEK of that name or to the newest. Store the wrapped key first: an envelope without
/// one is lost, a wrapped key without an envelope harmless.
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

/// The value of a record, if a trusted sender sealed it for exactly this context. A cache keeps what
/// [`unwrap_key`](Unwrapper::unwrap_key) gave and calls [`DataKey::open`].
pub async fn open(
    unwrapper: &(impl Unwrapper + ?Sized),
    context: &Context<'_>,
    envelope: &Envelope,
    wrapped: &WrappedKey,
) -> Result<SecretBytes, OpenError> {
    let key = unwrapper.unwrap_key(context, wrapped).await?;
    Ok(key.open(context, envelope)?)
}

/// The same data key, wrapped to another KEK. The envelope stays as it is and the data key never leaves memory. What was made is opened
/// once before it is handed out: who erases the old wrapped key then loses nothing, also when the two rings do not fit each other.
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

/// A value could not be sealed; there is nothing to store.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// Nothing, or too much.
    #[error("a sealed value has between 1 and {MAX_PLAINTEXT_BYTES} bytes, not {0}")]
    Size(usize),
    /// No random bytes.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
    /// The data key could not be wrapped.
    #[error(transparent)]
    Wrap(#[from] WrapError),
}

/// A record could not be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The data key could not be unwrapped.
    #[error(transparent)]
    Unwrap(#[from] UnwrapError),
    /// The data key is right and the envelope is not.
    #[error(transparent)]
    NotAuthentic(#[from] NotAuthentic),
}

/// A data key could not be wrapped anew; the old wrapped key stays valid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RewrapError {
    /// The old wrapped key could not be unwrapped.
    #[error(transparent)]
    Unwrap(#[from] UnwrapError),
    /// The data key could not be wrapped.
    #[error(transparent)]
    Wrap(#[from] WrapError),
    /// What was made cannot be opened: the rings do not fit each other.
    #[error("a key that was wrapped anew cannot be opened again, so the old one is kept: {0}")]
    NotOpened(UnwrapError),
}
