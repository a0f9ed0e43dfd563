//! What a target answers, as its client and the receiver of the webhook read it.

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use waybill_sink::{Sink, SinkOptions};
use waybill_testkit::http::Http;

use crate::installation::Installation;

/// Two cookies, one of which has a comma of its own.
const COOKIES: &str = "HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\n\
    Set-Cookie: b=2; Expires=Wed, 21 Oct 2026 07:28:00 GMT\r\n\
    X-Once: yes\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";

/// A target that answers every GET with these bytes. Abort the task to end it.
async fn target(answer: &'static str) -> Result<(String, JoinHandle<()>)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/", listener.local_addr()?);
    let serving = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            if read_head(&mut stream).await {
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        }
    });
    Ok((url, serving))
}

async fn read_head(stream: &mut TcpStream) -> bool {
    let mut seen = Vec::new();
    while !seen.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => seen.push(byte),
            Err(_) => return false,
        }
    }
    true
}

/// The task in the webhook that said how it ended.
async fn told(http: &Http, sink: &Sink, id: &str) -> Result<Value> {
    http.task_when(id, |task| task["webhook"]["status"] == "delivered")
        .await?;
    let received = sink.received();
    let mut messages = received
        .iter()
        .filter_map(|request| serde_json::from_slice::<Value>(&request.body).ok());
    let message = messages.find(|message| message["task"]["id"] == id);
    Ok(message.context("told")?["task"].clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_that_was_answered_twice_is_a_list() -> Result<()> {
    let (mut installation, key) = Installation::with_key()?;
    let sink = Sink::start(([127, 0, 0, 1], 0).into(), SinkOptions::default()).await?;
    let (url, serving) = target(COOKIES).await?;
    let up = installation.up().await?;
    let http = up.http(&key);
    let task = json!({"targetUrl": url, "method": "GET", "onCompleteUrl": sink.url("/hook")});
    let id = http.create(&task).await?;
    let done = http.completed(&id).await?;
    let result = http.get(&format!("/v1/tasks/{id}/result")).await?.json();
    let told = told(&http, &sink, &id).await?;
    let cookies = json!(["a=1", "b=2; Expires=Wed, 21 Oct 2026 07:28:00 GMT"]);
    for (where_, result) in [
        ("task", &done["result"]),
        ("result", &result["result"]),
        ("webhook", &told["result"]),
    ] {
        let headers = &result["headers"];
        assert_eq!(headers["set-cookie"], cookies, "{where_}: {result}");
        assert_eq!(headers["x-once"], "yes", "{where_}: one value is a text");
    }
    serving.abort();
    up.interrupt().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_that_is_not_followed_is_told_as_one() -> Result<()> {
    let (mut installation, key) = Installation::with_key()?;
    let sink = Sink::start(([127, 0, 0, 1], 0).into(), SinkOptions::default()).await?;
    let up = installation.up().await?;
    let http = up.http(&key);
    for (success, status) in [(Value::Null, "completed"), (json!("2xx"), "failed")] {
        let task = json!({
            "targetUrl": sink.url("/redirect?to=/there"), "success": success, "maxRetries": 0,
            "onCompleteUrl": sink.url("/hook"),
        });
        let id = http.create(&task).await?;
        let done = http.task_when(&id, |task| task["ok"].is_boolean()).await?;
        let told = told(&http, &sink, &id).await?;
        for (where_, task) in [("task", &done), ("webhook", &told)] {
            assert_eq!(task["status"], status, "{where_} {success}: {task}");
            assert_eq!(task["ok"], false, "{where_} {success}: {task}");
            let error = task["error"].as_str().unwrap_or_default();
            assert!(
                error.contains("HTTP 302") && error.contains("/there"),
                "{where_} {success}: {error:?}"
            );
        }
    }
    let paths = sink.received();
    assert!(paths.iter().all(|request| request.path != "/there"));
    up.interrupt().await?;
    Ok(())
}
