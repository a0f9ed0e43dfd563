//! Keys: made, listed, revoked; the bootstrap; the read model wiped.

use std::sync::Arc;

use anyhow::Result;
use http::Method;
use serde_json::json;
use tokio_util::sync::CancellationToken;
use waybill_commands::{BootstrapError, ControlWriter};
use waybill_log::{Log, Stream};

use crate::world::{World, a_task, operator, pepper};
use waybill_testkit::http::Http;

#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_works_at_once_and_a_revoked_one_no_more() -> Result<()> {
    let world = World::start().await?;
    let keys = format!("/teams/{}/apikeys", world.team);
    let made = world
        .http
        .post(&keys, &json!({"name": "Production Key"}))
        .await?;
    assert_eq!(made.status, 201, "{}", made.error());
    assert_eq!(made.header("cache-control"), Some("no-store"));
    let key = made.json()["apiKey"].clone();
    let secret = key["key"].as_str().expect("the key, once");
    let theirs = world.http.with_key(secret);
    assert_eq!(theirs.post("/v1/tasks", &a_task()).await?.status, 201);
    let by_header = Http::at(world.gateway.addr())
        .send(Method::GET, "/v1/tasks", &[("x-api-key", secret)], "")
        .await?;
    assert_eq!(by_header.status, 200);

    let list = world.http.get(&keys).await?;
    assert!(
        !String::from_utf8_lossy(&list.body).contains(secret),
        "a key is shown once"
    );
    assert_eq!(list.json()["apiKeys"].as_array().map(Vec::len), Some(2));

    let path = format!("/apikeys/{}/revoke", key["id"].as_str().expect("an id"));
    let revoked = world.http.post(&path, &json!({})).await?;
    assert_eq!(revoked.status, 200, "{}", revoked.error());
    let refused = theirs.get("/v1/tasks").await?;
    assert_eq!(
        (refused.status.as_u16(), refused.error()),
        (401, "Invalid or revoked API key".into())
    );
    let again = world.http.post(&path, &json!({})).await?;
    assert_eq!(
        again.json()["apiKey"]["revokedAt"],
        revoked.json()["apiKey"]["revokedAt"]
    );

    let (team, stranger) = world.stranger().await?;
    assert_eq!(
        stranger.post(&path, &json!({})).await?.error(),
        "Access denied"
    );
    assert_eq!(
        stranger.post(&keys, &json!({"name": "x"})).await?.error(),
        "Access denied"
    );
    assert_eq!(
        world
            .http
            .get(&format!("/teams/{team}/apikeys"))
            .await?
            .status,
        403
    );
    assert_eq!(
        world
            .http
            .post("/apikeys/key_zzzzzzzz/revoke", &json!({}))
            .await?
            .error(),
        "API key not found"
    );
    for (body, field) in [
        (json!({}), "name"),
        (json!({"name": " "}), "name"),
        (json!({"name": "x".repeat(101)}), "name"),
        (json!({"name": "x", "scopes": []}), "scopes"),
        (json!({"name": "x", "scopes": ["tasks:fly"]}), "scopes"),
    ] {
        let refused = world.http.post(&keys, &body).await?;
        assert_eq!(
            (refused.status.as_u16(), refused.json()["field"].as_str()),
            (400, Some(field)),
            "{body}"
        );
    }
    let narrow = world
        .http
        .post(&keys, &json!({"name": "n", "scopes": ["keys:write"]}))
        .await?;
    let narrow = world
        .http
        .with_key(narrow.json()["apiKey"]["key"].as_str().expect("the key"));
    let wider = narrow
        .post(&keys, &json!({"name": "w", "scopes": ["tasks:write"]}))
        .await?;
    assert_eq!(
        (wider.status.as_u16(), wider.code()),
        (403, "insufficient_scope".into())
    );
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn access_is_the_same_after_a_restart_and_after_a_wipe() -> Result<()> {
    let world = World::start().await?;
    let writer = world.writer();
    let scopes = waybill_domain::access::scope::Scope::ALL;
    let gone = writer
        .create_key(&world.team, "gone", scopes, &operator())
        .await?;
    for n in 0..300 {
        let team = writer
            .create_team(&format!("t{n}"), "free", &operator())
            .await?;
        let made = writer.create_key(&team, "k", scopes, &operator()).await?;
        if n == 299 {
            world.gateway.state().auth.wait_for(made.seq).await?;
        }
    }
    writer
        .revoke_key(&world.team, gone.key.id(), &operator())
        .await?;
    let check = async |name: &str| -> Result<()> {
        let stop = CancellationToken::new();
        let gateway = world.another(name, &stop).await?;
        let http = Http::at(gateway.addr());
        assert_eq!(
            http.with_key(&world.key).get("/v1/tasks").await?.status,
            200
        );
        assert_eq!(
            http.with_key(gone.key.reveal())
                .get("/v1/tasks")
                .await?
                .status,
            401
        );
        stop.cancel();
        gateway.wait().await?;
        Ok(())
    };
    check("g2").await?;
    check("g2").await?;
    let store = world.folder.path().join("g2/auth");
    for entry in walk(&store)? {
        std::fs::write(&entry, b"not a store")?;
    }
    check("g2").await?;
    std::fs::remove_dir_all(&store)?;
    check("g2").await?;
    world.stop().await
}

fn walk(folder: &std::path::Path) -> Result<Vec<std::path::PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(walk(&path)?);
        } else {
            files.push(path);
        }
    }
    Ok(files)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bootstrap_is_made_once() -> Result<()> {
    let world = World::start().await?;
    let writer = world.writer();
    let again = writer.bootstrap(None, &operator()).await?;
    assert_eq!(
        (again.team.clone(), again.key.is_none()),
        (world.team.clone(), true)
    );

    let team = writer.create_team("other", "free", &operator()).await?;
    let scopes = waybill_domain::access::scope::Scope::ALL;
    let foreign = writer.create_key(&team, "k", scopes, &operator()).await?;
    let taken = writer
        .bootstrap(Some(foreign.key.reveal()), &operator())
        .await;
    assert!(matches!(taken, Err(BootstrapError::OtherKey)), "{taken:?}");
    let malformed = writer.bootstrap(Some("secret"), &operator()).await;
    let text = malformed.expect_err("refused").to_string();
    assert!(
        text.contains("WAYBILL_BOOTSTRAP_KEY is not an API key") && !text.contains("secret"),
        "{text}"
    );

    let entropy = [77; waybill_domain::access::key::ENTROPY_BYTES];
    let given = waybill_domain::access::key::ApiKey::generate(
        "wb",
        waybill_domain::id::Environment::Test,
        &entropy,
    )
    .expect("a key");
    let writers = [0; 4].map(|_| ControlWriter::new(Arc::new(world.log.clone()), pepper()));
    let by = operator();
    let made = futures::future::try_join_all(
        writers
            .iter()
            .map(|w| w.bootstrap(Some(given.reveal()), &by)),
    )
    .await?;
    assert_eq!(
        made.iter().filter(|b| b.key.is_some()).count(),
        1,
        "several processes start at once; one makes it"
    );
    writer
        .revoke_key(&world.team, given.id(), &operator())
        .await?;
    let revoked = writer.bootstrap(Some(given.reveal()), &operator()).await;
    assert!(
        matches!(revoked, Err(BootstrapError::Revoked)),
        "{revoked:?}"
    );
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_is_not_understood_closes_its_team_with_a_code_of_its_own() -> Result<()> {
    let world = World::start().await?;
    let (_, stranger) = world.stranger().await?;
    let team = &world.team;
    let mut headers = async_nats::HeaderMap::new();
    headers.insert("Wb-Event", "team.deleted.v1");
    let subject = format!("control.{team}.team.{team}");
    let client = world.log.client();
    let stored = client.request_with_headers(subject, headers, "no such event".into());
    stored.await?;
    let last = world.log.bounds(Stream::Control).await?.last;
    world.gateway.state().auth.wait_for(last).await?;
    for closed in [
        world.http.get("/v1/tasks").await?,
        world.http.post("/v1/tasks", &a_task()).await?,
    ] {
        assert_eq!(closed.status, 503, "{}", closed.error());
        assert_eq!(closed.code(), "access_not_understood");
    }
    assert_eq!(stranger.get("/v1/tasks").await?.status, 200);
    world.stop().await
}
