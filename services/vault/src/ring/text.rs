//! The text of a ring: typed words separated by white space, and comments from `#` to the end of
//! the line.

use std::fmt;

use zeroize::Zeroizing;

use crate::keys::{
    Kek, KekPublic, KekSecret, KeyRole, PublicKey, SecretKey, Sender, SenderPublic, SenderSecret,
};
use crate::ring::RingError;

/// A key of any kind.
pub(super) enum Key {
    KekSecret(KekSecret),
    KekPublic(KekPublic),
    SenderSecret(SenderSecret),
    SenderPublic(SenderPublic),
}

/// Position of a word, counted from 1. The word may be a secret, so errors name its position
/// instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    line: usize,
    word: usize,
}

impl Place {
    /// Position of a key that was not parsed from a text.
    pub(super) const ADDED: Self = Self { line: 0, word: 0 };
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::ADDED {
            return f.write_str("the added key");
        }
        write!(f, "word {} in line {}", self.word, self.line)
    }
}

/// The keys in a text, in order.
pub(super) fn keys(text: &str) -> Result<Vec<(Place, Key)>, RingError> {
    let mut keys = Vec::new();
    for (line, content) in (1..).zip(text.lines()) {
        let content = content.split('#').next().unwrap_or_default();
        for (word, token) in (1..).zip(content.split_whitespace()) {
            let place = Place { line, word };
            keys.push((place, key(place, token)?));
        }
    }
    Ok(keys)
}

/// The text of these words, one per line.
pub(super) fn render(words: impl Iterator<Item = Zeroizing<String>>) -> Zeroizing<String> {
    let words: Vec<_> = words.collect();
    // Allocates the full size at once, since growing would leave unwiped buffers behind.
    let size = words.iter().map(|word| word.len() + 1).sum();
    let mut text = Zeroizing::new(String::with_capacity(size));
    for word in &words {
        text.push_str(word);
        text.push('\n');
    }
    text
}

fn key(place: Place, token: &str) -> Result<Key, RingError> {
    let (kind, digits) = token.split_once('.').ok_or(RingError::NotAKey(place))?;
    match kind {
        Kek::SECRET => secret(place, digits).map(Key::KekSecret),
        Kek::PUBLIC => public(place, digits).map(Key::KekPublic),
        Sender::SECRET => secret(place, digits).map(Key::SenderSecret),
        Sender::PUBLIC => public(place, digits).map(Key::SenderPublic),
        _ => Err(RingError::NotAKey(place)),
    }
}

fn secret<R: KeyRole>(place: Place, digits: &str) -> Result<SecretKey<R>, RingError> {
    SecretKey::from_digits(digits).ok_or(RingError::BadDigits(place, R::SECRET))
}

fn public<R: KeyRole>(place: Place, digits: &str) -> Result<PublicKey<R>, RingError> {
    let key = PublicKey::from_digits(digits).ok_or(RingError::BadDigits(place, R::PUBLIC))?;
    if !key.is_usable() {
        return Err(RingError::SmallOrder(place, R::PUBLIC));
    }
    Ok(key)
}
