//! An issuer on loopback that signs what a test tells it to.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use aws_lc_rs::encoding::AsDer as _;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, StatusCode, header};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::*;

/// A key of the issuer.
#[derive(Clone)]
pub(super) struct Key {
    pub(super) kid: &'static str,
    pub(super) algorithm: Algorithm,
    pub(super) signs: EncodingKey,
}

impl Key {
    pub(super) fn new(kid: &'static str, algorithm: Algorithm) -> Self {
        use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair};
        use aws_lc_rs::{rand::SystemRandom, rsa};
        let random = SystemRandom::new();
        let signs = match algorithm {
            Algorithm::RS256 => {
                let pair = rsa::KeyPair::generate(rsa::KeySize::Rsa2048).expect("an RSA key");
                let pkcs8: aws_lc_rs::encoding::Pkcs8V1Der<'_> = pair.as_der().expect("PKCS #8");
                // What the JWT library wants is PKCS #1 within: the last part of the outer sequence.
                EncodingKey::from_rsa_der(&pkcs8.as_ref()[26..])
            }
            Algorithm::ES256 => EncodingKey::from_ec_der(
                EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random)
                    .expect("a key")
                    .as_ref(),
            ),
            _ => EncodingKey::from_ed_der(
                Ed25519KeyPair::generate_pkcs8v1(&random)
                    .expect("a key")
                    .as_ref(),
            ),
        };
        Self {
            kid,
            algorithm,
            signs,
        }
    }

    pub(super) fn jwk(&self) -> Value {
        let mut jwk = Jwk::from_encoding_key(&self.signs, self.algorithm).expect("a public part");
        jwk.common.key_id = Some(self.kid.into());
        serde_json::to_value(jwk).expect("plain")
    }
}

/// What the issuer does, and what it saw.
pub(super) struct Script {
    pub(super) published: Vec<Value>,
    pub(super) signs_with: Key,
    /// Changes the claims before they are signed.
    pub(super) claims: fn(&mut Value),
    /// Changes the metadata.
    pub(super) metadata: fn(&mut Value),
    pub(super) token_status: StatusCode,
    /// Code to what the authorization request said.
    pub(super) codes: HashMap<String, HashMap<String, String>>,
    pub(super) key_requests: usize,
    pub(super) token_requests: Vec<(Option<String>, HashMap<String, String>)>,
}

pub(super) type Shared = Arc<Mutex<Script>>;

pub(super) struct TestIssuer {
    pub(super) url: String,
    pub(super) script: Shared,
    pub(super) _server: JoinSet<()>,
}

impl TestIssuer {
    pub(super) async fn start(key: Key) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let script = Arc::new(Mutex::new(Script {
            published: vec![json!({"kty": "quantum", "kid": "odd"}), key.jwk()],
            signs_with: key,
            claims: |_| {},
            metadata: |_| {},
            token_status: StatusCode::OK,
            codes: HashMap::new(),
            key_requests: 0,
            token_requests: Vec::new(),
        }));
        let app = Router::new()
            .route("/.well-known/openid-configuration", get(metadata))
            .route("/keys", get(keys))
            .route("/token", post(token))
            .with_state((url.clone(), Arc::clone(&script)));
        let mut server = JoinSet::new();
        server.spawn(async move {
            axum::serve(listener, app)
                .await
                .expect("serves until it is aborted");
        });
        Ok(Self {
            url,
            script,
            _server: server,
        })
    }

    pub(super) fn with(&self, change: impl FnOnce(&mut Script)) {
        change(&mut self.script.lock().expect("no panic inside"));
    }

    pub(super) fn config(&self) -> OidcConfig {
        OidcConfig {
            name: "test".into(),
            issuer: self.url.clone(),
            client_id: "waybill client".into(),
            client_secret: Some(SECRET.to_owned().into()),
            scopes: vec!["email".into()],
            algorithms: vec![
                OidcAlgorithm::RS256,
                OidcAlgorithm::ES256,
                OidcAlgorithm::EdDSA,
            ],
        }
    }

    pub(super) fn party(&self) -> Oidc {
        party(self.config(), OidcTimes::default())
    }

    /// What the person does: reads the page's address and comes back with a code.
    pub(super) fn consent(&self, redirected: &AuthorizationRedirect) -> OidcReturn {
        let asked: HashMap<String, String> =
            redirected.location.query_pairs().into_owned().collect();
        let state = asked.get("state").cloned();
        let mut script = self.script.lock().expect("no panic inside");
        let code = format!("code-{}", script.codes.len());
        script.codes.insert(code.clone(), asked);
        OidcReturn {
            code: Some(code),
            state,
            ..OidcReturn::default()
        }
    }

    /// A whole log-in.
    pub(super) async fn log_in(&self, party: &Oidc) -> Result<OutsideIdentity, OidcError> {
        let redirected = party.start("test", NOW).await?;
        let answer = self.consent(&redirected);
        party
            .finish("test", Some(&redirected.cookie), &answer, NOW)
            .await
    }
}

pub(super) fn party(config: OidcConfig, times: OidcTimes) -> Oidc {
    let secret = SessionSecret::new(vec![5; 32]).expect("long enough");
    let public = Url::parse("https://waybill.example/api/").expect("a URL");
    Oidc::new(vec![config], times, &secret, &public).expect("a fine configuration")
}

async fn metadata(State((url, script)): State<(String, Shared)>) -> Json<Value> {
    let mut metadata = json!({
        "issuer": url,
        "authorization_endpoint": format!("{url}/authorize?tenant=1"),
        "token_endpoint": format!("{url}/token"),
        "jwks_uri": format!("{url}/keys"),
    });
    (script.lock().expect("no panic inside").metadata)(&mut metadata);
    Json(metadata)
}

async fn keys(State((_, script)): State<(String, Shared)>) -> Json<Value> {
    let mut script = script.lock().expect("no panic inside");
    script.key_requests += 1;
    Json(json!({ "keys": script.published }))
}

async fn token(
    State((url, script)): State<(String, Shared)>,
    headers: HeaderMap,
    body: String,
) -> Response {
    let form: HashMap<String, String> = url::form_urlencoded::parse(body.as_bytes())
        .into_owned()
        .collect();
    let mut script = script.lock().expect("no panic inside");
    let login = headers
        .get(header::AUTHORIZATION)
        .and_then(|v| v.to_str().ok())
        .map(str::to_owned);
    script.token_requests.push((login, form.clone()));
    let Some(asked) = form.get("code").and_then(|code| script.codes.remove(code)) else {
        return (
            StatusCode::BAD_REQUEST,
            Json(json!({"error": "invalid_grant"})),
        )
            .into_response();
    };
    // A real issuer checks both of these; ours must, for the tests to mean anything.
    let verifier = form.get("code_verifier").cloned().unwrap_or_default();
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(verifier));
    let same_redirect = form.get("redirect_uri") == asked.get("redirect_uri");
    if asked.get("code_challenge") != Some(&challenge) || !same_redirect {
        return (
            StatusCode::BAD_REQUEST,
            Json(json!({"error": "invalid_grant"})),
        )
            .into_response();
    }
    let mut claims = json!({
        "iss": url,
        "aud": asked.get("client_id"),
        "sub": "4711",
        "iat": NOW_S,
        "exp": NOW_S + 300,
        "nonce": asked.get("nonce"),
        "email": "Ann@Example.com",
        "email_verified": true,
        "name": "Ann",
    });
    (script.claims)(&mut claims);
    let mut header = Header::new(script.signs_with.algorithm);
    header.kid = Some(script.signs_with.kid.into());
    let id_token =
        jsonwebtoken::encode(&header, &claims, &script.signs_with.signs).expect("signed");
    (
        script.token_status,
        Json(json!({"id_token": id_token, "access_token": "x", "token_type": "Bearer"})),
    )
        .into_response()
}
