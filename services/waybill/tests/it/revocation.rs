//! A revocation while one of the gateways stands still: processes of their own, and the lengths of leases as in production.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use http::StatusCode;
use rustix::process::Signal;
use serde_json::json;
use tokio::task::JoinSet;
use waybill_domain::access::fence::FenceTiming;

use crate::apart::{gateway, nats, shared};
use crate::process::Whom;
use waybill_testkit::http::Http;

/// Requests that are on their way to the gateway while it stands still.
const WAITING: usize = 8;
/// What the answer may take beyond the longest life of a lease.
const LATE: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_stood_still_does_not_accept_what_was_revoked_meanwhile() -> Result<()> {
    let nats = nats().await?;
    let (mut installation, admin) = shared(&nats).await?;
    let (first, http) = gateway(&mut installation, "gateway-1", &admin).await?;
    let (second, other) = gateway(&mut installation, "gateway-2", &admin).await?;
    let own = http.get("/v1/key").await?.json()["apiKey"].clone();
    let team = own["teamId"].as_str().context("a team")?;
    let made = http
        .post(
            &format!("/teams/{team}/apikeys"),
            &json!({"name": "short-lived"}),
        )
        .await?;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text());
    let made = made.json()["apiKey"].clone();
    let key = made["key"].as_str().context("a key")?.to_owned();
    let id = made["id"].as_str().context("an id")?;
    installation.keep_secret(&key);
    other
        .with_key(&key)
        .until("/v1/key", StatusCode::OK)
        .await?;

    second.signal(Signal::STOP, Whom::Process)?;
    let start = Instant::now();
    let revoked = http
        .post(&format!("/apikeys/{id}/revoke"), &json!({}))
        .await?;
    assert_eq!(revoked.status, StatusCode::OK, "{}", revoked.text());
    let longest = FenceTiming::default().horizon() + LATE;
    assert!(start.elapsed() < longest, "{:?}", start.elapsed());

    // They arrive at its socket after the answer, and are decided when it goes on.
    let mut waiting = JoinSet::new();
    for _ in 0..WAITING {
        let held: Http = other.with_key(&key);
        waiting.spawn(async move { held.get("/v1/key").await });
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    second.signal(Signal::CONT, Whom::Process)?;
    while let Some(answer) = waiting.join_next().await {
        let status = answer??.status;
        let refused = [StatusCode::UNAUTHORIZED, StatusCode::SERVICE_UNAVAILABLE];
        assert!(refused.contains(&status), "{status}");
    }
    other.until("/v1/key", StatusCode::OK).await?;
    let refused = other.with_key(&key).get("/v1/key").await?;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);

    for gateway in [first, second] {
        gateway.end(Signal::TERM, Whom::Process).await?.succeeded();
    }
    installation.nothing_leaked();
    Ok(())
}
