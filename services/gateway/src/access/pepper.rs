//! The server's secret under which API keys are hashed.

use zeroize::Zeroizing;

/// Fewer bytes could be guessed.
const LEAST_BYTES: usize = 32;

/// The pepper is too short.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a pepper has at least {LEAST_BYTES} bytes, not {found}")]
pub struct BadPepper {
    /// Bytes given.
    pub found: usize,
}

/// The secret and its version, which stands in every event that rests on it.
pub struct Pepper {
    version: u32,
    bytes: Zeroizing<Vec<u8>>,
}

impl Pepper {
    /// From at least 32 random bytes.
    pub fn new(version: u32, bytes: Vec<u8>) -> Result<Self, BadPepper> {
        let bytes = Zeroizing::new(bytes);
        if bytes.len() < LEAST_BYTES {
            return Err(BadPepper { found: bytes.len() });
        }
        Ok(Self { version, bytes })
    }

    /// Which one it is.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.version
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl std::fmt::Debug for Pepper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pepper(v{})", self.version)
    }
}
