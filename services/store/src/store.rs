//! The handle of a store: it checks limits before it calls the engine, and disables the store when
//! the engine fails.

use std::{
    any::Any,
    collections::BTreeMap,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, OnceLock},
};

use parking_lot::Mutex;

use crate::{
    Batch, Checkpoint, Engine, Limits, StoreError, Tree, View, WipeReason,
    engine::{Change, Fault, Storage, TreeIndex},
    lock::DirLock,
    manifest::Directory,
    view,
};

/// An open store. Clones share it, and it closes with the last one.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
}

pub(crate) struct Shared {
    engine: Engine,
    limits: Limits,
    trees: Vec<Tree>,
    storage: ClosedQuietly,
    /// Allows one batch at a time, since its checkpoint is compared with the previous one.
    writing: Mutex<()>,
    poison: OnceLock<String>,
    /// Declared after the storage, so that the lock is released after the engine has closed its
    /// files.
    place: Option<(Directory, DirLock)>,
}

/// Closes the engine. An error or panic is only logged, since nobody can act on it any more.
struct ClosedQuietly(Option<Box<dyn Storage>>);

impl Drop for ClosedQuietly {
    fn drop(&mut self) {
        let storage = self.0.take();
        let closed = catching_panics("closing", || {
            drop(storage);
            Ok(())
        });
        if let Err(fault) = closed {
            tracing::warn!(%fault, "a store did not close cleanly");
        }
    }
}

impl Store {
    pub(crate) fn new(
        engine: Engine,
        trees: Vec<Tree>,
        storage: Box<dyn Storage>,
        place: Option<(Directory, DirLock)>,
    ) -> Self {
        Self {
            shared: Arc::new(Shared {
                engine,
                limits: engine.limits(),
                trees,
                storage: ClosedQuietly(Some(storage)),
                writing: Mutex::new(()),
                poison: OnceLock::new(),
                place,
            }),
        }
    }

    #[must_use]
    pub fn engine(&self) -> Engine {
        self.shared.engine
    }

    #[must_use]
    pub fn limits(&self) -> Limits {
        self.shared.limits
    }

    #[must_use]
    pub fn trees(&self) -> &[Tree] {
        &self.shared.trees
    }

    /// Reads one current row. Read rows that must be consistent from one [`View`].
    pub fn get(&self, tree: Tree, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let tree = self.shared.index(tree)?;
        self.shared.with_engine(|storage| storage.get(tree, key))
    }

    /// Applies all rows and checkpoints of the batch, or none: visible to the next read, durable
    /// with the next [`sync`](Self::sync).
    ///
    /// On sled it waits for open views.
    pub fn apply(&self, batch: Batch) -> Result<(), StoreError> {
        view::refuse_on_this_thread(self.shared.id())?;
        self.shared.apply(batch)
    }

    /// When this returns, everything applied before survives a power cut. Blocks on the disk.
    pub fn sync(&self) -> Result<(), StoreError> {
        self.shared.with_engine(Storage::sync)
    }

    pub fn checkpoint(&self, stream: &str) -> Result<Option<Checkpoint>, StoreError> {
        self.shared.checkpoint(stream)
    }

    pub fn checkpoints(&self) -> Result<BTreeMap<String, Checkpoint>, StoreError> {
        self.view()?.checkpoints()
    }

    /// A consistent view of rows and checkpoints. Drop it soon: on sled, writers wait for it.
    pub fn view(&self) -> Result<View<'_>, StoreError> {
        View::open(&self.shared)
    }

    /// SHA-256 over the rows of a tree in order; equal trees have equal digests on every engine.
    /// Reads every row.
    pub fn digest(&self, tree: Tree) -> Result<[u8; 32], StoreError> {
        self.view()?.digest(tree)
    }

    #[must_use]
    pub fn disk_bytes(&self) -> u64 {
        self.shared
            .with_engine(|storage| Ok(storage.disk_bytes()))
            .unwrap_or(0)
    }

    /// Why the store refuses every call, if it does.
    #[must_use]
    pub fn poisoned(&self) -> Option<String> {
        self.shared.poison.get().cloned()
    }

    /// Disables the store because its reader found wrong rows; the next open wipes it.
    pub fn condemn(&self, why: &str) {
        self.shared
            .end(why, Some(&WipeReason::Requested(why.to_owned())));
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("engine", &self.shared.engine)
            .field("trees", &self.shared.trees)
            .field("poisoned", &self.shared.poison.get())
            .finish_non_exhaustive()
    }
}

impl Shared {
    /// Tells apart the stores in this process.
    pub(crate) fn id(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    pub(crate) fn index(&self, tree: Tree) -> Result<TreeIndex, StoreError> {
        self.trees
            .iter()
            .position(|known| *known == tree)
            .and_then(|position| u8::try_from(position + 1).ok())
            .map(TreeIndex)
            .ok_or(StoreError::UnknownTree { tree: tree.name() })
    }

    /// Calls the engine, unless it has failed before.
    pub(crate) fn with_engine<'a, T>(
        &'a self,
        call: impl FnOnce(&'a dyn Storage) -> Result<T, Fault>,
    ) -> Result<T, StoreError> {
        if let Some(why) = self.poison.get() {
            return Err(StoreError::Poisoned { why: why.clone() });
        }
        let Some(storage) = self.storage.0.as_deref() else {
            return Err(self.poisoned_by(&Fault::Corrupt("the engine is closed".to_owned())));
        };
        catching_panics("in use", || call(storage)).map_err(|fault| self.poisoned_by(&fault))
    }

    /// Records the engine's failure, and returns it as an error.
    pub(crate) fn poisoned_by(&self, fault: &Fault) -> StoreError {
        let why = fault.to_string();
        match fault {
            // A full disk says nothing about the rows on it: the next open reads them again and
            // decides.
            Fault::Io(_) | Fault::Locked => self.end(&why, None),
            Fault::Corrupt(_) => self.end(&why, Some(&WipeReason::Corrupt(why.clone()))),
        }
        let why = self.poison.get().cloned().unwrap_or(why);
        StoreError::Poisoned { why }
    }

    fn end(&self, why: &str, condemned: Option<&WipeReason>) {
        if self.poison.set(why.to_owned()).is_ok() {
            tracing::error!(engine = %self.engine, why, "the store failed and refuses every further call; it will be opened again or rebuilt");
        }
        if let (Some(reason), Some((directory, _))) = (condemned, &self.place)
            && let Err(error) = directory.condemn(reason)
        {
            tracing::error!(%error, "could not mark the store for a wipe; the next open may use rows that were found to be wrong");
        }
    }

    pub(crate) fn checkpoint(&self, stream: &str) -> Result<Option<Checkpoint>, StoreError> {
        self.with_engine(|storage| {
            storage
                .get(TreeIndex::CHECKPOINTS, stream.as_bytes())?
                .map(|row| decode_checkpoint(&row))
                .transpose()
        })
    }

    fn apply(&self, batch: Batch) -> Result<(), StoreError> {
        if batch.is_empty() {
            return Ok(());
        }
        let rows = batch.rows();
        if rows > self.limits.rows {
            return Err(StoreError::TooManyRows {
                rows,
                limit: self.limits.rows,
            });
        }
        let mut changes = Vec::with_capacity(rows);
        for ((tree, key), value) in batch.rows {
            self.check_row(tree, key.len(), value.as_ref().map_or(0, Vec::len))?;
            let tree = self.index(tree)?;
            changes.push(Change { tree, key, value });
        }
        let _alone = self.writing.lock();
        for (stream, asked) in batch.checkpoints {
            let key = stream.clone().into_bytes();
            let value = asked.encode();
            self.check_row(CHECKPOINTS, key.len(), value.len())?;
            if let Some(at) = self.checkpoint(&stream)?
                && at.is_ahead_of(&asked)
            {
                return Err(StoreError::CheckpointWentBack {
                    stream,
                    at: Box::new(at),
                    asked: Box::new(asked),
                });
            }
            changes.push(Change {
                tree: TreeIndex::CHECKPOINTS,
                key,
                value: Some(value),
            });
        }
        self.with_engine(|storage| storage.apply(changes))
    }

    fn check_row(&self, tree: Tree, key_len: usize, value_len: usize) -> Result<(), StoreError> {
        let tree = tree.name();
        if key_len == 0 || key_len > self.limits.key_len {
            return Err(StoreError::KeyLength {
                tree,
                len: key_len,
                limit: self.limits.key_len,
            });
        }
        if value_len > self.limits.value_len {
            return Err(StoreError::ValueLength {
                tree,
                len: value_len,
                limit: self.limits.value_len,
            });
        }
        Ok(())
    }
}

/// Name of checkpoint rows in errors.
const CHECKPOINTS: Tree = Tree::new("checkpoints");

pub(crate) fn decode_checkpoint(row: &[u8]) -> Result<Checkpoint, Fault> {
    Checkpoint::decode(row).ok_or_else(|| Fault::Corrupt("a checkpoint is garbled".to_owned()))
}

/// Runs an engine's code. A panic counts as corruption, since that is how sled reports most
/// truncated files.
///
/// The panic may leave the engine half changed; it is never called again, so unwinding is safe.
pub(crate) fn catching_panics<T>(
    doing: &str,
    run: impl FnOnce() -> Result<T, Fault>,
) -> Result<T, Fault> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|payload| {
        let message = panic_message(&*payload);
        Err(Fault::Corrupt(format!(
            "the engine panicked while {doing}: {message}"
        )))
    })
}

fn panic_message(payload: &(dyn Any + Send)) -> &str {
    payload
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| payload.downcast_ref::<&str>().copied())
        .unwrap_or("no message")
}

#[cfg(test)]
mod tests;
