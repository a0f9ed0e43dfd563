//! Another value under the same id.

use anyhow::Result;
use serde_json::json;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use waybill_testkit::http::Http;

use super::{VALUE, id, keep, keys, opened, rotate};
use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_changes_the_value_and_erases_the_key_of_the_old_one() -> Result<()> {
    let world = World::start().await?;
    let token = id(&keep(&world.http, "ours", VALUE).await?);
    let answer = rotate(&world.http, &token, "second").await?;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let shown = answer.json()["token"].clone();
    assert_eq!(
        (&shown["version"], &shown["name"]),
        (&json!(2), &json!("ours"))
    );
    assert!(shown["rotatedAt"].is_string());
    assert_eq!(keys(&world, &world.team, &token).await?, [2]);
    assert_eq!(opened(&world, &world.team, &token, 2).await?, "second");
    assert!(opened(&world, &world.team, &token, 1).await.is_err());
    let bad = rotate(&world.http, &token, "").await?;
    assert_eq!(
        (bad.status.as_u16(), bad.error()),
        (400, "value is required".into())
    );
    assert_eq!(opened(&world, &world.team, &token, 2).await?, "second");
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_rotations_at_once_one_is_the_last_and_opens() -> Result<()> {
    let world = World::start().await?;
    let stop = CancellationToken::new();
    let other = world.another("other", &stop).await?;
    let token = id(&keep(&world.http, "ours", VALUE).await?);
    let seq = world.gateway.state().auth.applied();
    other.state().auth.wait_for(seq).await?;
    let https = [
        world.http.clone(),
        Http::at(other.addr()).with_key(&world.key),
    ];
    let mut rotating = JoinSet::new();
    for number in 0..12 {
        let (http, token) = (https[number % 2].clone(), token.clone());
        rotating.spawn(async move { rotate(&http, &token, &format!("value-{number}")).await });
    }
    let mut rotated = 0;
    while let Some(answer) = rotating.join_next().await {
        let answer = answer??;
        assert!(
            matches!(answer.status.as_u16(), 200 | 409 | 503),
            "{}",
            answer.text()
        );
        rotated += usize::from(answer.status == 200);
    }
    assert!(rotated > 0);
    let shown = world.http.get(&format!("/v1/tokens/{token}")).await?.json();
    let version = shown["token"]["version"].as_u64().expect("a number");
    let version = u32::try_from(version)?;
    assert!(
        opened(&world, &world.team, &token, version)
            .await?
            .starts_with("value-")
    );
    assert_eq!(keys(&world, &world.team, &token).await?, [version]);
    stop.cancel();
    other.wait().await?;
    world.stop().await
}
