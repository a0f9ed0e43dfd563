//! Query strings, and the errors of wrong ones.

use axum::extract::FromRequestParts;
use http::request::Parts;
use serde::de::DeserializeOwned;

use crate::error::{ApiError, ErrorCode};

/// The parameters of a query string as `T`.
#[derive(Debug, Clone)]
pub struct Query<T>(pub T);

/// Parameters of which some may take several values.
pub trait HasLists {
    /// Their names: `?x=a&x=b` is read as `?x=a,b`.
    const LISTS: &'static [&'static str] = &[];
}

/// The parameters of a query string of which some may take several values.
pub(crate) fn read_with_lists<T: DeserializeOwned + HasLists>(query: &str) -> Result<T, ApiError> {
    let uri = format!("/?{}", joined(query, T::LISTS));
    let uri = uri.parse().map_err(|_| {
        ApiError::bad_request(
            ErrorCode::InvalidQuery,
            "The query string cannot be read".to_owned(),
        )
    })?;
    read(&uri)
}

/// The query string with each of those parameters once, its values joined by commas.
fn joined(query: &str, lists: &[&str]) -> String {
    let mut once = url::form_urlencoded::Serializer::new(String::new());
    let pairs = || url::form_urlencoded::parse(query.as_bytes());
    for (name, value) in pairs().filter(|(name, _)| !lists.contains(&&**name)) {
        once.append_pair(&name, &value);
    }
    for list in lists {
        let values = pairs().filter(|(name, value)| name == list && !value.is_empty());
        let values: Vec<_> = values.map(|(_, value)| value.into_owned()).collect();
        if !values.is_empty() {
            once.append_pair(list, &values.join(","));
        }
    }
    once.finish()
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        read(&parts.uri).map(Self)
    }
}

fn read<T: DeserializeOwned>(uri: &http::Uri) -> Result<T, ApiError> {
    axum::extract::Query::<T>::try_from_uri(uri)
        .map(|axum::extract::Query(query)| query)
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
                _ => ApiError::bad_request(ErrorCode::InvalidQuery, reason.to_owned()),
            }
        })
}
