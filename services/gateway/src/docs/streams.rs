//! Event streams. OpenAPI knows only one text for the whole answer, so the description of the answer lists the events by name, with
//! the schema of the data that comes with each. `asyncapi.json` says the same to programs.

use std::fmt::Write as _;

use utoipa::openapi::path::Operation;
use utoipa::openapi::{Components, OpenApi, RefOr};
use utoipa::{PartialSchema, ToSchema};
use waybill_api_activity::entry::ActivityEntry;
use waybill_streams::{End, Gap, TaskEventType, TaskEventView};

use super::operations;

const STREAM: &str = "text/event-stream";

/// Adds the names of events to the answers of streams, and the schemas of their data.
pub(super) fn complete(api: &mut OpenApi) {
    let components = api.components.get_or_insert_with(Components::new);
    for operation in operations(&mut api.paths) {
        let events = events_of(operation);
        for answer in operation.responses.responses.values_mut() {
            let RefOr::T(answer) = answer else { continue };
            if answer.content.contains_key(STREAM) {
                // Writing to memory has no way to fail.
                let _ = write!(
                    answer.description,
                    ". Each server-sent event has one of these names, and its data is JSON:\n\n{events}"
                );
                for (name, schema) in [(Gap::name(), Gap::schema()), (End::name(), End::schema())] {
                    components.schemas.insert(name.into(), schema);
                }
            }
        }
    }
}

/// The events of a stream, as a list in Markdown.
fn events_of(operation: &Operation) -> String {
    let id = operation.operation_id.as_deref().unwrap_or_default();
    let mut list = String::new();
    let mut add = |name: &str, data: &str, meaning: &str| {
        let _ = writeln!(list, "- {name}, data `{data}`: {meaning}");
    };
    if id.starts_with("jobs.") {
        return waybill_api_jobs_live::described();
    }
    if id.starts_with("activity.") {
        let meaning = "what happened; `event` is the `type` of the entry";
        add("any `ActivityType`", &ActivityEntry::name(), meaning);
    } else {
        for (name, meaning) in TaskEventType::meanings() {
            add(&format!("`{name}`"), &TaskEventView::name(), meaning);
        }
    }
    let meaning = "retention has dropped the events between two positions";
    add("`gap`", &Gap::name(), meaning);
    if id == "tasks.event.stream" {
        let meaning = "nothing more will come of this task; the stream closes";
        add("`end`", &End::name(), meaning);
    }
    list
}
