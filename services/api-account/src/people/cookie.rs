//! How a browser keeps a refresh token: in a cookie that no script sees and no other site can use.
//!
//! It goes to this host only (no `Domain`), to these paths only, over TLS only (but on loopback), and not along with requests that
//! another site makes (`SameSite=Lax`). That last one does not cover every browser and every sister host, so each request that uses it
//! also has to come from a page of one of this service's origins, which browsers state in `Origin` and scripts cannot change.
//!
//! Cookies are written by a `format!` and not by the `cookie` crate: their values have no letter that needs quoting, and of two of one
//! name both must be seen, where a jar would keep one of them.

use std::time::Duration;

use http::header::{COOKIE, HOST, ORIGIN, SET_COOKIE};
use http::{HeaderMap, HeaderValue, StatusCode};

use waybill_edge::error::{ApiError, ErrorCode};
use waybill_identity::People;

/// A cookie of this API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Jar {
    /// The refresh token.
    Refresh,
    /// A log-in at an outside issuer that is under way.
    Attempt,
    /// The person on the consent page.
    Consent,
    /// A device on which somebody has signed in. It grants no access.
    Device,
}

impl Jar {
    /// The prefix makes browsers refuse the cookie unless it came over TLS (RFC 6265bis, 4.1.3.1).
    fn name(self, secure: bool) -> &'static str {
        match (self, secure) {
            (Self::Refresh, true) => "__Secure-waybill-refresh",
            (Self::Refresh, false) => "waybill-refresh",
            (Self::Attempt, true) => "__Secure-waybill-attempt",
            (Self::Attempt, false) => "waybill-attempt",
            (Self::Consent, true) => "__Secure-waybill-consent",
            (Self::Consent, false) => "waybill-consent",
            (Self::Device, true) => "__Secure-waybill-device",
            (Self::Device, false) => "waybill-device",
        }
    }

    fn path(self) -> &'static str {
        match self {
            Self::Refresh => "/v1/auth",
            Self::Attempt => "/v1/auth/oidc",
            Self::Consent => "/oauth",
            // Passwords are tried at both.
            Self::Device => "/",
        }
    }

    /// Its value, when the request brings exactly one of its name.
    pub(crate) fn find<'a>(self, people: &People, headers: &'a HeaderMap) -> Option<&'a str> {
        let name = self.name(people.secure_cookies);
        let mut values = headers
            .get_all(COOKIE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .filter(|(own, _)| *own == name)
            .map(|(_, value)| value);
        // Of two, one was put there by somebody else.
        match (values.next(), values.next()) {
            (Some(value), None) => Some(value),
            _ => None,
        }
    }

    /// Puts it into the answer, or with `None` takes it out of the browser.
    pub(crate) fn set(
        self,
        people: &People,
        headers: &mut HeaderMap,
        value: Option<&str>,
        lifetime: Duration,
    ) {
        let secure = people.secure_cookies;
        let text = format!(
            "{}={}; Path={}; Max-Age={}; HttpOnly; SameSite=Lax{}",
            self.name(secure),
            value.unwrap_or_default(),
            self.path(),
            value.map_or(0, |_| lifetime.as_secs()),
            if secure { "; Secure" } else { "" },
        );
        if let Ok(mut value) = HeaderValue::from_str(&text) {
            value.set_sensitive(true);
            headers.append(SET_COOKIE, value);
        }
    }
}

/// Refuses a request that does not come from a page of this service.
pub(crate) fn check_origin(people: &People, headers: &HeaderMap) -> Result<(), ApiError> {
    let mut origins = headers.get_all(ORIGIN).iter();
    let origin = match (origins.next(), origins.next()) {
        (Some(origin), None) => origin.to_str().ok(),
        _ => None,
    };
    let ours = origin.is_some_and(|origin| {
        if people.origins.is_empty() {
            let host = headers.get(HOST).and_then(|host| host.to_str().ok());
            host.is_some_and(|host| {
                origin == format!("http://{host}") || origin == format!("https://{host}")
            })
        } else {
            people.origins.iter().any(|own| own == origin)
        }
    });
    if ours {
        Ok(())
    } else {
        Err(ApiError::new(
            StatusCode::FORBIDDEN,
            ErrorCode::OriginRefused,
            "Requests that use cookies must come from a page of this service: Origin is missing or another one",
        ))
    }
}
