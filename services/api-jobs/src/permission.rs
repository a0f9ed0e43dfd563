//! Which queues a key may use, in the words of this API.

use http::StatusCode;
use waybill_domain::id::QueueName;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::Need;
use waybill_edge::error::{ApiError, ErrorCode};

/// Refuses a queue that is named and that the key is not limited to.
pub fn named<N: Need>(caller: &Caller<N>, queue: &QueueName) -> Result<(), ApiError> {
    caller.may_use(queue).map_err(|_| {
        let message = format!("API key does not have permission for queue '{queue}'");
        ApiError::new(StatusCode::FORBIDDEN, ErrorCode::AccessDenied, message)
    })
}
