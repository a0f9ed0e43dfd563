//! ULIDs: times and random bits as text that sorts by time.

use crate::time::Timestamp;

/// Crockford's base 32, lower case: no i, l, o, u.
pub(super) const CROCKFORD: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// Characters of a ULID: 48 bits of milliseconds and 80 random bits, in base 32 (<https://github.com/ulid/spec>).
pub(super) const ULID_CHARS: usize = 26;

/// A ULID: sorts by creation time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ulid(pub(super) u128);

impl Ulid {
    /// Made from the time (of which 48 bits are used) and 80 random bits (the lowest ones).
    #[must_use]
    pub fn new(at: Timestamp, random: u128) -> Self {
        let millis = u128::from(at.0.max(0).unsigned_abs()) & ((1 << 48) - 1);
        Self(millis << 80 | random & ((1 << 80) - 1))
    }

    pub(super) fn write(self, out: &mut String) {
        for place in (0..ULID_CHARS).rev() {
            out.push(CROCKFORD[(self.0 >> (5 * place)) as usize & 31] as char);
        }
    }

    pub(super) fn read(text: &[u8]) -> Option<Self> {
        // 26 characters hold 130 bits, so only three bits of the first may be set.
        if text.len() != ULID_CHARS || digit(text[0])? > 7 {
            return None;
        }
        text.iter()
            .try_fold(0_u128, |value, &b| Some(value << 5 | u128::from(digit(b)?)))
            .map(Self)
    }
}

/// The value of each byte as a digit, and [`NO_DIGIT`] for those that are none: a takeover reads
/// the ids of a million tasks.
const DIGITS: [u8; 256] = {
    let mut digits = [NO_DIGIT; 256];
    let mut value = 0;
    while value < CROCKFORD.len() {
        digits[CROCKFORD[value] as usize] = value as u8;
        value += 1;
    }
    digits
};
const NO_DIGIT: u8 = u8::MAX;

pub(super) fn digit(byte: u8) -> Option<u16> {
    let value = DIGITS[usize::from(byte)];
    (value != NO_DIGIT).then(|| u16::from(value))
}
