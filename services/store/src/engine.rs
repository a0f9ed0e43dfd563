//! What an engine must do for a store, and the three that do it.
//!
//! The trait is as small as the rules allow: the store handles limits, poisoning, checkpoints and
//! bounds once for all engines. An engine maps a tree's index and a key to bytes, applies changes
//! atomically, and provides snapshots.

mod fjall;
mod memory;
mod one_tree;
mod seal;
mod sled;

use std::{fmt, io, path::Path};

use crate::{KeyRange, Tree};

pub(crate) use self::{fjall::FjallStorage, memory::MemoryStorage, sled::SledStorage};

/// The storage engine below a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// sled 0.34: for what is small and read far more than written.
    Sled,
    /// fjall 3: for what is large or often overwritten.
    Fjall,
    /// An ordered map in memory: for tests and simulation.
    Memory,
}

impl Engine {
    pub(crate) const fn limits(self) -> Limits {
        match self {
            Self::Sled => self::sled::LIMITS,
            Self::Fjall => self::fjall::LIMITS,
            Self::Memory => self::memory::LIMITS,
        }
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sled => "sled",
            Self::Fjall => "fjall",
            Self::Memory => "memory",
        })
    }
}

/// Limits of one batch and one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Rows in one batch, including checkpoints.
    pub rows: usize,
    /// Length of a key in bytes.
    pub key_len: usize,
    /// Length of a value in bytes.
    pub value_len: usize,
}

/// Longest key on every engine, so that a row that fits one engine fits all. fjall's own limit is
/// 64 KiB.
pub(crate) const MAX_KEY_LEN: usize = 4096;

/// Identifies a tree: 0 has the checkpoints, and the caller's trees follow in the order of the
/// manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TreeIndex(pub(crate) u8);

impl TreeIndex {
    pub(crate) const CHECKPOINTS: Self = Self(0);
}

/// A row to write; `None` deletes it.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) tree: TreeIndex,
    pub(crate) key: Vec<u8>,
    pub(crate) value: Option<Vec<u8>>,
}

pub(crate) type Row = (Vec<u8>, Vec<u8>);
pub(crate) type RowIter<'a> = Box<dyn Iterator<Item = Result<Row, Fault>> + 'a>;

/// An open engine.
pub(crate) trait Storage: Send + Sync {
    /// Reads the current row.
    fn get(&self, tree: TreeIndex, key: &[u8]) -> Result<Option<Vec<u8>>, Fault>;

    /// Applies all changes or none, visible to the next read. Keys within `changes` are distinct.
    fn apply(&self, changes: Vec<Change>) -> Result<(), Fault>;

    /// A consistent view of all rows, until it is dropped.
    fn snapshot(&self) -> Result<Box<dyn Snapshot + '_>, Fault>;

    /// When this returns, everything applied before survives a power cut.
    fn sync(&self) -> Result<(), Fault>;

    /// Reads every row, and whatever else distinguishes good rows from bad ones; returns the total
    /// size of the rows in bytes.
    fn verify(&self) -> Result<u64, Fault>;

    fn disk_bytes(&self) -> u64;
}

/// A consistent view of rows.
pub(crate) trait Snapshot {
    fn get(&self, tree: TreeIndex, key: &[u8]) -> Result<Option<Vec<u8>>, Fault>;

    /// `keys` is never an empty range.
    fn range(&self, tree: TreeIndex, keys: &KeyRange) -> RowIter<'_>;
}

/// What went wrong inside an engine, by what must follow from it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    /// The rows cannot be trusted, so the store must be wiped.
    #[error("{0}")]
    Corrupt(String),
    /// The machine refused (disk full, no permission), so the rows on disk may be good.
    #[error("{0}")]
    Io(io::Error),
    /// Another process still holds the lock.
    #[error("the engine's lock is held")]
    Locked,
}

impl Fault {
    /// Distinguishes corruption from a failure of the machine.
    ///
    /// Unknown kinds count as corruption: an unnecessary rebuild costs time, but wrong rows cost
    /// trust.
    pub(crate) fn from_io(error: io::Error) -> Self {
        use io::ErrorKind as Kind;
        match error.kind() {
            Kind::PermissionDenied
            | Kind::StorageFull
            | Kind::QuotaExceeded
            | Kind::ReadOnlyFilesystem
            | Kind::OutOfMemory
            | Kind::Interrupted => Self::Io(error),
            // "Too many open files" has no stable kind: EMFILE is 24, ENFILE is 23.
            _ if matches!(error.raw_os_error(), Some(23 | 24)) => Self::Io(error),
            _ => Self::Corrupt(error.to_string()),
        }
    }
}

/// Parameters for opening an engine's directory.
#[derive(Clone, Copy)]
pub(crate) struct Setup<'a> {
    pub(crate) rows_dir: &'a Path,
    pub(crate) trees: &'a [Tree],
    pub(crate) cache_bytes: u64,
}

impl Engine {
    pub(crate) fn storage(self, setup: Setup<'_>) -> Result<Box<dyn Storage>, Fault> {
        Ok(match self {
            Self::Sled => Box::new(SledStorage::open(setup)?),
            Self::Fjall => Box::new(FjallStorage::open(setup)?),
            Self::Memory => Box::new(MemoryStorage::new(setup.trees.len())),
        })
    }
}

/// Size of the files below `dir`; unreadable ones are not counted.
fn bytes_below(dir: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return 0;
    };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(meta) if meta.is_dir() => bytes_below(&entry.path()),
            Ok(meta) => meta.len(),
            Err(_) => 0,
        })
        .sum()
}
