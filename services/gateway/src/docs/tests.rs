//! What generators of clients need of the description.

use std::collections::BTreeMap;

use serde_json::Value;

use super::*;
use waybill_streams::TaskEventType;

/// What a reference leads to, or the value itself.
fn resolved<'a>(api: &'a Value, value: &'a Value) -> &'a Value {
    let Some(target) = value["$ref"].as_str() else {
        return value;
    };
    let found = api.pointer(target.trim_start_matches('#'));
    found.unwrap_or_else(|| panic!("{target} leads nowhere"))
}

/// What describes a value beside `null`.
fn plain<'a>(api: &'a Value, schema: &'a Value) -> &'a Value {
    let alternatives = schema["oneOf"].as_array();
    let mut other = alternatives
        .into_iter()
        .flatten()
        .filter(|one| one["type"] != "null");
    resolved(api, other.next().unwrap_or(schema))
}

/// The properties of all objects, with the name of the schema that each stands in.
fn properties(api: &Value) -> Vec<(String, String, Value)> {
    fn collect(schema: &Value, name: &str, found: &mut Vec<(String, String, Value)>) {
        for (property, described) in schema["properties"].as_object().into_iter().flatten() {
            found.push((name.to_owned(), property.clone(), described.clone()));
        }
        for part in ["allOf", "oneOf"] {
            for part in schema[part].as_array().into_iter().flatten() {
                collect(part, name, found);
            }
        }
    }
    let mut found = Vec::new();
    for (name, schema) in api["components"]["schemas"].as_object().expect("schemas") {
        collect(schema, name, &mut found);
    }
    found
}

/// Generators of clients drop an operation, or fail, over a second parameter of the same name and place.
#[test]
fn no_operation_has_a_parameter_twice() {
    let api = serde_json::to_value(openapi()).expect("plain data");
    let mut operations = 0;
    for (path, item) in api["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("operations") {
            operations += 1;
            let mut seen = HashSet::new();
            for parameter in operation["parameters"].as_array().into_iter().flatten() {
                let (name, place) = (&parameter["name"], &parameter["in"]);
                assert!(
                    seen.insert((name.to_string(), place.to_string())),
                    "{method} {path}: {name} in {place}"
                );
            }
        }
    }
    assert!(operations > 50, "{operations}");
}

/// Generated clients name their functions by these, so two of one name, or one of another shape, is a broken client.
#[test]
fn operations_have_an_id_a_declared_tag_and_a_word_on_security() {
    let api = serde_json::to_value(openapi()).expect("plain data");
    let declared: HashSet<&str> = (api["tags"].as_array().into_iter().flatten())
        .filter_map(|tag| tag["name"].as_str())
        .collect();
    let mut seen = HashSet::new();
    for (path, item) in api["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("operations") {
            let id = operation["operationId"].as_str().unwrap_or_default();
            let parts: Vec<&str> = id.split('.').collect();
            let plain = |part: &&str| {
                let allowed = |c: char| c.is_ascii_lowercase() || c == '_';
                !part.is_empty() && part.chars().all(allowed)
            };
            assert!(
                parts.len() == 3 && parts.iter().all(plain),
                "{method} {path}: `{id}` is not area.resource.verb"
            );
            assert!(seen.insert(id.to_owned()), "{method} {path}: second `{id}`");
            for tag in operation["tags"].as_array().expect("tags") {
                let tag = tag.as_str().unwrap_or_default();
                assert!(declared.contains(tag), "{method} {path}: tag {tag}");
            }
            assert!(operation["security"].is_array(), "{method} {path}");
            let retried = ["429", "503"].iter().filter(|_| !id.starts_with("health."));
            for status in retried {
                let answer = resolved(&api, &operation["responses"][*status]);
                let header = &answer["headers"]["Retry-After"];
                assert!(
                    answer.is_null() || header.is_object(),
                    "{method} {path} {status}"
                );
            }
        }
    }
}

/// When the documents are put together, the second definition of a name is dropped and its operations get the first.
#[test]
fn no_name_has_two_definitions() {
    let mut seen = BTreeMap::new();
    for (api, document) in openapi_by_api() {
        let document = serde_json::to_value(document).expect("plain data");
        let schemas = document["components"]["schemas"].as_object().cloned();
        for (name, schema) in schemas.expect("schemas") {
            let (first, known) = seen
                .entry(name.clone())
                .or_insert_with(|| (api, schema.clone()));
            assert_eq!(*known, schema, "{name} of {first} and of {api}");
        }
    }
}

/// Generated clients turn these into types of their own; as a plain text they are a text.
#[test]
fn words_times_and_addresses_say_what_they_are() {
    const WORDS: [&str; 9] = [
        "environment",
        "errorKind",
        "endReason",
        "leakPolicy",
        "method",
        "retryBackoff",
        "role",
        "status",
        "bodyEncoding",
    ];
    // Not a closed list: how somebody signed in, the text of a health check, what routes were asked and answered.
    // A process of a newer version may have another role.
    const OPEN: [(&str, &str); 5] = [
        ("SessionObject", "method"),
        ("Healthy", "status"),
        ("RouteUsage", "method"),
        ("RouteUsage", "status"),
        ("SystemRole", "role"),
    ];
    const TIMES: [&str; 6] = [
        "at",
        "deadline",
        "delayUntil",
        "acceptedUntil",
        "signsUntil",
        "since",
    ];
    let api = serde_json::to_value(openapi()).expect("plain data");
    let (mut words, mut times, mut addresses) = (0, 0, 0);
    for (schema, property, described) in properties(&api) {
        let described = plain(&api, &described);
        if !described["type"].to_string().contains("string") {
            continue;
        }
        let place = format!("{schema}.{property}: {described}");
        if WORDS.contains(&&*property) && !OPEN.contains(&(&*schema, &*property)) {
            words += 1;
            assert!(described["enum"].is_array(), "{place}");
        }
        if TIMES.contains(&&*property) || property.ends_with("At") {
            times += 1;
            assert_eq!(described["format"], "date-time", "{place}");
        }
        if property.ends_with("Url") {
            addresses += 1;
            assert_eq!(described["format"], "uri", "{place}");
        }
    }
    assert!(
        words > 30 && times > 40 && addresses >= 4,
        "{words} {times} {addresses}"
    );
}

/// Leaving something out has one way in a generated client.
#[test]
fn what_is_optional_in_a_request_is_not_nullable() {
    let api = serde_json::to_value(openapi()).expect("plain data");
    let mut looked_at = 0;
    let items = api["paths"].as_object().expect("paths").values();
    for operation in items.flat_map(|item| item.as_object().expect("operations").values()) {
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            let schema = parameter["schema"].to_string();
            assert!(!schema.contains("null"), "{parameter}");
        }
        let contents = operation["requestBody"]["content"].as_object();
        for (_, content) in contents.into_iter().flatten() {
            let schema = resolved(&api, &content["schema"]);
            for (property, described) in schema["properties"].as_object().into_iter().flatten() {
                looked_at += 1;
                let types = described["type"].to_string() + &described["oneOf"].to_string();
                assert!(!types.contains("\"null\""), "{property}: {described}");
            }
        }
    }
    assert!(looked_at > 50, "{looked_at}");
}

#[test]
fn what_comes_by_itself_is_described() {
    let api = serde_json::to_value(openapi()).expect("plain data");
    let hook = &api["webhooks"]["taskEnded"]["post"];
    let body = &hook["requestBody"]["content"]["application/json"]["schema"];
    let body = resolved(&api, body);
    assert!(body["properties"]["task"].is_object(), "{body}");
    for path in ["/v1/events", "/v1/tasks/{id}/events", "/v1/activity/stream"] {
        let answer = &api["paths"][path]["get"]["responses"]["200"];
        let described = answer["description"].as_str().unwrap_or_default();
        assert!(described.contains("- `gap`, data `Gap`"), "{described}");
        let ends = described.contains("- `end`, data `End`");
        assert_eq!(ends, path.contains("{id}"), "{described}");
        if path != "/v1/activity/stream" {
            for name in TaskEventType::names() {
                assert!(
                    described.contains(&format!("- `{name}`, data `TaskEvent`: ")),
                    "{name}"
                );
            }
        }
        for named in ["Gap", "End", "TaskEvent", "ActivityEntry"] {
            assert!(api["components"]["schemas"][named].is_object(), "{named}");
        }
    }
    let created = &api["paths"]["/v1/tasks"]["post"]["responses"]["201"]["headers"];
    assert!(created["Idempotency-Replayed"].is_object(), "{created}");
}
