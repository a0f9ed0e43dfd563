//! Rotation: a successor that may do exactly the same, and both accepted for a while.

use anyhow::Result;
use http::Method;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use waybill_testkit::eventually;
use waybill_testkit::http::Http;

use super::{keys_of, listed, make, stored};
use crate::teams::people::Person;
use crate::world::{SOON, World};

// K19.
#[tokio::test(flavor = "multi_thread")]
async fn a_successor_may_exactly_the_same() -> Result<()> {
    let world = World::start().await?;
    let body = json!({
        "name": "CI", "scopes": ["bids:read", "keys:write"], "environment": "live",
        "expiresAt": "2040-01-01T00:00:00Z", "allowedSources": ["127.0.0.0/8"],
    });
    let old = make(&world.http, &world.team, &body).await?;
    let path = format!("/apikeys/{}/rotate", old.id());
    let before = stored(&world).await?;
    for (body, field) in [
        (json!({"scopes": ["tasks:write"]}), "scopes"),
        (json!({"name": "other"}), "name"),
        (json!({"environment": "test"}), "environment"),
        (json!({"expiresAt": Value::Null}), "expiresAt"),
        (json!({"allowedSources": []}), "allowedSources"),
        (json!({"overlapSeconds": 604_801}), "overlapSeconds"),
        (json!({"overlapSeconds": -1}), "overlapSeconds"),
        (json!({"overlapSeconds": "1"}), "overlapSeconds"),
    ] {
        let refused = world.http.post(&path, &body).await?;
        assert_eq!(
            (refused.status.as_u16(), refused.json()["field"].as_str()),
            (400, Some(field)),
            "{}",
            refused.text()
        );
    }
    assert_eq!(stored(&world).await?, before);
    // It may do so itself: the successor may no more than it.
    let rotated = old.http.send(Method::POST, &path, &[], "").await?;
    assert_eq!(rotated.status, 201, "{}", rotated.text());
    assert_eq!(rotated.header("cache-control"), Some("no-store"));
    let new = rotated.json()["apiKey"].clone();
    for member in [
        "name",
        "scopes",
        "environment",
        "expiresAt",
        "allowedSources",
        "prefix",
        "teamId",
    ] {
        assert_eq!(new[member], old.object[member], "{member}");
    }
    assert_eq!(new["rotatedFrom"], old.object["id"]);
    assert_ne!(new["key"], old.object["key"]);
    let shown = listed(&world.http, &world.team, old.id()).await?;
    assert_eq!(
        (&shown["status"], &shown["rotatedTo"]),
        (&json!("active"), &new["id"])
    );
    let until = shown["acceptedUntil"].as_str().expect("a time");
    assert!(until > shown["createdAt"].as_str().expect("a time"));
    let again = world.http.post(&path, &json!({})).await?;
    assert_eq!(again.status, 409, "rotated already: {}", again.text());
    for key in [old.secret(), new["key"].as_str().expect("the key")] {
        assert_eq!(
            world.http.with_key(key).get("/v1/key").await?.status,
            200,
            "both live"
        );
    }
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_old_key_ends_with_its_grace_or_at_once_on_every_gateway() -> Result<()> {
    let world = World::start().await?;
    let stop = CancellationToken::new();
    let second = world.another("g2", &stop).await?;
    let there = Http::at(second.addr());
    let old = make(&world.http, &world.team, &json!({"name": "at once"})).await?;
    let path = format!("/apikeys/{}/rotate", old.id());
    let rotated = world
        .http
        .post(&path, &json!({"overlapSeconds": 0}))
        .await?;
    assert_eq!(rotated.status, 201, "{}", rotated.text());
    let new = rotated.json()["apiKey"]["key"].clone();
    for http in [&world.http, &there] {
        assert_eq!(
            http.with_key(old.secret()).get("/v1/key").await?.status,
            401
        );
        let new = http.with_key(new.as_str().expect("the key"));
        assert_eq!(new.get("/v1/key").await?.status, 200);
    }

    let old = make(&world.http, &world.team, &json!({"name": "with grace"})).await?;
    let path = format!("/apikeys/{}/rotate", old.id());
    let rotated = world
        .http
        .post(&path, &json!({"overlapSeconds": 3}))
        .await?;
    assert_eq!(rotated.status, 201, "{}", rotated.text());
    let old_there = there.with_key(old.secret());
    assert_eq!(old_there.get("/v1/key").await?.status, 200, "still");
    eventually(SOON, async || {
        let answer = old_there.get("/v1/key").await;
        answer.is_ok_and(|answer| answer.status == 401)
    })
    .await?;
    let shown = listed(&world.http, &world.team, old.id()).await?;
    assert_eq!(shown["status"], "expired");
    stop.cancel();
    second.wait().await?;
    world.stop().await
}

/// Otherwise a chain of rotations would keep more keys alive than the plan has room for.
#[tokio::test(flavor = "multi_thread")]
async fn a_successor_is_not_rotated_while_the_key_before_it_is_accepted() -> Result<()> {
    let world = World::start().await?;
    let first = make(&world.http, &world.team, &json!({"name": "k"})).await?;
    let rotate = |id: &str| format!("/apikeys/{id}/rotate");
    let answer = world
        .http
        .send(Method::POST, &rotate(first.id()), &[], "")
        .await?;
    assert_eq!(answer.status, 201, "{}", answer.text());
    let second = answer.json()["apiKey"]["id"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let refused = world
        .http
        .send(Method::POST, &rotate(&second), &[], "")
        .await?;
    assert_eq!(refused.status, 409, "{}", refused.text());
    let revoke = format!("/apikeys/{}/revoke", first.id());
    assert_eq!(
        world
            .http
            .send(Method::POST, &revoke, &[], "")
            .await?
            .status,
        200
    );
    let answer = world
        .http
        .send(Method::POST, &rotate(&second), &[], "")
        .await?;
    assert_eq!(answer.status, 201, "{}", answer.text());
    // Without an overlap there is nothing to wait for.
    let third = answer.json()["apiKey"]["id"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let body = json!({"overlapSeconds": 0});
    for id in [third] {
        let blocked = world.http.post(&rotate(&id), &body).await?;
        assert_eq!(blocked.status, 409, "{}", blocked.text());
    }
    world.stop().await
}

/// The plan has room for one key; a rotation lends it a second one, and no third.
#[tokio::test(flavor = "multi_thread")]
async fn a_plan_for_one_key_has_at_most_two_that_work() -> Result<()> {
    let world = World::start().await?;
    let owner = Person::signed_in(&world, "owner").await?;
    let team = owner.team(&world, "Ours", "free").await?;
    let first = make(&owner.http, &team, &json!({"name": "k"})).await?;
    let rotate = |id: &str| {
        let (http, path) = (owner.http.clone(), format!("/apikeys/{id}/rotate"));
        async move { http.send(Method::POST, &path, &[], "").await }
    };
    let rotated = rotate(first.id()).await?;
    assert_eq!(rotated.status, 201, "{}", rotated.text());
    let second = rotated.json()["apiKey"].clone();
    let mut secrets = vec![first.secret().to_owned()];
    secrets.extend(second["key"].as_str().map(str::to_owned));
    let chained = rotate(second["id"].as_str().unwrap_or_default()).await?;
    assert_eq!(chained.status, 409, "{}", chained.text());
    let another = owner
        .http
        .post(&keys_of(&team), &json!({"name": "another"}))
        .await?;
    assert_eq!(another.status, 403, "{}", another.text());
    for made in [&chained, &another] {
        let secret = made.json()["apiKey"]["key"].as_str().map(str::to_owned);
        secrets.extend(secret);
    }
    let mut working = 0;
    for secret in &secrets {
        let answer = world.http.with_key(secret).get("/v1/key").await?;
        working += usize::from(answer.status == 200);
    }
    assert_eq!(working, 2, "of {}", secrets.len());
    let list = owner.http.get(&keys_of(&team)).await?.json();
    assert_eq!(list["apiKeys"].as_array().map(Vec::len), Some(2), "{list}");
    world.stop().await
}
