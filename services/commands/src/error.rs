//! Why a command failed.

use waybill_domain::access::team::TeamRefusal;
use waybill_log::subject::NotAToken;
use waybill_log::{AppendError, ReadError, Unreadable};

/// Why a command failed; `R` is the refusal of its aggregate.
#[derive(Debug, thiserror::Error)]
pub enum CommandError<R: std::error::Error> {
    /// The rules of the aggregate refuse the command.
    #[error(transparent)]
    Refused(R),
    /// Other writers kept changing the same aggregate.
    #[error("other writers kept changing the same aggregate; try again")]
    Contended,
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Append(#[from] AppendError),
    /// The history has an event that this version cannot decode; deciding without it would be a
    /// guess.
    #[error(transparent)]
    History(#[from] Unreadable),
    /// An id cannot be a token of a subject; no id of Waybill is like that.
    #[error(transparent)]
    Subject(#[from] NotAToken),
}

/// Why a command to a team failed.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    #[error(transparent)]
    Command(#[from] CommandError<TeamRefusal>),
    /// No team has a key with that id.
    #[error("API key not found")]
    NoSuchKey,
    /// Another team has a key with the same public part.
    #[error("the public part of the key is taken")]
    KeyIdTaken,
    /// The random bytes of the operating system yielded no valid key.
    #[error("no key could be made")]
    NoKeyMade,
}

impl ControlError {
    /// Whether the command can succeed with another key.
    pub(crate) fn is_id_taken(&self) -> bool {
        matches!(
            self,
            Self::KeyIdTaken | Self::Command(CommandError::Refused(TeamRefusal::KeyIdTaken))
        )
    }
}

impl From<ReadError> for ControlError {
    fn from(error: ReadError) -> Self {
        Self::Command(error.into())
    }
}

impl From<Unreadable> for ControlError {
    fn from(error: Unreadable) -> Self {
        Self::Command(error.into())
    }
}

/// Why a history could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The history has an event that this version cannot decode.
    #[error(transparent)]
    History(#[from] Unreadable),
}

impl<R: std::error::Error> From<LoadError> for CommandError<R> {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Read(error) => Self::Read(error),
            LoadError::History(error) => Self::History(error),
        }
    }
}

impl From<LoadError> for ControlError {
    fn from(error: LoadError) -> Self {
        Self::Command(error.into())
    }
}
