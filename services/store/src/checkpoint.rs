//! How far a stream has been read into a store.

use serde::{Deserialize, Serialize};

/// The position of one stream that the rows of a store reflect.
///
/// A sequence means nothing without the stream it counts: a stream that was deleted and created again starts over. The
/// incarnation says which life of the stream it was; a caller that finds another one rebuilds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    pub seq: u64,
    pub incarnation: String,
}

impl Checkpoint {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(8 + self.incarnation.len());
        bytes.extend_from_slice(&self.seq.to_be_bytes());
        bytes.extend_from_slice(self.incarnation.as_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (seq, incarnation) = bytes.split_first_chunk::<8>()?;
        Some(Self {
            seq: u64::from_be_bytes(*seq),
            incarnation: String::from_utf8(incarnation.to_vec()).ok()?,
        })
    }

    /// Whether moving from here to `next` would forget rows already applied from the same life of the stream.
    pub(crate) fn is_ahead_of(&self, next: &Self) -> bool {
        self.incarnation == next.incarnation && self.seq > next.seq
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_back_what_it_wrote() {
        let checkpoint = Checkpoint {
            seq: u64::MAX - 1,
            incarnation: "2026-11-21T07:00:00Z".to_owned(),
        };
        assert_eq!(Checkpoint::decode(&checkpoint.encode()), Some(checkpoint));
    }

    #[test]
    fn a_short_or_garbled_row_is_none() {
        assert_eq!(Checkpoint::decode(&[1, 2, 3]), None);
        assert_eq!(Checkpoint::decode(&[0, 0, 0, 0, 0, 0, 0, 1, 0xff]), None);
    }
}
