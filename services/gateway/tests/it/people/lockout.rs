//! Guessing passwords, and whom it must not keep out.

use anyhow::{Context as _, Result};
use http::Method;
use serde_json::json;
use waybill_testkit::eventually;
use waybill_testkit::http::Answer;

use super::stage::{PASSWORD, Stage};
use crate::owner::now;
use crate::world::SOON;

/// Seconds of the window that log-ins are counted in, and what this test may take of it.
const WINDOW_S: i64 = 300;
const ROOM_S: i64 = 15;

#[tokio::test(flavor = "multi_thread")]
async fn guessing_is_stopped_told_and_written_down_alike_for_all_addresses() -> Result<()> {
    use waybill_log::{Log as _, Stream};
    let stage = Stage::start().await?;
    let ann = stage.person("ann@example.com").await?;
    let left = || WINDOW_S - now().as_secs() % WINDOW_S;
    eventually(SOON, async || left() > ROOM_S).await?;
    let mut outcomes = Vec::new();
    for email in ["ann@example.com", "nobody@example.com"] {
        let mut statuses = Vec::new();
        for _ in 0..12 {
            let answer = stage.log_in(email, "not the password").await?;
            statuses.push(answer.status.as_u16());
            if answer.status == 429 {
                assert!(answer.header("retry-after").is_some());
                assert_eq!(answer.code(), "rate_limit_exceeded");
            }
        }
        assert_eq!(statuses.last(), Some(&429), "{statuses:?}");
        outcomes.push(statuses);
    }
    assert_eq!(outcomes[0], outcomes[1], "known or not");
    // From there the right password does not help now, and the session that was there goes on.
    assert_eq!(stage.log_in("ann@example.com", PASSWORD).await?.status, 429);
    assert_eq!(stage.me(&ann).await?.status, 200);
    let notice = stage.mailbox.letter("ann@example.com", 2).await?;
    assert_eq!(notice.subject, "Sign-in to your account is paused");
    let written = stage
        .world
        .log
        .last(Stream::Control, "control._.user.>")
        .await?;
    assert_eq!(
        written.map(|record| record.event),
        Some("user.locked.v1".into())
    );
    // One notice, however long it goes on.
    stage.log_in("ann@example.com", PASSWORD).await?;
    assert_eq!(stage.mailbox.all("ann@example.com").len(), 2);
    stage.stop().await
}

impl Stage {
    /// A try from some network, on some device.
    async fn try_from(
        &self,
        network: &str,
        password: &str,
        device: Option<&str>,
    ) -> Result<Answer> {
        let body = json!({"email": "ann@example.com", "password": password, "deviceToken": device});
        let headers = [("x-forwarded-for", network)];
        let sent = self
            .http
            .send(Method::POST, "/v1/auth/login", &headers, body.to_string());
        sent.await
    }
}

/// Whoever guesses keeps out himself: not the owner elsewhere, not on a device of hers, and not once she has another password.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_kept_out_of_an_account_by_others_who_guess() -> Result<()> {
    let stage = Stage::start_with(|mut config| {
        config.trusted_proxies = vec!["127.0.0.0/8".parse().expect("a network")];
        config
    })
    .await?;
    stage.person("ann@example.com").await?;
    let left = || WINDOW_S - now().as_secs() % WINDOW_S;
    eventually(SOON, async || left() > ROOM_S).await?;
    let here = "192.0.2.1";
    let known = stage.try_from(here, PASSWORD, None).await?.json();
    let device = known["deviceToken"].as_str().context("a device")?;
    for _ in 0..11 {
        stage.try_from(here, "not the password", None).await?;
    }
    assert_eq!(stage.try_from(here, PASSWORD, None).await?.status, 429);
    for (network, device) in [("198.51.100.7", None), (here, Some(device))] {
        let answer = stage.try_from(network, PASSWORD, device).await?;
        assert_eq!(answer.status, 200, "{network}: {}", answer.text());
    }
    // A made-up device is none, and one that guesses is counted too.
    let answer = stage.try_from(here, PASSWORD, Some("AAAA")).await?;
    assert_eq!(answer.status, 429);

    // She was told once, before anything else is mailed.
    stage.mailbox.letter("ann@example.com", 2).await?;

    // A stranger asks for another password first, then the owner; both letters are good, and the first one is used.
    let forgot = json!({"email": "ann@example.com"});
    let before = stage.mailbox.all("ann@example.com").len();
    stage.post("/v1/auth/password/forgot", &forgot).await?;
    let token = stage.mailbox.token("ann@example.com", before + 1).await?;
    stage.post("/v1/auth/password/forgot", &forgot).await?;
    stage.mailbox.token("ann@example.com", before + 2).await?;
    let reset = json!({"token": token, "password": "another good password"});
    let answer = stage.post("/v1/auth/password/reset", &reset).await?;
    assert_eq!(answer.status, 204, "{}", answer.text());
    let answer = stage.try_from(here, "another good password", None).await?;
    assert_eq!(answer.status, 200, "{}", answer.text());
    stage.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn log_ins_that_succeed_are_not_counted() -> Result<()> {
    let stage = Stage::start().await?;
    stage.person("ann@example.com").await?;
    for _ in 0..40 {
        let answer = stage.log_in("ann@example.com", PASSWORD).await?;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    stage.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn one_mailbox_gets_few_letters_however_its_address_is_written() -> Result<()> {
    let stage = Stage::start().await?;
    let mut statuses = Vec::new();
    for address in [
        "eve@example.com",
        "eve+1@example.com",
        "Eve+2@example.com",
        "eve+3@example.com",
    ] {
        let body = json!({ "email": address });
        statuses.push(stage.post("/v1/auth/signup", &body).await?.status.as_u16());
    }
    assert_eq!(statuses, [202, 202, 202, 429]);
    stage.stop().await
}
