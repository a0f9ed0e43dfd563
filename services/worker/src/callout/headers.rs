//! The headers of a request: from those of the task to those that are sent.

use http::header::{
    ACCEPT, CONNECTION, CONTENT_LENGTH, HOST, TE, TRANSFER_ENCODING, UPGRADE, USER_AGENT,
};
use http::{HeaderMap, HeaderName, HeaderValue};
use waybill_domain::egress::{HeaderRefused, check_header};
use zeroize::Zeroizing;

/// A header cannot be sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("The header `{name}` {reason}")]
pub struct RefusedHeader {
    /// The name, with control characters escaped. The value is not repeated, since it may be a
    /// secret.
    pub name: String,
    pub reason: HeaderRefused,
}

/// A header of a task to send.
#[derive(Clone)]
pub struct TaskHeader<'t> {
    pub name: &'t str,
    pub value: HeaderText<'t>,
}

#[derive(Clone)]
pub enum HeaderText<'t> {
    /// As the task gives it.
    Plain(&'t str),
    /// Contains a credential. It is sent to the target only, and overwritten afterwards.
    Secret(Zeroizing<String>),
}

impl<'t> TaskHeader<'t> {
    /// A header without a credential.
    #[must_use]
    pub fn plain((name, value): &'t (String, String)) -> Self {
        Self {
            name,
            value: HeaderText::Plain(value),
        }
    }

    /// A header with a credential.
    #[must_use]
    pub fn secret(name: &'t str, value: Zeroizing<String>) -> Self {
        Self {
            name,
            value: HeaderText::Secret(value),
        }
    }
}

const OUR_USER_AGENT: HeaderValue =
    HeaderValue::from_static(concat!("waybill/", env!("CARGO_PKG_VERSION")));
const ANYTHING: HeaderValue = HeaderValue::from_static("*/*");

/// The headers that a task gives; those with a credential are marked as sensitive. Reserved headers
/// are left out: a task with one was accepted before it was reserved, and is better called without
/// it than not at all. A name that is not a token, or a value with control characters, is refused,
/// which matters for values that were unknown when the task was created, such as those of the
/// vault.
pub fn task_headers(given: &[TaskHeader<'_>]) -> Result<HeaderMap, RefusedHeader> {
    let mut headers = HeaderMap::with_capacity(given.len() + 12);
    for TaskHeader { name, value } in given {
        let (value, is_secret) = match value {
            HeaderText::Plain(value) => (*value, false),
            HeaderText::Secret(value) => (value.as_str(), true),
        };
        let refused = |reason| RefusedHeader {
            name: name.escape_default().to_string(),
            reason,
        };
        match check_header(name, value) {
            Ok(()) => {}
            Err(HeaderRefused::Reserved) => continue,
            Err(reason) => return Err(refused(reason)),
        }
        let name = HeaderName::try_from(*name).map_err(|_| refused(HeaderRefused::Name))?;
        let mut value = HeaderValue::try_from(value).map_err(|_| refused(HeaderRefused::Value))?;
        value.set_sensitive(is_secret);
        headers.append(name, value);
    }
    Ok(headers)
}

/// Removes the headers that frame the message, since they are the client's to set: two opinions
/// about a length allow request smuggling.
pub(super) fn complete(headers: &mut HeaderMap) {
    for framing in [
        HOST,
        CONTENT_LENGTH,
        TRANSFER_ENCODING,
        CONNECTION,
        TE,
        UPGRADE,
    ] {
        headers.remove(framing);
    }
    headers.entry(USER_AGENT).or_insert(OUR_USER_AGENT);
    headers.entry(ACCEPT).or_insert(ANYTHING);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given<'t>(pairs: &[(&'t str, &'t str)]) -> Vec<TaskHeader<'t>> {
        let plain = |(name, value): &(&'t str, &'t str)| TaskHeader {
            name,
            value: HeaderText::Plain(value),
        };
        pairs.iter().map(plain).collect()
    }

    #[test]
    fn a_secret_is_marked_so_that_nothing_shows_it() {
        let secret = Zeroizing::new("Bearer hidden".to_owned());
        let headers = task_headers(&[TaskHeader::secret("X-Key", secret)]).expect("valid headers");
        assert!(headers["x-key"].is_sensitive());
        assert!(!format!("{headers:?}").contains("hidden"));
    }

    #[test]
    fn headers_keep_their_order_and_may_repeat() {
        let headers = task_headers(&given(&[("X-A", "1"), ("x-a", "2"), ("X-U", "ü")]))
            .expect("valid headers");
        let values: Vec<_> = headers.get_all("x-a").iter().collect();
        assert_eq!(values, ["1", "2"]);
        assert_eq!(headers["x-u"].as_bytes(), "ü".as_bytes());
    }

    #[test]
    fn control_characters_never_pass() {
        for (name, value) in [
            ("X", "a\r\nHost: evil"),
            ("X", "\0"),
            ("X\r\nY", "a"),
            ("X", "\x7f"),
        ] {
            let refused = task_headers(&given(&[(name, value)])).expect_err("refused");
            assert!(!refused.to_string().contains(char::is_control), "{refused}");
            assert!(!refused.to_string().contains("evil"), "{refused}");
        }
    }

    #[test]
    fn framing_is_never_the_tasks() {
        let headers = task_headers(&given(&[
            ("Host", "evil"),
            ("Content-Length", "0"),
            ("Transfer-Encoding", "chunked"),
            ("Waybill-Attempt", "9"),
        ]))
        .expect("left out, not refused");
        assert!(headers.is_empty());

        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_LENGTH, HeaderValue::from_static("3"));
        headers.insert(HOST, HeaderValue::from_static("evil"));
        complete(&mut headers);
        assert!(!headers.contains_key(CONTENT_LENGTH) && !headers.contains_key(HOST));
        assert!(headers.contains_key(USER_AGENT));
    }
}
