//! The roles as processes of their own, over a nats-server with a password.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use http::StatusCode;
use rustix::process::Signal;
use serde_json::json;
use tokio::process::Command;
use waybill_domain::time::Timestamp;
use waybill_domain::trust::{Signer, Speaker};
use waybill_sink::{Sink, SinkOptions};
use waybill_testkit::nats::{NatsOptions, NatsServer, binary, free_port};

use crate::installation::{Installation, fresh_secret, word_after};
use crate::process::{PATIENCE, Process, Whom};
use waybill_testkit::http::{Event, Http};

const PASSWORD: &str = "only-for-this-test-5f3a";

/// A folder from which roles start that find each other and have the same secrets.
pub(crate) async fn shared(nats: &NatsServer) -> Result<(Installation, String)> {
    let (mut installation, key) = Installation::with_key()?;
    installation.set("NATS_URL", &nats.url());
    installation.set("WAYBILL__NATS__USER", "waybill");
    installation.set("WAYBILL__NATS__PASSWORD", PASSWORD);
    installation.keep_secret(PASSWORD);
    for variable in ["WAYBILL_PEPPER", "WAYBILL_WEBHOOK_MASTER"] {
        let secret = fresh_secret()?;
        installation.keep_secret(&secret);
        installation.set(variable, &secret);
    }
    installation.set("WAYBILL__WORKER__ALLOW_TARGETS", "127.0.0.0/8, localhost");
    installation.set("WAYBILL__GATEWAY__LISTEN", "127.0.0.1:0");
    Ok((installation, key))
}

pub(crate) async fn nats() -> Result<NatsServer> {
    let options = NatsOptions {
        extra: format!("authorization {{ user: waybill, password: \"{PASSWORD}\" }}\n"),
        ..NatsOptions::default()
    };
    NatsServer::start_with(options).await
}

/// Starts a role with a folder of its own.
fn role(installation: &mut Installation, role: &str, folder: &str) -> Result<Process> {
    installation.set("WAYBILL__DATA", folder);
    installation.start(&[role])
}

pub(crate) async fn gateway(
    installation: &mut Installation,
    folder: &str,
    key: &str,
) -> Result<(Process, Http)> {
    let mut process = role(installation, "gateway", folder)?;
    let address = process
        .says(|_, stderr| word_after(stderr, "the gateway listens address="))
        .await?;
    let http = Http::new(&format!("http://{address}"), Some(key));
    http.until("/readyz", StatusCode::OK).await?;
    Ok((process, http))
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_and_gateways_are_one_system() -> Result<()> {
    let nats = nats().await?;
    let (mut installation, key) = shared(&nats).await?;
    let sink = Sink::start(([127, 0, 0, 1], 0).into(), SinkOptions::default()).await?;
    let projector = role(&mut installation, "projector", "projector")?;
    let worker = role(&mut installation, "worker", "worker")?;
    let (first, http) = gateway(&mut installation, "gateway-1", &key).await?;
    let (second, other) = gateway(&mut installation, "gateway-2", &key).await?;

    let id = http
        .create(&json!({"targetUrl": sink.url("/"), "queue": "apart"}))
        .await?;
    let done = other.completed(&id).await?;
    assert_eq!(done["queue"], "apart");

    // A key made through one gateway is accepted by the other as soon as it is, and so is its revocation.
    let keys = format!(
        "/teams/{}/apikeys",
        done["teamId"].as_str().context("a team")?
    );
    let made = http.post(&keys, &json!({"name": "made here"})).await?;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text());
    let made = made.json()["apiKey"].clone();
    let made_key = made["key"].as_str().context("a key")?;
    installation.keep_secret(made_key);
    other
        .with_key(made_key)
        .until("/v1/tasks", StatusCode::OK)
        .await?;
    let revoke = format!("/apikeys/{}/revoke", made["id"].as_str().context("an id")?);
    assert_eq!(http.post(&revoke, &json!({})).await?.status, StatusCode::OK);
    let refused = http.with_key(made_key).get("/v1/tasks").await?;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    other
        .with_key(made_key)
        .until("/v1/tasks", StatusCode::UNAUTHORIZED)
        .await?;

    // The stream is left on one gateway and taken up on the other: no gap, no repeat.
    let mut whole = http.events("/v1/events?after=0", None).await?;
    let mut began = http.events("/v1/events?after=0", None).await?;
    let before = next_events(&mut began, 2).await?;
    drop(began);
    let late = http
        .create(&json!({"targetUrl": sink.url("/late")}))
        .await?;
    other.completed(&late).await?;
    let mut resumed = other.events("/v1/events", Some(&before[1].id)).await?;
    let after = next_events(&mut resumed, 4).await?;
    let expected = next_events(&mut whole, 6).await?;
    assert_eq!([before, after].concat(), expected);
    assert_eq!(expected[5].data["taskId"], late.as_str(), "{expected:?}");
    drop((whole, resumed));

    for process in [first, second, worker, projector] {
        let ended = process.end(Signal::TERM, Whom::Process).await?.succeeded();
        assert!(ended.took.as_secs() < 8, "{ended:?}");
    }
    Ok(())
}

async fn next_events(
    events: &mut waybill_testkit::http::Events,
    count: usize,
) -> Result<Vec<Event>> {
    let mut found = Vec::new();
    while found.len() < count {
        found.push(events.next().await?.context("the stream goes on")?);
    }
    Ok(found)
}

/// What of a shipped configuration only fits a machine of its own: its ports and its folder.
fn fitted(text: &str, folder: &Path, port: u16) -> String {
    let lines = text.lines().filter(|line| !line.starts_with("http:"));
    let lines = lines.map(|line| match line.trim_start() {
        line if line.starts_with("listen:") => format!("listen: \"127.0.0.1:{port}\""),
        line if line.starts_with("store_dir:") => format!("store_dir: {folder:?}"),
        line if line.starts_with("tls {") => {
            line.replace("/tls/", &format!("{}/", folder.join("tls").display()))
        }
        _ => line.to_owned(),
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn shipped(file: &str) -> Result<String> {
    let nats = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../nats");
    Ok(fs::read_to_string(nats.join(file))?)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shipped_server_configuration_lets_in_who_knows_the_password() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let port = free_port()?;
    let file = folder.path().join("nats.conf");
    fs::write(&file, fitted(&shipped("single.conf")?, folder.path(), port))?;
    fs::write(
        folder.path().join("permissions.conf"),
        shipped("permissions.conf")?,
    )?;
    let mut authority =
        Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../ops/new-ca"));
    authority.arg(folder.path().join("tls")).arg("node");
    Process::spawn(authority)?.ended().await?.succeeded();
    let mut server = Command::new(binary()?);
    server.arg("--config").arg(&file);
    // As the compose file gives them.
    for user in ["ADMIN", "GATEWAY", "WORKER", "PROJECTOR"] {
        server.env(
            format!("NATS_{user}_PASSWORD"),
            format!("\"{PASSWORD}-{}\"", user.to_lowercase()),
        );
    }
    let server = Process::spawn(server)?;

    let (mut installation, key) = Installation::with_key()?;
    installation.set("NATS_URL", &format!("nats://127.0.0.1:{port}"));
    installation.set("WAYBILL__NATS__USER", "admin");
    installation.set("WAYBILL__NATS__PASSWORD", &format!("{PASSWORD}-admin"));
    installation.keep_secret(&format!("{PASSWORD}-admin"));
    installation.set("WAYBILL__NATS__TLS__REQUIRED", "true");
    installation.set("WAYBILL__NATS__CONNECT_TIMEOUT_MS", "500");
    // A server whose authority is not known is not trusted with a password.
    let stranger = installation.run(&["projector"]).await?;
    stranger.refused(&["no NATS server at"]);
    let ca = folder.path().join("tls/ca.pem");
    installation.set(
        "WAYBILL__NATS__TLS__CA_FILE",
        ca.to_str().context("a path")?,
    );
    installation.set("WAYBILL__NATS__CONNECT_TIMEOUT_MS", "10000");
    let up = installation.up().await?;
    let http = up.http(&key);
    let target = format!("{}/healthz", up.url);
    http.completed(
        &http
            .create(&json!({"targetUrl": target, "method": "GET"}))
            .await?,
    )
    .await?;
    up.interrupt().await?.succeeded();
    installation.unset("WAYBILL__NATS__USER");
    installation.unset("WAYBILL__NATS__PASSWORD");
    installation.set("WAYBILL__NATS__CONNECT_TIMEOUT_MS", "500");
    installation
        .run(&["projector"])
        .await?
        .refused(&["no NATS server at", "uthorization"]);
    server.end(Signal::TERM, Whom::Process).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_work_with_a_nats_user_each() -> Result<()> {
    roles_work_apart("permissions.conf", "consumers").await
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_work_with_hints_instead_of_consumers() -> Result<()> {
    roles_work_apart("permissions.conf", "direct").await
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_work_with_a_nats_account_each() -> Result<()> {
    roles_work_apart("accounts.conf", "accounts").await
}

async fn roles_work_apart(file: &str, reads: &str) -> Result<()> {
    let mut extra = shipped(file)?;
    for user in ["admin", "gateway", "worker", "projector", "system"] {
        let variable = format!("$NATS_{}_PASSWORD", user.to_uppercase());
        extra = extra.replace(&variable, &format!("\"{PASSWORD}-{user}\""));
    }
    let nats = NatsServer::start_with(NatsOptions {
        extra,
        ..NatsOptions::default()
    })
    .await?;
    let (mut installation, key) = shared(&nats).await?;
    // As ops/new-env gives them: each signs with a key of its own, and all know both public ones.
    let public = |speaker, seed: u8| -> Result<String> {
        Ok(Signer::new(speaker, &[seed; 32])?.public().to_string())
    };
    let (of_gateways, of_workers) = (public(Speaker::Control, 1)?, public(Speaker::Worker, 2)?);
    let known = format!("{of_gateways},{of_workers}");
    installation.set("WAYBILL__NATS__SIGNATURES__KEYS", &known);
    installation.set("WAYBILL__NATS__SIGNATURES__REQUIRED_FROM", "1");
    installation.set("WAYBILL__NATS__READS", reads);
    let log_in = |installation: &mut Installation, user: &str| {
        installation.set("WAYBILL__NATS__USER", user);
        installation.set("WAYBILL__NATS__PASSWORD", &format!("{PASSWORD}-{user}"));
        installation.unset("WAYBILL_CONTROL_KEY");
        installation.unset("WAYBILL_WORKER_KEY");
        match user {
            "admin" | "gateway" => installation.set("WAYBILL_CONTROL_KEY", &"01".repeat(32)),
            "worker" => installation.set("WAYBILL_WORKER_KEY", &"02".repeat(32)),
            _ => {}
        }
    };
    // Makes the streams.
    log_in(&mut installation, "admin");
    let team = installation
        .run(&["keys", "create-team", "--name", "first"])
        .await?;
    team.succeeded();

    let sink = Sink::start(([127, 0, 0, 1], 0).into(), SinkOptions::default()).await?;
    log_in(&mut installation, "projector");
    let projector = role(&mut installation, "projector", "projector")?;
    log_in(&mut installation, "worker");
    installation.unset("WAYBILL_WORKER_KEY");
    installation
        .run(&["worker"])
        .await?
        .refused(&["WAYBILL_WORKER_KEY must be set"]);
    log_in(&mut installation, "worker");
    let worker = role(&mut installation, "worker", "worker")?;
    log_in(&mut installation, "gateway");
    let (gateway, http) = gateway(&mut installation, "gateway", &key).await?;
    let mut events = http.events("/v1/events", None).await?;
    let task = json!({"targetUrl": sink.url("/?fail=1"), "onCompleteUrl": sink.url("/done"), "retryBackoff": "linear"});
    let id = http.create(&task).await?;
    let cancelled = json!({"targetUrl": sink.url("/"), "delayUntil": "2099-01-01T00:00:00.000Z"});
    http.completed(&id).await?;
    // Far in the future is more than the log keeps; within it, it is cancelled by its owner.
    let refused = http.post("/v1/tasks", &cancelled).await?;
    assert_eq!(
        refused.status,
        StatusCode::BAD_REQUEST,
        "{}",
        refused.text()
    );
    let soon = time_in(Duration::from_secs(3600))?;
    let delayed = http
        .create(&json!({"targetUrl": sink.url("/"), "delayUntil": soon}))
        .await?;
    let cancel = http
        .post(&format!("/v1/tasks/{delayed}/cancel"), &json!({}))
        .await?;
    assert_eq!(cancel.status, StatusCode::OK, "{}", cancel.text());
    assert_eq!(
        events.next().await?.context("an event")?.data["taskId"],
        id.as_str()
    );
    sink.wait_for(3, PATIENCE).await?;
    drop(events);
    for process in [gateway, worker, projector] {
        let ended = process.end(Signal::TERM, Whom::Process).await?.succeeded();
        assert!(!ended.stderr.contains("ermissions"), "{}", ended.stderr);
    }
    Ok(())
}

fn time_in(time: Duration) -> Result<String> {
    let at = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)? + time;
    Ok(Timestamp(i64::try_from(at.as_millis())?).to_rfc3339())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_gateway_prints_a_key_and_later_ones_do_not() -> Result<()> {
    let nats = nats().await?;
    let (mut installation, _) = shared(&nats).await?;
    installation.unset("WAYBILL_BOOTSTRAP_KEY");
    let (mut first, http) = gateway(&mut installation, "gateway-1", "none").await?;
    let key = first
        .says(|stdout, _| word_after(stdout, "API key (shown this once; keep it): "))
        .await?;
    assert!(!first.stderr.text().contains(&key), "not in the log");
    // Neither needs a projector, and both know the key from their first request on.
    let task = json!({"targetUrl": "https://example.com/"});
    http.with_key(&key).create(&task).await?;
    let (second, other) = gateway(&mut installation, "gateway-2", &key).await?;
    other.create(&task).await?;
    let ended = second.end(Signal::TERM, Whom::Process).await?.succeeded();
    assert_eq!(ended.stdout, "");
    first.end(Signal::TERM, Whom::Process).await?.succeeded();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn up_uses_the_server_that_nats_url_names() -> Result<()> {
    let nats = nats().await?;
    let (mut installation, key) = shared(&nats).await?;
    let up = installation.up().await?;
    assert_eq!(installation.nats_pid(), None, "no child");
    let http = up.http(&key);
    let target = format!("{}/healthz", up.url);
    let id = http
        .create(&json!({"targetUrl": target, "method": "GET"}))
        .await?;
    http.completed(&id).await?;
    // Commands beside it find it by the same variable.
    let listed = installation.run(&["keys", "list"]).await?.succeeded();
    assert!(listed.stdout.contains("bootstrap"), "{}", listed.stdout);
    up.interrupt().await?.succeeded();
    assert!(nats.pid().is_some());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_say_what_they_lack() -> Result<()> {
    let nats = nats().await?;
    let (mut installation, _) = shared(&nats).await?;
    installation.unset("WAYBILL_PEPPER");
    let ended = installation.run(&["gateway"]).await?;
    ended.refused(&[
        "set WAYBILL_PEPPER to 32 random bytes in hex",
        "secrets/pepper",
    ]);
    installation.set("WAYBILL_PEPPER", "abc1");
    let ended = installation.run(&["gateway"]).await?;
    ended.refused(&[
        "WAYBILL_PEPPER must be at least 32 random bytes in hex",
        "2 bytes are too few",
    ]);
    installation.unset("WAYBILL_WEBHOOK_MASTER");
    let ended = installation.run(&["worker"]).await?;
    ended.refused(&["set WAYBILL_WEBHOOK_MASTER"]);

    installation.set("WAYBILL__NATS__CONNECT_TIMEOUT_MS", "500");
    installation.set("WAYBILL__NATS__PASSWORD", "not-that-one-77");
    installation.keep_secret("not-that-one-77");
    let ended = installation.run(&["projector"]).await?;
    ended.refused(&["no NATS server at", &nats.url(), "uthorization"]);
    installation.set("NATS_URL", "nats://waybill:not-that-one-77@127.0.0.1:1");
    let ended = installation.run(&["projector"]).await?;
    ended.refused(&["no NATS server at", "127.0.0.1:1"]);
    Ok(())
}
