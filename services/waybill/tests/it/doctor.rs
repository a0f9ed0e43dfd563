//! `waybill doctor`: each line that finds something wrong says what to do.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use anyhow::{Context, Result};
use waybill_testkit::NatsServer;

use crate::installation::Installation;

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_finds_nothing_wrong_with_a_new_installation() -> Result<()> {
    let (mut installation, _) = Installation::with_key()?;
    let stopped = installation.run(&["doctor"]).await?.succeeded().stdout;
    assert!(stopped.contains("WARN  running"), "{stopped}");
    assert!(stopped.contains("-> start `waybill up`"), "{stopped}");
    assert!(!installation.data().exists(), "a look makes nothing");

    let up = installation.up().await?;
    let healthy = installation.run(&["doctor"]).await?.succeeded().stdout;
    for line in [
        "ok    configuration",
        "ok    secrets",
        "ok    clock",
        "CONTROL: ",
        "TASKS: ",
        "VKEYS: ",
        "0 wrong",
    ] {
        assert!(healthy.contains(line), "{line}: {healthy}");
    }
    up.interrupt().await?.succeeded();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_names_a_remedy_for_what_is_wrong() -> Result<()> {
    let (mut installation, _) = Installation::with_key()?;
    let up = installation.up().await?;
    let pepper = installation.data().join("secrets/pepper");
    fs::set_permissions(&pepper, fs::Permissions::from_mode(0o644))?;
    let told = installation.run(&["doctor"]).await?;
    assert_eq!(told.status.code(), Some(1));
    assert!(told.stdout.contains("FAIL  secrets"), "{}", told.stdout);
    assert!(told.stdout.contains("-> chmod go= "), "{}", told.stdout);
    fs::set_permissions(&pepper, fs::Permissions::from_mode(0o600))?;
    up.interrupt().await?.succeeded();

    // A server that is not reached, and one whose stream is not ours.
    installation.set("NATS_URL", "nats://127.0.0.1:1");
    let away = installation.run(&["doctor"]).await?;
    assert_eq!(away.status.code(), Some(1));
    assert!(away.stdout.contains("FAIL  nats"), "{}", away.stdout);
    let foreign = NatsServer::start().await?;
    let client = async_nats::connect(foreign.url()).await?;
    let stream = r#"{"name": "CONTROL", "subjects": ["control.>"], "storage": "memory"}"#;
    let made = client
        .request("$JS.API.STREAM.CREATE.CONTROL", stream.into())
        .await?;
    assert!(
        !String::from_utf8_lossy(&made.payload).contains("error"),
        "{made:?}"
    );
    installation.set("NATS_URL", &foreign.url());
    let told = installation.run(&["doctor"]).await?;
    assert_eq!(told.status.code(), Some(1));
    let line = told
        .stdout
        .lines()
        .find(|line| line.contains("storage of CONTROL"));
    assert!(
        line.context("its line")?.starts_with("FAIL  stream"),
        "{}",
        told.stdout
    );
    assert!(
        told.stdout
            .contains("WARN  stream         TASKS is missing"),
        "{}",
        told.stdout
    );
    Ok(())
}
