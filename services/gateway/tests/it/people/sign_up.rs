//! Accounts.

use anyhow::Result;
use http::Method;
use serde_json::json;
use waybill_domain::access::role::Role;
use waybill_identity::{PeopleConfig, SignUpPolicy};
use waybill_log::MailQueue as _;
use waybill_testkit::eventually;
use waybill_testkit::http::Http;

use super::stage::{PASSWORD, Stage};
use crate::world::{SOON, World, config};

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
async fn the_first_letter_confirms_after_a_second_was_asked_for_and_then_neither_does() -> Result<()>
{
    let stage = Stage::start().await?;
    // Each letter is there before the next is asked for, so that it is known which is which.
    let mut tokens = Vec::new();
    for number in 1..=2 {
        let asked = json!({ "email": "ann@example.com" });
        let asked = stage.post("/v1/auth/signup", &asked).await?;
        assert_eq!(asked.status, 202, "{}", asked.text());
        tokens.push(stage.mailbox.token("ann@example.com", number).await?);
    }
    let body = json!({ "token": tokens[0], "password": PASSWORD });
    let confirmed = stage.post("/v1/auth/confirm", &body).await?;
    assert_eq!(confirmed.status, 201, "{}", confirmed.text());
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

async fn with_policy(policy: SignUpPolicy) -> Result<Stage> {
    Stage::start_with(|mut config| {
        config.people.sign_up = policy;
        config
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn only_whoever_is_invited_gets_a_letter_and_the_answer_does_not_tell() -> Result<()> {
    let stage = with_policy(SignUpPolicy::Invited).await?;
    let sign_up = async |email: &str| {
        let answer = stage
            .post("/v1/auth/signup", &json!({ "email": email }))
            .await?;
        anyhow::Ok((answer.status, answer.text()))
    };
    let invited = "ann@example.com";
    stage.invite(invited, Role::Owner).await?;
    let withdrawn = stage.invite("bob@example.com", Role::Member).await?;
    stage.withdraw(withdrawn).await?;
    let known = stage.invite("carol@example.com", Role::Member).await?;
    sign_up("carol@example.com").await?;
    stage.confirm("carol@example.com", 1).await?;
    stage.withdraw(known).await?;

    let stranger = sign_up("stranger@example.com").await?;
    assert_eq!(stranger.0, 202, "{}", stranger.1);
    assert_eq!(sign_up("bob@example.com").await?, stranger);
    assert_eq!(sign_up("carol@example.com").await?, stranger);
    assert_eq!(sign_up(invited).await?, stranger);
    stage.confirm(invited, 1).await?;
    // Whoever has an account reads that in the letter, invited or not.
    let notice = stage.mailbox.letter("carol@example.com", 2).await?;
    assert!(!notice.body.contains("wb_confirm_"), "{}", notice.body);
    // Whatever was to be written is written then.
    eventually(SOON, async || {
        let waiting = stage.world.log.waiting().await;
        waiting.is_ok_and(|waiting| waiting == 0)
    })
    .await?;
    let mailbox = stage.mailbox.clone();
    stage.stop().await?;
    for nobody in ["stranger@example.com", "bob@example.com"] {
        assert!(mailbox.all(nobody).is_empty(), "{nobody}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn sign_up_that_is_off_is_refused_and_accounts_go_on_working() -> Result<()> {
    let stage = with_policy(SignUpPolicy::Off).await?;
    stage.invite("ann@example.com", Role::Owner).await?;
    for email in ["ann@example.com", "stranger@example.com"] {
        let answer = stage
            .post("/v1/auth/signup", &json!({ "email": email }))
            .await?;
        assert_eq!(answer.status, 403, "{}", answer.text());
        assert_eq!(answer.json()["code"], "signup_off");
    }
    let forgot = json!({ "email": "ann@example.com" });
    let forgot = stage.post("/v1/auth/password/forgot", &forgot).await?;
    assert_eq!(forgot.status, 202, "{}", forgot.text());
    stage.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_would_wait_for_a_letter_is_told_when_none_can_leave() -> Result<()> {
    // No mailer is configured.
    let world = World::start_with(waybill_gateway::GatewayConfig {
        people: PeopleConfig::default(),
        ..config()
    })
    .await?;
    let http = Http::at(world.gateway.addr());
    for path in ["/v1/auth/signup", "/v1/auth/password/forgot"] {
        let answer = http
            .post(path, &json!({ "email": "ann@example.com" }))
            .await?;
        assert_eq!(answer.status, 503, "{path}: {}", answer.text());
        assert_eq!(answer.json()["code"], "mail_off");
        assert!(answer.header("retry-after").is_some(), "{path}");
    }
    world.stop().await
}
