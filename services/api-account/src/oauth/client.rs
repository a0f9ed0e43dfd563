//! The application that calls: proved by its secret, or only named when it is public and has none.

use std::sync::{Arc, LazyLock};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use waybill_domain::access::limit::Network;
use waybill_domain::access::plan::Guard;
use waybill_domain::access::proof::Proof;
use waybill_domain::access::secret::ENTROPY_BYTES;
use waybill_domain::access::team::App;
use waybill_domain::access::token::{Token, TokenKind};
use waybill_domain::actor::Actor;
use waybill_domain::id::AppId;

use super::decidable;
use super::error::OAuthError;
use super::parameters::Form;
use crate::state::AccountApi;
use waybill_commands::Author;
use waybill_edge::error::{ApiError, ErrorCode};
use waybill_edge::limits::Guarded;
use waybill_edge::request::RequestContext;

/// An application that calls.
pub(super) struct Client {
    pub(super) app: Arc<App>,
    context: RequestContext,
}

impl Client {
    /// Identifies the caller. Requests are counted over all gateways, per client; those of public clients also per source network.
    pub(super) async fn of(
        state: &AccountApi,
        context: RequestContext,
        headers: &HeaderMap,
        form: &Form,
    ) -> Result<Self, OAuthError> {
        let presented = Presented::find(headers, form)?;
        decidable(state).await?;
        let app = match presented.prove(state) {
            Ok(app) => app,
            Err(error) => {
                if error.is_failed_authentication() {
                    state
                        .limiter
                        .charge_failure(&context.limits, context.source)?;
                }
                return Err(error);
            }
        };
        // A client that proved its identity is limited as that client, wherever it calls from. A public client is only named, by
        // anybody: it is counted for each network, so that no stranger uses up what others have.
        let id = app.created.app.as_str();
        let here = format!("{id}-{}", Network::of(context.source));
        let guarded = if app.is_confidential() {
            Guarded {
                source: None,
                account: Some(id),
                team: None,
            }
        } else {
            Guarded {
                source: Some(context.source),
                account: Some(&here),
                team: None,
            }
        };
        state
            .limiter
            .guard(&context.limits, Guard::Token, &guarded)
            .await?;
        Ok(Self { app, context })
    }

    pub(super) fn id(&self) -> &AppId {
        &self.app.created.app
    }

    /// The author of the commands of this request.
    pub(super) fn by(&self) -> Author {
        Author {
            actor: Actor::App(self.id().clone()),
            origin: Some(self.context.origin()),
        }
    }
}

/// The client that a request names, and its secret.
struct Presented {
    /// `None`: the text is not an id.
    id: Option<AppId>,
    secret: Option<String>,
}

impl Presented {
    fn find(headers: &HeaderMap, form: &Form) -> Result<Self, OAuthError> {
        let in_form = form.get("client_id");
        let Some((id, secret)) = basic(headers)? else {
            let id = in_form.ok_or_else(|| OAuthError::invalid_request("client_id is required"))?;
            return Ok(Self {
                id: AppId::parse(id).ok(),
                secret: form.get("client_secret").map(str::to_owned),
            });
        };
        if form.get("client_secret").is_some() || in_form.is_some_and(|other| other != id) {
            return Err(OAuthError::invalid_request(
                "the client authenticates in two ways; one is allowed",
            ));
        }
        Ok(Self {
            id: AppId::parse(&id).ok(),
            secret: Some(secret),
        })
    }

    /// One MAC per pepper is computed in every case, so that the time tells nothing.
    fn prove(self, state: &AccountApi) -> Result<Arc<App>, OAuthError> {
        let pepper = state.control.pepper();
        let token = self.secret.as_deref().and_then(Token::parse);
        let token = token.filter(|token| token.kind() == TokenKind::ClientSecret);
        let proof = match (&token, &*STAND_IN) {
            (Some(token), _) | (None, Some(token)) => Some(Proof::new(token, pepper.each())),
            (None, None) => None,
        };
        let app = self.id.and_then(|id| state.auth.directory().app(&id));
        let app = app.ok_or_else(OAuthError::invalid_client)?;
        match (&app.secret, &self.secret) {
            (None, None) => Ok(app),
            (Some(stored), Some(_)) => {
                if pepper.of(stored.pepper_version).is_none() {
                    tracing::error!(
                        app = %app.created.app,
                        version = stored.pepper_version,
                        "a client secret was made under a pepper that this gateway does not have"
                    );
                    return Err(OAuthError::Other(ApiError::unavailable(
                        ErrorCode::AuthorizationUnavailable,
                        "This client cannot be checked at the moment; try again later",
                    )));
                }
                let proof = proof.filter(|_| token.is_some());
                if proof.is_some_and(|proof| proof.is_of(&stored.mac, stored.pepper_version)) {
                    Ok(app)
                } else {
                    Err(OAuthError::invalid_client())
                }
            }
            (Some(_), None) | (None, Some(_)) => Err(OAuthError::invalid_client()),
        }
    }
}

static STAND_IN: LazyLock<Option<Token>> = LazyLock::new(|| {
    let nobody = "0".repeat(26);
    Token::generate("wb", TokenKind::ClientSecret, &nobody, &[1; ENTROPY_BYTES])
});

/// Id and secret of the header `Authorization` (RFC 6749, 2.3.1): both were form-encoded before they were put together.
fn basic(headers: &HeaderMap) -> Result<Option<(String, String)>, OAuthError> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(OAuthError::invalid_request(
            "Authorization is there more than once",
        ));
    }
    let read = || {
        let (scheme, encoded) = value.to_str().ok()?.trim().split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let decoded = String::from_utf8(BASE64_STANDARD.decode(encoded.trim()).ok()?).ok()?;
        let (id, secret) = decoded.split_once(':')?;
        Some((form_decoded(id)?, form_decoded(secret)?))
    };
    read().map(Some).ok_or_else(OAuthError::invalid_client)
}

fn form_decoded(text: &str) -> Option<String> {
    if text.contains(['&', '=']) {
        return None;
    }
    let mut pairs = url::form_urlencoded::parse(text.as_bytes());
    let decoded = pairs.next().map(|(name, _)| name.into_owned());
    Some(decoded.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn with(value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(
            AUTHORIZATION,
            HeaderValue::from_str(value).expect("a header"),
        );
        headers
    }

    #[test]
    fn id_and_secret_are_read_from_the_header() {
        let encode = |text: &str| format!("Basic {}", BASE64_STANDARD.encode(text));
        let read = |value: &str| basic(&with(value)).ok().flatten();
        assert_eq!(
            read(&encode("app_1:s%3Ax+y")),
            Some(("app_1".into(), "s:x y".into()))
        );
        assert_eq!(
            read(&encode("app_1:")),
            Some(("app_1".into(), String::new()))
        );
        for wrong in [
            "Bearer x".to_owned(),
            "Basic".to_owned(),
            "Basic !".to_owned(),
            encode("no colon"),
            encode("a&b:c"),
        ] {
            assert!(basic(&with(&wrong)).is_err(), "{wrong}");
        }
        assert!(basic(&HeaderMap::new()).is_ok_and(|none| none.is_none()));
    }
}
