//! Opens a store in steps: wait for the lock, check the directory, recover the engine, read the
//! rows; and wipe the store if any step finds bad data.

use std::{
    collections::BTreeSet,
    fmt, fs, io,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use crate::{
    Checkpoint, Engine, KeyRange, OpenError, Store, Tree,
    engine::{Fault, Setup, Storage, TreeIndex},
    lock::{DirLock, LockFailed, RETRY_EVERY},
    manifest::{Directory, Found},
    store::catching_panics,
};

/// A tree's index is one byte of every key, and sled's seal uses the highest value.
const MAX_TREES: usize = 200;

const DEFAULT_CACHE_BYTES: u64 = 64 * 1024 * 1024;

/// A killed process may hold its locks until the kernel has freed its memory.
const DEFAULT_LOCK_WAIT: Duration = Duration::from_secs(10);

/// sled never frees disk space. A rebuild costs less than a file that is mostly unused, but not
/// while the file is small.
const BLOAT_FLOOR_BYTES: u64 = 1024 * 1024 * 1024;
const BLOAT_FACTOR: u64 = 3;

/// Number of processes that may die while opening a store before it is wiped. Some corruption makes
/// fjall panic, and panic again while it cleans up, which ends the process and would end the next
/// one too. A single death may have had any cause.
const DEATHS_WHILE_OPENING: u32 = 2;

/// An opened store, and what happened to its previous contents.
pub struct Opened {
    pub store: Store,
    pub reason: OpenReason,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpenReason {
    /// There was no store. It has no checkpoint.
    Fresh,
    /// The rows match the checkpoint.
    Resumed,
    /// The previous store could not be used. It is empty now and has no checkpoint.
    Wiped(WipeReason),
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WipeReason {
    #[error("its rows have schema version {found}, not {expected}")]
    SchemaChanged { found: u32, expected: u32 },
    #[error("it has other trees")]
    TreesChanged,
    #[error("its engine is {found}, not {expected}")]
    EngineChanged { found: String, expected: String },
    #[error("its manifest cannot be used: {0}")]
    ManifestUnreadable(String),
    #[error("it is corrupt: {0}")]
    Corrupt(String),
    #[error("it was condemned: {0}")]
    Requested(String),
    #[error("it takes {disk_bytes} bytes on disk for {row_bytes} bytes of rows")]
    Bloated { disk_bytes: u64, row_bytes: u64 },
}

/// How much of a store is read before it is trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verify {
    /// Every row, while opening. Default for sled: it is small, and not all corruption is detected
    /// otherwise.
    EveryRow,
    /// Checkpoints while opening, and rows when they are read. Default for fjall: every block has a
    /// checksum.
    OnRead,
}

/// Which store to open, and how.
#[derive(Clone, Debug)]
pub struct OpenOptions {
    engine: Engine,
    schema: u32,
    trees: Vec<Tree>,
    cache_bytes: u64,
    lock_wait: Duration,
    verify: Verify,
}

impl OpenOptions {
    /// `schema` is the version of the caller's row encoding: a store with another version is wiped.
    #[must_use]
    pub fn new(engine: Engine, schema: u32, trees: &[Tree]) -> Self {
        Self {
            engine,
            schema,
            trees: trees.to_vec(),
            cache_bytes: DEFAULT_CACHE_BYTES,
            lock_wait: DEFAULT_LOCK_WAIT,
            verify: match engine {
                Engine::Sled => Verify::EveryRow,
                Engine::Fjall | Engine::Memory => Verify::OnRead,
            },
        }
    }

    #[must_use]
    pub fn cache_bytes(mut self, bytes: u64) -> Self {
        self.cache_bytes = bytes;
        self
    }

    /// How long to wait for a lock that another process holds.
    #[must_use]
    pub fn lock_wait(mut self, wait: Duration) -> Self {
        self.lock_wait = wait;
        self
    }

    #[must_use]
    pub fn verify(mut self, verify: Verify) -> Self {
        self.verify = verify;
        self
    }

    /// A store in memory, whatever engine was chosen. It ends with its last clone.
    #[must_use]
    pub fn in_memory(&self) -> Store {
        let storage = Box::new(crate::engine::MemoryStorage::new(self.trees.len()));
        Store::new(Engine::Memory, self.trees.clone(), storage, None)
    }

    /// Opens the store in `dir`, creating it if there is none.
    ///
    /// Blocks: on the lock, on the engine's recovery and, with [`Verify::EveryRow`], on reading everything.
    pub fn open(&self, dir: &Path) -> Result<Opened, OpenError> {
        self.check_trees()?;
        if self.engine == Engine::Memory {
            return Ok(Opened {
                store: self.in_memory(),
                reason: OpenReason::Fresh,
            });
        }
        let started = Instant::now();
        let opened = Opening {
            options: self,
            root: dir,
            directory: Directory::new(dir),
            deadline: started + self.lock_wait,
        }
        .run()?;
        log_outcome(self.engine, dir, &opened.reason, started.elapsed());
        Ok(opened)
    }

    fn check_trees(&self) -> Result<(), OpenError> {
        if !(1..=MAX_TREES).contains(&self.trees.len()) {
            return Err(OpenError::Trees(format!(
                "there must be 1 to {MAX_TREES}, not {}",
                self.trees.len()
            )));
        }
        let mut seen = BTreeSet::new();
        for tree in &self.trees {
            if !tree.is_well_named() {
                return Err(OpenError::Trees(format!(
                    "'{}' must be 1 to 64 of a-z, 0-9 and _",
                    tree.name()
                )));
            }
            if !seen.insert(tree) {
                return Err(OpenError::Trees(format!(
                    "'{}' is there twice",
                    tree.name()
                )));
            }
        }
        Ok(())
    }
}

struct Opening<'a> {
    options: &'a OpenOptions,
    root: &'a Path,
    directory: Directory,
    deadline: Instant,
}

impl Opening<'_> {
    fn run(self) -> Result<Opened, OpenError> {
        fs::create_dir_all(self.root).map_err(|e| self.io("create the directory", e))?;
        let lock = DirLock::acquire(self.root, self.deadline).map_err(|failed| match failed {
            LockFailed::Held => self.locked(),
            LockFailed::Io(error) => self.io("take the lock", error),
        })?;
        let OpenOptions {
            engine,
            schema,
            ref trees,
            ..
        } = *self.options;
        let found = self
            .directory
            .inspect(engine, schema, trees)
            .map_err(|e| self.io("read the manifest", e))?;
        let (storage, reason) = match found {
            Found::Nothing => (self.start_empty()?, OpenReason::Fresh),
            Found::ToWipe(reason) => self.start_over(reason)?,
            Found::Matching => match self.recover() {
                Ok((storage, usage)) => match usage.bloat(engine) {
                    None => {
                        // Not worth failing for: the rows set aside only take space.
                        if let Err(error) = self.directory.drop_bad_rows() {
                            tracing::debug!(%error, "could not remove the corrupt rows that were set aside; they only take space");
                        }
                        (storage, OpenReason::Resumed)
                    }
                    Some(reason) => {
                        let closed = catching_panics("closing", || {
                            drop(storage);
                            Ok(())
                        });
                        if let Err(fault) = closed {
                            tracing::debug!(%fault, "the bloated store did not close cleanly");
                        }
                        self.start_over(reason)?
                    }
                },
                Err(Fault::Corrupt(why)) => self.start_over(WipeReason::Corrupt(why))?,
                Err(Fault::Io(error)) => return Err(self.io("open the rows", error)),
                Err(Fault::Locked) => return Err(self.locked()),
            },
        };
        let trees = trees.clone();
        Ok(Opened {
            store: Store::new(engine, trees, storage, Some((self.directory, lock))),
            reason,
        })
    }

    fn start_over(&self, reason: WipeReason) -> Result<(Box<dyn Storage>, OpenReason), OpenError> {
        self.directory
            .wipe(&reason)
            .map_err(|e| self.io("wipe the rows", e))?;
        Ok((self.start_empty()?, OpenReason::Wiped(reason)))
    }

    fn start_empty(&self) -> Result<Box<dyn Storage>, OpenError> {
        let OpenOptions {
            engine,
            schema,
            ref trees,
            ..
        } = *self.options;
        self.directory
            .prepare(engine, schema, trees)
            .map_err(|e| self.io("create the rows", e))?;
        match self.recover() {
            Ok((storage, _)) => match self.directory.settle() {
                Ok(()) => Ok(storage),
                Err(error) => Err(self.io("create the rows", error)),
            },
            Err(Fault::Corrupt(why)) => Err(OpenError::Unusable {
                dir: self.root.to_owned(),
                why,
            }),
            Err(Fault::Io(error)) => Err(self.io("create the rows", error)),
            Err(Fault::Locked) => Err(self.locked()),
        }
    }

    /// Opens the engine and reads what `Verify` requires, unless too many processes have died doing
    /// so.
    fn recover(&self) -> Result<(Box<dyn Storage>, Usage), Fault> {
        let deaths = self.directory.opens_begun();
        if deaths >= DEATHS_WHILE_OPENING {
            let why = format!("{deaths} processes in a row died while opening it");
            return Err(Fault::Corrupt(why));
        }
        self.directory.note_opens_begun(deaths + 1);
        let outcome = self.recover_guarded();
        self.directory.note_opens_begun(0);
        outcome
    }

    /// Waits for the engine's own lock. Panics do not escape.
    fn recover_guarded(&self) -> Result<(Box<dyn Storage>, Usage), Fault> {
        let rows_dir = self.directory.rows();
        let setup = Setup {
            rows_dir: &rows_dir,
            trees: &self.options.trees,
            cache_bytes: self.options.cache_bytes,
        };
        loop {
            let outcome = catching_panics("opening", || {
                let storage = self.options.engine.storage(setup)?;
                let usage = self.read_through(&*storage)?;
                Ok((storage, usage))
            });
            match outcome {
                Err(Fault::Locked) if Instant::now() < self.deadline => {
                    thread::sleep(RETRY_EVERY);
                }
                other => return other,
            }
        }
    }

    fn read_through(&self, storage: &dyn Storage) -> Result<Usage, Fault> {
        for row in storage
            .snapshot()?
            .range(TreeIndex::CHECKPOINTS, &KeyRange::all())
        {
            let (stream, value) = row?;
            if std::str::from_utf8(&stream).is_err() || Checkpoint::decode(&value).is_none() {
                return Err(Fault::Corrupt("a checkpoint is garbled".to_owned()));
            }
        }
        if self.options.verify == Verify::OnRead {
            return Ok(Usage::Unknown);
        }
        Ok(Usage::Counted {
            row_bytes: storage.verify()?,
            disk_bytes: storage.disk_bytes(),
        })
    }

    fn io(&self, doing: &'static str, cause: io::Error) -> OpenError {
        OpenError::Io {
            doing,
            dir: self.root.to_owned(),
            cause,
        }
    }

    fn locked(&self) -> OpenError {
        OpenError::Locked {
            dir: self.root.to_owned(),
            waited: self.options.lock_wait,
        }
    }
}

/// Size of a store on disk, if opening it has determined that.
#[derive(Clone, Copy)]
enum Usage {
    Unknown,
    Counted { disk_bytes: u64, row_bytes: u64 },
}

impl Usage {
    fn bloat(self, engine: Engine) -> Option<WipeReason> {
        let Self::Counted {
            disk_bytes,
            row_bytes,
        } = self
        else {
            return None;
        };
        let bloated = engine == Engine::Sled
            && disk_bytes > BLOAT_FLOOR_BYTES
            && disk_bytes / BLOAT_FACTOR > row_bytes;
        bloated.then_some(WipeReason::Bloated {
            disk_bytes,
            row_bytes,
        })
    }
}

fn log_outcome(engine: Engine, dir: &Path, reason: &OpenReason, took: Duration) {
    let (dir, took_ms) = (dir.display(), took.as_millis());
    match reason {
        OpenReason::Fresh => tracing::info!(%engine, %dir, took_ms, "store created"),
        OpenReason::Resumed => tracing::info!(%engine, %dir, took_ms, "store resumed"),
        OpenReason::Wiped(why) => {
            tracing::warn!(%engine, %dir, took_ms, %why, "store wiped, to be rebuilt from the log");
        }
    }
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opened")
            .field("store", &self.store)
            .field("reason", &self.reason)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_large_sled_file_that_is_mostly_nothing_is_bloated() {
        let usage = |disk_bytes, row_bytes| Usage::Counted {
            disk_bytes,
            row_bytes,
        };
        let gib = BLOAT_FLOOR_BYTES;
        assert!(usage(2 * gib, 1000).bloat(Engine::Sled).is_some());
        assert!(usage(2 * gib, gib).bloat(Engine::Sled).is_none());
        assert!(usage(gib, 1000).bloat(Engine::Sled).is_none());
        assert!(usage(2 * gib, 1000).bloat(Engine::Fjall).is_none());
        assert!(Usage::Unknown.bloat(Engine::Sled).is_none());
    }
}
