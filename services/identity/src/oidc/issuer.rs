//! One issuer: what it publishes, and the exchange of a code for a person.

use std::time::Instant;

use jsonwebtoken::jwk::Jwk;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Mutex;
use url::Url;
use url::form_urlencoded::{Serializer, byte_serialize};
use waybill_domain::time::Timestamp;

use super::attempt::Attempt;
use super::fetch::Fetcher;
use super::id_token::{self, Expected, IdTokenRefused};
use super::{OidcConfig, OidcError, OidcRefused, OidcReturn, OidcTimes, OutsideIdentity, is_safe};

/// Keys of an issuer that are kept; none publishes more than a handful.
const MOST_KEYS: usize = 64;
/// Longest authorization code, in bytes.
const MOST_CODE_BYTES: usize = 4096;
/// Longest error code of an issuer that is passed on, in characters (RFC 6749, 4.1.2.1).
const MOST_ERROR_CHARS: usize = 60;

/// The metadata of an issuer (OpenID Connect Discovery 1.0, 3).
#[derive(Debug, Clone, Deserialize)]
struct Metadata {
    issuer: String,
    authorization_endpoint: Url,
    token_endpoint: Url,
    jwks_uri: Url,
    #[serde(default)]
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
}

#[derive(Deserialize)]
struct TokenAnswer {
    id_token: String,
}

/// Something fetched, and when it was last asked for.
#[derive(Debug)]
struct Cached<T> {
    value: Option<(T, Instant)>,
    asked: Option<Instant>,
}

impl<T> Default for Cached<T> {
    fn default() -> Self {
        Self {
            value: None,
            asked: None,
        }
    }
}

impl<T: Clone> Cached<T> {
    fn fresh(&self, times: &OidcTimes) -> Option<T> {
        let (value, fetched) = self.value.as_ref()?;
        (fetched.elapsed() < times.fresh).then(|| value.clone())
    }

    fn may_ask(&self, times: &OidcTimes) -> bool {
        self.asked
            .is_none_or(|asked| asked.elapsed() >= times.least_pause)
    }
}

/// One issuer. The mutexes are held while it is asked, so that a thousand log-ins ask once.
#[derive(Debug)]
pub(super) struct Issuer {
    config: OidcConfig,
    times: OidcTimes,
    discovery: Url,
    callback: Url,
    fetcher: Fetcher,
    metadata: Mutex<Cached<Metadata>>,
    keys: Mutex<Cached<Vec<Jwk>>>,
}

impl Issuer {
    pub(super) fn new(
        config: OidcConfig,
        times: OidcTimes,
        fetcher: Fetcher,
        public_url: &Url,
    ) -> Result<Self, OidcRefused> {
        let in_paths = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if !(1..=40).contains(&config.name.len()) || !config.name.bytes().all(in_paths) {
            return Err(OidcRefused::Name(config.name));
        }
        if config.algorithms.is_empty() {
            return Err(OidcRefused::Algorithms);
        }
        if config.client_id.is_empty() {
            return Err(OidcRefused::Client);
        }
        let issuer = || OidcRefused::Issuer(config.issuer.clone());
        let url = Url::parse(&config.issuer).map_err(|_| issuer())?;
        if !is_safe(&url) || url.query().is_some() || url.fragment().is_some() {
            return Err(issuer());
        }
        let below =
            |base: &str, path: &str| Url::parse(&format!("{}{path}", base.trim_end_matches('/')));
        let discovery =
            below(&config.issuer, "/.well-known/openid-configuration").map_err(|_| issuer())?;
        let path = format!("/v1/auth/oidc/{}/callback", config.name);
        let callback = below(public_url.as_str(), &path).map_err(|_| issuer())?;
        Ok(Self {
            config,
            times,
            discovery,
            callback,
            fetcher,
            metadata: Mutex::default(),
            keys: Mutex::default(),
        })
    }

    /// The issuer's page, with everything that binds its answer to this attempt.
    pub(super) async fn authorization_url(&self, attempt: &Attempt) -> Result<Url, OidcError> {
        let mut url = self.metadata().await?.authorization_endpoint;
        let mut scopes = vec!["openid"];
        scopes.extend(
            self.config
                .scopes
                .iter()
                .map(String::as_str)
                .filter(|s| *s != "openid"),
        );
        url.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &self.config.client_id)
            .append_pair("redirect_uri", self.callback.as_str())
            .append_pair("scope", &scopes.join(" "))
            .append_pair("state", &attempt.state)
            .append_pair("nonce", &attempt.nonce)
            .append_pair("code_challenge", &attempt.challenge())
            .append_pair("code_challenge_method", "S256");
        Ok(url)
    }

    /// Exchanges the code for an id token and reads who signed in.
    pub(super) async fn redeem(
        &self,
        attempt: &Attempt,
        answer: &OidcReturn,
        now: Timestamp,
    ) -> Result<OutsideIdentity, OidcError> {
        let unacceptable = |reason: &str| OidcError::Unacceptable(reason.to_owned());
        let metadata = self.metadata().await?;
        // An answer of another issuer, mixed up on purpose (RFC 9207).
        let named = answer.iss.as_deref();
        if named.is_some_and(|iss| iss != self.config.issuer)
            || (named.is_none() && metadata.authorization_response_iss_parameter_supported)
        {
            return Err(unacceptable("it is another issuer's, or of none"));
        }
        if let Some(error) = &answer.error {
            let word = error
                .chars()
                .filter(|c| c.is_ascii_alphanumeric() || *c == '_');
            return Err(OidcError::Declined(word.take(MOST_ERROR_CHARS).collect()));
        }
        let code = answer
            .code
            .as_deref()
            .filter(|code| (1..=MOST_CODE_BYTES).contains(&code.len()));
        let code = code.ok_or_else(|| unacceptable("it holds no code"))?;
        let id_token = self.exchange(&metadata, attempt, code).await?;
        self.identify(&metadata, &id_token, attempt, now).await
    }

    async fn exchange(
        &self,
        metadata: &Metadata,
        attempt: &Attempt,
        code: &str,
    ) -> Result<String, OidcError> {
        let (form, login) = self.code_form(metadata, attempt, code);
        let (status, body) = self
            .fetcher
            .post_form(&metadata.token_endpoint, form, login)
            .await?;
        if status.is_server_error() {
            return Err(OidcError::Unavailable(format!(
                "the token endpoint answers {status}"
            )));
        }
        if !status.is_success() {
            return Err(OidcError::Unacceptable(format!(
                "the token endpoint answers {status}"
            )));
        }
        serde_json::from_slice::<TokenAnswer>(&body)
            .map(|answer| answer.id_token)
            .map_err(|_| OidcError::Unacceptable("the token endpoint gives no id token".into()))
    }

    /// The form that exchanges a code, and the client's credentials when they go into `Authorization`.
    fn code_form(
        &self,
        metadata: &Metadata,
        attempt: &Attempt,
        code: &str,
    ) -> (String, Option<(String, String)>) {
        let mut form = Serializer::new(String::new());
        form.append_pair("grant_type", "authorization_code")
            .append_pair("code", code)
            .append_pair("redirect_uri", self.callback.as_str())
            .append_pair("code_verifier", &attempt.verifier);
        let mut login = None;
        match &self.config.client_secret {
            None => {
                form.append_pair("client_id", &self.config.client_id);
            }
            Some(secret) if metadata.wants_secret_in_form() => {
                form.append_pair("client_id", &self.config.client_id)
                    .append_pair("client_secret", secret);
            }
            Some(secret) => {
                // RFC 6749, 2.3.1: both are form-encoded before they are joined.
                let encoded = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
                login = Some((encoded(&self.config.client_id), encoded(secret)));
            }
        }
        (form.finish(), login)
    }

    async fn identify(
        &self,
        metadata: &Metadata,
        id_token: &str,
        attempt: &Attempt,
        now: Timestamp,
    ) -> Result<OutsideIdentity, OidcError> {
        let expected = Expected {
            issuer: &self.config.issuer,
            client_id: &self.config.client_id,
            nonce: &attempt.nonce,
            algorithms: &self.config.algorithms,
        };
        let known = self.keys(metadata, false).await?;
        let verified = match id_token::verify(id_token, &known, &expected, now) {
            // The issuer may have rotated its keys since they were fetched.
            Err(IdTokenRefused::UnknownKey) => {
                let keys = self.keys(metadata, true).await?;
                id_token::verify(id_token, &keys, &expected, now)
            }
            verified => verified,
        };
        verified.map_err(|refused| match refused {
            IdTokenRefused::UnknownKey => {
                OidcError::Unacceptable("the id token's key is not the issuer's".into())
            }
            IdTokenRefused::Invalid(reason) => OidcError::Unacceptable(reason),
        })
    }

    async fn metadata(&self) -> Result<Metadata, OidcError> {
        let mut kept = self.metadata.lock().await;
        if let Some(metadata) = kept.fresh(&self.times) {
            return Ok(metadata);
        }
        if !kept.may_ask(&self.times) {
            return Err(OidcError::Unavailable(
                "it did not answer a moment ago".into(),
            ));
        }
        kept.asked = Some(Instant::now());
        let body = self.fetcher.get(&self.discovery).await?;
        let metadata: Metadata = serde_json::from_slice(&body)
            .map_err(|error| OidcError::Unacceptable(format!("its metadata: {error}")))?;
        if metadata.issuer != self.config.issuer {
            return Err(OidcError::Unacceptable(
                "its metadata names another issuer".into(),
            ));
        }
        let endpoints = [
            &metadata.authorization_endpoint,
            &metadata.token_endpoint,
            &metadata.jwks_uri,
        ];
        if let Some(unsafe_one) = endpoints.into_iter().find(|url| !is_safe(url)) {
            return Err(OidcError::Unacceptable(format!(
                "its metadata: {unsafe_one} is not https"
            )));
        }
        kept.value = Some((metadata.clone(), Instant::now()));
        Ok(metadata)
    }

    /// The issuer's keys. Fetched again when they are too old, or when `others` than the known ones are needed and the last fetch is not recent.
    async fn keys(&self, metadata: &Metadata, others: bool) -> Result<Vec<Jwk>, OidcError> {
        let mut kept = self.keys.lock().await;
        let fresh = kept.fresh(&self.times);
        let may_ask = kept.may_ask(&self.times);
        if let Some(keys) = fresh
            && !(others && may_ask)
        {
            return Ok(keys);
        }
        if !may_ask {
            return Err(OidcError::Unavailable(
                "it did not give its keys a moment ago".into(),
            ));
        }
        kept.asked = Some(Instant::now());
        let body = self.fetcher.get(&metadata.jwks_uri).await?;
        let published: Value = serde_json::from_slice(&body)
            .map_err(|error| OidcError::Unacceptable(format!("its keys: {error}")))?;
        let all = published["keys"].as_array().cloned().unwrap_or_default();
        // A key of an unknown kind is no reason to refuse the others.
        let keys: Vec<Jwk> = all
            .into_iter()
            .filter_map(|key| serde_json::from_value(key).ok())
            .take(MOST_KEYS)
            .collect();
        kept.value = Some((keys.clone(), Instant::now()));
        Ok(keys)
    }
}

impl Metadata {
    /// `client_secret_basic` is what everybody supports unless they say otherwise (Discovery 1.0, 3).
    fn wants_secret_in_form(&self) -> bool {
        self.token_endpoint_auth_methods_supported
            .as_ref()
            .is_some_and(|methods| {
                let has = |method: &str| methods.iter().any(|m| m == method);
                !has("client_secret_basic") && has("client_secret_post")
            })
    }
}
