//! A ring in use: loaded from a text or a file, and loaded again when the file changes, so that a
//! rotation needs no restart.

use std::fmt;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::ring::{Ring, RingError};

/// Limit of a ring file's size. A full ring has less than 2 KiB; the rest is room for comments.
pub const MAX_RING_BYTES: usize = 65_536;

/// Mode bits of a file that let users other than its owner read or change it.
const OTHERS: u32 = 0o077;

/// Where a ring comes from.
pub enum RingSource {
    /// The content of an environment variable, as of the start of the process.
    Text(Zeroizing<String>),
    /// A file that only its owner may read.
    File(PathBuf),
}

impl fmt::Debug for RingSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(_) => f.write_str("Text(..)"),
            Self::File(path) => write!(f, "File({})", path.display()),
        }
    }
}

/// Result of loading a ring's file again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reload {
    /// The content is the same as before.
    Unchanged,
    /// Another ring is in use from now on.
    Changed,
    /// The file is missing or invalid; the last valid ring stays in use. A warning was logged, once
    /// for each different reason.
    Kept,
}

/// A shared ring that follows its file.
pub struct LiveRing<R> {
    source: RingSource,
    ring: ArcSwap<R>,
    seen: Mutex<Seen>,
}

/// What the file contained at the last check. Locked for the time of one check, never across an
/// await.
struct Seen {
    digest: Digested,
    problem: Option<String>,
}

type Digested = [u8; 32];

impl<R: Ring> LiveRing<R> {
    /// Loads the ring for the first time. Blocks while it reads a small file.
    pub fn load(source: RingSource) -> Result<Self, RingFileError> {
        let text = read(&source)?;
        let ring = parse(&source, &text)?;
        let seen = Seen {
            digest: digest(&text),
            problem: None,
        };
        Ok(Self {
            source,
            ring: ArcSwap::from_pointee(ring),
            seen: Mutex::new(seen),
        })
    }

    /// The ring that was loaded last.
    pub fn current(&self) -> Arc<R> {
        self.ring.load_full()
    }

    /// Checks the file, and loads the ring if the content has changed. Blocks while it reads a
    /// small file; call it about once a second. A text never changes.
    pub fn reload(&self) -> Reload {
        let RingSource::File(path) = &self.source else {
            return Reload::Unchanged;
        };
        // A poisoned lock means that a panic interrupted a check; the stored state is still valid.
        let mut seen = self.seen.lock();
        match self.look(&seen.digest) {
            Ok(None) => {
                seen.problem = None;
                Reload::Unchanged
            }
            Ok(Some((digest, ring))) => {
                self.ring.store(Arc::new(ring));
                seen.digest = digest;
                seen.problem = None;
                tracing::info!(file = %path.display(), "the {} of the vault has changed and was loaded again", R::NAME);
                Reload::Changed
            }
            Err(error) => {
                let problem = error.to_string();
                if seen.problem.as_ref() != Some(&problem) {
                    tracing::warn!(%error, "the {} of the vault is invalid; the last valid one stays in use", R::NAME);
                    seen.problem = Some(problem);
                }
                Reload::Kept
            }
        }
    }

    fn look(&self, before: &Digested) -> Result<Option<(Digested, R)>, RingFileError> {
        let text = read(&self.source)?;
        let digest = digest(&text);
        if digest == *before {
            return Ok(None);
        }
        Ok(Some((digest, parse(&self.source, &text)?)))
    }
}

impl<R: fmt::Debug> fmt::Debug for LiveRing<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LiveRing")
            .field("source", &self.source)
            .field("ring", &self.ring.load())
            .finish_non_exhaustive()
    }
}

/// A ring cannot be loaded. The error says where and why, but never what was read.
#[derive(Debug, thiserror::Error)]
pub enum RingFileError {
    /// The file does not exist, so the vault is not configured.
    #[error("{} does not exist", path.display())]
    Missing { path: PathBuf },
    /// Users other than its owner can read or change the file.
    #[error("{} can be read by others; chmod 600 it", path.display())]
    ReadableByOthers { path: PathBuf },
    /// The file is larger than a ring can be.
    #[error("{} is no vault ring: longer than {MAX_RING_BYTES} bytes", path.display())]
    TooLong { path: PathBuf },
    /// The operating system reported an error, or the file is not text.
    #[error("{}: {kind}", path.display())]
    Io {
        path: PathBuf,
        /// Error reported by the operating system.
        kind: ErrorKind,
    },
    /// The text is not a valid ring.
    #[error("{origin}: {error}")]
    Ring {
        /// Path of the file, or `the given text`.
        origin: String,
        error: RingError,
    },
}

fn digest(text: &str) -> Digested {
    Sha256::digest(text.as_bytes()).into()
}

fn parse<R: Ring>(source: &RingSource, text: &str) -> Result<R, RingFileError> {
    R::parse(text).map_err(|error| {
        let origin = match source {
            RingSource::Text(_) => "the given text".to_owned(),
            RingSource::File(path) => path.display().to_string(),
        };
        RingFileError::Ring { origin, error }
    })
}

fn read(source: &RingSource) -> Result<Zeroizing<String>, RingFileError> {
    match source {
        RingSource::Text(text) => Ok(text.clone()),
        RingSource::File(path) => read_private(path),
    }
}

fn read_private(path: &Path) -> Result<Zeroizing<String>, RingFileError> {
    let owned = || path.to_path_buf();
    let io = |error: std::io::Error| match error.kind() {
        ErrorKind::NotFound => RingFileError::Missing { path: owned() },
        kind => RingFileError::Io {
            path: owned(),
            kind,
        },
    };
    let file = File::open(path).map_err(io)?;
    // Checks the open file, so that what is checked is what is read.
    let mode = file.metadata().map_err(io)?.permissions().mode();
    if mode & OTHERS != 0 {
        return Err(RingFileError::ReadableByOthers { path: owned() });
    }
    // Allocates the full size at once, since growing would leave unwiped buffers behind.
    let mut text = Zeroizing::new(String::with_capacity(MAX_RING_BYTES + 1));
    let limit = MAX_RING_BYTES as u64 + 1;
    file.take(limit).read_to_string(&mut text).map_err(io)?;
    if text.len() > MAX_RING_BYTES {
        return Err(RingFileError::TooLong { path: owned() });
    }
    Ok(text)
}

#[cfg(test)]
mod tests;
