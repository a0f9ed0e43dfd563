//! The lease under which this gateway decides requests, and the barrier: see `waybill_fence`. Here is what clients are told.

pub use waybill_fence::{Fence, FenceError, FenceParts, FenceTask, NoLease, outside, settle};

use crate::error::ApiError;

/// What clients are told by: they may ask again, here or elsewhere.
const CODE: &str = "authorization_unavailable";

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
