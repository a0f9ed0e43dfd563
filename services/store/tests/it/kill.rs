//! `kill -9` in the middle of writing: a reopened store matches its checkpoint exactly, and is not
//! older than the last reported sync.

use std::{
    env,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use waybill_store::{Engine, OpenReason};

use crate::fixture::{ON_DISK, STREAM, checkpoint_equals_rows, numbered_batch, open};

const DIR: &str = "WAYBILL_STORE_KILL_DIR";
const ENGINE: &str = "WAYBILL_STORE_KILL_ENGINE";
const ROUNDS: u64 = 8;
const SYNC_EVERY: u64 = 20;

/// Not a test of its own: the process that is killed. It prints `synced N` after each sync, until
/// it dies.
#[test]
#[ignore = "the child process of the test below"]
fn the_writer_that_is_killed() {
    let Some(dir) = env::var_os(DIR) else { return };
    let engine = match env::var(ENGINE).as_deref() {
        Ok("sled") => Engine::Sled,
        _ => Engine::Fjall,
    };
    let opened = open(engine, Path::new(&dir));
    let from = opened
        .store
        .checkpoint(STREAM)
        .expect("a checkpoint")
        .map_or(0, |at| at.seq);
    let mut out = std::io::stdout().lock();
    // It ends by itself if nobody kills it.
    let deadline = Instant::now() + Duration::from_secs(20);
    for seq in from + 1.. {
        opened.store.apply(numbered_batch(seq)).expect("applies");
        if seq % SYNC_EVERY == 0 {
            opened.store.sync().expect("syncs");
            writeln!(out, "synced {seq}").expect("the parent listens");
            out.flush().expect("the parent listens");
            if Instant::now() > deadline {
                return;
            }
        }
    }
}

#[test]
fn after_a_kill_rows_and_checkpoint_agree_and_nothing_synced_is_lost() {
    for engine in ON_DISK {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut before = 0;
        for round in 0..ROUNDS {
            let synced = write_until_killed(engine, dir.path(), 5 + round * 7);
            let opened = open(engine, dir.path());
            assert_eq!(
                opened.reason,
                OpenReason::Resumed,
                "{engine}, round {round}"
            );
            let seq = checkpoint_equals_rows(&opened.store).expect("the store is good");
            assert!(
                seq >= synced,
                "{engine}, round {round}: synced {synced}, found {seq}"
            );
            assert!(seq >= before);
            before = seq;
        }
        assert!(before > 0);
    }
}

/// Lets the writer report some syncs, kills it at an arbitrary point, and returns the last sync
/// that it reported.
fn write_until_killed(engine: Engine, dir: &Path, syncs: u64) -> u64 {
    let mut child = Command::new(env::current_exe().expect("this test's binary"))
        .args(["--ignored", "--exact", "--nocapture"])
        .arg("kill::the_writer_that_is_killed")
        .env(DIR, dir)
        .env(ENGINE, engine.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the writer starts");
    let out = child.stdout.take().expect("its output is piped");
    let mut lines = BufReader::new(out).lines().map_while(Result::ok);
    let mut reported = lines
        .by_ref()
        .filter_map(|line| line.strip_prefix("synced ")?.parse().ok());
    let mut last = 0;
    for _ in 0..syncs {
        last = reported.next().expect("the writer reports");
    }
    child.kill().expect("the writer is killed");
    // Opened at once, while the kernel may still hold its locks.
    let last = reported.last().unwrap_or(last);
    child.wait().expect("the writer is gone");
    last
}
