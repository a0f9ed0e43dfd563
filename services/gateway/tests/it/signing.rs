//! The secret that signs calls: who sees it, how it is rotated, and what is said of signatures.

use anyhow::Result;
use http::Method;
use serde_json::{Value, json};
use waybill_commands::KeyWish;
use waybill_domain::access::role::Role;
use waybill_domain::access::scope::Scope;
use waybill_domain::signature::{MasterSecret, WebhookSecret, derive_team_secret};

use crate::teams::people::Person;
use crate::world::{World, operator};

const BODY: &str = r#"{"event":"task.completed"}"#;

/// The headers of a call that is signed with that secret now.
fn signed(secret: &WebhookSecret) -> Result<Value> {
    let now = i64::try_from(std::time::SystemTime::UNIX_EPOCH.elapsed()?.as_secs())?;
    Ok(json!({
        "X-AsyncQueue-Signature": secret.asyncqueue(now, BODY.as_bytes()),
        "webhook-id": "task_1",
        "webhook-timestamp": now.to_string(),
        "webhook-signature": secret.standard("task_1", now, BODY.as_bytes()),
    }))
}

async fn verdict(world: &World, secret: &WebhookSecret, body: &str) -> Result<Value> {
    let request = json!({"headers": signed(secret)?, "body": body});
    let answer = world.http.post("/v1/signatures/verify", &request).await?;
    assert_eq!(answer.status, 200, "{}", answer.error());
    Ok(answer.json())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_team_sees_rotates_and_verifies_with_its_secret() -> Result<()> {
    let world = World::start().await?;
    let master = MasterSecret::new(vec![7; 32])?;
    let derived = |number| derive_team_secret(&master, &world.team, number);
    let shown = world.http.get("/v1/signing-secret").await?;
    assert_eq!(shown.status, 200, "{}", shown.error());
    assert_eq!(shown.header("cache-control"), Some("no-store"));
    let shown = shown.json()["signingSecret"].clone();
    assert_eq!(shown["secret"], derived(0).expose());
    assert_eq!(
        (&shown["number"], &shown["former"]),
        (&json!(0), &Value::Null)
    );
    let first = WebhookSecret::parse(shown["secret"].as_str().expect("a secret"))?;
    assert_eq!(verdict(&world, &first, BODY).await?["valid"], true);

    let rotated = world
        .http
        .post(
            "/v1/signing-secret/rotate",
            &json!({"overlapSeconds": 3_600}),
        )
        .await?;
    assert_eq!(rotated.status, 200, "{}", rotated.error());
    let rotated = rotated.json()["signingSecret"].clone();
    assert_eq!(rotated["secret"], derived(1).expose());
    assert_eq!(rotated["former"]["secret"], derived(0).expose());
    assert_eq!(
        world.http.get("/v1/signing-secret").await?.json()["signingSecret"],
        rotated
    );
    let former = verdict(&world, &first, BODY).await?;
    assert_eq!(former["schemes"][0]["signedWith"], "former", "{former}");

    let at_once = world
        .http
        .post("/v1/signing-secret/rotate", &json!({"overlapSeconds": 0}))
        .await?;
    assert_eq!(at_once.json()["signingSecret"]["former"], Value::Null);
    let earlier = verdict(&world, &first, BODY).await?;
    assert_eq!(earlier["valid"], false);
    for scheme in 0..2 {
        assert_eq!(
            earlier["schemes"][scheme]["differs"][0]["part"], "secret",
            "{earlier}"
        );
    }
    let reformatted = verdict(&world, &derived(2), &format!("{BODY}\n")).await?;
    assert_eq!(
        reformatted["schemes"][0]["differs"][0]["part"], "body",
        "{reformatted}"
    );
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn only_who_may_sees_the_secret() -> Result<()> {
    let world = World::start().await?;
    let others: Vec<_> = Scope::ALL
        .iter()
        .copied()
        .filter(|scope| *scope != Scope::SigningSecretWrite)
        .collect();
    let made = world
        .writer()
        .make_key(
            &world.team,
            KeyWish::new("all but one", &others),
            &operator(),
        )
        .await?;
    world.gateway.state().auth.wait_for(made.seq).await?;
    let http = world.http.with_key(made.key.reveal());
    assert_eq!(http.get("/v1/signing-secret").await?.status, 403);
    let rotate = http.post("/v1/signing-secret/rotate", &json!({})).await?;
    assert_eq!(rotate.status, 403);
    for (field, body) in [
        ("overlapSeconds", json!({"overlapSeconds": 604_801})),
        ("forHowLong", json!({"forHowLong": 1})),
    ] {
        let refused = world.http.post("/v1/signing-secret/rotate", &body).await?;
        assert_eq!(refused.status, 400, "{body}");
        assert_eq!(refused.json()["field"], field);
    }
    // Without a body it is rotated as by default.
    let plain = world
        .http
        .send(Method::POST, "/v1/signing-secret/rotate", &[], "")
        .await?;
    assert_eq!(plain.status, 200, "{}", plain.error());
    assert!(plain.json()["signingSecret"]["former"]["signsUntil"].is_string());
    for (field, request) in [
        ("headers", json!({"headers": {}, "body": ""})),
        (
            "bodyEncoding",
            json!({"headers": {}, "body": "", "bodyEncoding": "hex"}),
        ),
        (
            "body",
            json!({"headers": {}, "body": "?", "bodyEncoding": "base64"}),
        ),
    ] {
        let refused = world.http.post("/v1/signatures/verify", &request).await?;
        assert_eq!(refused.status, 400, "{request}");
        assert_eq!(refused.json()["field"], field);
    }
    world.stop().await
}

/// Whoever has it can sign in the team's name.
#[tokio::test(flavor = "multi_thread")]
async fn only_admins_and_owners_see_the_secret() -> Result<()> {
    let world = World::start().await?;
    for (role, status) in [
        (Role::Viewer, 403),
        (Role::Member, 403),
        (Role::Admin, 200),
        (Role::Owner, 200),
    ] {
        let person = Person::signed_in(&world, role.as_str()).await?;
        person.joined(&world, &world.team, role).await?;
        let answer = person.http.get("/v1/signing-secret").await?;
        assert_eq!(answer.status.as_u16(), status, "{role}: {}", answer.text());
        let is_shown = answer.json()["signingSecret"]["secret"].is_string();
        assert_eq!(is_shown, status == 200, "{role}");
    }
    world.stop().await
}
