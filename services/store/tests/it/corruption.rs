//! Flipped and missing bytes in every file of a store: it is wiped, refuses to be used, or is
//! correct. Never a panic that reaches the caller, and never rows that contradict their checkpoint.
//!
//! Each damaged store is opened in a process of its own. Some damage makes fjall end the process by
//! a panic within a panic; the store must recover from that too, in the third process at the
//! latest.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    time::{Duration, Instant},
};

use waybill_store::{Batch, Engine, KeyRange, OpenReason, Store, StoreError, WipeReason};

use crate::fixture::{BY_TEAM, a_store, checkpoint_equals_rows, fill, open};

const SYNCED: u64 = 1_000;
const ROWS: u64 = 1_200;

/// fjall's stores are large before they have more than a journal, so there are fewer trials.
fn trials_of(engine: Engine) -> u64 {
    match engine {
        Engine::Sled | Engine::Memory => 40,
        Engine::Fjall => 16,
    }
}

/// Rows that only take space, until fjall has written files besides its journal.
const FILLER_ROWS: u64 = 600;
const FILLER_BYTES: usize = 64 * 1024;

#[derive(Clone, Copy, Debug)]
enum Harm {
    Flip,
    Truncate,
}

/// splitmix64: repeatable damage, whose seed is in every failure message.
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

/// Compresses well, so that copies are cheap and few bytes on disk are meaningless.
fn filler_value(row: u64) -> Vec<u8> {
    Dice(row).roll().to_le_bytes().repeat(FILLER_BYTES / 8)
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

/// Damages one non-empty file, and describes how.
fn harm(dir: &Path, kind: Harm, dice: &mut Dice) -> String {
    let files: Vec<_> = files_below(dir)
        .into_iter()
        .map(|path| (fs::metadata(&path).expect("read").len(), path))
        .filter(|(length, _)| *length > 0)
        .collect();
    // A random file or a random byte: small files matter much, large ones have the rows.
    let chosen = match dice.below(2) {
        0 => dice.below(files.len()),
        _ => {
            let total: u64 = files.iter().map(|(length, _)| length).sum();
            let byte = dice.roll() % total;
            let mut end = 0;
            files
                .iter()
                .position(|(length, _)| {
                    end += length;
                    byte < end
                })
                .expect("the byte is in one of them")
        }
    };
    let path = &files[chosen].1;
    let mut bytes = fs::read(path).expect("read");
    // Journals are preallocated, so half of the damage goes to the part in use.
    let used = bytes
        .rchunks(4096)
        .position(|page| page != &[0; 4096][..page.len()])
        .map_or(1, |zeros| bytes.len() - zeros * 4096);
    let place = match dice.below(2) {
        0 => dice.below(used),
        _ => dice.below(bytes.len()),
    };
    match kind {
        Harm::Flip => bytes[place] ^= 1 << dice.below(8),
        Harm::Truncate => bytes.truncate(place),
    }
    let length = bytes.len();
    fs::write(path, bytes).expect("written");
    format!(
        "{kind:?} at {place}, now {length} bytes, {}",
        path.display()
    )
}

const DIR: &str = "WAYBILL_STORE_HARMED_DIR";
const ENGINE: &str = "WAYBILL_STORE_HARMED_ENGINE";

/// Not a test of its own: opens and reads a damaged store as a projector would, and writes down
/// what it found.
#[test]
#[ignore = "the child process of the tests below"]
fn the_reader_of_a_harmed_store() {
    let Some(dir) = env::var_os(DIR) else { return };
    let dir = Path::new(&dir);
    let engine = match env::var(ENGINE).as_deref() {
        Ok("sled") => Engine::Sled,
        _ => Engine::Fjall,
    };
    let outcome = read_harmed(engine, dir);
    fs::write(dir.join("OUTCOME"), outcome).expect("written");
}

fn read_harmed(engine: Engine, dir: &Path) -> &'static str {
    let opened = open(engine, dir);
    if opened.reason != OpenReason::Resumed {
        assert_eq!(checkpoint_equals_rows(&opened.store), Ok(0));
        return "wiped";
    }
    let read = checkpoint_equals_rows(&opened.store)
        .and_then(|seq| filler_is_right(&opened.store).map(|()| seq));
    match read {
        Ok(ROWS) => "unharmed",
        Ok(seq) => {
            assert!(seq < ROWS);
            "older"
        }
        Err(StoreError::Poisoned { .. }) => {
            drop(opened);
            let again = open(engine, dir);
            assert!(
                matches!(again.reason, OpenReason::Wiped(WipeReason::Corrupt(_))),
                "{:?}",
                again.reason
            );
            assert_eq!(checkpoint_equals_rows(&again.store), Ok(0));
            fill(&again.store, 1..=3);
            "out of use"
        }
        Err(other) => panic!("{other}"),
    }
}

fn read_in_a_process(engine: Engine, dir: &Path) -> (ExitStatus, String) {
    let output = Command::new(env::current_exe().expect("this test's binary"))
        .args(["--ignored", "--exact", "--nocapture"])
        .arg("corruption::the_reader_of_a_harmed_store")
        .env(DIR, dir)
        .env(ENGINE, engine.to_string())
        .output()
        .expect("the reader starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status, said)
}

type Outcomes = BTreeMap<String, u32>;

fn trials(engine: Engine, kind: Harm) -> Outcomes {
    let (original, store) = a_store(engine);
    if engine == Engine::Fjall {
        fill_with_filler(&store);
    }
    fill(&store, 1..=SYNCED);
    store.sync().expect("the store syncs");
    fill(&store, SYNCED + 1..=ROWS);
    drop(store);
    let mut outcomes = Outcomes::new();
    for seed in 0..trials_of(engine) {
        let copy = copy_of(original.path());
        let what = harm(copy.path(), kind, &mut Dice(seed));
        let mut deaths = 0;
        let said = loop {
            let (status, said) = read_in_a_process(engine, copy.path());
            // A failed assertion ends with an exit code; only an abort has none.
            if status.code().is_some() || deaths == 2 {
                assert!(status.success(), "{engine}, seed {seed}: {what}\n{said}");
                break fs::read_to_string(copy.path().join("OUTCOME")).expect("it was written");
            }
            deaths += 1;
        };
        let outcome = match deaths {
            0 => said,
            _ => format!("{said} after {deaths} deaths"),
        };
        *outcomes.entry(outcome).or_default() += 1;
    }
    outcomes
}

/// Otherwise the damage had no effect, and the trials showed nothing.
fn harm_was_seen(outcomes: &Outcomes) -> bool {
    outcomes.keys().any(|outcome| outcome != "unharmed")
}

#[test]
fn sled_with_flipped_bits_is_wiped_or_right() {
    let outcomes = trials(Engine::Sled, Harm::Flip);
    eprintln!("sled, flipped: {outcomes:?}");
    assert!(harm_was_seen(&outcomes), "{outcomes:?}");
    assert!(
        !outcomes.contains_key("out of use"),
        "every row was read while opening"
    );
}

#[test]
fn sled_with_missing_bytes_is_wiped_or_right() {
    let outcomes = trials(Engine::Sled, Harm::Truncate);
    eprintln!("sled, truncated: {outcomes:?}");
    assert!(harm_was_seen(&outcomes), "{outcomes:?}");
}

#[test]
fn fjall_with_flipped_bits_is_wiped_or_out_of_use_or_right() {
    let outcomes = trials(Engine::Fjall, Harm::Flip);
    eprintln!("fjall, flipped: {outcomes:?}");
    assert!(harm_was_seen(&outcomes), "{outcomes:?}");
}

#[test]
fn fjall_with_missing_bytes_is_wiped_or_out_of_use_or_right() {
    let outcomes = trials(Engine::Fjall, Harm::Truncate);
    eprintln!("fjall, truncated: {outcomes:?}");
    assert!(harm_was_seen(&outcomes), "{outcomes:?}");
}

#[test]
fn corrupt_rows_are_set_aside_once_and_dropped_by_the_next_clean_open() {
    let (dir, store) = a_store(Engine::Sled);
    fill(&store, 1..=500);
    drop(store);
    let conf = dir.path().join("rows/conf");
    let mut bytes = fs::read(&conf).expect("read");
    bytes[0] ^= 1;
    fs::write(&conf, bytes).expect("written");
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

/// What sled's own checks cannot detect: rows that are intact, but not from the same moment.
/// sled gives its lock back only when its own threads have ended, a moment after the store is dropped.
fn opened_when_unlocked(path: &Path) -> sled::Db {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        match sled::open(path) {
            Err(sled::Error::Io(error)) if Instant::now() < deadline => {
                assert!(error.to_string().contains("lock"), "{error}");
                std::thread::yield_now();
            }
            opened => return opened.expect("sled opens"),
        }
    }
}

#[test]
fn a_row_that_sled_changed_alone_breaks_the_seal() {
    let (dir, store) = a_store(Engine::Sled);
    fill(&store, 1..=50);
    drop(store);
    let rows = opened_when_unlocked(&dir.path().join("rows"));
    let latest = [&[1][..], b"latest"].concat();
    let before = rows
        .insert(latest, &49_u64.to_be_bytes())
        .expect("inserted");
    assert_eq!(before.as_deref(), Some(&50_u64.to_be_bytes()[..]));
    rows.flush().expect("flushed");
    drop(rows);
    let opened = open(Engine::Sled, dir.path());
    assert!(
        matches!(&opened.reason, OpenReason::Wiped(WipeReason::Corrupt(why)) if why.contains("seal")),
        "{:?}",
        opened.reason
    );
}
