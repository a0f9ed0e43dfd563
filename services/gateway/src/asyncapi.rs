//! The AsyncAPI 3.0 document: what can be subscribed to, over HTTP and on the log itself.
//!
//! Generated from the events of `domain`, so that it cannot fall behind them. Subscribers over HTTP get JSON as
//! [`waybill_streams::TaskEventView`]; roles of Waybill read MessagePack from NATS, whose schemas are those of the stored events.

use serde_json::{Map, Value, json};
use utoipa::{PartialSchema, ToSchema};
use waybill_domain::event::{ControlEvent, TaskEvent};

use waybill_api_activity::entry::{ActivityEntry, EntryRefusal, EntryTarget};
use waybill_streams::{End, Gap, TaskEventView, short_type};

#[must_use]
pub fn asyncapi() -> Value {
    let mut messages = Map::new();
    let mut schemas = Map::new();
    add_subscriber_schema::<TaskEventView>(&mut schemas, "SubscriberTaskEvent");
    add_subscriber_schema::<Gap>(&mut schemas, "Gap");
    add_subscriber_schema::<End>(&mut schemas, "End");
    add_subscriber_schema::<ActivityEntry>(&mut schemas, "ActivityEntry");
    add_subscriber_schema::<EntryTarget>(&mut schemas, "EntryTarget");
    add_subscriber_schema::<EntryRefusal>(&mut schemas, "EntryRefusal");
    let subscriber_events: Vec<String> = TaskEvent::KINDS
        .iter()
        .map(|kind| format!("task.{kind}"))
        .collect();
    for name in &subscriber_events {
        messages.insert(
            format!("sse.{name}"),
            sse_message(name, "SubscriberTaskEvent"),
        );
    }
    messages.insert("sse.gap".into(), sse_message("gap", "Gap"));
    messages.insert("sse.end".into(), sse_message("end", "End"));
    let activity = sse_message("the entry's `type`, such as `key.created`", "ActivityEntry");
    messages.insert("sse.activity".into(), activity);
    let stored = TaskEvent::schemas()
        .into_iter()
        .chain(ControlEvent::schemas());
    for (name, schema) in stored {
        schemas.insert(name.into(), embed(name, schema.to_value()));
        messages.insert(name.into(), stored_message(name));
    }
    let all_but_end = subscriber_events
        .iter()
        .map(|n| format!("sse.{n}"))
        .chain(["sse.gap".into()]);
    let of_a_task = all_but_end.clone().chain(["sse.end".into()]);
    let channels = json!({
        "teamEvents": sse_channel("/v1/events", "Everything that happens to the tasks of a team.", &json!({}), all_but_end),
        "taskEvents": sse_channel(
            "/v1/tasks/{taskId}/events",
            "The life of one task, from its creation to its end.",
            &json!({ "taskId": { "description": "The task" } }),
            of_a_task,
        ),
        "activity": sse_channel(
            "/v1/activity/stream",
            "Who does what in a team. Needs the scope `activity:read`.",
            &json!({}),
            ["sse.activity".to_owned(), "sse.gap".to_owned()],
        ),
        "tasksLog": log_channel(
            "tasks.{partition}.{team}.{queue}.{event}",
            "Stream TASKS: what happens to tasks, in order within a partition.",
            &json!({
                "partition": { "description": "Unit of order and ownership, from 0" },
                "team": { "description": "Id of the team" },
                "queue": { "description": "Name of the queue" },
                "event": { "description": "What happened", "enum": TaskEvent::KINDS },
            }),
            TaskEvent::NAMES,
        ),
        "controlLog": log_channel(
            "control.{team}.{aggregate}.{id}",
            "Stream CONTROL: what happens to teams, people and credentials, in order within a team.",
            &json!({
                "team": { "description": "Id of the team; `_` for what belongs to no team" },
                "aggregate": { "description": "Kind of thing, such as `key`" },
                "id": { "description": "Which one" },
            }),
            ControlEvent::NAMES,
        ),
    });
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "Waybill events",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "What can be subscribed to. Clients use the server-sent events; the subjects of the log are for roles of Waybill, which alone may read and write them.",
            "license": { "name": "Apache-2.0" },
        },
        "defaultContentType": "application/json",
        "servers": {
            "gateway": {
                "host": "localhost:8080",
                "protocol": "http",
                "description": "A gateway",
                "security": [{ "$ref": "#/components/securitySchemes/apiKey" }],
            },
            "log": { "host": "localhost:4222", "protocol": "nats", "description": "JetStream, inside a deployment" },
        },
        "channels": channels,
        "operations": {
            "followTeam": receive("teamEvents", "Follow all tasks of a team"),
            "followTask": receive("taskEvents", "Follow one task"),
            "followActivity": receive("activity", "Follow what people and credentials do"),
            "readTasksLog": receive("tasksLog", "Read what happens to tasks"),
            "readControlLog": receive("controlLog", "Read what happens to teams, people and credentials"),
        },
        "components": {
            "messages": messages,
            "schemas": schemas,
            "securitySchemes": {
                "apiKey": { "type": "http", "scheme": "bearer", "description": "An API key with the scope `tasks:read`; for activity, `activity:read`" },
            },
        },
    })
}

/// A schema of the HTTP APIs, under the name that others refer to it by.
fn add_subscriber_schema<T: ToSchema + PartialSchema>(
    schemas: &mut Map<String, Value>,
    name: &str,
) {
    // A schema is plain data; writing it has no way to fail.
    let schema = serde_json::to_value(T::schema()).unwrap_or_default();
    schemas.insert(name.into(), schema);
    let mut parts = Vec::new();
    T::schemas(&mut parts);
    for (name, part) in parts {
        let part = serde_json::to_value(part).unwrap_or_default();
        schemas.entry(name).or_insert(part);
    }
}

/// Takes a schema with definitions of its own into the document: what it refers to moves along with it.
fn embed(name: &str, mut schema: Value) -> Value {
    redirect(&mut schema, &format!("#/components/schemas/{name}/$defs/"));
    if let Some(object) = schema.as_object_mut() {
        object.remove("$schema");
    }
    schema
}

fn redirect(schema: &mut Value, to: &str) {
    match schema {
        Value::Object(object) => {
            for (key, value) in object {
                match value {
                    Value::String(target) if key == "$ref" => {
                        if let Some(definition) = target.strip_prefix("#/$defs/") {
                            *target = format!("{to}{definition}");
                        }
                    }
                    other => redirect(other, to),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| redirect(item, to)),
        _ => {}
    }
}

fn sse_message(name: &str, schema: &str) -> Value {
    json!({
        "name": name,
        "title": name,
        "contentType": "application/json",
        "payload": { "$ref": format!("#/components/schemas/{schema}") },
    })
}

fn stored_message(name: &str) -> Value {
    json!({
        "name": name,
        "title": short_type(name),
        "contentType": "application/msgpack",
        "headers": {
            "type": "object",
            "required": ["Wb-Event", "Wb-Actor"],
            "properties": {
                "Wb-Event": { "const": name },
                "Wb-Actor": { "type": "string", "description": "Who caused it, such as `key:key_4fG7aB2x` or `system:worker`" },
                "traceparent": { "type": "string", "description": "W3C trace context of the cause" },
                "Nats-Msg-Id": { "type": "string" },
            },
        },
        "payload": { "$ref": format!("#/components/schemas/{name}") },
    })
}

fn references(names: impl IntoIterator<Item = String>) -> Map<String, Value> {
    names
        .into_iter()
        .map(|name| {
            let reference = json!({ "$ref": format!("#/components/messages/{name}") });
            (name, reference)
        })
        .collect()
}

fn channel(
    address: &str,
    server: &str,
    description: &str,
    parameters: &Value,
    messages: &Map<String, Value>,
) -> Value {
    json!({
        "address": address,
        "description": description,
        "servers": [{ "$ref": format!("#/servers/{server}") }],
        "parameters": parameters,
        "messages": messages,
    })
}

fn sse_channel(
    address: &str,
    description: &str,
    parameters: &Value,
    messages: impl IntoIterator<Item = String>,
) -> Value {
    let description = format!(
        "{description} Server-sent events: `id` is the position in the log, `event` the name of the message, `data` its payload. Resume with `Last-Event-ID` or `?after=`."
    );
    let mut channel = channel(
        address,
        "gateway",
        &description,
        parameters,
        &references(messages),
    );
    channel["bindings"] = json!({ "http": {} });
    channel
}

fn log_channel(
    address: &str,
    description: &str,
    parameters: &Value,
    events: &[&'static str],
) -> Value {
    let names = events.iter().map(|&name| name.to_owned());
    channel(address, "log", description, parameters, &references(names))
}

fn receive(channel: &str, summary: &str) -> Value {
    json!({
        "action": "receive",
        "channel": { "$ref": format!("#/channels/{channel}") },
        "summary": summary,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn references_of(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(object) => {
                if let Some(Value::String(target)) = object.get("$ref") {
                    found.push(target.clone());
                }
                object
                    .values()
                    .for_each(|value| references_of(value, found));
            }
            Value::Array(items) => items.iter().for_each(|item| references_of(item, found)),
            _ => {}
        }
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let document = asyncapi();
        let mut found = Vec::new();
        references_of(&document, &mut found);
        assert!(found.len() > 50, "{}", found.len());
        for reference in found {
            let pointer = reference.strip_prefix('#').expect("within the document");
            assert!(document.pointer(pointer).is_some(), "{reference}");
        }
    }

    #[test]
    fn every_event_has_a_message() {
        let document = asyncapi();
        let messages = &document["components"]["messages"];
        for name in TaskEvent::NAMES.iter().chain(ControlEvent::NAMES) {
            assert!(messages[name]["payload"].is_object(), "{name}");
        }
        for kind in TaskEvent::KINDS {
            assert!(messages[format!("sse.task.{kind}")].is_object(), "{kind}");
        }
    }
}
