//! A `waybill up` that runs out of room: it refuses what is new, drains what it has, and uses what is given back.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use http::StatusCode;
use rustix::process::Signal;
use serde_json::{Value, json};
use waybill_domain::time::Timestamp;
use waybill_sink::{Sink, SinkOptions};
use waybill_testkit::eventually;
use waybill_testkit::http::Http;

use crate::installation::{Installation, runs};
use crate::process::{PATIENCE, Whom};

/// Time in which the log is filled before its tasks are due.
const DUE_IN: Duration = Duration::from_secs(8);
/// Size of the disk that is really filled.
const DISK_MIB: u64 = 512;

fn due(within: Duration) -> Result<String> {
    let at = std::time::SystemTime::now() + within;
    let at = at.duration_since(std::time::UNIX_EPOCH)?;
    Ok(Timestamp(i64::try_from(at.as_millis())?).to_rfc3339())
}

/// A second key, and what revokes it.
async fn short_lived(http: &Http) -> Result<(String, String)> {
    let own = http.get("/v1/key").await?.json()["apiKey"].clone();
    let team = own["teamId"].as_str().context("a team")?;
    let path = format!("/teams/{team}/apikeys");
    let made = http.post(&path, &json!({"name": "short-lived"})).await?;
    let made = made.json()["apiKey"].clone();
    let text = |field: &str| made[field].as_str().map(str::to_owned).context("a text");
    Ok((text("key")?, text("id")?))
}

async fn revoke(http: &Http, (key, id): &(String, String)) -> Result<()> {
    let path = format!("/apikeys/{id}/revoke");
    let revoked = http.post(&path, &json!({})).await?;
    assert_eq!(revoked.status, StatusCode::OK, "{}", revoked.text());
    let refused = http.with_key(key).get("/v1/key").await?;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_log_refuses_drains_and_accepts_again() -> Result<()> {
    let (mut installation, key) = Installation::with_key()?;
    installation.set("WAYBILL__NATS__STREAMS__TASKS_MAX_BYTES", "600000");
    let sink = Sink::start(([127, 0, 0, 1], 0).into(), SinkOptions::default()).await?;
    let up = installation.up().await?;
    let http = up.http(&key);
    let revocable = short_lived(&http).await?;
    installation.keep_secret(&revocable.0);
    let task =
        json!({"targetUrl": sink.url("/"), "delayUntil": due(DUE_IN)?, "body": "x".repeat(500)});
    let mut accepted = Vec::new();
    let refused = loop {
        let answer = http.post("/v1/tasks", &task).await?;
        if answer.status != StatusCode::CREATED {
            break answer;
        }
        accepted.push(answer.task()["id"].as_str().context("an id")?.to_owned());
    };
    assert_eq!(refused.code(), "log_full", "{}", refused.text());
    assert!(accepted.len() > 20, "{}", accepted.len());
    // Full, and still: keys can be revoked, and a task can be cancelled.
    revoke(&http, &revocable).await?;
    let last = accepted.pop().context("a task")?;
    let cancelled = http
        .post(&format!("/v1/tasks/{last}/cancel"), &json!({}))
        .await?;
    assert_eq!(cancelled.status, StatusCode::OK, "{}", cancelled.text());
    for id in &accepted {
        http.completed(id).await?;
    }
    // What is drained needs nothing any more.
    eventually(PATIENCE, async || {
        let again = http
            .post("/v1/tasks", &json!({"targetUrl": sink.url("/")}))
            .await;
        again.is_ok_and(|answer| answer.status == StatusCode::CREATED)
    })
    .await?;
    up.process.end(Signal::INT, Whom::Group).await?.succeeded();
    installation.nothing_leaked();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn ended_history_gives_way_before_creations_are_refused_for_good() -> Result<()> {
    let (mut installation, key) = Installation::with_key()?;
    installation.set("WAYBILL__NATS__STREAMS__TASKS_MAX_BYTES", "1000000");
    installation.set("WAYBILL__NATS__STREAMS__TASKS_MIN_HISTORY_S", "1");
    let sink = Sink::start(([127, 0, 0, 1], 0).into(), SinkOptions::default()).await?;
    let up = installation.up().await?;
    let http = up.http(&key);
    let task = json!({"targetUrl": sink.url("/"), "body": "x".repeat(20_000)});
    let mut newest = String::new();
    // Three times what the log may hold, though its events are to be kept for 30 days.
    for number in 0..150 {
        eventually(PATIENCE, async || {
            let Ok(answer) = http.post("/v1/tasks", &task).await else {
                return false;
            };
            if let Some(id) = answer.task()["id"].as_str() {
                newest = id.to_owned();
            }
            answer.status == StatusCode::CREATED
        })
        .await
        .with_context(|| format!("task {number} is accepted"))?;
    }
    http.completed(&newest).await?;
    sink.wait_for(150, PATIENCE).await?;
    up.process.end(Signal::INT, Whom::Group).await?.succeeded();
    installation.nothing_leaked();
    Ok(())
}

/// FENCE keeps what it has for an hour: without more room a busy hour, or a flood, would leave everybody without a lease.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_leases_that_is_half_full_gets_more_room_without_a_restart() -> Result<()> {
    let (mut installation, key) = Installation::with_key()?;
    // The least share: 4 MiB.
    installation.set("WAYBILL__UP__MAX_FILE_STORE_MIB", "100");
    let up = installation.up().await?;
    let http = up.http(&key);
    let server = installation.nats_pid().context("a server")?;
    let connection = fs::read(installation.data().join("nats/connection.json"))?;
    let connection: Value = serde_json::from_slice(&connection)?;
    let text = |field: &str| connection[field].as_str().map(str::to_owned);
    let (user, password) = (text("user"), text("password"));
    let nats = async_nats::ConnectOptions::new()
        .user_and_password(user.context("a user")?, password.context("a password")?)
        .connect(text("url").context("a url")?)
        .await?;
    let limit = async || {
        let info = nats.request("$JS.API.STREAM.INFO.FENCE", "".into()).await?;
        let info: Value = serde_json::from_slice(&info.payload)?;
        anyhow::Ok(info["config"]["max_bytes"].as_i64().unwrap_or(-1))
    };
    let before = limit().await?;
    assert_eq!(before, 4 << 20);
    for _ in 0..300 {
        let stored = nats.request("fence.worker.flood", vec![b'x'; 8_192].into());
        let stored: Value = serde_json::from_slice(&stored.await?.payload)?;
        assert!(stored["seq"].is_u64(), "{stored}");
    }
    eventually(PATIENCE, async || {
        limit().await.is_ok_and(|now| now > before)
    })
    .await?;
    let (again, id) = short_lived(&http).await?;
    installation.keep_secret(&again);
    revoke(&http, &(again, id)).await?;
    assert_eq!(installation.nats_pid(), Some(server), "the same server");
    up.process.end(Signal::INT, Whom::Group).await?.succeeded();
    installation.nothing_leaked();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn too_little_disk_is_a_sentence_at_the_start() -> Result<()> {
    let mut installation = Installation::new()?;
    let Some(_disk) = SmallDisk::mount(&installation.data(), 64) else {
        return Ok(());
    };
    let ended = installation.run(&["up", "--listen", "127.0.0.1:0"]).await?;
    assert!(!ended.status.success());
    assert!(
        ended.stderr.contains("too small") && ended.stderr.contains("at least 160 MiB are needed"),
        "{}",
        ended.stderr
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_really_full_loses_nothing_and_needs_no_restart() -> Result<()> {
    let (mut installation, key) = Installation::with_key()?;
    let Some(disk) = SmallDisk::mount(&installation.data(), DISK_MIB) else {
        return Ok(());
    };
    let sink = Sink::start(([127, 0, 0, 1], 0).into(), SinkOptions::default()).await?;
    let up = installation.up().await?;
    let http = up.http(&key);
    let revocable = short_lived(&http).await?;
    installation.keep_secret(&revocable.0);
    let task = json!({"targetUrl": sink.url("/"), "body": "x".repeat(20_000)});
    let mut accepted = vec![http.create(&task).await?];
    let server = installation.nats_pid().context("a server")?;

    // Somebody else's file leaves a little: creations stop, revocations do not.
    disk.fill_but(16 << 20)?;
    eventually(PATIENCE, async || {
        let answer = http.post("/v1/tasks", &task).await;
        answer.is_ok_and(|answer| {
            answer.code() == "log_full" && answer.text().contains("its disk has")
        })
    })
    .await?;
    let serving: Value = http.get("/readyz?verbose").await?.json();
    assert_eq!(serving["creations"]["ready"], false, "{serving}");
    assert_eq!(serving["revocations"]["ready"], true, "{serving}");
    revoke(&http, &revocable).await?;
    http.completed(&accepted[0]).await?;

    // To the last byte: writes fail, and JetStream shuts itself down.
    disk.fill_but(0)?;
    eventually(PATIENCE, async || {
        disk.fill_but(0).is_ok()
            && http
                .get("/readyz")
                .await
                .is_ok_and(|answer| answer.status == StatusCode::SERVICE_UNAVAILABLE)
    })
    .await
    .context("the full disk is noticed")?;
    let start = Instant::now();
    disk.empty()?;
    eventually(PATIENCE, async || {
        let answer = http.post("/v1/tasks", &task).await;
        let Ok(answer) = answer else { return false };
        if answer.status == StatusCode::CREATED
            && let Some(id) = answer.task()["id"].as_str()
        {
            accepted.push(id.to_owned());
        }
        accepted.len() > 1
    })
    .await
    .context("room that is given back is used")?;
    eprintln!("served again {:?} after the disk had room", start.elapsed());
    for id in &accepted {
        http.completed(id).await?;
    }
    assert!(!runs(server), "only the nats-server was restarted");
    up.process.end(Signal::INT, Whom::Group).await?.succeeded();
    installation.nothing_leaked();
    Ok(())
}

/// A disk of its own below a folder. Unmounted when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None`, with a printed reason, where this user may not mount.
    fn mount(folder: &Path, mib: u64) -> Option<Self> {
        fs::create_dir_all(folder).ok()?;
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={mib}m"), "tmpfs"])
            .arg(folder)
            .output();
        match mounted {
            Ok(output) if output.status.success() => Some(Self(folder.to_owned())),
            Ok(output) => {
                let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
                eprintln!(
                    "SKIPPED: no small disk can be mounted here, so nothing was tested: {why}"
                );
                None
            }
            Err(error) => {
                eprintln!(
                    "SKIPPED: no small disk can be mounted here, so nothing was tested: {error}"
                );
                None
            }
        }
    }

    fn filler(&self) -> PathBuf {
        self.0.join("filler")
    }

    /// Fills it until only so many bytes are free.
    fn fill_but(&self, free: u64) -> Result<()> {
        const BLOCK: usize = 64 * 1024;
        let mut file = File::options()
            .create(true)
            .append(true)
            .open(self.filler())?;
        loop {
            let stat = rustix::fs::statvfs(&self.0)?;
            let left = stat.f_bavail.saturating_mul(stat.f_frsize);
            if left <= free {
                return Ok(());
            }
            let step = usize::try_from(left - free)?.min(BLOCK);
            match file.write(&vec![0; step]) {
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::StorageFull => return Ok(()),
                Err(error) => bail!(error),
            }
        }
    }

    fn empty(&self) -> Result<()> {
        Ok(fs::remove_file(self.filler())?)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a server that still ends may have files open.
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}
