//! Epochs of the credentials that tasks bring along: who shares a key, and for how long.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result};
use futures::future::try_join_all;
use http::StatusCode;
use serde_json::json;
use tokio_util::sync::CancellationToken;
use waybill_domain::id::QueueName;
use waybill_domain::partition::{Partition, PartitionCount};
use waybill_gateway::{Gateway, GatewayConfig};
use waybill_testkit::eventually;
use waybill_testkit::http::Http;

use super::tasks::{RAW, create, epochs, stored, unsealed, with_headers};
use crate::world::{SOON, World, config, parts};

#[tokio::test(flavor = "multi_thread")]
async fn tasks_with_the_same_credential_share_a_key_and_nothing_else_does() -> Result<()> {
    let world = World::start().await?;
    let in_queue = |queue: &str, credential: &str| {
        let mut task = with_headers(&json!({"Authorization": credential}));
        task["queue"] = json!(queue);
        task
    };
    let partition = |queue: &str| {
        let queue = QueueName::parse(queue).expect("a name");
        Partition::of(&world.team, &queue, PartitionCount::default())
    };
    let elsewhere = (0..100)
        .map(|number| format!("queue-{number}"))
        .find(|queue| partition(queue) != partition("default"))
        .context("a queue in another partition")?;
    // All at once: one of them makes the key, and the others wait for it.
    let task = in_queue("default", RAW);
    let same = try_join_all((0..32).map(|_| create(&world.http, &task))).await?;
    assert!(same.iter().all(|answer| answer.status == 201));
    assert_eq!(epochs(&world).await?.len(), 1);
    for (queue, credential) in [("default", "Bearer another"), (&elsewhere, RAW)] {
        let made = create(&world.http, &in_queue(queue, credential)).await?;
        assert_eq!(made.status, 201, "{}", made.text());
    }
    assert_eq!(epochs(&world).await?.len(), 3);
    // Nothing shows which tasks carry the same credential but the name of the epoch.
    let mut envelopes = BTreeSet::new();
    for (created, bytes) in stored(&world).await? {
        let credential = &unsealed(&world, &created).await?[0].1;
        let wanted = ["Bearer another", RAW].contains(&credential.as_str());
        assert!(wanted, "{credential}");
        envelopes.insert(created.sealed.context("sealed")?.envelope);
        assert!(!String::from_utf8_lossy(&bytes).contains("raw-7e1d"));
    }
    assert_eq!(envelopes.len(), 34);

    // Another gateway, as this one after a restart, knows nothing of that key.
    let stop = CancellationToken::new();
    let again = parts(&world.log, &world.folder, "again");
    let gateway = Gateway::start(config(), again, stop.clone()).await?;
    let http = Http::at(gateway.addr()).with_key(&world.key);
    http.until("/readyz", StatusCode::OK).await?;
    assert_eq!(create(&http, &task).await?.status, 201);
    assert_eq!(epochs(&world).await?.len(), 4);
    stop.cancel();
    gateway.wait().await?;
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_epoch_ends_and_the_next_task_begins_another() -> Result<()> {
    let world = World::start().await?;
    let stop = CancellationToken::new();
    let short = GatewayConfig {
        credential_epoch: Duration::from_millis(300),
        ..config()
    };
    let parts = parts(&world.log, &world.folder, "short");
    let gateway = Gateway::start(short, parts, stop.clone()).await?;
    let http = Http::at(gateway.addr()).with_key(&world.key);
    http.until("/readyz", StatusCode::OK).await?;
    let task = with_headers(&json!({"Authorization": RAW}));
    eventually(SOON, async || {
        let made = create(&http, &task).await;
        assert!(made.is_ok_and(|made| made.status == 201));
        epochs(&world).await.is_ok_and(|epochs| epochs.len() == 2)
    })
    .await?;
    for (created, _) in stored(&world).await? {
        assert_eq!(unsealed(&world, &created).await?[0].1, RAW);
    }
    stop.cancel();
    gateway.wait().await?;
    world.stop().await
}
