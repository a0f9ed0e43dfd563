//! Examples of bodies. `ops/examples.py` sends each of them to a running Waybill, or receives it from one, and writes the file.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::Deserialize;
use serde_json::Value;
use utoipa::openapi::path::Operation;
use utoipa::openapi::{Content, OpenApi, RefOr};

use waybill_edge::error::shared;

use super::operations;

/// What people see in a browser is a page, not data: its words may change at any time.
const PAGE: &str = "text/html";

#[expect(
    clippy::expect_used,
    reason = "the file is part of the program, and tests read it"
)]
static EXAMPLES: LazyLock<Examples> = LazyLock::new(|| {
    serde_json::from_str(include_str!("examples.json")).expect("examples.json is an Examples")
});

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Examples {
    /// By the id of the operation.
    requests: BTreeMap<String, Value>,
    /// By the id of the operation, then by status, and by `STATUS TYPE` where an answer comes in several types.
    responses: BTreeMap<String, BTreeMap<String, Value>>,
    /// By status: what any operation may answer so.
    errors: BTreeMap<String, Value>,
}

impl Examples {
    fn response(&self, operation: &str, status: &str, media_type: &str) -> Option<&Value> {
        let own = self.responses.get(operation);
        // Those of the jobs API are its clients' own.
        let errors = (!operation.starts_with("jobs.")).then_some(&self.errors);
        own.and_then(|own| own.get(&format!("{status} {media_type}")))
            .or_else(|| own.and_then(|own| own.get(status)))
            .or_else(|| errors?.get(status))
    }
}

/// Gives every body its example.
pub(super) fn add(api: &mut OpenApi) {
    for operation in operations(&mut api.paths) {
        add_to(operation);
    }
    for (name, answer) in api.components.iter_mut().flat_map(|all| &mut all.responses) {
        let RefOr::T(answer) = answer else { continue };
        let status = shared::status_of(name).unwrap_or_default();
        for content in answer.content.values_mut() {
            set(content, EXAMPLES.errors.get(status));
        }
    }
    for operation in api.webhooks.iter_mut().flat_map(operations) {
        add_to(operation);
    }
}

fn add_to(operation: &mut Operation) {
    let id = operation.operation_id.clone().unwrap_or_default();
    if let Some(RefOr::T(body)) = &mut operation.request_body {
        for content in body.content.values_mut() {
            set(content, EXAMPLES.requests.get(&id));
        }
    }
    for (status, answer) in &mut operation.responses.responses {
        let RefOr::T(answer) = answer else { continue };
        for (media_type, content) in &mut answer.content {
            if media_type != PAGE {
                set(content, EXAMPLES.response(&id, status, media_type));
            }
        }
    }
}

fn set(content: &mut RefOr<Content>, example: Option<&Value>) {
    if let RefOr::T(content) = content {
        content.example = example.cloned();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_body_has_an_example_and_every_example_a_body() {
        let api = serde_json::to_value(super::super::openapi()).expect("plain data");
        let (mut bodies, mut missing, mut known) = (0, Vec::new(), Vec::new());
        let described = ["paths", "webhooks"].map(|part| api[part].as_object().expect(part));
        let items = described.into_iter().flatten();
        for operation in items.flat_map(|(_, item)| item.as_object().expect("operations").values())
        {
            let id = operation["operationId"].as_str().expect("an id");
            if id.starts_with("jobs.") {
                continue;
            }
            let request = ("request".to_owned(), &operation["requestBody"]);
            let answers = operation["responses"].as_object().into_iter().flatten();
            let answers = answers.map(|(status, answer)| (status.clone(), answer));
            for (part, described) in std::iter::once(request).chain(answers) {
                let shared = described["$ref"]
                    .as_str()
                    .map(|to| to.trim_start_matches('#'));
                let described = shared.and_then(|to| api.pointer(to)).unwrap_or(described);
                for (media_type, content) in described["content"].as_object().into_iter().flatten()
                {
                    if media_type == PAGE {
                        continue;
                    }
                    bodies += 1;
                    known.push(format!("{id} {part}"));
                    known.push(format!("{id} {part} {media_type}"));
                    if content["example"].is_null() {
                        missing.push(format!("{id} {part} {media_type}"));
                    }
                }
            }
        }
        assert!(missing.is_empty(), "no example for {missing:#?}");
        assert!(bodies > 500, "{bodies}");
        let requests = EXAMPLES.requests.keys().map(|id| format!("{id} request"));
        let responses = EXAMPLES.responses.iter();
        let responses =
            responses.flat_map(|(id, own)| own.keys().map(move |part| format!("{id} {part}")));
        for example in requests.chain(responses) {
            assert!(
                known.contains(&example),
                "no body for the example {example}"
            );
        }
    }
}
