//! Shapes and texts of the contract, and who may do what.

use anyhow::Result;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use waybill_commands::KeyWish;
use waybill_domain::access::scope::Scope;
use waybill_domain::id::Environment;
use waybill_gateway::Gateway;
use waybill_testkit::http::Http;

use super::{TOKENS, VALUE, id, keep, keys, opened, revoke, rotate};
use crate::world::{World, config, operator, parts};

async fn key_with(world: &World, environment: Environment, scopes: &[Scope]) -> Result<Http> {
    let wish = KeyWish {
        environment,
        ..KeyWish::new("k", scopes)
    };
    let made = world
        .writer()
        .make_key(&world.team, wish, &operator())
        .await?;
    world.gateway.state().auth.wait_for(made.seq).await?;
    Ok(world.http.with_key(made.key.reveal()))
}

// V2, V3.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_kept_listed_and_revoked_as_the_contract_says() -> Result<()> {
    let world = World::start().await?;
    let made = world
        .http
        .post(TOKENS, &json!({"name": "  OpenAI ", "value": VALUE}))
        .await?;
    assert_eq!(made.status, 201);
    let token = made.json()["token"].clone();
    assert_eq!(token["name"], json!("OpenAI"));
    assert!(
        token["createdAt"]
            .as_str()
            .is_some_and(|at| at.ends_with('Z'))
    );
    let token_id = id(&token);
    assert_eq!(opened(&world, &world.team, &token_id, 1).await?, VALUE);

    // Names need not be unique.
    let other = keep(&world.http, "OpenAI", "another").await?;
    let list = world.http.get(TOKENS).await?;
    let tokens = list.json()["tokens"].clone();
    let ids = tokens.as_array().expect("a list").iter();
    let ids: Vec<Value> = ids.map(|token| token["id"].clone()).collect();
    assert_eq!(ids, [token["id"].clone(), other["id"].clone()]);
    assert_eq!(tokens[0]["useCount"], json!(0));
    let one = world.http.get(&format!("{TOKENS}/{token_id}")).await?;
    // Alone it tells under which key it lies, too.
    let mut alone = one.json()["token"].clone();
    let kek = alone.as_object_mut().and_then(|token| token.remove("kek"));
    assert!(kek.is_some_and(|kek| kek.is_string()), "{}", one.text());
    assert_eq!(alone, tokens[0]);
    for answer in [&made, &list, &one] {
        let text = answer.text();
        assert!(
            !text.contains("sk-9f3c") && !text.contains("envelope"),
            "{text}"
        );
    }

    let gone = revoke(&world.http, &token_id).await?;
    assert_eq!(gone.status, 200, "{}", gone.text());
    let revoked = gone.json()["token"].clone();
    assert_eq!(
        (&revoked["id"], &revoked["name"]),
        (&token["id"], &json!("OpenAI"))
    );
    assert!(revoked["revokedAt"].is_string());
    for again in [
        revoke(&world.http, &token_id).await?,
        rotate(&world.http, &token_id, "x").await?,
        world.http.get(&format!("{TOKENS}/{token_id}")).await?,
        world.http.get(&format!("{TOKENS}/tok_x")).await?,
    ] {
        assert_eq!(again.status, 404);
        assert_eq!(again.error(), "Token not found or already revoked");
    }
    let left = world.http.get(TOKENS).await?.json();
    assert_eq!(left["tokens"].as_array().map(Vec::len), Some(1));
    world.stop().await
}

// V1.
#[tokio::test(flavor = "multi_thread")]
async fn what_will_not_do_is_said_and_leaves_nothing() -> Result<()> {
    let world = World::start().await?;
    let long_name = "n".repeat(101);
    let long_value = "v".repeat(65_537);
    for (body, field, error) in [
        (json!({"value": VALUE}), "name", "name is required"),
        (
            json!({"name": "  ", "value": VALUE}),
            "name",
            "name is required",
        ),
        (json!({"name": "n"}), "value", "value is required"),
        (
            json!({"name": "n", "value": ""}),
            "value",
            "value is required",
        ),
        (
            json!({"name": long_name, "value": VALUE}),
            "name",
            "name must be at most 100 characters, not 101",
        ),
        (
            json!({"name": "n", "value": long_value}),
            "value",
            "value must be at most 65536 bytes, not 65537",
        ),
        (
            json!({"name": "n", "value": "a\u{0}b"}),
            "value",
            "value must not",
        ),
        (
            json!({"name": "n", "value": "sk-9f3c\n"}),
            "value",
            "value must not end",
        ),
        (
            json!({"name": "n", "value": VALUE, "allowedHosts": ["*"]}),
            "allowedHosts",
            "",
        ),
        (
            json!({"name": "n", "value": VALUE, "expiresAt": "soon"}),
            "expiresAt",
            "",
        ),
        (
            json!({"name": "n", "value": VALUE, "expiresAt": "2020-01-01T00:00:00Z"}),
            "expiresAt",
            "expiresAt must be in the future",
        ),
        (
            json!({"name": "n", "value": VALUE, "teamId": "team_x"}),
            "teamId",
            "",
        ),
        (json!({"name": "n", "value": 77_123_456}), "value", ""),
    ] {
        let answer = world.http.post(TOKENS, &body).await?;
        let text = answer.text();
        assert_eq!(answer.status, 400, "{text}");
        assert_eq!(answer.json()["field"], json!(field), "{text}");
        assert!(answer.error().starts_with(error), "{text}");
        assert!(
            !text.contains("sk-9f3c") && !text.contains("77123456"),
            "{text}"
        );
    }
    let list = world.http.get(TOKENS).await?.json();
    assert_eq!(list["tokens"], json!([]));
    let all = waybill_log::KeysOf::All;
    let left =
        waybill_log::VaultKeys::list(&world.log, &all, waybill_log::StreamSeq(0), 10).await?;
    assert!(left.is_empty());
    // A value of lines can be kept, though not for a header.
    let pem = keep(&world.http, "pem", "-----BEGIN-----\nabc\n-----END-----").await?;
    assert_eq!(pem["fitsHeader"], json!(false));
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn scopes_environments_and_teams_keep_apart() -> Result<()> {
    let world = World::start().await?;
    let token = id(&keep(&world.http, "ours", VALUE).await?);
    let reader = key_with(&world, Environment::Live, &[Scope::TokensRead]).await?;
    let test = key_with(
        &world,
        Environment::Test,
        &[Scope::TokensRead, Scope::TokensWrite],
    )
    .await?;
    let none = key_with(&world, Environment::Live, &[Scope::TasksWrite]).await?;
    assert_eq!(reader.get(TOKENS).await?.status, 200);
    for answer in [
        reader
            .post(TOKENS, &json!({"name": "n", "value": "v"}))
            .await?,
        revoke(&reader, &token).await?,
        rotate(&reader, &token, "v").await?,
        none.get(TOKENS).await?,
    ] {
        assert_eq!(answer.status, 403, "{}", answer.text());
        assert!(answer.text().contains("tokens:"), "{}", answer.text());
    }
    let (_, stranger) = world.stranger().await?;
    for outsider in [&test, &stranger] {
        assert_eq!(outsider.get(TOKENS).await?.json()["tokens"], json!([]));
        for answer in [
            outsider.get(&format!("{TOKENS}/{token}")).await?,
            revoke(outsider, &token).await?,
            rotate(outsider, &token, "v").await?,
        ] {
            assert_eq!(answer.status, 404, "{}", answer.text());
        }
    }
    let of_test = id(&keep(&test, "theirs", "v2").await?);
    let team = world.team.in_environment(Environment::Test);
    assert_eq!(opened(&world, &team, &of_test, 1).await?, "v2");
    assert!(keys(&world, &world.team, &of_test).await?.is_empty());
    assert_eq!(opened(&world, &world.team, &token, 1).await?, VALUE);
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn without_keys_there_is_no_vault_and_all_else_works() -> Result<()> {
    let world = World::start().await?;
    let token = id(&keep(&world.http, "ours", VALUE).await?);
    let stop = CancellationToken::new();
    let mut without = parts(&world.log, &world.folder, "without");
    without.sealer = None;
    let gateway = Gateway::start(config(), without, stop.clone()).await?;
    let http = Http::at(gateway.addr()).with_key(&world.key);
    http.until("/readyz", http::StatusCode::OK).await?;
    for answer in [
        http.get(TOKENS).await?,
        http.get(&format!("{TOKENS}/{token}")).await?,
        http.post(TOKENS, &json!({})).await?,
        rotate(&http, &token, "v").await?,
        revoke(&http, &token).await?,
    ] {
        assert_eq!(answer.status, 503, "{}", answer.text());
        assert_eq!(answer.error(), "Token vault is not configured");
        assert!(answer.header("retry-after").is_some());
    }
    let stranger = http.with_key("wb_live_x").get(TOKENS).await?;
    assert_eq!(stranger.status, 401, "who asks is looked at first");
    http.create(&crate::world::a_task()).await?;
    stop.cancel();
    gateway.wait().await?;
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_holds_on_all_gateways_at_once() -> Result<()> {
    let world = World::start().await?;
    let stop = CancellationToken::new();
    let other = world.another("other", &stop).await?;
    let writer = world.writer();
    let team = writer.create_team("small", "free", &operator()).await?;
    let made = writer
        .create_key(&team, "k", Scope::ALL, &operator())
        .await?;
    for gateway in [&world.gateway, &other] {
        gateway.state().auth.wait_for(made.seq).await?;
    }
    let https = [
        world.http.with_key(made.key.reveal()),
        Http::at(other.addr()).with_key(made.key.reveal()),
    ];
    let mut creating = JoinSet::new();
    for number in 0..30 {
        let http = https[number % 2].clone();
        creating.spawn(async move {
            let body = json!({"name": format!("n{number}"), "value": "v"});
            http.post(TOKENS, &body).await
        });
    }
    let mut statuses = Vec::new();
    while let Some(answer) = creating.join_next().await {
        let answer = answer??;
        statuses.push(answer.status.as_u16());
        if answer.status == 403 {
            assert_eq!(answer.code(), "plan_limit_exceeded", "{}", answer.text());
        }
    }
    let count = |status| statuses.iter().filter(|found| **found == status).count();
    // 503: others were faster too often; a client tries again.
    assert!(
        count(201) <= 20 && count(201) + count(403) + count(503) == 30,
        "{statuses:?}"
    );
    let listed = https[0].get(TOKENS).await?.json();
    let listed = listed["tokens"].as_array().map(Vec::len);
    assert_eq!(listed, Some(count(201)));
    // What was refused left no key behind.
    let of = waybill_log::KeysOf::TokensOf(team);
    let keys =
        waybill_log::VaultKeys::list(&world.log, &of, waybill_log::StreamSeq(0), 100).await?;
    assert_eq!(keys.len(), count(201) + count(503));
    stop.cancel();
    other.wait().await?;
    world.stop().await
}
