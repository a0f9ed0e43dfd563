//! Sessions: refreshed, listed, ended; on one gateway and on others.

use anyhow::Result;
use http::Method;
use serde_json::json;
use tokio_util::sync::CancellationToken;
use waybill_gateway::Gateway;
use waybill_testkit::http::Http;

use super::stage::{PASSWORD, Stage, Tokens, config_with};
use crate::world::{parts, plans_with_failures};

#[tokio::test(flavor = "multi_thread")]
async fn j6_a_refresh_token_used_twice_ends_the_whole_family() -> Result<()> {
    let stage = Stage::without_grace().await?;
    let first = stage.person("ann@example.com").await?;
    let second = Tokens::of(&stage.refresh(&first.refresh).await?)?;
    let third = Tokens::of(&stage.refresh(&second.refresh).await?)?;
    assert_eq!(first.session, third.session);
    assert_eq!(stage.me(&third).await?.status, 200);
    // A thief comes with the oldest one.
    let stolen = stage.refresh(&first.refresh).await?;
    assert_eq!(
        (stolen.status.as_u16(), stolen.code()),
        (401, "unauthorized".into())
    );
    for tokens in [&first, &second, &third] {
        assert_eq!(stage.me(tokens).await?.status, 401);
        assert_eq!(stage.refresh(&tokens.refresh).await?.status, 401);
    }
    let notice = stage.mailbox.letter("ann@example.com", 2).await?;
    assert_eq!(notice.subject, "You were signed out for your safety");
    // Other sessions of the same person go on.
    assert_eq!(stage.log_in("ann@example.com", PASSWORD).await?.status, 200);
    stage.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_are_none_end_nothing() -> Result<()> {
    let stage = Stage::start().await?;
    let tokens = stage.person("ann@example.com").await?;
    let mut forged = tokens.refresh.clone().into_bytes();
    let last = forged.len() - 1;
    forged[last] = if forged[last] == b'a' { b'b' } else { b'a' };
    let forged = String::from_utf8(forged)?;
    for text in [
        forged.as_str(),
        "",
        "wb_rt_",
        tokens.access.as_str(),
        "wb_live_x",
    ] {
        let answer = stage.refresh(text).await?;
        assert_eq!(
            (answer.status.as_u16(), answer.error()),
            (401, "Invalid or expired session".into()),
            "{text}"
        );
    }
    // A refresh token is no access token, and the other way round.
    let as_access = Tokens {
        access: tokens.refresh.clone(),
        ..tokens.clone()
    };
    assert_eq!(stage.me(&as_access).await?.status, 401);
    assert_eq!(stage.refresh(&tokens.refresh).await?.status, 200);
    stage.stop().await
}

/// Behind one address are many: who is known is answered whatever strangers there have done.
#[tokio::test(flavor = "multi_thread")]
async fn strangers_who_failed_too_often_keep_nobody_signed_out() -> Result<()> {
    let stage = Stage::start_with(|mut config| {
        config.plans = plans_with_failures(30);
        config
    })
    .await?;
    let tokens = stage.person("ann@example.com").await?;
    let mut failed = 0;
    while stage.http.get("/v1/tasks").await?.status != 429 {
        failed += 1;
        anyhow::ensure!(failed < 1_000, "strangers are never told to wait");
    }
    assert_eq!(stage.me(&tokens).await?.status, 200);
    for _ in 0..2 {
        let answer = stage.refresh(&tokens.refresh).await?;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    let answer = stage.log_in("ann@example.com", PASSWORD).await?;
    assert_eq!(answer.status, 200, "{}", answer.text());
    stage.stop().await
}

/// Two tabs of one browser, on two gateways: neither of them is a thief.
#[tokio::test(flavor = "multi_thread")]
async fn two_refreshes_within_a_moment_get_the_same_successor_from_any_gateway() -> Result<()> {
    let stage = Stage::start().await?;
    let tokens = stage.person("ann@example.com").await?;
    let stop = CancellationToken::new();
    let parts = parts(&stage.world.log, &stage.world.folder, "second");
    let second = Gateway::start(config_with(&stage.mailbox), parts, stop.clone()).await?;
    let known = stage.world.gateway.state().auth.applied();
    second.state().auth.wait_for(known).await?;
    let other = Http::at(second.addr());
    other.until("/readyz", http::StatusCode::OK).await?;
    let body = json!({ "refreshToken": tokens.refresh });
    let (one, two) = tokio::join!(
        stage.refresh(&tokens.refresh),
        other.post("/v1/auth/refresh", &body)
    );
    let (one, two) = (Tokens::of(&one?)?, Tokens::of(&two?)?);
    assert_eq!(one.refresh, two.refresh);
    // Also once its successor was used.
    let next = Tokens::of(&stage.refresh(&one.refresh).await?)?;
    let late = Tokens::of(&other.post("/v1/auth/refresh", &body).await?)?;
    assert_eq!(late.refresh, one.refresh);
    for tokens in [&one, &two, &next, &late] {
        assert_eq!(tokens.session, one.session);
        assert_eq!(stage.me(tokens).await?.status, 200);
    }
    stop.cancel();
    second.wait().await?;
    stage.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_listed_and_ended_by_their_owner_only() -> Result<()> {
    let stage = Stage::start().await?;
    let ann = stage.person("ann@example.com").await?;
    let phone = Tokens::of(&stage.log_in("ann@example.com", PASSWORD).await?)?;
    let bob = stage.person("bob@example.com").await?;
    let listed = stage
        .signed_in(&ann, Method::GET, "/v1/auth/sessions", "")
        .await?
        .json();
    let ids: Vec<_> = listed["sessions"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|s| (s["id"].clone(), s["current"].clone()))
        .collect();
    assert_eq!(
        ids,
        [
            (json!(phone.session), json!(false)),
            (json!(ann.session), json!(true))
        ]
    );
    assert_eq!(listed["sessions"][0]["method"], "password");
    assert!(!listed.to_string().contains("wb_rt_") && !listed.to_string().contains("mac"));
    let path = format!("/v1/auth/sessions/{}", phone.session);
    for (who, path, status) in [
        (&bob, path.as_str(), 404),
        (
            &ann,
            "/v1/auth/sessions/ses_00000000000000000000000000",
            404,
        ),
        (&ann, "/v1/auth/sessions/x", 404),
        (&ann, path.as_str(), 204),
        (&ann, path.as_str(), 204),
    ] {
        let answer = stage.signed_in(who, Method::DELETE, path, "").await?;
        assert_eq!(answer.status, status, "{path}");
    }
    assert_eq!(stage.me(&phone).await?.status, 401);
    assert_eq!(stage.refresh(&phone.refresh).await?.status, 401);
    assert_eq!(stage.me(&ann).await?.status, 200);
    stage.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn r15_after_a_logout_no_gateway_takes_the_token() -> Result<()> {
    let stage = Stage::start().await?;
    let stop = CancellationToken::new();
    let parts = parts(&stage.world.log, &stage.world.folder, "another");
    let another = Gateway::start(config_with(&stage.mailbox), parts, stop.clone()).await?;
    let there = Http::at(another.addr());
    there.until("/readyz", http::StatusCode::OK).await?;
    let ann = stage.person("ann@example.com").await?;
    for _ in 0..8 {
        let tokens = Tokens::of(&stage.log_in("ann@example.com", PASSWORD).await?)?;
        let there = there.with_key(&tokens.access);
        // Begun here, known there at once.
        assert_eq!(there.get("/v1/me").await?.status, 200);
        let out = stage
            .signed_in(&tokens, Method::POST, "/v1/auth/logout", "")
            .await?;
        assert_eq!(out.status, 204, "{}", out.text());
        assert_eq!(there.get("/v1/me").await?.status, 401);
        assert_eq!(stage.me(&tokens).await?.status, 401);
    }
    assert_eq!(there.with_key(&ann.access).get("/v1/me").await?.status, 200);
    stop.cancel();
    another.wait().await?;
    stage.stop().await
}
