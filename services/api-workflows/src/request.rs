//! What a client sends to create a workflow. Types are checked here, values in `read`.

use serde::Deserialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;
use waybill_api_tasks::request::{CreateTask, Headers};
use waybill_domain::flow::RunAfterMode;

/// A workflow to be created.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct NewWorkflow {
    /// What it is, for people: 1 to 255 characters.
    #[schema(value_type = String, max_length = 255, example = "Import of invoices")]
    pub name: Option<String>,
    /// More about it, at most 1,000 characters.
    #[schema(max_length = 1000)]
    pub description: Option<String>,
    /// Texts of your own, at most 4096 bytes.
    #[schema(value_type = Option<std::collections::HashMap<String, String>>)]
    pub metadata: Option<Headers>,
    /// The queue of all its tasks. Without it the one that they name, which must be the same, or `default`.
    #[schema(example = "imports")]
    pub queue: Option<String>,
    /// 1 to 1,000 tasks. All of them are created, or none.
    #[schema(value_type = Vec<NewWorkflowTask>, min_items = 1, max_items = 1000)]
    pub tasks: Option<Vec<Box<RawValue>>>,
}

/// A task of a workflow.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct NewWorkflowTask {
    /// Its name within the workflow: 1 to 100 letters, digits, `_` and `-`.
    #[schema(max_length = 100, pattern = "^[0-9A-Za-z_-]{1,100}$", example = "load")]
    pub name: Option<String>,
    /// The names of the tasks that it runs after; up to 10,000 in a workflow. Without any it runs at once.
    #[schema(example = json!(["fetch"]))]
    pub run_after: Option<Vec<String>>,
    /// `all`: it runs when all of them have completed, and is cancelled when one of them has ended otherwise. `any`: it runs when the first
    /// has completed, and is cancelled when all have ended otherwise.
    #[schema(default = "all", value_type = Option<RunAfterMode>)]
    pub run_after_mode: Option<String>,
    /// The task as in `POST /v1/tasks`, without `idempotencyKey`, `debounce`, `singleton` and `dedup`. Its `targetUrl`, `headers` and `body`
    /// or `json` may have places such as `{{tasks.fetch.result.body.id}}`, which are filled in with results of tasks that it runs after.
    #[schema(value_type = CreateTask)]
    pub task: Option<Box<RawValue>>,
}
