//! Signatures of CONTROL as an operator meets them: made at the first start, kept, required, and given to roles that run apart.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::json;
use tokio::process::Command;
use waybill_domain::trust::{Accepted, Signer, Speaker};
use waybill_testkit::NatsServer;

use crate::apart::shared;
use crate::installation::Installation;

fn pin(installation: &Installation) -> Result<String> {
    let text = fs::read_to_string(installation.data().join("signatures-from"))?;
    Ok(text.trim().to_owned())
}

async fn serves(installation: &mut Installation, key: &str) -> Result<()> {
    let up = installation.up().await?;
    let http = up.http(key);
    let target = format!("{}/healthz", up.url);
    let task = json!({"targetUrl": target, "method": "GET"});
    http.completed(&http.create(&task).await?).await?;
    up.interrupt().await?.succeeded();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn up_signs_from_its_first_event_on_and_migrates_what_is_older() -> Result<()> {
    let (mut installation, key) = Installation::with_key()?;
    serves(&mut installation, &key).await?;
    assert_eq!(pin(&installation)?, "1");
    let seed = fs::read_to_string(installation.data().join("secrets/control-key"))?;
    installation.keep_secret(&seed);
    serves(&mut installation, &key).await?;
    assert_eq!(pin(&installation)?, "1");
    // A log of before: nothing in it is signed by a key that this installation has, and the next start makes one.
    for file in ["secrets/control-key", "signatures-from"] {
        fs::remove_file(installation.data().join(file))?;
    }
    serves(&mut installation, &key).await?;
    let from: u64 = pin(&installation)?.parse()?;
    assert!(from > 1, "{from}");
    // The key was made before that position, and is revoked behind it.
    serves(&mut installation, &key).await?;
    assert_eq!(pin(&installation)?, from.to_string());
    // A log that does not say what is remembered of it is another one.
    let file = installation.data().join("signatures-from");
    fs::write(&file, "999999\n")?;
    let refused = installation.run(&["up", "--listen", "127.0.0.1:0"]).await?;
    refused.refused(&[
        "signatures.required_from is 999999",
        "restored from an older backup",
    ]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_of_roles_apart_requires_signatures_when_it_is_told_to() -> Result<()> {
    let nats = NatsServer::start().await?;
    let (mut installation, _) = shared(&nats).await?;
    installation.unset("WAYBILL__NATS__USER");
    installation.unset("WAYBILL__NATS__PASSWORD");
    installation
        .run(&["keys", "create-team", "--name", "old"])
        .await?
        .succeeded();
    let require = ["signatures", "require"];
    installation
        .run(&require)
        .await?
        .refused(&["WAYBILL_CONTROL_KEY must be set"]);
    installation.set("WAYBILL_CONTROL_KEY", &"01".repeat(32));
    let first = installation.run(&require).await?.succeeded().stdout;
    assert!(
        first.contains("nats.signatures.required_from = 2\n"),
        "{first}"
    );
    let again = installation.run(&require).await?.succeeded().stdout;
    assert_eq!(first, again);
    installation.set("WAYBILL__NATS__SIGNATURES__REQUIRED_FROM", "2");
    installation
        .run(&["keys", "create-team", "--name", "new"])
        .await?
        .succeeded();
    // Another key is none of this log's.
    installation.set("WAYBILL_CONTROL_KEY", &"03".repeat(32));
    let stranger = installation
        .run(&["keys", "create-team", "--name", "x"])
        .await?;
    stranger.refused(&[
        "signatures.required_from is 2",
        "signed by a configured key",
    ]);
    Ok(())
}

#[tokio::test]
async fn new_env_gives_each_role_its_key_and_each_node_its_certificate() -> Result<()> {
    let tree = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let folder = tempfile::tempdir()?;
    fs::create_dir(folder.path().join("ops"))?;
    for file in [
        "ops/new-env",
        "ops/new-ca",
        "ops/prerequisites.bash",
        ".env.example",
    ] {
        fs::copy(tree.join(file), folder.path().join(file))?;
    }
    let made = Command::new(folder.path().join("ops/new-env"))
        .output()
        .await?;
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    let text = fs::read_to_string(folder.path().join(".env"))?;
    let value = |name: &str| -> Result<String> {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        Ok(line.with_context(|| name.to_owned())?.to_owned())
    };
    let keys = value("WAYBILL_SIGNATURE_KEYS")?;
    let keys: Vec<_> = keys.split(',').map(Accepted::parse).collect();
    let seeds = [
        (Speaker::Control, value("WAYBILL_CONTROL_KEY")?),
        (Speaker::Worker, value("WAYBILL_WORKER_KEY")?),
    ];
    for ((speaker, seed), key) in seeds.into_iter().zip(keys) {
        let signer = Signer::new(speaker, &hex::decode(seed)?)?;
        let key = key.map_err(anyhow::Error::msg)?;
        assert_eq!(*key.key(), signer.public());
    }
    for file in ["ca.pem", "nats-1.pem", "nats-3.key"] {
        assert!(folder.path().join(".tls").join(file).exists(), "{file}");
    }
    let again = Command::new(folder.path().join("ops/new-env"))
        .output()
        .await?;
    assert!(!again.status.success(), "it never overwrites");
    Ok(())
}
