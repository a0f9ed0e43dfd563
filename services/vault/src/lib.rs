//! Keeps a team's secrets so that only workers can read them, and nobody once they are erased.
//!
//! A value is encrypted under a random [`DataKey`] of its own with AES-256-GCM, which yields the
//! [`Envelope`]; it may stay in the log for ever. The data key is wrapped to a key-encryption key
//! (KEK) with HPKE (RFC 9180), which yields the [`WrappedKey`]; it is stored outside the log and
//! can be erased. Erasing the wrapped key shreds the value, wherever copies of its envelope are.
//! Credentials that many tasks bring along share such a key for an [epoch](begin_epoch).
//!
//! ```text
//! value --AES-256-GCM, data key--> Envelope    events, for ever
//! data key --HPKE Auth, KEK-----> WrappedKey   key store, erased with the token
//! ```
//!
//! **Who can do what.** A gateway holds a [`SealRing`]: the public halves of the KEKs and a sender
//! key of its own, so it can seal but not open. A worker holds an [`OpenRing`]: the secret halves
//! of the KEKs and the public halves of the senders. Anybody can encrypt to a public key, hence
//! HPKE's Auth mode: a record that was not made by a gateway is refused.
//!
//! **What is bound.** Both layers authenticate the [`Context`]: team, environment, token or task,
//! version and purpose. A record that was moved to another place does not open. A wrapped key names
//! its KEK; an unknown KEK is an error, and no other KEK is tried, because GCM does not commit to
//! its key.
//!
//! A key management service would implement [`Wrapper`] and [`Unwrapper`] in place of the rings.

mod context;
mod envelope;
mod epoch;
mod keys;
mod live;
mod random;
mod ring;
#[cfg(feature = "rotation")]
mod rotation;
mod seal;
mod secret;
mod wrap;
mod wrapped;

pub use context::{Context, Purpose};
pub use envelope::{
    ENVELOPE_OVERHEAD_BYTES, Envelope, EnvelopeError, MAX_ENVELOPE_BYTES, MAX_PLAINTEXT_BYTES,
};
pub use epoch::{EpochOpener, EpochSealer, begin_epoch};
pub use keys::{
    Kek, KekId, KekPublic, KekSecret, KeyId, KeyRole, NoKeyId, PublicKey, SecretKey, Sender,
    SenderId, SenderPublic, SenderSecret,
};
pub use live::{LiveRing, MAX_RING_BYTES, Reload, RingFileError, RingSource};
pub use random::NoRandomness;
pub use ring::{MAX_KEKS, MAX_SENDERS, OpenRing, Ring, RingError, SealRing, fresh_rings};
#[cfg(feature = "rotation")]
pub use rotation::{
    Census, Place, Refused, Rewrapped, Rotation, RotationError, Unopened, census, rewrap_all,
};
pub use seal::{OpenError, RewrapError, SealError, open, rewrap, seal};
pub use secret::{DATA_KEY_BYTES, DataKey, NotAuthentic, SecretBytes};
pub use wrap::{UnwrapError, Unwrapper, WrapError, Wrapper};
pub use wrapped::{WRAPPED_KEY_BYTES, WrappedKey, WrappedKeyError};
