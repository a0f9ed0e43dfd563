//! What is kept of a call for people who look into a failure: the request as it was sent, and the
//! beginning of the answer, without the secrets that the request carried.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use parking_lot::Mutex;
use waybill_domain::time::{Elapsed, Timestamp};
use waybill_domain::vault::scrub::End;
use waybill_log::capture::{CAPTURED_BODY_BYTES, CAPTURED_HEADER_BYTES};
use waybill_log::{Capture, CapturedCall, CapturedKind, CapturedMessage, Captures};

use crate::callout::outcome::text_or_base64;
use crate::callout::{Outcome, Request};

/// Stands for a header that carries a credential which the search for secrets did not find in it.
const HIDDEN: &str = "****";

/// First attempts of which something is kept in each second, by one worker. Whoever looks into a call
/// makes few of them; of thousands in a second, keeping all would cost a good part of what they cost.
const FIRST_ATTEMPTS: u32 = 50;
/// The same of all other calls: those that follow a failure are more likely to be looked into.
const OTHER_CALLS: u32 = 50;

/// How much has been kept in the present second.
#[derive(Debug, Default)]
struct Share {
    second: u64,
    first_attempts: u32,
    other_calls: u32,
}

impl Share {
    /// Whether there is room for a call, which takes it.
    fn takes(&mut self, call: &CapturedCall, now: Elapsed) -> bool {
        let second = now.since(Elapsed::default()).as_secs();
        if self.second != second {
            *self = Self {
                second,
                ..Self::default()
            };
        }
        let is_first = call.kind == CapturedKind::Attempt && call.number == 1;
        let (kept, most) = match is_first {
            true => (&mut self.first_attempts, FIRST_ATTEMPTS),
            false => (&mut self.other_calls, OTHER_CALLS),
        };
        let fits = *kept < most;
        *kept += u32::from(fits);
        fits
    }
}

/// Keeps what calls send and are answered, of as many calls in a second as cost little.
pub struct Capturing {
    store: Arc<dyn Captures>,
    /// Locked for a moment, never across an await.
    share: Mutex<Share>,
}

impl Capturing {
    #[must_use]
    pub fn new(store: Arc<dyn Captures>) -> Self {
        Self {
            store,
            share: Mutex::default(),
        }
    }

    /// A call that is about to be made. `None`: nothing of it is kept, since too many are made now.
    pub(crate) fn begin(
        &self,
        call: CapturedCall,
        request: &Request,
        now: (Elapsed, Timestamp),
    ) -> Option<Sent> {
        if !self.share.lock().takes(&call, now.0) {
            metrics::counter!("waybill_captures_left_out_total").increment(1);
            return None;
        }
        Some(Sent::of(call, request, now.1))
    }

    /// Keeps a call that has ended.
    pub(crate) async fn keep(&self, capture: Capture) {
        self.store.capture(capture).await;
    }
}

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

    use super::*;
    use crate::callout::Answered;
    use crate::vault::Carried;

    #[test]
    fn of_each_second_so_many_calls_are_kept_and_others_have_room_of_their_own() {
        let mut share = Share::default();
        let first = call(CapturedKind::Attempt, 1);
        let mut kept = |call: &CapturedCall, millis: u64| {
            let now = Elapsed::default().plus(Duration::from_millis(millis));
            (0..100).filter(|_| share.takes(call, now)).count()
        };
        assert_eq!(kept(&first, 1), 50);
        assert_eq!(kept(&first, 999), 0);
        assert_eq!(kept(&call(CapturedKind::Attempt, 2), 999), 50);
        assert_eq!(kept(&call(CapturedKind::Delivery, 1), 999), 0);
        assert_eq!(kept(&first, 1_000), 50);
    }

    fn call(kind: CapturedKind, number: u32) -> CapturedCall {
        CapturedCall {
            team: TeamId::new(Timestamp(1), 1),
            task: TaskId::new(Timestamp(1), 1, Partition::new(0).expect("a partition")),
            kind,
            number,
        }
    }

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
        let call = call(CapturedKind::Attempt, 1);
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
