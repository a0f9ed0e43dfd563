//! The keys: Ed25519, named after the role that signs with them.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::Void;
use crate::audit::note::{BadKey, NotaryKey, PublicKey};
use crate::seq::StreamSeq;

/// Limit of configured keys, including replaced ones and those of workers: a record with an unknown
/// key is compared with all of them.
pub const MAX_KEYS: usize = 16;

/// The role that signs with a key, which is named `waybill/<speaker>`. A signature is bound to one
/// CONTROL anyway, so the name does not include the deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaker {
    /// Gateways and the command line, which may say everything.
    Control,
    /// Workers, which may report their start and the use of a token, and take part in the barrier.
    Worker,
}

impl Speaker {
    /// The name within the names of keys.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Control => "control",
            Self::Worker => "worker",
        }
    }

    fn of(key: &PublicKey) -> Option<Self> {
        let name = key.name().strip_prefix("waybill/")?;
        [Self::Control, Self::Worker]
            .into_iter()
            .find(|speaker| speaker.as_str() == name)
    }
}

/// A signing key. Its `Debug` output shows only the public part.
#[derive(Debug, Clone)]
pub struct Signer(NotaryKey);

impl PartialEq for Signer {
    fn eq(&self, other: &Self) -> bool {
        self.public() == other.public()
    }
}

impl Eq for Signer {}

impl Signer {
    /// Makes a key from 32 random bytes.
    ///
    /// # Errors
    /// When `seed` does not have 32 bytes.
    pub fn new(speaker: Speaker, seed: &[u8]) -> Result<Self, BadKey> {
        let name = format!("waybill/{}", speaker.as_str());
        NotaryKey::new(&name, seed).map(Self)
    }

    /// The public key, which every reader needs.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        self.0.public()
    }

    /// The key id, as in signatures.
    #[must_use]
    pub fn id(&self) -> String {
        hex::encode(self.public().hash())
    }

    /// The value of [`super::SIGNATURE`].
    pub(super) fn sign(&self, bytes: &[u8]) -> String {
        format!("{}.{}", self.id(), BASE64.encode(self.0.sign_bytes(bytes)))
    }
}

/// A public key whose signatures count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    key: PublicKey,
    speaker: Speaker,
    /// The last position of CONTROL at which the key counts, if it was replaced. A replaced key
    /// does not count for messages of the barrier.
    until: Option<StreamSeq>,
}

impl Accepted {
    /// Accepts the key at every position.
    ///
    /// # Errors
    /// When the name of the key is neither `waybill/control` nor `waybill/worker`.
    pub fn new(key: PublicKey) -> Result<Self, String> {
        let speaker = Speaker::of(&key).ok_or_else(|| {
            format!("{key} must be named waybill/control or waybill/worker, which says who signs")
        })?;
        Ok(Self {
            key,
            speaker,
            until: None,
        })
    }

    /// Parses `<key>` or `<key> <last position>`.
    ///
    /// # Errors
    /// Says what is wrong, and what would be right.
    pub fn parse(line: &str) -> Result<Self, String> {
        let mut words = line.split_ascii_whitespace();
        let text = words.next().unwrap_or_default();
        let key = PublicKey::parse(text)
            .ok_or_else(|| format!("{text:?} is no key such as waybill/control+1a2b3c4d+AX..."))?;
        let mut accepted = Self::new(key)?;
        if let Some(word) = words.next() {
            let until = word.parse().map_err(|_| {
                format!("{word:?} must be the last position of CONTROL at which the key counts")
            })?;
            accepted.until = Some(StreamSeq(until));
        }
        match words.next() {
            None => Ok(accepted),
            Some(more) => Err(format!("{more:?} is too much: a key is <key> [<position>]")),
        }
    }

    #[must_use]
    pub fn key(&self) -> &PublicKey {
        &self.key
    }
}

impl fmt::Display for Accepted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.until {
            None => write!(f, "{}", self.key),
            Some(until) => write!(f, "{} {until}", self.key),
        }
    }
}

/// The keys whose signatures count.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Keys(Vec<Accepted>);

impl Keys {
    ///
    /// # Errors
    /// When there are more than [`MAX_KEYS`].
    pub fn new(keys: Vec<Accepted>) -> Result<Self, String> {
        if keys.len() > MAX_KEYS {
            return Err(format!("at most {MAX_KEYS} keys, not {}", keys.len()));
        }
        Ok(Self(keys))
    }

    /// Whether there are no keys, so that nothing can be judged.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    #[must_use]
    pub fn all(&self) -> &[Accepted] {
        &self.0
    }

    /// Whether there are keys of workers. Without one, what workers may say counts unsigned.
    #[must_use]
    pub fn has_worker(&self) -> bool {
        self.0.iter().any(|key| key.speaker == Speaker::Worker)
    }

    /// The role that signed these bytes. `at` is their position in CONTROL; `None` for messages
    /// without one, for which replaced keys do not count.
    pub(super) fn check(
        &self,
        bytes: &[u8],
        signature: &str,
        at: Option<StreamSeq>,
    ) -> Result<(Speaker, String), Void> {
        let malformed = || Void::Malformed(super::SIGNATURE);
        let (id, encoded) = signature.split_once('.').ok_or_else(malformed)?;
        let hash = hex::decode(id).map_err(|_| malformed())?;
        let encoded = BASE64.decode(encoded).map_err(|_| malformed())?;
        let signature: [u8; 64] = encoded.try_into().map_err(|_| malformed())?;
        let counts = |key: &&Accepted| {
            let in_time = match (key.until, at) {
                (None, _) => true,
                (Some(until), Some(at)) => at <= until,
                (Some(_), None) => false,
            };
            key.key.hash()[..] == hash[..] && in_time
        };
        let mut known = self.0.iter().filter(counts).peekable();
        if known.peek().is_none() {
            return Err(Void::UnknownKey(id.to_owned()));
        }
        known
            .find(|key| key.key.verifies(bytes, &signature))
            .map(|key| (key.speaker, id.to_owned()))
            .ok_or_else(|| Void::Forged(id.to_owned()))
    }
}
