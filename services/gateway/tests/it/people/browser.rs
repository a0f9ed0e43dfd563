//! Browsers: cookies, and pages of other origins.

use anyhow::{Context as _, Result};
use http::Method;
use serde_json::json;
use url::Url;
use waybill_gateway::GatewayConfig;
use waybill_identity::PeopleConfig;
use waybill_testkit::http::Answer;

use super::stage::{PASSWORD, Stage};

const APP: &str = "https://app.example.com";

async fn stage() -> Result<Stage> {
    let public_url = Some(Url::parse("https://api.example.com")?);
    Stage::start_with(|config| GatewayConfig {
        cors_origins: vec![APP.into()],
        people: PeopleConfig {
            public_url,
            ..config.people.clone()
        },
        ..config
    })
    .await
}

fn cookie(answer: &Answer) -> Result<String> {
    Ok(answer
        .header("set-cookie")
        .with_context(|| answer.text())?
        .to_owned())
}

async fn log_in(stage: &Stage, headers: &[(&str, &str)]) -> Result<Answer> {
    let body = json!({ "email": "ann@example.com", "password": PASSWORD, "cookie": true });
    stage
        .http
        .send(Method::POST, "/v1/auth/login", headers, body.to_string())
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_keeps_the_refresh_token_where_no_script_sees_it() -> Result<()> {
    let stage = stage().await?;
    stage.person("ann@example.com").await?;
    let answer = log_in(&stage, &[("origin", APP)]).await?;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(answer.json().get("refreshToken").is_none());
    let set = cookie(&answer)?;
    let (pair, attributes) = set.split_once("; ").context("attributes")?;
    assert!(
        pair.starts_with("__Secure-waybill-refresh=wb_rt_"),
        "{pair}"
    );
    assert_eq!(
        attributes,
        "Path=/v1/auth; Max-Age=1209600; HttpOnly; SameSite=Lax; Secure"
    );
    let headers = [("origin", APP), ("cookie", pair)];
    let refreshed = stage
        .http
        .send(Method::POST, "/v1/auth/refresh", &headers, "{}")
        .await?;
    assert_eq!(refreshed.status, 200, "{}", refreshed.text());
    assert_ne!(
        cookie(&refreshed)?.split_once("; ").map(|(pair, _)| pair),
        Some(pair)
    );
    let access = refreshed.json()["accessToken"]
        .as_str()
        .context("a token")?
        .to_owned();
    let out = stage
        .http
        .with_key(&access)
        .send(Method::POST, "/v1/auth/logout", &[], "")
        .await?;
    assert!(cookie(&out)?.starts_with("__Secure-waybill-refresh=; Path=/v1/auth; Max-Age=0"));
    stage.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn j11_cookies_work_for_pages_of_our_origins_only() -> Result<()> {
    let stage = stage().await?;
    stage.person("ann@example.com").await?;
    let set = cookie(&log_in(&stage, &[("origin", "https://api.example.com")]).await?)?;
    let pair = set.split_once("; ").context("attributes")?.0.to_owned();
    let refused = [
        None,
        Some("null"),
        Some("https://evil.example.com"),
        Some("http://app.example.com"),
        Some("https://app.example.com.evil.com"),
        Some("https://app.example.com:8443"),
        Some("https://app.example.com/"),
        Some(""),
    ];
    for origin in refused {
        let mut headers = vec![("cookie", pair.as_str())];
        headers.extend(origin.map(|origin| ("origin", origin)));
        let answer = stage
            .http
            .send(Method::POST, "/v1/auth/refresh", &headers, "{}")
            .await?;
        assert_eq!(
            (answer.status.as_u16(), answer.code()),
            (403, "origin_refused".into()),
            "{origin:?}"
        );
        // Nor can somebody be signed in to another account that way.
        let answer = log_in(&stage, &headers).await?;
        assert_eq!(
            (answer.status.as_u16(), answer.code()),
            (403, "origin_refused".into()),
            "{origin:?}"
        );
        assert!(answer.header("set-cookie").is_none());
    }
    let twice = [
        ("cookie", pair.as_str()),
        ("origin", APP),
        ("origin", "https://evil.example.com"),
    ];
    assert_eq!(
        stage
            .http
            .send(Method::POST, "/v1/auth/refresh", &twice, "{}")
            .await?
            .status,
        403
    );
    // A second cookie of that name was put there by somebody else.
    let two = format!("__Secure-waybill-refresh=wb_rt_x; {pair}");
    let planted = [("cookie", two.as_str()), ("origin", APP)];
    assert_eq!(
        stage
            .http
            .send(Method::POST, "/v1/auth/refresh", &planted, "{}")
            .await?
            .status,
        401
    );
    // None of that used the token up.
    let fine = [("cookie", pair.as_str()), ("origin", APP)];
    assert_eq!(
        stage
            .http
            .send(Method::POST, "/v1/auth/refresh", &fine, "{}")
            .await?
            .status,
        200
    );
    stage.stop().await
}
