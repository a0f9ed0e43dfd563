//! Why a request does not pass the limiter, and what its client is told.

use http::StatusCode;
use waybill_domain::access::limit::Limited;

use crate::error::ApiError;

/// Why a request does not pass the limiter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LimitRefusal {
    /// It is over a limit.
    #[error("{limited}")]
    Limited {
        /// Which.
        limited: Limited,
        /// Seconds until it may be repeated.
        retry_after_s: u64,
    },
    /// The counter is away, and this passes only with it.
    #[error("The rate limit cannot be checked at the moment; try again later")]
    Away,
    /// This gateway has no room for another holder while the counter is away.
    #[error("Too many clients at the moment; try again later")]
    Full,
}

impl From<LimitRefusal> for ApiError {
    fn from(refusal: LimitRefusal) -> Self {
        let message = refusal.to_string();
        match refusal {
            LimitRefusal::Limited {
                limited,
                retry_after_s,
            } => {
                let violated = limited
                    .violated()
                    .map(|meter| meter.policy.name.to_string());
                Self::new(
                    StatusCode::TOO_MANY_REQUESTS,
                    "rate_limit_exceeded",
                    message,
                )
                .violating(violated.collect())
                .retry_after(retry_after_s)
            }
            LimitRefusal::Away | LimitRefusal::Full => {
                Self::unavailable("rate_limit_unavailable", message)
            }
        }
    }
}
