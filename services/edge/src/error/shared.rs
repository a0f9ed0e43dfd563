//! Answers that any operation of a kind can give, described once: what an operation says of them itself goes before.

use utoipa::openapi::path::Operation;
use utoipa::openapi::schema::Type;
use utoipa::openapi::{
    Components, ContentBuilder, HeaderBuilder, ObjectBuilder, Ref, RefOr, ResponseBuilder,
};
use utoipa::{PartialSchema, ToSchema};

use super::{ErrorBody, JobsErrorBody};

/// An answer that many operations share: its status, the name of the component, and its description.
type Shared = (&'static str, &'static str, &'static str);

/// What every operation that wants a credential can answer.
const WITH_A_CREDENTIAL: [Shared; 5] = [
    (
        "400",
        "BadRequest",
        "The request is wrong, or holds two different credentials: `code` says how, `field` where",
    ),
    (
        "401",
        "Unauthorized",
        "The credential is missing, malformed, unknown, expired or revoked",
    ),
    (
        "403",
        "Forbidden",
        "The credential does not allow this: `code` says whether the resource is another team's, a scope is missing, the role is too \
         low, or the plan does not include it",
    ),
    (
        "429",
        "TooManyRequests",
        "A limit of the team, the credential or the address is reached; repeat after `Retry-After`",
    ),
    (
        "503",
        "Unavailable",
        "Something that is needed is unavailable or full; `code` says what. Repeat after `Retry-After`",
    ),
];
/// What every operation that takes a body can answer as well.
const WITH_A_BODY: [Shared; 3] = [
    ("408", "BodyTimeout", "The body did not arrive in time"),
    ("413", "BodyTooLarge", "The body is too large"),
    ("415", "BodyCompressed", "The body is compressed"),
];

/// What an operation of the jobs API that takes a body can answer besides.
const WITH_A_BODY_OF_JOBS: [Shared; 1] = [(
    "422",
    "WrongShape",
    "The body is JSON of another shape: `details` names the field",
)];

/// Before the names of the same answers as the jobs API gives them.
const OF_JOBS: &str = "Jobs";

/// Headers that the layers around all handlers write; name of the component, header, description.
static HEADERS: [(&str, &str, &str); 4] = [
    (
        "RetryAfter",
        "Retry-After",
        "Seconds after which to try again",
    ),
    (
        "RateLimitLimit",
        "X-RateLimit-Limit",
        "Requests that the limit allows in its window",
    ),
    (
        "RateLimitRemaining",
        "X-RateLimit-Remaining",
        "Requests that are left in the window",
    ),
    (
        "RateLimitReset",
        "X-RateLimit-Reset",
        "When the window allows requests again",
    ),
];

fn reference(header: &str) -> Ref {
    let component = HEADERS.iter().find(|(_, name, _)| *name == header);
    let component = component.map_or(header, |(component, ..)| *component);
    Ref::new(format!("#/components/headers/{component}"))
}

/// Adds what operations refer to.
pub fn add_components(components: &mut Components) {
    let mut schemas = vec![
        (ErrorBody::name().into(), ErrorBody::schema()),
        (JobsErrorBody::name().into(), JobsErrorBody::schema()),
    ];
    ErrorBody::schemas(&mut schemas);
    JobsErrorBody::schemas(&mut schemas);
    for (name, schema) in schemas {
        components.schemas.entry(name).or_insert(schema);
    }
    for (component, _, description) in &HEADERS {
        let header = HeaderBuilder::new()
            .schema(Some(ObjectBuilder::new().schema_type(Type::Integer)))
            .description(Some(*description))
            .build();
        components
            .headers
            .insert((*component).to_owned(), RefOr::T(header));
    }
    let everywhere = [("", "ErrorBody"), (OF_JOBS, "JobsErrorBody")];
    let shared = WITH_A_CREDENTIAL.into_iter().chain(WITH_A_BODY);
    let shared = shared.map(|answer| (answer, &everywhere[..]));
    let of_jobs = WITH_A_BODY_OF_JOBS.map(|answer| (answer, &everywhere[1..]));
    for ((status, name, description), kinds) in shared.chain(of_jobs) {
        for (prefix, schema) in kinds {
            let body = ContentBuilder::new()
                .schema(Some(Ref::from_schema_name(*schema)))
                .build();
            let mut response = ResponseBuilder::new()
                .description(description)
                .content("application/json", body);
            for header in headers_of(status) {
                response = response.header_ref(*header, reference(header));
            }
            components
                .responses
                .insert(format!("{prefix}{name}"), RefOr::T(response.build()));
        }
    }
}

/// The status that a shared answer has.
#[must_use]
pub fn status_of(name: &str) -> Option<&'static str> {
    let mut shared = WITH_A_CREDENTIAL.into_iter().chain(WITH_A_BODY);
    shared.find_map(|(status, known, _)| (known == name).then_some(status))
}

fn headers_of(status: &str) -> &'static [&'static str] {
    match status {
        "429" => &[
            "Retry-After",
            "X-RateLimit-Limit",
            "X-RateLimit-Remaining",
            "X-RateLimit-Reset",
        ],
        "503" => &["Retry-After"],
        _ => &[],
    }
}

/// Adds the errors that the description of an operation does not speak of itself, and the headers that its handler does not know of.
/// `has_key` and `for_people` say which credentials it takes.
pub fn complete(operation: &mut Operation, has_key: bool, for_people: bool) {
    let id = operation.operation_id.as_deref().unwrap_or_default();
    let prefix = if id.starts_with("jobs.") { OF_JOBS } else { "" };
    if has_key || for_people {
        refer_to(operation, &WITH_A_CREDENTIAL, prefix);
    }
    if operation.request_body.is_some() {
        refer_to(operation, &WITH_A_BODY, prefix);
        if prefix == OF_JOBS {
            refer_to(operation, &WITH_A_BODY_OF_JOBS, prefix);
        }
    }
    // Load balancers ask at an interval of their own.
    let for_machines = operation.tags.iter().flatten().any(|tag| tag == "health");
    for (status, answer) in &mut operation.responses.responses {
        let RefOr::T(answer) = answer else { continue };
        let mut add = |name: &str| {
            let headers = &mut answer.headers;
            headers
                .entry(name.to_owned())
                .or_insert_with(|| RefOr::Ref(reference(name)));
        };
        if !for_machines && matches!(status.as_str(), "429" | "503") {
            add("Retry-After");
        }
        if has_key && (status.starts_with('2') || status == "429") {
            headers_of("429").iter().skip(1).for_each(|name| add(name));
        }
    }
}

fn refer_to(operation: &mut Operation, answers: &[Shared], prefix: &str) {
    for (status, name, _) in answers {
        let known = &mut operation.responses.responses;
        known
            .entry((*status).to_owned())
            .or_insert_with(|| RefOr::Ref(Ref::from_response_name(format!("{prefix}{name}"))));
    }
}
