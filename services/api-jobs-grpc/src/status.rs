//! Refusals and failures as statuses.

use tonic::{Code, Status};
use waybill_edge::error::{ApiError, GrpcStatus};

/// The status of an error, with when to try again in its metadata.
pub(crate) fn status(error: &ApiError) -> Status {
    let of = GrpcStatus::of(error);
    let mut status = Status::new(Code::from_i32(of.number), of.message);
    if let Some(seconds) = of.retry_after_s {
        status.metadata_mut().insert("retry-after", seconds.into());
    }
    status
}

/// The same of a report about a job: which of a missing and a foreign one it is, nobody is told.
pub(crate) fn of_report(error: &ApiError) -> Status {
    if error.status == http::StatusCode::NOT_FOUND {
        return Status::not_found("Job not found or not authorized");
    }
    status(error)
}
