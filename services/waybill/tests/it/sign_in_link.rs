//! The link that opens the dashboard, signed in, on the machine itself.

use anyhow::{Context, Result};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use waybill_testkit::http::Http;

use crate::installation::{Installation, Up};

const PASSWORD: &str = "correct horse battery";

/// What `waybill dashboard` prints: the address of the page and the token.
async fn link(installation: &mut Installation) -> Result<(String, String)> {
    let data = installation.data();
    let data = data.to_str().context("a path")?;
    let told = installation.run(&["dashboard", "--data", data]).await?;
    let told = told.succeeded().stdout;
    let (page, token) = told
        .trim()
        .split_once("#token=")
        .with_context(|| told.clone())?;
    Ok((page.to_owned(), token.to_owned()))
}

/// Nothing that the server has said holds the token.
fn is_in_no_log(up: &Up, token: &str) {
    let (out, log) = (up.process.stdout.text(), up.process.stderr.text());
    assert!(!out.contains(token) && !log.contains(token), "{out}{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_signs_in_once_on_this_machine_alone() -> Result<()> {
    let (mut installation, _) = Installation::with_key()?;
    installation.set("WAYBILL__LOG__FILTER", "debug");
    let up = installation.up().await?;
    let (replaced_page, replaced) = link(&mut installation).await?;
    assert_eq!(replaced_page, format!("{}/ui/link", up.url));
    let (_, token) = link(&mut installation).await?;
    let http = Http::new(&up.url, None);
    let body = json!({ "token": token });

    let forwarded = [
        ("x-forwarded-for", "192.0.2.7"),
        ("content-type", "application/json"),
    ];
    let elsewhere = http
        .send(Method::POST, "/v1/auth/link", &forwarded, body.to_string())
        .await?;
    assert_eq!(elsewhere.status, StatusCode::FORBIDDEN);
    assert_eq!(elsewhere.code(), "loopback_only");
    for wrong in [
        json!({}),
        json!({"token": "wb_link_x"}),
        json!({"token": replaced}),
    ] {
        let refused = http.post("/v1/auth/link", &wrong).await?;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{wrong}");
        assert_eq!(refused.json()["field"], "token", "{wrong}");
    }

    let first = http.post("/v1/auth/link", &body).await?;
    assert_eq!(first.status, StatusCode::OK, "{}", first.text());
    let second = http.post("/v1/auth/link", &body).await?;
    assert_eq!(second.status, StatusCode::BAD_REQUEST, "{}", second.text());
    assert!(second.error().contains("used already"), "{second:?}");
    is_in_no_log(&up, &token);
    is_in_no_log(&up, &replaced);
    up.interrupt().await?.succeeded();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_local_owner_gives_an_address_before_anybody_is_invited() -> Result<()> {
    let (mut installation, _) = Installation::with_key()?;
    let up = installation.up().await?;
    let (_, token) = link(&mut installation).await?;
    let http = Http::new(&up.url, None);
    let session = http
        .post("/v1/auth/link", &json!({ "token": token }))
        .await?;
    let session = session.json()["accessToken"].as_str().map(str::to_owned);
    let owner = http.with_key(&session.context("an access token")?);
    let me = owner.get("/v1/me").await?.json();
    assert_eq!(me["user"]["needsAddress"], true, "{me}");
    assert_eq!(me["teams"][0]["role"], "owner", "{me}");
    let team = me["teams"][0]["id"].as_str().context("a team")?;
    let invitations = format!("/teams/{team}/invitations");
    let guest = json!({"email": "guest@example.com", "role": "viewer"});
    let early = owner.post(&invitations, &guest).await?;
    assert_eq!(early.status, StatusCode::CONFLICT, "{}", early.text());
    assert_eq!(early.code(), "address_needed");

    let give = |email: &str, password: &str| json!({"email": email, "password": password});
    for (email, password, field) in [
        ("local-owner@waybill.invalid", PASSWORD, "email"),
        ("ann@example.com", "short", "password"),
    ] {
        let refused = owner.post("/v1/me/address", &give(email, password)).await?;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST);
        assert_eq!(refused.json()["field"], field);
    }
    let ann = give("ann@example.com", PASSWORD);
    let given = owner.post("/v1/me/address", &ann).await?;
    assert_eq!(given.status, StatusCode::OK, "{}", given.text());
    assert_eq!(
        given.json()["user"]["id"],
        me["user"]["id"],
        "the same person"
    );
    let other = give("ben@example.com", PASSWORD);
    let again = owner.post("/v1/me/address", &other).await?;
    assert_eq!(again.status, StatusCode::CONFLICT, "{}", again.text());
    let invited = owner.post(&invitations, &guest).await?;
    assert_eq!(invited.status, StatusCode::CREATED, "the session goes on");

    // It holds after a start from the log alone, and a link signs the same person in.
    up.interrupt().await?.succeeded();
    std::fs::remove_dir_all(installation.data().join("gateway"))?;
    let up = installation.up().await?;
    let http = Http::new(&up.url, None);
    let by_password = http.post("/v1/auth/login", &ann).await?;
    assert_eq!(by_password.status, StatusCode::OK, "{}", by_password.text());
    let (_, token) = link(&mut installation).await?;
    let by_link = http
        .post("/v1/auth/link", &json!({ "token": token }))
        .await?;
    let access = by_link.json()["accessToken"].as_str().map(str::to_owned);
    let seen: Value = http
        .with_key(&access.context("an access token")?)
        .get("/v1/me")
        .await?
        .json();
    assert_eq!(seen["user"]["email"], "ann@example.com", "{seen}");
    up.interrupt().await?.succeeded();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_team_with_people_gets_no_owner_by_a_link() -> Result<()> {
    let (mut installation, _) = Installation::with_key()?;
    let up = installation.up().await?;
    let data = installation.data();
    let data = data.to_str().context("a path")?.to_owned();
    let invite = [
        "teams",
        "invite",
        "--email",
        "ann@example.com",
        "--role",
        "owner",
        "--data",
        &data,
    ];
    let told = installation.run(&invite).await?.succeeded().stdout;
    let word = |kind: &str| {
        let mut words = told.split_whitespace();
        words.find(|word| word.contains(kind)).map(str::to_owned)
    };
    let http = Http::new(&up.url, None);
    let account = json!({"token": word("_confirm_").context("a token")?, "password": PASSWORD});
    let account = http.post("/v1/auth/confirm", &account).await?;
    let access = account.json()["accessToken"].as_str().map(str::to_owned);
    let joined = http
        .with_key(&access.context("an access token")?)
        .post(
            "/v1/invitations/accept",
            &json!({"token": word("_inv_").context("a token")?}),
        )
        .await?;
    assert_eq!(joined.status, StatusCode::OK, "{}", joined.text());
    let refused = installation.run(&["dashboard", "--data", &data]).await?;
    refused.refused(&["the first team has people", "waybill teams invite"]);
    up.interrupt().await?.succeeded();
    Ok(())
}
