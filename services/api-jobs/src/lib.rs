//! The jobs API: pulled tasks as Spooled's clients know them, under `/api/v1`.
//!
//! A job is a task that workers pull. It is created by the way of the tasks API, is seen in `/v1/tasks?kind=job`, in the activity and in the
//! streams, and is claimed and reported on through the owner of its partition like any other.
//!
//! [`rest`] has a folder for each resource and a file for each call, [`models`] what clients send and get. [`body`] reads requests with the
//! statuses that this API has for wrong ones, [`calls`] is what gRPC shares with REST, [`find`] finds a job by its UUID, [`owner`] asks the owners of partitions.

pub mod body;
pub mod calls;
pub mod find;
mod held;
pub mod models;
pub mod owner;
pub mod permission;
pub mod rest;
pub mod rules;

use utoipa_axum::router::OpenApiRouter;
use waybill_api_tasks::TasksApi;

/// The routes of this API.
#[must_use]
pub fn router() -> OpenApiRouter<TasksApi> {
    rest::router()
}
