//! Requests as the jobs API reads them: unknown members are ignored and named in a header, a body of the wrong shape is 422.

use axum::extract::{FromRequest, Request};
use axum::response::{IntoResponse, Response};
use http::header::CACHE_CONTROL;
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use waybill_edge::Edge;
use waybill_edge::body::{parse_leniently, read_json};
use waybill_edge::error::{ApiError, ErrorCode};
use waybill_edge::warnings::{Handling, WARNINGS, Warnings, header};

/// What of a request was ignored.
#[derive(Debug, Default)]
pub(crate) struct Ignored(Warnings);

impl Ignored {
    /// The answer, with a header that names what was ignored.
    pub(crate) fn answer<T: Serialize>(self, status: StatusCode, body: T) -> Response {
        let mut response = (status, axum::Json(body)).into_response();
        // This API never refuses what it does not know.
        let told = self.0.judge(Handling::Lenient).unwrap_or_default();
        if let Some(names) = header(&told) {
            response.headers_mut().insert(WARNINGS, names);
        }
        response
    }

    /// The same for an answer that holds a secret.
    pub(crate) fn secret<T: Serialize>(self, status: StatusCode, body: T) -> Response {
        let mut response = self.answer(status, body);
        let no_store = HeaderValue::from_static("no-store");
        response.headers_mut().insert(CACHE_CONTROL, no_store);
        response
    }
}

/// A JSON body.
#[derive(Debug)]
pub(crate) struct Body<T>(pub(crate) T, pub(crate) Ignored);

impl<T: DeserializeOwned> FromRequest<Edge> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &Edge) -> Result<Self, ApiError> {
        let bytes = read_json(request, &state.config).await?;
        let (value, warnings) = parse_leniently(&bytes).map_err(misshapen)?;
        Ok(Self(value, Ignored(warnings)))
    }
}

/// The same, or what `T` is without a body.
#[derive(Debug)]
pub(crate) struct OptionalBody<T>(pub(crate) T);

impl<T: DeserializeOwned + Default> FromRequest<Edge> for OptionalBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &Edge) -> Result<Self, ApiError> {
        let bytes = read_json(request, &state.config).await?;
        if bytes.trim_ascii().is_empty() {
            return Ok(Self(T::default()));
        }
        let (value, _) = parse_leniently(&bytes).map_err(misshapen)?;
        Ok(Self(value))
    }
}

/// 422 for a body that is JSON and has not the shape. What is no JSON stays 400.
fn misshapen(mut error: ApiError) -> ApiError {
    match error.body.code {
        ErrorCode::InvalidField | ErrorCode::InvalidBody => {}
        _ => return error,
    }
    error.status = StatusCode::UNPROCESSABLE_ENTITY;
    let text = error.body.message.clone();
    let missing = text.split_once("missing field `");
    let Some((name, _)) = missing.and_then(|(_, rest)| rest.split_once('`')) else {
        return error.breaking("type");
    };
    error.body.message = format!("{name} is required").into();
    error.body.error = error.body.message.clone();
    error.about(name.to_owned()).breaking("required")
}

/// 400: a value breaks a rule.
pub(crate) fn broken(
    field: &'static str,
    text: impl std::fmt::Display,
    rule: &'static str,
) -> ApiError {
    ApiError::bad_field(field, format!("{field}: {text}")).breaking(rule)
}
