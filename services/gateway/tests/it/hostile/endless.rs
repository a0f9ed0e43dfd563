//! Bodies that do not end, from somebody who is nobody.

use std::collections::BTreeMap;
use std::convert::Infallible;

use anyhow::{Context, Result};
use axum::body::Body;
use bytes::Bytes;
use futures::{StreamExt as _, stream};
use http::{Method, Request};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use crate::world::{SOON, World};

/// Requests at once, on one connection.
const STREAMS: usize = 200;
/// What each of them sends before it falls silent: four of these.
static CHUNK: [u8; 16 * 1024] = [b'x'; 16 * 1024];
/// By how much the process may grow. All that is sent is 12.5 MiB.
const MOST_MIB: f64 = 32.0;

/// Resident memory of this process, in MiB. The gateway runs in it.
fn rss_mib() -> Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next());
    Ok(kib.context("VmRSS")?.parse::<f64>()? / 1024.0)
}

/// 64 KiB without a length, and no end.
fn endless(address: &str) -> Result<Request<Body>> {
    let chunks = stream::repeat_with(|| Ok::<_, Infallible>(Bytes::from_static(&CHUNK)));
    let body = chunks.take(4).chain(stream::pending());
    let request = Request::builder()
        .method(Method::POST)
        .uri(format!("http://{address}/v1/auth/login"));
    Ok(request.body(Body::from_stream(body))?)
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_without_an_end_are_refused_and_cost_little_memory() -> Result<()> {
    let world = World::start().await?;
    assert_eq!(world.http.get("/v1/tasks").await?.status, 200);
    let address = world.gateway.addr().to_string();
    let before = rss_mib()?;
    let stream = TcpStream::connect(&address).await?;
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let end = Instant::now() + SOON;
    let mut answers = JoinSet::new();
    for _ in 0..STREAMS {
        let (mut sender, request) = (sender.clone(), endless(&address)?);
        answers.spawn(async move {
            match timeout_at(end, sender.send_request(request)).await {
                Ok(Ok(answer)) => answer.status().as_u16().to_string(),
                Ok(Err(error)) => error.to_string(),
                Err(_) => "no answer".to_owned(),
            }
        });
    }
    let mut most = before;
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    while let Some(answer) = answers.join_next().await {
        *counts.entry(answer?).or_default() += 1;
        most = most.max(rss_mib()?);
        if counts.values().sum::<usize>() == STREAMS / 2 {
            let other = world.http.get("/v1/tasks").await?;
            assert_eq!(other.status, 200, "{}", other.text());
        }
    }
    assert!(
        counts
            .keys()
            .all(|status| status == "413" || status == "503"),
        "{counts:?}"
    );
    let other = world.http.get("/v1/tasks").await?;
    assert_eq!(other.status, 200, "{}", other.text());
    eprintln!("{counts:?}: from {before:.1} to {most:.1} MiB");
    assert!(
        most - before < MOST_MIB,
        "from {before:.1} to {most:.1} MiB"
    );
    connection.abort();
    world.stop().await
}
