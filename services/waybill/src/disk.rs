//! How `waybill up` divides its disk: a part for the streams, the rest for read models, snapshots and reserve.
//!
//! JetStream's limits are bookkeeping and reserve no disk, and a disk that is really full shuts JetStream down as a whole. So the
//! store of the server gets a fixed size, computed once and kept in a file, and each stream a share of it. It grows when the disk does.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use rustix::fs::statvfs;
use serde::{Deserialize, Serialize};
use waybill_log::jetstream::StreamSize;

use crate::secrets::write_private;

const MIB: u64 = 1 << 20;
/// Of what is free and what the folder uses already, in percent, for the streams. Read models of as many tasks take about half as much
/// as their events, and twice that while they are rebuilt.
const LOG_PERCENT: u64 = 60;
/// Smallest store that the streams can work with, in bytes.
const LEAST_STORE: u64 = 96 * MIB;
/// What must be free at a start: the server writes as soon as it runs.
const LEAST_FREE: u64 = 8 * MIB;
/// Creations stop when the disk has less than this part of it free, or less than `KEPT_FREE`; whoever uses it.
const KEPT_PART: u64 = 50;
const KEPT_FREE: u64 = 24 * MIB;
/// The store grows when it would become larger by this part at least.
const WORTH_GROWING: u64 = 10;

/// Shares of the store, in percent, and the least that a stream gets. What is for ever or must never be refused gets more than it ever
/// needs. The sum leaves 6 percent, from which such a stream gets more when it has used half of its share.
const SHARES: [(&str, u64, u64); 9] = [
    ("CONTROL", 8, 8 * MIB),
    ("VKEYS", 6, 4 * MIB),
    ("AUDITCP", 2, 2 * MIB),
    ("FENCE", 3, 4 * MIB),
    ("KV_owners", 2, 2 * MIB),
    ("USAGE", 3, 2 * MIB),
    ("OBJ_snapshots", 12, 8 * MIB),
    ("MAIL", 2, 2 * MIB),
    ("CAPTURES", 4, 2 * MIB),
];
/// TASKS' share, in percent, and the least that it gets.
const TASKS_PERCENT: u64 = 52;
const LEAST_TASKS: u64 = 16 * MIB;
/// Streams that are never emptied: they are raised at half.
const KEPT_FOR_EVER: [&str; 3] = ["CONTROL", "VKEYS", "AUDITCP"];
/// Raised at half as well: full, it stores no lease for up to an hour. It is for what is still free after the others had their turn,
/// and half of that stays for them: whoever may write to it must not take what CONTROL may need.
const FENCE: &str = "FENCE";

/// The store of the private nats-server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Store {
    /// JetStream's `max_file_store`, in bytes.
    pub max_file_store: u64,
}

/// The disk below a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Disk {
    /// Bytes that this user may still write.
    pub free: u64,
    /// All of its bytes.
    pub total: u64,
}

impl Disk {
    /// Below a folder.
    pub(crate) fn of(folder: &Path) -> anyhow::Result<Self> {
        let stat = statvfs(folder).with_context(|| folder.display().to_string())?;
        Ok(Self {
            free: stat.f_bavail.saturating_mul(stat.f_frsize),
            total: stat.f_blocks.saturating_mul(stat.f_frsize),
        })
    }

    /// Sets the gauges of the disk.
    #[expect(clippy::cast_precision_loss, reason = "gauges of bytes")]
    pub(crate) fn export(self) {
        metrics::gauge!("waybill_disk_free_bytes").set(self.free as f64);
        metrics::gauge!("waybill_disk_total_bytes").set(self.total as f64);
    }

    /// What stays free: below it creations stop, while ends, revocations and read models go on.
    pub(crate) fn kept(self) -> u64 {
        (self.total / KEPT_PART).max(KEPT_FREE)
    }
}

impl Store {
    /// The size that was chosen at the first start, or that the disk allows now. `configured`: the operator's size, in bytes.
    pub(crate) fn at(data: &Path, configured: Option<u64>) -> anyhow::Result<Self> {
        let disk = Disk::of(data)?;
        ensure!(
            disk.free >= LEAST_FREE,
            "the disk of {} is full: {} MiB are free, and nats-server needs {} MiB to start; make room there",
            data.display(),
            disk.free / MIB,
            LEAST_FREE / MIB
        );
        if let Some(max_file_store) = configured {
            let store = Self { max_file_store };
            store.save(data)?;
            return Ok(store);
        }
        if let Ok(text) = fs::read(Self::file(data)) {
            let file = Self::file(data);
            return serde_json::from_slice(&text).with_context(|| file.display().to_string());
        }
        let store = Self::allowed(data, disk);
        ensure!(
            store.max_file_store >= LEAST_STORE,
            "the disk of {} is too small: {} MiB are free or used by Waybill, and at least {} MiB are needed; \
             use another folder, or set up.max_file_store_mib to use more of it than is safe",
            data.display(),
            store.max_file_store * 100 / LOG_PERCENT / MIB,
            (LEAST_STORE * 100 / LOG_PERCENT).div_ceil(MIB)
        );
        store.save(data)?;
        tracing::info!(
            mib = store.max_file_store / MIB,
            "the streams may take that much of the disk"
        );
        Ok(store)
    }

    /// Without a limit: for a server that only reads a backup back in, whatever limits its streams had.
    pub(crate) fn unbounded() -> Self {
        Self {
            max_file_store: i64::MAX.unsigned_abs(),
        }
    }

    /// A larger one, where the disk has grown since this one was decided.
    pub(crate) fn grown(self, data: &Path) -> anyhow::Result<Option<Self>> {
        let next = Self::allowed(data, Disk::of(data)?);
        let worth = self.max_file_store + self.max_file_store / WORTH_GROWING;
        if next.max_file_store < worth {
            return Ok(None);
        }
        next.save(data)?;
        Ok(Some(next))
    }

    /// What the disk allows: a part of what is free and what the folder uses already.
    fn allowed(data: &Path, disk: Disk) -> Self {
        let ours = disk.free.saturating_add(used(data));
        Self {
            max_file_store: ours / 100 * LOG_PERCENT,
        }
    }

    fn save(self, data: &Path) -> anyhow::Result<()> {
        let file = Self::file(data);
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        }
        write_private(&file, &serde_json::to_vec(&self)?)
    }

    fn file(data: &Path) -> PathBuf {
        data.join("nats/store.json")
    }

    /// What each stream should be able to take, given how full it is. `tasks_configured`: the operator limits TASKS.
    pub(crate) fn shares(self, sizes: &[StreamSize], tasks_configured: bool) -> Vec<(String, u64)> {
        let used = |stream: &str| {
            let size = sizes.iter().find(|size| size.stream == stream);
            size.map_or(0, |size| size.bytes)
        };
        let limit = |stream: &str| {
            let size = sizes.iter().find(|size| size.stream == stream);
            size.and_then(|size| size.max_bytes).unwrap_or(0)
        };
        let percent = |part: u64| self.max_file_store / 100 * part;
        let mut shares: Vec<(String, u64)> = SHARES
            .iter()
            .map(|(stream, part, least)| {
                // What was raised already counts as it is.
                let share = percent(*part).max(*least).max(limit(stream));
                ((*stream).to_owned(), share.max(used(stream) * 2))
            })
            .collect();
        if !tasks_configured {
            let others: u64 = shares.iter().map(|(_, share)| share).sum();
            let left = self.max_file_store.saturating_sub(others);
            let share = percent(TASKS_PERCENT).min(left).max(LEAST_TASKS);
            shares.push(("TASKS".to_owned(), share));
        }
        shares
    }

    /// Which streams should get more: those that are for ever, and FENCE, when they are half full, as long as the store has something
    /// that no stream has.
    pub(crate) fn raises(self, sizes: &[StreamSize]) -> Vec<(String, u64)> {
        let given: u64 = sizes.iter().filter_map(|size| size.max_bytes).sum();
        let mut left = self.max_file_store.saturating_sub(given);
        let mut raises = Vec::new();
        let of_fence = |size: &&StreamSize| size.stream == FENCE;
        let for_ever = |size: &&StreamSize| KEPT_FOR_EVER.contains(&size.stream.as_str());
        let in_turn = sizes.iter().filter(for_ever);
        for size in in_turn.chain(sizes.iter().filter(of_fence)) {
            let Some(limit) = size.max_bytes else {
                continue;
            };
            let most = if of_fence(&size) { left / 2 } else { left };
            let more = limit.min(most);
            if size.bytes > limit / 2 && more > limit / 10 {
                left -= more;
                raises.push((size.stream.clone(), limit + more));
            }
        }
        raises
    }
}

/// Bytes that the files below a folder take on the disk. Files that vanish meanwhile count as empty.
fn used(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else {
        return 0;
    };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => used(&entry.path()),
            Ok(metadata) => metadata.blocks() * 512,
            Err(_) => 0,
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(stream: &str, bytes: u64, max_bytes: Option<u64>) -> StreamSize {
        StreamSize {
            stream: stream.to_owned(),
            bytes,
            max_bytes,
        }
    }

    #[test]
    fn shares_fit_the_store_and_leave_something_to_give() {
        for mib in [96, 128, 600, 10_000, 2_000_000] {
            let store = Store {
                max_file_store: mib * MIB,
            };
            let shares = store.shares(&[], false);
            let sum: u64 = shares.iter().map(|(_, share)| share).sum();
            assert!(sum < store.max_file_store, "{mib} MiB: {shares:?}");
            let tasks = shares.iter().find(|(stream, _)| stream == "TASKS");
            let tasks = tasks.expect("TASKS has a share").1;
            assert!(tasks >= store.max_file_store / 2, "{mib} MiB: {tasks}");
        }
    }

    #[test]
    fn a_stream_that_has_more_than_its_share_keeps_room_to_grow() {
        let store = Store {
            max_file_store: 600 * MIB,
        };
        let shares = store.shares(&[size("CONTROL", 100 * MIB, None)], false);
        assert!(shares.contains(&("CONTROL".to_owned(), 200 * MIB)));
        let sum: u64 = shares.iter().map(|(_, share)| share).sum();
        assert!(sum <= store.max_file_store);
    }

    #[test]
    fn what_is_for_ever_gets_more_at_half_as_long_as_there_is_some() {
        let store = Store {
            max_file_store: 100 * MIB,
        };
        let of = |bytes, tasks| {
            let sizes = [
                size("CONTROL", bytes, Some(8 * MIB)),
                size("KV_owners", 8 * MIB, Some(8 * MIB)),
                size("TASKS", 0, Some(tasks)),
            ];
            store.raises(&sizes)
        };
        assert_eq!(of(3 * MIB, 50 * MIB), []);
        assert_eq!(of(5 * MIB, 50 * MIB), [("CONTROL".to_owned(), 16 * MIB)]);
        assert_eq!(of(5 * MIB, 80 * MIB), [("CONTROL".to_owned(), 12 * MIB)]);
        assert_eq!(of(5 * MIB, 84 * MIB), [], "nothing is left to give");
    }

    #[test]
    fn fence_gets_more_at_half_and_leaves_something_to_those_that_are_for_ever() {
        let store = Store {
            max_file_store: 100 * MIB,
        };
        let of = |control, fence, tasks| {
            let sizes = [
                size("FENCE", fence, Some(4 * MIB)),
                size("CONTROL", control, Some(8 * MIB)),
                size("TASKS", 0, Some(tasks)),
            ];
            store.raises(&sizes)
        };
        let raised = |stream: &str, mib| (stream.to_owned(), mib * MIB);
        assert_eq!(of(0, 2 * MIB, 50 * MIB), [], "half is enough");
        assert_eq!(of(0, 3 * MIB, 50 * MIB), [raised("FENCE", 8)]);
        assert_eq!(
            of(0, 3 * MIB, 84 * MIB),
            [raised("FENCE", 6)],
            "of 4 MiB that are left it takes half"
        );
        assert_eq!(
            of(5 * MIB, 3 * MIB, 78 * MIB),
            [raised("CONTROL", 16), raised("FENCE", 5)],
            "CONTROL first, though FENCE is named before it"
        );
    }

    #[test]
    fn the_size_of_the_store_is_decided_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let data = folder.path();
        let first = Store::at(data, None).expect("this machine has room");
        fs::write(data.join("large"), vec![1; 1 << 20]).expect("written");
        assert_eq!(Store::at(data, None).expect("stored"), first);
        assert_eq!(first.grown(data).expect("a disk"), None);
        let small = Store {
            max_file_store: 5 * MIB,
        };
        let grown = small.grown(data).expect("a disk").expect("more room");
        assert_eq!(Store::at(data, None).expect("stored"), grown);
        let set = Store::at(data, Some(7 * MIB)).expect("as configured");
        assert_eq!(set.max_file_store, 7 * MIB);
    }
}
