//! What cannot work is said at the start, precisely, and before anything is touched.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use anyhow::{Context, Result};
use rustix::process::Signal;
use waybill_testkit::nats::free_port;

use crate::installation::Installation;
use crate::process::Whom;

#[tokio::test(flavor = "multi_thread")]
async fn wrong_settings_are_named_with_what_would_be_right() -> Result<()> {
    let mut installation = Installation::new()?;
    let cases: [(&str, &[&str]); 6] = [
        ("[worker]\nslotz = 3", &["slotz", "slots"]),
        ("[worker]\nslots = 'many'", &["worker.slots", "many"]),
        (
            "[gateway]\nlisten = '127.0.0.1'",
            &["gateway.listen", "socket address"],
        ),
        (
            "[nats.streams]\npartitions = 5000",
            &["nats.streams.partitions", "not 5000"],
        ),
        ("gateway = 3", &["`gateway`", "a table of settings"]),
        ("log = {", &["waybill.toml"]),
    ];
    for (text, words) in cases {
        fs::write(installation.path().join("waybill.toml"), text)?;
        installation.run(&["up"]).await?.refused(words);
        installation.run(&["config"]).await?.refused(words);
    }
    fs::remove_file(installation.path().join("waybill.toml"))?;
    installation
        .run(&["up", "--config", "nowhere.toml"])
        .await?
        .refused(&["nowhere.toml"]);

    let cases: [(&str, &str, &[&str]); 5] = [
        ("WAYBILL__WORKER__SLOTZ", "3", &["slotz"]),
        ("WAYBILL__WORKER__SLOTS", "many", &["worker.slots", "many"]),
        (
            "WAYBILL__METRICS_LISTEN",
            "9464",
            &["metrics_listen: must be ADDR:PORT or off, not \"9464\""],
        ),
        (
            "WAYBILL__WORKER__ALLOW_TARGETS",
            "10.0.0.0/8,10.0.0.0/99",
            &["worker.allow_targets", "10.0.0.0/99"],
        ),
        (
            "WAYBILL__LOG__FILTER",
            "waybill=loud",
            &["log.filter", "waybill=loud"],
        ),
    ];
    for (name, value, words) in cases {
        let before = (name == "WAYBILL__METRICS_LISTEN").then_some("off");
        installation.set(name, value);
        installation
            .run(&["up", "--listen", "127.0.0.1:0"])
            .await?
            .refused(words);
        match before {
            Some(value) => installation.set(name, value),
            None => installation.unset(name),
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_effective_configuration_is_shown_without_its_secrets() -> Result<()> {
    let mut installation = Installation::new()?;
    fs::write(
        installation.path().join("waybill.toml"),
        "[worker]\nslots = 7\ndrain_seconds = 9\n[nats]\nuser = 'waybill'\npassword = 'pa55-of-the-file'\n",
    )?;
    for secret in ["pa55-of-the-file", "pa55-of-the-url"] {
        installation.keep_secret(secret);
    }
    installation.set("WAYBILL__WORKER__SLOTS", "8");
    installation.set(
        "WAYBILL__GATEWAY__CORS_ORIGINS",
        "https://a.example, https://b.example",
    );
    installation.set(
        "NATS_URL",
        "nats://u:pa55-of-the-url@one:4222,nats://two:4222",
    );
    let shown = installation.run(&["config"]).await?.succeeded().stdout;
    let effective: toml::Table = shown.parse()?;
    assert_eq!(
        effective["worker"]["slots"].as_integer(),
        Some(8),
        "the environment wins"
    );
    assert_eq!(effective["worker"]["drain_seconds"].as_integer(), Some(9));
    let origins = effective["gateway"]["cors_origins"]
        .as_array()
        .context("a list")?;
    assert_eq!(origins.len(), 2);
    assert_eq!(
        effective["nats"]["servers"].as_array().map(Vec::len),
        Some(2)
    );
    assert!(
        shown.contains("one:4222") && shown.contains("two:4222"),
        "{shown}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_and_a_port_have_one_owner() -> Result<()> {
    let (mut installation, _) = Installation::with_key()?;
    let metrics = format!("127.0.0.1:{}", free_port()?);
    installation.set("WAYBILL__METRICS_LISTEN", &metrics);
    let up = installation.up().await?;
    // All defaults are taken as well, as they are when somebody types the command twice: the folder is what matters.
    let second = installation.run(&["up", "--listen", "127.0.0.1:0"]).await?;
    second.refused(&["another `waybill up` runs on", "data"]);

    let (mut other, _) = Installation::with_key()?;
    let address = up.url.trim_start_matches("http://").to_owned();
    let taken = other.run(&["up", "--listen", &address]).await?;
    taken.refused(&["cannot listen on", &address, "in use"]);
    other.set("WAYBILL__METRICS_LISTEN", &metrics);
    let taken = other.run(&["up", "--listen", "127.0.0.1:0"]).await?;
    taken.refused(&["metrics_listen", &metrics]);
    up.process
        .end(Signal::TERM, Whom::Process)
        .await?
        .succeeded();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nats_server_that_will_not_do_is_refused() -> Result<()> {
    let mut installation = Installation::new()?;
    let fake = installation.path().join("fake-server");
    let pretend = |script: &str| -> Result<()> {
        fs::write(&fake, format!("#!/bin/sh\n{script}\n"))?;
        fs::set_permissions(&fake, fs::Permissions::from_mode(0o755))?;
        Ok(())
    };
    pretend("echo 'nats-server: v2.9.22'")?;
    let path = installation.path().join("fake-server");
    installation.set("WAYBILL_NATS_SERVER", &path.to_string_lossy());
    let up = ["up", "--listen", "127.0.0.1:0"];
    installation
        .run(&up)
        .await?
        .refused(&["fake-server is version 2.9", "at least 2.14"]);
    pretend("echo hello")?;
    installation
        .run(&up)
        .await?
        .refused(&["fake-server says no version: hello"]);
    installation.set("WAYBILL_NATS_SERVER", "/nowhere/nats-server");
    installation
        .run(&up)
        .await?
        .refused(&["cannot run /nowhere/nats-server"]);

    installation.set("WAYBILL_NATS_SERVER", "");
    installation.set("PATH", &installation.data().to_string_lossy());
    installation
        .run(&up)
        .await?
        .refused(&["no nats-server found: run ops/install-nats"]);
    installation.unset("PATH");

    // It says a good version, and then ends at once, again and again.
    pretend(
        "[ \"$1\" = --version ] && echo 'nats-server: v2.15.1' && exit 0\necho 'no space' >&2; exit 1",
    )?;
    installation.set("WAYBILL_NATS_SERVER", &path.to_string_lossy());
    installation.set("WAYBILL__NATS__CONNECT_TIMEOUT_MS", "1000");
    installation
        .run(&up)
        .await?
        .refused(&["no NATS server at", "nats.log"]);
    Ok(())
}

/// Otherwise an operator learns of it when all clients share the limits of one address.
#[tokio::test(flavor = "multi_thread")]
async fn a_public_https_address_without_a_trusted_proxy_is_warned_of_at_the_start() -> Result<()> {
    let (mut installation, _) = Installation::with_key()?;
    installation.set("WAYBILL__AUTH__PUBLIC_URL", "https://waybill.example");
    let warning = "gateway.trusted_proxies is empty";
    let mut up = installation.up().await?;
    up.process
        .says(|stdout, stderr| {
            [stdout, stderr]
                .iter()
                .any(|text| text.contains(warning))
                .then_some(())
        })
        .await?;
    up.interrupt().await?.succeeded();
    installation.set("WAYBILL__GATEWAY__TRUSTED_PROXIES", "127.0.0.0/8");
    let up = installation.up().await?;
    let ended = up.interrupt().await?.succeeded();
    assert!(!ended.stdout.contains(warning) && !ended.stderr.contains(warning));
    Ok(())
}
