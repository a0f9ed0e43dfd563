//! A wall clock of a process that can be set while it runs: Debian's libfaketime before the binary. The monotonic clock stays true.

use std::path::{Path, PathBuf};
use std::{env, fs};

use anyhow::Result;

/// Where Debian has it, below a folder for each architecture.
const LIBRARY: &str = "faketime/libfaketimeMT.so.1";

/// The clock of one process.
pub(crate) struct WallClock {
    library: PathBuf,
    offset: PathBuf,
}

impl WallClock {
    /// A clock that tells the true time; `None` where there is no libfaketime.
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

    /// What a process needs in its environment to go by it.
    pub(crate) fn environment(&self) -> Vec<(String, String)> {
        [
            ("LD_PRELOAD", self.library.display().to_string()),
            ("FAKETIME_TIMESTAMP_FILE", self.offset.display().to_string()),
            // Seconds until a change is seen.
            ("FAKETIME_CACHE_DURATION", "1".to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
            ("DONT_FAKE_MONOTONIC", "1".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .to_vec()
    }

    /// Sets it so many seconds ahead of the truth, or behind it.
    pub(crate) fn set(&self, seconds: i64) -> Result<()> {
        // Moved into place whole, so that no half of it is read.
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
