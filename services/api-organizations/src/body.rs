//! Requests as the jobs API reads them: a body of the wrong shape is 422. Unlike jobs, what gives rights has no members that are not known.

use axum::extract::{FromRequest, Request};
use axum::response::{IntoResponse, Response};
use http::header::CACHE_CONTROL;
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use waybill_edge::Edge;
use waybill_edge::body::{parse_leniently, read_json};
use waybill_edge::error::ApiError;
use waybill_edge::error::rules::misshapen;
use waybill_edge::warnings::Handling;

/// An answer that no cache may keep, since it holds a secret.
pub(crate) fn secret<T: Serialize>(status: StatusCode, body: T) -> Response {
    let mut response = (status, axum::Json(body)).into_response();
    let no_store = HeaderValue::from_static("no-store");
    response.headers_mut().insert(CACHE_CONTROL, no_store);
    response
}

/// A JSON body.
#[derive(Debug)]
pub(crate) struct Body<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<Edge> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &Edge) -> Result<Self, ApiError> {
        let bytes = read_json(request, &state.config).await?;
        parse(&bytes).map(Self)
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
        parse(&bytes).map(Self)
    }
}

/// A misspelt `permissions` must not make a key that may do everything.
fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    let (value, warnings) = parse_leniently(bytes).map_err(misshapen)?;
    let unknown = warnings.judge(Handling::Lenient)?;
    match unknown.into_iter().next() {
        None => Ok(value),
        Some(member) => {
            let message = format!("{}: unknown member", member.field);
            Err(ApiError::bad_field(member.field, message))
        }
    }
}
