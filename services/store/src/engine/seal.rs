//! A sum over all rows, stored with them: rows that do not belong to one batch boundary do not
//! match the sum.
//!
//! sled recovers page by page. Bytes lost in its log usually cause an error or a panic, but about
//! one flipped bit in a thousand left a store that opened and read well, with some rows older than
//! its checkpoint. The seal changes in the same batch as the rows, so such a mixture does not match
//! it. A store that went back as a whole does match, which is fine: it is consistent, only old.
//!
//! Sums of hashes (Bellare and Micciancio, 1997) can be updated from the changed rows alone. They
//! can be forged, but forgery is not the threat here.

use sha2::{Digest, Sha256};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Seal(u128);

impl Seal {
    pub(super) fn with(self, key: &[u8], value: &[u8]) -> Self {
        Self(self.0.wrapping_add(weight(key, value)))
    }

    pub(super) fn without(self, key: &[u8], value: &[u8]) -> Self {
        Self(self.0.wrapping_sub(weight(key, value)))
    }

    pub(super) fn encode(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(u128::from_be_bytes).map(Self)
    }
}

fn weight(key: &[u8], value: &[u8]) -> u128 {
    let hash = Sha256::new()
        .chain_update((key.len() as u64).to_be_bytes())
        .chain_update(key)
        .chain_update(value)
        .finalize();
    hash.iter()
        .take(16)
        .fold(0, |weight, byte| weight << 8 | u128::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_depends_on_the_rows_and_not_on_the_way_to_them() {
        let there = Seal::default().with(b"a", b"1").with(b"b", b"2");
        let detour = Seal::default()
            .with(b"b", b"old")
            .with(b"a", b"1")
            .without(b"b", b"old")
            .with(b"b", b"2");
        assert_eq!(there, detour);
        assert_ne!(there, Seal::default().with(b"a", b"1").with(b"b", b"3"));
        assert_ne!(
            Seal::default().with(b"ab", b"c"),
            Seal::default().with(b"a", b"bc")
        );
        assert_eq!(Seal::decode(&there.encode()), Some(there));
        assert_eq!(Seal::decode(b"short"), None);
    }
}
