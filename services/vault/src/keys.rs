//! The X25519 key pairs of the vault: KEKs, to which data keys are wrapped, and sender keys, with
//! which gateways authenticate what they seal.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use hpke::kem::X25519HkdfSha256;
use hpke::{Deserializable, Kem as _, OpModeS, Serializable};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::random::{Drawn, NoRandomness, random};
use crate::wrap::{Aead, Kdf};

/// Length of a key, secret or public, and of HPKE's encapsulated key.
pub(crate) const X25519_BYTES: usize = 32;
/// Length of a key's id: the first bytes of the SHA-256 of its public half. Rings refuse two keys
/// with the same id.
pub(crate) const KEY_ID_BYTES: usize = 8;

/// Role of a key pair. The two roles are separate types, so that one is never used as the other.
pub trait KeyRole: Copy + fmt::Debug + Send + Sync + 'static {
    /// Prefix of a secret half in the text of a ring, without the dot.
    const SECRET: &'static str;
    /// Prefix of a public half in the text of a ring, without the dot.
    const PUBLIC: &'static str;
}

/// A key-encryption key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kek {}

impl KeyRole for Kek {
    const SECRET: &'static str = "kek-secret1";
    const PUBLIC: &'static str = "kek-public1";
}

/// A key that authenticates the gateways that sealed a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Sender {}

impl KeyRole for Sender {
    const SECRET: &'static str = "sender-secret1";
    const PUBLIC: &'static str = "sender-public1";
}

/// The secret half of a KEK, held by workers.
pub type KekSecret = SecretKey<Kek>;
/// The public half of a KEK, held by gateways.
pub type KekPublic = PublicKey<Kek>;
/// Id of a KEK, in wrapped keys and in events.
pub type KekId = KeyId<Kek>;
/// The secret half of a sender key, held by gateways.
pub type SenderSecret = SecretKey<Sender>;
/// The public half of a sender key, held by workers.
pub type SenderPublic = PublicKey<Sender>;
/// Id of a sender key.
pub type SenderId = KeyId<Sender>;

/// Id of a key pair: 16 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId<R>([u8; KEY_ID_BYTES], PhantomData<R>);

impl<R> KeyId<R> {
    /// The id with these bytes, whether or not such a key exists.
    pub fn from_bytes(bytes: [u8; KEY_ID_BYTES]) -> Self {
        Self(bytes, PhantomData)
    }

    /// The bytes, as in a wrapped key.
    pub fn to_bytes(self) -> [u8; KEY_ID_BYTES] {
        self.0
    }
}

impl<R> fmt::Display for KeyId<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl<R> fmt::Debug for KeyId<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not the id of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the id of a vault key is {} lower-case hex digits", KEY_ID_BYTES * 2)]
pub struct NoKeyId;

impl<R> FromStr for KeyId<R> {
    type Err = NoKeyId;

    fn from_str(text: &str) -> Result<Self, NoKeyId> {
        let mut bytes = [0; KEY_ID_BYTES];
        decode_lower(text, &mut bytes).ok_or(NoKeyId)?;
        Ok(Self::from_bytes(bytes))
    }
}

/// A secret half. It is wiped when dropped and cannot be cloned; rings share it.
pub struct SecretKey<R> {
    key: <X25519HkdfSha256 as hpke::Kem>::PrivateKey,
    public: PublicKey<R>,
}

impl<R: KeyRole> SecretKey<R> {
    /// Generates a pair with randomness of the operating system.
    pub fn generate() -> Result<Self, NoRandomness> {
        let seed = random::<X25519_BYTES>()?;
        let (key, public) = X25519HkdfSha256::derive_keypair(seed.as_slice());
        let public = PublicKey::new(public);
        Ok(Self { key, public })
    }

    /// The public half.
    pub fn public(&self) -> &PublicKey<R> {
        &self.public
    }

    /// The id of the pair.
    pub fn id(&self) -> KeyId<R> {
        self.public.id
    }

    /// The secret key as a word in the text of a ring.
    pub fn to_word(&self) -> Zeroizing<String> {
        let mut bytes = Zeroizing::new([0; X25519_BYTES]);
        self.key.write_exact(bytes.as_mut_slice());
        let mut digits = Zeroizing::new([0; X25519_BYTES * 2]);
        // The sizes are constants that match, so this cannot fail; a word without digits would be
        // refused when read.
        let _fits = hex::encode_to_slice(bytes.as_slice(), digits.as_mut_slice());
        let digits = std::str::from_utf8(digits.as_slice()).unwrap_or_default();
        let mut word = Zeroizing::new(String::with_capacity(R::SECRET.len() + 1 + digits.len()));
        word.push_str(R::SECRET);
        word.push('.');
        word.push_str(digits);
        word
    }

    /// Parses the digits after the dot.
    pub(crate) fn from_digits(digits: &str) -> Option<Self> {
        let mut bytes = Zeroizing::new([0; X25519_BYTES]);
        decode_lower(digits, bytes.as_mut_slice())?;
        let key = <X25519HkdfSha256 as hpke::Kem>::PrivateKey::from_bytes(bytes.as_slice()).ok()?;
        let public = PublicKey::new(X25519HkdfSha256::sk_to_pk(&key));
        Some(Self { key, public })
    }

    pub(crate) fn key(&self) -> &<X25519HkdfSha256 as hpke::Kem>::PrivateKey {
        &self.key
    }
}

impl<R: KeyRole> fmt::Debug for SecretKey<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({})", R::SECRET, self.id())
    }
}

/// A public half.
#[derive(Clone)]
pub struct PublicKey<R> {
    key: <X25519HkdfSha256 as hpke::Kem>::PublicKey,
    id: KeyId<R>,
}

impl<R: KeyRole> PublicKey<R> {
    fn new(key: <X25519HkdfSha256 as hpke::Kem>::PublicKey) -> Self {
        let digest = Sha256::digest(key.to_bytes());
        let mut id = [0; KEY_ID_BYTES];
        id.copy_from_slice(&digest[..KEY_ID_BYTES]);
        Self {
            key,
            id: KeyId::from_bytes(id),
        }
    }

    /// The id of the pair.
    pub fn id(&self) -> KeyId<R> {
        self.id
    }

    /// The public key as a word in the text of a ring.
    pub fn to_word(&self) -> String {
        format!("{}.{}", R::PUBLIC, hex::encode(self.key.to_bytes()))
    }

    /// Parses the digits after the dot.
    pub(crate) fn from_digits(digits: &str) -> Option<Self> {
        let mut bytes = [0; X25519_BYTES];
        decode_lower(digits, &mut bytes)?;
        let key = <X25519HkdfSha256 as hpke::Kem>::PublicKey::from_bytes(&bytes).ok()?;
        Some(Self::new(key))
    }

    /// Whether key agreement with this key is safe. A point of small order yields the same shared
    /// secret, zero, with every key; HPKE refuses it at every use, and a ring when it is parsed.
    pub(crate) fn is_usable(&self) -> bool {
        let mut drawn = Drawn::from_seed(Zeroizing::new([1; X25519_BYTES]));
        hpke::setup_sender_with_rng::<Aead, Kdf, X25519HkdfSha256>(
            &OpModeS::Base,
            &self.key,
            b"",
            &mut drawn,
        )
        .is_ok()
    }

    pub(crate) fn key(&self) -> &<X25519HkdfSha256 as hpke::Kem>::PublicKey {
        &self.key
    }
}

impl<R: KeyRole> fmt::Debug for PublicKey<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({})", R::PUBLIC, self.id)
    }
}

/// Decodes lower-case hexadecimal of exactly this length, so that each key has one spelling.
fn decode_lower(digits: &str, into: &mut [u8]) -> Option<()> {
    let lower = |digit: u8| matches!(digit, b'0'..=b'9' | b'a'..=b'f');
    if !digits.bytes().all(lower) {
        return None;
    }
    hex::decode_to_slice(digits, into).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_back_as_written() {
        let secret = KekSecret::generate().expect("random");
        let word = secret.to_word();
        let digits = word.strip_prefix("kek-secret1.").expect("its type first");
        let again = KekSecret::from_digits(digits).expect("64 digits");
        assert_eq!(*again.to_word(), *word);
        assert_eq!(again.id(), secret.id());
        let public = secret.public().to_word();
        let digits = public.strip_prefix("kek-public1.").expect("its type first");
        let public = KekPublic::from_digits(digits).expect("64 digits");
        assert_eq!(public.id(), secret.id());
        assert!(public.is_usable());
    }

    #[test]
    fn an_id_is_the_start_of_the_hash_of_the_public_half() {
        let secret = SenderSecret::generate().expect("random");
        let word = secret.public().to_word();
        let public = hex::decode(&word["sender-public1.".len()..]).expect("hex");
        let hash = hex::encode(Sha256::digest(public));
        assert_eq!(secret.id().to_string(), hash[..16]);
        assert_eq!(hash[..16].parse(), Ok(secret.id()));
        for wrong in [
            &hash[..15],
            &hash[..17],
            "0123456789ABCDEF",
            "0123456789abcdeg",
            "",
        ] {
            assert_eq!(wrong.parse::<SenderId>(), Err(NoKeyId), "{wrong}");
        }
    }

    #[test]
    fn a_point_of_small_order_is_not_usable() {
        let order_eight = "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800";
        for digits in [
            &"0".repeat(64),
            &format!("01{}", "0".repeat(62)),
            order_eight,
        ] {
            let public = KekPublic::from_digits(digits).expect("64 digits");
            assert!(!public.is_usable(), "{digits}");
        }
    }
}
