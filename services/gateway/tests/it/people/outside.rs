//! Signing in by an outside issuer, with the cookie jar of a browser.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use anyhow::{Context as _, Result};
use axum::extract::State;
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::{Signer as _, SigningKey};
use http::Method;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use url::Url;
use waybill_gateway::GatewayConfig;
use waybill_identity::PeopleConfig;
use waybill_identity::oidc::{OidcAlgorithm, OidcConfig};
use waybill_testkit::http::Answer;

use super::stage::{Stage, Tokens};

/// Code to the nonce of its log-in and whose it is.
type Codes = Arc<Mutex<HashMap<String, (String, Value)>>>;

struct Issuer {
    url: String,
    codes: Codes,
    _server: JoinSet<()>,
}

fn key() -> SigningKey {
    SigningKey::from_bytes(&[11; 32])
}

fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

async fn metadata(State((url, _)): State<(String, Codes)>) -> Json<Value> {
    Json(json!({
        "issuer": url,
        "authorization_endpoint": format!("{url}/authorize"),
        "token_endpoint": format!("{url}/token"),
        "jwks_uri": format!("{url}/keys"),
    }))
}

async fn keys() -> Json<Value> {
    let x = encode(key().verifying_key().as_bytes());
    Json(
        json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "k", "alg": "EdDSA", "use": "sig", "x": x}]}),
    )
}

async fn token(State((url, codes)): State<(String, Codes)>, form: String) -> Json<Value> {
    let form: HashMap<String, String> = url::form_urlencoded::parse(form.as_bytes())
        .into_owned()
        .collect();
    let Some((nonce, person)) = codes.lock().expect("whole").remove(&form["code"]) else {
        return Json(json!({"error": "invalid_grant"}));
    };
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("after 1970")
        .as_secs();
    let mut claims =
        json!({"iss": url, "aud": "waybill", "iat": now, "exp": now + 300, "nonce": nonce});
    for (name, value) in person.as_object().expect("an object") {
        claims[name] = value.clone();
    }
    let header = json!({"alg": "EdDSA", "kid": "k"});
    let message = format!(
        "{}.{}",
        encode(header.to_string().as_bytes()),
        encode(claims.to_string().as_bytes())
    );
    let signature = encode(&key().sign(message.as_bytes()).to_bytes());
    Json(json!({"id_token": format!("{message}.{signature}")}))
}

impl Issuer {
    async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let codes = Codes::default();
        let app = Router::new()
            .route("/.well-known/openid-configuration", get(metadata))
            .route("/keys", get(keys))
            .route("/token", post(token))
            .with_state((url.clone(), Arc::clone(&codes)));
        let mut server = JoinSet::new();
        server.spawn(async move {
            axum::serve(listener, app)
                .await
                .expect("serves until it is aborted");
        });
        Ok(Self {
            url,
            codes,
            _server: server,
        })
    }

    /// Somebody signs in on the issuer's page; says which callback their browser calls.
    fn signs_in(&self, departure: &Answer, person: Value) -> Result<String> {
        let page = Url::parse(departure.header("location").context("a page")?)?;
        let asked: HashMap<String, String> = page.query_pairs().into_owned().collect();
        let mut codes = self.codes.lock().expect("whole");
        let code = format!("code{}", codes.len());
        codes.insert(code.clone(), (asked["nonce"].clone(), person));
        let state = &asked["state"];
        Ok(format!(
            "/v1/auth/oidc/corp/callback?code={code}&state={state}"
        ))
    }
}

async fn stage(issuer: &Issuer, app_url: Option<&str>) -> Result<Stage> {
    let oidc = vec![OidcConfig {
        name: "corp".into(),
        issuer: issuer.url.clone(),
        client_id: "waybill".into(),
        client_secret: None,
        scopes: vec!["email".into()],
        algorithms: vec![OidcAlgorithm::EdDSA],
    }];
    let public_url = Some(Url::parse("http://127.0.0.1:8080")?);
    let app_url = app_url.map(Url::parse).transpose()?;
    Stage::start_with(|config| GatewayConfig {
        people: PeopleConfig {
            public_url,
            app_url,
            oidc,
            ..config.people.clone()
        },
        ..config
    })
    .await
}

fn ann() -> Value {
    json!({"sub": "4711", "email": "ann@example.com", "email_verified": true, "name": "Ann"})
}

fn jar(answer: &Answer) -> Result<String> {
    let set = answer.header("set-cookie").with_context(|| answer.text())?;
    Ok(set.split(';').next().unwrap_or_default().to_owned())
}

async fn start(stage: &Stage) -> Result<Answer> {
    let answer = stage.http.get("/v1/auth/oidc/corp/start").await?;
    assert_eq!(answer.status, 302, "{}", answer.text());
    Ok(answer)
}

async fn callback(stage: &Stage, path: &str, cookie: &str) -> Result<Answer> {
    let headers = [("cookie", cookie)];
    stage.http.send(Method::GET, path, &headers, "").await
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_from_outside_is_the_person_with_the_address_that_is_vouched_for() -> Result<()> {
    let issuer = Issuer::start().await?;
    let stage = stage(&issuer, None).await?;
    let by_password = stage.person("ann@example.com").await?;
    // The page of sign-in learns of the issuer here.
    let meta = stage.http.get("/v1/meta").await?.json();
    let issuers = json!([{"name": "corp", "start": "/v1/auth/oidc/corp/start"}]);
    assert_eq!(meta["meta"]["signIn"]["issuers"], issuers);
    let departure = start(&stage).await?;
    let attempt = departure.header("set-cookie").context("a cookie")?;
    assert!(
        attempt.ends_with("Path=/v1/auth/oidc; Max-Age=600; HttpOnly; SameSite=Lax"),
        "{attempt}"
    );
    let path = issuer.signs_in(&departure, ann())?;
    let answer = callback(&stage, &path, &jar(&departure)?).await?;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let outside = Tokens::of(&answer)?;
    let one = stage.me(&outside).await?.json();
    let two = stage.me(&by_password).await?.json();
    assert_eq!(one["user"], two["user"]);
    assert_eq!(one["user"]["issuers"], json!([issuer.url]));
    // Later the account outside counts, whatever address comes with it.
    let departure = start(&stage).await?;
    let moved = json!({"sub": "4711", "email": "new@example.com", "email_verified": false});
    let path = issuer.signs_in(&departure, moved)?;
    let again = Tokens::of(&callback(&stage, &path, &jar(&departure)?).await?)?;
    assert_eq!(
        stage.me(&again).await?.json()["user"]["id"],
        one["user"]["id"]
    );
    stage.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_is_not_vouched_for_opens_nothing() -> Result<()> {
    let issuer = Issuer::start().await?;
    let stage = stage(&issuer, None).await?;
    stage.person("ann@example.com").await?;
    for person in [
        json!({"sub": "1", "email": "ann@example.com"}),
        json!({"sub": "1", "email": "ann@example.com", "email_verified": false}),
        json!({"sub": "1"}),
    ] {
        let departure = start(&stage).await?;
        let path = issuer.signs_in(&departure, person)?;
        let answer = callback(&stage, &path, &jar(&departure)?).await?;
        assert_eq!(
            (answer.status.as_u16(), answer.code()),
            (403, "email_not_verified".into())
        );
    }
    stage.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_signed_in_to_an_attackers_account() -> Result<()> {
    let issuer = Issuer::start().await?;
    let stage = stage(&issuer, None).await?;
    let attackers = start(&stage).await?;
    let evil = json!({"sub": "666", "email": "evil@example.com", "email_verified": true});
    let path = issuer.signs_in(&attackers, evil)?;
    let victims = jar(&start(&stage).await?)?;
    for cookie in [
        "",
        "waybill-attempt=",
        "waybill-attempt=1.x.y",
        victims.as_str(),
    ] {
        let answer = callback(&stage, &path, cookie).await?;
        assert_eq!(
            (answer.status.as_u16(), answer.code()),
            (400, "login_not_begun_here".into())
        );
    }
    let unknown = stage.http.get("/v1/auth/oidc/other/start").await?;
    assert_eq!(unknown.status, 404);
    stage.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn with_an_application_the_browser_goes_there_and_nowhere_else() -> Result<()> {
    let issuer = Issuer::start().await?;
    let stage = stage(&issuer, Some("http://127.0.0.1:3000/ui/")).await?;
    let departure = start(&stage).await?;
    let elsewhere = "&redirect=https://evil.example&app_url=https://evil.example";
    let path = issuer.signs_in(&departure, ann())? + elsewhere;
    let answer = callback(&stage, &path, &jar(&departure)?).await?;
    assert_eq!(answer.status, 303, "{}", answer.text());
    assert_eq!(
        answer.header("location"),
        Some("http://127.0.0.1:3000/ui/signed-in")
    );
    assert!(jar(&answer)?.starts_with("waybill-refresh=wb_rt_"));
    stage.stop().await
}
