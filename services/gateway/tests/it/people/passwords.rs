//! Passwords: changed, forgotten, reset.

use anyhow::Result;
use http::Method;
use serde_json::json;

use super::stage::{PASSWORD, Stage, Tokens};

const OTHER: &str = "a quite different one";

#[tokio::test(flavor = "multi_thread")]
async fn r15_another_password_ends_every_other_session_at_once() -> Result<()> {
    let stage = Stage::start().await?;
    let ann = stage.person("ann@example.com").await?;
    let phone = Tokens::of(&stage.log_in("ann@example.com", PASSWORD).await?)?;
    let body = json!({ "currentPassword": "wrong", "newPassword": OTHER }).to_string();
    let answer = stage
        .signed_in(&ann, Method::POST, "/v1/auth/password", &body)
        .await?;
    assert_eq!(
        (answer.status.as_u16(), answer.code()),
        (401, "invalid_credentials".into())
    );
    let body = json!({ "currentPassword": PASSWORD, "newPassword": OTHER }).to_string();
    let answer = stage
        .signed_in(&ann, Method::POST, "/v1/auth/password", &body)
        .await?;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let now = Tokens::of(&answer)?;
    assert_eq!(stage.me(&now).await?.status, 200);
    for tokens in [&ann, &phone] {
        assert_eq!(stage.me(tokens).await?.status, 401);
        assert_eq!(stage.refresh(&tokens.refresh).await?.status, 401);
    }
    assert_eq!(stage.log_in("ann@example.com", PASSWORD).await?.status, 401);
    assert_eq!(stage.log_in("ann@example.com", OTHER).await?.status, 200);
    let notice = stage.mailbox.letter("ann@example.com", 2).await?;
    assert_eq!(notice.subject, "Your password was changed");
    stage.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forgotten_password_is_reset_with_the_mail_once() -> Result<()> {
    let stage = Stage::start().await?;
    let ann = stage.person("ann@example.com").await?;
    let asked = stage
        .post(
            "/v1/auth/password/forgot",
            &json!({ "email": "ann@example.com" }),
        )
        .await?;
    assert_eq!(asked.status, 202);
    let token = stage.mailbox.token("ann@example.com", 2).await?;
    let body = json!({ "token": token, "password": OTHER });
    assert_eq!(
        stage.post("/v1/auth/confirm", &body).await?.status,
        400,
        "of another kind"
    );
    assert_eq!(
        stage.post("/v1/auth/password/reset", &body).await?.status,
        204
    );
    assert_eq!(
        stage.post("/v1/auth/password/reset", &body).await?.status,
        400
    );
    assert_eq!(stage.me(&ann).await?.status, 401);
    assert_eq!(stage.log_in("ann@example.com", PASSWORD).await?.status, 401);
    assert_eq!(stage.log_in("ann@example.com", OTHER).await?.status, 200);
    assert_eq!(
        stage.mailbox.letter("ann@example.com", 3).await?.subject,
        "Your password was changed"
    );
    stage.stop().await
}
