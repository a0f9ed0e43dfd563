//! Randomness of the operating system, which may fail, for an HPKE library that cannot handle the
//! failure.

use std::convert::Infallible;

use hpke::rand_core::{TryCryptoRng, TryRng};
use zeroize::Zeroizing;

/// The operating system returned no random bytes; nothing was sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the operating system gave no random bytes")]
pub struct NoRandomness;

/// `N` random bytes, wiped when dropped.
pub(crate) fn random<const N: usize>() -> Result<Zeroizing<[u8; N]>, NoRandomness> {
    let mut bytes = Zeroizing::new([0; N]);
    getrandom::fill(bytes.as_mut_slice()).map_err(|_| NoRandomness)?;
    Ok(bytes)
}

/// Length of the key material from which HPKE derives one ephemeral key pair.
const EPHEMERAL_SEED_BYTES: usize = 32;

/// Random bytes for one encapsulation, drawn in advance, where a failure can be returned as an
/// error. HPKE's own source would panic.
pub(crate) struct Drawn {
    seed: Zeroizing<[u8; EPHEMERAL_SEED_BYTES]>,
    used: usize,
    overdrawn: bool,
}

impl Drawn {
    pub(crate) fn new() -> Result<Self, NoRandomness> {
        Ok(Self::from_seed(random()?))
    }

    /// Takes a seed, for tests and for checking a key. Anybody who knows the seed can open the
    /// record.
    pub(crate) fn from_seed(seed: Zeroizing<[u8; EPHEMERAL_SEED_BYTES]>) -> Self {
        Self {
            seed,
            used: 0,
            overdrawn: false,
        }
    }

    /// An error if more bytes were requested than were drawn: the result is not random then, and
    /// must be discarded.
    pub(crate) fn sufficed(&self) -> Result<(), NoRandomness> {
        if self.overdrawn {
            return Err(NoRandomness);
        }
        Ok(())
    }
}

impl TryRng for Drawn {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, into: &mut [u8]) -> Result<(), Infallible> {
        match self.seed.get(self.used..self.used + into.len()) {
            Some(bytes) => {
                into.copy_from_slice(bytes);
                self.used += into.len();
            }
            None => self.overdrawn = true,
        }
        Ok(())
    }
}

impl TryCryptoRng for Drawn {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_drawn_is_not_used() {
        let mut drawn = Drawn::new().expect("random");
        let mut first = [0; EPHEMERAL_SEED_BYTES];
        drawn.try_fill_bytes(&mut first).expect("infallible");
        assert_ne!(first, [0; EPHEMERAL_SEED_BYTES]);
        assert_eq!(drawn.sufficed(), Ok(()));
        assert_eq!(drawn.try_next_u32(), Ok(0));
        assert_eq!(drawn.sufficed(), Err(NoRandomness));
    }
}
