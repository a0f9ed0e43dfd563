//! What the answer of a target or receiver says about the next attempt: when it is wanted, and whether.

use std::time::Duration;

use crate::event::Answer;
use crate::time::Timestamp;

/// How long the target asks us to wait: the `Retry-After` of an answer that is retried, whatever
/// its status, in seconds, whole or with a fraction, or as a date (RFC 9110, 10.2.3).
#[must_use]
pub fn retry_after(answer: &Answer, now: Timestamp) -> Option<Duration> {
    let value = answer
        .headers
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case("retry-after"))
        .map(|(_, value)| value.trim())?;
    seconds(value).or_else(|| Timestamp::parse_http_date(value).map(|at| at.since(now)))
}

/// Seconds without a sign or an exponent, whole or with a fraction.
fn seconds(text: &str) -> Option<Duration> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(fraction) {
        return None;
    }
    let whole = Duration::from_secs(whole.parse().unwrap_or(u64::MAX));
    let millis = fraction
        .bytes()
        .chain(*b"000")
        .take(3)
        .fold(0, |value, digit| value * 10 + u64::from(digit - b'0'));
    Some(whole.saturating_add(Duration::from_millis(millis)))
}

/// The header by which an answer says that it must not be repeated, and its value.
const NO_RETRY: [(&str, &str); 2] = [
    ("webhook-delivery", "abort-message"),
    ("waybill-retry", "no"),
];

/// Whether the target says that its answer must not be repeated: by `Waybill-Retry: no` or
/// `Webhook-Delivery: abort-message`. Returns the header with its value.
#[must_use]
pub fn declines_retry(answer: &Answer) -> Option<String> {
    let said = |(name, value): &&(String, String)| {
        NO_RETRY.iter().any(|(header, word)| {
            name.eq_ignore_ascii_case(header) && value.trim().eq_ignore_ascii_case(word)
        })
    };
    let (name, value) = answer.headers.iter().find(said)?;
    Some(format!("{name}: {}", value.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::BodyEncoding;

    fn answer(status: u16, headers: &[(&str, &str)]) -> Answer {
        Answer {
            status,
            headers: headers
                .iter()
                .map(|(n, v)| ((*n).into(), (*v).into()))
                .collect(),
            body: String::new(),
            encoding: BodyEncoding::Text,
            body_bytes: 0,
            duration_ms: 1,
            header_bytes: None,
        }
    }

    #[test]
    fn retry_after_is_read_in_both_of_its_forms() {
        let now = Timestamp::parse_rfc3339("2015-10-21T07:27:00.000Z").expect("a time");
        let wait = |status, value| retry_after(&answer(status, &[("Retry-After", value)]), now);
        assert_eq!(wait(429, "7"), Some(Duration::from_secs(7)));
        assert_eq!(
            wait(503, "Wed, 21 Oct 2015 07:28:00 GMT"),
            Some(Duration::from_secs(60))
        );
        for retried in [408, 425, 500, 502, 504, 529] {
            assert_eq!(wait(retried, "7"), Some(Duration::from_secs(7)));
        }
        for (text, millis) in [
            ("1.5", 1_500),
            ("0.25", 250),
            ("2.", 0),
            (".5", 0),
            ("1.2345", 1_234),
        ] {
            let read = wait(429, text).unwrap_or_default();
            assert_eq!(read, Duration::from_millis(millis), "{text}");
        }
        for no_number in ["soon", "-1", "1e3", "1.5.2", "+7", "1,5"] {
            assert_eq!(wait(429, no_number), None, "{no_number}");
        }
        assert_eq!(
            wait(429, "99999999999999999999999"),
            Some(Duration::from_secs(u64::MAX))
        );
    }

    #[test]
    fn a_target_may_decline_a_retry() {
        for (name, value, declines) in [
            ("Waybill-Retry", "no", true),
            ("waybill-retry", " NO ", true),
            ("Webhook-Delivery", "abort-message", true),
            ("Waybill-Retry", "yes", false),
            ("Webhook-Delivery", "no", false),
            ("X-Retry", "no", false),
        ] {
            let told = declines_retry(&answer(503, &[(name, value)]));
            assert_eq!(told.is_some(), declines, "{name}: {value}");
        }
    }
}
