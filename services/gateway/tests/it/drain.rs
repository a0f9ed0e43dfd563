//! Stopping: no new connections, requests in flight are answered, and it ends in time.

use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use waybill_gateway::{Drained, GatewayConfig};
use waybill_testkit::eventually;

use crate::world::{SOON, World, a_task, config};

/// Sends a request but for the last byte of its body.
async fn half_a_request(world: &World) -> Result<(TcpStream, Vec<u8>)> {
    let body = a_task().to_string();
    let (most, last) = body.split_at(body.len() - 1);
    let mut stream = TcpStream::connect(world.gateway.addr()).await?;
    let head = format!(
        "POST /v1/tasks HTTP/1.1\r\nHost: x\r\nX-API-Key: {}\r\nContent-Length: {}\r\n\r\n{most}",
        world.key,
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    // Known to be in flight once the answer to a later request on another connection is there.
    world.http.get("/healthz").await?;
    Ok((stream, last.as_bytes().to_vec()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_in_flight_is_answered_and_none_is_begun() -> Result<()> {
    let world = World::start_with(GatewayConfig {
        drain_notice: Duration::from_secs(1),
        ..config()
    })
    .await?;
    let (mut stream, last) = half_a_request(&world).await?;
    world.shutdown.cancel();
    eventually(SOON, async || {
        world
            .http
            .get("/readyz")
            .await
            .is_ok_and(|answer| answer.status == 503 && answer.error() == "The gateway is stopping")
    })
    .await?;
    let address = world.gateway.addr();
    eventually(SOON, async || TcpStream::connect(address).await.is_err()).await?;
    stream.write_all(&last).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    assert!(
        answer.starts_with(b"HTTP/1.1 201"),
        "{}",
        String::from_utf8_lossy(&answer)
    );
    assert_eq!(world.gateway.wait().await?, Drained::Fully);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_ends_at_its_limit() -> Result<()> {
    let world = World::start_with(GatewayConfig {
        drain_timeout: Duration::from_millis(500),
        ..config()
    })
    .await?;
    let (_stream, _) = half_a_request(&world).await?;
    let start = Instant::now();
    world.shutdown.cancel();
    assert_eq!(world.gateway.wait().await?, Drained::CutOff);
    assert!(
        start.elapsed() < Duration::from_secs(8),
        "after {:?}",
        start.elapsed()
    );
    Ok(())
}
