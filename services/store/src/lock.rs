//! Restricts a store's directory to one process at a time.
//!
//! Engines lock their own files, but a wipe happens while no engine is open. Without this lock, a
//! second process with another schema version could wipe the store while the first one uses it.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io,
    path::Path,
    thread,
    time::{Duration, Instant},
};

/// Interval at which a held lock is tried again, since the kernel has no lock with a deadline.
pub(crate) const RETRY_EVERY: Duration = Duration::from_millis(20);

/// Held until dropped or until the process dies, when the kernel releases it.
pub(crate) struct DirLock(#[expect(dead_code, reason = "held for its lock")] File);

pub(crate) enum LockFailed {
    Held,
    Io(io::Error),
}

impl DirLock {
    pub(crate) fn acquire(dir: &Path, deadline: Instant) -> Result<Self, LockFailed> {
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(dir.join("LOCK"))
            .map_err(LockFailed::Io)?;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self(file)),
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                    thread::sleep(RETRY_EVERY);
                }
                Err(TryLockError::WouldBlock) => return Err(LockFailed::Held),
                Err(TryLockError::Error(error)) => return Err(LockFailed::Io(error)),
            }
        }
    }
}
