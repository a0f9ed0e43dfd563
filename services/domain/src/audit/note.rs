//! Signed notes (C2SP `signed-note`): a text, an empty line, and signature lines; and the keys that
//! sign and verify them.
//!
//! `<text>\n\n— <key name> <base64 of 4 bytes of key id and 64 of Ed25519>\n`. Parsing is strict: a
//! note has exactly one text, so no byte of it can change unnoticed. Signatures by unknown keys,
//! such as those of witnesses, are skipped.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::time::Timestamp;

/// Length of a key's seed.
pub const SEED_BYTES: usize = 32;
/// Limit of a note's length; notes of checkpoints have about 500 bytes.
pub const MAX_NOTE_BYTES: usize = 16 * 1024;
/// Limit of signatures per note.
const MAX_SIGNATURES: usize = 16;
/// Identifies Ed25519 in key ids and encoded keys (C2SP `signed-note`, "Signature types").
const ED25519: u8 = 1;
/// Em dash and space, which begin every signature line.
const DASH: &str = "\u{2014} ";
const ID_BYTES: usize = 4;

/// Tells apart keys with the same name.
pub type KeyHash = [u8; ID_BYTES];

/// A private key. Its `Debug` output does not show it.
#[derive(Clone)]
pub struct NotaryKey {
    name: String,
    key: SigningKey,
}

/// Why a key is invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadKey {
    /// The seed has the wrong length.
    #[error("a seed has {SEED_BYTES} bytes, not {0}")]
    Seed(usize),
    /// The name cannot be part of a signature line.
    #[error("the name of a key has neither white space nor plus signs: {0:?}")]
    Name(String),
    /// A line of a list of public keys is malformed.
    #[error("line {line}: {reason}")]
    Text {
        /// Line number, from 1.
        line: usize,
        /// What is wrong, and what would be right.
        reason: String,
    },
}

impl NotaryKey {
    /// Makes a key from a random seed. The name comes from the deployment: `waybill/<deployment>`.
    pub fn new(name: &str, seed: &[u8]) -> Result<Self, BadKey> {
        let seed = seed
            .try_into()
            .map(Zeroizing::new)
            .map_err(|_| BadKey::Seed(seed.len()))?;
        if !is_key_name(name) {
            return Err(BadKey::Name(name.into()));
        }
        Ok(Self {
            name: name.into(),
            key: SigningKey::from_bytes(&seed),
        })
    }

    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey {
            name: self.name.clone(),
            key: self.key.verifying_key(),
        }
    }

    /// Signs bytes that are not the text of a note, and that state their own purpose.
    pub(crate) fn sign_bytes(&self, bytes: &[u8]) -> [u8; 64] {
        self.key.sign(bytes).to_bytes()
    }

    /// The signed note with that text, which must end with a line break and have no empty line.
    #[must_use]
    pub fn sign(&self, text: &str) -> String {
        debug_assert!(is_text(text), "no text of a note: {text:?}");
        let mut signature = self.public().hash().to_vec();
        signature.extend_from_slice(&self.key.sign(text.as_bytes()).to_bytes());
        format!("{text}\n{DASH}{} {}\n", self.name, BASE64.encode(signature))
    }
}

impl fmt::Debug for NotaryKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NotaryKey({})", self.public())
    }
}

/// A public key. Its text is `<name>+<key id in hex>+<base64>`, as defined by C2SP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    name: String,
    key: VerifyingKey,
}

impl PublicKey {
    /// The key id, which identifies the key together with its name.
    #[must_use]
    pub fn hash(&self) -> KeyHash {
        let hash = Sha256::new()
            .chain_update(&self.name)
            .chain_update([b'\n', ED25519])
            .chain_update(self.key.as_bytes())
            .finalize();
        [hash[0], hash[1], hash[2], hash[3]]
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether the signature over these bytes was made with this key.
    pub(crate) fn verifies(&self, bytes: &[u8], signature: &[u8; 64]) -> bool {
        let signature = Signature::from_bytes(signature);
        self.key.verify_strict(bytes, &signature).is_ok()
    }

    /// Reads what `Display` writes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (name, rest) = text.split_once('+')?;
        let (hash, encoded) = rest.split_once('+')?;
        let bytes = BASE64.decode(encoded).ok()?;
        let key: [u8; 32] = bytes.strip_prefix(&[ED25519])?.try_into().ok()?;
        let key = Self {
            name: name.into(),
            key: VerifyingKey::from_bytes(&key).ok()?,
        };
        (is_key_name(name) && hex::encode(key.hash()) == hash).then_some(key)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = vec![ED25519];
        bytes.extend_from_slice(self.key.as_bytes());
        write!(
            f,
            "{}+{}+{}",
            self.name,
            hex::encode(self.hash()),
            BASE64.encode(bytes)
        )
    }
}

/// A public key and the period in which its signatures count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trusted {
    pub key: PublicKey,
    /// Begin of the period; `None`: unlimited.
    pub from: Option<Timestamp>,
    /// End of the period; `None`: unlimited.
    pub until: Option<Timestamp>,
}

impl Trusted {
    /// Whether the key may sign at that time.
    #[must_use]
    pub fn is_valid_at(&self, at: Timestamp) -> bool {
        self.from.is_none_or(|from| at >= from) && self.until.is_none_or(|until| at < until)
    }
}

impl fmt::Display for Trusted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = |at: Option<Timestamp>| at.map_or_else(|| "-".into(), Timestamp::to_rfc3339);
        write!(f, "{} {} {}", self.key, end(self.from), end(self.until))
    }
}

/// The keys whose signatures count.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TrustedKeys(Vec<Trusted>);

impl TrustedKeys {
    #[must_use]
    pub fn new(keys: Vec<Trusted>) -> Self {
        Self(keys)
    }

    /// Trusts a single key, at any time.
    #[must_use]
    pub fn only(key: PublicKey) -> Self {
        Self(vec![Trusted {
            key,
            from: None,
            until: None,
        }])
    }

    #[must_use]
    pub fn all(&self) -> &[Trusted] {
        &self.0
    }

    /// Parses a list with one key per line, `<key> [<from> <until>]`, with RFC 3339 times or `-`
    /// for an open end. Empty lines and lines that begin with `#` are skipped.
    pub fn parse(text: &str) -> Result<Self, BadKey> {
        let mut keys = Vec::new();
        for (at, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            keys.push(trusted(line).map_err(|reason| BadKey::Text {
                line: at + 1,
                reason,
            })?);
        }
        Ok(Self(keys))
    }

    fn find(&self, name: &str, hash: KeyHash) -> Option<&Trusted> {
        self.0
            .iter()
            .find(|known| known.key.name == name && known.key.hash() == hash)
    }
}

impl fmt::Display for TrustedKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|key| writeln!(f, "{key}"))
    }
}

fn trusted(line: &str) -> Result<Trusted, String> {
    let mut words = line.split_ascii_whitespace();
    let text = words.next().unwrap_or_default();
    let key = PublicKey::parse(text)
        .ok_or_else(|| format!("{text:?} is no key such as waybill/default+1a2b3c4d+AX..."))?;
    let mut end = |name: &str| match words.next() {
        None | Some("-") => Ok(None),
        Some(time) => Timestamp::parse_rfc3339(time).map(Some).ok_or_else(|| {
            format!("{name} must be a time such as 2026-11-21T07:00:00Z, not {time:?}")
        }),
    };
    let (from, until) = (end("from")?, end("until")?);
    match words.next() {
        None => Ok(Trusted { key, from, until }),
        Some(more) => Err(format!(
            "{more:?} is too much: a line is <key> <from> <until>"
        )),
    }
}

/// Why a note is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// The note is not in the format of signed notes.
    #[error("not a signed note: {0}")]
    Malformed(&'static str),
    /// No known key has signed the note.
    #[error("no signature by a known key")]
    Unknown,
    /// A signature names a known key but was not made with it.
    #[error("the signature of {name} does not hold")]
    Forged {
        /// Name of the key.
        name: String,
    },
}

/// A note with a valid signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened<'n, 'k> {
    /// The text, including its last line break.
    pub text: &'n str,
    /// The key that signed it. Whether the key was valid at the time depends on the text.
    pub by: &'k Trusted,
}

/// Parses a note, and verifies the signatures of known keys.
pub fn open<'n, 'k>(note: &'n str, keys: &'k TrustedKeys) -> Result<Opened<'n, 'k>, NoteError> {
    let malformed = NoteError::Malformed;
    if note.len() > MAX_NOTE_BYTES {
        return Err(malformed("it is too long"));
    }
    let (text, signatures) = split(note).ok_or(malformed("no empty line before signatures"))?;
    if !is_text(text) {
        return Err(malformed(
            "its text has an empty line or control characters",
        ));
    }
    let mut by = None;
    let mut count = 0;
    for line in signatures.split_terminator('\n') {
        count += 1;
        if count > MAX_SIGNATURES {
            return Err(malformed("too many signatures"));
        }
        let (name, hash, signature) =
            signature(line).ok_or(malformed("malformed signature line"))?;
        let Some(known) = keys.find(name, hash) else {
            continue;
        };
        let forged = || NoteError::Forged { name: name.into() };
        let signature = Signature::from_slice(&signature).map_err(|_| forged())?;
        let checked = known.key.key.verify_strict(text.as_bytes(), &signature);
        checked.map_err(|_| forged())?;
        by = by.or(Some(known));
    }
    by.map(|by| Opened { text, by }).ok_or(NoteError::Unknown)
}

/// Splits a note into text and signature lines; both end with a line break.
pub(super) fn split(note: &str) -> Option<(&str, &str)> {
    let at = note.find("\n\n")?;
    let (text, signatures) = (&note[..=at], &note[at + 2..]);
    (signatures.len() > 1 && signatures.ends_with('\n')).then_some((text, signatures))
}

fn signature(line: &str) -> Option<(&str, KeyHash, Vec<u8>)> {
    let (name, encoded) = line.strip_prefix(DASH)?.split_once(' ')?;
    let bytes = BASE64.decode(encoded).ok().filter(|_| is_key_name(name))?;
    let (hash, signature) = bytes.split_first_chunk()?;
    Some((name, *hash, signature.to_vec()))
}

fn is_key_name(name: &str) -> bool {
    !name.is_empty()
        && !name
            .chars()
            .any(|c| c.is_whitespace() || c.is_control() || c == '+')
}

fn is_text(text: &str) -> bool {
    text.len() > 1
        && text.ends_with('\n')
        && !text.starts_with('\n')
        && !text.contains("\n\n")
        && !text.chars().any(|c| c.is_control() && c != '\n')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(seed: u8) -> NotaryKey {
        NotaryKey::new("waybill/test", &[seed; SEED_BYTES]).expect("a key")
    }

    #[test]
    fn a_signed_text_is_read_back_by_who_knows_the_key() {
        let (signer, stranger) = (key(1), key(2));
        let note = signer.sign("one\ntwo\n");
        let keys = TrustedKeys::only(signer.public());
        let opened = open(&note, &keys).expect("signed");
        assert_eq!(opened.text, "one\ntwo\n");
        assert_eq!(opened.by.key, signer.public());
        assert_eq!(
            open(&note, &TrustedKeys::only(stranger.public())),
            Err(NoteError::Unknown)
        );
        assert_eq!(
            open(&note, &TrustedKeys::default()),
            Err(NoteError::Unknown)
        );
    }

    #[test]
    fn a_witness_may_sign_too() {
        let signer = key(1);
        let witness = NotaryKey::new("witness.example/w1", &[9; SEED_BYTES]).expect("a key");
        let note = signer.sign("text\n");
        let of_witness = witness.sign("text\n");
        let both = format!(
            "{note}{}\n",
            of_witness.lines().last().expect("a signature")
        );
        for known in [signer.public(), witness.public()] {
            let keys = TrustedKeys::only(known.clone());
            assert_eq!(open(&both, &keys).expect("signed").by.key, known);
        }
    }

    #[test]
    fn no_flipped_bit_is_accepted() {
        let signer = key(1);
        let keys = TrustedKeys::only(signer.public());
        let note = signer.sign("waybill/test/control\n12\nabc\n");
        for at in 0..note.len() {
            for bit in 0..8 {
                let mut bytes = note.clone().into_bytes();
                bytes[at] ^= 1 << bit;
                if let Ok(altered) = String::from_utf8(bytes) {
                    assert!(
                        open(&altered, &keys).is_err(),
                        "byte {at}, bit {bit}: {altered:?}"
                    );
                }
            }
        }
        for cut in 0..note.len() {
            if let Some(part) = note.get(..cut) {
                assert!(open(part, &keys).is_err(), "cut at {cut}");
            }
        }
    }

    #[test]
    fn a_forged_signature_is_told_from_an_unknown_one() {
        let signer = key(1);
        let keys = TrustedKeys::only(signer.public());
        let note = signer.sign("one\n").replacen("one", "two", 1);
        assert_eq!(
            open(&note, &keys),
            Err(NoteError::Forged {
                name: "waybill/test".into()
            })
        );
    }

    #[test]
    fn keys_are_listed_with_their_times() {
        let text = format!(
            "# of the deployment\n\n{} 2026-01-01T00:00:00Z 2027-01-01T00:00:00Z\n{}\n",
            key(1).public(),
            key(2).public()
        );
        let keys = TrustedKeys::parse(&text).expect("keys");
        assert_eq!(keys.all().len(), 2);
        let at = |text| Timestamp::parse_rfc3339(text).expect("a time");
        assert!(keys.all()[0].is_valid_at(at("2026-06-01T00:00:00Z")));
        assert!(!keys.all()[0].is_valid_at(at("2027-01-01T00:00:00Z")));
        assert!(!keys.all()[0].is_valid_at(at("2025-12-31T23:59:59Z")));
        assert!(keys.all()[1].is_valid_at(at("1999-01-01T00:00:00Z")));
        assert_eq!(TrustedKeys::parse(&keys.to_string()), Ok(keys.clone()));
        for (line, part) in [
            ("nonsense".to_owned(), "is no key"),
            (
                format!("{} yesterday", key(1).public()),
                "from must be a time",
            ),
            (format!("{} - - -", key(1).public()), "too much"),
            (
                key(1).public().to_string().replacen("test", "best", 1),
                "is no key",
            ),
        ] {
            let error = TrustedKeys::parse(&format!("\n{line}"))
                .expect_err("refused")
                .to_string();
            assert!(
                error.starts_with("line 2: ") && error.contains(part),
                "{error}"
            );
        }
    }

    #[test]
    fn the_seed_is_shown_to_nobody() {
        let shown = format!("{:?}", key(0xab));
        assert!(
            !shown.contains("abab") && !shown.contains("171, 171"),
            "{shown}"
        );
        assert_eq!(
            NotaryKey::new("a b", &[1; 32]).err(),
            Some(BadKey::Name("a b".into()))
        );
        assert_eq!(NotaryKey::new("a", &[1; 31]).err(), Some(BadKey::Seed(31)));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(note in "(.|\n){0,200}") {
            let keys = TrustedKeys::only(key(1).public());
            prop_assert!(open(&note, &keys).is_err());
            let _ = TrustedKeys::parse(&note);
        }
    }
}
