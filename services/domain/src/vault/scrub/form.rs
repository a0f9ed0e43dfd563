//! The encoded forms in which a secret is searched for.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

/// A form in which a target may send a secret back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// The bytes of the secret themselves.
    Exact,
    /// Base 64 of the secret alone, padded or not.
    Base64,
    /// Base 64 of a text in which this many bytes (modulo 3) precede the secret: without the
    /// characters that they share.
    Within(usize),
    /// Hexadecimal digits in any case.
    Hex,
}

/// Whether upper and lower case are equivalent in a form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Case {
    /// They are, or targets and proxies change them: header names come back in lower case, and some
    /// echoes in upper case.
    Any,
    /// They stand for different bytes.
    Exact,
}

impl Form {
    pub(super) const ALL: [Self; 6] = [
        Self::Exact,
        Self::Base64,
        Self::Within(0),
        Self::Within(1),
        Self::Within(2),
        Self::Hex,
    ];
}

/// Encodes the secret in each of the forms and passes the results to `look`, one after the other;
/// base 64 in both alphabets if they differ.
pub(super) fn forms(secret: &[u8], wanted: &[Form], mut look: impl FnMut(&[u8], Case)) {
    for form in wanted {
        match *form {
            Form::Exact => look(secret, Case::Any),
            Form::Base64 => {
                // Without padding, the form for alignment 0 is the same.
                if !secret.len().is_multiple_of(3) {
                    let text = Zeroizing::new(STANDARD.encode(secret));
                    look_in_both_alphabets(&text, &mut look);
                    look_in_both_alphabets(text.trim_end_matches('='), &mut look);
                }
            }
            Form::Within(before) => {
                let text = within(secret, before);
                if !text.is_empty() {
                    look_in_both_alphabets(&text, &mut look);
                }
            }
            Form::Hex => look(Zeroizing::new(hex::encode(secret)).as_bytes(), Case::Any),
        }
    }
}

fn look_in_both_alphabets(text: &str, look: &mut impl FnMut(&[u8], Case)) {
    look(text.as_bytes(), Case::Exact);
    if text.contains(['+', '/']) {
        let other = text
            .bytes()
            .map(|b| match b {
                b'+' => b'-',
                b'/' => b'_',
                other => other,
            })
            .collect();
        let other: Zeroizing<Vec<u8>> = Zeroizing::new(other);
        look(&other, Case::Exact);
    }
}

/// The base 64 characters that depend on the secret alone, if `before` bytes precede it and any
/// bytes follow.
fn within(secret: &[u8], before: usize) -> Zeroizing<String> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(before + secret.len()));
    bytes.extend(std::iter::repeat_n(0, before));
    bytes.extend_from_slice(secret);
    let text = Zeroizing::new(STANDARD_NO_PAD.encode(&*bytes));
    // One preceding byte takes one character and two bits of the next, two take two characters and
    // four bits.
    let first = if before == 0 { 0 } else { before + 1 };
    // One or two remaining bytes share their last character with what follows.
    let last = text.len() - usize::from(!bytes.len().is_multiple_of(3));
    Zeroizing::new(text.get(first..last).unwrap_or_default().to_owned())
}

/// The `user:password` of a `Basic` credential (RFC 7617).
pub(super) fn basic_pair(credential: &str) -> Option<Zeroizing<String>> {
    let text = credential.trim_end_matches('=');
    let bytes = STANDARD_NO_PAD
        .decode(text)
        .or_else(|_| URL_SAFE_NO_PAD.decode(text));
    let bytes = Zeroizing::new(bytes.ok()?);
    let pair = std::str::from_utf8(&bytes).ok()?;
    let reads = pair.len() >= 4 && pair.contains(':') && !pair.contains(char::is_control);
    reads.then(|| Zeroizing::new(pair.to_owned()))
}
