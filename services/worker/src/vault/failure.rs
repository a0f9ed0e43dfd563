//! Why a request cannot be made with the credentials that it refers to, in words for the team.

use waybill_domain::event::{Failure, FailureKind};
use waybill_domain::id::TokenId;
use waybill_domain::vault::replace::ReplaceError;

/// Nothing was sent, or at least not to where it must not go.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VaultFailure {
    #[error("Vault token {0} was revoked before the call; nothing was sent")]
    Revoked(TokenId),
    #[error("Vault token {0} has expired; nothing was sent")]
    Expired(TokenId),
    /// The token does not exist, or belongs to another team.
    #[error("Vault token {0:?} is unknown; nothing was sent")]
    Unknown(String),
    /// The value cannot be used where the task refers to it.
    #[error("{0}; nothing was sent")]
    Unfit(ReplaceError),
    /// The token may only be sent to other hosts.
    #[error(
        "Vault token {token} may only be sent to {allowed}, not to {host:?}; it was not sent there"
    )]
    OtherHost {
        token: TokenId,
        /// The hosts that it may be sent to.
        allowed: String,
        /// The host of the request.
        host: String,
    },
    /// Without TLS, anybody on the network path could read it.
    #[error("Vault token {0} may only be sent over https; it was not sent")]
    Readable(TokenId),
    /// The request itself contains a value, and must not go to another origin.
    #[error(
        "The target redirected to another origin a request that holds the value of a vault token; it was not sent there"
    )]
    Redirected,
    /// The key is missing or does not open the value, although the token is not revoked.
    #[error("The value of vault token {0} cannot be opened; nothing was sent")]
    BrokenToken(TokenId),
    /// The same for the headers that were sealed for one task.
    #[error("The sealed headers of the task cannot be opened; nothing was sent")]
    BrokenHeaders,
    /// The key of the epoch that the task names was erased before the task was read.
    #[error(
        "The task reached the log after the key of its credential had been erased, as its gateway must have stood still for minutes; nothing was sent"
    )]
    LateCredential,
    /// This worker has no open ring.
    #[error("This worker holds no key of the vault; nothing was sent")]
    NotConfigured,
    /// This worker has no lease, so it cannot know what was revoked.
    #[error("This worker cannot check at the moment what was revoked; nothing was sent")]
    NoLease,
    /// A record that may have revoked the token cannot be decoded by this version.
    #[error(
        "A change of the team's vault was made by a newer version or is damaged, so that token {0} may have been revoked; nothing was sent"
    )]
    NotUnderstood(TokenId),
    /// The keys cannot be read or unwrapped at the moment.
    #[error("The keys of the vault cannot be reached at the moment; nothing was sent")]
    KeysAway,
}

impl VaultFailure {
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
            Self::BrokenToken(_) | Self::BrokenHeaders | Self::LateCredential => {
                FailureKind::VaultIntegrity
            }
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
