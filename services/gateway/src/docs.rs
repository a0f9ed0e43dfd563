//! The description of the API: `/openapi.json`, and a page to try it at `/docs` that loads nothing from elsewhere.

use axum::Router;
use axum::response::Response;
use http::HeaderValue;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY};
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::{Components, ContentBuilder, OpenApi, Ref, ResponseBuilder};
use utoipa_swagger_ui::{Config, SwaggerUi};

use crate::router;
use crate::state::AppState;

/// Security scheme of the header `Authorization`: what the descriptions of routes name.
const BEARER: &str = "api_key";
/// Its alternative.
const HEADER: &str = "x_api_key";
/// Security scheme of people: an access token in the header `Authorization`.
const SESSION: &str = "session";
/// Security scheme of applications: id and secret in the header `Authorization`. They may also stand in the form.
const CLIENT: &str = "client";
/// What every route that wants a key can answer, whether its own description says so or not.
const WITH_A_KEY: [(&str, &str); 5] = [
    ("400", "The request is wrong, or holds two different keys"),
    ("401", "No or no valid API key"),
    ("403", "The key may not do this"),
    ("429", "Too many requests; see Retry-After"),
    ("503", "Cannot be answered now; see Retry-After"),
];
/// What every route that takes a body can answer as well.
const WITH_A_BODY: [(&str, &str); 3] = [
    ("408", "The body did not arrive in time"),
    ("413", "The body is too large"),
    ("415", "The body is compressed"),
];
/// The page brings its scripts along; its styles stand partly in the page.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
     font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Waybill",
        description = "A job platform: post a task, Waybill calls its target, retries until it ends, and streams every step.\n\n\
            Every error is `{\"error\", \"code\", \"field\"?}`. Another team's resource is 403, one that exists nowhere 404. A 503 says in \
            `Retry-After` when to come back.",
        license(name = "Apache-2.0")
    ),
    tags(
        (name = "tasks", description = "Tasks: one HTTP call each, made at least once"),
        (name = "keys", description = "API keys of a team"),
        (name = "people", description = "Sign-up, log-in, sessions and passwords"),
        (name = "oauth", description = "Applications of teams, and what people let them do"),
        (name = "signing", description = "How receivers know that a call comes from Waybill"),
        (name = "events", description = "What happens, as it happens and afterwards"),
        (name = "activity", description = "What happened in a team, and proof of it"),
        (name = "health", description = "For load balancers"),
    )
)]
struct Base;

/// What is said about the API as a whole.
pub(crate) fn base() -> OpenApi {
    <Base as utoipa::OpenApi>::openapi()
}

/// The description of every route.
#[must_use]
pub fn openapi() -> OpenApi {
    finish(router::routes().into_openapi())
}

/// What a route for people may answer to anybody else, and where too much was asked of it.
const FOR_PEOPLE: [(&str, &str); 3] = [
    (
        "400",
        "Several different credentials were sent, or a parameter is wrong",
    ),
    ("403", "Only a person who is signed in may do this"),
    (
        "429",
        "Too many failed attempts from this address; see Retry-After",
    ),
];

/// Adds how to authenticate (a route that names the one header takes the other as well) and what any route may answer.
pub(crate) fn finish(mut api: OpenApi) -> OpenApi {
    let components = api.components.get_or_insert_with(Components::new);
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("An API key of the team"))
        .build();
    components.add_security_scheme(BEARER, SecurityScheme::Http(bearer));
    let header = ApiKey::Header(ApiKeyValue::with_description(
        "X-API-Key",
        "An API key of the team",
    ));
    components.add_security_scheme(HEADER, SecurityScheme::ApiKey(header));
    let session = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .bearer_format("JWT")
        .description(Some("An access token of somebody who is signed in"))
        .build();
    components.add_security_scheme(SESSION, SecurityScheme::Http(session));
    let client = HttpBuilder::new()
        .scheme(HttpAuthScheme::Basic)
        .description(Some("Id and secret of an OAuth application"))
        .build();
    components.add_security_scheme(CLIENT, SecurityScheme::Http(client));
    for item in api.paths.paths.values_mut() {
        let operations = [
            &mut item.get,
            &mut item.post,
            &mut item.put,
            &mut item.delete,
            &mut item.patch,
        ];
        for operation in operations.into_iter().filter_map(Option::as_mut) {
            if let Some(security) = &mut operation.security
                && let Some(scopes) = security.iter().find_map(scopes)
            {
                security.push(SecurityRequirement::new(HEADER, scopes));
                add_answers(operation, &WITH_A_KEY);
            }
            let for_people = operation.security.iter().flatten().any(|requirement| {
                serde_json::to_value(requirement).is_ok_and(|value| value.get(SESSION).is_some())
            });
            if for_people {
                add_answers(operation, &FOR_PEOPLE);
            }
            if operation.request_body.is_some() {
                add_answers(operation, &WITH_A_BODY);
            }
        }
    }
    api
}

/// Adds the errors that the description does not speak of itself.
fn add_answers(operation: &mut Operation, errors: &[(&str, &str)]) {
    for (status, description) in errors {
        let answers = &mut operation.responses.responses;
        answers.entry((*status).to_owned()).or_insert_with(|| {
            let body = ContentBuilder::new()
                .schema(Some(Ref::from_schema_name("ErrorBody")))
                .build();
            ResponseBuilder::new()
                .description(*description)
                .content("application/json", body)
                .build()
                .into()
        });
    }
}

/// The scopes that a requirement names for the header `Authorization`.
fn scopes(requirement: &SecurityRequirement) -> Option<Vec<String>> {
    let value = serde_json::to_value(requirement).ok()?;
    serde_json::from_value(value.get(BEARER)?.clone()).ok()
}

/// The two routes.
pub(crate) fn router(api: OpenApi) -> Router<AppState> {
    let page: Router<AppState> = SwaggerUi::new("/docs")
        .url("/openapi.json", api)
        .config(
            Config::default()
                .validator_url("none")
                .try_it_out_enabled(true),
        )
        .into();
    page.layer(axum::middleware::map_response(
        async |mut response: Response| {
            let headers = response.headers_mut();
            headers.insert(
                CONTENT_SECURITY_POLICY,
                HeaderValue::from_static(PAGE_POLICY),
            );
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
            response
        },
    ))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

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
}
