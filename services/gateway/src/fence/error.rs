//! Why a gateway may not decide, or does not know whether everybody knows.

use crate::error::ApiError;

/// What clients are told by: they may ask again, here or elsewhere.
const CODE: &str = "authorization_unavailable";

/// This gateway may not decide requests now: it cannot know what has been revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("This gateway cannot check credentials at the moment; try again")]
pub struct NoLease;

/// It is not known whether a change of access holds everywhere. It is in the log, and asking again is safe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FenceError {
    /// The log did not confirm in time.
    #[error("The change is made, but not confirmed by every gateway yet; repeat the request")]
    Unconfirmed,
    /// This gateway is stopping.
    #[error("This gateway is stopping; repeat the request")]
    Stopped,
}

impl From<NoLease> for ApiError {
    fn from(error: NoLease) -> Self {
        Self::unavailable(CODE, error.to_string())
    }
}

impl From<FenceError> for ApiError {
    fn from(error: FenceError) -> Self {
        Self::unavailable(CODE, error.to_string())
    }
}
