//! The read model is what the log says: while it is written, after it was made anew, after it was damaged.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use waybill_sink::{Sink, SinkOptions};

use crate::installation::{Installation, runs};
use crate::process::{PATIENCE, Whom};
use waybill_testkit::http::Http;

async fn list(http: &Http) -> Result<Value> {
    let answer = http.get("/v1/tasks?kind=all&limit=100").await?;
    anyhow::ensure!(answer.status == http::StatusCode::OK, "{}", answer.text());
    Ok(answer.json())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_read_model_equals_the_log_under_load_rebuilt_and_repaired() -> Result<()> {
    let (mut installation, key) = Installation::with_key()?;
    let sink = Sink::start(([127, 0, 0, 1], 0).into(), SinkOptions::default()).await?;
    let up = installation.up().await?;
    let http = up.http(&key);
    let data = installation.data();
    let data = data.to_str().context("a path")?;

    let stop = Arc::new(AtomicBool::new(false));
    let mut clients = JoinSet::new();
    for _ in 0..2 {
        let (http, stop) = (http.clone(), Arc::clone(&stop));
        let task = json!({"targetUrl": sink.url("/?fail=1"), "onCompleteUrl": sink.url("/done"), "retryBackoff": "linear"});
        clients.spawn(async move {
            let mut ids = Vec::new();
            // Retention is days: a few hundred tasks are enough to be in the middle of things.
            while !stop.load(Ordering::Acquire) && ids.len() < 300 {
                ids.push(http.create(&task).await?);
            }
            anyhow::Ok(ids)
        });
    }
    sink.wait_for(60, PATIENCE).await?;
    let verified = installation
        .run(&["verify", "--data", data])
        .await?
        .succeeded()
        .stdout;
    assert!(
        verified.contains("equal") && verified.contains("compared at"),
        "{verified}"
    );
    // A rebuild of what is in use is refused, and harms nothing.
    let refused = installation.run(&["rebuild", "--data", data]).await?;
    refused.refused(&["stop it before rebuilding", "another `waybill up` runs on"]);
    stop.store(true, Ordering::Release);
    for client in clients.join_all().await {
        for id in client? {
            http.completed(&id).await?;
        }
    }
    let before = list(&http).await?;
    up.interrupt().await?.succeeded();

    // Stopped, it can be rebuilt with no server running: its own is started for it.
    let rebuilt = installation
        .run(&["rebuild", "--data", data])
        .await?
        .succeeded();
    assert!(rebuilt.stdout.starts_with("rebuilt up to CONTROL "));
    assert!(!runs(installation.nats_pid().context("it was started")?));
    let mistyped = installation.run(&["rebuild", "--data", "dada"]).await?;
    mistyped.refused(&["there is no data of `waybill up` in dada"]);
    assert!(!installation.path().join("dada").exists());

    // Whatever is damaged, it is wiped and made anew, and says so.
    let store = installation.data().join("projector");
    for damaged in [
        files_below(&store.join("rows"))?,
        vec![store.join("MANIFEST")],
    ] {
        for file in damaged {
            let mut bytes = fs::read(&file)?;
            let half = bytes.len() / 2;
            bytes[half..].fill(0xA5);
            fs::write(&file, bytes)?;
        }
        let up = installation.up().await?;
        assert_eq!(list(&up.http(&key)).await?, before);
        let ended = up.interrupt().await?.succeeded();
        let said = "the read model was wiped and is rebuilt from the log";
        assert!(ended.stderr.contains(said), "{}", ended.stderr);
    }
    Ok(())
}

fn files_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if entry.metadata()?.is_dir() {
                folders.push(entry.path());
            } else {
                files.push(entry.path());
            }
        }
    }
    Ok(files)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_projector_is_rebuilt_to_the_same_answers() -> Result<()> {
    let nats = waybill_testkit::NatsServer::start().await?;
    let (mut installation, key) = Installation::with_key()?;
    installation.set("NATS_URL", &nats.url());
    let up = installation.up().await?;
    let http = up.http(&key);
    let health = json!({"targetUrl": format!("{}/healthz", up.url), "method": "GET"});
    for _ in 0..20 {
        let id = http.create(&health).await?;
        http.completed(&id).await?;
    }
    let before = list(&http).await?;
    // A rebuild of what is in use is refused, and harms nothing.
    let refused = installation.run(&["rebuild", "--data", "data"]).await?;
    refused.refused(&["rebuilding", "stop its projector first"]);
    up.process
        .end(Signal::TERM, Whom::Process)
        .await?
        .succeeded();
    let rebuilt = installation
        .run(&["rebuild", "--data", "data"])
        .await?
        .succeeded();
    assert!(
        rebuilt.stdout.starts_with("rebuilt up to CONTROL "),
        "{}",
        rebuilt.stdout
    );
    let up = installation.up().await?;
    assert_eq!(list(&up.http(&key)).await?, before);
    installation
        .run(&["verify", "--data", "data"])
        .await?
        .succeeded();
    up.interrupt().await?.succeeded();
    Ok(())
}
