//! sled 0.34.7 behind the trait, with the three rules that keep it safe.
//!
//! 1. A batch has at most 128 rows. Batches of 1,000 rows leak gigabytes of memory under overwrites; 250 stay flat.
//! 2. `flush` is followed by an fsync of the `db` file. On Linux the flush alone is a `sync_file_range`: most stores did
//!    not open after a power cut with it, all did with the fsync.
//! 3. Bad bytes cause a panic as often as an error, so every caller of these functions catches
//!    panics. Rarely, bad bytes cause neither; the [`Seal`] detects those.

use std::{fs::File, path::PathBuf};

use parking_lot::{RwLock, RwLockReadGuard};

use super::{
    Change, Fault, Limits, MAX_KEY_LEN, Row, RowIter, Setup, Snapshot, Storage, TreeIndex,
    bytes_below,
    one_tree::{key_in, range_in, row_out},
    seal::Seal,
};
use crate::{KeyRange, key_range::Order};

/// Values are small because sled moves pages above half a segment (256 KiB) to files of their own,
/// which the fsync of `db` does not cover; a page has up to 16 rows before it splits.
pub(super) const LIMITS: Limits = Limits {
    // The seal is an additional row; the measured limit leaves room for it.
    rows: 128,
    key_len: MAX_KEY_LEN,
    value_len: 8 * 1024,
};

/// Greater than the first byte of every tree.
const SEAL_KEY: &[u8] = &[u8::MAX];

pub(crate) struct SledStorage {
    db: sled::Db,
    /// A separate handle on sled's data file, for the fsync.
    file: File,
    rows_dir: PathBuf,
    /// The seal of the current rows. Its lock also separates views from batches, because sled has
    /// no snapshots: readers that need consistent rows block writers.
    seal: RwLock<Seal>,
}

impl SledStorage {
    pub(crate) fn open(setup: Setup<'_>) -> Result<Self, Fault> {
        let db = sled::Config::new()
            .path(setup.rows_dir)
            .cache_capacity(setup.cache_bytes)
            // sled's own flusher does not fsync; durability comes from the caller's `sync`.
            .flush_every_ms(None)
            .open()?;
        let file = File::open(setup.rows_dir.join("db")).map_err(Fault::from_io)?;
        let seal = match db.get(SEAL_KEY)? {
            Some(row) => Seal::decode(&row).ok_or_else(broken_seal)?,
            None => Seal::default(),
        };
        Ok(Self {
            db,
            file,
            rows_dir: setup.rows_dir.to_owned(),
            seal: RwLock::new(seal),
        })
    }

    fn read(&self, tree: TreeIndex, key: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
        Ok(self.db.get(key_in(tree, key))?.map(|value| value.to_vec()))
    }
}

impl Storage for SledStorage {
    fn get(&self, tree: TreeIndex, key: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
        self.read(tree, key)
    }

    fn apply(&self, changes: Vec<Change>) -> Result<(), Fault> {
        let mut seal = self.seal.write();
        let mut next = *seal;
        let mut batch = sled::Batch::default();
        for Change { tree, key, value } in changes {
            let key = key_in(tree, &key);
            if let Some(before) = self.db.get(&key)? {
                next = next.without(&key, &before);
            }
            match value {
                Some(value) => {
                    next = next.with(&key, &value);
                    batch.insert(key, value);
                }
                None => batch.remove(key),
            }
        }
        batch.insert(SEAL_KEY, &next.encode());
        self.db.apply_batch(batch)?;
        *seal = next;
        Ok(())
    }

    fn snapshot(&self) -> Result<Box<dyn Snapshot + '_>, Fault> {
        Ok(Box::new(SledSnapshot {
            storage: self,
            _no_writers: self.seal.read(),
        }))
    }

    fn sync(&self) -> Result<(), Fault> {
        self.db.flush()?;
        self.file.sync_all().map_err(Fault::from_io)
    }

    fn verify(&self) -> Result<u64, Fault> {
        let sealed = self.seal.read();
        let mut found = Seal::default();
        let mut bytes = 0;
        for row in self.db.iter() {
            let (key, value) = row?;
            if key != SEAL_KEY {
                found = found.with(&key, &value);
                bytes += (key.len() + value.len()) as u64;
            }
        }
        if found != *sealed {
            return Err(broken_seal());
        }
        Ok(bytes)
    }

    fn disk_bytes(&self) -> u64 {
        bytes_below(&self.rows_dir)
    }
}

fn broken_seal() -> Fault {
    Fault::Corrupt("the rows do not add up to their seal".to_owned())
}

struct SledSnapshot<'a> {
    storage: &'a SledStorage,
    _no_writers: RwLockReadGuard<'a, Seal>,
}

impl Snapshot for SledSnapshot<'_> {
    fn get(&self, tree: TreeIndex, key: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
        self.storage.read(tree, key)
    }

    fn range(&self, tree: TreeIndex, keys: &KeyRange) -> RowIter<'_> {
        let rows = self.storage.db.range(range_in(tree, keys));
        match keys.order() {
            Order::Ascending => Box::new(rows.map(row)),
            Order::Descending => Box::new(rows.rev().map(row)),
        }
    }
}

fn row(found: sled::Result<(sled::IVec, sled::IVec)>) -> Result<Row, Fault> {
    let (key, value) = found?;
    Ok(row_out(&key, &value))
}

impl From<sled::Error> for Fault {
    fn from(error: sled::Error) -> Self {
        match error {
            // sled has no error kind for this. It is not corruption: a killed process may hold the
            // lock a moment longer.
            sled::Error::Io(error) if error.to_string().contains("could not acquire lock") => {
                Self::Locked
            }
            sled::Error::Io(error) => Self::from_io(error),
            other => Self::Corrupt(other.to_string()),
        }
    }
}
