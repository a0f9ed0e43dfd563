//! Accounts.

use anyhow::Result;
use http::Method;
use serde_json::json;

use super::stage::{PASSWORD, Stage};

#[tokio::test(flavor = "multi_thread")]
async fn somebody_signs_up_confirms_and_is_who_they_are() -> Result<()> {
    let stage = Stage::start().await?;
    let tokens = stage.person("ann@example.com").await?;
    let me = stage.me(&tokens).await?;
    assert_eq!(me.status, 200, "{}", me.text());
    let me = me.json();
    assert_eq!(me["user"]["email"], "ann@example.com");
    assert_eq!(me["user"]["name"], "Ann");
    assert_eq!(me["user"]["hasPassword"], true);
    assert_eq!(me["teams"], json!([]));
    let renamed = stage
        .signed_in(&tokens, Method::PATCH, "/v1/me", r#"{"name": "Ann B."}"#)
        .await?;
    assert_eq!(renamed.json()["user"]["name"], "Ann B.");
    // The same person, whatever the case of the address.
    let answer = stage.log_in("ANN@Example.com", PASSWORD).await?;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.json()["tokenType"], "Bearer");
    let keys = stage.http.get("/.well-known/jwks.json").await?;
    assert_eq!(keys.json()["keys"].as_array().map(Vec::len), Some(3));
    stage.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_confirms_once_and_only_the_last_one() -> Result<()> {
    let stage = Stage::start().await?;
    for _ in 0..2 {
        stage
            .post("/v1/auth/signup", &json!({ "email": "ann@example.com" }))
            .await?;
    }
    stage.mailbox.letter("ann@example.com", 2).await?;
    let mut tokens = vec![
        stage.mailbox.token("ann@example.com", 1).await?,
        stage.mailbox.token("ann@example.com", 2).await?,
    ];
    // Both errands ran by themselves: whichever came second is the one that counts.
    let mut confirmed = Vec::new();
    for token in &tokens {
        let body = json!({ "token": token, "password": PASSWORD });
        confirmed.push(stage.post("/v1/auth/confirm", &body).await?.status.as_u16());
    }
    confirmed.sort_unstable();
    assert_eq!(confirmed, [201, 400]);
    tokens.push("wb_confirm_x".into());
    for token in &tokens {
        let body = json!({ "token": token, "password": "another long one" });
        let answer = stage.post("/v1/auth/confirm", &body).await?;
        assert_eq!(
            (answer.status.as_u16(), answer.json()["field"].as_str()),
            (400, Some("token"))
        );
    }
    stage.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_that_are_wrong_are_named() -> Result<()> {
    let stage = Stage::start().await?;
    stage
        .post(
            "/v1/auth/signup",
            &json!({ "email": "longname@example.com" }),
        )
        .await?;
    let token = stage.mailbox.token("longname@example.com", 1).await?;
    for (path, body, field) in [
        ("/v1/auth/signup", json!({}), "email"),
        ("/v1/auth/signup", json!({ "email": "nobody" }), "email"),
        (
            "/v1/auth/signup",
            json!({ "email": "a@b.c\r\nBcc: x@y.z" }),
            "email",
        ),
        ("/v1/auth/signup", json!({ "email": 5 }), "email"),
        (
            "/v1/auth/signup",
            json!({ "email": "a@b.c", "role": "owner" }),
            "role",
        ),
        ("/v1/auth/login", json!({ "email": "a@b.c" }), "password"),
        (
            "/v1/auth/login",
            json!({ "email": "a@b.c", "password": "x".repeat(1025) }),
            "password",
        ),
        ("/v1/auth/confirm", json!({ "password": PASSWORD }), "token"),
        ("/v1/auth/confirm", json!({ "token": token }), "password"),
        (
            "/v1/auth/confirm",
            json!({ "token": token, "password": "short" }),
            "password",
        ),
        (
            "/v1/auth/confirm",
            json!({ "token": token, "password": "password123" }),
            "password",
        ),
        (
            "/v1/auth/confirm",
            json!({ "token": token, "password": "longname" }),
            "password",
        ),
        (
            "/v1/auth/confirm",
            json!({ "token": token, "password": PASSWORD, "name": "" }),
            "name",
        ),
        (
            "/v1/auth/confirm",
            json!({ "token": token, "password": PASSWORD, "id": "user_x" }),
            "id",
        ),
        (
            "/v1/auth/password/reset",
            json!({ "token": token, "password": PASSWORD }),
            "token",
        ),
    ] {
        let answer = stage.post(path, &body).await?;
        assert_eq!(answer.status, 400, "{path} {body}: {}", answer.text());
        assert_eq!(answer.json()["field"], field, "{path} {body}");
    }
    // None of that used the token up.
    let body = json!({ "token": token, "password": PASSWORD });
    assert_eq!(stage.post("/v1/auth/confirm", &body).await?.status, 201);
    stage.stop().await
}
