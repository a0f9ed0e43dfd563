//! What is kept of a call for people who look into a failure: the request as it was sent, and the
//! beginning of the answer, without the secrets that the request carried.

use std::time::Duration;

use http::HeaderMap;
use waybill_domain::time::Timestamp;
use waybill_domain::vault::scrub::End;
use waybill_log::capture::{CAPTURED_BODY_BYTES, CAPTURED_HEADER_BYTES};
use waybill_log::{Capture, CapturedCall, CapturedMessage};

use crate::callout::outcome::text_or_base64;
use crate::callout::{Outcome, Request};

/// Stands for a header that carries a credential which the search for secrets did not find in it.
const HIDDEN: &str = "****";

/// A request that is being sent.
#[derive(Debug)]
pub(crate) struct Sent(Capture);

impl Sent {
    /// The request as it is sent now.
    pub(crate) fn of(call: CapturedCall, request: &Request, now: Timestamp) -> Self {
        let mut url = request.url.clone();
        // A client's own spelling of the query is what is sent.
        url.set_query(None);
        let query = request.query.as_deref().or_else(|| request.url.query());
        let mut url = match query {
            Some(query) => format!("{url}?{query}"),
            None => url.into(),
        };
        let kept = &request.body[..request.body.len().min(CAPTURED_BODY_BYTES)];
        let end = match kept.len() == request.body.len() {
            true => End::Whole,
            false => End::Cut,
        };
        let mut body = kept.to_vec();
        let mut headers = texts(&request.headers);
        if let Some(carried) = &request.carried {
            url = carried.scrub_text(&url);
            let before = headers.clone();
            carried.scrub_request(&mut headers, &mut body, end);
            // The search may know a secret in another form than the one in which it is sent.
            for (value, (header, sent)) in
                request.headers.values().zip(headers.iter_mut().zip(before))
            {
                if value.is_sensitive() && header.1 == sent.1 {
                    HIDDEN.clone_into(&mut header.1);
                }
            }
        }
        Self(Capture {
            call,
            at: now,
            duration_ms: 0,
            method: request.method.to_string(),
            url,
            request: message(headers, &body, request.body.len() as u64, end),
            status: None,
            answer: None,
            failure: None,
        })
    }

    /// The call, once it has ended. `outcome` contains no secrets any more.
    pub(crate) fn ended(self, outcome: &Outcome) -> Capture {
        let millis = |duration: Duration| u32::try_from(duration.as_millis()).unwrap_or(u32::MAX);
        match outcome {
            Outcome::Answered(answered) => {
                let kept = &answered.body[..answered.body.len().min(CAPTURED_BODY_BYTES)];
                let is_whole = kept.len() == answered.body.len() && !answered.truncated;
                let end = if is_whole { End::Whole } else { End::Cut };
                let headers = answered.headers.clone();
                let mut answer = message(headers, kept, answered.body_bytes, end);
                answer.headers_cut |= answered.header_bytes.is_some();
                Capture {
                    duration_ms: millis(answered.duration),
                    status: Some(answered.status.as_u16()),
                    answer: Some(answer),
                    ..self.0
                }
            }
            Outcome::Failed(failed) => Capture {
                duration_ms: millis(failed.duration),
                failure: Some(failed.message.to_string()),
                ..self.0
            },
        }
    }
}

fn texts(headers: &HeaderMap) -> Vec<(String, String)> {
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    headers
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), text(value)))
        .collect()
}

fn message(
    mut headers: Vec<(String, String)>,
    body: &[u8],
    body_bytes: u64,
    end: End,
) -> CapturedMessage {
    let mut room = CAPTURED_HEADER_BYTES;
    let fits = headers.iter().take_while(|(name, value)| {
        let left = room.checked_sub(name.len() + value.len());
        room = left.unwrap_or(0);
        left.is_some()
    });
    let fits = fits.count();
    let headers_cut = fits < headers.len();
    headers.truncate(fits);
    // What stands for a secret may be longer than the secret.
    let kept = &body[..body.len().min(CAPTURED_BODY_BYTES)];
    let (body, encoding) = text_or_base64(kept, end == End::Cut || kept.len() < body.len());
    CapturedMessage {
        headers,
        headers_cut,
        body,
        encoding,
        body_bytes,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use http::header::{AUTHORIZATION, HeaderValue};
    use http::{Method, StatusCode};
    use url::Url;
    use waybill_domain::id::{TaskId, TeamId, TokenId};
    use waybill_domain::partition::Partition;
    use waybill_domain::vault::Scrubber;
    use waybill_domain::vault::scrub::Label;
    use waybill_log::CapturedKind;

    use super::*;
    use crate::callout::Answered;
    use crate::vault::Carried;

    const SECRET: &str = "sk-live-0123456789";

    fn sent(secret: Option<&str>, body: String) -> Capture {
        let mut headers = HeaderMap::new();
        let mut authorization = HeaderValue::try_from(format!("Bearer {SECRET}")).expect("a value");
        authorization.set_sensitive(true);
        headers.insert(AUTHORIZATION, authorization);
        let carried = secret.map(|secret| {
            let mut scrubber = Scrubber::new();
            scrubber.add(&Label::Token(TokenId::new(Timestamp(1), 1)), secret);
            Arc::new(Carried::new(Vec::new(), true, scrubber))
        });
        let url = format!("https://a.example/x?key={SECRET}");
        let request = Request {
            method: Method::POST,
            url: Url::parse(&url).expect("a URL"),
            query: None,
            headers,
            body: Bytes::from(body),
            first_byte: Duration::ZERO,
            total: Duration::ZERO,
            follow_redirects: false,
            kept_body: 0,
            carried,
        };
        let call = CapturedCall {
            team: TeamId::new(Timestamp(1), 1),
            task: TaskId::new(Timestamp(1), 1, Partition::new(0).expect("a partition")),
            kind: CapturedKind::Attempt,
            number: 1,
        };
        let answered = Outcome::Answered(Answered {
            status: StatusCode::OK,
            headers: Vec::new(),
            header_bytes: None,
            body_bytes: 10_000,
            body: Bytes::from(vec![b'a'; 10_000]),
            truncated: false,
            duration: Duration::from_millis(7),
        });
        Sent::of(call, &request, Timestamp(5)).ended(&answered)
    }

    #[test]
    fn a_capture_has_no_secret_of_the_request_wherever_it_stood() {
        let capture = sent(Some(SECRET), format!("{{\"key\": \"{SECRET}\"}}"));
        let written = serde_json::to_string(&capture).expect("plain data");
        assert!(!written.contains(SECRET), "{written}");
        assert!(
            capture.request.headers[0]
                .1
                .starts_with("Bearer [vault:tok_")
        );
        assert!(
            capture
                .url
                .starts_with("https://a.example/x?key=[vault:tok_")
        );
    }

    #[test]
    fn a_secret_that_begins_at_the_cut_is_not_kept_in_part() {
        let before = "x".repeat(CAPTURED_BODY_BYTES - 10);
        let capture = sent(Some(SECRET), format!("{before}{SECRET} and more"));
        assert!(
            !capture.request.body.contains("sk-live"),
            "{}",
            capture.request.body
        );
    }

    #[test]
    fn a_header_that_is_marked_as_secret_is_hidden_even_if_its_value_is_not_known() {
        let capture = sent(Some("something else"), String::new());
        assert_eq!(capture.request.headers[0].1, HIDDEN);
    }

    #[test]
    fn bodies_are_kept_to_a_limit_and_their_lengths_are_told() {
        let capture = sent(None, "b".repeat(5_000));
        assert_eq!(capture.request.body.len(), CAPTURED_BODY_BYTES);
        assert_eq!(capture.request.body_bytes, 5_000);
        let answer = capture.answer.expect("an answer");
        assert_eq!(
            (answer.body.len(), answer.body_bytes),
            (CAPTURED_BODY_BYTES, 10_000)
        );
        assert_eq!((capture.status, capture.duration_ms), (Some(200), 7));
    }

    #[test]
    fn headers_beyond_the_limit_are_left_out_and_that_is_told() {
        let header = |n: usize| (format!("x-{n}"), "y".repeat(1_000));
        let kept = message((0..8).map(header).collect(), b"", 0, End::Whole);
        assert_eq!(kept.headers.len(), 4);
        assert!(kept.headers_cut);
    }
}
