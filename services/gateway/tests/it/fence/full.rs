//! A FENCE that is full: what stands in it stays, nobody decides on a lease that could not be stored, and room that is given is used.

use std::time::Duration;

use anyhow::{Context, Result};
use http::StatusCode;
use serde_json::{Value, json};
use waybill_domain::access::fence::FenceTiming;
use waybill_gateway::GatewayConfig;
use waybill_log::Fences;
use waybill_testkit::eventually;

use super::rig::{LEASE, Member};
use crate::world::{SOON, World, config};

/// What the stream may take beyond what stands in it.
const ROOM: u64 = 64 * 1024;
/// Most records that a flood needs to fill that.
const FLOOD: usize = 5_000;
/// Time in which several renewals are due.
const SEVERAL_RENEWALS: Duration = LEASE.saturating_mul(2);

async fn bytes_and_limit(world: &World) -> Result<(u64, Option<u64>)> {
    let sizes = world.log.sizes().await?;
    let fence = sizes.into_iter().find(|size| size.stream == "FENCE");
    let fence = fence.context("FENCE")?;
    Ok((fence.bytes, fence.max_bytes))
}

/// Writes records of that size where workers may write, until one is refused; answers with what the server says then.
async fn flood(world: &World, bytes: usize) -> Result<String> {
    for _ in 0..FLOOD {
        let payload = vec![b'x'; bytes].into();
        let answer = world
            .log
            .client()
            .request("fence.worker.flood", payload)
            .await?;
        let answer: Value = serde_json::from_slice(&answer.payload)?;
        if let Some(error) = answer["error"]["description"].as_str() {
            return Ok(error.to_owned());
        }
    }
    anyhow::bail!("{FLOOD} records of {bytes} bytes fit")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_fence_pushes_nothing_out_stores_no_lease_and_goes_on_once_it_has_room() -> Result<()>
{
    let quick = GatewayConfig {
        fence: FenceTiming::lasting(LEASE),
        ..config()
    };
    let world = World::start_with(quick).await?;
    let worker = Member::start_worker(&world.nats).await?;
    worker.serving().await?;
    let keys = format!("/teams/{}/apikeys", world.team);
    let made = world.http.post(&keys, &json!({"name": "k"})).await?.json();
    let (key, id) = (
        made["apiKey"]["key"].as_str().context("a key")?,
        made["apiKey"]["id"].as_str().context("an id")?,
    );
    let stood = world.log.fence_bounds().await?;
    let (used, _) = bytes_and_limit(&world).await?;
    world.log.raise("FENCE", used + ROOM).await?;

    // A flood, to the last byte.
    flood(&world, 4_096).await?;
    let said = flood(&world, 1).await?;
    assert_eq!(said, "maximum bytes exceeded");

    // Whoever decides on a lease may do so to its end, and nobody beyond: revocations can no longer be told to everybody.
    let no_lease = async || {
        let ready = world.http.get("/readyz").await;
        ready.is_ok_and(|answer| {
            answer.status == StatusCode::SERVICE_UNAVAILABLE && answer.text().contains("FENCE")
        })
    };
    eventually(SOON, no_lease).await?;
    let verbose = world.http.get("/readyz?verbose").await?.json();
    assert_eq!(verbose["problems"][0]["code"], "fence_full", "{verbose}");
    let refused = world.http.with_key(key).get("/v1/key").await?;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
    eventually(SOON, async || !worker.fence.is_serving()).await?;
    tokio::time::sleep(SEVERAL_RENEWALS).await;
    assert!(!worker.fence.is_serving() && no_lease().await);

    // What stood still stands: no mark has made room for a flood.
    let stands = world.log.fence_bounds().await?;
    assert_eq!(stands.first, stood.first);
    let context = async_nats::jetstream::new(world.log.client());
    let mut stream = context.get_stream("FENCE").await?;
    let state = stream.info().await?.state.clone();
    assert_eq!(
        state.messages,
        state.last_sequence - state.first_sequence + 1,
        "none is missing in between"
    );

    // Room that is given is used, by the same processes.
    world.log.raise("FENCE", used + 10 * ROOM).await?;
    world.ready().await?;
    worker.serving().await?;
    let revoke = format!("/apikeys/{id}/revoke");
    let revoked = world.http.post(&revoke, &json!({})).await?;
    assert_eq!(revoked.status, StatusCode::OK, "{}", revoked.text());
    let refused = world.http.with_key(key).get("/v1/key").await?;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    worker.stop().await?;
    world.stop().await
}
