//! The completion webhook, as its receiver sees it. The worker writes it; this describes it, and `ops/examples.py` holds one that was
//! really sent against the description.

use std::collections::HashMap;

use serde::Serialize;
use utoipa::openapi::path::{HttpMethod, OperationBuilder, PathItem};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::{
    Components, ContentBuilder, OpenApi, PathsBuilder, Ref, Required, ResponseBuilder,
};
use utoipa::{PartialSchema, ToSchema};
use waybill_domain::event::{BodyEncoding, HeaderValues};
use waybill_domain::task::{EndReason, Status};

/// How a task has ended.
#[derive(Serialize, ToSchema)]
pub(super) struct CompletionWebhook {
    /// How it ended.
    event: CompletionEvent,
    /// The task as it ended.
    task: EndedTask,
}

/// How a task ended, as its webhook says it.
#[derive(Serialize, ToSchema)]
#[expect(dead_code, reason = "only described")]
enum CompletionEvent {
    #[serde(rename = "task.completed")]
    Completed,
    #[serde(rename = "task.failed")]
    Failed,
    #[serde(rename = "task.timeout")]
    Timeout,
    #[serde(rename = "task.cancelled")]
    Cancelled,
}

/// A task that has ended.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct EndedTask {
    /// Id of the task.
    id: String,
    /// `completed`, `failed`, `timeout` or `cancelled`.
    status: Status,
    /// Whether it ended with a success: a 2xx, or what its `success` names.
    ok: bool,
    /// `completed`, `dead`, `timeout`, `expired`, `cancelled`, `superseded`, `skipped` or `duplicate`.
    end_reason: EndReason,
    /// The answer of the target, if there was one.
    result: Option<EndedTaskResult>,
    /// Why it failed.
    error: Option<String>,
    /// Retries that were used up; released attempts use up none.
    retry_count: u32,
    /// As the client gave them.
    tags: Vec<String>,
    /// As the client gave it.
    metadata: HashMap<String, String>,
    /// When it was accepted.
    #[schema(format = DateTime)]
    created_at: String,
    /// When it ended.
    #[schema(format = DateTime)]
    completed_at: String,
}

/// The answer that ended a task.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct EndedTaskResult {
    /// HTTP status that the target answered with.
    status_code: u16,
    /// Whether it is a success.
    ok: bool,
    /// Headers as received: a text, or a list of texts where one came more than once.
    headers: HashMap<String, HeaderValues>,
    /// The first 64 KiB of the body.
    body: String,
    /// `base64` when the body is not text.
    #[serde(skip_serializing_if = "Option::is_none")]
    body_encoding: Option<BodyEncoding>,
    /// Bytes of the whole body.
    body_bytes: u64,
    /// From sending to the end of the answer, in milliseconds.
    duration: u32,
    /// `["body"]` when `body` holds only the beginning.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    truncated: Vec<String>,
}

/// Adds it to a description that has tasks.
pub(super) fn add(api: &mut OpenApi) {
    let components = api.components.get_or_insert_with(Components::new);
    let mut schemas = vec![(
        CompletionWebhook::name().into_owned(),
        CompletionWebhook::schema(),
    )];
    CompletionWebhook::schemas(&mut schemas);
    components.schemas.extend(schemas);
    let body = ContentBuilder::new()
        .schema(Some(Ref::from_schema_name(CompletionWebhook::name())))
        .build();
    let request = RequestBodyBuilder::new()
        .content("application/json", body)
        .required(Some(Required::True))
        .build();
    let operation = OperationBuilder::new()
        .operation_id(Some("tasks.webhook.receive"))
        .tag("tasks")
        .summary(Some("A task has ended"))
        .description(Some(
            "Sent to the task's `onCompleteUrl`, signed like every call. A 2xx within 10 seconds takes it, and so does 410; otherwise it is \
             sent again, eight times over more than a day, with the same `webhook-id`.",
        ))
        .request_body(Some(request))
        .response(
            "2XX",
            ResponseBuilder::new().description("It is not sent again").build(),
        )
        .response(
            "410",
            ResponseBuilder::new()
                .description("It is not sent again: the receiver does not want it")
                .build(),
        )
        .security(utoipa::openapi::security::SecurityRequirement::default())
        .build();
    let webhooks =
        PathsBuilder::new().path("taskEnded", PathItem::new(HttpMethod::Post, operation));
    api.webhooks = Some(webhooks.build());
}
