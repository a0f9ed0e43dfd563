//! What is left of a token that somebody presents once it has been hashed.

use crate::access::secret::KeyMac;
use crate::access::token::Token;

/// The MACs of one presented token under every pepper that is known: whichever made the stored one, it can be compared.
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

    /// Whether it is the token of which this was stored; takes the same time either way.
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
