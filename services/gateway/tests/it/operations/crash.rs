//! A gateway that dies in the middle of an operation.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use serde_json::json;
use tokio_util::sync::CancellationToken;
use waybill_gateway::Gateway;
use waybill_log::Leases;
use waybill_testkit::eventually;
use waybill_testkit::http::Http;

use super::{begin, dead, listed, over, read};
use crate::world::{SOON, World, config, parts};

const LETTERS: usize = 40;

/// The runtime of the gateway that runs the operation is thrown away: nothing of it ends in order, and its lease is not given back.
#[tokio::test(flavor = "multi_thread")]
async fn another_gateway_goes_on_and_nothing_is_made_twice() -> Result<()> {
    let world = World::start().await?;
    let doomed = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let of_gateway = parts(&world.log, &world.folder, "doomed");
    let gateway = doomed
        .spawn(Gateway::start(
            config(),
            of_gateway,
            CancellationToken::new(),
        ))
        .await??;
    let http = Http::at(gateway.addr()).with_key(&world.key);
    eventually(SOON, async || {
        let ready = http.get("/readyz").await;
        ready.is_ok_and(|answer| answer.status == 200)
    })
    .await?;
    let mut letters = BTreeSet::new();
    for _ in 0..LETTERS {
        letters.insert(dead(&world, "a").await?);
    }
    // Taken in its name, so that the other gateway cannot be first.
    let holder = gateway.state().fence.holder().as_str().to_owned();
    world.log.acquire("operations", &holder).await?;
    let id = begin(
        &http,
        &json!({"action": "retry", "filter": {"tag": "a"}, "rate": 10}),
    )
    .await?;
    let made = "/v1/tasks?status=pending&tag=a&limit=100";
    eventually(SOON, async || {
        let made = listed(&world.http, made, "tasks", "replayOf").await;
        made.is_ok_and(|made| made.len() >= 5)
    })
    .await?;
    doomed.shutdown_background();
    let before = read(&world.http, &id).await?;
    assert_eq!(before["state"], "running", "{before}");
    let done = over(&world.http, &id).await?;
    assert_eq!(
        (&done["state"], &done["done"], &done["refused"]),
        (&json!("completed"), &json!(LETTERS), &json!(0))
    );
    let made = listed(&world.http, made, "tasks", "replayOf").await?;
    assert_eq!(made.len(), LETTERS, "each once");
    assert_eq!(made.into_iter().collect::<BTreeSet<_>>(), letters);
    let holders = world.log.holders().await?;
    let own = world.gateway.state().fence.holder().as_str().to_owned();
    let of_lease = holders.iter().find(|(name, _)| name == "operations");
    assert!(
        of_lease.is_none_or(|(_, holder)| *holder == own),
        "{holders:?}"
    );
    drop(gateway);
    world.stop().await.context("stops")
}
