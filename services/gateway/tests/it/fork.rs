//! A log that was restored from a backup of before, and has grown past the place at which a gateway's own copy of access stands.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use waybill_commands::{Bootstrap, ControlWriter};
use waybill_domain::access::scope::Scope;
use waybill_gateway::Gateway;
use waybill_log::{JetStreamLog, Log, NatsConfig, Stream};
use waybill_testkit::http::Http;
use waybill_testkit::{NatsServer, eventually};

use crate::world::{SOON, a_task, config, operator, parts, pepper};

/// Where a gateway writes down what was lost.
const RECORD: &str = "gateway/log_went_backwards.jsonl";

fn copy(from: &Path, to: &Path) -> Result<()> {
    let copied = std::process::Command::new("cp")
        .arg("-a")
        .args([from, to])
        .status()?;
    anyhow::ensure!(copied.success(), "cp {} {}", from.display(), to.display());
    Ok(())
}

async fn connect(nats: &NatsServer) -> Result<(JetStreamLog, ControlWriter)> {
    let log = waybill_log::connect(&NatsConfig::at(nats.url())).await?;
    let writer = ControlWriter::new(std::sync::Arc::new(log.clone()), pepper());
    Ok((log, writer))
}

/// The one gateway, whose folder stays.
async fn gateway(log: &JetStreamLog, folder: &TempDir) -> Result<(Gateway, CancellationToken)> {
    let stop = CancellationToken::new();
    let gateway = Gateway::start(config(), parts(log, folder, "gateway"), stop.clone()).await?;
    Ok((gateway, stop))
}

/// What a key gets that asks for a task. 201: it is accepted.
async fn status(gateway: &Gateway, key: &str) -> u16 {
    let http = Http::at(gateway.addr()).with_key(key);
    let asked = http.post("/v1/tasks", &a_task()).await;
    asked.map_or(0, |answer| answer.status.as_u16())
}

/// Nobody has to restart it: it says what was lost, reads the log that there is now, and goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_running_gateway_that_meets_an_older_log_goes_on_by_itself() -> Result<()> {
    let mut nats = NatsServer::start().await?;
    let folder = tempfile::tempdir()?;
    let backup = folder.path().join("backup");
    let by = operator();
    let (log, writer) = connect(&nats).await?;
    let Bootstrap { team, key } = writer.bootstrap(None, &by).await?;
    let standing = key.context("a first key")?.reveal().to_owned();
    nats.stop().await?;
    copy(&nats.store(), &backup)?;
    nats.restart().await?;

    let (gateway, stop) = gateway(&log, &folder).await?;
    eventually(SOON, async || status(&gateway, &standing).await == 201).await?;
    let lost = writer.create_key(&team, "lost", Scope::ALL, &by).await?;
    let lost = lost.key.reveal();
    eventually(SOON, async || status(&gateway, lost).await == 201).await?;

    nats.stop().await?;
    std::fs::rename(nats.store(), folder.path().join("former"))?;
    copy(&backup, &nats.store())?;
    nats.restart().await?;
    // Each comparison of a log that is too short takes its time: it may be a leader that has not applied what it holds.
    eventually(SOON * 3, async || {
        status(&gateway, lost).await == 401 && status(&gateway, &standing).await == 201
    })
    .await?;
    let record = std::fs::read_to_string(folder.path().join(RECORD))?;
    assert_eq!(record.lines().count(), 1, "{record}");
    let ready = Http::at(gateway.addr()).get("/readyz").await?;
    assert_eq!(ready.json()["code"], "log_went_backwards");
    // What is revoked now holds.
    let (_, writer) = connect(&nats).await?;
    let made = writer.create_key(&team, "new", Scope::ALL, &by).await?;
    eventually(SOON, async || {
        status(&gateway, made.key.reveal()).await == 201
    })
    .await?;
    let revoked = writer.revoke_key(&team, &made.created.key, &by).await?;
    waybill_edge::fence::settle(&log, &log.client(), revoked.seq, config().fence).await?;
    assert_eq!(status(&gateway, made.key.reveal()).await, 401);
    stop.cancel();
    gateway.wait().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restore_a_revoked_key_does_not_work_once_the_log_has_grown_past_it() -> Result<()>
{
    let mut nats = NatsServer::start().await?;
    let folder = tempfile::tempdir()?;
    let backup = folder.path().join("backup");
    let by = operator();

    let (log, writer) = connect(&nats).await?;
    let Bootstrap { team, key } = writer.bootstrap(None, &by).await?;
    let standing = key.context("a first key")?.reveal().to_owned();
    let revoked = writer.create_key(&team, "revoked", Scope::ALL, &by).await?;
    nats.stop().await?;
    copy(&nats.store(), &backup)?;
    nats.restart().await?;

    // What the backup does not hold: a revocation, and a key that nobody will ever be able to revoke.
    let (gateway_before, stop) = gateway(&log, &folder).await?;
    eventually(SOON, async || {
        status(&gateway_before, &standing).await == 201
    })
    .await?;
    writer.revoke_key(&team, &revoked.created.key, &by).await?;
    let lost = writer.create_key(&team, "lost", Scope::ALL, &by).await?;
    eventually(SOON, async || {
        status(&gateway_before, lost.key.reveal()).await == 201
    })
    .await?;
    assert_eq!(status(&gateway_before, revoked.key.reveal()).await, 401);
    let read = log.bounds(Stream::Control).await?.last;
    stop.cancel();
    gateway_before.wait().await?;
    drop((log, writer));

    nats.stop().await?;
    std::fs::rename(nats.store(), folder.path().join("former"))?;
    copy(&backup, &nats.store())?;
    nats.restart().await?;
    let (log, writer) = connect(&nats).await?;
    assert!(log.bounds(Stream::Control).await?.last < read);

    // The revocation is repeated, and more happens: the log ends behind what was read of the former one.
    writer.revoke_key(&team, &revoked.created.key, &by).await?;
    while log.bounds(Stream::Control).await?.last <= read {
        writer.create_team("others", "free", &by).await?;
    }
    let (after, stop) = gateway(&log, &folder).await?;
    eventually(SOON, async || status(&after, &standing).await == 201).await?;
    assert_eq!(status(&after, revoked.key.reveal()).await, 401);
    assert_eq!(status(&after, lost.key.reveal()).await, 401);
    let record = std::fs::read_to_string(folder.path().join(RECORD))?;
    let record: Value = serde_json::from_str(record.lines().next().context("a line")?)?;
    let told = format!("key.revoked.v1 {}", revoked.created.key);
    assert_eq!(record["lost"], serde_json::json!([told]), "{record}");
    let ready = Http::at(after.addr()).get("/readyz").await?;
    assert!(
        ready.text().contains("log_went_backwards"),
        "{}",
        ready.text()
    );

    let verbose = Http::at(after.addr()).get("/readyz?verbose").await?;
    let problems = verbose.json()["problems"].clone();
    let codes: Vec<_> = problems.as_array().into_iter().flatten().collect();
    let is_told = |problem: &&Value| problem["code"] == "log_went_backwards";
    assert!(codes.iter().any(is_told), "{problems}");
    assert_eq!(ready.json()["code"], "log_went_backwards");

    // And the copy is that of the new log: a start compares it and goes on.
    stop.cancel();
    after.wait().await?;
    let (again, stop) = gateway(&log, &folder).await?;
    eventually(SOON, async || status(&again, &standing).await == 201).await?;
    assert_eq!(status(&again, lost.key.reveal()).await, 401);
    let records = std::fs::read_to_string(folder.path().join(RECORD))?;
    assert_eq!(records.lines().count(), 1);
    stop.cancel();
    again.wait().await?;
    Ok(())
}
