//! The roles as processes of their own, over a nats-server with a password.

use anyhow::{Context, Result};
use http::StatusCode;
use rustix::process::Signal;
use serde_json::json;
use waybill_sink::{Sink, SinkOptions};
use waybill_testkit::nats::{NatsOptions, NatsServer};

use crate::http::{Event, Http};
use crate::installation::{Installation, fresh_secret, word_after};
use crate::process::{Process, Whom};

const PASSWORD: &str = "only-for-this-test-5f3a";

/// A folder from which roles start that find each other and have the same secrets.
async fn shared(nats: &NatsServer) -> Result<(Installation, String)> {
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

async fn nats() -> Result<NatsServer> {
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

async fn gateway(
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

async fn next_events(events: &mut crate::http::Events, count: usize) -> Result<Vec<Event>> {
    let mut found = Vec::new();
    while found.len() < count {
        found.push(events.next().await?.context("the stream goes on")?);
    }
    Ok(found)
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
