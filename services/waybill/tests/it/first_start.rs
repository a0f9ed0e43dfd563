//! What a newcomer sees: one command, a key, a line to paste; and the same again the next day.

use std::os::unix::fs::PermissionsExt;

use anyhow::{Context, Result};
use http::StatusCode;
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::process::Command;
use waybill_sink::{Sink, SinkOptions};

use crate::installation::{Installation, fresh_key, runs};
use crate::process::{Process, Whom};
use waybill_testkit::http::Http;

/// Ctrl-C to the prompt, on two cores shared with compilers. On an idle machine it takes well under one second.
const SWIFT_SECONDS: u64 = 5;

#[tokio::test(flavor = "multi_thread")]
async fn the_printed_line_creates_a_task_and_a_second_start_resumes_all() -> Result<()> {
    let mut installation = Installation::new()?;
    let up = installation.up().await?;
    let key = up.key.clone().context("a key at the first start")?;
    let printed = up.process.stdout.text();
    assert_eq!(printed.matches("shown this once").count(), 1, "{printed}");
    assert_eq!(
        printed.matches(&key).count(),
        2,
        "the key and the line to paste: {printed}"
    );
    assert!(!up.process.stderr.text().contains(&key));

    // Immediately, as a script would: what was printed must hold from then on.
    let line = &printed[printed.find("\ncurl ").context("a line to paste")?..];
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("{} -w '\\n%{{http_code}}'", line.trim())]);
    let http = up.http(&key);
    let id = match Process::spawn(shell)?
        .ended()
        .await?
        .succeeded()
        .stdout
        .rsplit_once('\n')
    {
        Some((body, "201")) => {
            let created: Value = serde_json::from_str(body)?;
            created["task"]["id"].as_str().context("an id")?.to_owned()
        }
        other => panic!("not created: {other:?}"),
    };
    assert_eq!(http.completed(&id).await?["result"]["statusCode"], 200);

    let second = http
        .post(
            &format!("/teams/{}/apikeys", team(&http).await?),
            &json!({"name": "second"}),
        )
        .await?;
    assert!(second.status.is_success(), "{}", second.text());
    let second = second.json()["apiKey"]["key"]
        .as_str()
        .map(str::to_owned)
        .with_context(|| second.text())?;
    installation.keep_secret(&second);

    for file in [
        "secrets/pepper",
        "secrets/webhook-master",
        "secrets/notary",
        "nats/nats.conf",
        "nats/connection.json",
    ] {
        let metadata = std::fs::metadata(installation.data().join(file))?;
        assert_eq!(
            metadata.permissions().mode() & 0o077,
            0,
            "{file} is its owner's alone"
        );
    }

    let server = installation.nats_pid().context("a nats-server")?;
    assert!(runs(server));
    let ended = up.interrupt().await?;
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    assert!(ended.took.as_secs() < SWIFT_SECONDS, "{:?}", ended.took);
    assert!(!runs(server), "the nats-server ends with it");

    // The first run was allowed to print it; from now on nobody is.
    let mut again = Installation::resuming(installation);
    again.keep_secret(&key);
    let up = again.up().await?;
    assert_eq!(up.key, None);
    assert!(!up.process.stdout.text().contains("shown this once;"));
    for key in [&key, &second] {
        let task = up.http(key).task(&id).await?;
        assert_eq!(task["status"], "completed", "{task}");
    }
    let server = again.nats_pid().context("a nats-server")?;
    let ended = up.process.end(Signal::INT, Whom::Process).await?;
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    assert!(ended.took.as_secs() < SWIFT_SECONDS, "{:?}", ended.took);
    assert!(!runs(server));
    Ok(())
}

async fn team(http: &Http) -> Result<String> {
    let listed = http.get("/v1/tasks").await?.json();
    let team = listed["tasks"][0]["teamId"].as_str();
    Ok(team.context("a task with a team")?.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_given_bootstrap_key_works_and_is_printed_nowhere() -> Result<()> {
    let (mut installation, key) = Installation::with_key()?;
    let sink = Sink::start(([127, 0, 0, 1], 0).into(), SinkOptions::default()).await?;
    let up = installation.up().await?;
    let http = up.http(&key);
    let id = http.create(&json!({"targetUrl": sink.url("/")})).await?;
    http.completed(&id).await?;
    let wrong = http.with_key(&fresh_key()?).get("/v1/tasks").await?;
    assert_eq!(wrong.status, StatusCode::UNAUTHORIZED);
    up.interrupt().await?.succeeded();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_bootstrap_key_is_refused_with_what_would_be_right() -> Result<()> {
    let mut installation = Installation::new()?;
    let key = fresh_key()?;
    // One character is wrong: the checksum tells.
    let wrong = format!(
        "{}{}",
        &key[..key.len() - 1],
        if key.ends_with('x') { 'y' } else { 'x' }
    );
    installation.set("WAYBILL_BOOTSTRAP_KEY", &wrong);
    installation.keep_secret(&wrong);
    let ended = installation.run(&["up", "--listen", "127.0.0.1:0"]).await?;
    ended.refused(&["WAYBILL_BOOTSTRAP_KEY is not an API key", "checksum"]);
    assert!(
        !ended.stderr.contains("KEY: WAYBILL"),
        "said once: {}",
        ended.stderr
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_start_that_fails_does_not_use_up_the_key() -> Result<()> {
    let mut installation = Installation::new()?;
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0))?;
    let address = taken.local_addr()?.to_string();
    let ended = installation.run(&["up", "--listen", &address]).await?;
    ended.refused(&["cannot listen on", &address, "in use"]);
    assert!(!runs(installation.nats_pid().context("a process id")?));
    drop(taken);
    let up = installation.up_on(&address).await?;
    let key = up
        .key
        .clone()
        .context("the key, now that somebody can use it")?;
    assert_eq!(up.http(&key).get("/v1/tasks").await?.status, StatusCode::OK);
    up.interrupt().await?.succeeded();
    Ok(())
}
