//! Requests as this API reads them: unknown members and parameters are ignored, and named in a header; a body of the wrong shape is 422.

use axum::extract::{FromRequest, Request};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use waybill_api_tasks::TasksApi;
use waybill_edge::body::{parse_leniently, read_json};
use waybill_edge::error::ApiError;
use waybill_edge::error::rules::misshapen;
use waybill_edge::warnings::{Handling, WARNINGS, Warnings, header};

/// What of a request was ignored.
#[derive(Debug, Default)]
pub struct Ignored(Warnings);

impl Ignored {
    pub fn of(warnings: Warnings) -> Self {
        Self(warnings)
    }

    /// The answer, with a header that names what was ignored.
    pub fn answer<T: Serialize>(self, status: StatusCode, body: T) -> Response {
        self.told((status, axum::Json(body)).into_response())
    }

    /// The same without a body.
    pub fn empty(self) -> Response {
        self.told(StatusCode::NO_CONTENT.into_response())
    }

    pub fn told(self, mut response: Response) -> Response {
        // This API never refuses what it does not know.
        let told = self.0.judge(Handling::Lenient).unwrap_or_default();
        let mut headers = HeaderMap::new();
        if let Some(names) = header(&told) {
            headers.insert(WARNINGS, names);
        }
        response.headers_mut().extend(headers);
        response
    }
}

/// A JSON body.
#[derive(Debug)]
pub struct Body<T>(pub T, pub Ignored);

impl<T: DeserializeOwned> FromRequest<TasksApi> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &TasksApi) -> Result<Self, ApiError> {
        let bytes = read_json(request, &state.config).await?;
        let (value, warnings) = parse_leniently(&bytes).map_err(misshapen)?;
        Ok(Self(value, Ignored(warnings)))
    }
}

/// The same, or what `T` is without a body.
#[derive(Debug)]
pub struct OptionalBody<T>(pub T, pub Ignored);

impl<T: DeserializeOwned + Default> FromRequest<TasksApi> for OptionalBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &TasksApi) -> Result<Self, ApiError> {
        let bytes = read_json(request, &state.config).await?;
        if bytes.trim_ascii().is_empty() {
            return Ok(Self(T::default(), Ignored::default()));
        }
        let (value, warnings) = parse_leniently(&bytes).map_err(misshapen)?;
        Ok(Self(value, Ignored(warnings)))
    }
}
