//! The files of the dashboard and the hash that stands in their address.

use std::borrow::Cow;
use std::path::{Component, Path, PathBuf};

use sha2::{Digest, Sha256};

/// Hexadecimal digits of the hash in an address.
const HASH_DIGITS: usize = 16;
/// Stands where the hash does while the files are read from a folder.
const WORKING: &str = "working";
/// Folder of the files below the folder that was named.
const STATIC: &str = "static";

/// The files in the binary, by their paths below `static`, sorted by them.
const EMBEDDED: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/files.rs"));

/// Where the files are, and under which hash they are served.
pub(crate) struct Files {
    folder: Option<PathBuf>,
    hash: String,
}

impl Files {
    /// The files in the binary, under the hash of all of them: one that changes gives every file a new address, so a page never mixes
    /// files of two versions.
    pub(crate) fn embedded() -> Self {
        let mut hash = Sha256::new();
        for (path, bytes) in EMBEDDED {
            for part in [path.as_bytes(), bytes] {
                hash.update((part.len() as u64).to_be_bytes());
                hash.update(part);
            }
        }
        let mut hash = hex::encode(hash.finalize());
        hash.truncate(HASH_DIGITS);
        Self { folder: None, hash }
    }

    /// The files in `static` of that folder, read anew at each request.
    pub(crate) fn in_folder(folder: &Path) -> Self {
        Self {
            folder: Some(folder.join(STATIC)),
            hash: WORKING.into(),
        }
    }

    pub(crate) fn hash(&self) -> &str {
        &self.hash
    }

    /// Whether what is served at an address never changes.
    pub(crate) fn is_immutable(&self) -> bool {
        self.folder.is_none()
    }

    /// The bytes of a file, by its path below `static`.
    pub(crate) async fn read(&self, path: &str) -> Option<Cow<'static, [u8]>> {
        let Some(folder) = &self.folder else {
            let found = EMBEDDED.binary_search_by(|(own, _)| (*own).cmp(path));
            return found.ok().map(|at| Cow::Borrowed(EMBEDDED[at].1));
        };
        let is_below = Path::new(path)
            .components()
            .all(|part| matches!(part, Component::Normal(_)));
        if !is_below {
            return None;
        }
        tokio::fs::read(folder.join(path))
            .await
            .ok()
            .map(Cow::Owned)
    }
}
