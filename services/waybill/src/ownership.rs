//! Ownership of files in a data folder: they belong to the user under whom `waybill up` runs, also when root works in it.
//!
//! What root leaves behind there with an owner of its own is a file that the unit cannot read at its next start.

use std::ffi::CStr;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Gid, Mode, OFlags, Uid};
use rustix::fs::{chownat, fchown, fstat, openat};
use rustix::process::geteuid;

/// A user and a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Owner {
    user: Uid,
    group: Gid,
}

impl Owner {
    /// The owner of a folder, if files that are made in it have to be given away: only root can, and only root has to.
    pub(crate) fn other_than_root(folder: &Path) -> io::Result<Option<Self>> {
        if !geteuid().is_root() {
            return Ok(None);
        }
        let metadata = fs::metadata(folder)?;
        let owner = Self {
            user: Uid::from_raw(metadata.uid()),
            group: Gid::from_raw(metadata.gid()),
        };
        Ok((!owner.user.is_root()).then_some(owner))
    }

    /// Gives it an open file.
    pub(crate) fn takes(self, file: &impl AsFd) -> io::Result<()> {
        Ok(fchown(file, Some(self.user), Some(self.group))?)
    }
}

/// Gives what root has made in the folder to the folder's owner when it is dropped, however the command ended.
#[derive(Debug)]
pub(crate) struct HandOver(PathBuf);

impl HandOver {
    /// Of a folder that is there.
    pub(crate) fn of(folder: &Path) -> Self {
        Self(folder.to_owned())
    }
}

impl Drop for HandOver {
    fn drop(&mut self) {
        if let Err(error) = hand_over(&self.0) {
            // A closed standard error is no reason to fail: its reader does not want to know.
            let _ = writeln!(
                io::stderr(),
                "{} may hold files that its owner cannot read: {error}; give them to the owner of the folder (chown -R) before the next start",
                self.0.display()
            );
        }
    }
}

fn hand_over(folder: &Path) -> io::Result<()> {
    match Owner::other_than_root(folder) {
        Ok(Some(owner)) => hand_over_below(File::open(folder)?.as_fd(), owner),
        Ok(None) => Ok(()),
        // There is no folder, so nothing was made in it.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Works on open folders, never on paths: the owner of the folder could put a link to a system file in the way.
fn hand_over_below(folder: BorrowedFd<'_>, owner: Owner) -> io::Result<()> {
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        // A file that has vanished meanwhile needs no owner.
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let Ok(found) = openat(folder, name, flags, Mode::empty()) else {
            continue;
        };
        let stat = fstat(&found)?;
        let is_of_root = stat.st_uid == 0;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => hand_over_folder(folder, name, is_of_root, owner)?,
            // A file with a second hard link may be a system file.
            FileType::RegularFile if is_of_root && stat.st_nlink == 1 => {
                let (user, group) = (Some(owner.user), Some(owner.group));
                chownat(&found, c"", user, group, AtFlags::EMPTY_PATH)?;
            }
            _ => {}
        }
    }
    Ok(())
}

fn hand_over_folder(
    parent: BorrowedFd<'_>,
    name: &CStr,
    is_of_root: bool,
    owner: Owner,
) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let Ok(folder) = openat(parent, name, flags, Mode::empty()) else {
        return Ok(());
    };
    hand_over_below(folder.as_fd(), owner)?;
    match is_of_root {
        true => owner.takes(&folder),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{chown, symlink};

    use super::*;

    /// Nobody in particular.
    const SOMEBODY: u32 = 61_184;

    #[test]
    fn what_root_makes_in_a_folder_of_somebody_else_becomes_theirs() {
        if !geteuid().is_root() {
            return; // Nobody else can give files away.
        }
        let place = tempfile::tempdir().expect("a folder");
        let at = |name: &str| place.path().join(name);
        fs::create_dir_all(at("data/nats/jetstream")).expect("ours");
        for file in ["data/lock", "data/nats/jetstream/block", "outside", "twice"] {
            fs::write(at(file), "x").expect("ours");
        }
        symlink(at("outside"), at("data/link")).expect("ours");
        fs::hard_link(at("twice"), at("data/hard")).expect("ours");
        chown(at("data"), Some(SOMEBODY), Some(SOMEBODY)).expect("root can");
        drop(HandOver::of(&at("data")));
        let owner = |name: &str| fs::symlink_metadata(at(name)).expect("there").uid();
        for theirs in ["data/lock", "data/nats", "data/nats/jetstream/block"] {
            assert_eq!(owner(theirs), SOMEBODY, "{theirs}");
        }
        for not_theirs in ["outside", "twice", "data/link"] {
            assert_eq!(owner(not_theirs), 0, "{not_theirs}");
        }
    }
}
