//! What is kept of a presented token after hashing.

use crate::access::secret::KeyMac;
use crate::access::token::Token;

/// MACs of one presented token under every known pepper, so that it can be compared with a stored
/// MAC of any version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof(Vec<(u32, KeyMac)>);

impl Proof {
    /// Hashes `token` under each pepper.
    pub fn new<'a>(token: &Token, peppers: impl Iterator<Item = (u32, &'a [u8])>) -> Self {
        Self(
            peppers
                .map(|(version, pepper)| (version, token.mac(pepper)))
                .collect(),
        )
    }

    /// Whether the stored MAC was made from this token; compares in constant time.
    #[must_use]
    pub fn is_of(&self, mac: &str, pepper_version: u32) -> bool {
        let Some(stored) = KeyMac::from_hex(mac) else {
            return false;
        };
        let own = self
            .0
            .iter()
            .find(|(version, _)| *version == pepper_version);
        own.is_some_and(|(_, own)| own.is(&stored))
    }
}
