//! Flipped and missing bytes in every file of a store: it is wiped, or it says that it is out of use, or it is right.
//! Never a panic that reaches the caller, never rows that disagree with their checkpoint.

use std::{
    fs,
    path::{Path, PathBuf},
};

use waybill_store::{Batch, Engine, KeyRange, OpenReason, Store, StoreError, Verify, WipeReason};

use crate::fixture::{BY_TEAM, a_store, checkpoint_equals_rows, fill, open, options};

const SYNCED: u64 = 1_000;
const ROWS: u64 = 1_200;
const TRIALS: u64 = 40;

/// Rows that only take space, until fjall has written files as well as its journal.
const FILLER_ROWS: u64 = 9_000;
const FILLER_BYTES: usize = 4_096;

#[derive(Clone, Copy, Debug)]
enum Harm {
    Flip,
    Truncate,
}

/// splitmix64: repeatable harm, whose seed is in every failure message.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.roll() % end.max(1) as u64).expect("it was a usize")
    }
}

fn filler_value(row: u64) -> Vec<u8> {
    let mut dice = Dice(row);
    std::iter::repeat_with(|| dice.roll().to_le_bytes())
        .take(FILLER_BYTES / 8)
        .flatten()
        .collect()
}

fn fill_with_filler(store: &Store) {
    for first in (0..FILLER_ROWS).step_by(100) {
        let mut batch = Batch::new();
        for row in first..first + 100 {
            let key = [&b"filler"[..], &row.to_be_bytes()].concat();
            batch.put(BY_TEAM, key, filler_value(row));
        }
        store.apply(batch).expect("the batch applies");
    }
}

fn filler_is_right(store: &Store) -> Result<(), StoreError> {
    let view = store.view()?;
    for row in view.range(BY_TEAM, &KeyRange::prefix(b"filler"))? {
        let (key, value) = row?;
        let number = key.last_chunk::<8>().expect("a number ends the key");
        assert_eq!(
            value,
            filler_value(u64::from_be_bytes(*number)),
            "a wrong value"
        );
    }
    Ok(())
}

fn files_below(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files.extend(files_below(&path));
        } else {
            files.push(path);
        }
    }
    files.sort();
    files
}

fn copy_of(from: &Path) -> tempfile::TempDir {
    let to = tempfile::tempdir().expect("a temporary directory");
    copy_into(from, to.path());
    to
}

fn copy_into(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).expect("a directory") {
        let path = entry.expect("an entry").path();
        let target = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            fs::create_dir_all(&target).expect("created");
            copy_into(&path, &target);
        } else {
            fs::copy(&path, &target).expect("copied");
        }
    }
}

/// Harms one file that has something in it; says what it did.
fn harm(dir: &Path, kind: Harm, dice: &mut Dice) -> String {
    let files: Vec<_> = files_below(dir)
        .into_iter()
        .map(|path| (fs::read(&path).expect("read"), path))
        .filter(|(bytes, _)| !bytes.is_empty())
        .collect();
    let (mut bytes, path) = files[dice.below(files.len())].clone();
    // Journals are allocated ahead: half of the harm goes to the part that is in use.
    let used = bytes
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(1, |last| last + 1);
    let place = match dice.below(2) {
        0 => dice.below(used),
        _ => dice.below(bytes.len()),
    };
    match kind {
        Harm::Flip => bytes[place] ^= 1 << dice.below(8),
        Harm::Truncate => bytes.truncate(place),
    }
    let length = bytes.len();
    fs::write(&path, bytes).expect("written");
    format!(
        "{kind:?} at {place}, now {length} bytes, {}",
        path.display()
    )
}

#[derive(Debug, Default)]
struct Outcomes {
    wiped: u32,
    out_of_use: u32,
    unharmed: u32,
    older: u32,
}

/// One harmed store, read as a projector would.
fn trial(engine: Engine, verify: Verify, dir: &Path, outcomes: &mut Outcomes) {
    let opened = options(engine)
        .verify(verify)
        .open(dir)
        .expect("the ladder ends in a store");
    match opened.reason {
        OpenReason::Fresh | OpenReason::Wiped(_) => {
            assert_eq!(checkpoint_equals_rows(&opened.store), Ok(0));
            outcomes.wiped += 1;
        }
        OpenReason::Resumed => {
            let read = checkpoint_equals_rows(&opened.store)
                .and_then(|seq| filler_is_right(&opened.store).map(|()| seq));
            match read {
                Ok(ROWS) => outcomes.unharmed += 1,
                Ok(seq) => {
                    assert!(seq < ROWS);
                    outcomes.older += 1;
                }
                Err(StoreError::Poisoned { .. }) => {
                    outcomes.out_of_use += 1;
                    drop(opened);
                    let again = open(engine, dir);
                    assert!(
                        matches!(again.reason, OpenReason::Wiped(WipeReason::Corrupt(_))),
                        "{:?}",
                        again.reason
                    );
                    assert_eq!(checkpoint_equals_rows(&again.store), Ok(0));
                    fill(&again.store, 1..=3);
                    return;
                }
                Err(other) => panic!("{other}"),
            }
        }
    }
}

fn trials(engine: Engine, verify: Verify, kind: Harm) -> Outcomes {
    let (original, store) = a_store(engine);
    if engine == Engine::Fjall {
        fill_with_filler(&store);
    }
    fill(&store, 1..=SYNCED);
    store.sync().expect("the store syncs");
    fill(&store, SYNCED + 1..=ROWS);
    drop(store);
    let mut outcomes = Outcomes::default();
    for seed in 0..TRIALS {
        let copy = copy_of(original.path());
        let what = harm(copy.path(), kind, &mut Dice(seed));
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            trial(engine, verify, copy.path(), &mut outcomes);
        }));
        assert!(outcome.is_ok(), "{engine}, seed {seed}: {what}");
    }
    outcomes
}

#[test]
fn sled_with_flipped_bits_is_wiped_or_right() {
    let outcomes = trials(Engine::Sled, Verify::EveryRow, Harm::Flip);
    eprintln!("sled, flipped: {outcomes:?}");
    assert!(outcomes.wiped > 0, "{outcomes:?}");
    assert_eq!(outcomes.out_of_use, 0, "every row was read while opening");
}

#[test]
fn sled_with_missing_bytes_is_wiped_or_right() {
    let outcomes = trials(Engine::Sled, Verify::EveryRow, Harm::Truncate);
    eprintln!("sled, truncated: {outcomes:?}");
    assert!(outcomes.wiped > 0, "{outcomes:?}");
}

#[test]
fn fjall_with_flipped_bits_is_wiped_or_out_of_use_or_right() {
    let outcomes = trials(Engine::Fjall, Verify::OnRead, Harm::Flip);
    eprintln!("fjall, flipped: {outcomes:?}");
    assert!(outcomes.wiped > 0, "{outcomes:?}");
}

#[test]
fn fjall_with_missing_bytes_is_wiped_or_out_of_use_or_right() {
    let outcomes = trials(Engine::Fjall, Verify::OnRead, Harm::Truncate);
    eprintln!("fjall, truncated: {outcomes:?}");
    assert!(outcomes.wiped > 0, "{outcomes:?}");
}

#[test]
fn corrupt_rows_are_set_aside_once_and_dropped_by_the_next_clean_open() {
    let (dir, store) = a_store(Engine::Sled);
    fill(&store, 1..=500);
    drop(store);
    let db = dir.path().join("rows/db");
    let bytes = fs::read(&db).expect("read");
    fs::write(&db, &bytes[..bytes.len() / 3]).expect("written");
    let opened = open(Engine::Sled, dir.path());
    assert!(
        matches!(opened.reason, OpenReason::Wiped(WipeReason::Corrupt(_))),
        "{:?}",
        opened.reason
    );
    fill(&opened.store, 1..=3);
    drop(opened);
    let aside = dir.path().join("rows.bad");
    assert!(aside.exists());
    let again = open(Engine::Sled, dir.path());
    assert_eq!(again.reason, OpenReason::Resumed);
    assert_eq!(checkpoint_equals_rows(&again.store), Ok(3));
    assert!(!aside.exists());
}
