//! Letters as they are stored: sealed, since they hold addresses and tokens, and padded, so that their length says nothing.
//!
//! The key is derived from the pepper of the deployment, which all gateways have and nobody else. The version of the pepper stands in front of the sealed letter, so
//! a letter stays readable through a rotation for as long as the old version is in the ring.
//!
//! ```text
//! format (1 byte), version of the pepper (4), nonce (12), sealed { length (4), letter as JSON, zeros }, tag (16)
//! ```

use std::sync::Arc;

use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{Aes256Gcm, Tag};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use waybill_commands::{Pepper, entropy};
use waybill_domain::access::email::Email;
use waybill_domain::time::Timestamp;
use zeroize::Zeroizing;

use super::Letter;

/// Every sealed letter has a multiple of so many bytes, and all of ours have exactly as many: they take about two thousand.
pub(crate) const BUCKET: usize = 4096;

const FORMAT: u8 = 1;
/// What the key is derived for. Random nonces suffice for 2^32 letters under one version of the pepper.
const PURPOSE: &str = "mail letters v1";
const HEADER_BYTES: usize = 5;
const NONCE_BYTES: usize = 12;
const LENGTH_BYTES: usize = 4;
const TAG_BYTES: usize = 16;
/// What is not the letter.
const OVERHEAD: usize = HEADER_BYTES + NONCE_BYTES + LENGTH_BYTES + TAG_BYTES;

/// Seals letters and opens them.
#[derive(Clone)]
pub(crate) struct LetterSeal(Arc<Pepper>);

/// A letter could not be written or sealed. This is not known to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the letter could not be sealed")]
pub(crate) struct NotSealed;

/// Why a stored letter cannot be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotOpened {
    /// Another gateway may know it, as while the pepper or the version of Waybill is being changed.
    #[error("it is sealed under version {0} of the pepper, which this gateway does not have")]
    UnknownPepper(u32),
    /// Another gateway may read it, as while the version of Waybill is being changed.
    #[error("it has format {0}, which this version does not read")]
    UnknownFormat(u8),
    /// Nobody can open it.
    #[error("it is not authentic: changed, or sealed by somebody else")]
    NotAuthentic,
    /// It was sealed by a gateway, and says nothing.
    #[error("it is malformed")]
    Malformed,
}

impl NotOpened {
    /// Whether a gateway with another configuration may be able to open it.
    pub(crate) fn may_pass(self) -> bool {
        matches!(self, Self::UnknownPepper(_) | Self::UnknownFormat(_))
    }
}

/// A letter as text.
#[derive(Serialize, Deserialize)]
struct Written {
    id: String,
    to: String,
    subject: String,
    body: String,
    /// Milliseconds since the epoch.
    until: i64,
}

impl LetterSeal {
    pub(crate) fn new(pepper: Arc<Pepper>) -> Self {
        Self(pepper)
    }

    /// Seals a letter, or what looks like one from outside and says nothing.
    pub(crate) fn seal(&self, letter: Option<&Letter>) -> Result<Bytes, NotSealed> {
        let version = self.0.version();
        let key = self.0.derive_of(version, PURPOSE).ok_or(NotSealed)?;
        let mut plain = padded(letter)?;
        let mut header = [FORMAT; HEADER_BYTES];
        header[1..].copy_from_slice(&version.to_be_bytes());
        let nonce: [u8; NONCE_BYTES] = entropy::fresh();
        let tag: Tag = Aes256Gcm::new((&*key).into())
            .encrypt_inout_detached((&nonce).into(), &header, plain.as_mut_slice().into())
            .map_err(|_| NotSealed)?;
        let tag: [u8; TAG_BYTES] = tag.into();
        Ok([&header[..], &nonce, &plain, &tag].concat().into())
    }

    /// Opens a sealed letter; `None`: it is a placeholder.
    pub(crate) fn open(&self, sealed: &[u8]) -> Result<Option<Letter>, NotOpened> {
        let malformed = NotOpened::Malformed;
        let (header, rest) = sealed
            .split_first_chunk::<HEADER_BYTES>()
            .ok_or(malformed)?;
        let [format, version @ ..] = *header;
        if format != FORMAT {
            return Err(NotOpened::UnknownFormat(format));
        }
        let (nonce, rest) = rest.split_first_chunk::<NONCE_BYTES>().ok_or(malformed)?;
        let (ciphertext, tag) = rest.split_last_chunk::<TAG_BYTES>().ok_or(malformed)?;
        let version = u32::from_be_bytes(version);
        let key = self.0.derive_of(version, PURPOSE);
        let key = key.ok_or(NotOpened::UnknownPepper(version))?;
        let mut plain = Zeroizing::new(ciphertext.to_vec());
        Aes256Gcm::new((&*key).into())
            .decrypt_inout_detached(
                nonce.into(),
                header,
                plain.as_mut_slice().into(),
                tag.into(),
            )
            .map_err(|_| NotOpened::NotAuthentic)?;
        read(&plain)
    }
}

/// A letter with its length before it, and as many zeros behind it as fill the bucket.
fn padded(letter: Option<&Letter>) -> Result<Zeroizing<Vec<u8>>, NotSealed> {
    let text = match letter {
        None => Zeroizing::default(),
        Some(letter) => {
            let written = Written {
                id: letter.id.clone(),
                to: letter.to.as_str().to_owned(),
                subject: letter.subject.clone(),
                body: letter.body.clone(),
                until: letter.until.0,
            };
            Zeroizing::new(serde_json::to_vec(&written).map_err(|_| NotSealed)?)
        }
    };
    let length = u32::try_from(text.len()).map_err(|_| NotSealed)?;
    let size = (text.len() + OVERHEAD).next_multiple_of(BUCKET);
    let mut plain = Zeroizing::new(Vec::with_capacity(size));
    plain.extend_from_slice(&length.to_be_bytes());
    plain.extend_from_slice(&text);
    plain.resize(size - OVERHEAD + LENGTH_BYTES, 0);
    Ok(plain)
}

fn read(plain: &[u8]) -> Result<Option<Letter>, NotOpened> {
    let malformed = NotOpened::Malformed;
    let (length, text) = plain.split_first_chunk::<LENGTH_BYTES>().ok_or(malformed)?;
    let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| malformed)?;
    if length == 0 {
        return Ok(None);
    }
    let text = text.get(..length).ok_or(malformed)?;
    let written: Written = serde_json::from_slice(text).map_err(|_| malformed)?;
    Ok(Some(Letter {
        id: written.id,
        to: Email::parse(&written.to).map_err(|_| malformed)?,
        subject: written.subject,
        body: written.body,
        until: Timestamp(written.until),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Links, Occasion};

    fn pepper(version: u32) -> Pepper {
        let byte = u8::try_from(version).expect("small");
        Pepper::new(version, vec![byte; 32]).expect("long enough")
    }

    fn seal(pepper: Pepper) -> LetterSeal {
        LetterSeal::new(Arc::new(pepper))
    }

    fn letter(team: &str) -> Letter {
        let to = Email::parse("ann@example.com").expect("an address");
        let occasion = Occasion::Invitation {
            team: team.into(),
            role: "member".into(),
            token: "wb_invite_0123".into(),
        };
        Letter::about(&occasion, &to, &Links::default())
    }

    #[test]
    fn what_is_sealed_is_opened_again_and_does_not_show() {
        let seal = seal(pepper(1));
        let letter = letter("Çınar 🌳");
        let sealed = seal.seal(Some(&letter)).expect("sealed");
        assert_eq!(seal.open(&sealed), Ok(Some(letter.clone())));
        let shows = |text: &str| {
            sealed
                .windows(text.len())
                .any(|part| part == text.as_bytes())
        };
        assert!(!shows("wb_invite") && !shows("ann@") && !shows("subject"));
        let again = seal.seal(Some(&letter)).expect("sealed");
        assert_ne!(sealed[HEADER_BYTES..], again[HEADER_BYTES..]);
    }

    #[test]
    fn every_letter_and_what_stands_in_for_none_have_one_size() {
        let seal = seal(pepper(1));
        let size = |letter: Option<&Letter>| seal.seal(letter).expect("sealed").len();
        assert_eq!(size(None), BUCKET);
        assert_eq!(size(Some(&letter(""))), BUCKET);
        assert_eq!(size(Some(&letter(&"\u{1f333}".repeat(200)))), BUCKET);
        // The longest that fits, and one byte more.
        let rest = BUCKET - OVERHEAD - serde_length(&letter("x"));
        for (more, expected) in [(0, BUCKET), (1, 2 * BUCKET)] {
            let mut long = letter("x");
            long.body.push_str(&"y".repeat(rest + more));
            assert_eq!(size(Some(&long)), expected);
        }
        let placeholder = seal.seal(None).expect("sealed");
        assert_eq!(seal.open(&placeholder), Ok(None));
    }

    fn serde_length(letter: &Letter) -> usize {
        let plain = padded(Some(letter)).expect("written");
        let (length, _) = plain.split_first_chunk::<LENGTH_BYTES>().expect("a length");
        u32::from_be_bytes(*length) as usize
    }

    #[test]
    fn a_rotation_keeps_letters_readable_while_the_old_version_is_there() {
        let letter = letter("x");
        let old = seal(pepper(1)).seal(Some(&letter)).expect("sealed");
        let both = pepper(2).with_earlier(1, vec![1; 32]).expect("long enough");
        let both = seal(both);
        assert_eq!(both.open(&old), Ok(Some(letter.clone())));
        let new = both.seal(Some(&letter)).expect("sealed");
        assert_eq!(seal(pepper(2)).open(&new), Ok(Some(letter)));
        assert_eq!(seal(pepper(2)).open(&old), Err(NotOpened::UnknownPepper(1)));
    }

    #[test]
    fn what_was_changed_or_comes_from_elsewhere_is_not_opened() {
        let seal = seal(pepper(1));
        let sealed = seal.seal(Some(&letter("x"))).expect("sealed").to_vec();
        for at in [1, HEADER_BYTES, 100, BUCKET - 1] {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            let opened = seal.open(&changed);
            assert!(opened.is_err(), "byte {at}");
        }
        let mut future = sealed.clone();
        future[0] = 2;
        assert_eq!(seal.open(&future), Err(NotOpened::UnknownFormat(2)));
        let others = Pepper::new(1, vec![9; 32]).expect("long enough");
        let others = LetterSeal::new(Arc::new(others));
        assert_eq!(others.open(&sealed), Err(NotOpened::NotAuthentic));
        for short in [0, 4, 20, 32] {
            assert!(seal.open(&sealed[..short]).is_err(), "{short} bytes");
        }
    }
}
