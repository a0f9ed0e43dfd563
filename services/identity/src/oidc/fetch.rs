//! Requests to issuers: bounded, direct, and never redirected.

use std::time::Duration;

use reqwest::{Client, RequestBuilder, StatusCode, redirect};
use url::Url;

use super::{OidcError, OidcRefused, is_safe};

/// Largest answer of an issuer, in bytes. Key sets of large ones have about 10,000.
const MOST_BYTES: usize = 256 * 1024;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Asks issuers. Clones share their connections.
#[derive(Debug, Clone)]
pub(super) struct Fetcher(Client);

impl Fetcher {
    pub(super) fn new(timeout: Duration) -> Result<Self, OidcRefused> {
        Client::builder()
            .redirect(redirect::Policy::none())
            .no_proxy()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(timeout)
            .user_agent(concat!("waybill/", env!("CARGO_PKG_VERSION")))
            .build()
            .map(Self)
            .map_err(|error| OidcRefused::Http(error.to_string()))
    }

    /// The body of a 200.
    pub(super) async fn get(&self, url: &Url) -> Result<Vec<u8>, OidcError> {
        let (status, body) = self.ask(url, self.0.get(url.clone())).await?;
        if status == StatusCode::OK {
            Ok(body)
        } else {
            Err(OidcError::Unavailable(format!("{url} answers {status}")))
        }
    }

    /// Status and body of the answer to a form; `login` goes into `Authorization`.
    pub(super) async fn post_form(
        &self,
        url: &Url,
        form: String,
        login: Option<(String, String)>,
    ) -> Result<(StatusCode, Vec<u8>), OidcError> {
        let mut request = self
            .0
            .post(url.clone())
            .header(
                http::header::CONTENT_TYPE,
                "application/x-www-form-urlencoded",
            )
            .header(http::header::ACCEPT, "application/json")
            .body(form);
        if let Some((user, password)) = login {
            request = request.basic_auth(user, Some(password));
        }
        self.ask(url, request).await
    }

    async fn ask(
        &self,
        url: &Url,
        request: RequestBuilder,
    ) -> Result<(StatusCode, Vec<u8>), OidcError> {
        // Addresses come out of the issuer's metadata too.
        if !is_safe(url) {
            return Err(OidcError::Unacceptable(format!("{url} is not https")));
        }
        // Without the URL in the error: that of a token endpoint may hold what must not be logged.
        let away = |error: reqwest::Error| OidcError::Unavailable(error.without_url().to_string());
        let mut answer = request.send().await.map_err(away)?;
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(away)? {
            if body.len() + chunk.len() > MOST_BYTES {
                return Err(OidcError::Unacceptable(format!(
                    "{url} answers more than {MOST_BYTES} bytes"
                )));
            }
            body.extend_from_slice(&chunk);
        }
        Ok((answer.status(), body))
    }
}
