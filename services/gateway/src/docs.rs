//! The description of the API: `/openapi.json`, and a page to try it at `/docs` that loads nothing from elsewhere.

mod completion;
mod examples;
mod positions;
mod requests;
mod streams;
#[cfg(test)]
mod tests;

use std::collections::HashSet;

use axum::Router;
use axum::response::Response;
use http::HeaderValue;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY};
use utoipa::openapi::path::{Operation, Paths};
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::{Components, OpenApi};
use utoipa_swagger_ui::{Config, SwaggerUi};
use waybill_edge::error::shared;

use crate::router;

/// Security scheme of the header `Authorization`: what the descriptions of routes name.
const BEARER: &str = "api_key";
const HEADER: &str = "x_api_key";
/// Security scheme of people: an access token in the header `Authorization`.
const SESSION: &str = "session";
/// Security scheme of applications: id and secret in the header `Authorization`. They may also stand in the form.
const CLIENT: &str = "client";
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
    servers((url = "/", description = "The address that served this description")),
    tags(
        (name = "tasks", description = "Tasks: one HTTP call each, made at least once"),
        (name = "dead letters", description = "Tasks that failed for good: by filter, by cause, and once more"),
        (name = "operations", description = "One thing done to many tasks, in the background"),
        (name = "schedules", description = "Tasks that are made by themselves, and what became of every instant"),
        (name = "workflows", description = "Tasks that are made together, of which some run after others"),
        (name = "queues", description = "Queues: which there are, and what holds their tasks back"),
        (name = "targets", description = "Targets: how the called hosts do, and when tasks are held back because one fails"),
        (name = "limits", description = "Limits that tasks of several queues share by a key"),
        (name = "claims", description = "Tasks that workers pull instead of being called"),
        (name = "workers", description = "Workers that pull: which there are, what they hold, and draining them"),
        (name = "listeners", description = "For whom tasks of the test environment wait"),
        (name = "jobs", description = "Pulled tasks as Spooled's clients know them"),
        (name = "views", description = "Filters of lists that people saved under a name"),
        (name = "keys", description = "API keys of a team"),
        (name = "system", description = "The installation, for whoever operates it"),
        (name = "people", description = "Sign-up, log-in, sessions and passwords"),
        (name = "teams", description = "Teams, their members, invitations, plan and policies"),
        (name = "tokens", description = "Credentials in the vault, which tasks refer to by name"),
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
    finish(router::description())
}

/// The description of each API by itself, for clients that want one area only: the same operations, finished the same way.
#[must_use]
pub fn openapi_by_api() -> Vec<(&'static str, OpenApi)> {
    let described = router::descriptions().into_iter();
    described
        .map(|(name, api)| {
            let mut whole = base();
            whole.merge(api);
            let used = tags(&whole);
            if let Some(tags) = &mut whole.tags {
                tags.retain(|tag| used.contains(&tag.name));
            }
            (name, finish(whole))
        })
        .collect()
}

/// The tags that operations carry.
fn tags(api: &OpenApi) -> HashSet<String> {
    let items = api.paths.paths.values();
    let operations =
        items.flat_map(|item| [&item.get, &item.post, &item.put, &item.delete, &item.patch]);
    let tags = operations
        .flatten()
        .filter_map(|operation| operation.tags.as_ref());
    tags.flatten().cloned().collect()
}

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
    shared::add_components(components);
    for operation in operations(&mut api.paths) {
        if let Some(security) = &mut operation.security
            && let Some(scopes) = security.iter().find_map(scopes)
        {
            security.push(SecurityRequirement::new(HEADER, scopes));
        }
        let mut required = operation.security.iter().flatten();
        let has_key = required.clone().any(|one| scopes(one).is_some());
        let for_people = required.any(|one| names(one, SESSION));
        shared::complete(operation, has_key, for_people);
        // Absent means that the document as a whole decides; an empty list says that no credential is asked for.
        operation.security.get_or_insert_with(Vec::new);
    }
    if api.paths.paths.contains_key("/v1/tasks") {
        completion::add(&mut api);
    }
    streams::complete(&mut api);
    positions::complete(&mut api);
    examples::add(&mut api);
    requests::leave_out_null(&mut api);
    api
}

/// All operations, in no particular order.
fn operations(paths: &mut Paths) -> impl Iterator<Item = &mut Operation> {
    paths.paths.values_mut().flat_map(|item| {
        let operations = [
            &mut item.get,
            &mut item.post,
            &mut item.put,
            &mut item.delete,
            &mut item.patch,
        ];
        operations.into_iter().filter_map(Option::as_mut)
    })
}

/// Whether a requirement is about that security scheme.
fn names(requirement: &SecurityRequirement, scheme: &str) -> bool {
    serde_json::to_value(requirement).is_ok_and(|value| value.get(scheme).is_some())
}

/// The scopes that a requirement names for the header `Authorization`.
fn scopes(requirement: &SecurityRequirement) -> Option<Vec<String>> {
    let value = serde_json::to_value(requirement).ok()?;
    serde_json::from_value(value.get(BEARER)?.clone()).ok()
}

/// The two routes.
pub(crate) fn router(api: OpenApi) -> Router {
    let page: Router = SwaggerUi::new("/docs")
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
