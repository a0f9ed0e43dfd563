//! The lease under which this gateway decides requests, and the barrier: see `waybill_fence`. Here are the errors that clients get.

pub use waybill_fence::{
    CopyCheck, Fence, FenceError, FenceParts, FenceTask, NoLease, outside, settle,
};

use crate::error::{ApiError, ErrorCode};

/// Clients may repeat the request, here or at another gateway.
const CODE: ErrorCode = ErrorCode::AuthorizationUnavailable;

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
