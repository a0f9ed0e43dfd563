//! Invariant 6: after a full run no secret's plaintext is on disk, in the log, in a metric, in what a process printed or in an answer.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::{Method, StatusCode};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;
use waybill_sink::{Sink, SinkOptions};
use waybill_testkit::http::Http;
use waybill_testkit::nats::free_port;
use waybill_testkit::search::{files_with, files_with_any};

use crate::installation::Installation;

/// Requests of this size are whole.
const MAX_REQUEST: usize = 64 * 1024;

/// A target that says all that it was sent, in its headers and its body, as it came, in base 64 and percent-encoded.
struct Echo {
    url: String,
    /// Whole requests, as they came.
    seen: Arc<Mutex<Vec<String>>>,
    serving: AbortHandle,
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Echo {
    async fn start() -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let seen = Arc::<Mutex<Vec<String>>>::default();
        let heard = Arc::clone(&seen);
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream, Arc::clone(&heard)));
            }
        });
        Ok(Self {
            url,
            seen,
            serving: serving.abort_handle(),
        })
    }

    fn saw(&self, text: &str) -> bool {
        let seen = self.seen.lock();
        seen.iter().any(|request| request.contains(text))
    }
}

async fn answer(mut stream: TcpStream, seen: Arc<Mutex<Vec<String>>>) -> Result<()> {
    let mut request = Vec::new();
    while !is_whole(&request) && request.len() < MAX_REQUEST {
        if stream.read_buf(&mut request).await? == 0 {
            return Ok(());
        }
    }
    let text = String::from_utf8_lossy(&request).into_owned();
    let line = text.replace(['\r', '\n'], " ");
    let percent: String = request.iter().map(|b| format!("%{b:02X}")).collect();
    let body = format!("{text}\n{}\n{percent}", BASE64_STANDARD.encode(&request));
    let status = if text.starts_with("PUT ") {
        "500 Broken"
    } else {
        "200 OK"
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nx-echo: {line}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    seen.lock().push(text);
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body.as_bytes()).await?;
    Ok(stream.shutdown().await?)
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let is_it = name.eq_ignore_ascii_case("content-length");
        is_it.then(|| value.trim().parse::<usize>().ok())?
    });
    body.len() >= length.unwrap_or(0)
}

/// Forms of a secret that give it away. Of base 64 the part that does not depend on what stands around it.
fn forms(secret: &str) -> Vec<Vec<u8>> {
    let mut forms = vec![secret.as_bytes().to_vec()];
    for padding in 0..3_usize {
        let mut bytes = vec![b' '; padding];
        bytes.extend(secret.as_bytes());
        let encoded = BASE64_STANDARD.encode(&bytes);
        let from = (padding * 8).div_ceil(6);
        let to = bytes.len() * 8 / 6;
        forms.push(encoded.as_bytes()[from..to].to_vec());
    }
    let percent: String = secret.bytes().map(|b| format!("%{b:02X}")).collect();
    forms.push(percent.to_lowercase().into_bytes());
    forms.push(percent.into_bytes());
    forms
}

struct Run {
    http: Http,
    /// All that clients were ever told.
    told: Vec<String>,
}

impl Run {
    async fn ask(&mut self, method: Method, path: &str, body: &Value) -> Result<Value> {
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let answer = self.http.send(method, path, &[], body).await?;
        self.told
            .push(format!("{:?}\n{}", answer.headers, answer.text()));
        anyhow::ensure!(answer.status.is_success(), "{path}: {}", answer.text());
        if answer
            .header("content-type")
            .is_some_and(|kind| kind.contains("json") && !kind.contains("jsonl"))
        {
            return Ok(serde_json::from_str(&answer.text()).unwrap_or_default());
        }
        Ok(Value::Null)
    }

    async fn keep(&mut self, name: &str, value: &str) -> Result<String> {
        let body = json!({"name": name, "value": value});
        let made = self.ask(Method::POST, "/v1/tokens", &body).await?;
        Ok(made["token"]["id"].as_str().context("an id")?.to_owned())
    }

    async fn run(&mut self, task: &Value) -> Result<Value> {
        let made = self.ask(Method::POST, "/v1/tasks", task).await?;
        let id = made["task"]["id"].as_str().context("an id")?.to_owned();
        self.http
            .task_when(&id, |task| task["completedAt"].is_string())
            .await?;
        Ok(self
            .ask(Method::GET, &format!("/v1/tasks/{id}"), &Value::Null)
            .await?["task"]
            .clone())
    }
}

// V6, V8, V9.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_secret_stands_nowhere_after_a_full_run() -> Result<()> {
    let (mut installation, key) = Installation::with_key()?;
    let metrics = format!("127.0.0.1:{}", free_port()?);
    installation.set("WAYBILL__METRICS_LISTEN", &metrics);
    installation.set("WAYBILL__LOG__FILTER", "debug");
    let up = installation.up().await?;
    let mut run = Run {
        http: up.http(&key),
        told: Vec::new(),
    };
    let echo = Echo::start().await?;
    let sink = Sink::start(([127, 0, 0, 1], 0).into(), SinkOptions::default()).await?;
    let mut events = run.http.events("/v1/events?after=0", None).await?;

    // Each stands in one place only; some characters are such as escapes change.
    let whole = "sk-whole-7f3a91c2/+d4e5";
    let inside = "sk-inside-0b8c77aa&x=1";
    let query = "sk-query-55d0 e1f2+\u{fc}";
    let body = "sk-body-9912\"quoted\"ab";
    let raw = "sk-raw-44aa00bb/+cc";
    let cookie = "sk-cookie-1d2e3f4a5b";
    let second = "sk-second-c0ffee77/8";
    let refused = "sk-refused-0099aabbcc";
    let secrets = [whole, inside, query, body, raw, cookie, second, refused];

    let tok_whole = run.keep("whole", &format!("Bearer {whole}")).await?;
    let tok_inside = run.keep("inside", inside).await?;
    let tok_query = run.keep("query", query).await?;
    let tok_body = run.keep("body", body).await?;
    let bad = json!({"name": "bad", "value": format!("{refused}\n")});
    assert!(run.ask(Method::POST, "/v1/tokens", &bad).await.is_err());

    let task = json!({
        "targetUrl": format!("{}/q?plain=1&key={{{{{tok_query}}}}}", echo.url),
        "headers": {
            "Authorization": tok_whole,
            "X-Token": format!("token {{{{{tok_inside}}}}};v=1"),
            "X-Plain": "plain",
        },
        "body": format!("{{\"key\": \"{{{{{tok_body}}}}}\"}}"),
        "resolve": ["query", "body"],
        "onCompleteUrl": sink.url("/done"),
        "idempotencyKey": "one",
    });
    let done = run.run(&task).await?;
    assert_eq!(done["status"], json!("completed"), "{done}");
    assert_eq!(
        done["headers"]["Authorization"],
        json!(tok_whole),
        "the reference stays"
    );
    assert!(
        done["result"]["body"]
            .as_str()
            .is_some_and(|body| body.contains("[vault:tok_"))
    );
    let percent = "key=sk-query-55d0%20e1f2%2B%C3%BC";
    for arrived in [
        format!("Bearer {whole}"),
        format!("token {inside};v=1"),
        percent.to_owned(),
        "{\"key\": \"sk-body-9912\\\"quoted\\\"ab\"}".to_owned(),
    ] {
        assert!(echo.saw(&arrived), "{arrived} arrived");
    }

    // Brought along, and failing: the error and each attempt are told, too.
    let task = json!({
        "targetUrl": format!("{}/raw", echo.url),
        "method": "PUT",
        "maxRetries": 1,
        "headers": {"Authorization": format!("Bearer {raw}"), "Cookie": format!("session={cookie}"), "X-Plain": "plain"},
        "onCompleteUrl": sink.url("/failed"),
    });
    let failed = run.run(&task).await?;
    assert_eq!(failed["status"], json!("failed"), "{failed}");
    assert_eq!(failed["headers"]["Authorization"], json!("Bearer ****"));
    assert_eq!(failed["headers"]["X-Plain"], json!("plain"));
    assert!(echo.saw(&format!("Bearer {raw}")) && echo.saw(&format!("session={cookie}")));

    // Another value under the same id, then the end.
    let path = format!("/v1/tokens/{tok_whole}/rotate");
    run.ask(
        Method::POST,
        &path,
        &json!({"value": format!("Bearer {second}")}),
    )
    .await?;
    let task = json!({"targetUrl": format!("{}/again", echo.url), "headers": {"Authorization": tok_whole}});
    run.run(&task).await?;
    assert!(echo.saw(&format!("Bearer {second}")));
    run.ask(
        Method::DELETE,
        &format!("/v1/tokens/{tok_whole}"),
        &Value::Null,
    )
    .await?;
    let gone = run
        .ask(Method::POST, "/v1/tasks", &task)
        .await
        .expect_err("revoked");
    let text =
        format!("Header \\\"Authorization\\\" references unknown vault token \\\"{tok_whole}\\\"");
    assert!(gone.to_string().contains(&text), "{gone}");

    sink.wait_for(2, Duration::from_secs(20)).await?;
    for path in [
        "/v1/tasks",
        "/v1/tokens",
        "/v1/activity?limit=100",
        "/v1/activity/export?format=jsonl",
        "/v1/activity/export?format=csv",
    ] {
        run.ask(Method::GET, path, &Value::Null).await?;
    }
    let first_use = |told: &String| told.contains("token.used");
    waybill_testkit::eventually(Duration::from_secs(20), async || {
        let path = "/v1/activity?limit=100";
        run.ask(Method::GET, path, &Value::Null).await.is_ok() && run.told.iter().any(first_use)
    })
    .await?;
    let mut streamed = Vec::new();
    while !streamed
        .iter()
        .any(|event: &String| event.contains("task.dead"))
    {
        let event = events.next().await?.context("an event")?;
        streamed.push(format!("{} {}", event.name, event.data));
    }
    let scraped = Http::new(&format!("http://{metrics}"), None)
        .get("/metrics")
        .await?;
    assert_eq!(scraped.status, StatusCode::OK);
    assert!(
        scraped.text().contains("waybill_vault_sealed_total"),
        "it was counted"
    );
    run.told.push(scraped.text());
    run.told.extend(streamed);
    run.told.extend(
        sink.received()
            .iter()
            .map(|got| format!("{:?}{}", got.headers, got.text())),
    );
    for told in &run.told {
        for secret in secrets {
            for form in forms(secret) {
                let form = String::from_utf8(form)?;
                assert!(!told.contains(&form), "{secret} as {form} in {told}");
            }
        }
    }

    let data = installation.data();
    let stdout = up.process.stdout.clone();
    let stderr = up.process.stderr.clone();
    // While it runs, and once more when all is written out.
    look(
        &installation,
        &data,
        &stdout.text(),
        &stderr.text(),
        &secrets,
    )?;
    up.interrupt().await?;
    look(
        &installation,
        &data,
        &stdout.text(),
        &stderr.text(),
        &secrets,
    )?;
    Ok(())
}

fn look(
    installation: &Installation,
    data: &std::path::Path,
    stdout: &str,
    stderr: &str,
    secrets: &[&str],
) -> Result<()> {
    let all: Vec<Vec<u8>> = secrets.iter().flat_map(|secret| forms(secret)).collect();
    let needles: Vec<&[u8]> = all.iter().map(Vec::as_slice).collect();
    let found = files_with_any(data, &needles)?;
    assert!(found.is_empty(), "a secret is in {found:?}");
    for form in all {
        let form = String::from_utf8(form)?;
        for printed in [stdout, stderr] {
            assert!(!printed.contains(&form), "{form} was printed");
        }
    }
    // The search finds what is there: a header that is no secret.
    assert!(!files_with(data, b"X-Plain")?.is_empty());
    installation.nothing_leaked();
    Ok(())
}
