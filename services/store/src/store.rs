//! The handle: limits checked before the engine is asked, and the end of a store whose engine failed.

use std::{
    any::Any,
    collections::BTreeMap,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use crate::{
    Batch, Checkpoint, Engine, Limits, StoreError, Tree, View, WipeReason,
    engine::{Change, Fault, Storage, TreeIndex},
    lock::DirLock,
    manifest::Directory,
    view,
};

/// An open store. Clones share it; it closes with the last one.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
}

pub(crate) struct Shared {
    engine: Engine,
    limits: Limits,
    trees: Vec<Tree>,
    storage: ClosedQuietly,
    /// One batch at a time: its checkpoint is compared with the one before.
    writing: Mutex<()>,
    poison: OnceLock<String>,
    /// Behind the storage: the lock is given back after the engine has closed its files.
    place: Option<(Directory, DirLock)>,
}

/// An engine that fails while it closes has nothing left to tell anybody; some panic.
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

    /// One row, as it is now. Rows that must agree with each other are read from one [`View`].
    pub fn get(&self, tree: Tree, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let tree = self.shared.index(tree)?;
        self.shared.asking(|storage| storage.get(tree, key))
    }

    /// All rows and checkpoints of the batch, or none: visible to the next read, durable with the next [`sync`](Self::sync).
    ///
    /// On sled it waits for open views.
    pub fn apply(&self, batch: Batch) -> Result<(), StoreError> {
        view::refuse_on_this_thread(self.shared.id())?;
        self.shared.apply(batch)
    }

    /// What was applied before survives a power cut once this returns. Blocks on the disk.
    pub fn sync(&self) -> Result<(), StoreError> {
        self.shared.asking(Storage::sync)
    }

    pub fn checkpoint(&self, stream: &str) -> Result<Option<Checkpoint>, StoreError> {
        self.shared.checkpoint(stream)
    }

    pub fn checkpoints(&self) -> Result<BTreeMap<String, Checkpoint>, StoreError> {
        self.view()?.checkpoints()
    }

    /// Rows that agree with each other and with the checkpoints. To be dropped soon: on sled writers wait for it.
    pub fn view(&self) -> Result<View<'_>, StoreError> {
        View::open(&self.shared)
    }

    /// SHA-256 over the rows of a tree in order; equal trees have equal digests on every engine. Reads everything.
    pub fn digest(&self, tree: Tree) -> Result<[u8; 32], StoreError> {
        self.view()?.digest(tree)
    }

    #[must_use]
    pub fn disk_bytes(&self) -> u64 {
        self.shared
            .asking(|storage| Ok(storage.disk_bytes()))
            .unwrap_or(0)
    }

    /// Why the store answers nothing more, if it does not.
    #[must_use]
    pub fn poisoned(&self) -> Option<String> {
        self.shared.poison.get().cloned()
    }

    /// Ends the store because its reader found the rows wrong; the next open wipes it.
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
    /// Tells stores of this process apart.
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

    /// Asks the engine, unless it has failed before. Its first fault is its last.
    pub(crate) fn asking<'a, T>(
        &'a self,
        question: impl FnOnce(&'a dyn Storage) -> Result<T, Fault>,
    ) -> Result<T, StoreError> {
        if let Some(why) = self.poison.get() {
            return Err(StoreError::Poisoned { why: why.clone() });
        }
        let Some(storage) = self.storage.0.as_deref() else {
            return Err(self.poisoned_by(&Fault::Corrupt("the engine is closed".to_owned())));
        };
        catching_panics("in use", || question(storage)).map_err(|fault| self.poisoned_by(&fault))
    }

    /// Records the fault and answers with it.
    pub(crate) fn poisoned_by(&self, fault: &Fault) -> StoreError {
        let why = fault.to_string();
        match fault {
            // A full disk says nothing about the rows on it: the next open reads them again and decides.
            Fault::Io(_) | Fault::Locked => self.end(&why, None),
            Fault::Corrupt(_) => self.end(&why, Some(&WipeReason::Corrupt(why.clone()))),
        }
        let why = self.poison.get().cloned().unwrap_or(why);
        StoreError::Poisoned { why }
    }

    fn end(&self, why: &str, condemned: Option<&WipeReason>) {
        if self.poison.set(why.to_owned()).is_ok() {
            tracing::error!(engine = %self.engine, why, "store out of use");
        }
        if let (Some(reason), Some((directory, _))) = (condemned, &self.place)
            && let Err(error) = directory.condemn(reason)
        {
            tracing::error!(%error, "could not mark the store for a wipe");
        }
    }

    pub(crate) fn checkpoint(&self, stream: &str) -> Result<Option<Checkpoint>, StoreError> {
        self.asking(|storage| {
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
        let _alone = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        for (stream, asked) in batch.checkpoints {
            let key = stream.clone().into_bytes();
            let value = asked.encode();
            self.check_row(CHECKPOINTS, key.len(), value.len())?;
            if let Some(at) = self.checkpoint(&stream)?
                && at.is_ahead_of(&asked)
            {
                return Err(StoreError::CheckpointWentBack { stream, at, asked });
            }
            changes.push(Change {
                tree: TreeIndex::CHECKPOINTS,
                key,
                value: Some(value),
            });
        }
        self.asking(|storage| storage.apply(changes))
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

/// The name by which errors speak of checkpoint rows.
const CHECKPOINTS: Tree = Tree::new("checkpoints");

pub(crate) fn decode_checkpoint(row: &[u8]) -> Result<Checkpoint, Fault> {
    Checkpoint::decode(row).ok_or_else(|| Fault::Corrupt("a checkpoint is garbled".to_owned()))
}

/// Runs an engine's code. A panic in it is corruption: that is how sled reports most truncated files.
///
/// The engine may be left half changed by the panic; it is never asked again, which is what makes this unwind safe.
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
mod tests {
    use std::io;

    use super::*;
    use crate::{
        KeyRange, OpenOptions, OpenReason,
        engine::{RowIter, Snapshot},
    };

    const TASKS: Tree = Tree::new("tasks");

    /// Answers everything with the fault it was made with.
    #[derive(Clone, Copy)]
    enum Failing {
        Panics,
        IsCorrupt,
        DiskIsFull,
    }

    impl Failing {
        fn fail<T>(self) -> Result<T, Fault> {
            match self {
                Self::Panics => panic!("a row of {} pages", 7),
                Self::IsCorrupt => Err(Fault::Corrupt("a checksum differs".to_owned())),
                Self::DiskIsFull => Err(Fault::from_io(io::ErrorKind::StorageFull.into())),
            }
        }
    }

    impl Storage for Failing {
        fn get(&self, _: TreeIndex, _: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
            self.fail()
        }
        fn apply(&self, _: Vec<Change>) -> Result<(), Fault> {
            self.fail()
        }
        fn snapshot(&self) -> Result<Box<dyn Snapshot + '_>, Fault> {
            Ok(Box::new(*self))
        }
        fn sync(&self) -> Result<(), Fault> {
            self.fail()
        }
        fn verify(&self) -> Result<u64, Fault> {
            Ok(0)
        }
        fn disk_bytes(&self) -> u64 {
            0
        }
    }

    impl Snapshot for Failing {
        fn get(&self, _: TreeIndex, _: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
            self.fail()
        }
        fn range(&self, _: TreeIndex, _: &KeyRange) -> RowIter<'_> {
            Box::new(std::iter::once_with(|| self.fail()))
        }
    }

    impl Drop for ClosesLoudly {
        fn drop(&mut self) {
            panic!("closing failed");
        }
    }

    struct ClosesLoudly;

    impl Storage for ClosesLoudly {
        fn get(&self, _: TreeIndex, _: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
            Ok(None)
        }
        fn apply(&self, _: Vec<Change>) -> Result<(), Fault> {
            Ok(())
        }
        fn snapshot(&self) -> Result<Box<dyn Snapshot + '_>, Fault> {
            Failing::IsCorrupt.fail()
        }
        fn sync(&self) -> Result<(), Fault> {
            Ok(())
        }
        fn verify(&self) -> Result<u64, Fault> {
            Ok(0)
        }
        fn disk_bytes(&self) -> u64 {
            0
        }
    }

    fn a_store_over(storage: impl Storage + 'static) -> Store {
        Store::new(Engine::Memory, vec![TASKS], Box::new(storage), None)
    }

    fn one_row() -> Batch {
        let mut batch = Batch::new();
        batch.put(TASKS, "a", "b");
        batch
    }

    #[test]
    fn the_first_fault_or_panic_is_the_last_answer() {
        type Call = fn(&Store) -> Result<(), StoreError>;
        let calls: [Call; 6] = [
            |store| store.get(TASKS, b"a").map(drop),
            |store| store.apply(one_row()),
            Store::sync,
            |store| store.checkpoint("TASKS").map(drop),
            |store| store.digest(TASKS).map(drop),
            |store| store.view()?.get(TASKS, b"a").map(drop),
        ];
        for failing in [Failing::Panics, Failing::IsCorrupt, Failing::DiskIsFull] {
            for call in calls {
                let store = a_store_over(failing);
                assert_eq!(store.poisoned(), None);
                let first = call(&store);
                assert!(
                    matches!(first, Err(StoreError::Poisoned { .. })),
                    "{first:?}"
                );
                assert!(store.poisoned().is_some());
                assert_eq!(store.view().err(), first.clone().err());
                assert_eq!(store.get(TASKS, b"a").err(), first.err());
            }
        }
    }

    #[test]
    fn the_message_of_a_panic_is_kept() {
        let store = a_store_over(Failing::Panics);
        let why = store.sync().expect_err("it panics").to_string();
        assert!(why.contains("a row of 7 pages"), "{why}");
    }

    #[test]
    fn a_caller_s_mistake_does_not_end_the_store() {
        let store = a_store_over(Failing::Panics);
        let mut batch = one_row();
        batch.put(Tree::new("nowhere"), "a", "b");
        assert!(matches!(
            store.apply(batch),
            Err(StoreError::UnknownTree { .. })
        ));
        assert_eq!(store.poisoned(), None);
    }

    #[test]
    fn a_panic_while_closing_stays_inside() {
        drop(a_store_over(ClosesLoudly));
    }

    #[test]
    fn a_full_disk_ends_the_store_but_does_not_wipe_it_and_corruption_does() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let options = OpenOptions::new(Engine::Fjall, 1, &[TASKS]);
        let open = || options.open(dir.path()).expect("the store opens");
        for (fault, wipes) in [
            (Fault::from_io(io::ErrorKind::StorageFull.into()), false),
            (Fault::from_io(io::ErrorKind::UnexpectedEof.into()), true),
            (Fault::Corrupt("a checksum differs".to_owned()), true),
        ] {
            let store = open().store;
            store.apply(one_row()).expect("the batch applies");
            let answer: Result<(), _> = store.shared.asking(|_| Err(fault));
            assert!(matches!(answer, Err(StoreError::Poisoned { .. })));
            drop(store);
            let reopened = open();
            assert_eq!(matches!(reopened.reason, OpenReason::Wiped(_)), wipes);
            assert_eq!(
                reopened.store.get(TASKS, b"a").expect("a read").is_none(),
                wipes
            );
        }
    }
}
