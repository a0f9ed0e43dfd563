//! Why a request cannot be made with what it refers to, in words that a team may read.

use waybill_domain::event::{Failure, FailureKind};
use waybill_domain::id::TokenId;
use waybill_domain::vault::replace::ReplaceError;

/// Nothing was sent, or nothing was sent to where it must not go.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VaultFailure {
    /// Somebody took it away.
    #[error("Vault token {0} was revoked before the call; nothing was sent")]
    Revoked(TokenId),
    /// Its time is over.
    #[error("Vault token {0} has expired; nothing was sent")]
    Expired(TokenId),
    /// There is none, or it is not this team's.
    #[error("Vault token {0:?} is unknown; nothing was sent")]
    Unknown(String),
    /// The value cannot stand where the task wants it.
    #[error("{0}; nothing was sent")]
    Unfit(ReplaceError),
    /// It is bound to other hosts.
    #[error(
        "Vault token {token} may only be sent to {allowed}, not to {host:?}; it was not sent there"
    )]
    OtherHost {
        /// Which token.
        token: TokenId,
        /// Where it may be sent.
        allowed: String,
        /// Where it would have gone.
        host: String,
    },
    /// Somebody on the way could read it.
    #[error("Vault token {0} may only be sent over https; it was not sent")]
    Readable(TokenId),
    /// The request itself holds a value, and is not for anybody else.
    #[error(
        "The target redirected to another origin a request that holds the value of a vault token; it was not sent there"
    )]
    Redirected,
    /// Its key is missing or does not open it, although nobody took it away.
    #[error("The value of vault token {0} cannot be opened; nothing was sent")]
    BrokenToken(TokenId),
    /// The same of the headers that were sealed for one task.
    #[error("The sealed headers of the task cannot be opened; nothing was sent")]
    BrokenHeaders,
    /// This worker has no keys.
    #[error("This worker holds no key of the vault; nothing was sent")]
    NotConfigured,
    /// This worker cannot know what was revoked.
    #[error("This worker cannot check at the moment what was revoked; nothing was sent")]
    NoLease,
    /// A record that may have taken it away cannot be understood by this version.
    #[error(
        "A change of the team's vault was made by a newer version or is damaged, so that token {0} may have been revoked; nothing was sent"
    )]
    NotUnderstood(TokenId),
    /// The keys cannot be read or unwrapped now.
    #[error("The keys of the vault cannot be reached at the moment; nothing was sent")]
    KeysAway,
}

impl VaultFailure {
    /// Its class.
    #[must_use]
    pub fn kind(&self) -> FailureKind {
        match self {
            Self::Revoked(_)
            | Self::Expired(_)
            | Self::Unknown(_)
            | Self::Unfit(_)
            | Self::OtherHost { .. }
            | Self::Readable(_)
            | Self::Redirected => FailureKind::Vault,
            Self::BrokenToken(_) | Self::BrokenHeaders => FailureKind::VaultIntegrity,
            Self::NotConfigured | Self::NoLease | Self::NotUnderstood(_) | Self::KeysAway => {
                FailureKind::VaultAway
            }
        }
    }
}

impl From<VaultFailure> for Failure {
    fn from(failure: VaultFailure) -> Self {
        Self {
            kind: failure.kind(),
            message: failure.to_string(),
        }
    }
}
