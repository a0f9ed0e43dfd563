//! How targets verify that a call comes from us: two signatures over the body, with a secret that
//! the team knows too.
//!
//! `X-AsyncQueue-Signature` signs time and body; its HMAC key is the text of the secret as shown to
//! the team. The headers of Standard Webhooks 1.0 (<https://www.standardwebhooks.com>) sign id,
//! time and body; their key is what the text encodes. A team's secret is derived from that of the
//! deployment, so it is not stored.

mod verify;

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::id::TeamId;
use crate::stream_token::StreamKey;
use crate::time::Timestamp;

pub use verify::{Finding, Part, Received, Scheme, Verdict, verify};

/// `t=<epoch seconds>,v1=<hex>`.
pub const ASYNCQUEUE_SIGNATURE: &str = "x-asyncqueue-signature";
/// Id of the message, equal for all attempts.
pub const WEBHOOK_ID: &str = "webhook-id";
/// Time of the attempt, in seconds since 1970.
pub const WEBHOOK_TIMESTAMP: &str = "webhook-timestamp";
/// `v1,<base64>`.
pub const WEBHOOK_SIGNATURE: &str = "webhook-signature";

const PREFIX: &str = "whsec_";
/// Lengths of keys that Standard Webhooks allows.
const KEY_BYTES: std::ops::RangeInclusive<usize> = 24..=64;
/// Separates these derivations from any other use of the master secret.
const CONTEXT: &[u8] = b"waybill webhook secret v1\0";
const STREAM_CONTEXT: &[u8] = b"waybill stream token v1";
const INGEST_CONTEXT: &[u8] = b"waybill ingest token v1\0";

/// The secret of the deployment, from which those of the teams are derived.
#[derive(Clone)]
pub struct MasterSecret(Zeroizing<Vec<u8>>);

/// The master secret is too short.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the master secret must have at least {MIN_MASTER_BYTES} bytes, not {0}")]
pub struct MasterTooShort(pub usize);

/// Longest time that a rotated secret may sign beside its successor.
pub const MAX_OVERLAP: Duration = Duration::from_secs(7 * 86_400);

/// The length of the hash; a shorter secret would weaken it.
pub const MIN_MASTER_BYTES: usize = 32;

impl MasterSecret {
    /// Takes random bytes.
    pub fn new(bytes: Vec<u8>) -> Result<Self, MasterTooShort> {
        let bytes = Zeroizing::new(bytes);
        if bytes.len() < MIN_MASTER_BYTES {
            return Err(MasterTooShort(bytes.len()));
        }
        Ok(Self(bytes))
    }
}

impl fmt::Debug for MasterSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterSecret(hidden)")
    }
}

/// Which of a team's secrets sign. They are numbered from 0, and each rotation moves on to the
/// next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Signing {
    /// Number of the current secret.
    pub current: u32,
    /// Until then the previous secret signs as well, so that receivers can change over.
    pub former_until: Option<Timestamp>,
}

impl Signing {
    /// Number of the previous secret, while it still signs.
    #[must_use]
    pub fn former(self, now: Timestamp) -> Option<u32> {
        self.former_until
            .filter(|until| now < *until)
            .and_then(|_| self.current.checked_sub(1))
    }

    /// Numbers of all secrets that sign now, the current one first.
    pub fn numbers(self, now: Timestamp) -> impl Iterator<Item = u32> {
        std::iter::once(self.current).chain(self.former(now))
    }
}

/// The secret of a team and environment with that number.
#[must_use]
pub fn derive_team_secret(master: &MasterSecret, team: &TeamId, number: u32) -> WebhookSecret {
    let mut mac = keyed(&master.0);
    mac.update(CONTEXT);
    mac.update(team.to_string().as_bytes());
    // The first secret is what it was before secrets were numbered. Team ids contain no zero byte.
    if number > 0 {
        mac.update(b"\0");
        mac.update(&number.to_be_bytes());
    }
    let key = Zeroizing::new(mac.finalize().into_bytes().to_vec());
    WebhookSecret::of_key(&key)
}

/// The token with that number by which senders of incoming webhooks prove themselves to a team: `whk_` and 64 hexadecimal digits.
#[must_use]
pub fn derive_ingest_token(master: &MasterSecret, team: &TeamId, number: u32) -> String {
    let mut mac = keyed(&master.0);
    mac.update(INGEST_CONTEXT);
    mac.update(team.base().to_string().as_bytes());
    mac.update(b"\0");
    mac.update(&number.to_be_bytes());
    let mut token = String::from("whk_");
    for byte in mac.finalize().into_bytes() {
        // Writing to a string cannot fail.
        let _ = fmt::Write::write_fmt(&mut token, format_args!("{byte:02x}"));
    }
    token
}

/// The key that makes and verifies tokens of event streams; it reveals nothing about the teams'
/// secrets.
#[must_use]
pub fn derive_stream_key(master: &MasterSecret) -> StreamKey {
    let mut mac = keyed(&master.0);
    mac.update(STREAM_CONTEXT);
    let key = Zeroizing::new(mac.finalize().into_bytes().to_vec());
    StreamKey::new(keyed(&key))
}

/// A team's webhook secret: `whsec_` and the base64 of its key. The HMAC keys are prepared once, to
/// save that work on each signature.
#[derive(Clone)]
pub struct WebhookSecret {
    text: Zeroizing<String>,
    by_text: Hmac<Sha256>,
    by_key: Hmac<Sha256>,
}

/// The text is not `whsec_` and base64 of 24 to 64 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a webhook secret is `whsec_` followed by the base64 of 24 to 64 bytes")]
pub struct InvalidSecret;

impl WebhookSecret {
    /// Parses the text form.
    pub fn parse(text: &str) -> Result<Self, InvalidSecret> {
        let encoded = text.strip_prefix(PREFIX).ok_or(InvalidSecret)?;
        let key = Zeroizing::new(BASE64.decode(encoded).map_err(|_| InvalidSecret)?);
        if !KEY_BYTES.contains(&key.len()) {
            return Err(InvalidSecret);
        }
        Ok(Self::of_key(&key))
    }

    fn of_key(key: &[u8]) -> Self {
        let mut text = Zeroizing::new(String::with_capacity(PREFIX.len() + 4 * key.len() / 3 + 4));
        text.push_str(PREFIX);
        BASE64.encode_string(key, &mut text);
        Self {
            by_text: keyed(text.as_bytes()),
            by_key: keyed(key),
            text,
        }
    }

    /// The text form, to be shown to the team and never logged.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// Value of [`ASYNCQUEUE_SIGNATURE`] at that time, in seconds since 1970.
    #[must_use]
    pub fn asyncqueue(&self, time: i64, body: &[u8]) -> String {
        asyncqueue_header(std::slice::from_ref(self), time, body)
    }

    /// The part after `v1=`.
    fn asyncqueue_mac(&self, time: &str, body: &[u8]) -> String {
        let mut mac = self.by_text.clone();
        mac.update(time.as_bytes());
        mac.update(b".");
        mac.update(body);
        hex::encode(mac.finalize().into_bytes())
    }

    /// Value of [`WEBHOOK_SIGNATURE`] for that message id and time, in seconds since 1970. An id
    /// must not contain a dot, which separates the signed parts.
    #[must_use]
    pub fn standard(&self, id: &str, time: i64, body: &[u8]) -> String {
        self.standard_mac(id, &time.to_string(), body)
    }

    fn standard_mac(&self, id: &str, time: &str, body: &[u8]) -> String {
        debug_assert!(
            !id.contains('.'),
            "a dot in an id makes signatures ambiguous"
        );
        let mut mac = self.by_key.clone();
        mac.update(id.as_bytes());
        mac.update(b".");
        mac.update(time.as_bytes());
        mac.update(b".");
        mac.update(body);
        let mut out = String::from("v1,");
        BASE64.encode_string(mac.finalize().into_bytes(), &mut out);
        out
    }
}

/// Value of [`ASYNCQUEUE_SIGNATURE`], with one `v1` per secret.
#[must_use]
pub fn asyncqueue_header(secrets: &[WebhookSecret], time: i64, body: &[u8]) -> String {
    let time = time.to_string();
    let mut out = format!("t={time}");
    for secret in secrets {
        out.push_str(",v1=");
        out.push_str(&secret.asyncqueue_mac(&time, body));
    }
    out
}

/// Value of [`WEBHOOK_SIGNATURE`]: the signatures of all secrets, separated by spaces as Standard
/// Webhooks defines it.
#[must_use]
pub fn standard_header(secrets: &[WebhookSecret], id: &str, time: i64, body: &[u8]) -> String {
    let signatures: Vec<_> = secrets
        .iter()
        .map(|secret| secret.standard(id, time, body))
        .collect();
    signatures.join(" ")
}

impl fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebhookSecret(hidden)")
    }
}

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    #[expect(clippy::expect_used, reason = "HMAC takes keys of every length")]
    Hmac::new_from_slice(key).expect("HMAC takes keys of every length")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vector of the Standard Webhooks libraries.
    #[test]
    fn the_standard_vector_holds() {
        let secret = WebhookSecret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").expect("valid");
        let signature = secret.standard(
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            br#"{"test": 2432232314}"#,
        );
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    /// RFC 4231, test case 2, through the two constructions below.
    #[test]
    fn the_mac_is_hmac_sha256() {
        let mut mac = keyed(b"Jefe");
        mac.update(b"what do ya want for nothing?");
        assert_eq!(
            hex::encode(mac.finalize().into_bytes()),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }

    #[test]
    fn asyncqueue_signs_time_and_body_with_the_text() {
        let text = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        let secret = WebhookSecret::parse(text).expect("valid");
        let mut mac = keyed(text.as_bytes());
        mac.update(b"1614265330.hello");
        let expected = hex::encode(mac.finalize().into_bytes());
        assert_eq!(
            secret.asyncqueue(1_614_265_330, b"hello"),
            format!("t=1614265330,v1={expected}")
        );
    }

    #[test]
    fn bodies_need_not_be_text() {
        let secret = WebhookSecret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").expect("valid");
        assert_ne!(
            secret.standard("m", 1, &[0xff, 0xfe]),
            secret.standard("m", 1, &[0xff, 0xfd])
        );
    }

    #[test]
    fn each_team_has_its_own_secret_and_always_the_same() {
        let master = MasterSecret::new(vec![7; 32]).expect("long enough");
        let one = TeamId::new(Timestamp(1), 1);
        let two = TeamId::new(Timestamp(1), 2);
        let secret = derive_team_secret(&master, &one, 0);
        assert_eq!(
            secret.expose(),
            derive_team_secret(&master, &one, 0).expose()
        );
        assert_ne!(
            secret.expose(),
            derive_team_secret(&master, &two, 0).expose()
        );
        let again = WebhookSecret::parse(secret.expose()).expect("what is shown can be read");
        assert_eq!(again.standard("m", 1, b"x"), secret.standard("m", 1, b"x"));
        let other = MasterSecret::new(vec![8; 32]).expect("long enough");
        assert_ne!(
            secret.expose(),
            derive_team_secret(&other, &one, 0).expose()
        );
    }

    /// Receivers store secrets, so derived secrets must not change with a build.
    #[test]
    fn secrets_stay_what_they_are() {
        let master = MasterSecret::new(vec![7; 32]).expect("long enough");
        let team = TeamId::new(Timestamp(1), 1);
        let mut mac = keyed(&[7; 32]);
        mac.update(b"waybill webhook secret v1\0");
        mac.update(team.as_str().as_bytes());
        let first = WebhookSecret::of_key(&mac.finalize().into_bytes());
        assert_eq!(
            derive_team_secret(&master, &team, 0).expose(),
            first.expose()
        );
        let numbers = [0, 1, 2, u32::MAX];
        let all: std::collections::BTreeSet<_> = numbers
            .iter()
            .map(|number| {
                derive_team_secret(&master, &team, *number)
                    .expose()
                    .to_owned()
            })
            .collect();
        assert_eq!(all.len(), numbers.len());
    }

    #[test]
    fn while_secrets_overlap_both_sign() {
        let signing = Signing {
            current: 3,
            former_until: Some(Timestamp(100)),
        };
        assert_eq!(signing.numbers(Timestamp(99)).collect::<Vec<_>>(), [3, 2]);
        assert_eq!(signing.numbers(Timestamp(100)).collect::<Vec<_>>(), [3]);
        assert_eq!(
            Signing::default().numbers(Timestamp(0)).collect::<Vec<_>>(),
            [0]
        );
        let master = MasterSecret::new(vec![7; 32]).expect("long enough");
        let team = TeamId::new(Timestamp(1), 1);
        let [new, old] = [3, 2].map(|number| derive_team_secret(&master, &team, number));
        let both = [new.clone(), old.clone()];
        let standard = standard_header(&both, "m", 5, b"x");
        assert_eq!(
            standard,
            format!(
                "{} {}",
                new.standard("m", 5, b"x"),
                old.standard("m", 5, b"x")
            )
        );
        let asyncqueue = asyncqueue_header(&both, 5, b"x");
        assert_eq!(
            asyncqueue,
            format!(
                "{},{}",
                new.asyncqueue(5, b"x"),
                old.asyncqueue(5, b"x").trim_start_matches("t=5,")
            )
        );
    }

    #[test]
    fn debug_hides_secrets() {
        let master = MasterSecret::new(vec![7; 32]).expect("long enough");
        let secret = derive_team_secret(&master, &TeamId::new(Timestamp(1), 1), 0);
        assert_eq!(
            format!("{master:?} {secret:?}"),
            "MasterSecret(hidden) WebhookSecret(hidden)"
        );
    }

    #[test]
    fn what_is_no_secret_is_refused() {
        for text in [
            "",
            "whsec_",
            "whsec_AAAA",
            "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "whsec_***",
        ] {
            assert!(WebhookSecret::parse(text).is_err(), "{text}");
        }
        assert_eq!(
            MasterSecret::new(vec![0; 31]).err(),
            Some(MasterTooShort(31))
        );
    }
}
