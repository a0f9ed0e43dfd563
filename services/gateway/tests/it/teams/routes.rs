//! Every described route that people use, with a body that would do: so that a new route is in all walks over them.

use http::Method;
use serde_json::{Map, Value, json};

/// A route of the description.
pub(super) struct Route {
    pub(super) method: Method,
    /// With `{...}` where ids go.
    pub(super) path: String,
    /// What a key needs, when a key will do.
    pub(super) scope: Option<String>,
    /// What would be sent.
    pub(super) body: Value,
}

/// All routes that take a person's session.
pub(super) fn of_people() -> Vec<Route> {
    let api = serde_json::to_value(waybill_gateway::openapi()).expect("JSON");
    let mut routes = Vec::new();
    for (path, item) in api["paths"].as_object().expect("paths") {
        for method in ["get", "post", "put", "delete", "patch"] {
            let operation = &item[method];
            let security: Vec<_> = operation["security"]
                .as_array()
                .into_iter()
                .flatten()
                .collect();
            if !security.iter().any(|way| way["session"].is_array()) {
                continue;
            }
            let scope = security.iter().find_map(|way| way["api_key"][0].as_str());
            routes.push(Route {
                method: method.to_uppercase().parse().expect("a method"),
                path: path.clone(),
                scope: scope.map(str::to_owned),
                body: body(&api, operation),
            });
        }
    }
    routes
}

/// A value for each required field of the body.
fn body(api: &Value, operation: &Value) -> Value {
    let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
    let Some(name) = schema["$ref"]
        .as_str()
        .and_then(|path| path.rsplit('/').next())
    else {
        return json!({});
    };
    let required = api["components"]["schemas"][name]["required"].as_array();
    let fields = required.into_iter().flatten().filter_map(Value::as_str);
    let value = |field: &str| match field {
        "email" => json!("walker@example.com"),
        "role" => json!("viewer"),
        "plan" => json!("pro"),
        "leakPolicy" => json!("warn"),
        "token" => json!("wb_inv_x"),
        _ => json!("made by a walk"),
    };
    let fields = fields.map(|field| (field.to_owned(), value(field)));
    Value::Object(fields.collect::<Map<_, _>>())
}

/// Ids to put into paths.
#[derive(Clone)]
pub(super) struct Ids {
    pub(super) team: String,
    pub(super) user: String,
    pub(super) invitation: String,
    pub(super) key: String,
    pub(super) app: String,
}

impl Ids {
    pub(super) fn fill(&self, path: &str) -> String {
        path.replace("{teamId}", &self.team)
            .replace("{userId}", &self.user)
            .replace("{invitationId}", &self.invitation)
            .replace("{keyId}", &self.key)
            .replace("{appId}", &self.app)
    }
}
