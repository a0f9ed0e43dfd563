//! fjall 3 behind the trait: one keyspace, whose journal makes batches atomic and whose snapshots
//! are free.

use std::ops::RangeInclusive;
use std::path::PathBuf;

use fjall::config::PartitioningPolicy;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode, Readable};

use super::{
    Change, Fault, Limits, MAX_KEY_LEN, Row, RowIter, Setup, Snapshot, Storage, TreeIndex,
    bytes_below,
    one_tree::{key_in, range_in, row_out},
};
use crate::{KeyRange, key_range::Order};

/// A batch is copied to the journal in one piece, and held in memory until then.
pub(super) const LIMITS: Limits = Limits {
    rows: 32_768,
    key_len: MAX_KEY_LEN,
    value_len: 4 * 1024 * 1024,
};

/// Bytes of rows that are gathered in memory before they are written to a file: at least and at
/// most. Twice as much may be in memory, since one memtable fills while the other is written, so a
/// memtable gets half of what the block cache has.
const MEMTABLE_BYTES: RangeInclusive<u64> = 4 * 1024 * 1024..=32 * 1024 * 1024;

/// Size of the journal at which fjall writes memtables out, which bounds the time of recovery; its
/// default is 512 MiB.
const JOURNAL_BYTES: u64 = 128 * 1024 * 1024;

/// The levels whose filters and indexes are stored in blocks of 4 KiB: all but the first, whose files are few and are held in memory
/// whole. Without partitions the filter of a file, up to 800 KB, is one block, which a cache of a few MiB soon has to give up: then
/// each row that is looked up reads it from its file and checks its hash. In a backlog that took three quarters of the processor time
/// of the whole process.
const PARTITIONED_LEVELS: [bool; 2] = [false, true];

/// Threads that flush and compact. They share few cores with the rest of the process.
const WORKER_THREADS: usize = 2;

pub(crate) struct FjallStorage {
    db: Database,
    rows: Keyspace,
    rows_dir: PathBuf,
}

impl FjallStorage {
    pub(crate) fn open(setup: Setup<'_>) -> Result<Self, Fault> {
        let db = Database::builder(setup.rows_dir)
            .cache_size(setup.cache_bytes)
            .max_journaling_size(JOURNAL_BYTES)
            .worker_threads(WORKER_THREADS)
            .open()?;
        let rows = db.keyspace("rows", || {
            let memtable =
                (setup.cache_bytes / 2).clamp(*MEMTABLE_BYTES.start(), *MEMTABLE_BYTES.end());
            KeyspaceCreateOptions::default()
                .max_memtable_size(memtable)
                .filter_block_partitioning_policy(PartitioningPolicy::new(PARTITIONED_LEVELS))
                .index_block_partitioning_policy(PartitioningPolicy::new(PARTITIONED_LEVELS))
        })?;
        Ok(Self {
            db,
            rows,
            rows_dir: setup.rows_dir.to_owned(),
        })
    }
}

impl Storage for FjallStorage {
    fn get(&self, tree: TreeIndex, key: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
        Ok(self
            .rows
            .get(key_in(tree, key))?
            .map(|value| value.to_vec()))
    }

    fn apply(&self, changes: Vec<Change>) -> Result<(), Fault> {
        let mut batch = self.db.batch();
        for Change { tree, key, value } in changes {
            match value {
                Some(value) => batch.insert(&self.rows, key_in(tree, &key), value),
                None => batch.remove(&self.rows, key_in(tree, &key)),
            }
        }
        Ok(batch.commit()?)
    }

    fn snapshot(&self) -> Result<Box<dyn Snapshot + '_>, Fault> {
        Ok(Box::new(FjallSnapshot {
            storage: self,
            at: self.db.snapshot(),
        }))
    }

    fn sync(&self) -> Result<(), Fault> {
        Ok(self.db.persist(PersistMode::SyncAll)?)
    }

    fn verify(&self) -> Result<u64, Fault> {
        self.db
            .snapshot()
            .iter(&self.rows)
            .try_fold(0, |bytes, guard| {
                let (key, value) = guard.into_inner()?;
                Ok(bytes + (key.len() + value.len()) as u64)
            })
    }

    fn disk_bytes(&self) -> u64 {
        bytes_below(&self.rows_dir)
    }
}

struct FjallSnapshot<'a> {
    storage: &'a FjallStorage,
    at: fjall::Snapshot,
}

impl Snapshot for FjallSnapshot<'_> {
    fn get(&self, tree: TreeIndex, key: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
        Ok(self
            .at
            .get(&self.storage.rows, key_in(tree, key))?
            .map(|value| value.to_vec()))
    }

    fn range(&self, tree: TreeIndex, keys: &KeyRange) -> RowIter<'_> {
        let rows = self.at.range(&self.storage.rows, range_in(tree, keys));
        match keys.order() {
            Order::Ascending => Box::new(rows.map(row)),
            Order::Descending => Box::new(rows.rev().map(row)),
        }
    }
}

fn row(guard: fjall::Guard) -> Result<Row, Fault> {
    let (key, value) = guard.into_inner()?;
    Ok(row_out(&key, &value))
}

impl From<fjall::Error> for Fault {
    fn from(error: fjall::Error) -> Self {
        match error {
            fjall::Error::Locked => Self::Locked,
            fjall::Error::Io(error) | fjall::Error::Storage(fjall::LsmError::Io(error)) => {
                Self::from_io(error)
            }
            // Includes fjall's own `Poisoned`: a background thread has failed, and the reason is
            // unknown.
            other => Self::Corrupt(other.to_string()),
        }
    }
}
