//! Codes: good once, for a minute, for one client, one verifier and one redirect.

use anyhow::Result;
use http::Method;
use waybill_domain::access::grant::{GrantCommand, GrantFamily};
use waybill_domain::access::token::{Token, TokenKind};
use waybill_domain::event::{Boundary, GrantGiven};
use waybill_domain::id::{AppId, Environment, GrantId};
use waybill_domain::time::Timestamp;

use super::stage::{
    REDIRECT, Stage, but, challenge, credentials, encoded, oauth_error, post, redemption,
    refreshing, text,
};
use crate::owner::now;
use crate::world::operator;

#[tokio::test(flavor = "multi_thread")]
async fn j4_a_code_is_for_whom_it_was_made_and_by_whom_it_was_asked_for() -> Result<()> {
    let stage = Stage::start().await?;
    let client = stage.client().await?;
    let other = stage.client().await?;
    let phone = stage.public_client().await?;
    let code = stage.code(&stage.owner, &client).await?;
    let good = redemption(&client, &code);
    let invalid = (400, "invalid_grant".to_owned());
    let another = "a".repeat(43);
    for others in [
        vec![("code_verifier", "")],
        vec![("code_verifier", another.as_str())],
        // What `plain` would have been.
        vec![("code_verifier", challenge())],
        vec![("code_verifier", "short")],
        vec![("redirect_uri", "https://app.example.com/cb/")],
        vec![("redirect_uri", "https://evil.example/cb")],
        vec![("code", "wb_code_x")],
        vec![("code", "wb_rt_x")],
        // Injected into another client, with that client's own credentials.
        credentials(&other),
        vec![("client_id", phone.id.as_str()), ("client_secret", "")],
    ] {
        let answer = post(&stage.http, "/oauth/token", &but(&good, &others)).await?;
        assert_eq!(oauth_error(&answer), invalid, "{others:?}");
        assert_eq!(answer.header("cache-control"), Some("no-store"));
    }
    // None of that used it up, or gave anybody the means to.
    let answer = post(&stage.http, "/oauth/token", &good).await?;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(answer.json()["token_type"], "Bearer");
    assert!(
        answer.json()["expires_in"]
            .as_u64()
            .is_some_and(|s| (3_590..=3_600).contains(&s))
    );
    let (access, refresh) = (
        text(&answer, "access_token")?,
        text(&answer, "refresh_token")?,
    );
    assert_eq!(stage.opens(&access).await?, 200);
    // Again: everything that came from it is void.
    assert_eq!(
        oauth_error(&post(&stage.http, "/oauth/token", &good).await?),
        invalid
    );
    assert_eq!(stage.opens(&access).await?, 401);
    let answer = post(&stage.http, "/oauth/token", &refreshing(&client, &refresh)).await?;
    assert_eq!(oauth_error(&answer), invalid);
    stage.stop().await
}

/// A grant of that client that was made at some time, with a code and a token.
async fn made_at(stage: &Stage, client: &str, at: Timestamp) -> Result<(String, String)> {
    let grant = GrantId::new(at, 7);
    let people = &stage.world.gateway.state().people;
    let make = |kind| people.token(kind, grant.ulid()).expect("a token");
    let (code, code_mac, pepper_version) = make(TokenKind::Code);
    let (token, token_mac, _) = make(TokenKind::Access);
    let given = GrantGiven {
        grant: grant.clone(),
        app: AppId::parse(client)?,
        team: stage.team.clone(),
        environment: Environment::Live,
        user: Some(stage.owner.id.clone()),
        scopes: vec![waybill_domain::access::scope::Scope::TasksRead],
        code_mac: Some(code_mac.to_hex()),
        challenge: Some(challenge().to_owned()),
        redirect_uri: Some(REDIRECT.into()),
        code_expires_at: Some(Timestamp(at.0 + 60_000)),
        token_mac: Some(token_mac.to_hex()),
        token_expires_at: Some(Timestamp(at.0 + 30_000)),
        pepper_version,
        expires_at: Timestamp(at.0 + 3_600_000),
        at,
    };
    let give = GrantCommand::Give(Box::new(given));
    let boundary = Boundary::Grant(grant);
    let writer = stage.world.writer();
    let after = writer
        .run::<GrantFamily>(&boundary, give, &(), &operator())
        .await?;
    stage
        .world
        .gateway
        .state()
        .auth
        .wait_for(after.version)
        .await?;
    let reveal = |token: &Token| token.reveal().to_owned();
    Ok((reveal(&code), reveal(&token)))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_out_of_date_is_refused() -> Result<()> {
    let stage = Stage::start().await?;
    let client = stage.client().await?;
    let (code, token) = made_at(&stage, &client.id, Timestamp(now().0 - 61_000)).await?;
    let late = post(&stage.http, "/oauth/token", &redemption(&client, &code)).await?;
    assert_eq!(oauth_error(&late), (400, "invalid_grant".into()));
    assert_eq!(stage.opens(&token).await?, 401);
    let (code, token) = made_at(&stage, &client.id, Timestamp(now().0 - 10_000)).await?;
    assert_eq!(stage.opens(&token).await?, 200, "the same, in time");
    let in_time = post(&stage.http, "/oauth/token", &redemption(&client, &code)).await?;
    assert_eq!(in_time.status, 200, "{}", in_time.text());
    stage.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_that_can_be_read_in_two_ways_is_not_read() -> Result<()> {
    let stage = Stage::start().await?;
    let client = stage.client().await?;
    let mut fields = credentials(&client);
    fields.push(("grant_type", "client_credentials"));
    let form = "application/x-www-form-urlencoded";
    let send = async |kind: &str, authorization: Option<&str>, body: String| {
        let mut headers = vec![("content-type", kind)];
        headers.extend(authorization.map(|value| ("authorization", value)));
        stage
            .http
            .send(Method::POST, "/oauth/token", &headers, body)
            .await
    };
    let good = encoded(&fields);
    let invalid = (400, "invalid_request".to_owned());
    for (kind, body) in [
        (form, format!("{good}&grant_type=client_credentials")),
        (form, format!("{good}&client_id={}", client.id)),
        (form, format!("{good}&scope=%ff")),
        ("application/json", "{}".to_owned()),
        (form, String::new()),
    ] {
        assert_eq!(
            oauth_error(&send(kind, None, body.clone()).await?),
            invalid,
            "{body}"
        );
    }
    let answer = send(
        "application/x-www-form-urlencoded; charset=utf-8",
        None,
        good.clone(),
    )
    .await?;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let basic = |secret: &str| {
        use base64::Engine;
        let pair = format!("{}:{secret}", client.id);
        format!("Basic {}", base64::prelude::BASE64_STANDARD.encode(pair))
    };
    let secret = client.secret.as_deref().unwrap_or_default();
    let right = basic(secret);
    let only = "grant_type=client_credentials".to_owned();
    assert_eq!(send(form, Some(&right), only.clone()).await?.status, 200);
    assert_eq!(
        oauth_error(&send(form, Some(&right), good).await?),
        invalid,
        "in two ways"
    );
    for wrong in [
        basic("x"),
        basic(""),
        "Basic !".into(),
        format!("Bearer {secret}"),
    ] {
        let answer = send(form, Some(&wrong), only.clone()).await?;
        assert_eq!(
            oauth_error(&answer),
            (401, "invalid_client".into()),
            "{wrong}"
        );
        assert!(
            answer
                .header("www-authenticate")
                .is_some_and(|c| c.starts_with("Basic "))
        );
    }
    for (grant_type, error) in [
        ("password", "unsupported_grant_type"),
        ("", "invalid_request"),
    ] {
        let answer = post(
            &stage.http,
            "/oauth/token",
            &but(&fields, &[("grant_type", grant_type)]),
        )
        .await?;
        assert_eq!(oauth_error(&answer), (400, error.into()));
    }
    stage.stop().await
}
