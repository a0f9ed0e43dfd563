//! Query strings, refused with our errors.

use axum::extract::FromRequestParts;
use http::request::Parts;
use serde::de::DeserializeOwned;

use crate::error::ApiError;

/// The parameters of a query string as `T`.
#[derive(Debug, Clone)]
pub struct Query<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        axum::extract::Query::<T>::try_from_uri(&parts.uri)
            .map(|axum::extract::Query(query)| Self(query))
            .map_err(|rejection| {
                let text = rejection.body_text();
                let reason = text
                    .split_once("query string: ")
                    .map_or(text.as_str(), |(_, reason)| reason);
                // axum names the parameter first: `limit: invalid digit found in string`.
                match reason.split_once(": ") {
                    Some((field, _)) if field.len() <= 40 && !field.contains(' ') => {
                        ApiError::bad_field(field.to_owned(), reason.to_owned())
                    }
                    _ => ApiError::bad_request("invalid_query", reason.to_owned()),
                }
            })
    }
}
