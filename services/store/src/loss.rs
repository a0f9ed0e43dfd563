//! A record of what a copy had read from a log that no longer has it, written beside the copy
//! before the copy is discarded.
//!
//! A log that went backwards was restored from a backup. Its copies are rebuilt automatically, so
//! whatever else they knew would be lost without a trace. An operator reads the file, repeats what
//! must be repeated, and deletes it.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Name of the file, beside the folder of the copy. It has one JSON object per line.
pub const FILE_NAME: &str = "log_went_backwards.jsonl";

/// What a copy had read and the log no longer has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loss {
    /// Time of the discovery: ISO 8601, UTC.
    pub at: String,
    pub copy: String,
    pub stream: String,
    /// The last sequence that the copy had read.
    pub read: u64,
    /// The last sequence of the log.
    pub last: u64,
    /// The last sequence at which both agree, if known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub common: Option<u64>,
    /// Lost events that an operator must look at, because they revoked rights.
    pub lost: Vec<String>,
    /// Number of further lost events.
    pub more: u64,
}

/// Path of the file for the copy in that folder.
#[must_use]
pub fn file_of(copy: &Path) -> PathBuf {
    copy.with_file_name(FILE_NAME)
}

/// Writes a loss durably. Blocks.
pub fn write_down(copy: &Path, loss: &Loss) -> io::Result<PathBuf> {
    let path = file_of(copy);
    let mut line = serde_json::to_vec(loss).map_err(io::Error::other)?;
    line.push(b'\n');
    let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
    file.write_all(&line)?;
    file.sync_all()?;
    Ok(path)
}

/// The newest loss of that copy that no operator has removed yet. An unreadable file counts as
/// none. Blocks.
#[must_use]
pub fn newest(copy: &Path, name: &str) -> Option<Loss> {
    let text = std::fs::read_to_string(file_of(copy)).ok()?;
    text.lines()
        .rev()
        .filter_map(|line| serde_json::from_str::<Loss>(line).ok())
        .find(|loss| loss.copy == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_is_found_again_until_its_file_is_removed() {
        let dir = tempfile::tempdir().expect("a folder");
        let copy = dir.path().join("auth");
        assert_eq!(newest(&copy, "access"), None);
        let loss = |read, copy: &str| Loss {
            at: "2026-11-29T06:00:00.000Z".into(),
            copy: copy.into(),
            stream: "CONTROL".into(),
            read,
            last: 3,
            common: Some(2),
            lost: vec!["key.revoked.v1 key_4fG7aB2x".into()],
            more: 0,
        };
        write_down(&copy, &loss(5, "access")).expect("written");
        write_down(&copy, &loss(6, "access")).expect("written");
        write_down(&copy, &loss(9, "read model")).expect("written");
        assert_eq!(newest(&copy, "access"), Some(loss(6, "access")));
        std::fs::remove_file(file_of(&copy)).expect("removed");
        assert_eq!(newest(&copy, "access"), None);
    }
}
