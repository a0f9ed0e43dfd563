//! Stores for tests: the same trees on every engine, each store in a directory of its own.

use std::{path::Path, time::Duration};

use tempfile::TempDir;
use waybill_store::{
    Batch, Checkpoint, Engine, KeyRange, OpenOptions, OpenReason, Opened, Store, Tree,
};

pub(crate) const TASKS: Tree = Tree::new("tasks");
pub(crate) const BY_TEAM: Tree = Tree::new("tasks_by_team");
pub(crate) const STREAM: &str = "TASKS";

pub(crate) const ENGINES: [Engine; 3] = [Engine::Sled, Engine::Fjall, Engine::Memory];
pub(crate) const ON_DISK: [Engine; 2] = [Engine::Sled, Engine::Fjall];

pub(crate) fn options(engine: Engine) -> OpenOptions {
    OpenOptions::new(engine, 1, &[TASKS, BY_TEAM])
        .cache_bytes(4 * 1024 * 1024)
        .lock_wait(Duration::from_secs(10))
}

pub(crate) fn open(engine: Engine, dir: &Path) -> Opened {
    options(engine).open(dir).expect("the store opens")
}

/// A new store, and the directory that must outlive it.
pub(crate) fn a_store(engine: Engine) -> (TempDir, Store) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let opened = open(engine, dir.path());
    assert_eq!(opened.reason, OpenReason::Fresh);
    (dir, opened.store)
}

pub(crate) fn at(seq: u64) -> Checkpoint {
    Checkpoint {
        seq,
        incarnation: "first".to_owned(),
        fingerprint: None,
    }
}

/// Batches whose rows show which checkpoint they belong to: row `n` of both trees is written by the
/// batch that moves the checkpoint to `n`, and the row `latest` always equals it.
pub(crate) fn numbered_batch(seq: u64) -> Batch {
    let mut batch = Batch::new();
    batch
        .put(TASKS, seq.to_be_bytes(), value_of(seq))
        .put(BY_TEAM, [&b"team"[..], &seq.to_be_bytes()].concat(), [])
        .put(TASKS, *b"latest", seq.to_be_bytes())
        .checkpoint(STREAM, at(seq));
    batch
}

fn value_of(seq: u64) -> Vec<u8> {
    seq.to_le_bytes().repeat(16)
}

pub(crate) fn fill(store: &Store, seqs: std::ops::RangeInclusive<u64>) {
    for seq in seqs {
        store.apply(numbered_batch(seq)).expect("the batch applies");
    }
}

/// Checks that the rows match the checkpoint exactly, and returns it. A poisoned store comes back
/// as `Err`, which is acceptable; rows that differ from the checkpoint fail the test.
pub(crate) fn checkpoint_equals_rows(store: &Store) -> Result<u64, waybill_store::StoreError> {
    let view = store.view()?;
    let seq = view.checkpoint(STREAM)?.map_or(0, |found| {
        assert_eq!(found.incarnation, "first");
        found.seq
    });
    let mut expected = 0_u64;
    for row in view.range(TASKS, &KeyRange::all().before(b"latest"))? {
        let (key, value) = row?;
        expected += 1;
        assert_eq!(key, expected.to_be_bytes());
        assert_eq!(value, value_of(expected));
    }
    assert_eq!(expected, seq, "rows and checkpoint differ");
    let mut indexed = 0;
    for row in view.range(BY_TEAM, &KeyRange::prefix(b"team"))? {
        row?;
        indexed += 1;
    }
    assert_eq!(indexed, seq, "the index and the checkpoint differ");
    let latest = view.get(TASKS, b"latest")?;
    let expected_latest = (seq > 0).then(|| seq.to_be_bytes().to_vec());
    assert_eq!(
        latest, expected_latest,
        "the overwritten row is of another batch"
    );
    Ok(seq)
}
