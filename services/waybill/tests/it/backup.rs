//! Backup and restore, as `ops/README.md` tells an operator to do it.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use http::StatusCode;
use serde_json::json;
use tokio::process::Command;

use crate::installation::{Installation, Up};
use crate::process::Process;

async fn copy(from: &Path, to: &Path) -> Result<()> {
    let mut copy = Command::new("cp");
    copy.arg("-a").arg(from).arg(to);
    Process::spawn(copy)?.ended().await?.succeeded();
    Ok(())
}

async fn complete_one(up: &Up, key: &str) -> Result<String> {
    let http = up.http(key);
    let health = json!({"targetUrl": format!("{}/healthz", up.url), "method": "GET"});
    let id = http.create(&health).await?;
    http.completed(&id).await?;
    Ok(id)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_restored_with_all_that_was_accepted_before_it() -> Result<()> {
    let (mut installation, key) = Installation::with_key()?;
    let up = installation.up().await?;
    let before = complete_one(&up, &key).await?;
    up.interrupt().await?.succeeded();
    let backup = installation.path().join("backup");
    copy(&installation.data(), &backup).await?;
    let up = installation.up().await?;
    let after = complete_one(&up, &key).await?;
    up.interrupt().await?.succeeded();

    // Only the log is put back: what was read of the later one must not be mixed with it, and is said to be too far ahead.
    let log = installation.data().join("nats");
    fs::rename(&log, installation.path().join("former-nats"))?;
    copy(&backup.join("nats"), &log).await?;
    let ahead = installation.run(&["up", "--listen", "127.0.0.1:0"]).await?;
    ahead.refused(&["log_regressed: TASKS ends at", "remove the read model"]);

    // As told: the read models are removed, and made anew from the restored log.
    for model in ["projector", "gateway"] {
        fs::remove_dir_all(installation.data().join(model))?;
    }
    let up = installation.up().await?;
    let http = up.http(&key);
    assert_eq!(http.task(&before).await?["status"], "completed");
    let gone = http.get(&format!("/v1/tasks/{after}")).await?;
    assert_eq!(gone.status, StatusCode::NOT_FOUND, "{}", gone.text());
    complete_one(&up, &key).await?;
    up.interrupt().await?.succeeded();

    // Or all of it is put back, at another place: nothing of the former one is needed.
    fs::rename(installation.data(), installation.path().join("former"))?;
    fs::rename(&backup, installation.path().join("elsewhere"))?;
    installation.set("WAYBILL__DATA", "elsewhere");
    let up = installation.up().await?;
    let http = up.http(&key);
    assert_eq!(http.task(&before).await?["status"], "completed");
    complete_one(&up, &key).await?;
    let verified = installation.run(&["verify"]).await?.succeeded();
    assert!(verified.stdout.contains("equal"), "{}", verified.stdout);
    up.interrupt().await?.succeeded();
    let secret = fs::read_to_string(installation.path().join("elsewhere/secrets/pepper"));
    installation.keep_secret(secret.context("the pepper")?.trim());
    Ok(())
}
