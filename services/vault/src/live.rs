//! A ring in use: read from a text or a file, and read again when the file has changed, so that a rotation needs no restart.

use std::fmt;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::ring::{Ring, RingError};

/// The longest file of a ring. A full ring has under 2 KiB; the rest is for comments.
pub const MAX_RING_BYTES: usize = 65_536;

/// Bits of a file's mode by which others than its owner could read or change it.
const OTHERS: u32 = 0o077;

/// Where a ring comes from.
pub enum RingSource {
    /// An environment variable's content: as it was at the start.
    Text(Zeroizing<String>),
    /// A file that only its owner can read.
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

/// What reading a ring's file again came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reload {
    /// The same as before.
    Unchanged,
    /// Another ring is in use from here on.
    Changed,
    /// The file is gone or wrong; the last good ring stays in use. A warning has said so, once for each different reason.
    Kept,
}

/// A ring that many share and that follows its file.
pub struct LiveRing<R> {
    source: RingSource,
    ring: ArcSwap<R>,
    seen: Mutex<Seen>,
}

/// What the file held when it was last looked at. Held for the time of one look, never across an await.
struct Seen {
    digest: Digested,
    problem: Option<String>,
}

type Digested = [u8; 32];

impl<R: Ring> LiveRing<R> {
    /// Reads the ring for the first time. Blocks for a small file.
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

    /// The ring as last read.
    pub fn current(&self) -> Arc<R> {
        self.ring.load_full()
    }

    /// Looks at the file and takes the ring over if its content has changed. Blocks for a small file; call it every second or so. A text
    /// never changes.
    pub fn reload(&self) -> Reload {
        let RingSource::File(path) = &self.source else {
            return Reload::Unchanged;
        };
        // A poisoned lock means that a panic came between; what was seen is still true.
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        match self.look(&seen.digest) {
            Ok(None) => {
                seen.problem = None;
                Reload::Unchanged
            }
            Ok(Some((digest, ring))) => {
                self.ring.store(Arc::new(ring));
                seen.digest = digest;
                seen.problem = None;
                tracing::info!(file = %path.display(), "the {} of the vault has changed and was read again", R::NAME);
                Reload::Changed
            }
            Err(error) => {
                let problem = error.to_string();
                if seen.problem.as_ref() != Some(&problem) {
                    tracing::warn!(%error, "the {} of the vault is refused; the last good one stays in use", R::NAME);
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

/// A ring that cannot be read. Says where and why, never what was read.
#[derive(Debug, thiserror::Error)]
pub enum RingFileError {
    /// There is no such file: the vault is not configured.
    #[error("{} does not exist", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// Others than its owner can read or change it.
    #[error("{} can be read by others; chmod 600 it", path.display())]
    ReadableByOthers {
        /// The file.
        path: PathBuf,
    },
    /// More than a ring needs.
    #[error("{} is no vault ring: longer than {MAX_RING_BYTES} bytes", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
    },
    /// The operating system refused, or it is no text.
    #[error("{}: {kind}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        kind: ErrorKind,
    },
    /// What it says is no ring.
    #[error("{origin}: {error}")]
    Ring {
        /// The file, or `the given text`.
        origin: String,
        /// What is wrong with it.
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
    // Of the open file, so that what is checked is what is read.
    let mode = file.metadata().map_err(io)?.permissions().mode();
    if mode & OTHERS != 0 {
        return Err(RingFileError::ReadableByOthers { path: owned() });
    }
    // Room for all of it at once: a text that grows would leave its earlier buffers behind.
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
