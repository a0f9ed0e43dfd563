//! Redirect URIs: where a browser may be sent with an authorization code. They are registered in
//! advance and compared exactly.

use url::{Host, Url};

/// Longest redirect URI, in bytes.
pub const MAX_REDIRECT_BYTES: usize = 1024;

/// Why a text is not accepted as a redirect URI.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRedirect {
    /// Not an absolute URL, or not in normal form.
    #[error(
        "must be an absolute URI in its normal form, such as https://app.example.com/callback, of at most {MAX_REDIRECT_BYTES} bytes"
    )]
    Form,
    /// A fragment is not allowed (RFC 6749, 3.1.2).
    #[error("must not have a fragment")]
    Fragment,
    /// Credentials in a URL end up in logs and histories.
    #[error("must not have a user or password")]
    UserInfo,
    /// With plain HTTP, anybody on the network path could read the code.
    #[error(
        "must be https; or http on 127.0.0.1, [::1] or localhost; or an application's own scheme such as com.example.app:/callback"
    )]
    Scheme,
}

/// A redirect URI in normal form, so that no two parsers can disagree about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedirectUri {
    url: Url,
    is_loopback: bool,
}

impl RedirectUri {
    /// Parses and checks a redirect URI.
    pub fn parse(text: &str) -> Result<Self, InvalidRedirect> {
        let plain = text.len() <= MAX_REDIRECT_BYTES
            && text.bytes().all(|b| b.is_ascii_graphic())
            && !text.contains('*');
        let url = plain
            .then(|| Url::parse(text).ok())
            .flatten()
            .filter(|url| url.as_str() == text)
            .ok_or(InvalidRedirect::Form)?;
        if url.fragment().is_some() {
            return Err(InvalidRedirect::Fragment);
        }
        if !url.username().is_empty() || url.password().is_some() || text.contains('@') {
            return Err(InvalidRedirect::UserInfo);
        }
        let is_loopback = match (url.scheme(), url.host()) {
            ("http", Some(Host::Ipv4(address))) if address.is_loopback() => true,
            ("http", Some(Host::Ipv6(address))) if address.is_loopback() => true,
            ("http", Some(Host::Domain("localhost"))) => false,
            ("https", Some(Host::Domain(name))) if is_plain_name(name) => false,
            ("https", Some(Host::Ipv4(_) | Host::Ipv6(_))) => false,
            // RFC 8252, 7.1: a private-use scheme is a reversed domain name. It contains a dot,
            // which no scheme has that browsers handle themselves.
            (scheme, None) if scheme.contains('.') => false,
            _ => return Err(InvalidRedirect::Scheme),
        };
        Ok(Self { url, is_loopback })
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        self.url.as_str()
    }

    /// Whether this URI, from a request, matches a registered one: exactly, except for the port of
    /// a native application that listens on a loopback address (RFC 8252, 7.3).
    #[must_use]
    pub fn is(&self, registered: &Self) -> bool {
        if self.url == registered.url {
            return true;
        }
        self.is_loopback
            && registered.is_loopback
            && self.without_port() == registered.without_port()
    }

    /// The origin as a source of the `form-action` directive of a content security policy.
    #[must_use]
    pub fn csp_source(&self) -> String {
        if self.url.has_host() {
            self.url.origin().ascii_serialization()
        } else {
            format!("{}:", self.url.scheme())
        }
    }

    /// The URI with parameters appended to its query.
    #[must_use]
    pub fn with(&self, parameters: &[(&str, &str)]) -> String {
        let mut url = self.url.clone();
        url.query_pairs_mut().extend_pairs(parameters);
        url.into()
    }

    fn without_port(&self) -> Option<Url> {
        let mut url = self.url.clone();
        url.set_port(None).ok()?;
        Some(url)
    }
}

/// Letters, digits, dots and hyphens only: nothing with a meaning of its own in a header.
fn is_plain_name(name: &str) -> bool {
    name.bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<RedirectUri, InvalidRedirect> {
        RedirectUri::parse(text)
    }

    #[test]
    fn only_what_cannot_be_misread_is_a_redirect_uri() {
        for good in [
            "https://app.example.com/callback",
            "https://app.example.com/callback?tenant=7",
            "https://app.example.com:8443/",
            "http://127.0.0.1:7777/cb",
            "http://[::1]/cb",
            "http://localhost:3000/cb",
            "com.example.app:/callback",
        ] {
            assert_eq!(
                parse(good).map(|uri| uri.as_str().to_owned()),
                Ok(good.into())
            );
        }
        for (bad, why) in [
            ("", InvalidRedirect::Form),
            ("/callback", InvalidRedirect::Form),
            ("https://app.example.com", InvalidRedirect::Form),
            ("https://APP.example.com/cb", InvalidRedirect::Form),
            ("https://app.example.com:443/cb", InvalidRedirect::Form),
            ("https://app.example.com/a/../cb", InvalidRedirect::Form),
            ("https://app.example.com/%2e%2e/cb", InvalidRedirect::Form),
            (
                "https://app.example.com\\@evil.example/",
                InvalidRedirect::Form,
            ),
            ("https://*.example.com/cb", InvalidRedirect::Form),
            ("https://app.example.com/c b", InvalidRedirect::Form),
            ("https://app.example.com/\u{e9}", InvalidRedirect::Form),
            ("https://app.example.com/cb#x", InvalidRedirect::Fragment),
            ("https://app.example.com/cb#", InvalidRedirect::Fragment),
            ("https://ann@app.example.com/cb", InvalidRedirect::UserInfo),
            (
                "https://ann:pw@app.example.com/cb",
                InvalidRedirect::UserInfo,
            ),
            ("http://app.example.com/cb", InvalidRedirect::Scheme),
            ("http://127.0.0.1.example.com/cb", InvalidRedirect::Scheme),
            ("http://10.0.0.1/cb", InvalidRedirect::Scheme),
            ("https://a;b.example.com/cb", InvalidRedirect::Scheme),
            ("javascript:alert(1)", InvalidRedirect::Scheme),
            ("data:text/html,x", InvalidRedirect::Scheme),
            ("myapp:/callback", InvalidRedirect::Scheme),
            ("file:///etc/passwd", InvalidRedirect::Scheme),
        ] {
            assert_eq!(parse(bad), Err(why), "{bad}");
        }
    }

    #[test]
    fn what_is_asked_for_is_what_was_registered_to_the_letter() {
        let registered = parse("https://app.example.com/cb").expect("good");
        for other in [
            "https://app.example.com/cb/",
            "https://app.example.com/cb/x",
            "https://app.example.com/CB",
            "https://app.example.com/c%62",
            "https://app.example.com/cb?",
            "https://app.example.com/cb?x=1",
            "https://app.example.com:8443/cb",
            "https://example.com/cb",
        ] {
            assert!(
                parse(other).is_ok_and(|other| !other.is(&registered)),
                "{other}"
            );
        }
        assert!(registered.is(&registered));
    }

    #[test]
    fn only_on_a_loopback_address_any_port_will_do() {
        let is = |asked: &str, registered: &str| {
            parse(asked)
                .expect("good")
                .is(&parse(registered).expect("good"))
        };
        assert!(is("http://127.0.0.1:50123/cb", "http://127.0.0.1/cb"));
        assert!(is("http://[::1]:50123/cb", "http://[::1]:1/cb"));
        assert!(!is("http://127.0.0.1:50123/other", "http://127.0.0.1/cb"));
        assert!(!is("http://127.0.0.2:50123/cb", "http://127.0.0.1/cb"));
        assert!(!is("http://[::1]:50123/cb", "http://127.0.0.1/cb"));
        assert!(!is("http://localhost:50123/cb", "http://localhost:3000/cb"));
        assert!(!is("https://127.0.0.1:8443/cb", "https://127.0.0.1/cb"));
    }

    #[test]
    fn parameters_are_added_and_escaped() {
        let uri = parse("https://app.example.com/cb?tenant=7").expect("good");
        let sent = uri.with(&[("state", "a&b=c#d"), ("iss", "https://id.example")]);
        assert_eq!(
            sent,
            "https://app.example.com/cb?tenant=7&state=a%26b%3Dc%23d&iss=https%3A%2F%2Fid.example"
        );
        assert_eq!(uri.csp_source(), "https://app.example.com");
        let own = parse("com.example.app:/callback").expect("good");
        assert_eq!(
            own.with(&[("code", "x")]),
            "com.example.app:/callback?code=x"
        );
        assert_eq!(own.csp_source(), "com.example.app:");
    }
}
