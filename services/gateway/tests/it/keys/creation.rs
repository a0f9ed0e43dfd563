//! Making keys: the shape, what is refused, and that nobody makes more than they may or the same one twice.

use anyhow::Result;
use http::Method;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use waybill_gateway::GatewayConfig;
use waybill_testkit::http::Http;

use super::{keys_of, listed, make, stored};
use crate::teams::people::Person;
use crate::world::{World, a_task, config, operator};

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_as_asked_for_and_shown_once() -> Result<()> {
    let world = World::start().await?;
    let body = json!({
        "name": "CI", "scopes": ["tasks:write", "tasks:read"], "environment": "live",
        "expiresAt": "2040-01-01T00:00:00Z", "allowedSources": ["127.0.0.0/8", "2001:db8::/32"],
    });
    let answer = world.http.post(&keys_of(&world.team), &body).await?;
    assert_eq!(answer.status, 201, "{}", answer.text());
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let mut key = answer.json()["apiKey"].clone();
    let secret = key["key"].take().as_str().expect("the key").to_owned();
    key.as_object_mut().expect("an object").remove("key");
    for (member, value) in [
        ("teamId", json!(world.team)),
        ("name", json!("CI")),
        ("prefix", json!("wb_live_")),
        ("last4", json!(&secret[secret.len() - 4..])),
        ("environment", json!("live")),
        ("scopes", json!(["tasks:read", "tasks:write"])),
        ("status", json!("active")),
        ("expiresAt", json!("2040-01-01T00:00:00.000Z")),
        ("allowedSources", json!(["127.0.0.0/8", "2001:db8::/32"])),
        ("revokedAt", Value::Null),
        ("rotatedFrom", Value::Null),
        ("acceptedUntil", Value::Null),
    ] {
        assert_eq!(key[member], value, "{member}");
    }
    assert!(
        key["createdBy"]
            .as_str()
            .is_some_and(|by| by.starts_with("key:key_"))
    );
    let mut in_list = listed(&world.http, &world.team, key["id"].as_str().expect("an id")).await?;
    let members = in_list.as_object_mut().expect("an object");
    for (member, unused) in [
        ("lastUsedAt", Value::Null),
        ("lastUsedFrom", Value::Null),
        ("useCount", json!(0)),
    ] {
        assert_eq!(members.remove(member), Some(unused), "{member}");
    }
    assert_eq!(in_list, key, "the list says the same, but for the key");
    for (query, found) in [
        ("?environment=live", true),
        ("?environment=test", false),
        ("?status=active", true),
        ("?status=revoked", false),
    ] {
        let list = world
            .http
            .get(&format!("{}{query}", keys_of(&world.team)))
            .await?;
        assert_eq!(list.text().contains("\"CI\""), found, "{query}");
    }
    for query in ["?environment=prod", "?status=dead", "?plan=x"] {
        let list = world
            .http
            .get(&format!("{}{query}", keys_of(&world.team)))
            .await?;
        assert_eq!(list.status, 400, "{query}");
    }
    world.stop().await
}

// K25, API3.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_is_refused_by_name_and_nothing_is_stored() -> Result<()> {
    let world = World::start().await?;
    let before = stored(&world).await?;
    let with = |member: &str, value: Value| {
        let mut body = json!({"name": "n"});
        body[member] = value;
        body
    };
    for (body, field) in [
        (json!({}), "name"),
        (with("name", json!("")), "name"),
        (with("name", json!("x".repeat(101))), "name"),
        (with("name", json!("a\u{1b}[31mb")), "name"),
        (with("name", json!("a\u{202e}b")), "name"),
        (with("name", json!("a\nb")), "name"),
        (with("name", json!("a\u{200b}b")), "name"),
        (with("name", json!("\u{3164}")), "name"),
        (with("name", json!("a\u{a0}b")), "name"),
        (with("name", json!(7)), "name"),
        (with("scopes", json!([])), "scopes"),
        (with("scopes", json!(["tasks:fly"])), "scopes"),
        (with("preset", json!("god")), "preset"),
        (with("environment", json!("prod")), "environment"),
        (with("expiresAt", json!("tomorrow")), "expiresAt"),
        (
            with("expiresAt", json!("2001-01-01T00:00:00Z")),
            "expiresAt",
        ),
        (
            with("allowedSources", json!(["10.0.0.0/33"])),
            "allowedSources",
        ),
        (
            with("allowedSources", json!(vec!["10.0.0.0/8"; 51])),
            "allowedSources",
        ),
        (with("teamId", json!("team_x")), "teamId"),
        (with("id", json!("key_aaaaaaaa")), "id"),
        (with("plan", json!("enterprise")), "plan"),
        (
            with("createdAt", json!("2001-01-01T00:00:00Z")),
            "createdAt",
        ),
        (
            json!({"name": "n", "preset": "read_only", "scopes": ["tasks:read"]}),
            "preset",
        ),
    ] {
        for path in [keys_of(&world.team), "/v1/api-keys".to_owned()] {
            let refused = world.http.post(&path, &body).await?;
            assert_eq!(
                (refused.status.as_u16(), refused.json()["field"].as_str()),
                (400, Some(field)),
                "{body}: {}",
                refused.text()
            );
        }
    }
    assert_eq!(stored(&world).await?, before);
    let html = json!({"name": "<script>alert(1)</script>"});
    let made = make(&world.http, &world.team, &html).await?;
    assert_eq!(made.object["name"], html["name"], "inert: it is JSON");
    world.stop().await
}

// K18.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_makes_no_key_beyond_itself() -> Result<()> {
    let world = World::start().await?;
    let until = "2040-01-01T00:00:00Z";
    let narrow = json!({
        "name": "narrow", "scopes": ["keys:write", "keys:read", "tasks:read"], "expiresAt": until,
    });
    let narrow = make(&world.http, &world.team, &narrow).await?;
    let before = stored(&world).await?;
    let within = json!({"name": "n", "scopes": ["tasks:read"], "expiresAt": until});
    let with = |member: &str, value: Value| {
        let mut body = within.clone();
        body[member] = value;
        body
    };
    for (body, code) in [
        (with("scopes", json!(["tasks:write"])), "insufficient_scope"),
        (
            json!({"name": "n", "preset": "full_access", "expiresAt": until}),
            "insufficient_scope",
        ),
        (
            with("expiresAt", json!("2040-01-01T00:00:01Z")),
            "exceeds_credential",
        ),
        (with("expiresAt", Value::Null), "exceeds_credential"),
        (with("environment", json!("test")), "exceeds_credential"),
    ] {
        for path in [keys_of(&world.team), "/v1/api-keys".to_owned()] {
            let refused = narrow.http.post(&path, &body).await?;
            assert_eq!(
                (refused.status.as_u16(), refused.code().as_str()),
                (403, code),
                "{body}: {}",
                refused.text()
            );
        }
    }
    let (other, _) = world.stranger().await?;
    let elsewhere = narrow.http.post(&keys_of(&other), &within).await?;
    assert_eq!(elsewhere.status, 403);
    assert_eq!(narrow.http.post("/v1/api-keys", &within).await?.status, 201);
    assert!(stored(&world).await? > before);
    world.stop().await
}

// K24.
#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_creation_makes_one_key_and_shows_it_once() -> Result<()> {
    let world = World::start().await?;
    let stop = CancellationToken::new();
    let second = world.another("g2", &stop).await?;
    let owner = Person::signed_in(&world, "owner").await?;
    // One key is all that the plan allows: a repetition is told of the key, not of the plan.
    let team = owner.team(&world, "Ours", "free").await?;
    let there = owner.at(&second);
    let path = keys_of(&team);
    let body = json!({"name": "once"}).to_string();
    let headers = [("idempotency-key", "creation-1")];
    let tries = (0..12).map(|n| {
        let http = if n % 2 == 0 { &owner.http } else { &there };
        http.send(Method::POST, &path, &headers, body.clone())
    });
    let answers = futures::future::try_join_all(tries).await?;
    let (made, repeated): (Vec<_>, Vec<_>) =
        answers.iter().partition(|answer| answer.status == 201);
    assert_eq!(made.len(), 1, "{:?}", repeated[0].text());
    let key = made[0].json()["apiKey"].clone();
    let secret = key["key"].as_str().expect("the key");
    for answer in repeated {
        assert_eq!(
            (answer.status.as_u16(), answer.code().as_str()),
            (409, "secret_already_shown"),
            "{}",
            answer.text()
        );
        assert_eq!(answer.json()["keyId"], key["id"]);
        assert!(!answer.text().contains(secret));
    }
    let other = json!({"name": "another"}).to_string();
    let other = there.send(Method::POST, &path, &headers, other).await?;
    assert_eq!(
        (other.status.as_u16(), other.code().as_str()),
        (422, "idempotency_mismatch")
    );
    for value in ["", &"x".repeat(256)] {
        let headers = [("idempotency-key", value)];
        let wrong = owner
            .http
            .send(Method::POST, &path, &headers, body.clone())
            .await?;
        assert_eq!(wrong.json()["field"], "Idempotency-Key", "{}", wrong.text());
    }
    stop.cancel();
    second.wait().await?;
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn several_brands_are_accepted_and_new_keys_begin_with_the_first() -> Result<()> {
    let brands = ["wb", "sp", "qu", "aitk"].map(str::to_owned);
    let config = GatewayConfig {
        key_brands: brands.to_vec(),
        ..config()
    };
    let world = World::start_with(config).await?;
    let http = Http::at(world.gateway.addr());
    for (brand, environment) in [
        ("sp", "live"),
        ("qu", "live"),
        ("aitk", "test"),
        ("zz", "live"),
    ] {
        let mut wish =
            waybill_commands::KeyWish::new("k", waybill_domain::access::scope::Scope::ALL);
        if environment == "test" {
            wish.environment = waybill_domain::id::Environment::Test;
        }
        let writer = world.writer().with_brand(brand);
        let made = writer.make_key(&world.team, wish, &operator()).await?;
        world.gateway.state().auth.wait_for(made.seq).await?;
        let secret = made.key.reveal();
        assert!(
            secret.starts_with(&format!("{brand}_{environment}_")),
            "{secret}"
        );
        let answer = http.with_key(secret).get("/v1/key").await?;
        let status = if brand == "zz" { 401 } else { 200 };
        assert_eq!(answer.status.as_u16(), status, "{brand}");
    }
    let made = make(&world.http, &world.team, &json!({"name": "n"})).await?;
    assert!(made.secret().starts_with("wb_live_"));
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn presets_and_people_choose() -> Result<()> {
    let world = World::start().await?;
    let owner = Person::signed_in(&world, "owner").await?;
    let team = owner.team(&world, "Ours", "pro").await?;
    let body = json!({"name": "poster", "preset": "task_poster_read_only", "environment": "test"});
    let made = make(&owner.http, &team, &body).await?;
    assert_eq!(
        made.object["scopes"],
        json!([
            "bids:read",
            "deliveries:read",
            "webhooks:read",
            "postings:read",
            "ledger:read"
        ])
    );
    assert_eq!(made.object["access"], "Task Poster, read-only");
    assert!(made.secret().starts_with("wb_test_"));
    assert_eq!(
        made.object["createdBy"],
        json!(format!("user:{}", owner.id))
    );
    let by_header = [("x-environment", "test")];
    let body = json!({"name": "by header"}).to_string();
    let answer = owner
        .http
        .send(Method::POST, &keys_of(&team), &by_header, body)
        .await?;
    assert_eq!(
        answer.json()["apiKey"]["environment"],
        "test",
        "{}",
        answer.text()
    );
    world.stop().await
}

/// A poster's key must not have secrets of the vault sent anywhere, and an agent's must neither select nor approve.
#[tokio::test(flavor = "multi_thread")]
async fn keys_of_the_market_call_nothing_else() -> Result<()> {
    let world = World::start().await?;
    for preset in ["task_poster", "agent_manager"] {
        let body = json!({"name": "k", "preset": preset, "brand": "aitk"});
        let made = make(&world.http, &world.team, &body).await?;
        assert!(made.secret().starts_with("aitk_live_"), "{}", made.secret());
        let shown = made.object["displayPrefix"].as_str().unwrap_or_default();
        let beginning = shown.strip_suffix('…').unwrap_or_default();
        assert!(made.secret().starts_with(beginning) && beginning.len() == "aitk_live_".len() + 4);
        let answer = made.http.post("/v1/tasks", &a_task()).await?;
        assert_eq!(
            (answer.status.as_u16(), answer.code().as_str()),
            (403, "insufficient_scope"),
            "{preset}"
        );
        // The sentence stands where each kind of client looks for it.
        assert_eq!(answer.json()["message"], answer.json()["error"]);
    }
    for (brand, text) in [
        ("sk", "brand must be one of wb, sp, qu, aitk"),
        ("zz", "not"),
    ] {
        let body = json!({"name": "k", "brand": brand});
        let refused = world.http.post(&keys_of(&world.team), &body).await?;
        assert_eq!(
            (refused.status.as_u16(), refused.json()["field"].as_str()),
            (400, Some("brand"))
        );
        assert!(refused.error().contains(text), "{}", refused.error());
    }
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_without_an_api_makes_no_keys_for_it() -> Result<()> {
    let world = World::start().await?;
    let owner = Person::signed_in(&world, "owner").await?;
    let team = owner.team(&world, "Ours", "free").await?;
    for wanted in [
        json!({"name": "k", "preset": "subscribers_read_only"}),
        json!({"name": "k", "scopes": ["waitlists:write"]}),
    ] {
        let refused = owner.http.post(&keys_of(&team), &wanted).await?;
        assert_eq!(
            (refused.status.as_u16(), refused.code().as_str()),
            (403, "feature_not_allowed"),
            "{wanted}"
        );
    }
    // A key with all scopes goes on working on what the plan has.
    let made = make(&owner.http, &team, &json!({"name": "k"})).await?;
    assert_eq!(made.object["access"], "Full access");
    assert_eq!(made.http.get("/v1/tasks").await?.status, 200);
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bound_key_makes_only_keys_within_its_networks() -> Result<()> {
    let world = World::start().await?;
    let body = json!({"name": "parent", "allowedSources": ["127.0.0.0/8"]});
    let parent = make(&world.http, &world.team, &body).await?;
    let path = keys_of(&world.team);
    for wider in [
        json!(["0.0.0.0/0"]),
        json!(["127.0.0.1/32", "192.0.2.0/24"]),
        json!(["::/0"]),
    ] {
        let body = json!({"name": "child", "allowedSources": wider});
        let refused = parent.http.post(&path, &body).await?;
        assert_eq!(
            (refused.status.as_u16(), refused.json()["field"].as_str()),
            (403, Some("allowedSources")),
            "{}",
            refused.text()
        );
    }
    let silent = make(&parent.http, &world.team, &json!({"name": "child"})).await?;
    assert_eq!(silent.object["allowedSources"], json!(["127.0.0.0/8"]));
    let body = json!({"name": "child", "allowedSources": ["127.0.0.1/32"]});
    let narrower = make(&parent.http, &world.team, &body).await?;
    assert_eq!(narrower.object["allowedSources"], json!(["127.0.0.1/32"]));
    // Nor does it get hold of a freer key by rotating that one.
    let free = make(&world.http, &world.team, &json!({"name": "free"})).await?;
    let rotate = format!("/apikeys/{}/rotate", free.id());
    let refused = parent.http.send(Method::POST, &rotate, &[], "").await?;
    assert_eq!(refused.status, 403, "{}", refused.text());
    world.stop().await
}
