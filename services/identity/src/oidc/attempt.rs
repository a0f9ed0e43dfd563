//! A log-in under way, which only the browser remembers.
//!
//! The cookie holds a random seed and the time, under a MAC. `state`, `nonce` and the PKCE verifier are derived from the seed with a
//! key that no browser has: knowing the cookie does not tell them, and knowing `state`, which passes through addresses and logs, does
//! not tell the cookie.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use waybill_domain::time::Timestamp;
use zeroize::Zeroizing;

use crate::SessionSecret;
use waybill_commands::entropy;

/// How long somebody may take at the issuer's page.
pub const ATTEMPT_LIFETIME: Duration = Duration::from_secs(600);
const SEED_BYTES: usize = 32;

/// Begins attempts and recognises them.
pub(super) struct Attempts(Zeroizing<[u8; 32]>);

impl std::fmt::Debug for Attempts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Attempts(hidden)")
    }
}

pub(super) struct Attempt {
    pub(super) cookie: String,
    pub(super) state: String,
    pub(super) nonce: String,
    pub(super) verifier: Zeroizing<String>,
}

impl Attempt {
    /// The PKCE challenge (RFC 7636, 4.2).
    pub(super) fn challenge(&self) -> String {
        URL_SAFE_NO_PAD.encode(Sha256::digest(self.verifier.as_bytes()))
    }

    /// Whether `state` came from this one.
    pub(super) fn is_of(&self, state: &str) -> bool {
        self.state.as_bytes().ct_eq(state.as_bytes()).into()
    }
}

impl Attempts {
    pub(super) fn new(secret: &SessionSecret) -> Self {
        Self(secret.derive("waybill outside log-ins v1", b""))
    }

    pub(super) fn begin(&self, issuer: &str, now: Timestamp) -> Attempt {
        let seed = entropy::fresh::<SEED_BYTES>();
        self.of(issuer, now.as_secs(), &seed)
    }

    /// The attempt that a cookie belongs to, if it is one of ours, for that issuer, and not too old.
    pub(super) fn resume(&self, issuer: &str, cookie: &str, now: Timestamp) -> Option<Attempt> {
        let (begun_text, rest) = cookie.split_once('.')?;
        let (seed, _mac) = rest.split_once('.')?;
        let begun: i64 = begun_text.parse().ok()?;
        let seed: [u8; SEED_BYTES] = URL_SAFE_NO_PAD.decode(seed).ok()?.try_into().ok()?;
        let attempt = self.of(issuer, begun, &seed);
        let lifetime = i64::try_from(ATTEMPT_LIFETIME.as_secs()).unwrap_or(0);
        let age = now.as_secs().checked_sub(begun)?;
        let ours: bool = attempt.cookie.as_bytes().ct_eq(cookie.as_bytes()).into();
        // Another gateway's clock may be ahead of this one's.
        (ours && (-30..=lifetime).contains(&age)).then_some(attempt)
    }

    fn of(&self, issuer: &str, begun: i64, seed: &[u8; SEED_BYTES]) -> Attempt {
        let value = |purpose: &str| {
            #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
            let mut mac = Hmac::<Sha256>::new_from_slice(&self.0[..]).expect("any length");
            // Names of issuers and purposes hold no zero bytes.
            for part in [
                purpose.as_bytes(),
                b"\0",
                issuer.as_bytes(),
                b"\0",
                &begun.to_be_bytes(),
                seed,
            ] {
                mac.update(part);
            }
            URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes())
        };
        Attempt {
            cookie: format!(
                "{begun}.{}.{}",
                URL_SAFE_NO_PAD.encode(seed),
                value("cookie")
            ),
            state: value("state"),
            nonce: value("nonce"),
            verifier: Zeroizing::new(value("verifier")),
        }
    }
}
