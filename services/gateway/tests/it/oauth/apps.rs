//! Teams and their applications.

use anyhow::Result;
use http::Method;
use serde_json::json;
use waybill_domain::access::role::Role;

use super::stage::{REDIRECT, Stage, credentials, oauth_error, post};
use crate::teams::people::Person;

#[tokio::test(flavor = "multi_thread")]
async fn an_application_is_registered_changed_given_another_secret_and_removed() -> Result<()> {
    let stage = Stage::start().await?;
    let owner = &stage.owner.http;
    let client = stage.client().await?;
    let secret = client.secret.clone().expect("a secret, once");
    assert!(secret.starts_with("wb_cs_"));
    let path = format!("{}/{}", stage.apps(), client.id);
    for shown in [owner.get(&path).await?, owner.get(&stage.apps()).await?] {
        assert_eq!(shown.status, 200);
        assert!(!shown.text().contains(&secret), "shown once");
        assert_eq!(shown.header("cache-control"), Some("no-store"));
    }

    let token = stage.own_token(&client).await?;
    assert_eq!(stage.opens(&token).await?, 200);
    let narrower = json!({"name": "Board", "scopes": ["activity:read"]}).to_string();
    let changed = owner.send(Method::PATCH, &path, &[], narrower).await?;
    assert_eq!(changed.status, 200, "{}", changed.text());
    let app = changed.json()["app"].clone();
    assert_eq!(
        (app["name"].as_str(), &app["redirectUris"]),
        (Some("Board"), &json!([REDIRECT]))
    );
    // What it had before is narrowed with it, to nothing here.
    let refused = stage.http.with_key(&token).get("/v1/tasks").await?;
    assert_eq!(
        (refused.status.as_u16(), refused.code()),
        (403, "insufficient_scope".into())
    );
    let wider = json!({"scopes": ["tasks:read"]}).to_string();
    owner.send(Method::PATCH, &path, &[], wider).await?;
    assert_eq!(stage.opens(&token).await?, 200);

    let rotated = owner.post(&format!("{path}/secret"), &json!({})).await?;
    let fresh = rotated.json()["app"]["clientSecret"]
        .as_str()
        .expect("another")
        .to_owned();
    assert_ne!(fresh, secret);
    let give = |secret: &str| {
        let (http, id, secret) = (stage.http.clone(), client.id.clone(), secret.to_owned());
        async move {
            let fields = [
                ("client_id", id.as_str()),
                ("client_secret", &secret),
                ("grant_type", "client_credentials"),
            ];
            post(&http, "/oauth/token", &fields).await
        }
    };
    assert_eq!(
        oauth_error(&give(&secret).await?),
        (401, "invalid_client".into())
    );
    assert_eq!(give(&fresh).await?.status, 200);
    assert_eq!(stage.opens(&token).await?, 200, "tokens outlive the secret");

    for _ in 0..2 {
        let removed = owner.send(Method::DELETE, &path, &[], "").await?;
        assert_eq!(removed.status, 204, "{}", removed.text());
    }
    assert_eq!(stage.opens(&token).await?, 401);
    assert_eq!(
        oauth_error(&give(&fresh).await?),
        (401, "invalid_client".into())
    );
    assert_eq!(owner.get(&path).await?.status, 404);
    stage.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_about_an_application_is_named() -> Result<()> {
    let stage = Stage::start().await?;
    let good = json!({"name": "x", "scopes": ["tasks:read"], "redirectUris": [REDIRECT]});
    for (field, value) in [
        ("name", json!(" ")),
        ("name", json!("a\u{202e}b")),
        ("scopes", json!([])),
        ("scopes", json!(["tasks:fly"])),
        ("scopes", json!(["keys:write"])),
        ("redirectUris", json!(["http://app.example.com/cb"])),
        ("redirectUris", json!(["https://app.example.com/cb#x"])),
        ("redirectUris", json!(["javascript:alert(1)"])),
        ("redirectUris", json!(["https://*.example.com/cb"])),
        ("type", json!("secret")),
        ("environment", json!("prod")),
        ("teamId", json!("team_x")),
        ("id", json!("app_x")),
    ] {
        let mut body = good.clone();
        body[field] = value;
        let refused = stage.owner.http.post(&stage.apps(), &body).await?;
        assert_eq!(refused.status, 400, "{body}: {}", refused.text());
        assert!(
            refused.error().contains(field),
            "{body}: {}",
            refused.text()
        );
    }
    stage.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn only_admins_of_the_team_manage_its_applications() -> Result<()> {
    let stage = Stage::start().await?;
    let client = stage.client().await?;
    let path = format!("{}/{}", stage.apps(), client.id);
    let member = Person::signed_in(&stage.world, "mel").await?;
    member
        .joined(&stage.world, &stage.team, Role::Member)
        .await?;
    let stranger = Person::signed_in(&stage.world, "eve").await?;
    let theirs = stranger.team(&stage.world, "Theirs", "pro").await?;
    let token = stage.own_token(&client).await?;
    let key = stage.world.http.clone();
    let by_token = stage.http.with_key(&token);
    for who in [&member.http, &stranger.http, &key, &by_token] {
        for (method, path) in [
            (Method::POST, stage.apps()),
            (Method::GET, stage.apps()),
            (Method::GET, path.clone()),
            (Method::PATCH, path.clone()),
            (Method::DELETE, path.clone()),
            (Method::POST, format!("{path}/secret")),
        ] {
            let answer = who.send(method.clone(), &path, &[], "{}").await?;
            assert_eq!(answer.status, 403, "{method} {path}: {}", answer.text());
        }
    }
    // Under the name of a team of one's own it is not there.
    let elsewhere = format!("/teams/{theirs}/apps/{}", client.id);
    for method in [Method::GET, Method::PATCH, Method::DELETE] {
        let answer = stranger.http.send(method, &elsewhere, &[], "{}").await?;
        assert_eq!(answer.status, 404, "{}", answer.text());
    }
    let mut fields = credentials(&client);
    fields.push(("grant_type", "client_credentials"));
    assert_eq!(
        post(&stage.http, "/oauth/token", &fields).await?.status,
        200
    );
    stage.stop().await
}
