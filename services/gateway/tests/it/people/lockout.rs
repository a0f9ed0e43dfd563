//! Guessing passwords, and whom it must not keep out.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use http::Method;
use serde_json::json;
use waybill_domain::access::plan::Catalogue;
use waybill_testkit::eventually;
use waybill_testkit::http::Answer;

use super::stage::{PASSWORD, Stage};
use crate::owner::now;
use crate::world::SOON;

/// Seconds of the window that log-ins are counted in, and what this test may take of it.
const WINDOW_S: i64 = 300;
const ROOM_S: i64 = 15;
/// Seconds of the window that letters for another password are counted in: a multiple.
const LETTERS_WINDOW_S: i64 = 600;

/// Waits until a test has room in a window of so many seconds.
async fn room_in(window_s: i64) -> Result<()> {
    let left = || window_s - now().as_secs() % window_s;
    eventually(SOON, async || left() > ROOM_S).await?;
    Ok(())
}

/// The plans of these tests, with other guards.
fn plans_with(changes: &[(&str, &str)]) -> Arc<Catalogue> {
    let mut text = include_str!("../../../../../ops/plans/plans.toml").to_owned();
    for (before, after) in changes {
        assert!(text.contains(before), "{before}");
        text = text.replacen(before, after, 1);
    }
    Arc::new(Catalogue::parse(&text).expect("valid"))
}

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

#[tokio::test(flavor = "multi_thread")]
async fn one_mailbox_gets_few_letters_for_another_password_however_its_address_is_written()
-> Result<()> {
    let stage = Stage::start().await?;
    stage.person("eve@example.com").await?;
    room_in(LETTERS_WINDOW_S).await?;
    let mut statuses = Vec::new();
    for address in [
        "eve@example.com",
        "eve+1@example.com",
        "Eve+2@example.com",
        "eve+3@example.com",
    ] {
        let body = json!({ "email": address });
        let asked = stage.post("/v1/auth/password/forgot", &body).await?;
        statuses.push(asked.status.as_u16());
    }
    assert_eq!(statuses, [202, 202, 202, 429]);
    stage.stop().await
}

/// Guesses that are spread over networks are counted together; a device that the owner has used before is not concerned.
#[tokio::test(flavor = "multi_thread")]
async fn guesses_from_many_networks_lock_strangers_out_and_no_known_device() -> Result<()> {
    const ANYWHERE: usize = 12;
    let guard = "name = \"log-in-anywhere\", scope = \"account\", q = ";
    let (before, after) = (format!("{guard}100,"), format!("{guard}{ANYWHERE},"));
    let stage = Stage::start_with(|mut config| {
        config.trusted_proxies = vec!["127.0.0.0/8".parse().expect("a network")];
        config.plans = plans_with(&[(&before, &after)]);
        config
    })
    .await?;
    stage.person("ann@example.com").await?;
    room_in(WINDOW_S).await?;
    let home = "203.0.113.9";
    let known = stage.try_from(home, PASSWORD, None).await?.json();
    let device = known["deviceToken"].as_str().context("a device")?;
    for guess in 0..ANYWHERE {
        let network = format!("192.0.2.{}", guess % 4 + 1);
        let answer = stage.try_from(&network, "not the password", None).await?;
        assert_eq!(answer.status, 401, "{guess}: {}", answer.text());
    }
    let fresh = stage.try_from("198.51.100.7", PASSWORD, None).await?;
    assert_eq!(fresh.status, 429, "{}", fresh.text());
    let at_home = stage.try_from(home, PASSWORD, Some(device)).await?;
    assert_eq!(at_home.status, 200, "{}", at_home.text());
    stage.stop().await
}

/// A lock that outlived its window by a moment would tell which addresses have an account.
#[tokio::test(flavor = "multi_thread")]
async fn known_and_unknown_addresses_are_answered_alike_when_a_window_ends() -> Result<()> {
    const SHORT_WINDOW_S: i64 = 4;
    let guard = "name = \"log-in-account\", scope = \"account-network\", ";
    let before = format!("{guard}q = 10, w = 300");
    let after = format!("{guard}q = 3, w = {SHORT_WINDOW_S}");
    let stage = Stage::start_with(|mut config| {
        config.plans = plans_with(&[
            (&before, &after),
            (
                "scope = \"ip\", q = 30, w = 300",
                "scope = \"ip\", q = 100000, w = 300",
            ),
            (
                "scope = \"account\", q = 100, w = 3600",
                "scope = \"account\", q = 100000, w = 3600",
            ),
            (
                "name = \"failures\", q = 30,",
                "name = \"failures\", q = 1000000,",
            ),
        ]);
        config
    })
    .await?;
    stage.person("ann@example.com").await?;
    let second = || now().as_secs();
    let window = || second() / SHORT_WINDOW_S;
    let first = window();
    let (mut compared, mut seen) = (0, std::collections::BTreeSet::new());
    let mut pace = tokio::time::interval(std::time::Duration::from_millis(100));
    // The first window is a part of one; two whole ones end after it.
    while window() < first + 3 {
        pace.tick().await;
        let (window_before, second_before) = (window(), second());
        let (known, unknown) = tokio::join!(
            stage.log_in("ann@example.com", "not the password"),
            stage.log_in("nobody@example.com", "not the password"),
        );
        let (known, unknown) = (known?, unknown?);
        // One may be counted before a window ends and the other after it.
        if window() == window_before {
            assert_eq!(known.status, unknown.status, "in window {window_before}");
            assert_eq!(known.text(), unknown.text());
            seen.insert(known.status.as_u16());
            compared += 1;
        }
        if second() == second_before {
            let after = |answer: &Answer| answer.header("retry-after").map(str::to_owned);
            assert_eq!(after(&known), after(&unknown), "at {second_before}");
        }
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), [401, 429]);
    assert!(compared > 10, "{compared} tries were comparable");
    stage.stop().await
}
