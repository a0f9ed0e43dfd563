//! The machine's clock jumps while the binary runs: lengths of time stay what they are.
//!
//! libfaketime stands between the binary and its wall clock; the monotonic clock and the nats-server keep the true time.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::json;
use waybill_domain::time::Timestamp;
use waybill_sink::{Plan, Sink, SinkOptions};

use crate::installation::Installation;
use crate::process::PATIENCE;

/// How far the clock jumps, in seconds.
const JUMP: i64 = 3_600;

/// Debian's `libfaketime`. Where there can be none, the test says so and is over.
fn library() -> Option<PathBuf> {
    let known = std::fs::read_dir("/usr/lib").ok()?;
    let found = known
        .flatten()
        .map(|folder| folder.path().join("faketime/libfaketimeMT.so.1"))
        .find(|path| path.exists());
    let is_debian = Path::new("/etc/debian_version").exists();
    assert!(
        found.is_some() || !is_debian,
        "libfaketime is missing, without which no test lets the clock of the binary jump: run ops/test, which installs it, or \
         apt-get install libfaketime"
    );
    if found.is_none() {
        eprintln!(
            "SKIPPED: libfaketime is missing, so the clock of the binary did not jump in any test"
        );
    }
    found
}

/// The wall clock of the processes of an installation.
struct WallClock {
    offset: PathBuf,
}

impl WallClock {
    fn of(installation: &mut Installation, library: &Path) -> Result<Self> {
        let clock = Self {
            offset: installation.path().join("offset"),
        };
        clock.set(0)?;
        for (name, value) in [
            ("LD_PRELOAD", library),
            ("FAKETIME_TIMESTAMP_FILE", &clock.offset),
            ("FAKETIME_NO_CACHE", Path::new("1")),
            // Two names, as of two versions of the library.
            ("FAKETIME_DONT_FAKE_MONOTONIC", Path::new("1")),
            ("DONT_FAKE_MONOTONIC", Path::new("1")),
        ] {
            installation.set(name, value.to_str().context("a path in UTF-8")?);
        }
        Ok(clock)
    }

    /// By so many seconds it is wrong from now on.
    fn set(&self, seconds: i64) -> Result<()> {
        // Renamed into place: the processes read it at every look at their clock.
        let beside = self.offset.with_extension("new");
        std::fs::write(&beside, format!("{seconds:+}\n"))?;
        std::fs::rename(&beside, &self.offset)?;
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_jumps_neither_holds_retries_nor_ends_tasks() -> Result<()> {
    let Some(library) = library() else {
        return Ok(());
    };
    let (mut installation, key) = Installation::with_key()?;
    let clock = WallClock::of(&mut installation, &library)?;
    // Each task fails once and then succeeds.
    let options = SinkOptions {
        script: Some(std::sync::Arc::new(|received| {
            let attempt = received.headers.get("waybill-attempt");
            (attempt.is_some_and(|attempt| attempt == "1")).then(|| Plan {
                status: Some(http::StatusCode::SERVICE_UNAVAILABLE),
                ..Plan::default()
            })
        })),
        ..SinkOptions::default()
    };
    let sink = Sink::start(([127, 0, 0, 1], 0).into(), options).await?;
    let up = installation.up().await?;
    let http = up.http(&key);
    let task = |path: &str| json!({"targetUrl": sink.url(path), "maxRetries": 1, "maxWaitTime": 30, "expiresIn": "60s"});
    for jump in [-JUMP, JUMP] {
        clock.set(0)?;
        let id = http.create(&task("/once")).await?;
        let failed = |task: &serde_json::Value| {
            task["attempts"].as_array().map(Vec::len) == Some(1) && task["status"] != "processing"
        };
        http.task_when(&id, failed).await?;
        let jumped = Instant::now();
        clock.set(jump)?;
        // Held for an hour, or ended as a timeout, by a dispatcher that reckons with dates.
        let done = http.completed(&id).await?;
        assert_eq!(done["status"], "completed", "{jump}: {done}");
        assert!(
            jumped.elapsed() < PATIENCE,
            "{jump}: {:?}",
            jumped.elapsed()
        );
        // The clock of the binary did jump.
        let seen = http.create(&task("/after")).await?;
        let seen = http.task(&seen).await?;
        let created = seen["createdAt"]
            .as_str()
            .and_then(Timestamp::parse_rfc3339);
        let created = created.context("createdAt")?.0;
        let now = i64::try_from(std::time::SystemTime::UNIX_EPOCH.elapsed()?.as_millis())?;
        let off = created - now - 1000 * jump;
        assert!(off.abs() < 60_000, "{jump}: {off} ms");
    }
    up.interrupt().await?;
    Ok(())
}

/// A date is by the clock of the wall: a task for half an hour from now is due when the clock has been put forward by an hour.
#[tokio::test(flavor = "multi_thread")]
async fn a_date_comes_when_the_clock_says_so() -> Result<()> {
    let Some(library) = library() else {
        return Ok(());
    };
    let (mut installation, key) = Installation::with_key()?;
    let clock = WallClock::of(&mut installation, &library)?;
    let sink = Sink::start(([127, 0, 0, 1], 0).into(), SinkOptions::default()).await?;
    let up = installation.up().await?;
    let http = up.http(&key);
    let now = Timestamp(i64::try_from(
        std::time::SystemTime::UNIX_EPOCH.elapsed()?.as_millis(),
    )?);
    let due = now.plus(Duration::from_secs(1_800)).to_rfc3339();
    let id = http
        .create(&json!({"targetUrl": sink.url("/later"), "delayUntil": due}))
        .await?;
    assert_eq!(http.task(&id).await?["status"], "delayed");
    clock.set(JUMP)?;
    http.completed(&id).await?;
    up.interrupt().await?;
    Ok(())
}
