//! Whatever is killed, nothing that was accepted is lost.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use rustix::process::{Signal, kill_process};
use serde_json::json;
use tokio::task::JoinSet;
use waybill_log::mail::HOLD;
use waybill_sink::{Answer, Plan, Sink, SinkOptions};
use waybill_testkit::descriptors::{limit_descriptors, open_descriptors};
use waybill_testkit::eventually;

use crate::installation::{Installation, runs};
use crate::process::{PATIENCE, POLL, Whom};
use waybill_testkit::http::Http;
use waybill_testkit::nats::free_port;
use waybill_testkit::smtp::SmtpServer;

/// Tasks that are under way when something is killed.
const TASKS: usize = 40;

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_loses_nothing_that_it_accepted() -> Result<()> {
    let (mut installation, key) = Installation::with_key()?;
    // Nothing succeeds before the crash: attempts, retries and webhooks are all still to be done after it.
    let open = Arc::new(AtomicBool::new(false));
    let gate = Arc::clone(&open);
    let options = SinkOptions {
        script: Some(Arc::new(move |received| {
            let closed = !gate.load(Ordering::Acquire) && !received.path.starts_with("/hang");
            closed.then(|| Plan {
                status: http::StatusCode::from_u16(503).ok(),
                ..Plan::default()
            })
        })),
        ..SinkOptions::default()
    };
    let sink = Sink::start(([127, 0, 0, 1], 0).into(), options).await?;
    let up = installation.up().await?;
    let http = up.http(&key);
    let mut ids = Vec::new();
    for number in 0..TASKS {
        let task = json!({
            "targetUrl": sink.url(&format!("/work/{number}")),
            "onCompleteUrl": sink.url(&format!("/done/{number}")),
            "maxRetries": 10,
            "retryBackoff": "linear",
        });
        ids.push(http.create(&task).await?);
    }
    let due = SystemTime::now() + Duration::from_secs(4);
    let due = waybill_domain::time::Timestamp(i64::try_from(
        due.duration_since(SystemTime::UNIX_EPOCH)?.as_millis(),
    )?);
    let delayed = http
        .create(&json!({"targetUrl": sink.url("/later"), "delayUntil": due.to_rfc3339()}))
        .await?;
    let hanging = http
        .create(&json!({"targetUrl": sink.url("/hang"), "timeout": 2, "maxRetries": 0}))
        .await?;
    // The calls have begun, and at least one retry is waited for.
    sink.wait_for(10, PATIENCE).await?;
    http.task_when(&hanging, |task| task["status"] == "processing")
        .await?;
    let promised = json!({"targetUrl": sink.url("/promised")});
    let promised_id = http.create_surely("order-17", &promised).await?;
    let mut events = http.events("/v1/events?after=0", None).await?;
    let mut seen = Vec::new();
    while seen.len() < TASKS {
        seen.push(events.next().await?.context("an event")?);
    }
    let server = installation.nats_pid().context("a nats-server")?;
    up.kill().await?;
    eventually(PATIENCE, async || !runs(server))
        .await
        .context("the nats-server ends with the process that started it")?;

    open.store(true, Ordering::Release);
    let up = installation.up().await?;
    let http = up.http(&key);
    assert_eq!(
        http.create_surely("order-17", &promised).await?,
        promised_id
    );
    for id in ids.iter().chain([&delayed, &promised_id]) {
        http.completed(id).await?;
    }
    // A subscriber goes on where it was, without gap or repeat.
    let mut resumed = http
        .events("/v1/events", seen.last().map(|event| &*event.id))
        .await?;
    let mut whole = http.events("/v1/events?after=0", None).await?;
    while seen.len() < 3 * TASKS {
        seen.push(resumed.next().await?.context("an event")?);
    }
    for event in &seen {
        assert_eq!(whole.next().await?.as_ref(), Some(event));
    }
    drop((resumed, whole));
    // The attempt that was cut off did not use up the only one it had: it ends by its own time limit.
    let hung = http
        .task_when(&hanging, |task| {
            matches!(task["status"].as_str(), Some("failed" | "timeout"))
        })
        .await?;
    assert_eq!(hung["attempts"].as_array().map(Vec::len), Some(2), "{hung}");

    let start = std::time::Instant::now();
    loop {
        let webhooks = sink
            .received()
            .iter()
            .filter(|received| received.path.starts_with("/done/") && received.status == 200)
            .map(|received| received.path.clone())
            .collect::<std::collections::HashSet<_>>();
        if webhooks.len() == TASKS {
            break;
        }
        assert!(
            start.elapsed() < PATIENCE,
            "{} webhooks arrived",
            webhooks.len()
        );
        tokio::time::sleep(POLL).await;
    }
    let mut by_path = HashMap::<_, Vec<_>>::new();
    for received in sink.received() {
        by_path
            .entry(received.path)
            .or_default()
            .push((received.time_us, received.attempt));
    }
    for (path, attempts) in &by_path {
        assert!(
            attempts.is_sorted(),
            "{path}: attempts in order: {attempts:?}"
        );
    }
    let called = by_path["/later"][0].0;
    assert!(
        called >= u64::try_from(due.0)? * 1000,
        "not before its time: {called} {}",
        due.0
    );
    up.interrupt().await?.succeeded();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_nats_server_is_started_again_and_nothing_accepted_is_lost() -> Result<()> {
    let (mut installation, key) = Installation::with_key()?;
    let plan = SinkOptions {
        script: Some(Arc::new(|_| Some(Plan::from(Answer::Ok)))),
        ..SinkOptions::default()
    };
    let sink = Sink::start(([127, 0, 0, 1], 0).into(), plan).await?;
    let up = installation.up().await?;
    let http = up.http(&key);
    http.completed(&http.create(&json!({"targetUrl": sink.url("/")})).await?)
        .await?;
    let first = installation.nats_pid().context("a nats-server")?;
    let port = port_of(&installation)?;

    let stop = Arc::new(AtomicBool::new(false));
    let mut clients = JoinSet::new();
    for client in 0..4 {
        let (http, stop, url) = (http.clone(), Arc::clone(&stop), sink.url("/"));
        clients.spawn(async move {
            let mut accepted = Vec::new();
            while !stop.load(Ordering::Acquire) {
                let key = format!("{client}-{}", accepted.len());
                accepted.push(create(&http, &key, &url).await?);
            }
            anyhow::Ok(accepted)
        });
    }
    sink.wait_for(50, PATIENCE).await?;
    kill_process(first, Signal::KILL)?;
    let start = std::time::Instant::now();
    let second = loop {
        match installation.nats_pid() {
            Some(pid) if pid != first && runs(pid) => break pid,
            _ => assert!(start.elapsed() < PATIENCE, "no new nats-server"),
        }
        tokio::time::sleep(POLL).await;
    };
    assert_eq!(port_of(&installation)?, port);
    // Accepted by the new one, too.
    let after = http
        .create_surely("after", &json!({"targetUrl": sink.url("/")}))
        .await?;
    http.completed(&after).await?;
    stop.store(true, Ordering::Release);
    let mut accepted = Vec::new();
    for client in clients.join_all().await {
        accepted.extend(client?);
    }
    for id in &accepted {
        http.completed(id).await?;
    }
    let logged = up.process.stderr.text();
    assert!(logged.contains("nats-server ended by itself"), "{logged}");
    // The one that was started later is bound to the same life as the first one was.
    up.kill().await?;
    eventually(PATIENCE, async || !runs(second)).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_cannot_run_takes_no_other_with_it() -> Result<()> {
    let (mut installation, key) = Installation::with_key()?;
    let sink = Sink::start(([127, 0, 0, 1], 0).into(), SinkOptions::default()).await?;
    // Somebody else holds the read model, so the projector gives up.
    let folder = installation.data().join("projector");
    std::fs::create_dir_all(&folder)?;
    let held = std::fs::File::create(folder.join("LOCK"))?;
    held.lock()?;
    let up = installation.up().await?;
    let http = up.http(&key);
    eventually(PATIENCE, async || {
        let logged = up.process.stderr.text();
        logged.contains("a role ended by itself") && logged.contains("projector")
    })
    .await?;
    // Accepted and called all the same.
    let task = http.create(&json!({"targetUrl": sink.url("/")})).await?;
    sink.wait_for(1, PATIENCE).await?;
    assert!(
        http.get(&format!("/v1/tasks/{task}")).await?.status
            == http::StatusCode::SERVICE_UNAVAILABLE
    );
    drop(held);
    http.completed(&task).await?;
    up.process.end(Signal::INT, Whom::Group).await?.succeeded();
    installation.nothing_leaked();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lack_of_descriptors_costs_no_attempt() -> Result<()> {
    const CALLS: usize = 30;
    let (mut installation, key) = Installation::with_key()?;
    let metrics = format!("127.0.0.1:{}", free_port()?);
    installation.set("WAYBILL__METRICS_LISTEN", &metrics);
    let sink = Sink::start(([127, 0, 0, 1], 0).into(), SinkOptions::default()).await?;
    let up = installation.up().await?;
    let http = up.http(&key);
    let operator = Http::new(&format!("http://{metrics}"), None);
    // Connections that exist go on to be used while there can be no new one.
    operator.until("/metrics", http::StatusCode::OK).await?;
    let task = json!({"targetUrl": sink.url("/"), "delay": "3s", "maxRetries": 0});
    let mut accepted = Vec::new();
    for _ in 0..CALLS {
        accepted.push(http.create(&task).await?);
    }
    let pid = up.process.pid()?;
    let former = limit_descriptors(pid, open_descriptors(pid)?)?;
    eventually(PATIENCE, async || {
        let scraped = operator.get("/metrics").await;
        scraped.is_ok_and(|answer| answer.text().contains("waybill_worker_faults_total"))
    })
    .await
    .context("the lack is seen")?;
    assert_eq!(sink.received().len(), 0);
    limit_descriptors(pid, former)?;
    for id in &accepted {
        // With no retry allowed, one attempt that counted would have ended it.
        http.completed(id).await?;
    }
    assert_eq!(sink.received().len(), CALLS);
    up.process.end(Signal::INT, Whom::Group).await?.succeeded();
    installation.nothing_leaked();
    Ok(())
}

async fn create(http: &Http, key: &str, url: &str) -> Result<String> {
    http.create_surely(key, &json!({"targetUrl": url})).await
}

/// The answer to a request for a letter is a promise as any other.
#[tokio::test(flavor = "multi_thread")]
async fn a_letter_that_was_promised_is_sent_after_the_crash() -> Result<()> {
    let (mut installation, _) = Installation::with_key()?;
    for (name, value) in [
        ("TRANSPORT", "smtp"),
        ("HOST", "127.0.0.1"),
        ("TLS", "none"),
        ("FROM", "Waybill <waybill@example.com>"),
    ] {
        installation.set(&format!("WAYBILL__MAIL__{name}"), value);
    }
    // Nobody is there.
    installation.set("WAYBILL__MAIL__PORT", &free_port()?.to_string());
    let up = installation.up().await?;
    let http = Http::new(&up.url, None);
    let ann = json!({"email": "ann@example.com"});
    let answer = http.post("/v1/auth/signup", &ann).await?;
    assert_eq!(answer.status, 202, "{}", answer.text());
    up.kill().await?;

    let mut mails = SmtpServer::start(|_| "250 taken").await?;
    installation.set("WAYBILL__MAIL__PORT", &mails.port.to_string());
    let up = installation.up().await?;
    // The process that was killed may have held it, which ends after half a minute.
    let content = mails.next_within(2 * HOLD).await?.unfolded();
    let token = content
        .lines()
        .find_map(|line| line.strip_prefix("    wb_confirm_"));
    let token = format!("wb_confirm_{}", token.context("a token")?);
    installation.keep_secret(&token);
    let confirmation = json!({"token": token, "password": "correct horse battery"});
    let http = Http::new(&up.url, None);
    let confirmed = http.post("/v1/auth/confirm", &confirmation).await?;
    assert_eq!(confirmed.status, 201, "{}", confirmed.text());
    up.interrupt().await?.succeeded();
    Ok(())
}

fn port_of(installation: &Installation) -> Result<String> {
    let text = std::fs::read(installation.data().join("nats/connection.json"))?;
    let connection: serde_json::Value = serde_json::from_slice(&text)?;
    Ok(connection["url"].as_str().context("a URL")?.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_killed_at_each_step_of_its_first_start_starts_at_last() -> Result<()> {
    let mut installation = Installation::new()?;
    // Each start comes one step further than the one before.
    let steps = [
        "stream created stream=\"CONTROL\"",
        "stream created stream=\"TASKS\"",
        "stream created stream=\"KV_owners\"",
        "stream created stream=\"OBJ_snapshots\"",
        "store created engine=fjall",
        "store created engine=sled",
        "the gateway listens",
        "partition taken over",
    ];
    for step in steps {
        let mut process = installation.start(&["up", "--listen", "127.0.0.1:0"])?;
        // A kill comes when it comes: a later step may have been reached as well, and will then not be seen again.
        let ready = |stdout: &str, stderr: &str| {
            (stderr.contains(step) || stdout.contains("targetUrl")).then_some(())
        };
        process.says(ready).await?;
        process.end(Signal::KILL, Whom::Process).await?;
    }
    let up = installation.up().await?;
    // Whether the first key was ever printed is chance; another can be made in any case.
    let data = installation.data();
    let make = [
        "keys",
        "create",
        "--name",
        "mine",
        "--data",
        data.to_str().context("a path")?,
    ];
    let key = installation.run(&make).await?.succeeded().stdout;
    let http = up.http(key.trim());
    http.until("/v1/tasks", http::StatusCode::OK).await?;
    let health = json!({"targetUrl": format!("{}/healthz", up.url), "method": "GET"});
    http.completed(&http.create(&health).await?).await?;
    up.interrupt().await?.succeeded();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_of_a_killed_up_stops_in_order_and_needs_not_read_its_streams_again()
-> Result<()> {
    let (mut installation, key) = Installation::with_key()?;
    let up = installation.up().await?;
    let health = json!({"targetUrl": format!("{}/healthz", up.url), "method": "GET"});
    let id = up.http(&key).create(&health).await?;
    up.http(&key).completed(&id).await?;
    up.kill().await?;
    let log = installation.data().join("nats/nats.log");
    let before = std::fs::read_to_string(&log)?.len();
    // At once: it may still be stopping.
    let up = installation.up().await?;
    assert_eq!(up.http(&key).task(&id).await?["status"], "completed");
    let said = std::fs::read_to_string(&log)?;
    let said = said.get(before..).context("the log grows")?;
    assert!(
        said.contains("Starting restore for stream '$G > TASKS'"),
        "{said}"
    );
    assert!(!said.contains("will rebuild"), "{said}");
    up.interrupt().await?.succeeded();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stray_nats_server_of_a_former_start_is_ended() -> Result<()> {
    let (mut installation, key) = Installation::with_key()?;
    // Without `setpriv` on PATH the child outlives a killed parent.
    let bare = installation.path().join("bare");
    std::fs::create_dir(&bare)?;
    installation.set("PATH", &bare.to_string_lossy());
    let up = installation.up().await?;
    let id = up
        .http(&key)
        .create(&json!({"targetUrl": format!("{}/healthz", up.url), "method": "GET"}))
        .await?;
    let stray = installation.nats_pid().context("a nats-server")?;
    up.kill().await?;
    assert!(runs(stray), "the test needs one that is left behind");
    let up = installation.up().await?;
    assert!(!runs(stray));
    // Its target was the former process, on a port that nobody has now: what counts is that it is known.
    assert_eq!(up.http(&key).task(&id).await?["id"], *id);
    let ended = up.interrupt().await?.succeeded();
    assert!(
        ended
            .stderr
            .contains("a nats-server of a former start still runs")
    );
    Ok(())
}
