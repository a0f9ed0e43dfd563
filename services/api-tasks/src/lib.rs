//! The tasks API: tasks as AsyncQueue's clients know them, under `/v1/tasks`, those that failed for good, under `/v1/dead-letters`, what
//! is done to many of them at once, under `/v1/operations`, and what happens to them, under `/v1/events`.
//!
//! One file per endpoint. [`request`] is what a client sends, [`object`] what it gets, `accept` how a request becomes a task on the log,
//! [`lookup`] how a task is found and told apart from another team's, [`explain`] what a creation tells of its retries, [`waiting`] why a task does not run, [`idempotency`]
//! how a repeated creation becomes the first one again, [`credentials`] how the secrets that a task brings along are sealed. [`TasksApi`] is what the handlers share.

pub mod accept;
pub mod batch;
mod blocked;
pub mod cancel;
pub mod change;
pub mod create;
pub mod credentials;
pub mod dead_letters;
pub mod decided;
pub mod events;
pub mod explain;
pub mod get;
pub mod idempotency;
mod labels;
pub mod list;
pub mod lookup;
pub mod object;
pub mod once;
pub mod operations;
pub mod parameters;
pub mod redeliver;
mod rejected;
pub mod replay;
pub mod request;
pub mod result;
pub mod run_now;
pub mod run_of;
mod state;
pub mod stream_token;
pub mod task_events;
pub mod unblock;
pub mod waiting;
mod withheld;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use waybill_edge::{backoff, jitter, lengths};

pub use labels::ReadModelLabels;
pub use state::{TasksApi, TasksApiParts};

/// The routes of this API.
#[must_use]
pub fn router() -> OpenApiRouter<TasksApi> {
    OpenApiRouter::new()
        .routes(routes!(create::create_task, list::list_tasks))
        .routes(routes!(batch::create_tasks))
        .routes(routes!(
            get::get_task,
            change::change_task,
            cancel::delete_task
        ))
        .routes(routes!(cancel::cancel_task))
        .routes(routes!(run_now::run_task_now))
        .routes(routes!(unblock::unblock_task))
        .routes(routes!(replay::replay_task))
        .merge(dead_letters::router())
        .merge(operations::router())
        .routes(routes!(result::get_result))
        .routes(routes!(redeliver::redeliver_webhook))
        .routes(routes!(waiting::explain_task))
        .routes(routes!(events::team_events))
        .routes(routes!(task_events::task_events))
        .routes(routes!(stream_token::make_task_stream_token))
        .routes(routes!(stream_token::make_event_stream_token))
}
