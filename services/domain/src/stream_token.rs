//! Tokens for one event stream. A browser needs one, because `EventSource` cannot send headers.
//!
//! A token states for whom it was made, which stream it opens and when it expires, and carries a
//! MAC over that. Nothing is stored. A token is valid no longer than the credential that made it,
//! whatever its own expiry: whoever accepts the token checks that credential again.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use hmac::{Hmac, Mac as _};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::id::{AppId, GrantId, KeyId, SessionId, TaskId, TeamId, UserId};
use crate::time::Timestamp;

/// Prefix of every token, by which scanners and people recognise it.
pub const PREFIX: &str = "wb_stream_";
/// Length of the MAC.
const MAC_BYTES: usize = 32;
/// Limit of a token's length. Tokens that we make are shorter, since filters are limited.
const MAX_CHARS: usize = 8 * 1024;

/// The credential that made a token. The token ends with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Maker {
    /// An API key.
    Key(KeyId),
    /// A person who is signed in.
    User { user: UserId, session: SessionId },
    /// An OAuth application.
    App {
        app: AppId,
        /// The grant that the application acted under.
        grant: GrantId,
        /// The person that it acts for; `None` if it acts for itself.
        user: Option<UserId>,
    },
}

/// The stream that a token opens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Opens {
    /// The events of one task.
    Task(TaskId),
    /// The events of the team that match these filters, given as in a query string.
    Events {
        queues: Vec<String>,
        types: Vec<String>,
        statuses: Vec<String>,
        /// Whether the end must be a success. Absent in tokens made before this filter existed.
        #[serde(default)]
        ok: Option<bool>,
    },
}

/// Contents of a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamToken {
    /// The team whose events the token gives access to.
    pub team: TeamId,
    pub maker: Maker,
    pub opens: Opens,
    /// The token is valid before this time.
    pub expires_at: Timestamp,
}

/// The key that makes and verifies tokens.
#[derive(Clone)]
pub struct StreamKey(Hmac<Sha256>);

impl std::fmt::Debug for StreamKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StreamKey(hidden)")
    }
}

impl StreamKey {
    pub(crate) fn new(mac: Hmac<Sha256>) -> Self {
        Self(mac)
    }

    /// Makes a token with these contents.
    #[must_use]
    pub fn seal(&self, token: &StreamToken) -> Zeroizing<String> {
        // Serialising a plain struct to memory cannot fail.
        let mut bytes = rmp_serde::to_vec(token).unwrap_or_default();
        let mac = self.0.clone().chain_update(&bytes).finalize().into_bytes();
        bytes.extend_from_slice(&mac);
        Zeroizing::new(format!("{PREFIX}{}", BASE64.encode(bytes)))
    }

    /// The contents of a token, if it was made with this key and has not expired.
    #[must_use]
    pub fn open(&self, text: &str, now: Timestamp) -> Option<StreamToken> {
        let encoded = text
            .strip_prefix(PREFIX)
            .filter(|_| text.len() <= MAX_CHARS)?;
        let bytes = BASE64.decode(encoded).ok()?;
        let (said, mac) = bytes.split_at_checked(bytes.len().checked_sub(MAC_BYTES)?)?;
        self.0.clone().chain_update(said).verify_slice(mac).ok()?;
        let token: StreamToken = rmp_serde::from_slice(said).ok()?;
        (now < token.expires_at).then_some(token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::partition::Partition;
    use crate::signature::{MasterSecret, derive_stream_key};

    const NOW: Timestamp = Timestamp(1_800_000_000_000);

    fn key(seed: u8) -> StreamKey {
        derive_stream_key(&MasterSecret::new(vec![seed; 32]).expect("long enough"))
    }

    fn token() -> StreamToken {
        StreamToken {
            team: TeamId::new(NOW, 7),
            maker: Maker::Key(KeyId::from_public("abcdEFG1").expect("an id")),
            opens: Opens::Task(TaskId::new(NOW, 9, Partition::new(3).expect("in range"))),
            expires_at: Timestamp(NOW.0 + 1_000),
        }
    }

    #[test]
    fn a_token_says_what_it_was_made_to_say_until_it_is_over() {
        let sealed = key(1).seal(&token());
        assert_eq!(key(1).open(&sealed, NOW), Some(token()));
        assert_eq!(key(1).open(&sealed, Timestamp(NOW.0 + 999)), Some(token()));
        assert_eq!(key(1).open(&sealed, Timestamp(NOW.0 + 1_000)), None);
    }

    #[test]
    fn what_was_made_elsewhere_or_changed_opens_nothing() {
        let sealed = key(1).seal(&token());
        assert_eq!(key(2).open(&sealed, NOW), None, "another key");
        let bytes = BASE64
            .decode(sealed.strip_prefix(PREFIX).expect("the prefix"))
            .expect("base 64");
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            let text = format!("{PREFIX}{}", BASE64.encode(&changed));
            assert_eq!(key(1).open(&text, NOW), None, "byte {at}");
        }
        for text in ["", PREFIX, "wb_stream_AA", "wb_live_x", &sealed[1..]] {
            assert_eq!(key(1).open(text, NOW), None, "{text}");
        }
    }
}
