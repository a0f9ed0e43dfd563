//! Why a request does not pass the limiter, and the error that its client gets.

use http::StatusCode;
use waybill_domain::access::limit::Limited;

use crate::error::{ApiError, ErrorCode};

/// Why a request does not pass the limiter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LimitRefusal {
    /// It is over a limit.
    #[error("{limited}")]
    Limited {
        limited: Limited,
        /// Seconds until it may be repeated.
        retry_after_s: u64,
    },
    /// The counter does not answer, and this request cannot pass without it.
    #[error("The rate limit cannot be checked at the moment; try again later")]
    CounterUnavailable,
    /// This gateway has no room for another holder while the counter does not answer.
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
                    ErrorCode::RateLimitExceeded,
                    message,
                )
                .violating(violated.collect())
                .retry_after(retry_after_s)
            }
            LimitRefusal::CounterUnavailable | LimitRefusal::Full => {
                Self::unavailable(ErrorCode::RateLimitUnavailable, message)
            }
        }
    }
}
