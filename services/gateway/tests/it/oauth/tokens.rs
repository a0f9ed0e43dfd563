//! Tokens: refreshed, looked at, given back, taken back; and what they open.

use anyhow::Result;
use http::Method;
use serde_json::{Value, json};
use waybill_domain::access::role::Role;
use waybill_gateway::GatewayConfig;

use super::stage::{
    Client, Stage, but, credentials, oauth_error, post, refreshing, request, text, told,
};
use crate::teams::people::Person;
use crate::world::{a_task, config, plans_with_failures};

#[tokio::test(flavor = "multi_thread")]
async fn j6_a_refresh_token_that_comes_twice_ends_the_family() -> Result<()> {
    let stage = Stage::start().await?;
    let client = stage.client().await?;
    let (first_access, first) = stage.tokens(&stage.owner, &client).await?;
    let answer = post(&stage.http, "/oauth/token", &refreshing(&client, &first)).await?;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let (access, second) = (
        text(&answer, "access_token")?,
        text(&answer, "refresh_token")?,
    );
    assert_ne!(first, second);
    assert_eq!(stage.opens(&access).await?, 200);
    assert_eq!(
        stage.opens(&first_access).await?,
        401,
        "another one took its place"
    );
    // A narrower one, and never a wider one.
    let fields = refreshing(&client, &second);
    let wider = post(
        &stage.http,
        "/oauth/token",
        &but(&fields, &[("scope", "dlq:write")]),
    )
    .await?;
    assert_eq!(oauth_error(&wider), (400, "invalid_scope".into()));
    let narrow = post(
        &stage.http,
        "/oauth/token",
        &but(&fields, &[("scope", "tasks:read")]),
    )
    .await?;
    assert_eq!(text(&narrow, "scope")?, "tasks:read");
    let (access, third) = (
        text(&narrow, "access_token")?,
        text(&narrow, "refresh_token")?,
    );
    let refused = stage
        .http
        .with_key(&access)
        .post("/v1/tasks", &a_task())
        .await?;
    assert_eq!(
        (refused.status.as_u16(), refused.code()),
        (403, "insufficient_scope".into())
    );

    let invalid = (400, "invalid_grant".to_owned());
    let again = post(&stage.http, "/oauth/token", &refreshing(&client, &first)).await?;
    assert_eq!(oauth_error(&again), invalid);
    assert_eq!(stage.opens(&access).await?, 401);
    let last = post(&stage.http, "/oauth/token", &refreshing(&client, &third)).await?;
    assert_eq!(oauth_error(&last), invalid);
    let listed = stage.owner.http.get("/v1/me/grants").await?;
    assert_eq!(listed.json()["grants"], json!([]));
    stage.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn j7_a_client_for_itself_has_nothing_that_takes_a_person() -> Result<()> {
    let stage = Stage::start().await?;
    let client = stage.client().await?;
    let phone = stage.public_client().await?;
    let mut fields = credentials(&client);
    fields.push(("grant_type", "client_credentials"));
    for scope in [
        "activity:read",
        "tasks:read activity:read",
        "keys:write",
        "dlq:read",
        "tasks:fly",
    ] {
        let answer = post(
            &stage.http,
            "/oauth/token",
            &but(&fields, &[("scope", scope)]),
        )
        .await?;
        assert_eq!(
            oauth_error(&answer),
            (400, "invalid_scope".into()),
            "{scope}"
        );
    }
    let answer = post(&stage.http, "/oauth/token", &fields).await?;
    assert_eq!(text(&answer, "scope")?, "tasks:read tasks:write");
    let mut fields = credentials(&phone);
    fields.push(("grant_type", "client_credentials"));
    let answer = post(&stage.http, "/oauth/token", &fields).await?;
    assert_eq!(oauth_error(&answer), (400, "unauthorized_client".into()));
    stage.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn j8_giving_back_works_once_and_is_answered_alike() -> Result<()> {
    let stage = Stage::start().await?;
    let client = stage.client().await?;
    let other = stage.client().await?;
    let give_back = async |fields: Vec<(&str, &str)>, token: &str| {
        let mut fields = fields;
        fields.push(("token", token));
        post(&stage.http, "/oauth/revoke", &fields).await
    };
    let (access, refresh) = stage.tokens(&stage.owner, &client).await?;
    for nothing in ["garbage", "wb_at_x", "wb_live_x", "a.b.c"] {
        assert_eq!(
            give_back(credentials(&client), nothing).await?.status,
            200,
            "{nothing}"
        );
    }
    let bad = vec![
        ("client_id", client.id.as_str()),
        ("client_secret", "wb_cs_x"),
    ];
    let anonymous = vec![("client_id", client.id.as_str())];
    for fields in [bad, anonymous] {
        let refused = give_back(fields, &access).await?;
        assert_eq!(oauth_error(&refused), (401, "invalid_client".into()));
    }
    assert_eq!(give_back(credentials(&other), &access).await?.status, 200);
    assert_eq!(give_back(credentials(&other), &refresh).await?.status, 200);
    assert_eq!(
        stage.opens(&access).await?,
        200,
        "another client's is not touched"
    );
    for _ in 0..2 {
        assert_eq!(give_back(credentials(&client), &access).await?.status, 200);
    }
    assert_eq!(stage.opens(&access).await?, 401);
    let answer = post(&stage.http, "/oauth/token", &refreshing(&client, &refresh)).await?;
    let (access, refresh) = (
        text(&answer, "access_token")?,
        text(&answer, "refresh_token")?,
    );
    assert_eq!(stage.opens(&access).await?, 200);
    assert_eq!(give_back(credentials(&client), &refresh).await?.status, 200);
    assert_eq!(
        stage.opens(&access).await?,
        401,
        "a refresh token takes everything with it"
    );
    let own = stage.own_token(&client).await?;
    assert_eq!(give_back(credentials(&client), &own).await?.status, 200);
    assert_eq!(stage.opens(&own).await?, 401);
    let missing = post(&stage.http, "/oauth/revoke", &credentials(&client)).await?;
    assert_eq!(oauth_error(&missing), (400, "invalid_request".into()));
    stage.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn j9_only_the_client_of_a_token_is_told_what_it_is() -> Result<()> {
    let stage = Stage::start().await?;
    let (client, other) = (stage.client().await?, stage.client().await?);
    let phone = stage.public_client().await?;
    let (access, refresh) = stage.tokens(&stage.owner, &client).await?;
    let answer = stage.introspect(&client, &access).await?;
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let told = answer.json();
    assert_eq!(told["active"], true, "{told}");
    assert_eq!(told["sub"], stage.owner.id.to_string());
    assert_eq!(
        (told["client_id"].as_str(), told["team_id"].as_str()),
        (Some(client.id.as_str()), Some(stage.team.as_str()))
    );
    assert_eq!(told["scope"], "tasks:read tasks:write activity:read");
    assert!(told["exp"].as_i64() > told["iat"].as_i64());
    assert_eq!(
        stage.introspect(&client, &refresh).await?.json()["active"],
        true
    );
    let own = stage.own_token(&client).await?;
    assert_eq!(
        stage.introspect(&client, &own).await?.json()["sub"],
        client.id
    );

    let mut flipped = access.clone();
    let last = flipped.pop();
    flipped.push(if last == Some('0') { '1' } else { '0' });
    let inactive = json!({"active": false});
    for (who, token) in [
        (&other, access.as_str()),
        (&other, &refresh),
        (&client, &flipped),
        (&client, "garbage"),
        (&client, "wb_at_"),
        (&client, &stage.world.key),
        (&client, &stage.owner.token),
    ] {
        assert_eq!(
            stage.introspect(who, token).await?.json(),
            inactive,
            "{token}"
        );
    }
    let refused = stage.introspect(&phone, &access).await?;
    assert_eq!(oauth_error(&refused), (401, "invalid_client".into()));
    let mut fields = credentials(&client);
    fields.push(("token", &refresh));
    post(&stage.http, "/oauth/revoke", &fields).await?;
    for token in [&access, &refresh] {
        assert_eq!(stage.introspect(&client, token).await?.json(), inactive);
    }
    stage.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_opens_no_more_than_its_person_may_now() -> Result<()> {
    let stage = Stage::start().await?;
    let client = stage.client().await?;
    let mel = Person::signed_in(&stage.world, "mel").await?;
    mel.joined(&stage.world, &stage.team, Role::Member).await?;
    let (access, refresh) = stage.tokens(&mel, &client).await?;
    let http = stage.http.with_key(&access);
    assert_eq!(http.post("/v1/tasks", &a_task()).await?.status, 201);
    // For people only, of whatever team.
    for path in ["/v1/me", "/v1/me/grants"] {
        assert_eq!(http.get(path).await?.code(), "person_required");
    }
    let foreign = stage.world.team.clone();
    let answer = http.get(&format!("/teams/{foreign}/apikeys")).await?;
    assert_eq!(answer.status, 403, "{}", answer.text());

    let members = format!("/teams/{}/members/{}", stage.team, mel.id);
    let viewer = json!({"role": "viewer"}).to_string();
    let demoted = stage
        .owner
        .http
        .send(Method::PATCH, &members, &[], viewer)
        .await?;
    assert_eq!(demoted.status, 200, "{}", demoted.text());
    let refused = http.post("/v1/tasks", &a_task()).await?;
    assert_eq!(
        (refused.status.as_u16(), refused.code()),
        (403, "insufficient_scope".into())
    );
    assert!(
        refused.error().contains("tasks:write"),
        "{}",
        refused.error()
    );
    assert_eq!(stage.opens(&access).await?, 200);
    let removed = stage
        .owner
        .http
        .send(Method::DELETE, &members, &[], "")
        .await?;
    assert!(removed.status.is_success(), "{}", removed.text());
    assert_eq!(stage.opens(&access).await?, 401);
    let answer = post(&stage.http, "/oauth/token", &refreshing(&client, &refresh)).await?;
    assert_eq!(oauth_error(&answer), (400, "invalid_grant".into()));
    stage.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_sees_what_they_gave_and_takes_it_back() -> Result<()> {
    let stage = Stage::start().await?;
    let client = stage.client().await?;
    let eve = Person::signed_in(&stage.world, "eve").await?;
    stage.code(&stage.owner, &client).await?;
    let owner = &stage.owner.http;
    assert_eq!(
        owner.get("/v1/me/grants").await?.json()["grants"],
        json!([]),
        "a code alone is nothing"
    );
    let (access, _) = stage.tokens(&stage.owner, &client).await?;
    let listed = owner.get("/v1/me/grants").await?.json();
    let grant = &listed["grants"][0];
    assert_eq!(
        (grant["appId"].as_str(), grant["appName"].as_str()),
        (Some(client.id.as_str()), Some("Dashboard <b>"))
    );
    let path = format!("/v1/me/grants/{}", grant["id"].as_str().expect("an id"));
    assert_eq!(
        eve.http.get("/v1/me/grants").await?.json()["grants"],
        json!([])
    );
    let theirs = eve.http.send(Method::DELETE, &path, &[], "").await?;
    assert_eq!(theirs.status, 404);
    let nobodys = owner
        .send(Method::DELETE, "/v1/me/grants/grant_x", &[], "")
        .await?;
    assert_eq!(nobodys.status, 404);
    assert_eq!(stage.opens(&access).await?, 200);
    for _ in 0..2 {
        let withdrawn = owner.send(Method::DELETE, &path, &[], "").await?;
        assert_eq!(withdrawn.status, 204, "{}", withdrawn.text());
        assert_eq!(stage.opens(&access).await?, 401);
    }
    stage.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn admins_see_who_let_which_application_into_their_team() -> Result<()> {
    let stage = Stage::start().await?;
    let client = stage.client().await?;
    let mel = Person::signed_in(&stage.world, "mel").await?;
    mel.joined(&stage.world, &stage.team, Role::Member).await?;
    let (access, _) = stage.tokens(&mel, &client).await?;
    stage.tokens(&stage.owner, &client).await?;
    let path = format!("/teams/{}/grants", stage.team);
    let owner = &stage.owner.http;
    let listed = owner.get(&path).await?.json();
    let who = |listed: &Value| -> Vec<String> {
        let grants = listed["grants"].as_array().cloned().unwrap_or_default();
        let email = |grant: &Value| grant["grantedBy"]["email"].as_str().map(str::to_owned);
        grants.iter().filter_map(email).collect()
    };
    assert_eq!(who(&listed), ["ann@example.com", "mel@example.com"]);
    let of_mel = &listed["grants"][1];
    assert_eq!(of_mel["appId"], client.id.as_str());
    assert_eq!(of_mel["appTeamId"], stage.team.as_str());
    assert_eq!(of_mel["grantedBy"]["id"], mel.id.as_str());
    assert!(of_mel["givenAt"].is_string() && of_mel["lastUsedAt"].is_string());
    let refused = mel.http.get(&path).await?;
    assert_eq!(refused.code(), "insufficient_role");

    // What mel granted in a team of her own is no business of this one, nor is what she granted once she has left.
    let other = mel.team(&stage.world, "Hers", "enterprise").await?;
    let hers = mel.http.get(&format!("/teams/{other}/grants")).await?;
    assert_eq!(who(&hers.json()), Vec::<String>::new());
    let membership = format!("/teams/{}/members/{}", stage.team, mel.id);
    let removed = owner.send(Method::DELETE, &membership, &[], "").await?;
    assert!(removed.status.is_success(), "{}", removed.text());
    assert_eq!(stage.opens(&access).await?, 401);
    assert_eq!(who(&owner.get(&path).await?.json()), ["ann@example.com"]);
    stage.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_application_lives_in_the_test_environment() -> Result<()> {
    let stage = Stage::start().await?;
    let live = stage.client().await?;
    let body = json!({"name": "t", "environment": "test", "scopes": ["tasks:read", "tasks:write"]});
    let test = stage.register(&body).await?;
    let (live, test) = (stage.own_token(&live).await?, stage.own_token(&test).await?);
    let id = stage.http.with_key(&live).create(&a_task()).await?;
    let elsewhere = stage
        .http
        .with_key(&test)
        .get(&format!("/v1/tasks/{id}"))
        .await?;
    assert!(
        elsewhere.status == 403 || elsewhere.status == 404,
        "{}",
        elsewhere.status
    );
    assert_eq!(stage.opens(&test).await?, 200);
    // Without a redirect URI nobody can be asked for consent.
    stage.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_is_malformed_opens_anything() -> Result<()> {
    let stage = Stage::start().await?;
    let client = stage.client().await?;
    let (access, refresh) = stage.tokens(&stage.owner, &client).await?;
    let code = told(
        &stage
            .consent(&stage.owner, &request(&client), "allow")
            .await?,
        "code",
    )?;
    let secret = client.secret.clone().unwrap_or_default();
    let other_brand = access.replacen("wb_", "sp_", 1);
    let cut = access[..access.len() - 1].to_owned();
    let long = format!("{access}0");
    let none = "wb_at_".to_owned();
    for token in [refresh, code, secret, other_brand, cut, long, none] {
        let answer = stage.http.with_key(&token).get("/v1/tasks").await?;
        assert_eq!(answer.status, 401, "{}", &token[..6.min(token.len())]);
        assert!(answer.header("www-authenticate").is_some());
    }
    stage.stop().await
}

/// Behind one address are many: a client that proves who it is gets its token whatever strangers there have done.
#[tokio::test(flavor = "multi_thread")]
async fn strangers_who_failed_too_often_keep_no_client_out() -> Result<()> {
    let stage = Stage::start_with(GatewayConfig {
        plans: plans_with_failures(30),
        ..config()
    })
    .await?;
    let client = stage.client().await?;
    let stranger = Client {
        id: client.id.clone(),
        secret: Some("wb_cs_x".into()),
    };
    let mut fields = credentials(&stranger);
    fields.push(("grant_type", "client_credentials"));
    let mut failed = 0;
    while post(&stage.http, "/oauth/token", &fields).await?.status != 429 {
        failed += 1;
        anyhow::ensure!(failed < 1_000, "strangers are never told to wait");
    }
    let token = stage.own_token(&client).await?;
    assert_eq!(stage.opens(&token).await?, 200);
    stage.stop().await
}
