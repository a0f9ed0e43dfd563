//! Explains why a signature does not match: names the part that differs, where that can be
//! determined.
//!
//! A signature that matches no secret says nothing by itself. But receivers make a few common
//! mistakes: the body is not the received bytes (parsed and serialised again, or with one line
//! break more or less), the key is the wrong form of the secret, or the secret is a former one or
//! that of the other environment. Each is tried, so that the answer can name the part.

use super::{
    ASYNCQUEUE_SIGNATURE, WEBHOOK_ID, WEBHOOK_SIGNATURE, WEBHOOK_TIMESTAMP, WebhookSecret, keyed,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::Mac as _;

/// Receivers should refuse signatures that are older or newer, so that old messages cannot be
/// replayed. The libraries of Standard Webhooks use the same tolerance.
const TOLERANCE_S: u64 = 300;
/// Limit of signatures in one header that are checked.
const MAX_SIGNATURES: usize = 10;

/// A message as the receiver got it.
#[derive(Debug, Clone, Copy)]
pub struct Received<'a> {
    /// The body, as the receiver sees it.
    pub body: &'a [u8],
    /// The headers, with names in lower case.
    pub headers: &'a [(String, String)],
}

/// A signature scheme.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// `X-AsyncQueue-Signature`.
    AsyncQueue,
    /// The headers `webhook-id`, `webhook-timestamp` and `webhook-signature` of Standard Webhooks.
    Standard,
}

impl Scheme {
    /// The name in API answers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AsyncQueue => "asyncqueue",
            Self::Standard => "standard-webhooks",
        }
    }
}

/// A part of what is signed, or of what carries the signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// A header is missing or malformed.
    Header,
    /// The id of the message.
    Id,
    /// The time of the signature.
    Timestamp,
    /// The bytes of the body.
    Body,
    /// The secret, or the form of it that is used as key.
    Secret,
    /// One of them, but it cannot be determined which.
    Unknown,
}

impl Part {
    /// The name in API answers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Header => "header",
            Self::Id => "id",
            Self::Timestamp => "timestamp",
            Self::Body => "body",
            Self::Secret => "secret",
            Self::Unknown => "unknown",
        }
    }
}

/// The part that differs, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub part: Part,
    /// A sentence for people.
    pub message: String,
}

/// Result of checking one scheme.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    pub scheme: Scheme,
    /// Index of the matching secret in the list.
    pub secret: Option<usize>,
    /// What differs; empty if everything is correct.
    pub findings: Vec<Finding>,
}

/// Checks each scheme that has headers. `secrets` are those that sign now; `others` are former
/// secrets and those of other owners, each with a description.
#[must_use]
pub fn verify(
    received: Received<'_>,
    secrets: &[WebhookSecret],
    others: &[(&str, WebhookSecret)],
    now_s: i64,
) -> Vec<Verdict> {
    let asyncqueue = header(received, ASYNCQUEUE_SIGNATURE).map(parse_asyncqueue);
    let standard = [WEBHOOK_ID, WEBHOOK_TIMESTAMP, WEBHOOK_SIGNATURE];
    let is_standard = standard.iter().any(|name| header(received, name).is_some());
    let signed = [
        asyncqueue.map(|signed| (Scheme::AsyncQueue, signed)),
        is_standard.then(|| (Scheme::Standard, parse_standard(received))),
    ];
    let judge = |(scheme, signed): (Scheme, Result<Signed<'_>, Finding>)| match signed {
        Ok(signed) => judge(scheme, &signed, received.body, secrets, others, now_s),
        Err(finding) => Verdict {
            scheme,
            secret: None,
            findings: vec![finding],
        },
    };
    signed.into_iter().flatten().map(judge).collect()
}

/// Contents of the headers of one scheme.
struct Signed<'a> {
    id: &'a str,
    time: &'a str,
    signatures: Vec<&'a str>,
}

fn header<'a>(received: Received<'a>, name: &str) -> Option<&'a str> {
    let found = received.headers.iter().find(|(known, _)| known == name);
    found.map(|(_, value)| value.trim())
}

fn malformed(message: impl Into<String>) -> Finding {
    Finding {
        part: Part::Header,
        message: message.into(),
    }
}

fn parse_asyncqueue(text: &str) -> Result<Signed<'_>, Finding> {
    let (mut time, mut signatures) = (None, Vec::new());
    for element in text.split(',') {
        match element.trim().split_once('=') {
            Some(("t", value)) => time = Some(value),
            Some(("v1", value)) => signatures.push(value),
            _ => {}
        }
    }
    let time =
        time.ok_or_else(|| malformed("X-AsyncQueue-Signature has no t=<seconds since 1970>"))?;
    if signatures.is_empty() {
        return Err(malformed(
            "X-AsyncQueue-Signature has no v1=<64 hex digits>",
        ));
    }
    Ok(Signed {
        id: "",
        time,
        signatures,
    })
}

fn parse_standard(received: Received<'_>) -> Result<Signed<'_>, Finding> {
    let need = |name: &str| {
        header(received, name).ok_or_else(|| malformed(format!("the header {name} is missing")))
    };
    let (id, time) = (need(WEBHOOK_ID)?, need(WEBHOOK_TIMESTAMP)?);
    let signatures: Vec<_> = need(WEBHOOK_SIGNATURE)?
        .split_ascii_whitespace()
        .filter(|signature| signature.starts_with("v1,"))
        .collect();
    if signatures.is_empty() {
        return Err(malformed("webhook-signature has no v1,<base64>"));
    }
    Ok(Signed {
        id,
        time,
        signatures,
    })
}

fn judge(
    scheme: Scheme,
    signed: &Signed<'_>,
    body: &[u8],
    secrets: &[WebhookSecret],
    others: &[(&str, WebhookSecret)],
    now_s: i64,
) -> Verdict {
    let mut findings = Vec::new();
    match signed.time.parse::<i64>() {
        Ok(time) if time.abs_diff(now_s) > TOLERANCE_S => findings.push(Finding {
            part: Part::Timestamp,
            message: format!(
                "it was signed {} s {} now; receivers should refuse more than {TOLERANCE_S} s",
                time.abs_diff(now_s),
                if time < now_s { "before" } else { "after" }
            ),
        }),
        Ok(_) => {}
        Err(_) => findings.push(Finding {
            part: Part::Timestamp,
            message: "the timestamp must be whole seconds since 1970".into(),
        }),
    }
    let fits = |secret: &WebhookSecret, body: &[u8]| {
        let expected = match scheme {
            Scheme::AsyncQueue => secret.asyncqueue_mac(signed.time, body),
            Scheme::Standard => secret.standard_mac(signed.id, signed.time, body),
        };
        signed.is(&expected)
    };
    let secret = secrets.iter().position(|secret| fits(secret, body));
    if secret.is_none() {
        findings.push(differing(scheme, signed, body, secrets, others, &fits));
    }
    Verdict {
        scheme,
        secret,
        findings,
    }
}

impl Signed<'_> {
    fn is(&self, expected: &str) -> bool {
        let mut signatures = self.signatures.iter().take(MAX_SIGNATURES);
        // Timing reveals nothing, since the caller knows the secret.
        signatures.any(|signature| signature.eq_ignore_ascii_case(expected))
    }
}

/// The part that differs if no secret matches.
fn differing(
    scheme: Scheme,
    signed: &Signed<'_>,
    body: &[u8],
    secrets: &[WebhookSecret],
    others: &[(&str, WebhookSecret)],
    fits: &dyn Fn(&WebhookSecret, &[u8]) -> bool,
) -> Finding {
    let finding = |part, message: String| Finding { part, message };
    for (how, altered) in altered(body) {
        if secrets.iter().any(|secret| fits(secret, &altered)) {
            return finding(
                Part::Body,
                format!(
                    "the signature fits the body {how}: verify the bytes that came, before anything parses them"
                ),
            );
        }
    }
    if let Some((whose, _)) = others.iter().find(|(_, secret)| fits(secret, body)) {
        return finding(Part::Secret, format!("it is signed with {whose}"));
    }
    if secrets
        .iter()
        .any(|secret| signed.is(&wrong_key(scheme, secret, signed, body)))
    {
        let message = match scheme {
            Scheme::AsyncQueue => {
                "the key of this HMAC is the whole text of the secret, whsec_ included, not what it encodes"
            }
            Scheme::Standard => {
                "the key of this HMAC is what the secret encodes: take whsec_ away and decode the rest as base64"
            }
        };
        return finding(Part::Secret, message.into());
    }
    if scheme == Scheme::Standard && signed.id.contains('.') {
        return finding(Part::Id, "no webhook-id of ours has a dot in it".into());
    }
    finding(
        Part::Unknown,
        "the signature fits neither the secrets of this team and environment nor the body in any of its usual spellings: the body, the \
         timestamp, the id or the secret is another one"
            .into(),
    )
}

/// Ways in which receivers alter bodies without noticing.
fn altered(body: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let mut all = Vec::new();
    if let Some(shorter) = body.strip_suffix(b"\n") {
        let shorter = shorter.strip_suffix(b"\r").unwrap_or(shorter);
        all.push(("without the line end at its end", shorter.to_vec()));
    } else {
        all.push(("with a line end at its end", [body, b"\n"].concat()));
    }
    if let Some(shorter) = body.strip_prefix(b"\xef\xbb\xbf") {
        all.push(("without the byte order mark", shorter.to_vec()));
    }
    if let Ok(json) = serde_json::from_slice::<serde_json::Value>(body) {
        let compact = serde_json::to_vec(&json).unwrap_or_default();
        all.push(("as compact JSON", compact));
        if let Some(text) = json.as_str() {
            all.push((
                "that is the text in this JSON string",
                text.as_bytes().to_vec(),
            ));
        }
    }
    if let Ok(decoded) = BASE64.decode(body.trim_ascii()) {
        all.push(("that this is the base64 of", decoded));
    }
    all
}

/// The signature that results from using the other form of the secret as key.
fn wrong_key(scheme: Scheme, secret: &WebhookSecret, signed: &Signed<'_>, body: &[u8]) -> String {
    let text = secret.expose();
    let encoded = text.strip_prefix(super::PREFIX).unwrap_or(text);
    let mut mac = match scheme {
        Scheme::AsyncQueue => keyed(&BASE64.decode(encoded).unwrap_or_default()),
        Scheme::Standard => keyed(text.as_bytes()),
    };
    if scheme == Scheme::Standard {
        mac.update(signed.id.as_bytes());
        mac.update(b".");
    }
    mac.update(signed.time.as_bytes());
    mac.update(b".");
    mac.update(body);
    let bytes = mac.finalize().into_bytes();
    match scheme {
        Scheme::AsyncQueue => hex::encode(bytes),
        Scheme::Standard => format!("v1,{}", BASE64.encode(bytes)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::TeamId;
    use crate::signature::{MasterSecret, asyncqueue_header, derive_team_secret, standard_header};
    use crate::time::Timestamp;

    const NOW: i64 = 1_700_000_000;
    const BODY: &[u8] = br#"{"event":"task.completed"}"#;

    fn secret(number: u32) -> WebhookSecret {
        let master = MasterSecret::new(vec![7; 32]).expect("long enough");
        derive_team_secret(&master, &TeamId::new(Timestamp(1), 1), number)
    }

    fn signed(secrets: &[WebhookSecret], time: i64) -> Vec<(String, String)> {
        let all = [
            (ASYNCQUEUE_SIGNATURE, asyncqueue_header(secrets, time, BODY)),
            (WEBHOOK_ID, "task_1".to_owned()),
            (WEBHOOK_TIMESTAMP, time.to_string()),
            (
                WEBHOOK_SIGNATURE,
                standard_header(secrets, "task_1", time, BODY),
            ),
        ];
        all.into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect()
    }

    fn parts(
        headers: &[(String, String)],
        body: &[u8],
        others: &[(&str, WebhookSecret)],
    ) -> Vec<Vec<Part>> {
        let received = Received { body, headers };
        verify(received, &[secret(1)], others, NOW)
            .into_iter()
            .map(|verdict| verdict.findings.iter().map(|found| found.part).collect())
            .collect()
    }

    #[test]
    fn what_is_right_is_said_to_be() {
        for secrets in [
            vec![secret(1)],
            vec![secret(2), secret(1)],
            vec![secret(1), secret(0)],
        ] {
            let headers = signed(&secrets, NOW - 5);
            let received = Received {
                body: BODY,
                headers: &headers,
            };
            let verdicts = verify(received, &[secret(1)], &[], NOW);
            assert_eq!(verdicts.len(), 2);
            for verdict in verdicts {
                assert_eq!((verdict.secret, verdict.findings), (Some(0), vec![]));
            }
        }
    }

    #[test]
    fn the_part_that_differs_is_named() {
        let right = signed(&[secret(1)], NOW);
        for body in [
            &b"{\"event\":\"task.completed\"}\n"[..],
            b"{ \"event\" : \"task.completed\" }",
            b"\"{\\\"event\\\":\\\"task.completed\\\"}\"",
            b"\xef\xbb\xbf{\"event\":\"task.completed\"}",
        ] {
            assert_eq!(
                parts(&right, body, &[]),
                [[Part::Body], [Part::Body]],
                "{body:?}"
            );
        }
        assert_eq!(parts(&right, b"x", &[]), [[Part::Unknown], [Part::Unknown]]);
        let old = signed(&[secret(1)], NOW - 301);
        assert_eq!(
            parts(&old, BODY, &[]),
            [[Part::Timestamp], [Part::Timestamp]]
        );
        let former = signed(&[secret(0)], NOW);
        let others = [("a former secret", secret(0))];
        assert_eq!(
            parts(&former, BODY, &others),
            [[Part::Secret], [Part::Secret]]
        );
    }

    #[test]
    fn the_wrong_form_of_the_secret_is_named() {
        let time = NOW.to_string();
        let given = |id, signatures| Signed {
            id,
            time: &time,
            signatures,
        };
        let asyncqueue = wrong_key(Scheme::AsyncQueue, &secret(1), &given("", vec![]), BODY);
        let standard = wrong_key(Scheme::Standard, &secret(1), &given("task_1", vec![]), BODY);
        let headers = [
            (
                ASYNCQUEUE_SIGNATURE.to_owned(),
                format!("t={NOW},v1={asyncqueue}"),
            ),
            (WEBHOOK_ID.to_owned(), "task_1".to_owned()),
            (WEBHOOK_TIMESTAMP.to_owned(), NOW.to_string()),
            (WEBHOOK_SIGNATURE.to_owned(), standard),
        ];
        assert_eq!(parts(&headers, BODY, &[]), [[Part::Secret], [Part::Secret]]);
    }

    #[test]
    fn headers_that_are_missing_or_malformed_are_named() {
        assert!(parts(&[], BODY, &[]).is_empty());
        for (name, value) in [
            (ASYNCQUEUE_SIGNATURE, ""),
            (ASYNCQUEUE_SIGNATURE, "v1=00"),
            (ASYNCQUEUE_SIGNATURE, "t=1"),
            (WEBHOOK_ID, "task_1"),
            (WEBHOOK_SIGNATURE, "v1,x"),
        ] {
            let headers = [(name.to_owned(), value.to_owned())];
            assert_eq!(
                parts(&headers, BODY, &[]),
                [[Part::Header]],
                "{name}: {value}"
            );
        }
    }
}
