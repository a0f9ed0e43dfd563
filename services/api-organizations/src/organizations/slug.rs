//! Slugs before an organisation has one: whether one is free, and one made of a name.

use axum::Extension;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use waybill_commands::entropy;
use waybill_domain::access::team::organization::slug_fault;
use waybill_edge::Edge;
use waybill_edge::error::{ApiError, JobsErrorBody};
use waybill_edge::query::Query;
use waybill_edge::request::RequestContext;

use crate::body::Body;

/// Characters of a name that become a slug: the rest is for what makes it free.
const STEM_CHARS: usize = 40;
/// Numbers that are tried after a stem before random ones.
const NUMBERED: std::ops::Range<u32> = 2..20;

/// The slug.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct SlugParams {
    slug: String,
}

/// What is told of a slug.
#[derive(Debug, Serialize, ToSchema)]
pub struct JobsSlugCheck {
    pub available: bool,
    pub valid: bool,
    pub slug: String,
    /// Why it is not valid or available.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// One that is free.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suggestion: Option<String>,
}

/// A name of an organisation.
#[derive(Debug, Deserialize, ToSchema)]
pub struct JobsGenerateSlug {
    name: String,
}

/// A slug that is free.
#[derive(Debug, Serialize, ToSchema)]
pub struct JobsSlug {
    pub slug: String,
}

/// Tell whether a slug is free.
#[utoipa::path(
    get,
    path = "/api/v1/organizations/check-slug",
    operation_id = "jobs.organization.check_slug",
    tag = "jobs",
    params(SlugParams),
    responses(
        (status = 200, description = "Whether it is", body = JobsSlugCheck),
        (status = 400, description = "A parameter is wrong", body = JobsErrorBody),
    )
)]
pub(crate) async fn check_slug(
    State(state): State<Edge>,
    Extension(context): Extension<RequestContext>,
    Query(params): Query<SlugParams>,
) -> Result<axum::Json<JobsSlugCheck>, ApiError> {
    state
        .limiter
        .admit_source(&context.limits, context.source)?;
    state.auth.check_caught_up()?;
    let slug = params.slug;
    let fault = slug_fault(&slug);
    let is_taken = state.auth.directory().team_of_slug(&slug).is_some();
    let available = fault.is_none() && !is_taken;
    let error = match fault {
        Some(fault) => Some(format!("slug {fault}")),
        None => is_taken.then(|| "slug is taken".to_owned()),
    };
    Ok(axum::Json(JobsSlugCheck {
        available,
        valid: fault.is_none(),
        error,
        suggestion: (!available).then(|| free(&state, &slug)),
        slug,
    }))
}

/// Make a slug of a name.
#[utoipa::path(
    post,
    path = "/api/v1/organizations/generate-slug",
    operation_id = "jobs.organization.generate_slug",
    tag = "jobs",
    request_body = JobsGenerateSlug,
    responses(
        (status = 200, description = "One that is free now", body = JobsSlug),
        (status = 400, description = "A member is wrong or unknown", body = JobsErrorBody),
    )
)]
pub(crate) async fn generate_slug(
    State(state): State<Edge>,
    Extension(context): Extension<RequestContext>,
    Body(request): Body<JobsGenerateSlug>,
) -> Result<Response, ApiError> {
    state
        .limiter
        .admit_source(&context.limits, context.source)?;
    state.auth.check_caught_up()?;
    let slug = free(&state, &request.name);
    Ok((StatusCode::OK, axum::Json(JobsSlug { slug })).into_response())
}

/// A slug that is free, as near to a text as can be.
fn free(state: &Edge, text: &str) -> String {
    let stem = stem(text);
    let directory = state.auth.directory();
    let numbered = NUMBERED.map(|number| format!("{stem}-{number}"));
    let mut tried = std::iter::once(stem.clone()).chain(numbered);
    let found = tried.find(|slug| directory.team_of_slug(slug).is_none());
    found.unwrap_or_else(|| format!("{stem}-{:08x}", entropy::random_u128() as u32))
}

/// What of a text may stand in a slug.
fn stem(text: &str) -> String {
    let mut stem = String::new();
    for letter in text.chars().map(|letter| letter.to_ascii_lowercase()) {
        if stem.len() >= STEM_CHARS {
            break;
        }
        if letter.is_ascii_lowercase() || letter.is_ascii_digit() {
            stem.push(letter);
        } else if !stem.is_empty() && !stem.ends_with('-') {
            stem.push('-');
        }
    }
    let stem = stem.trim_end_matches('-');
    if slug_fault(stem).is_none() {
        stem.to_owned()
    } else {
        let joined = format!("org-{stem}");
        joined.trim_end_matches('-').to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stem_is_a_slug() {
        let long = "x".repeat(200);
        for (text, wanted) in [
            ("Acme Inc.", "acme-inc"),
            ("  Größe & Söhne ", "gr-e-s-hne"),
            ("A", "org-a"),
            ("", "org"),
            ("日本", "org"),
            ("--a--b--", "a-b"),
            (long.as_str(), &long[..STEM_CHARS]),
        ] {
            let made = stem(text);
            assert_eq!((made.as_str(), slug_fault(&made)), (wanted, None), "{text}");
        }
    }
}
