//! Requests as this API reads them: unknown members and parameters are ignored, and named in a header; a body of the wrong shape is 422.

use axum::extract::{FromRequest, Request};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use waybill_api_tasks::TasksApi;
use waybill_edge::body::{parse_leniently, read_json};
use waybill_edge::error::{ApiError, ErrorCode};
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

/// 422 for a body that is JSON and has not the shape. What is no JSON stays 400.
fn misshapen(mut error: ApiError) -> ApiError {
    match error.body.code {
        ErrorCode::InvalidField | ErrorCode::InvalidBody => {}
        _ => return error,
    }
    error.status = StatusCode::UNPROCESSABLE_ENTITY;
    let text = error.body.message.clone();
    let Some((before, rest)) = text.split_once("missing field `") else {
        return error.breaking("type");
    };
    let Some((name, _)) = rest.split_once('`') else {
        return error.breaking("type");
    };
    // `jobs[3]: missing field ...` is about a member of that item.
    let within = error.body.field.as_deref();
    let within = within.filter(|within| before.starts_with(within));
    let field = match within {
        Some(within) => format!("{within}.{name}"),
        None => name.to_owned(),
    };
    error.body.message = format!("{field} is required").into();
    error.body.error = error.body.message.clone();
    error.about(field).breaking("required")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only parsed")]
    struct Wanted {
        queue_name: String,
        jobs: Option<Vec<Inner>>,
    }

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only parsed")]
    struct Inner {
        payload: u8,
    }

    #[test]
    fn what_is_no_json_is_400_and_what_has_another_shape_422() {
        for (text, status, field) in [
            ("{", 400, None),
            ("[]", 422, None),
            ("{}", 422, Some("queue_name")),
            (r#"{"queue_name": 1}"#, 422, Some("queue_name")),
            (
                r#"{"queue_name": "q", "jobs": [{"payload": 1}, {}]}"#,
                422,
                Some("jobs[1].payload"),
            ),
        ] {
            let error = parse_leniently::<Wanted>(text.as_bytes());
            let error = misshapen(error.expect_err(text));
            let named = error.body.field.as_deref();
            assert_eq!((error.status.as_u16(), named), (status, field), "{text}");
        }
    }
}
