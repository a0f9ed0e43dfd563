//! The stream VKEYS: wrapped data keys, the part of the vault that can be destroyed. It keeps no
//! history; none of its messages is an event.
//!
//! A sealed value stays in the log for ever, and is useless without its key. So each key is stored
//! here under a subject of its own, and [`VaultKeys::erase`] destroys it for good: every message of
//! the subject is overwritten in place, on every replica of the stream. The stream has no limit per
//! subject and is never purged, since the server does not overwrite messages that it drops.
//!
//! On a single server, an erased key is in no file by the time the erasure is answered. On a
//! cluster, each server's Raft log keeps the bytes of a put until its next snapshot, two to three
//! minutes later or when the server is stopped in order; a key is in no file once it has been
//! erased and that snapshot was taken. A server that was down during the erasure overwrites the key
//! when it is back, unless the others have dropped the deletion from their Raft logs by then (again
//! after some minutes). In that case the folder of VKEYS must be deleted on that server before it
//! returns, and is rebuilt from the others. Backups keep erased keys, but those open nothing once
//! the key-encryption key is retired. `tests/it/erasure.rs` shows each of these cases.
//!
//! `waybill-vault` defines what a key wraps and who can unwrap it; here are names, bytes and an
//! order that nobody can fork.
//! What a key wraps and who can unwrap it is the business of `waybill-vault`; here are names, bytes and an order that nobody can fork.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use waybill_domain::id::{EpochId, TaskId, TeamId, TokenId};
use waybill_domain::partition::Partition;
use waybill_domain::time::Timestamp;

use crate::{ReadError, StreamSeq};

/// First token of the subjects of VKEYS.
const PREFIX: &str = "vkeys";
const TOKEN: &str = "token";
const TASK: &str = "task";
const EPOCH: &str = "epoch";
/// `Wb-Event` of a stored key.
pub(crate) const EVENT: &str = "vault.key.v1";
/// `Wb-Actor` of a stored key.
pub(crate) const ACTOR: &str = "system:vault";
/// The longest value that is stored. A wrapped key has 89 bytes.
pub const MAX_VALUE: usize = 512;
/// Messages in one page of a list.
pub const MAX_LISTED: usize = 1000;

/// What a data key belongs to. `Display` writes its subject.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum KeyName {
    /// One version of a vault token: `vkeys.token.<team>.<token>.<version>`
    Token {
        /// In its environment.
        team: TeamId,
        token: TokenId,
        /// From 1.
        version: u32,
    },
    /// The sealed headers of one task: `vkeys.task.<partition>.<team>.<task>`
    Task {
        /// In its environment.
        team: TeamId,
        /// The task, whose id contains its partition.
        task: TaskId,
    },
    /// One credential in the sealed headers of the tasks of one partition and team that name the
    /// epoch: `vkeys.epoch.<partition>.<team>.<epoch>`
    Epoch {
        /// Of the tasks.
        partition: Partition,
        /// In its environment.
        team: TeamId,
        epoch: EpochId,
    },
}

impl KeyName {
    /// The team, in its environment.
    #[must_use]
    pub fn team(&self) -> &TeamId {
        match self {
            Self::Token { team, .. } | Self::Task { team, .. } | Self::Epoch { team, .. } => team,
        }
    }

    /// Reads what `Display` writes; `None` for anything else.
    #[must_use]
    pub fn parse(subject: &str) -> Option<Self> {
        let mut tokens = subject.split('.');
        let mut next = || tokens.next();
        if next()? != PREFIX {
            return None;
        }
        let name = match next()? {
            TOKEN => Self::Token {
                team: TeamId::parse(next()?).ok()?,
                token: TokenId::parse(next()?).ok()?,
                version: version(next()?)?,
            },
            TASK => {
                let partition = next()?;
                let team = TeamId::parse(next()?).ok()?;
                let task = TaskId::parse(next()?).ok()?;
                if task.partition().to_string() != partition {
                    return None;
                }
                Self::Task { team, task }
            }
            EPOCH => Self::Epoch {
                partition: partition(next()?)?,
                team: TeamId::parse(next()?).ok()?,
                epoch: EpochId::parse(next()?).ok()?,
            },
            _ => return None,
        };
        next().is_none().then_some(name)
    }
}

/// Parses the number of a partition, which has one spelling.
fn partition(text: &str) -> Option<Partition> {
    let partition = Partition::new(text.parse().ok()?)?;
    (partition.to_string() == text).then_some(partition)
}

/// Parses a version from 1 on. Signs and leading zeros are refused, so that each version has one
/// spelling.
fn version(text: &str) -> Option<u32> {
    let canonical = text.bytes().all(|b| b.is_ascii_digit()) && !text.starts_with('0');
    text.parse().ok().filter(|_| canonical)
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token {
                team,
                token,
                version,
            } => write!(f, "{PREFIX}.{TOKEN}.{team}.{token}.{version}"),
            Self::Task { team, task } => {
                let partition = task.partition();
                write!(f, "{PREFIX}.{TASK}.{partition}.{team}.{task}")
            }
            Self::Epoch {
                partition,
                team,
                epoch,
            } => write!(f, "{PREFIX}.{EPOCH}.{partition}.{team}.{epoch}"),
        }
    }
}

/// A selection of keys, for a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeysOf {
    /// Every key.
    All,
    /// Those of all tokens.
    Tokens,
    /// Those of a team in its environment, of tokens, of tasks and of epochs.
    Team(TeamId),
    /// Those of the tokens of a team in its environment.
    TokensOf(TeamId),
    /// Every version of one token.
    Token(TeamId, TokenId),
    /// Those that tasks of one partition have of their own.
    Tasks(Partition),
    /// Those of the epochs of one partition.
    Epochs(Partition),
}

impl KeysOf {
    /// Filters of the subjects, which do not overlap.
    pub(crate) fn filters(&self) -> Vec<String> {
        match self {
            Self::All => vec![format!("{PREFIX}.>")],
            Self::Tokens => vec![format!("{PREFIX}.{TOKEN}.>")],
            Self::Team(team) => vec![
                format!("{PREFIX}.{TOKEN}.{team}.>"),
                format!("{PREFIX}.{TASK}.*.{team}.*"),
                format!("{PREFIX}.{EPOCH}.*.{team}.*"),
            ],
            Self::TokensOf(team) => vec![format!("{PREFIX}.{TOKEN}.{team}.>")],
            Self::Token(team, token) => vec![format!("{PREFIX}.{TOKEN}.{team}.{token}.*")],
            Self::Tasks(partition) => vec![format!("{PREFIX}.{TASK}.{partition}.>")],
            Self::Epochs(partition) => vec![format!("{PREFIX}.{EPOCH}.{partition}.>")],
        }
    }
}

/// A key as it is stored.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredKey {
    /// Position in VKEYS.
    pub seq: StreamSeq,
    /// When it was stored, by the server's clock.
    pub at: Timestamp,
    /// The value, unchanged.
    pub value: Bytes,
}

impl fmt::Debug for StoredKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredKey")
            .field("seq", &self.seq)
            .field("at", &self.at)
            .finish_non_exhaustive()
    }
}

/// One message of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedKey {
    /// The token, task or epoch that the key belongs to.
    pub name: KeyName,
    pub key: StoredKey,
}

/// Why a key was not stored or not erased.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyStoreError {
    /// The last message of the name is not the expected one. Nothing was stored.
    #[error("the last message of this key is not {expected}")]
    Conflict { expected: StreamSeq },
    /// The server refused the value permanently. Nothing was stored.
    #[error("the key was refused: {reason}")]
    Rejected {
        /// The server's error text.
        reason: String,
    },
    /// The server does not answer, and no change was sent.
    #[error("the stream VKEYS is unavailable: {reason}")]
    Unavailable {
        /// For an operator.
        reason: String,
    },
    /// The server did not answer: the change may or may not have been made. Repeat the call
    /// unchanged.
    #[error("it is not known whether the key was changed: {reason}")]
    Unknown {
        /// For an operator.
        reason: String,
    },
}

/// The stream VKEYS.
#[async_trait]
pub trait VaultKeys: Send + Sync + 'static {
    /// Stores a value if the last message of the name has exactly the position `expected` (0: there
    /// is none yet). The message before it stays until [`VaultKeys::erase_before`]. If the answer
    /// is lost and the same value is put again under the same expectation, the stored one is found.
    ///
    /// If a time to live is given (rounded up to whole seconds), the server drops the message after
    /// it, without overwriting it.
    async fn put(
        &self,
        name: &KeyName,
        value: Bytes,
        expected: StreamSeq,
        ttl: Option<Duration>,
    ) -> Result<StreamSeq, KeyStoreError>;

    /// The newest value, read from the stream's leader.
    async fn get(&self, name: &KeyName) -> Result<Option<StoredKey>, ReadError>;

    /// Overwrites and removes every message of the name, and returns how many this call removed. It
    /// may be repeated, and called concurrently. Once it returns `Ok`, no message that was stored
    /// before the call can be read through the server.
    async fn erase(&self, name: &KeyName) -> Result<u64, KeyStoreError>;

    /// The same, but only what is older than `keep`.
    async fn erase_before(&self, name: &KeyName, keep: StreamSeq) -> Result<u64, KeyStoreError>;

    /// Up to `limit` messages (at most [`MAX_LISTED`]) after `after`, in the order in which they
    /// were stored; for the next page, pass the position of the last one. Fewer than `limit` means
    /// that there are no more. A name whose older message is not yet erased appears twice. A
    /// message that was erased a moment ago may still appear; none that was stored before the call
    /// is missing.
    async fn list(
        &self,
        of: &KeysOf,
        after: StreamSeq,
        limit: usize,
    ) -> Result<Vec<ListedKey>, ReadError>;
}

/// A time to live as the server counts it: whole seconds, at least one.
pub(crate) fn whole_seconds(ttl: Duration) -> u64 {
    let seconds = ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0);
    seconds.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::subject::matches;
    use waybill_domain::id::Environment;

    fn names() -> [KeyName; 4] {
        let team = TeamId::new(Timestamp(1), 2);
        let partition = Partition::new(7).expect("in range");
        [
            KeyName::Token {
                team: team.clone(),
                token: TokenId::new(Timestamp(3), 4),
                version: 1,
            },
            KeyName::Token {
                team: team.in_environment(Environment::Test),
                token: TokenId::new(Timestamp(3), 5),
                version: u32::MAX,
            },
            KeyName::Task {
                team: team.clone(),
                task: TaskId::new(Timestamp(5), 6, partition),
            },
            KeyName::Epoch {
                partition,
                team,
                epoch: EpochId::new(Timestamp(7), 8),
            },
        ]
    }

    #[test]
    fn a_name_survives_its_subject() {
        for name in names() {
            assert_eq!(KeyName::parse(&name.to_string()), Some(name));
        }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        let [token, _, task, epoch] = names().map(|name| name.to_string());
        for subject in [
            String::new(),
            "vkeys".to_owned(),
            "vkeys.token".to_owned(),
            format!("{token}.1"),
            format!("{token}x"),
            format!("x{token}"),
            format!("{}0", token.trim_end_matches('1')),
            format!("{}01", token.trim_end_matches('1')),
            format!("{}+1", token.trim_end_matches('1')),
            format!("{}4294967296", token.trim_end_matches('1')),
            token.replace("team_", "TEAM_"),
            token.replace(".token.", ".task."),
            task.replace(".7.", ".8."),
            task.replace(".7.", ".07."),
            epoch.replace(".7.", ".07."),
            epoch.replace(".7.", ".1024."),
            epoch.replace(".epoch.", ".task."),
            format!("{epoch}.1"),
            "vkeys.>".to_owned(),
        ] {
            assert_eq!(KeyName::parse(&subject), None, "{subject}");
        }
    }

    #[test]
    fn each_kind_of_list_finds_its_own() {
        let names = names();
        let KeyName::Token { team, token, .. } = &names[0] else {
            unreachable!("the first is a token");
        };
        let partition = |number| Partition::new(number).expect("in range");
        for (of, wanted) in [
            (KeysOf::All, [true, true, true, true]),
            (KeysOf::Tokens, [true, true, false, false]),
            (KeysOf::Team(team.clone()), [true, false, true, true]),
            (KeysOf::TokensOf(team.clone()), [true, false, false, false]),
            (
                KeysOf::Token(team.clone(), token.clone()),
                [true, false, false, false],
            ),
            (KeysOf::Tasks(partition(7)), [false, false, true, false]),
            (KeysOf::Epochs(partition(7)), [false, false, false, true]),
            (KeysOf::Epochs(partition(8)), [false; 4]),
            (KeysOf::Tasks(partition(8)), [false; 4]),
        ] {
            let filters = of.filters();
            let found = names.clone().map(|name| {
                let subject = name.to_string();
                filters.iter().filter(|f| matches(f, &subject)).count() == 1
            });
            assert_eq!(found, wanted, "{of:?}");
        }
    }

    #[test]
    fn a_time_to_live_is_never_shortened() {
        for (millis, seconds) in [(0, 1), (1, 1), (1000, 1), (1001, 2), (90_000, 90)] {
            assert_eq!(whole_seconds(Duration::from_millis(millis)), seconds);
        }
    }

    #[test]
    fn printing_a_key_does_not_show_it() {
        let key = StoredKey {
            seq: StreamSeq(1),
            at: Timestamp(2),
            value: Bytes::from_static(b"hunter2"),
        };
        let name = names()[0].clone();
        let shown = format!(
            "{:?} {key:?}",
            ListedKey {
                name,
                key: key.clone()
            }
        );
        assert!(
            !shown.contains("hunter") && !shown.contains("104, 117"),
            "{shown}"
        );
    }
}
