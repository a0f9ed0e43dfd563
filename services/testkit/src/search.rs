//! Searches all files below a folder for bytes, to check that something is not on the disk.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use memchr::memmem::Finder;

/// The files below `folder` that contain these bytes. Files that disappear meanwhile are skipped.
pub fn files_with(folder: &Path, needle: &[u8]) -> io::Result<Vec<PathBuf>> {
    files_with_any(folder, &[needle])
}

/// The files below `folder` that contain any of these; each file is read once.
pub fn files_with_any(folder: &Path, needles: &[&[u8]]) -> io::Result<Vec<PathBuf>> {
    assert!(
        needles.iter().all(|needle| !needle.is_empty()),
        "everything holds nothing"
    );
    let finders: Vec<Finder<'_>> = needles.iter().map(|needle| Finder::new(*needle)).collect();
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let (path, kind) = {
                let entry = entry?;
                (entry.path(), entry.file_type()?)
            };
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_file() && holds(&path, &finders)? {
                found.push(path);
            }
        }
    }
    Ok(found)
}

fn holds(path: &Path, finders: &[Finder<'_>]) -> io::Result<bool> {
    match fs::read(path) {
        Ok(bytes) => Ok(finders.iter().any(|finder| finder.find(&bytes).is_some())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}
