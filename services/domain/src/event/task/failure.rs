//! Why an attempt or a delivery failed.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Why an attempt failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Failure {
    /// Kind of failure, for programs.
    pub kind: FailureKind,
    /// A sentence for people. It names no internal address and no secret.
    pub message: String,
}

/// Kinds of failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The target answered with a status that is a failure.
    HttpStatus,
    /// There was no complete answer in time.
    Timeout,
    /// The name of the target did not resolve.
    Dns,
    /// No connection could be established.
    Connect,
    /// No trusted TLS session could be established.
    Tls,
    /// The connection closed before the answer was complete.
    Closed,
    /// The answer is not valid HTTP, or exceeds its limits.
    Protocol,
    /// The target's address may not be called.
    BlockedAddress,
    /// The worker was lost during the attempt; the target may or may not have been called.
    WorkerLost,
    /// The worker could not make the call: it had no descriptors, ports or memory left, or its name
    /// servers did not answer. Nothing was sent.
    WorkerFault,
    /// The task cannot be turned into an HTTP request.
    InvalidRequest,
    /// A vault token may not be used for this call: it is revoked, expired, unknown, or bound to
    /// other hosts. It was not sent.
    Vault,
    /// A vault token, or the task's sealed headers, cannot be decrypted although they are not
    /// revoked. Nothing was sent.
    VaultIntegrity,
    /// The vault was unavailable. Nothing was sent.
    VaultAway,
    /// The worker that had claimed the task says that it failed.
    Reported,
    /// The lease of the worker that had claimed the task was over before it reported anything.
    LeaseExpired,
}
