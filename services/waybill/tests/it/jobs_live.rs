//! What happens to jobs, as it happens: server-sent events and WebSockets of the jobs API.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};
use waybill_testkit::http::{Event, Events, Http};

use crate::installation::Installation;

/// Deadline of a condition.
const SOON: Duration = Duration::from_secs(20);

async fn post(http: &Http, path: &str, body: &Value) -> Result<Value> {
    let answer = http.post(&format!("/api/v1/jobs{path}"), body).await?;
    ensure!(answer.status.is_success(), "{path}: {}", answer.text());
    Ok(answer.json())
}

async fn create(http: &Http, queue: &str) -> Result<String> {
    let made = post(
        http,
        "",
        &json!({"queue_name": queue, "payload": 1, "priority": 7}),
    )
    .await?;
    made["id"].as_str().map(str::to_owned).context("an id")
}

/// Claims until there is something.
async fn claim(http: &Http, queue: &str) -> Result<Value> {
    let deadline = Instant::now() + SOON;
    loop {
        let body = json!({"queue_name": queue, "worker_id": "w"});
        let mut claimed = post(http, "/claim", &body).await?;
        if let Some(job) = claimed["jobs"].as_array_mut().and_then(Vec::pop) {
            return Ok(job);
        }
        ensure!(Instant::now() < deadline, "nothing to claim in {queue}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn report(http: &Http, held: &Value, action: &str, more: Value) -> Result<()> {
    let mut body = json!({"worker_id": "w", "lease_id": held["lease_id"]});
    let members = body.as_object_mut().context("an object")?;
    members.extend(more.as_object().cloned().unwrap_or_default());
    let id = held["id"].as_str().unwrap_or_default();
    post(http, &format!("/{id}/{action}"), &body).await?;
    Ok(())
}

/// The next event of a stream but for those that come by themselves.
async fn next(events: &mut Events) -> Result<Event> {
    loop {
        let event = events.next().await?.context("the stream goes on")?;
        if event.name != "system.health" {
            return Ok(event);
        }
    }
}

/// Names and data of as many events.
async fn told(events: &mut Events, count: usize) -> Result<Vec<Value>> {
    let mut told = Vec::new();
    for _ in 0..count {
        let event = next(events).await?;
        assert!(event.data["data"]["timestamp"].is_string(), "{event:?}");
        told.push(shape(&event.data));
    }
    Ok(told)
}

/// An event without what differs from run to run.
fn shape(event: &Value) -> Value {
    let mut event = event.clone();
    if let Some(members) = event.as_object_mut() {
        members.remove("position");
    }
    if let Some(data) = event["data"].as_object_mut() {
        data.remove("timestamp");
        if data.get("duration_ms").is_some_and(Value::is_u64) {
            data.remove("duration_ms");
        }
    }
    event
}

fn created(id: &str, queue: &str) -> Value {
    json!({"type": "JobCreated", "data": {"job_id": id, "queue_name": queue, "priority": 7}})
}

fn change(id: &str, queue: &str, old: &str, new: &str) -> Value {
    json!({"type": "JobStatusChange", "data": {"job_id": id, "queue_name": queue, "old_status": old, "new_status": new}})
}

fn completed(id: &str, queue: &str) -> Value {
    json!({"type": "JobCompleted", "data": {"job_id": id, "queue_name": queue}})
}

fn failed(id: &str, queue: &str, count: u32) -> Value {
    json!({"type": "JobFailed", "data": {"job_id": id, "queue_name": queue, "error": "it broke", "retry_count": count}})
}

/// A key that may do less, and its id.
async fn lesser_key(
    installation: &mut Installation,
    http: &Http,
    wish: Value,
) -> Result<(String, String)> {
    let own = http.get("/v1/key").await?.json()["apiKey"].clone();
    let team = own["teamId"].as_str().context("a team")?;
    let made = http.post(&format!("/teams/{team}/apikeys"), &wish).await?;
    ensure!(made.status == 201, "{}", made.text());
    let made = made.json()["apiKey"].clone();
    let key = made["key"].as_str().context("a key")?.to_owned();
    installation.keep_secret(&key);
    let id = made["id"].as_str().context("an id")?;
    Ok((key, id.to_owned()))
}

async fn revoke(http: &Http, id: &str) -> Result<()> {
    let path = format!("/apikeys/{id}/revoke");
    let revoked = http.post(&path, &json!({})).await?;
    ensure!(revoked.status == 200, "{}", revoked.text());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_to_jobs_is_pushed_as_server_sent_events() -> Result<()> {
    let (mut installation, key) = Installation::with_key()?;
    let up = installation.up().await?;
    let http = up.http(&key);
    // A called task is no job.
    http.create(&json!({"targetUrl": "http://127.0.0.1:9/x", "delay": "30d"}))
        .await?;

    let mut all = http.events("/api/v1/events", None).await?;
    let mut of_queue = http.events("/api/v1/events?queue=b", None).await?;
    let id = create(&http, "a").await?;
    let other = create(&http, "b").await?;
    let held = claim(&http, "a").await?;
    report(&http, &held, "fail", json!({"error": "it broke"})).await?;
    let held = claim(&http, "a").await?;
    report(&http, &held, "complete", json!({"result": 1})).await?;
    let expected = [
        created(&id, "a"),
        created(&other, "b"),
        change(&id, "a", "pending", "processing"),
        failed(&id, "a", 1),
        change(&id, "a", "processing", "pending"),
        change(&id, "a", "pending", "processing"),
        completed(&id, "a"),
        change(&id, "a", "processing", "completed"),
    ];
    assert_eq!(told(&mut all, expected.len()).await?, expected);
    assert_eq!(told(&mut of_queue, 1).await?, [created(&other, "b")]);

    resumes(&http, &expected).await?;
    one_job(&http, &id, &other).await?;
    numbers(&http).await?;
    unnamed(&http, &up.url, &key).await?;

    // A limited key sees its queues alone, and loses its stream with its rights.
    let wish = json!({"name": "limited", "scopes": ["jobs:read", "jobs:write"], "queues": ["b"]});
    let (limited, key_id) = lesser_key(&mut installation, &http, wish).await?;
    let theirs = http.with_key(&limited);
    let refused = theirs.get("/api/v1/events?queue=a").await?;
    assert_eq!(refused.status, 403, "{}", refused.text());
    let refused = theirs.get("/api/v1/events/queues/a").await?;
    assert_eq!(refused.status, 403, "{}", refused.text());
    let nobody = Http::new(&up.url, None);
    // Browsers can send no header.
    let path = format!("/api/v1/events?token={limited}");
    let mut few = nobody.events(&path, None).await?;
    create(&http, "a").await?;
    let seen = create(&http, "b").await?;
    assert_eq!(told(&mut few, 1).await?, [created(&seen, "b")]);
    revoke(&http, &key_id).await?;
    let end = async {
        while let Some(event) = few.next().await? {
            assert_eq!(event.name, "system.health");
        }
        Ok::<_, anyhow::Error>(())
    };
    tokio::time::timeout(SOON, end).await??;
    let refused = nobody.get(&path).await?;
    assert_eq!(refused.status, 401, "{}", refused.text());

    up.interrupt().await?;
    Ok(())
}

/// Whoever comes back gets what it has not seen, once and in order.
async fn resumes(http: &Http, expected: &[Value]) -> Result<()> {
    let mut first = http.events("/api/v1/events?after=0", None).await?;
    let mut position = String::new();
    let mut seen = Vec::new();
    for _ in 0..3 {
        let event = next(&mut first).await?;
        seen.push(shape(&event.data));
        if !event.id.is_empty() {
            position = event.id;
        }
    }
    drop(first);
    let mut again = http.events("/api/v1/events", Some(&position)).await?;
    seen.extend(told(&mut again, expected.len() - 3).await?);
    assert_eq!(seen, expected);
    for (path, last_id) in [
        ("/api/v1/events?after=x", None),
        ("/api/v1/events?events=job.exploded", None),
        ("/api/v1/events?queue=a%20b", None),
    ] {
        let refused = http.events(path, last_id).await;
        assert!(refused.is_err(), "{path}");
    }
    Ok(())
}

/// The stream of a job begins with how it stands, and ends with the job.
async fn one_job(http: &Http, ended: &str, waiting: &str) -> Result<()> {
    let mut stream = http
        .events(&format!("/api/v1/events/jobs/{ended}"), None)
        .await?;
    assert_eq!(
        told(&mut stream, 1).await?,
        [change(ended, "a", "", "completed")]
    );
    assert_eq!(stream.next().await?, None);

    let path = format!("/api/v1/events/jobs/{waiting}");
    let mut stream = http.events(&path, None).await?;
    assert_eq!(
        told(&mut stream, 1).await?,
        [change(waiting, "b", "", "pending")]
    );
    let held = claim(http, "b").await?;
    report(
        http,
        &held,
        "fail",
        json!({"error": "it broke", "no_retry": true}),
    )
    .await?;
    let mut rest = Vec::new();
    let mut last = String::new();
    while let Some(event) = stream.next().await? {
        rest.push(shape(&event.data));
        last = event.id;
    }
    let end = change(waiting, "b", "processing", "deadletter");
    assert_eq!(rest[0], change(waiting, "b", "pending", "processing"));
    assert_eq!(
        (rest[1]["type"].as_str(), &rest[2]),
        (Some("JobFailed"), &end)
    );
    assert_eq!(rest.len(), 3);
    let headers = [("last-event-id", last.as_str())];
    let over = http.send(http::Method::GET, &path, &headers, "").await?;
    assert_eq!(over.status, 204, "nothing more will come");

    for id in ["00000000-0000-0000-0000-000000000000", "x"] {
        let mut stream = http
            .events(&format!("/api/v1/events/jobs/{id}"), None)
            .await?;
        let event = stream.next().await?.context("an error")?;
        assert_eq!(event.name, "error");
        assert_eq!(event.data["data"]["message"], "Job not found");
        assert_eq!(stream.next().await?, None);
    }
    Ok(())
}

async fn numbers(http: &Http) -> Result<()> {
    let mut stream = http.events("/api/v1/events/queues/numbers", None).await?;
    let numbers = |event: &Event| {
        let data = &event.data["data"];
        ["pending", "processing", "completed", "failed"].map(|name| data[name].as_u64())
    };
    let event = next(&mut stream).await?;
    assert_eq!(event.name, "queue.stats");
    assert_eq!(numbers(&event), [Some(0); 4]);
    create(http, "numbers").await?;
    let held = claim(http, "numbers").await?;
    report(http, &held, "complete", json!({})).await?;
    create(http, "numbers").await?;
    let wanted = [Some(1), Some(0), Some(1), Some(0)];
    // Changes are gathered: however many counts there are, the last one has them all.
    while numbers(&next(&mut stream).await?) != wanted {}
    Ok(())
}

/// What Node's client opens reads unnamed frames only.
async fn unnamed(http: &Http, url: &str, key: &str) -> Result<()> {
    let id = create(http, "node").await?;
    let mut stream = as_node(url, key, &format!("/api/v1/events/jobs/{id}")).await?;
    let mut text = String::new();
    while !text.contains("data:") {
        text += &stream.read().await?;
    }
    assert!(!text.contains("event:"), "{text}");
    Ok(())
}

/// A connection on which a request was sent as Node sends it.
struct Raw(TcpStream);

impl Raw {
    async fn read(&mut self) -> Result<String> {
        use tokio::io::AsyncReadExt;
        let mut bytes = [0; 4_096];
        let read = tokio::time::timeout(SOON, self.0.read(&mut bytes)).await??;
        ensure!(read > 0, "it goes on");
        Ok(String::from_utf8_lossy(&bytes[..read]).into_owned())
    }
}

async fn as_node(url: &str, key: &str, path: &str) -> Result<Raw> {
    use tokio::io::AsyncWriteExt;
    let host = url.strip_prefix("http://").context("a URL")?;
    let mut stream = TcpStream::connect(host).await?;
    let head = format!(
        "GET {path} HTTP/1.1\r\nhost: {host}\r\nuser-agent: node\r\nauthorization: Bearer {key}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await?;
    Ok(Raw(stream))
}

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

async fn open(url: &str, query: &str) -> Result<Socket> {
    let url = url.replacen("http", "ws", 1);
    let request = format!("{url}/api/v1/ws?{query}").into_client_request()?;
    let (mut socket, _) = tokio_tungstenite::connect_async(request).await?;
    let first = any_frame(&mut socket).await?.context("a frame")?;
    assert_eq!(first["type"], "Ping");
    Ok(socket)
}

/// The next frame but for those that come by themselves; `None` once it is closed.
async fn frame(socket: &mut Socket) -> Result<Option<Value>> {
    loop {
        let frame = any_frame(socket).await?;
        if frame.as_ref().is_none_or(|frame| frame["type"] != "Ping") {
            return Ok(frame);
        }
    }
}

async fn any_frame(socket: &mut Socket) -> Result<Option<Value>> {
    loop {
        match tokio::time::timeout(SOON, socket.next()).await? {
            None | Some(Ok(Message::Close(_))) => return Ok(None),
            Some(Ok(Message::Text(text))) => return Ok(Some(serde_json::from_str(&text)?)),
            Some(Ok(_)) => {}
            Some(Err(error)) => bail!(error),
        }
    }
}

async fn say(socket: &mut Socket, command: Value) -> Result<()> {
    socket.send(Message::text(command.to_string())).await?;
    Ok(())
}

/// Waits until all that was said before has been heard.
async fn heard(socket: &mut Socket) -> Result<()> {
    say(socket, json!({"cmd": "PING"})).await?;
    let answer = any_frame(socket).await?.context("a frame")?;
    assert_eq!(answer["type"], "Ping");
    say(socket, json!({"cmd": "Explode"})).await?;
    let answer = frame(socket).await?.context("a frame")?;
    assert_eq!(answer["type"], "Error");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_tells_what_it_was_asked_for() -> Result<()> {
    let (mut installation, key) = Installation::with_key()?;
    let up = installation.up().await?;
    let http = up.http(&key);
    let mut socket = open(&up.url, &format!("token={key}")).await?;

    // Without a subscription it is everything.
    let id = create(&http, "a").await?;
    let event = frame(&mut socket).await?.context("a frame")?;
    assert_eq!(shape(&event), created(&id, "a"));
    let position = event["position"].as_u64().context("a position")?;

    // Subscriptions add up, whatever the case of the command.
    say(&mut socket, json!({"cmd": "Subscribe", "queue": "b"})).await?;
    say(&mut socket, json!({"cmd": "subscribe", "job_id": id})).await?;
    heard(&mut socket).await?;
    create(&http, "c").await?;
    let of_b = create(&http, "b").await?;
    let held = claim(&http, "a").await?;
    let seen = [frame(&mut socket).await?, frame(&mut socket).await?];
    let seen = seen.map(|event| shape(&event.unwrap_or_default()));
    let claimed = change(&id, "a", "pending", "processing");
    assert_eq!(seen, [created(&of_b, "b"), claimed]);
    say(&mut socket, json!({"cmd": "Unsubscribe", "queue": "b"})).await?;
    heard(&mut socket).await?;
    create(&http, "b").await?;
    report(&http, &held, "complete", json!({})).await?;
    let seen = [frame(&mut socket).await?, frame(&mut socket).await?];
    let seen = seen.map(|event| shape(&event.unwrap_or_default()));
    let end = change(&id, "a", "processing", "completed");
    assert_eq!(seen, [completed(&id, "a"), end.clone()]);

    for wrong in ["{", "{}", r#"{"cmd": "Explode"}"#] {
        socket.send(Message::text(wrong)).await?;
        let answer = frame(&mut socket).await?.context("a frame")?;
        assert_eq!(answer["type"], "Error", "{wrong}");
    }

    // Who comes back gets what it has missed.
    let query = format!("token={key}&job_id={id}&after={position}");
    let mut again = open(&up.url, &query).await?;
    let mut seen = Vec::new();
    while seen.last() != Some(&end) {
        seen.push(shape(&frame(&mut again).await?.context("a frame")?));
    }
    assert_eq!(seen.len(), 3, "{seen:?}");

    // A limited key, and its end.
    let wish = json!({"name": "limited", "scopes": ["jobs:read"], "queues": ["b"]});
    let (limited, key_id) = lesser_key(&mut installation, &http, wish).await?;
    let mut few = open(&up.url, &format!("api_key={limited}")).await?;
    say(&mut few, json!({"cmd": "Subscribe", "queue": "a"})).await?;
    let answer = frame(&mut few).await?.context("a frame")?;
    assert_eq!(answer["type"], "Error");
    create(&http, "a").await?;
    let seen = create(&http, "b").await?;
    let event = frame(&mut few).await?.context("a frame")?;
    assert_eq!(shape(&event), created(&seen, "b"));
    revoke(&http, &key_id).await?;
    assert_eq!(frame(&mut few).await?, None, "it is closed");

    for (query, status) in [
        (
            "token=sp_live_000000000000000000000000000000".to_owned(),
            401,
        ),
        (String::new(), 401),
        (format!("token={limited}"), 401),
    ] {
        let refused = open(&up.url, &query).await.expect_err("refused");
        assert!(
            refused.to_string().contains(&status.to_string()),
            "{refused}"
        );
    }
    let plain = http.get("/api/v1/ws").await?;
    assert_eq!(plain.status, 400, "{}", plain.text());
    assert_eq!(plain.code(), "BAD_REQUEST");

    // An open socket holds no gateway up, and is told.
    let begun = Instant::now();
    up.interrupt().await?;
    assert!(begun.elapsed() < SOON);
    assert_eq!(frame(&mut socket).await?, None);
    Ok(())
}
