//! The secrets that a request carries: where they may be sent, and what must be removed from the
//! answer.

use std::sync::Arc;

use bytes::Bytes;
use url::Url;
use waybill_domain::id::TokenId;
use waybill_domain::vault::hosts::may_carry_secrets;
use waybill_domain::vault::scrub::End;
use waybill_domain::vault::{AllowedHosts, Scrubber};

use super::failure::VaultFailure;
use crate::callout::Outcome;
use crate::callout::answer::KEPT_HEADER_BYTES;

/// The secrets of one request.
pub struct Carried {
    /// Tokens whose values the request contains, and where each may be sent.
    tokens: Vec<(TokenId, Arc<AllowedHosts>)>,
    /// Whether a value is in the query or in the body.
    in_line: bool,
    scrubber: Scrubber,
}

impl std::fmt::Debug for Carried {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Carried")
            .field("tokens", &self.tokens)
            .finish_non_exhaustive()
    }
}

impl Carried {
    pub(crate) fn new(
        tokens: Vec<(TokenId, Arc<AllowedHosts>)>,
        in_line: bool,
        scrubber: Scrubber,
    ) -> Self {
        Self {
            tokens,
            in_line,
            scrubber,
        }
    }

    /// Whether a value is in the query or in the body, from which redirects do not remove it.
    #[must_use]
    pub fn is_in_line(&self) -> bool {
        self.in_line
    }

    /// Checks that the values may be sent to the host of this URL.
    pub fn check(&self, url: &Url) -> Result<(), VaultFailure> {
        for (token, hosts) in &self.tokens {
            if !may_carry_secrets(url) {
                return Err(VaultFailure::Readable(token.clone()));
            }
            if !hosts.allows(url) {
                return Err(VaultFailure::OtherHost {
                    token: token.clone(),
                    allowed: hosts.to_string(),
                    host: url.host_str().unwrap_or_default().to_owned(),
                });
            }
        }
        Ok(())
    }

    /// Checks that a redirect may be followed. Neither values in the query or body nor values that
    /// the target has written into the URL may be sent to another origin; headers with secrets are
    /// already dropped.
    pub fn check_redirect(&self, from: &Url, to: &Url) -> Result<(), VaultFailure> {
        let elsewhere = from.origin() != to.origin();
        if elsewhere && (self.in_line || self.is_in(to.as_str())) {
            return Err(VaultFailure::Redirected);
        }
        Ok(())
    }

    fn is_in(&self, text: &str) -> bool {
        self.scrubber.text(text) != text
    }

    /// Removes the secrets from a text, such as the URL that is called.
    #[must_use]
    pub fn scrub_text(&self, text: &str) -> String {
        self.scrubber.text(text).into_owned()
    }

    /// Removes the secrets from the headers and the beginning of the body of the request. `end`:
    /// whether that is the whole body.
    pub fn scrub_request(&self, headers: &mut [(String, String)], body: &mut Vec<u8>, end: End) {
        self.scrubber.answer(headers, body, end);
    }

    /// Removes the secrets from an outcome, before anything else sees it. `kept` bytes of the body
    /// are kept.
    #[must_use]
    pub fn scrub(&self, outcome: Outcome, kept: usize) -> Outcome {
        if self.scrubber.is_empty() {
            return outcome;
        }
        match outcome {
            Outcome::Answered(mut answered) => {
                let end = if answered.truncated {
                    End::Cut
                } else {
                    End::Whole
                };
                let is_compressed = is_compressed(&answered.headers, &answered.body);
                if is_compressed {
                    // A compressed body cannot be searched for secrets without unpacking it, which
                    // could take any amount of memory.
                    answered.body = Bytes::from_static(COMPRESSED);
                }
                let mut body = answered.body.to_vec();
                self.scrubber.answer(&mut answered.headers, &mut body, end);
                // A mark may be longer or shorter than the secret in its place. The reported length
                // is that of the scrubbed body, so that a truncated body is recognised, and a
                // complete one is not taken for truncated.
                if end == End::Whole && !is_compressed {
                    answered.body_bytes = body.len() as u64;
                }
                answered.truncated |= body.len() > kept;
                body.truncate(kept);
                answered.body = Bytes::from(body);
                let size = |(name, value): &(String, String)| name.len() + value.len();
                let all: usize = answered.headers.iter().map(size).sum();
                if all > KEPT_HEADER_BYTES && answered.header_bytes.is_none() {
                    answered.header_bytes = u32::try_from(all).ok();
                }
                let mut room = KEPT_HEADER_BYTES;
                answered.headers.retain(|(name, value)| {
                    let left = room.checked_sub(name.len() + value.len());
                    room = left.unwrap_or(0);
                    left.is_some()
                });
                Outcome::Answered(answered)
            }
            Outcome::Failed(mut failed) => {
                failed.message = self.scrubber.text(&failed.message).into_owned().into();
                Outcome::Failed(failed)
            }
        }
    }
}

/// Replaces a compressed body in the answer to a call with a credential. Such calls ask for no
/// compression.
const COMPRESSED: &[u8] = b"[vault:compressed]";

/// Whether a body is declared as compressed, or begins like gzip, zlib or zstd.
fn is_compressed(headers: &[(String, String)], body: &[u8]) -> bool {
    let said = headers.iter().any(|(name, value)| {
        name.eq_ignore_ascii_case("content-encoding")
            && !value.trim().is_empty()
            && !value.trim().eq_ignore_ascii_case("identity")
    });
    let begins = [
        &[0x1f, 0x8b][..],
        &[0x28, 0xb5, 0x2f, 0xfd],
        &[0x78, 0x01],
        &[0x78, 0x9c],
        &[0x78, 0xda],
    ];
    said || begins.iter().any(|magic| body.starts_with(magic))
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use std::time::Duration;
    use waybill_domain::time::Timestamp;
    use waybill_domain::vault::scrub::Label;

    use super::*;
    use crate::callout::answer::KEPT_BODY_BYTES;
    use crate::callout::{Answered, CallFailed, FailReason};

    const SECRET: &str = "sk-live-0123456789";

    fn token() -> TokenId {
        TokenId::new(Timestamp(1), 1)
    }

    fn carried(hosts: &[&str], in_line: bool) -> Carried {
        let hosts: Vec<_> = hosts.iter().map(|&host| host.to_owned()).collect();
        let hosts = Arc::new(AllowedHosts::stored(&hosts));
        let mut scrubber = Scrubber::new();
        scrubber.add(&Label::Token(token()), SECRET);
        Carried::new(vec![(token(), hosts)], in_line, scrubber)
    }

    fn url(text: &str) -> Url {
        Url::parse(text).expect("a URL")
    }

    #[test]
    fn a_value_goes_only_where_its_token_may_and_where_nobody_reads_along() {
        let carried = carried(&["api.example.com", "*.example.org"], false);
        for good in [
            "https://api.example.com/x",
            "https://API.example.com.:8443/",
            "https://a.b.example.org/",
        ] {
            assert_eq!(carried.check(&url(good)), Ok(()), "{good}");
        }
        let elsewhere = "https://api.example.com@evil.example/";
        assert!(matches!(
            carried.check(&url(elsewhere)),
            Err(VaultFailure::OtherHost { host, .. }) if host == "evil.example"
        ));
        let readable = carried.check(&url("http://api.example.com/"));
        assert_eq!(readable, Err(VaultFailure::Readable(token())));
    }

    #[test]
    fn what_a_target_writes_into_a_location_is_not_carried_on() {
        let carried = carried(&[], false);
        let from = url("https://a.example/");
        let follows = |to: &str| carried.check_redirect(&from, &url(to)).is_ok();
        assert!(follows("https://b.example/?a=b"));
        assert!(!follows(&format!("https://b.example/?a={SECRET}")));
        assert!(!follows(&format!("https://b.example/{SECRET}")));
        assert!(follows(&format!("https://a.example/?a={SECRET}")));
    }

    #[test]
    fn with_a_value_in_the_request_itself_another_origin_is_not_asked() {
        let carried = carried(&[], true);
        let from = url("https://a.example/");
        for (to, follows) in [
            ("https://a.example/x", true),
            ("https://a.example:444/", false),
            ("https://b.a.example/", false),
        ] {
            assert_eq!(
                carried.check_redirect(&from, &url(to)).is_ok(),
                follows,
                "{to}"
            );
        }
    }

    #[test]
    fn an_answer_stays_within_its_limits_when_placeholders_are_longer() {
        let carried = carried(&[], false);
        let spaced = format!("{SECRET} ");
        let body = spaced.repeat(KEPT_BODY_BYTES / spaced.len());
        let header = |n: usize| (format!("x-{n}"), spaced.repeat(100));
        let answered = Answered {
            status: StatusCode::OK,
            headers: (0..8).map(header).collect(),
            header_bytes: None,
            body_bytes: body.len() as u64,
            body: body.into(),
            truncated: false,
            duration: Duration::ZERO,
        };
        let Outcome::Answered(scrubbed) =
            carried.scrub(Outcome::Answered(answered), KEPT_BODY_BYTES)
        else {
            panic!("it stays an answer");
        };
        assert!(scrubbed.body.len() <= KEPT_BODY_BYTES && scrubbed.truncated);
        let bytes = scrubbed.headers.iter().map(|(n, v)| n.len() + v.len());
        assert!(bytes.sum::<usize>() <= KEPT_HEADER_BYTES);
        assert!(scrubbed.header_bytes.is_some());
        assert!(!format!("{scrubbed:?}").contains(SECRET));
        let missing: Vec<_> = scrubbed.into_event().missing().collect();
        assert_eq!(missing, ["headers", "body"], "it is said");
    }

    #[test]
    fn what_stands_in_the_place_of_a_secret_is_no_cut() {
        let long = "s".repeat(500);
        let mut scrubber = Scrubber::new();
        scrubber.add(&Label::Token(token()), &long);
        let carried = Carried::new(Vec::new(), false, scrubber);
        let body = format!("your key is {long}");
        let answered = Answered {
            status: StatusCode::OK,
            headers: Vec::new(),
            header_bytes: None,
            body_bytes: body.len() as u64,
            body: body.into(),
            truncated: false,
            duration: Duration::ZERO,
        };
        let Outcome::Answered(scrubbed) =
            carried.scrub(Outcome::Answered(answered), KEPT_BODY_BYTES)
        else {
            panic!("it stays an answer");
        };
        let event = scrubbed.into_event();
        assert_eq!(event.body, format!("your key is [vault:{}]", token()));
        assert_eq!(event.missing().count(), 0, "{event:?}");
    }

    #[test]
    fn a_sentence_about_a_failure_is_scrubbed_too() {
        let failed = CallFailed {
            reason: FailReason::Protocol,
            message: format!("no answer: {SECRET}").into(),
            duration: Duration::ZERO,
        };
        match carried(&[], false).scrub(Outcome::Failed(failed), KEPT_BODY_BYTES) {
            Outcome::Failed(failed) => {
                assert_eq!(failed.message, format!("no answer: [vault:{}]", token()));
            }
            Outcome::Answered(_) => panic!("it stays a failure"),
        }
    }

    #[test]
    fn a_compressed_body_is_not_kept_since_nobody_looks_into_it() {
        let headers = |value: &str| vec![("Content-Encoding".to_owned(), value.to_owned())];
        for (value, body, compressed) in [
            ("gzip", &b"x"[..], true),
            ("br", b"x", true),
            ("identity", b"plain", false),
            ("", b"\x1f\x8b\x08", true),
            ("", b"\x28\xb5\x2f\xfd", true),
            ("", b"{}", false),
        ] {
            assert_eq!(is_compressed(&headers(value), body), compressed, "{value}");
        }
    }
}
