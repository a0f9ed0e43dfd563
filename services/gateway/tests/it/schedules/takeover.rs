//! Gateways that die while they fire, and two that fire at once.

use std::sync::Arc;

use anyhow::{Context, Result};
use futures::future::try_join_all;
use tokio_util::sync::CancellationToken;
use waybill_gateway::Gateway;
use waybill_log::Leases;
use waybill_log::memory::MemoryLog;
use waybill_testkit::eventually;
use waybill_testkit::http::Http;

use super::{begin, each_second, fired, is_whole, ledger, until_fired};
use crate::world::{SOON, World, config, parts};

/// The runtime of the gateway that runs schedules is thrown away: nothing of it ends in order, and its lease is not given back.
#[tokio::test(flavor = "multi_thread")]
async fn another_gateway_goes_on_and_no_instant_is_lost_or_fires_twice() -> Result<()> {
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
    // Taken in its name, so that the other gateway cannot be first.
    let holder = gateway.state().fence.holder().as_str().to_owned();
    world.log.acquire("schedules", &holder).await?;
    let mut ids = Vec::new();
    for _ in 0..20 {
        ids.push(begin(&http, &each_second()).await?);
    }
    for id in &ids {
        until_fired(&world.http, id, 2).await?;
    }
    // All are due in the same second, so some have fired for it and others have not.
    let known = async || {
        let mut count = 0;
        for id in &ids {
            count += ledger(&world.http, id).await.map_or(0, |runs| runs.len());
        }
        count
    };
    let before = known().await;
    eventually(SOON, async || known().await > before).await?;
    doomed.shutdown_background();
    let went_on = ids.iter().map(async |id| {
        let before = fired(&ledger(&world.http, id).await?).len();
        let runs = until_fired(&world.http, id, before + 3).await?;
        is_whole(&fired(&runs)).with_context(|| format!("{id}: {runs:?}"))?;
        assert!(
            runs.iter().all(|run| run["outcome"] == "fired"),
            "nothing was so late: {runs:?}"
        );
        anyhow::Ok(())
    });
    try_join_all(went_on).await?;
    let holders = world.log.holders().await?;
    let own = world.gateway.state().fence.holder().as_str().to_owned();
    assert!(
        holders.contains(&("schedules".to_owned(), own)),
        "{holders:?}"
    );
    drop(gateway);
    world.stop().await
}

/// After that nobody could tell from the log what has fired.
#[tokio::test(flavor = "multi_thread")]
async fn how_far_they_have_come_is_noted_before_their_tasks_leave_the_log() -> Result<()> {
    let world = World::start().await?;
    let id = begin(&world.http, &each_second()).await?;
    until_fired(&world.http, &id, 1).await?;
    // The log is some seconds old, and will not be kept for longer.
    let reached = || world.gateway.state().auth.directory().schedules_reached();
    eventually(SOON, async || reached().is_some()).await?;
    let first = reached();
    eventually(SOON, async || reached() > first).await?;
    world.stop().await
}

/// A gateway that was frozen believes for a moment that the lease is its own: here another one believes so all the time.
#[tokio::test(flavor = "multi_thread")]
async fn two_that_run_the_same_make_each_task_once() -> Result<()> {
    let world = World::start().await?;
    let stop = CancellationToken::new();
    let believes = Arc::new(MemoryLog::default());
    let mut of_gateway = parts(&world.log, &world.folder, "another");
    of_gateway.leases = believes.clone();
    let another = Gateway::start(config(), of_gateway, stop.clone()).await?;
    let id = begin(&world.http, &each_second()).await?;
    let runs = until_fired(&world.http, &id, 8).await?;
    is_whole(&fired(&runs)).with_context(|| format!("{runs:?}"))?;
    let both = (world.log.holders().await?, believes.holders().await?);
    let runs_it = |held: &[(String, String)]| held.iter().any(|(name, _)| name == "schedules");
    assert!(runs_it(&both.0) && runs_it(&both.1), "{both:?}");
    stop.cancel();
    another.wait().await?;
    world.stop().await
}
