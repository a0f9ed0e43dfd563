//! Stored logs of earlier versions (`tests/stores`): started on, read and gone on with.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};
use serde::Deserialize;
use serde_json::json;
use waybill_sink::{Sink, SinkOptions};

use crate::installation::Installation;
use crate::process::PATIENCE;

/// Where the tasks of the stores go: a place of this machine that nothing else is likely to use.
const TARGET: ([u8; 4], u16) = ([127, 17, 29, 3], 29303);
/// What tasks in the stores brought along.
const CREDENTIAL: &str = "Bearer an-old-credential-5b1f";
/// A hundred years: tasks in the stores would leave the log for their age otherwise.
const LONG: &str = "3155760000";

/// What a store says of itself.
#[derive(Deserialize)]
struct Made {
    key: String,
    /// Ids by name; the name begins with what had become of the task.
    tasks: BTreeMap<String, String>,
}

impl Made {
    fn that_are<'a>(&'a self, what: &'a str) -> impl Iterator<Item = &'a String> {
        let tasks = self.tasks.iter();
        tasks.filter_map(move |(name, id)| name.starts_with(what).then_some(id))
    }
}

/// An installation on a copy of a store.
fn on(store: &str) -> Result<(Installation, Made)> {
    let mut installation = Installation::new()?;
    let packed = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/stores")
        .join(store);
    let unpacked = Command::new("tar")
        .arg("-xzf")
        .arg(packed)
        .arg("-C")
        .arg(installation.path())
        .status()?;
    ensure!(unpacked.success(), "tar: {unpacked}");
    let text = std::fs::read(installation.data().join("tasks.json"))?;
    let made: Made = serde_json::from_slice(&text)?;
    installation.keep_secret(&made.key);
    installation.set("WAYBILL__NATS__STREAMS__TASKS_MAX_AGE_S", LONG);
    Ok((installation, made))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_from_before_frames_is_gone_on_with() -> Result<()> {
    let (mut installation, made) = on("before-frames.tar.gz")?;
    let sink = Sink::start(TARGET.into(), SinkOptions::default()).await?;
    installation.set("WAYBILL__NATS__STREAMS__PARTITIONS", "4");
    let refused = installation.run(&["up", "--listen", "127.0.0.1:0"]).await?;
    assert!(!refused.status.success());
    let sentence =
        "nats.streams.partitions is 4, but TASKS was made with 16, which cannot be changed";
    assert!(refused.stderr.contains(sentence), "{}", refused.stderr);

    // Without a number it is what the store has.
    installation.unset("WAYBILL__NATS__STREAMS__PARTITIONS");
    let up = installation.up().await?;
    let http = up.http(&made.key);
    for id in made.that_are("ended") {
        http.completed(id).await?;
    }
    for id in made.that_are("dead") {
        http.task_when(id, |task| task["status"] == "failed")
            .await?;
    }
    // They were delayed, which is long over.
    for id in made.that_are("open") {
        http.completed(id).await?;
    }
    let url = |path: &str| format!("http://127.17.29.3:29303/{path}");
    let task = json!({"targetUrl": url("ended"), "json": {"name": "ended-once"}});
    let once = http.create_surely("order-17", &task).await?;
    assert_eq!(once, made.tasks["ended-once"]);
    let mut new = Vec::new();
    for number in 0..32 {
        let task = json!({
            "targetUrl": url("new"),
            "queue": format!("queue-{number}"),
            "headers": {"Authorization": CREDENTIAL},
        });
        new.push(http.create(&task).await?);
    }
    for id in &new {
        http.completed(id).await?;
    }
    let expected: Vec<&String> = made.that_are("open").chain(&new).collect();
    sink.wait_for(expected.len() as u64, PATIENCE).await?;
    let mut called = BTreeMap::<String, u32>::new();
    for received in sink.received() {
        let id = received
            .header("idempotency-key")
            .unwrap_or_default()
            .to_owned();
        if new.contains(&id) || id == made.tasks["open-sealed"] {
            assert_eq!(received.header("authorization"), Some(CREDENTIAL));
        }
        *called.entry(id).or_default() += 1;
    }
    let once: BTreeMap<String, u32> = expected.into_iter().map(|id| (id.clone(), 1)).collect();
    assert_eq!(called, once, "each that was open and each new one, once");
    installation.run(&["verify"]).await?.succeeded();
    let skipped = installation.run(&["log", "skipped", "--json"]).await?;
    assert_eq!(skipped.succeeded().stdout, "", "every record counts");
    installation.run(&["doctor"]).await?.succeeded();
    up.interrupt().await?.succeeded();

    // Once more, now in frames.
    let up = installation.up().await?;
    let http = up.http(&made.key);
    for id in made
        .that_are("ended")
        .chain(made.that_are("open"))
        .chain(&new)
    {
        http.completed(id).await?;
    }
    let cancelled = &made.tasks["cancelled"];
    assert_eq!(http.task(cancelled).await?["status"], "cancelled");
    up.interrupt().await?.succeeded();
    Ok(())
}
