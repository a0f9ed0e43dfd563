//! The sealed value: `1 | nonce 12 | ciphertext | tag 16`, in events as unpadded base64url text.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::context::FORMAT;

/// Limit of a plaintext: a token's value has at most 64 KiB, and the headers of a task 40 KiB.
pub const MAX_PLAINTEXT_BYTES: usize = 65_536;
/// Bytes that sealing adds: format, nonce and tag.
pub const ENVELOPE_OVERHEAD_BYTES: usize = 1 + NONCE_BYTES + TAG_BYTES;
/// Length of the shortest envelope: an empty plaintext is never sealed.
const MIN_ENVELOPE_BYTES: usize = ENVELOPE_OVERHEAD_BYTES + 1;
/// Length of the longest envelope.
pub const MAX_ENVELOPE_BYTES: usize = ENVELOPE_OVERHEAD_BYTES + MAX_PLAINTEXT_BYTES;
/// Length of the longest envelope as text: base64url without padding.
const MAX_ENVELOPE_TEXT: usize = MAX_ENVELOPE_BYTES.div_ceil(3) * 4;

/// Length of GCM's nonce, which is random.
pub(crate) const NONCE_BYTES: usize = 12;
/// Length of GCM's full tag; shortened tags are refused.
pub(crate) const TAG_BYTES: usize = 16;

/// A sealed value. Without its data key it reveals nothing, so it may be stored anywhere.
#[derive(Clone, PartialEq, Eq)]
pub struct Envelope {
    nonce: [u8; NONCE_BYTES],
    ciphertext: Vec<u8>,
    tag: [u8; TAG_BYTES],
}

impl Envelope {
    /// Parses the bytes; accepts only what [`to_bytes`](Self::to_bytes) writes.
    pub fn parse(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        let size = bytes.len();
        if size > MAX_ENVELOPE_BYTES {
            return Err(EnvelopeError::Size(size));
        }
        let (format, rest) = bytes.split_first().ok_or(EnvelopeError::Size(size))?;
        if *format != FORMAT {
            return Err(EnvelopeError::Format(*format));
        }
        let split = rest.split_first_chunk().and_then(|(nonce, rest)| {
            let (ciphertext, tag) = rest.split_last_chunk()?;
            (!ciphertext.is_empty()).then_some((nonce, ciphertext, tag))
        });
        let (nonce, ciphertext, tag) = split.ok_or(EnvelopeError::Size(size))?;
        Ok(Self::assemble(nonce, ciphertext, tag))
    }

    /// Parses unpadded base64url, as in events; accepts only what [`to_text`](Self::to_text)
    /// writes.
    pub fn parse_text(text: &str) -> Result<Self, EnvelopeError> {
        if text.len() > MAX_ENVELOPE_TEXT {
            return Err(EnvelopeError::Size(text.len() / 4 * 3));
        }
        let bytes = URL_SAFE_NO_PAD
            .decode(text)
            .map_err(|_| EnvelopeError::Text)?;
        Self::parse(&bytes)
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.size());
        bytes.push(FORMAT);
        bytes.extend_from_slice(&self.nonce);
        bytes.extend_from_slice(&self.ciphertext);
        bytes.extend_from_slice(&self.tag);
        bytes
    }

    /// The bytes in unpadded base64url.
    pub fn to_text(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.to_bytes())
    }

    /// Size in bytes.
    pub fn size(&self) -> usize {
        ENVELOPE_OVERHEAD_BYTES + self.ciphertext.len()
    }

    pub(crate) fn assemble(
        nonce: &[u8; NONCE_BYTES],
        ciphertext: &[u8],
        tag: &[u8; TAG_BYTES],
    ) -> Self {
        Self {
            nonce: *nonce,
            ciphertext: ciphertext.to_vec(),
            tag: *tag,
        }
    }

    pub(crate) fn nonce(&self) -> &[u8; NONCE_BYTES] {
        &self.nonce
    }

    pub(crate) fn ciphertext(&self) -> &[u8] {
        &self.ciphertext
    }

    pub(crate) fn tag(&self) -> &[u8; TAG_BYTES] {
        &self.tag
    }
}

impl fmt::Debug for Envelope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Envelope({} bytes)", self.size())
    }
}

/// The bytes are not an envelope. The error does not quote them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// The length is out of range.
    #[error(
        "a sealed value has between {MIN_ENVELOPE_BYTES} and {MAX_ENVELOPE_BYTES} bytes, not {0}"
    )]
    Size(usize),
    /// Another version wrote it, or it is something else.
    #[error("a sealed value has format {FORMAT}, not {0}")]
    Format(u8),
    /// The text is not unpadded base64url, or not in canonical form.
    #[error("a sealed value is written in unpadded base64url")]
    Text,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn envelope(ciphertext: usize) -> Envelope {
        Envelope::assemble(&[2; NONCE_BYTES], &vec![3; ciphertext], &[4; TAG_BYTES])
    }

    #[test]
    fn the_bytes_are_as_described() {
        let bytes = envelope(2).to_bytes();
        let expected: Vec<u8> = [vec![1], vec![2; 12], vec![3; 2], vec![4; 16]].concat();
        assert_eq!(bytes, expected);
        assert_eq!(Envelope::parse(&bytes), Ok(envelope(2)));
        assert_eq!(
            Envelope::parse_text(&envelope(2).to_text()),
            Ok(envelope(2))
        );
    }

    #[test]
    fn other_sizes_and_formats_are_refused() {
        let bytes = envelope(1).to_bytes();
        for size in 0..bytes.len() {
            assert_eq!(
                Envelope::parse(&bytes[..size]),
                Err(EnvelopeError::Size(size))
            );
        }
        let longest = envelope(MAX_PLAINTEXT_BYTES);
        assert_eq!(Envelope::parse(&longest.to_bytes()), Ok(longest.clone()));
        assert_eq!(Envelope::parse_text(&longest.to_text()), Ok(longest));
        let longer = envelope(MAX_PLAINTEXT_BYTES + 1);
        let refused = Err(EnvelopeError::Size(MAX_ENVELOPE_BYTES + 1));
        assert_eq!(Envelope::parse(&longer.to_bytes()), refused);
        assert!(Envelope::parse_text(&longer.to_text()).is_err());
        for format in (0..=u8::MAX).filter(|&format| format != FORMAT) {
            let mut bytes = bytes.clone();
            bytes[0] = format;
            assert_eq!(Envelope::parse(&bytes), Err(EnvelopeError::Format(format)));
        }
    }

    #[test]
    fn a_text_is_the_only_one_of_its_bytes() {
        let text = envelope(1).to_text();
        assert_eq!(text.len(), 40);
        let standard = text.replace('A', "+");
        for other in [
            format!("{text}="),
            format!(" {text}"),
            format!("{text}\n"),
            standard,
        ] {
            assert_eq!(Envelope::parse_text(&other), Err(EnvelopeError::Text));
        }
        // 31 bytes end with a character that has four unused bits.
        let text = envelope(2).to_text();
        let (start, last) = text.split_at(text.len() - 1);
        assert_eq!(last, "A");
        assert_eq!(
            Envelope::parse_text(&format!("{start}B")),
            Err(EnvelopeError::Text)
        );
    }

    #[test]
    fn debug_shows_the_size_alone() {
        assert_eq!(format!("{:?}", envelope(5)), "Envelope(34 bytes)");
    }
}
