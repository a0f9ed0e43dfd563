//! The data folder: its disk, who can read its secrets, whose its files are, and what a restore has left to do.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::{LITTLE_ROOM, Line, Verdict};
use crate::disk::Disk;

/// Where the projector and the gateway write down what was lost.
const LOSSES: [&str; 2] = [
    "log_went_backwards.jsonl",
    "gateway/log_went_backwards.jsonl",
];

/// The room on the disk of the data folder.
pub(super) fn disk(data: &Path) -> Line {
    // The folder may not be there yet: then its disk is that of the nearest one that is.
    let there = data
        .ancestors()
        .find(|folder| folder.is_dir())
        .unwrap_or(Path::new("."));
    match Disk::of(there) {
        Ok(disk) => of_disk(disk, data),
        Err(error) => Line::bad(
            Verdict::Wrong,
            "disk",
            format!("{error:#}"),
            "name the data folder by --data",
        ),
    }
}

#[expect(clippy::cast_precision_loss, reason = "a share of a disk, for people")]
fn of_disk(disk: Disk, data: &Path) -> Line {
    let free = disk.free as f64 / disk.total.max(1) as f64;
    let gib = disk.free >> 30;
    let data = data.display();
    let found = format!("{gib} GiB free ({:.0} %) for {data}", free * 100.0);
    let verdict = if disk.free < disk.kept() {
        Verdict::Wrong
    } else if free < LITTLE_ROOM {
        Verdict::Doubtful
    } else {
        return Line::good("disk", found);
    };
    Line::bad(
        verdict,
        "disk",
        found,
        "make room or enlarge it: a disk that is really full stops JetStream as a whole",
    )
}

/// Secret files that others can read or write.
pub(super) fn secrets(data: &Path, is_up: bool) -> Vec<Line> {
    let folder = data.join("secrets");
    let Ok(entries) = fs::read_dir(&folder) else {
        let found = match is_up {
            true => format!(
                "{} is not there yet: the first start of `waybill up` makes it",
                folder.display()
            ),
            false => "from the environment".to_owned(),
        };
        return vec![Line::good("secrets", found)];
    };
    let mut open = Vec::new();
    let mut count = 0_usize;
    let files = entries.flatten().map(|entry| entry.path());
    for path in files.chain([folder.clone()]) {
        count += 1;
        match fs::metadata(&path) {
            Ok(metadata) if metadata.permissions().mode() & 0o077 == 0 => {}
            Ok(_) | Err(_) => open.push(path),
        }
    }
    if open.is_empty() {
        let found = format!("{} files, readable by their owner alone", count - 1);
        return vec![Line::good("secrets", found)];
    }
    let lines = open.into_iter().map(|path| {
        Line::bad(
            Verdict::Wrong,
            "secrets",
            format!("{} can be read by others", path.display()),
            format!(
                "chmod go= {}; who could read it meanwhile may have: rotate what it holds",
                path.display()
            ),
        )
    });
    lines.collect()
}

/// Files that the owner of the folder, under whom `waybill up` runs, does not own.
pub(super) fn owners(data: &Path) -> Option<Line> {
    let owner = fs::metadata(data).ok()?.uid();
    let others = owned_by_others(data, owner);
    let first = others.first()?;
    Some(Line::bad(
        Verdict::Wrong,
        "owners",
        format!(
            "{} and {} more in {} do not belong to its owner",
            first.display(),
            others.len() - 1,
            data.display()
        ),
        format!("chown -R --reference={} {}", data.display(), data.display()),
    ))
}

/// The folder's own files and those in its folders of secrets and of nats-server: what a start needs. Read models are many and can be made anew.
fn owned_by_others(data: &Path, owner: u32) -> Vec<PathBuf> {
    let folders = [data.to_owned(), data.join("secrets"), data.join("nats")];
    let entries = folders
        .iter()
        .filter_map(|folder| fs::read_dir(folder).ok());
    let entries = entries.flatten().flatten();
    let is_of_others =
        |path: &PathBuf| fs::symlink_metadata(path).is_ok_and(|metadata| metadata.uid() != owner);
    let mut others: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(is_of_others)
        .collect();
    others.sort();
    others
}

/// What was lost with a log that went backwards, and nobody has seen to yet.
pub(super) fn losses(data: &Path) -> Vec<Line> {
    let files = LOSSES.iter().map(|file| data.join(file));
    let line = |file: PathBuf| {
        Line::bad(
            Verdict::Doubtful,
            "log",
            format!(
                "log_went_backwards: {} lists what was lost with a restored log",
                file.display()
            ),
            "repeat each revocation that it lists (`waybill keys revoke`, `waybill teams`), remove the file, restart",
        )
    };
    files.filter(|file| file.exists()).map(line).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::chown;

    use super::*;

    #[test]
    fn a_disk_is_looked_at_before_it_is_full() {
        let disk = |free| {
            let total = 100 << 30;
            of_disk(Disk { free, total }, Path::new("data"))
        };
        let (good, little, none) = (disk(40 << 30), disk(5 << 30), disk(1 << 30));
        assert_eq!(good.verdict, Verdict::Good);
        assert_eq!(little.verdict, Verdict::Doubtful);
        assert_eq!(none.verdict, Verdict::Wrong);
        assert!(none.remedy.is_some() && none.found.contains("1 GiB free (1 %)"));
    }

    #[test]
    fn what_is_left_of_a_restore_is_told_until_somebody_has_seen_to_it() {
        let data = tempfile::tempdir().expect("a folder");
        assert!(losses(data.path()).is_empty());
        fs::create_dir(data.path().join("gateway")).expect("ours");
        fs::write(data.path().join(LOSSES[1]), "{}\n").expect("ours");
        let lines = losses(data.path());
        assert_eq!(lines.len(), 1);
        assert!(lines[0].found.contains("gateway/log_went_backwards.jsonl"));
    }

    #[test]
    fn files_that_a_start_could_not_read_are_told() {
        let data = tempfile::tempdir().expect("a folder");
        let file = data.path().join("secrets/pepper");
        fs::create_dir(data.path().join("secrets")).expect("ours");
        fs::write(&file, "x").expect("ours");
        assert!(owners(data.path()).is_none());
        if !rustix::process::geteuid().is_root() {
            return; // Nobody else can give files away.
        }
        chown(&file, Some(61_184), None).expect("root can");
        let line = owners(data.path()).expect("a line");
        assert_eq!(line.verdict, Verdict::Wrong);
        assert!(line.found.contains("secrets/pepper"), "{line:?}");
        assert!(
            line.remedy
                .is_some_and(|remedy| remedy.starts_with("chown -R"))
        );
    }
}
