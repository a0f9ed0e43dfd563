//! Errors of a process that has no lease, or that cannot confirm that a change holds everywhere.

/// There is no lease, so it is unknown what has been revoked, and nothing may be decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("This gateway cannot check credentials at the moment; try again")]
pub struct NoLease;

/// It could not be confirmed that a change of access holds everywhere. The change is in the log,
/// and repeating the request is safe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FenceError {
    /// The barrier did not finish in time.
    #[error("The change is made, but not confirmed by every gateway yet; repeat the request")]
    Unconfirmed,
    /// Only gateways raise marks.
    #[error("A worker cannot make a change hold everywhere")]
    NotAGateway,
    /// This gateway is stopping.
    #[error("This gateway is stopping; repeat the request")]
    Stopped,
}
