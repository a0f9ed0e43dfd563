//! Identifiers: parsed once at the edge, trusted inside. Entropy and time are arguments.
//!
//! ULIDs are read and written here and not by the `ulid` crate, which reads upper and lower case and look-alike letters: an id then has
//! several spellings, while ours is also a subject on NATS and a key of the read models, where a second spelling is another thing.

mod ulid;

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

use crate::partition::Partition;
use crate::time::Timestamp;
use ulid::{CROCKFORD, ULID_CHARS, digit};

pub use ulid::Ulid;

/// The text is not an identifier of the requested kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a valid {kind}")]
pub struct InvalidId {
    /// The requested kind, in a client's words.
    pub kind: &'static str,
}

/// `task_` + ULID + two characters for the partition, so that a request about a task finds its
/// owner without a look-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TaskId {
    ulid: Ulid,
    partition: Partition,
}

impl TaskId {
    const PREFIX: &'static str = "task_";
    /// Bits of the number of a partition.
    const PARTITION_BITS: u32 = 10;

    /// An id for a task of that partition.
    #[must_use]
    pub fn new(at: Timestamp, random: u128, partition: Partition) -> Self {
        Self {
            ulid: Ulid::new(at, random),
            partition,
        }
    }

    #[must_use]
    pub fn partition(self) -> Partition {
        self.partition
    }

    /// The same, whose last random bits repeat the partition, so that [`TaskId::from_uuid`] finds it by
    /// its 128 bits alone.
    #[must_use]
    pub fn with_uuid(at: Timestamp, random: u128, partition: Partition) -> Self {
        let bits = Self::PARTITION_BITS;
        Self::new(at, random << bits | u128::from(partition.get()), partition)
    }

    /// The 128 bits of its ULID, which the jobs API writes as a UUID.
    #[must_use]
    pub fn uuid(self) -> u128 {
        self.ulid.0
    }

    /// The same as text: 32 hexadecimal digits in five groups (RFC 9562).
    #[must_use]
    pub fn uuid_text(self) -> String {
        let hex = format!("{:032x}", self.uuid());
        [
            &hex[..8],
            &hex[8..12],
            &hex[12..16],
            &hex[16..20],
            &hex[20..],
        ]
        .join("-")
    }

    /// The id with that UUID, if it was made by [`TaskId::with_uuid`]; otherwise one that nothing has.
    #[must_use]
    pub fn from_uuid(uuid: u128) -> Self {
        let last = uuid & ((1 << Self::PARTITION_BITS) - 1);
        let partition = u16::try_from(last).ok().and_then(Partition::new);
        Self {
            ulid: Ulid(uuid),
            partition: partition.unwrap_or_default(),
        }
    }

    /// When it was made, by the clock of its gateway.
    #[must_use]
    pub fn made_at(self) -> Timestamp {
        Timestamp(i64::try_from(self.ulid.0 >> 80).unwrap_or(0))
    }

    /// Parses exactly what `Display` writes.
    pub fn parse(text: &str) -> Result<Self, InvalidId> {
        let read = || {
            let rest = text.strip_prefix(Self::PREFIX)?.as_bytes();
            let (ulid, partition) = rest.split_at_checked(ULID_CHARS)?;
            let [high, low] = partition else { return None };
            let partition = Partition::new(digit(*high)? << 5 | digit(*low)?)?;
            Some(Self {
                ulid: Ulid::read(ulid)?,
                partition,
            })
        };
        read().ok_or(InvalidId { kind: "task id" })
    }
}

impl std::fmt::Display for TaskId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text = String::with_capacity(Self::PREFIX.len() + ULID_CHARS + 2);
        text.push_str(Self::PREFIX);
        self.ulid.write(&mut text);
        let partition = usize::from(self.partition.get());
        text.push(CROCKFORD[partition >> 5 & 31] as char);
        text.push(CROCKFORD[partition & 31] as char);
        f.write_str(&text)
    }
}

/// `ep_` + ULID: the epoch of a credential that tasks bring along. All tasks that name it carry the
/// same credential, sealed under one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EpochId(Ulid);

impl EpochId {
    const PREFIX: &'static str = "ep_";

    /// An id for a new epoch.
    #[must_use]
    pub fn new(at: Timestamp, random: u128) -> Self {
        Self(Ulid::new(at, random))
    }

    /// When it began, according to the clock of its gateway.
    #[must_use]
    pub fn made_at(self) -> Timestamp {
        Timestamp(i64::try_from(self.0.0 >> 80).unwrap_or(0))
    }

    /// Parses exactly what `Display` writes.
    pub fn parse(text: &str) -> Result<Self, InvalidId> {
        let ulid = text.strip_prefix(Self::PREFIX);
        ulid.and_then(|ulid| Ulid::read(ulid.as_bytes()))
            .map(Self)
            .ok_or(InvalidId { kind: "epoch id" })
    }
}

impl std::fmt::Display for EpochId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text = String::with_capacity(Self::PREFIX.len() + ULID_CHARS);
        text.push_str(Self::PREFIX);
        self.0.write(&mut text);
        f.write_str(&text)
    }
}

/// `team_` + ULID, followed by `_test` for the team's test environment.
///
/// For everything that works with tasks, a test environment is a team of its own: its tasks,
/// queues, streams, limits and lists share nothing with the live ones. Rights belong to the
/// [base](Self::base) team.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TeamId(Arc<str>);

impl TeamId {
    const PREFIX: &'static str = "team_";
    const TEST: &'static str = "_test";
    const BASE_CHARS: usize = Self::PREFIX.len() + ULID_CHARS;

    /// An id for a new team.
    #[must_use]
    pub fn new(at: Timestamp, random: u128) -> Self {
        let mut text = String::from(Self::PREFIX);
        Ulid::new(at, random).write(&mut text);
        Self(text.into())
    }

    /// Parses exactly what `Display` writes.
    pub fn parse(text: &str) -> Result<Self, InvalidId> {
        let base = text.strip_suffix(Self::TEST).unwrap_or(text);
        base.strip_prefix(Self::PREFIX)
            .and_then(|rest| Ulid::read(rest.as_bytes()))
            .map(|_| Self(text.into()))
            .ok_or(InvalidId { kind: "team id" })
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    #[must_use]
    pub fn environment(&self) -> Environment {
        if self.0.len() > Self::BASE_CHARS {
            Environment::Test
        } else {
            Environment::Live
        }
    }

    /// The text of the team's id, without the environment.
    #[must_use]
    pub fn base_str(&self) -> &str {
        &self.0[..Self::BASE_CHARS]
    }

    /// The team itself, as its live environment.
    #[must_use]
    pub fn base(&self) -> Self {
        match self.environment() {
            Environment::Live => self.clone(),
            Environment::Test => Self(self.base_str().into()),
        }
    }

    /// The team in that environment.
    #[must_use]
    pub fn in_environment(&self, environment: Environment) -> Self {
        match environment {
            Environment::Live => self.base(),
            Environment::Test if self.environment() == environment => self.clone(),
            Environment::Test => Self(format!("{}{}", self.0, Self::TEST).into()),
        }
    }
}

/// The two environments of a team. Keys and tasks of one are invisible in the other.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    JsonSchema,
    ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Environment {
    /// The production systems of a team.
    #[default]
    Live,
    /// Experiments and tests, separate from production in every list and limit.
    Test,
}

impl Environment {
    /// The name in keys and requests.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Test => "test",
        }
    }

    /// Reads what [`Environment::as_str`] writes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "live" => Some(Self::Live),
            "test" => Some(Self::Test),
            _ => None,
        }
    }
}

impl std::fmt::Display for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

macro_rules! text_id {
    ($type:ty, display, $parse:expr, $pattern:literal) => {
        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
        text_id!($type, $parse, $pattern);
    };
    ($type:ty, $parse:expr, $pattern:literal) => {
        impl Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(
                deserializer: D,
            ) -> Result<Self, D::Error> {
                struct Text;
                impl serde::de::Visitor<'_> for Text {
                    type Value = $type;
                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str("a string")
                    }
                    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<$type, E> {
                        $parse(text).map_err(E::custom)
                    }
                }
                deserializer.deserialize_str(Text)
            }
        }
        impl JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }
            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "pattern": $pattern })
            }
        }
    };
}

/// Declares an identifier that is a prefix and a ULID.
macro_rules! ulid_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal, $kind:literal, $pattern:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            const PREFIX: &'static str = $prefix;

            /// Makes an id from the time and 80 random bits (the lowest ones of `random`).
            #[must_use]
            pub fn new(at: Timestamp, random: u128) -> Self {
                let mut text = String::from(Self::PREFIX);
                Ulid::new(at, random).write(&mut text);
                Self(text.into())
            }

            /// The id with that ULID, as found inside a secret.
            pub fn from_ulid(ulid: &str) -> Result<Self, InvalidId> {
                Self::parse(&format!("{}{ulid}", Self::PREFIX))
            }

            /// Parses exactly what `Display` writes.
            pub fn parse(text: &str) -> Result<Self, InvalidId> {
                text.strip_prefix(Self::PREFIX)
                    .and_then(|rest| Ulid::read(rest.as_bytes()))
                    .map(|_| Self(text.into()))
                    .ok_or(InvalidId { kind: $kind })
            }

            /// Creation time, according to the clock of its creator.
            #[must_use]
            pub fn made_at(&self) -> Timestamp {
                let millis = Ulid::read(self.ulid().as_bytes()).map_or(0, |ulid| ulid.0 >> 80);
                Timestamp(i64::try_from(millis).unwrap_or(0))
            }

            /// The 128 bits of the ULID.
            #[must_use]
            pub fn bits(&self) -> u128 {
                Ulid::read(self.ulid().as_bytes()).map_or(0, |ulid| ulid.0)
            }

            /// The ULID without the prefix.
            #[must_use]
            pub fn ulid(&self) -> &str {
                &self.0[Self::PREFIX.len()..]
            }

            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        text_id!($name, display, $name::parse, $pattern);
    };
}

/// `key_` + the eight public base62 characters of the API key.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId(Arc<str>);

impl KeyId {
    const PREFIX: &'static str = "key_";

    /// The id of the key with that public part.
    pub fn from_public(public: &str) -> Result<Self, InvalidId> {
        Self::parse(&format!("{}{public}", Self::PREFIX))
    }

    /// Parses exactly what `Display` writes.
    pub fn parse(text: &str) -> Result<Self, InvalidId> {
        text.strip_prefix(Self::PREFIX)
            .filter(|public| public.len() == 8 && public.bytes().all(|b| b.is_ascii_alphanumeric()))
            .map(|_| Self(text.into()))
            .ok_or(InvalidId { kind: "key id" })
    }

    /// The eight characters that are also part of the key itself.
    #[must_use]
    pub fn public(&self) -> &str {
        &self.0[Self::PREFIX.len()..]
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The name of a queue: 1 to 100 of `a-z A-Z 0-9 _ -`, so that it is also a token of a subject.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct QueueName(Arc<str>);

impl QueueName {
    /// The longest name, in characters.
    pub const MAX_CHARS: usize = 100;
    /// Queue of tasks that do not name one.
    pub const DEFAULT: &'static str = "default";

    pub fn parse(text: &str) -> Result<Self, InvalidId> {
        let valid = (1..=Self::MAX_CHARS).contains(&text.len())
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
        if valid {
            Ok(Self(text.into()))
        } else {
            Err(InvalidId { kind: "queue name" })
        }
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for QueueName {
    fn default() -> Self {
        Self(Self::DEFAULT.into())
    }
}

/// The name of a limit that tasks share: 1 to 100 of `a-z A-Z 0-9 _ - : @`, so that it is also a token
/// of a subject.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LimitKey(Arc<str>);

impl LimitKey {
    /// The longest name, in characters.
    pub const MAX_CHARS: usize = 100;

    pub fn parse(text: &str) -> Result<Self, InvalidId> {
        let valid = (1..=Self::MAX_CHARS).contains(&text.len())
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b':' | b'@'));
        if valid {
            Ok(Self(text.into()))
        } else {
            Err(InvalidId { kind: "limit key" })
        }
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

text_id!(TaskId, TaskId::parse, "^task_[0-9a-hjkmnp-tv-z]{28}$");
text_id!(EpochId, EpochId::parse, "^ep_[0-9a-hjkmnp-tv-z]{26}$");
text_id!(
    TeamId,
    display,
    TeamId::parse,
    "^team_[0-9a-hjkmnp-tv-z]{26}(_test)?$"
);
ulid_id! {
    /// `user_` + ULID: a person.
    UserId, "user_", "user id", "^user_[0-9a-hjkmnp-tv-z]{26}$"
}
ulid_id! {
    /// `ses_` + ULID: the session of a person on one device.
    SessionId, "ses_", "session id", "^ses_[0-9a-hjkmnp-tv-z]{26}$"
}
ulid_id! {
    /// `inv_` + ULID: an invitation to a team.
    InvitationId, "inv_", "invitation id", "^inv_[0-9a-hjkmnp-tv-z]{26}$"
}
ulid_id! {
    /// `app_` + ULID: an OAuth application; also its `client_id`.
    AppId, "app_", "application id", "^app_[0-9a-hjkmnp-tv-z]{26}$"
}
ulid_id! {
    /// `grant_` + ULID: a grant of an OAuth application, with all tokens that stem from it.
    GrantId, "grant_", "grant id", "^grant_[0-9a-hjkmnp-tv-z]{26}$"
}
ulid_id! {
    /// `tok_` + ULID: a credential in the vault, by which tasks refer to it.
    TokenId, "tok_", "vault token id", "^tok_[0-9a-hjkmnp-tv-z]{26}$"
}
ulid_id! {
    /// `op_` + ULID: work on many tasks at once.
    OperationId, "op_", "operation id", "^op_[0-9a-hjkmnp-tv-z]{26}$"
}
ulid_id! {
    /// `sched_` + ULID: a schedule.
    ScheduleId, "sched_", "schedule id", "^sched_[0-9a-hjkmnp-tv-z]{26}$"
}
ulid_id! {
    /// `view_` + ULID: a saved view of a list.
    ViewId, "view_", "view id", "^view_[0-9a-hjkmnp-tv-z]{26}$"
}
ulid_id! {
    /// `lsn_` + ULID: somebody who listens to queues or hosts of the test environment.
    ListenerId, "lsn_", "listener id", "^lsn_[0-9a-hjkmnp-tv-z]{26}$"
}
ulid_id! {
    /// `flow_` + ULID: a workflow.
    WorkflowId, "flow_", "workflow id", "^flow_[0-9a-hjkmnp-tv-z]{26}$"
}

/// An id that a text stands for, such as a client's key: the same one for the same text. It says
/// nothing about a time.
fn id_of_text(prefix: &str, text: &str) -> Arc<str> {
    let digest = Sha256::digest(text);
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    let bits = u128::from_be_bytes(bytes);
    let mut id = String::from(prefix);
    Ulid(bits).write(&mut id);
    id.into()
}

impl OperationId {
    /// The id that a text stands for, such as a client's key: the same one for the same text. It
    /// says nothing about a time.
    #[must_use]
    pub fn of_text(text: &str) -> Self {
        Self(id_of_text(Self::PREFIX, text))
    }
}

impl ScheduleId {
    /// The id that a text stands for, such as a client's key: the same one for the same text. It
    /// says nothing about a time.
    #[must_use]
    pub fn of_text(text: &str) -> Self {
        Self(id_of_text(Self::PREFIX, text))
    }
}
text_id!(KeyId, display, KeyId::parse, "^key_[0-9A-Za-z]{8}$");
text_id!(
    QueueName,
    display,
    QueueName::parse,
    "^[0-9A-Za-z_-]{1,100}$"
);
text_id!(
    LimitKey,
    display,
    LimitKey::parse,
    "^[0-9A-Za-z_:@-]{1,100}$"
);

#[cfg(test)]
mod tests;
