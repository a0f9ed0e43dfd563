//! `Idempotency-Key`: how a client says that a request is one that it may have sent before.

use http::HeaderMap;
use waybill_domain::id::TaskId;
use waybill_domain::task::spec::check_idempotency_key;

use crate::error::{ApiError, ErrorCode};

const HEADER: &str = "idempotency-key";

/// The key of a request.
pub fn key(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let mut values = headers.get_all(HEADER).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(ApiError::bad_field(
            "Idempotency-Key",
            "Idempotency-Key must be given once",
        ));
    }
    let key = value.to_str().map_err(|_| {
        ApiError::bad_field("Idempotency-Key", "Idempotency-Key must be printable ASCII")
    })?;
    check_idempotency_key(key)?;
    Ok(Some(key.to_owned()))
}

/// What makes a repeated creation safe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// It has a key: the same key again makes no second task.
    ByKey,
    /// It has none: the client has to look whether the task exists.
    AfterLooking,
}

impl ApiError {
    /// Names the task when it may have been stored, and says what its client can do.
    pub fn for_unknown(mut self, id: TaskId, repeat: Repeat) -> Self {
        if self.body.code != ErrorCode::OutcomeUnknown {
            return self;
        }
        self.body.error = match repeat {
            Repeat::ByKey => {
                "The log did not confirm in time; the task may or may not have been accepted. Repeat the request with the same \
                 idempotency key: it makes no second task"
            }
            Repeat::AfterLooking => {
                "The log did not confirm in time; the task may or may not have been accepted. Look for its taskId before you \
                 repeat the request; with an idempotency key it can be repeated without looking"
            }
        }
        .into();
        self.for_task(id.to_string())
    }
}
