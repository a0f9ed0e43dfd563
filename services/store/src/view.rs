//! Reads that must agree with each other.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
};

use sha2::{Digest, Sha256};

use crate::{
    Checkpoint, KeyRange, StoreError, Tree,
    engine::{Fault, Row, RowIter, Snapshot, Storage, TreeIndex},
    store::{Shared, decode_checkpoint},
};

/// A store as of one moment. It is not `Send`: it must be taken, read and dropped on one thread,
/// never across an await.
///
/// ```compile_fail
/// fn travels<T: Send>() {}
/// travels::<waybill_store::View<'static>>();
/// ```
pub struct View<'a> {
    shared: &'a Shared,
    snapshot: Box<dyn Snapshot + 'a>,
    /// Declared after the snapshot, so that the thread counts as free only when the store is.
    _mark: ViewMark,
}

impl<'a> View<'a> {
    pub(crate) fn open(shared: &'a Shared) -> Result<Self, StoreError> {
        refuse_on_this_thread(shared.id())?;
        Ok(Self {
            shared,
            snapshot: shared.with_engine(Storage::snapshot)?,
            _mark: ViewMark::set(shared.id()),
        })
    }

    pub fn get(&self, tree: Tree, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let tree = self.shared.index(tree)?;
        self.shared.with_engine(|_| self.snapshot.get(tree, key))
    }

    /// The rows of a range in its order, read lazily.
    pub fn range(&self, tree: Tree, keys: &KeyRange) -> Result<Rows<'_>, StoreError> {
        let tree = self.shared.index(tree)?;
        self.rows(tree, keys)
    }

    fn rows(&self, tree: TreeIndex, keys: &KeyRange) -> Result<Rows<'_>, StoreError> {
        let rows: RowIter<'_> = if keys.is_empty() {
            Box::new(std::iter::empty())
        } else {
            self.shared
                .with_engine(|_| Ok(self.snapshot.range(tree, keys)))?
        };
        Ok(Rows {
            shared: self.shared,
            rows: Some(rows),
        })
    }

    pub fn checkpoint(&self, stream: &str) -> Result<Option<Checkpoint>, StoreError> {
        self.shared.with_engine(|_| {
            self.snapshot
                .get(TreeIndex::CHECKPOINTS, stream.as_bytes())?
                .map(|row| decode_checkpoint(&row))
                .transpose()
        })
    }

    pub fn checkpoints(&self) -> Result<BTreeMap<String, Checkpoint>, StoreError> {
        self.rows(TreeIndex::CHECKPOINTS, &KeyRange::all())?
            .map(|row| {
                let (stream, checkpoint) = row?;
                self.shared.with_engine(|_| {
                    let stream = String::from_utf8(stream)
                        .map_err(|_| Fault::Corrupt("a stream's name is garbled".to_owned()))?;
                    Ok((stream, decode_checkpoint(&checkpoint)?))
                })
            })
            .collect()
    }

    /// SHA-256 over the key length, key, value length and value of each row, with lengths as 64-bit
    /// big-endian numbers.
    pub fn digest(&self, tree: Tree) -> Result<[u8; 32], StoreError> {
        let mut hash = Sha256::new();
        for row in self.range(tree, &KeyRange::all())? {
            let (key, value) = row?;
            for part in [key, value] {
                hash.update((part.len() as u64).to_be_bytes());
                hash.update(&part);
            }
        }
        Ok(hash.finalize().into())
    }
}

/// The rows of one range. It ends after an error.
pub struct Rows<'a> {
    shared: &'a Shared,
    rows: Option<RowIter<'a>>,
}

impl Iterator for Rows<'_> {
    type Item = Result<Row, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut rows = self.rows.take()?;
        let next = self.shared.with_engine(|_| rows.next().transpose());
        match next {
            Ok(Some(row)) => {
                self.rows = Some(rows);
                Some(Ok(row))
            }
            Ok(None) => None,
            Err(error) => {
                // The iterator of an engine that has just panicked may panic again when it is
                // dropped.
                let _ = catch_unwind(AssertUnwindSafe(|| drop(rows)));
                Some(Err(error))
            }
        }
    }
}

thread_local! {
    /// Stores that this thread holds a view of.
    static VIEWED: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}

struct ViewMark(usize);

impl ViewMark {
    fn set(store: usize) -> Self {
        VIEWED.with_borrow_mut(|stores| stores.push(store));
        Self(store)
    }
}

impl Drop for ViewMark {
    fn drop(&mut self) {
        VIEWED.with_borrow_mut(|stores| stores.retain(|store| *store != self.0));
    }
}

/// Returns an error, on every engine, for what would be a deadlock on sled.
pub(crate) fn refuse_on_this_thread(store: usize) -> Result<(), StoreError> {
    if VIEWED.with_borrow(|stores| stores.contains(&store)) {
        return Err(StoreError::ViewOpen);
    }
    Ok(())
}
