//! Sets the wall clock of a single running process, by preloading Debian's libfaketime. The
//! monotonic clock is not affected.

use std::path::{Path, PathBuf};
use std::{env, fs};

use anyhow::Result;

/// Debian's path of the library, below a folder for each architecture.
const LIBRARY: &str = "faketime/libfaketimeMT.so.1";

/// The clock of one process.
pub(crate) struct WallClock {
    library: PathBuf,
    offset: PathBuf,
}

impl WallClock {
    /// A clock that shows the true time. `None` if libfaketime is not installed.
    pub(crate) fn new(folder: &Path, name: &str) -> Result<Option<Self>> {
        let Some(library) = library() else {
            return Ok(None);
        };
        let clock = Self {
            library,
            offset: folder.join(format!("{name}.clock")),
        };
        clock.set(0)?;
        Ok(Some(clock))
    }

    /// The environment of a process that uses this clock.
    pub(crate) fn environment(&self) -> Vec<(String, String)> {
        [
            ("LD_PRELOAD", self.library.display().to_string()),
            ("FAKETIME_TIMESTAMP_FILE", self.offset.display().to_string()),
            // Seconds until the library notices a change.
            ("FAKETIME_CACHE_DURATION", "1".to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
            ("DONT_FAKE_MONOTONIC", "1".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .to_vec()
    }

    /// Sets the clock this many seconds ahead of the true time, or behind it.
    pub(crate) fn set(&self, seconds: i64) -> Result<()> {
        // Renamed into place, so that the library never reads an incomplete file.
        let new = self.offset.with_extension("new");
        fs::write(&new, format!("{seconds:+}s\n"))?;
        Ok(fs::rename(new, &self.offset)?)
    }
}

fn library() -> Option<PathBuf> {
    if let Some(named) = env::var_os("WAYBILL_FAKETIME") {
        return Some(PathBuf::from(named));
    }
    fs::read_dir("/usr/lib")
        .ok()?
        .flatten()
        .map(|folder| folder.path().join(LIBRARY))
        .find(|library| library.is_file())
}
