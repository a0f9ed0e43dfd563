//! What requests cost whose bodies never end: `endless_bodies URL PID [STREAMS] [PATH] [KEY]`.
//!
//! Opens STREAMS requests (250) on one HTTP/2 connection, each with a body without an end, for ten seconds, and prints how much memory the
//! process PID, which serves that URL, takes meanwhile. Without KEY nobody is recognised.
//!
//! `cargo run --release -p waybill-gateway --example endless_bodies http://127.0.0.1:8080 $(pgrep -of 'waybill up')`

#![expect(clippy::print_stdout, reason = "it is there to print")]

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Duration;

use anyhow::{Context, Result};
use axum::body::Body;
use bytes::Bytes;
use futures::stream;
use http::{Method, Request, Uri, header};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};

const STREAMS: usize = 250;
const PATH: &str = "/v1/auth/login";
const LASTS: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(20);
static CHUNK: [u8; 16 * 1024] = [b'x'; 16 * 1024];

/// Resident memory of a process, in MiB.
fn rss_mib(pid: &str) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next());
    Ok(kib.context("VmRSS")?.parse::<f64>()? / 1024.0)
}

fn endless(url: &Uri, path: &str, key: Option<&str>) -> Result<Request<Body>> {
    let chunks = stream::repeat_with(|| Ok::<_, Infallible>(Bytes::from_static(&CHUNK)));
    let address = url.authority().context("a host")?;
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(format!("http://{address}{path}"));
    if let Some(key) = key {
        request = request.header(header::AUTHORIZATION, format!("Bearer {key}"));
    }
    Ok(request.body(Body::from_stream(chunks))?)
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, pid, rest @ ..] = &arguments[..] else {
        anyhow::bail!("endless_bodies URL PID [STREAMS] [PATH] [KEY]");
    };
    let url: Uri = url.parse()?;
    let streams = rest
        .first()
        .map_or(Ok(STREAMS), |streams| streams.parse())?;
    let path = rest.get(1).map_or(PATH, String::as_str);
    let key = rest.get(2).map(String::as_str);

    let before = rss_mib(pid)?;
    let stream = TcpStream::connect(url.authority().context("a host")?.as_str()).await?;
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let end = Instant::now() + LASTS;
    let mut answers = JoinSet::new();
    for _ in 0..streams {
        let (mut sender, request) = (sender.clone(), endless(&url, path, key)?);
        answers.spawn(async move {
            match timeout_at(end, sender.send_request(request)).await {
                Ok(Ok(answer)) => answer.status().to_string(),
                Ok(Err(error)) => error.to_string(),
                Err(_) => "no answer".to_owned(),
            }
        });
    }
    let mut peak = before;
    while Instant::now() < end {
        peak = peak.max(rss_mib(pid)?);
        sleep(LOOK_EVERY).await;
    }
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    while let Some(answer) = answers.join_next().await {
        *counts.entry(answer?).or_default() += 1;
    }
    connection.abort();
    println!(
        "{streams} streams to {path}: {counts:?}; memory {before:.1} MiB before, {peak:.1} MiB at most: {:.1} MiB more",
        peak - before
    );
    Ok(())
}
