//! Errors of opening, reading and writing a store.

use std::{io, path::PathBuf, time::Duration};

use crate::Checkpoint;

/// A store could not be opened, although nothing indicates that its rows are bad. None of these
/// errors leads to a wipe.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("another process holds the store in {dir} (waited {waited:?} for its lock)", dir = dir.display())]
    Locked { dir: PathBuf, waited: Duration },

    #[error("could not {doing} of the store in {dir}: {cause}", dir = dir.display())]
    Io {
        doing: &'static str,
        dir: PathBuf,
        cause: io::Error,
    },

    #[error("the list of trees is not usable: {0}")]
    Trees(String),

    #[error("the store in {dir} does not open even after a wipe: {why}", dir = dir.display())]
    Unusable { dir: PathBuf, why: String },
}

/// Why a read or write failed. Only `Poisoned` is the store's own fault; after the others, the
/// store is as good as before.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    #[error("a batch of {rows} rows, checkpoints included, is above the engine's limit of {limit}")]
    TooManyRows { rows: usize, limit: usize },

    #[error("a key in tree {tree} must have 1 to {limit} bytes, not {len}")]
    KeyLength {
        tree: &'static str,
        len: usize,
        limit: usize,
    },

    #[error("a value in tree {tree} must have at most {limit} bytes, not {len}")]
    ValueLength {
        tree: &'static str,
        len: usize,
        limit: usize,
    },

    #[error("the store was not opened with a tree named {tree}")]
    UnknownTree { tree: &'static str },

    #[error("the checkpoint of {stream} is at {} and cannot go back to {}", at.seq, asked.seq)]
    CheckpointWentBack {
        stream: String,
        at: Box<Checkpoint>,
        asked: Box<Checkpoint>,
    },

    /// On sled, a writer waits for views to be dropped, so a thread that waits for its own view
    /// would wait for ever. Refused on every engine, because code must not depend on which one it
    /// uses.
    #[error("this thread already holds a view of the store")]
    ViewOpen,

    /// Drop every clone of the store and open it again: opening determines whether a wipe is
    /// needed.
    #[error("the store cannot be used any more: {why}")]
    Poisoned { why: String },
}
