//! The keys of a process: gateways hold a seal ring, workers an open ring. A rotation derives new
//! rings from old ones. Nothing here does I/O.

use std::sync::Arc;

use zeroize::Zeroizing;

use crate::keys::{
    Kek, KekId, KekPublic, KekSecret, KeyRole, Sender, SenderId, SenderPublic, SenderSecret,
};
use crate::random::NoRandomness;

mod text;

use text::{Key, Place};

/// Limit of KEKs in one ring. A rotation needs two; more mean that old ones were never removed.
pub const MAX_KEKS: usize = 16;
/// Limit of trusted senders in an open ring. Each costs an additional attempt to unwrap, so there
/// should be two only during a change.
pub const MAX_SENDERS: usize = 4;

const SEAL_RING: &str = "seal ring";
const OPEN_RING: &str = "open ring";

/// A ring that can be parsed.
pub trait Ring: Sized + Send + Sync + 'static {
    /// The name in errors and log lines.
    const NAME: &'static str;

    /// Parses words separated by white space; `#` begins a comment that ends with the line.
    fn parse(text: &str) -> Result<Self, RingError>;
}

/// New rings for gateways and workers, with a first KEK and a first sender.
pub fn fresh_rings() -> Result<(SealRing, OpenRing), NoRandomness> {
    let (kek, sender) = (KekSecret::generate()?, SenderSecret::generate()?);
    let open = OpenRing {
        senders: vec![sender.public().clone()],
        keks: vec![Arc::new(kek)],
    };
    Ok((open.seal_ring(sender), open))
}

/// The ring of a gateway, which can seal under these KEKs but open nothing.
#[derive(Debug, Clone)]
pub struct SealRing {
    sender: Arc<SenderSecret>,
    /// Newest first; never empty.
    keks: Vec<KekPublic>,
}

impl Ring for SealRing {
    const NAME: &'static str = SEAL_RING;

    fn parse(text: &str) -> Result<Self, RingError> {
        let (mut sender, mut keks) = (None, Vec::<KekPublic>::new());
        for (place, key) in text::keys(text)? {
            match key {
                Key::SenderSecret(key) if sender.is_none() => sender = Some(Arc::new(key)),
                Key::SenderSecret(_) => return Err(too_many::<Self>(Sender::SECRET, 1)),
                Key::KekPublic(key) => {
                    new_key(place, Kek::PUBLIC, keks.iter().map(KekPublic::id), key.id())?;
                    keks.push(key);
                }
                Key::KekSecret(_) => return Err(misplaced::<Self>(place, Kek::SECRET)),
                Key::SenderPublic(_) => return Err(misplaced::<Self>(place, Sender::PUBLIC)),
            }
        }
        let sender = sender.ok_or(missing::<Self>(Sender::SECRET))?;
        let ring = Self { sender, keks };
        ring.checked()
    }
}

impl SealRing {
    /// The text of the ring. It contains the sender's secret, so store it where only its owner can
    /// read it.
    pub fn render(&self) -> Zeroizing<String> {
        let publics = self.keks.iter().map(|key| Zeroizing::new(key.to_word()));
        text::render(std::iter::once(self.sender.to_word()).chain(publics))
    }

    /// Ids of the KEKs, newest first.
    pub fn keks(&self) -> Vec<KekId> {
        self.keks.iter().map(KekPublic::id).collect()
    }

    /// The public half of the sender, which workers must trust.
    pub fn sender(&self) -> &SenderPublic {
        self.sender.public()
    }

    /// The ring with another KEK, as the newest.
    pub fn with_kek(&self, kek: KekPublic) -> Result<Self, RingError> {
        new_key(
            Place::ADDED,
            Kek::PUBLIC,
            self.keks.iter().map(KekPublic::id),
            kek.id(),
        )?;
        let mut ring = self.clone();
        ring.keks.insert(0, kek);
        ring.checked()
    }

    /// The ring without that KEK. The last KEK cannot be removed.
    pub fn without_kek(&self, kek: KekId) -> Result<Self, RingError> {
        let mut ring = self.clone();
        take(
            &mut ring.keks,
            |key| key.id() == kek,
            RingError::NoSuchKek(kek),
        )?;
        if ring.keks.is_empty() {
            return Err(RingError::LastKek);
        }
        Ok(ring)
    }

    /// The ring with exactly the KEKs of that open ring, and the same sender.
    pub fn with_keks_of(&self, open: &OpenRing) -> Self {
        Self {
            sender: Arc::clone(&self.sender),
            keks: open.keks.iter().map(|key| key.public().clone()).collect(),
        }
    }

    /// The ring with another sender. Workers must trust it before gateways use it.
    pub fn with_sender(&self, sender: SenderSecret) -> Self {
        Self {
            sender: Arc::new(sender),
            keks: self.keks.clone(),
        }
    }

    pub(crate) fn sender_secret(&self) -> &SenderSecret {
        &self.sender
    }

    /// The KEK with that id, or the newest.
    pub(crate) fn kek(&self, kek: Option<KekId>) -> Option<&KekPublic> {
        match kek {
            Some(id) => self.keks.iter().find(|key| key.id() == id),
            None => self.keks.first(),
        }
    }

    fn checked(self) -> Result<Self, RingError> {
        bounded::<Self>(self.keks.len(), MAX_KEKS, Kek::PUBLIC)?;
        Ok(self)
    }
}

/// The ring of a worker, which can open what these senders sealed under these KEKs.
#[derive(Debug, Clone)]
pub struct OpenRing {
    /// Newest first; never empty.
    keks: Vec<Arc<KekSecret>>,
    /// Trusted senders; never empty.
    senders: Vec<SenderPublic>,
}

impl Ring for OpenRing {
    const NAME: &'static str = OPEN_RING;

    fn parse(text: &str) -> Result<Self, RingError> {
        let (mut keks, mut senders) = (Vec::<Arc<KekSecret>>::new(), Vec::<SenderPublic>::new());
        for (place, key) in text::keys(text)? {
            match key {
                Key::KekSecret(key) => {
                    new_key(
                        place,
                        Kek::SECRET,
                        keks.iter().map(|key| key.id()),
                        key.id(),
                    )?;
                    keks.push(Arc::new(key));
                }
                Key::SenderPublic(key) => {
                    let known = senders.iter().map(SenderPublic::id);
                    new_key(place, Sender::PUBLIC, known, key.id())?;
                    senders.push(key);
                }
                Key::KekPublic(_) => return Err(misplaced::<Self>(place, Kek::PUBLIC)),
                Key::SenderSecret(_) => return Err(misplaced::<Self>(place, Sender::SECRET)),
            }
        }
        let ring = Self { keks, senders };
        ring.checked()
    }
}

impl OpenRing {
    /// The text of the ring. It opens everything, so store it where only its owner can read it.
    pub fn render(&self) -> Zeroizing<String> {
        let senders = self.senders.iter();
        let senders = senders.map(|key| Zeroizing::new(key.to_word()));
        text::render(self.keks.iter().map(|key| key.to_word()).chain(senders))
    }

    /// Ids of the KEKs, newest first.
    pub fn keks(&self) -> Vec<KekId> {
        self.keks.iter().map(|key| key.id()).collect()
    }

    /// Ids of the trusted senders.
    pub fn senders(&self) -> Vec<SenderId> {
        self.senders.iter().map(SenderPublic::id).collect()
    }

    /// The seal ring with the same KEKs for a sender: public halves and that sender's secret, but
    /// nothing that opens.
    pub fn seal_ring(&self, sender: SenderSecret) -> SealRing {
        SealRing {
            sender: Arc::new(sender),
            keks: self.keks.iter().map(|key| key.public().clone()).collect(),
        }
    }

    /// The ring with another KEK, as the newest.
    pub fn with_kek(&self, kek: KekSecret) -> Result<Self, RingError> {
        new_key(
            Place::ADDED,
            Kek::SECRET,
            self.keks.iter().map(|key| key.id()),
            kek.id(),
        )?;
        let mut ring = self.clone();
        ring.keks.insert(0, Arc::new(kek));
        ring.checked()
    }

    /// The ring without that KEK. What is still wrapped to it can never be opened again. The last
    /// KEK cannot be removed.
    pub fn without_kek(&self, kek: KekId) -> Result<Self, RingError> {
        let mut ring = self.clone();
        take(
            &mut ring.keks,
            |key| key.id() == kek,
            RingError::NoSuchKek(kek),
        )?;
        if ring.keks.is_empty() {
            return Err(RingError::LastKek);
        }
        Ok(ring)
    }

    /// The ring with another trusted sender, which is tried first.
    pub fn with_sender(&self, sender: SenderPublic) -> Result<Self, RingError> {
        let known = self.senders.iter().map(SenderPublic::id);
        new_key(Place::ADDED, Sender::PUBLIC, known, sender.id())?;
        let mut ring = self.clone();
        ring.senders.insert(0, sender);
        ring.checked()
    }

    /// The ring without that sender. What it sealed and nothing has rewrapped since is refused from
    /// now on. The last sender cannot be removed.
    pub fn without_sender(&self, sender: SenderId) -> Result<Self, RingError> {
        let mut ring = self.clone();
        let absent = RingError::NoSuchSender(sender);
        take(&mut ring.senders, |key| key.id() == sender, absent)?;
        if ring.senders.is_empty() {
            return Err(RingError::LastSender);
        }
        Ok(ring)
    }

    pub(crate) fn kek(&self, kek: KekId) -> Option<&KekSecret> {
        let key = self.keks.iter().find(|key| key.id() == kek);
        key.map(Arc::as_ref)
    }

    pub(crate) fn trusted(&self) -> &[SenderPublic] {
        &self.senders
    }

    fn checked(self) -> Result<Self, RingError> {
        bounded::<Self>(self.keks.len(), MAX_KEKS, Kek::SECRET)?;
        bounded::<Self>(self.senders.len(), MAX_SENDERS, Sender::PUBLIC)?;
        Ok(self)
    }
}

/// Why a ring is invalid. The errors name positions, kinds and ids, but never the keys themselves.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RingError {
    /// A word does not begin like a key.
    #[error(
        "{0} is not a key: expected one of kek-secret1., kek-public1., sender-secret1., sender-public1., then 64 hex digits"
    )]
    NotAKey(Place),
    /// A word begins like a key but does not continue like one.
    #[error("{0} is not a valid {1}: expected 64 lower-case hex digits behind the dot")]
    BadDigits(Place, &'static str),
    /// A public half that agrees on the same secret with every key.
    #[error("{0} is not a usable {1}: it is a point of small order")]
    SmallOrder(Place, &'static str),
    /// A key that belongs in the other kind of ring.
    #[error("{0} is a {1}, which does not belong in the {2}")]
    Misplaced(Place, &'static str, &'static str),
    /// Two keys have the same id.
    #[error("{0} is a {1} that the ring already has: {2}")]
    Repeated(Place, &'static str, String),
    /// A required kind of key is missing.
    #[error("the {0} needs a {1}")]
    Missing(&'static str, &'static str),
    /// There are too many keys of one kind.
    #[error("the {0} has at most {2} {1}")]
    TooMany(&'static str, &'static str, usize),
    /// Without a KEK, nothing could be sealed or opened.
    #[error("the last KEK of a ring cannot be removed; add its successor first")]
    LastKek,
    /// Without a trusted sender, everything would be refused.
    #[error("the last sender of a ring cannot be removed; add its successor first")]
    LastSender,
    /// The KEK to remove does not exist.
    #[error("the ring has no KEK {0}")]
    NoSuchKek(KekId),
    /// The sender to remove does not exist.
    #[error("the ring has no sender {0}")]
    NoSuchSender(SenderId),
}

fn new_key<I: Copy + PartialEq + ToString>(
    place: Place,
    kind: &'static str,
    mut known: impl Iterator<Item = I>,
    id: I,
) -> Result<(), RingError> {
    if known.any(|other| other == id) {
        return Err(RingError::Repeated(place, kind, id.to_string()));
    }
    Ok(())
}

fn take<T>(keys: &mut Vec<T>, is: impl Fn(&T) -> bool, absent: RingError) -> Result<(), RingError> {
    let before = keys.len();
    keys.retain(|key| !is(key));
    if keys.len() == before {
        return Err(absent);
    }
    Ok(())
}

fn bounded<R: Ring>(count: usize, limit: usize, kind: &'static str) -> Result<(), RingError> {
    match count {
        0 => Err(missing::<R>(kind)),
        count if count > limit => Err(too_many::<R>(kind, limit)),
        _ => Ok(()),
    }
}

fn missing<R: Ring>(kind: &'static str) -> RingError {
    RingError::Missing(R::NAME, kind)
}

fn too_many<R: Ring>(kind: &'static str, limit: usize) -> RingError {
    RingError::TooMany(R::NAME, kind, limit)
}

fn misplaced<R: Ring>(place: Place, kind: &'static str) -> RingError {
    RingError::Misplaced(place, kind, R::NAME)
}

#[cfg(test)]
mod tests;
