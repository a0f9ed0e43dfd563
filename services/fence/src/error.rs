//! Why nothing may be decided here now, or why it is not known whether everybody knows.

/// Nothing may be decided here now: it cannot be known what has been revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("This gateway cannot check credentials at the moment; try again")]
pub struct NoLease;

/// It is not known whether a change of access holds everywhere. It is in the log, and asking again is safe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FenceError {
    /// The log did not confirm in time.
    #[error("The change is made, but not confirmed by every gateway yet; repeat the request")]
    Unconfirmed,
    /// Only gateways raise marks.
    #[error("A worker cannot make a change hold everywhere")]
    NotAGateway,
    /// This gateway is stopping.
    #[error("This gateway is stopping; repeat the request")]
    Stopped,
}
