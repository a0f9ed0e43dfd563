//! Randomness from the operating system, which may fail, for an HPKE library that cannot be told so.

use std::convert::Infallible;

use hpke::rand_core::{TryCryptoRng, TryRng};
use zeroize::Zeroizing;

/// The operating system gave no random bytes; nothing was sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the operating system gave no random bytes")]
pub struct NoRandomness;

/// `N` random bytes that are wiped when dropped.
pub(crate) fn random<const N: usize>() -> Result<Zeroizing<[u8; N]>, NoRandomness> {
    let mut bytes = Zeroizing::new([0; N]);
    getrandom::fill(bytes.as_mut_slice()).map_err(|_| NoRandomness)?;
    Ok(bytes)
}

/// Bytes of key material from which HPKE derives one ephemeral key pair.
const EPHEMERAL_SEED_BYTES: usize = 32;

/// Random bytes for one encapsulation, drawn beforehand, where a failure is an error. HPKE's own source would panic.
pub(crate) struct Drawn {
    seed: Zeroizing<[u8; EPHEMERAL_SEED_BYTES]>,
    used: usize,
    overdrawn: bool,
}

impl Drawn {
    pub(crate) fn new() -> Result<Self, NoRandomness> {
        Ok(Self::from_seed(random()?))
    }

    /// Tests and checks of a key give the seed; a record sealed with a known seed is open to all.
    pub(crate) fn from_seed(seed: Zeroizing<[u8; EPHEMERAL_SEED_BYTES]>) -> Self {
        Self {
            seed,
            used: 0,
            overdrawn: false,
        }
    }

    /// An error when more was asked for than was drawn: what was made of it is not random and must be thrown away.
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
