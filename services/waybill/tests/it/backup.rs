//! Backup and restore, as `ops/README.md` tells an operator to do it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use http::StatusCode;
use serde_json::json;
use tokio::process::Command;

use waybill_testkit::cluster::NatsCluster;
use waybill_testkit::eventually;

use crate::installation::{Installation, Up, fresh_secret};
use crate::process::{PATIENCE, Process};

/// A user that no process of these tests runs as.
const SOMEBODY: u32 = 61_184;

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

    // Only the log is put back: what was read of the later one must not be mixed with it. Each copy notices, says so, writes down what is
    // lost, and is made anew from the restored log.
    let log = installation.data().join("nats");
    fs::rename(&log, installation.path().join("former-nats"))?;
    copy(&backup.join("nats"), &log).await?;
    let up = installation.up().await?;
    let http = up.http(&key);
    let path = format!("/v1/tasks/{after}");
    http.until(&path, StatusCode::NOT_FOUND).await?;
    assert_eq!(http.task(&before).await?["status"], "completed");
    for copy in [
        "log_went_backwards.jsonl",
        "gateway/log_went_backwards.jsonl",
    ] {
        // The copies notice at their own pace, and a line is whole with its end.
        let file = installation.data().join(copy);
        let read = || fs::read_to_string(&file).unwrap_or_default();
        eventually(PATIENCE, async || read().ends_with('\n'))
            .await
            .context(copy)?;
        let lost = read();
        assert_eq!(lost.lines().count(), 1, "{copy}: {lost}");
    }
    let doctor = installation.run(&["doctor"]).await?.succeeded().stdout;
    let told = doctor.matches("log_went_backwards: ").count();
    assert_eq!(told, 2, "each of the files, with what to do: {doctor}");
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

/// A task that runs when the installation that was restored has started, and not before the backup is taken.
async fn delayed_one(up: &Up, key: &str) -> Result<String> {
    let at = std::time::SystemTime::now() + std::time::Duration::from_secs(3_600);
    let at = rfc3339(at);
    let health = json!({
        "targetUrl": "http://127.0.0.1:9/never", "method": "GET", "delayUntil": at,
    });
    up.http(key).create(&health).await
}

fn rfc3339(at: std::time::SystemTime) -> String {
    let since = at.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    waybill_domain::time::Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
        .to_rfc3339()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_installation_is_backed_up_and_restored_elsewhere() -> Result<()> {
    let (mut installation, key) = Installation::with_key()?;
    let up = installation.up().await?;
    let done = complete_one(&up, &key).await?;
    let open = delayed_one(&up, &key).await?;
    let token = json!({"name": "crm", "value": "s3cret-of-the-crm", "allowedHosts": ["127.0.0.1"]});
    let stored = up.http(&key).post("/v1/tokens", &token).await?;
    assert_eq!(stored.status, StatusCode::CREATED, "{}", stored.text());

    // Tasks go on being accepted while the backup is taken.
    let http = up.http(&key);
    let url = up.url.clone();
    let load = tokio::spawn(async move {
        let mut accepted = 0_u32;
        loop {
            let task = json!({"targetUrl": format!("{url}/healthz"), "method": "GET"});
            if http.create(&task).await.is_err() {
                return accepted;
            }
            accepted += 1;
        }
    });
    let written = installation
        .run(&["backup", "all.backup"])
        .await?
        .succeeded();
    for told in ["verified", "left out vault-open", "CONTROL", "pepper"] {
        assert!(written.stdout.contains(told), "{told}: {}", written.stdout);
    }
    // A second one does not replace it unasked, and the folder holds nothing half-made.
    let again = installation.run(&["backup", "all.backup"]).await?;
    again.refused(&["all.backup is there already", "--overwrite"]);
    let left: Vec<_> = fs::read_dir(installation.path())?
        .map(|entry| Ok(entry?.file_name().into_string().unwrap_or_default()))
        .collect::<Result<_>>()?;
    assert!(
        left.iter()
            .all(|name| !name.contains("partial") && !name.contains("restore")),
        "{left:?}"
    );
    assert_eq!(
        std::os::unix::fs::PermissionsExt::mode(
            &fs::metadata(installation.path().join("all.backup"))?.permissions()
        ) & 0o777,
        0o600
    );
    let checkpoint = installation
        .run(&["audit", "checkpoint"])
        .await?
        .succeeded();
    fs::write(installation.path().join("kept"), &checkpoint.stdout)?;
    load.abort();
    up.interrupt().await?.succeeded();

    // Into a folder of its own; the former one is only needed for the ring that was kept apart.
    let ring = installation.data().join("secrets/vault-open");
    let ring = ring.to_str().context("a path as text")?.to_owned();
    let busy = installation.run(&["restore", "all.backup"]).await?;
    busy.refused(&["is there already", "empty folder"]);
    let elsewhere = installation.path().join("elsewhere");
    fs::create_dir(&elsewhere)?;
    let is_root = rustix::process::geteuid().is_root();
    if is_root {
        // As the folder of the unit, which belongs to a user of its own; root restores into it.
        std::os::unix::fs::chown(&elsewhere, Some(SOMEBODY), Some(SOMEBODY))?;
    }
    let restored = installation
        .run(&[
            "restore",
            "all.backup",
            "--data",
            "elsewhere",
            "--vault-open-ring",
            &ring,
        ])
        .await?
        .succeeded();
    assert!(
        restored.stdout.contains("restored what was there at"),
        "{}",
        restored.stdout
    );
    if is_root {
        let not_theirs = owned_by_others(&elsewhere, SOMEBODY)?;
        assert_eq!(not_theirs, Vec::<PathBuf>::new());
    }
    installation.set("WAYBILL__DATA", "elsewhere");
    let up = installation.up().await?;
    let http = up.http(&key);
    assert_eq!(http.task(&done).await?["status"], "completed");
    let waiting = http.task(&open).await?;
    assert!(waiting["status"] != "completed", "{waiting}");
    let tokens = http.get("/v1/tokens").await?;
    assert!(tokens.text().contains("crm"), "{}", tokens.text());
    complete_one(&up, &key).await?;
    let verified = installation.run(&["verify"]).await?.succeeded();
    assert!(verified.stdout.contains("equal"), "{}", verified.stdout);
    installation.run(&["audit", "verify"]).await?.succeeded();
    up.interrupt().await?.succeeded();
    for secret in ["pepper", "webhook-master", "notary", "session"] {
        let path = |folder: &str| {
            installation
                .path()
                .join(folder)
                .join("secrets")
                .join(secret)
        };
        assert_eq!(
            fs::read(path("data"))?,
            fs::read(path("elsewhere"))?,
            "{secret}"
        );
        let text = fs::read_to_string(path("data"))?;
        installation.keep_secret(text.trim());
    }
    Ok(())
}

/// What below a folder does not belong to that user.
fn owned_by_others(folder: &Path, user: u32) -> Result<Vec<PathBuf>> {
    let mut others = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let metadata = fs::symlink_metadata(&path)?;
        if metadata.is_dir() {
            others.extend(owned_by_others(&path, user)?);
        }
        if std::os::unix::fs::MetadataExt::uid(&metadata) != user {
            others.push(path);
        }
    }
    Ok(others)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_or_cut_backup_is_refused_and_leaves_nothing() -> Result<()> {
    let (mut installation, key) = Installation::with_key()?;
    let up = installation.up().await?;
    complete_one(&up, &key).await?;
    installation.run(&["backup", "good"]).await?.succeeded();
    up.interrupt().await?.succeeded();
    let good = fs::read(installation.path().join("good"))?;

    let mut flipped = good.clone();
    let middle = 700;
    flipped[middle] ^= 1;
    fs::write(installation.path().join("flipped"), &flipped)?;
    fs::write(installation.path().join("cut"), &good[..good.len() / 2])?;
    fs::write(installation.path().join("text"), "no backup")?;
    for (name, why) in [
        ("flipped", "damaged"),
        ("cut", ""),
        ("text", ""),
        ("absent", "absent"),
    ] {
        let told = installation
            .run(&["restore", name, "--data", "into"])
            .await?;
        told.refused(&[why]);
        for made in ["into/nats", "into/secrets"] {
            assert!(
                !installation.path().join(made).exists(),
                "{name} left {made}"
            );
        }
    }
    // Whoever writes to a place that is not there learns it before anything is read.
    let nowhere = installation.run(&["backup", "no/such/folder/file"]).await?;
    nowhere.refused(&["no"]);
    Ok(())
}

/// A key that was made and revoked; gives its id.
async fn revoked_one(up: &Up, key: &str) -> Result<String> {
    let http = up.http(key);
    let team = http.get("/v1/key").await?.json()["apiKey"]["teamId"].clone();
    let path = format!("/teams/{}/apikeys", team.as_str().context("a team")?);
    let made = http.post(&path, &json!({"name": "short-lived"})).await?;
    let id = made.json()["apiKey"]["id"].clone();
    let id = id.as_str().context("an id")?;
    let path = format!("/apikeys/{id}/revoke");
    let revoked = http.post(&path, &json!({})).await?;
    assert_eq!(revoked.status, StatusCode::OK, "{}", revoked.text());
    Ok(id.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_of_three_is_backed_up_and_restored_into_another() -> Result<()> {
    let (mut installation, key) = Installation::with_key()?;
    for name in ["WAYBILL_PEPPER", "WAYBILL_WEBHOOK_MASTER"] {
        let secret = fresh_secret()?;
        installation.keep_secret(&secret);
        installation.set(name, &secret);
    }
    installation.set("WAYBILL__NATS__STREAMS__REPLICAS", "3");
    let former = NatsCluster::start().await?;
    installation.set("NATS_URL", &former.urls().join(","));
    let up = installation.up().await?;
    let done = complete_one(&up, &key).await?;
    let open = delayed_one(&up, &key).await?;
    let written = installation
        .run(&["backup", "cluster.backup"])
        .await?
        .succeeded();
    assert!(written.stdout.contains("no secrets"), "{}", written.stdout);
    let busy = installation.run(&["restore", "cluster.backup"]).await?;
    busy.refused(&["a restore never replaces one"]);
    let revoked = revoked_one(&up, &key).await?;
    up.interrupt().await?.succeeded();
    drop(former);

    let next = NatsCluster::start().await?;
    installation.set("NATS_URL", &next.urls().join(","));
    installation
        .run(&["restore", "cluster.backup"])
        .await?
        .succeeded();
    // The copies of gateway and projector are of the former cluster. Nobody clears them away: each notices, and is rebuilt, and the
    // gateway records the revocation that it knew beyond the backup.
    let up = installation.up().await?;
    let http = up.http(&key);
    http.until(&format!("/v1/tasks/{done}"), StatusCode::OK)
        .await?;
    assert_eq!(http.task(&done).await?["status"], "completed");
    assert_ne!(http.task(&open).await?["status"], "completed");
    complete_one(&up, &key).await?;
    let copy = "gateway/log_went_backwards.jsonl";
    let told = fs::read_to_string(installation.data().join(copy)).context(copy)?;
    assert_eq!(told.lines().count(), 1, "{told}");
    assert!(
        told.contains(&format!("key.revoked.v1 {revoked}")),
        "{told}"
    );
    let verified = installation.run(&["verify"]).await?.succeeded();
    assert!(verified.stdout.contains("equal"), "{}", verified.stdout);
    up.interrupt().await?.succeeded();
    Ok(())
}
