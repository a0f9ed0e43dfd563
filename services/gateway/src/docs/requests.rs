//! What clients send: whatever is optional may be left out. `null` is not offered for that, so that generated clients have one way
//! to leave something out. The server takes a `null` all the same.

use std::collections::HashSet;

use serde_json::Value;
use utoipa::openapi::schema::{SchemaType, Type};
use utoipa::openapi::{OpenApi, RefOr, Schema};

use super::operations;

/// Takes `null` out of parameters, and out of the schemas that only requests have.
pub(super) fn leave_out_null(api: &mut OpenApi) {
    let mut sent = HashSet::new();
    let mut answered = HashSet::new();
    for operation in operations(&mut api.paths) {
        for parameter in operation.parameters.iter_mut().flatten() {
            if let RefOr::T(parameter) = parameter
                && let Some(schema) = &mut parameter.schema
            {
                without_null(schema);
            }
        }
        references(&operation.request_body, &mut sent);
        references(&operation.responses, &mut answered);
    }
    references(&api.webhooks, &mut answered);
    let Some(components) = &mut api.components else {
        return;
    };
    for names in [&mut sent, &mut answered] {
        let mut left: Vec<String> = names.iter().cloned().collect();
        while let Some(name) = left.pop() {
            let mut further = HashSet::new();
            references(&components.schemas.get(&name), &mut further);
            left.extend(
                further
                    .into_iter()
                    .filter(|name| names.insert(name.clone())),
            );
        }
    }
    for name in sent.difference(&answered) {
        if let Some(RefOr::T(Schema::Object(object))) = components.schemas.get_mut(name) {
            object.properties.values_mut().for_each(without_null);
        }
    }
}

/// The names of all schemas that something refers to.
fn references(described: &impl serde::Serialize, names: &mut HashSet<String>) {
    // A description is plain data; writing it has no way to fail.
    collect(&serde_json::to_value(described).unwrap_or_default(), names);
}

fn collect(value: &Value, names: &mut HashSet<String>) {
    match value {
        Value::Object(object) => {
            let target = object.get("$ref").and_then(Value::as_str);
            names.extend(
                target
                    .and_then(|target| target.strip_prefix("#/components/schemas/"))
                    .map(str::to_owned),
            );
            object.values().for_each(|value| collect(value, names));
        }
        Value::Array(values) => values.iter().for_each(|value| collect(value, names)),
        _ => {}
    }
}

fn without_null(schema: &mut RefOr<Schema>) {
    match schema {
        RefOr::T(Schema::Object(object)) => {
            without_null_type(&mut object.schema_type);
            if object.default.as_ref().is_some_and(Value::is_null) {
                object.default = None;
            }
        }
        RefOr::T(Schema::Array(array)) => without_null_type(&mut array.schema_type),
        RefOr::T(Schema::OneOf(alternatives)) => {
            alternatives.items.retain(|item| !is_null(item));
            // With a default, the one that is left stays an alternative: a reference can carry none.
            if let ([only], None) = (alternatives.items.as_slice(), &alternatives.default) {
                *schema = only.clone();
            }
        }
        _ => {}
    }
}

fn without_null_type(schema_type: &mut SchemaType) {
    if let SchemaType::Array(types) = schema_type {
        types.retain(|one| *one != Type::Null);
        if let [only] = types.as_slice() {
            *schema_type = SchemaType::Type(only.clone());
        }
    }
}

fn is_null(schema: &RefOr<Schema>) -> bool {
    matches!(schema, RefOr::T(Schema::Object(object)) if object.schema_type == SchemaType::Type(Type::Null))
}
