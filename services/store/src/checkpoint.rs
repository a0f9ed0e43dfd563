//! How far a stream has been read into a store.

use serde::{Deserialize, Serialize};

/// Length of a record's fingerprint.
pub const FINGERPRINT_BYTES: usize = 16;
/// Precedes a fingerprint. No incarnation begins with this byte, since it is not valid UTF-8.
const WITH_FINGERPRINT: u8 = 0xff;

/// The position of one stream that the rows of a store reflect.
///
/// A sequence is meaningless without the stream that it counts: a stream that was deleted and
/// created again starts over. The incarnation identifies the stream; a caller that finds another
/// one rebuilds. The fingerprint identifies the record at the position: a stream that was restored
/// from an older backup keeps its incarnation, but may have other records there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    pub seq: u64,
    pub incarnation: String,
    /// `None` if it was not kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<[u8; FINGERPRINT_BYTES]>,
}

impl Checkpoint {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(9 + FINGERPRINT_BYTES + self.incarnation.len());
        bytes.extend_from_slice(&self.seq.to_be_bytes());
        if let Some(fingerprint) = &self.fingerprint {
            bytes.push(WITH_FINGERPRINT);
            bytes.extend_from_slice(fingerprint);
        }
        bytes.extend_from_slice(self.incarnation.as_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (seq, rest) = bytes.split_first_chunk::<8>()?;
        let (fingerprint, incarnation) = match rest.split_first() {
            Some((&WITH_FINGERPRINT, rest)) => {
                let (fingerprint, incarnation) = rest.split_first_chunk()?;
                (Some(*fingerprint), incarnation)
            }
            _ => (None, rest),
        };
        Some(Self {
            seq: u64::from_be_bytes(*seq),
            incarnation: String::from_utf8(incarnation.to_vec()).ok()?,
            fingerprint,
        })
    }

    /// Whether moving from here to `next` would undo rows that were already applied from the same
    /// incarnation of the stream.
    pub(crate) fn is_ahead_of(&self, next: &Self) -> bool {
        self.incarnation == next.incarnation && self.seq > next.seq
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint(fingerprint: Option<[u8; FINGERPRINT_BYTES]>) -> Checkpoint {
        Checkpoint {
            seq: u64::MAX - 1,
            incarnation: "2026-11-21T07:00:00Z".to_owned(),
            fingerprint,
        }
    }

    #[test]
    fn it_reads_back_what_it_wrote() {
        for fingerprint in [None, Some([0; 16]), Some([0xff; 16])] {
            let checkpoint = checkpoint(fingerprint);
            assert_eq!(Checkpoint::decode(&checkpoint.encode()), Some(checkpoint));
        }
    }

    #[test]
    fn a_checkpoint_of_before_fingerprints_is_read() {
        let old = [&7_u64.to_be_bytes()[..], b"1795930545"].concat();
        let read = Checkpoint::decode(&old).expect("readable");
        assert_eq!((read.seq, read.fingerprint), (7, None));
        assert_eq!(read.incarnation, "1795930545");
    }

    #[test]
    fn a_short_or_garbled_row_is_none() {
        assert_eq!(Checkpoint::decode(&[1, 2, 3]), None);
        assert_eq!(Checkpoint::decode(&[0, 0, 0, 0, 0, 0, 0, 1, 0xff]), None);
        assert_eq!(Checkpoint::decode(&[0, 0, 0, 0, 0, 0, 0, 1, 0xc0]), None);
    }
}
