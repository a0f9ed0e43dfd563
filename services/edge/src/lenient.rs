//! Requests about work, read leniently: what is unknown is ignored, and warned of.

use axum::extract::{FromRef, FromRequest, FromRequestParts, Request};
use http::Method;
use http::request::Parts;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::body;
use crate::error::ApiError;
use crate::position;
use crate::query::{self, HasLists};
use crate::state::Edge;
use crate::warnings::{Warnings, members_of};

/// A JSON body as `T`, with warnings of unknown members. Never for what grants rights: see [`crate::warnings`].
#[derive(Debug, Clone)]
pub struct LenientJson<T>(pub T, pub Warnings);

impl<S, T: DeserializeOwned> FromRequest<S> for LenientJson<T>
where
    Edge: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let edge = Edge::from_ref(state);
        let bytes = body::read_json(request, &edge.config).await?;
        let (value, warnings) = body::parse_leniently(&bytes)?;
        Ok(Self(value, warnings))
    }
}

/// The same, or what `T` is without a body.
#[derive(Debug, Clone)]
pub struct OptionalLenientJson<T>(pub T, pub Warnings);

impl<S, T: DeserializeOwned + Default> FromRequest<S> for OptionalLenientJson<T>
where
    Edge: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let edge = Edge::from_ref(state);
        let bytes = body::read_json(request, &edge.config).await?;
        if bytes.is_empty() {
            return Ok(Self(T::default(), Warnings::default()));
        }
        let (value, warnings) = body::parse_leniently(&bytes)?;
        Ok(Self(value, warnings))
    }
}

/// The parameters of a query string as `T`, with warnings of unknown ones.
#[derive(Debug, Clone)]
pub struct LenientQuery<T>(pub T, pub Warnings);

impl<T: DeserializeOwned + HasLists, S: Send + Sync> FromRequestParts<S> for LenientQuery<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        let query = parts.uri.query().unwrap_or_default();
        let value = query::read_with_lists(query)?;
        let mut known = members_of::<T>().to_vec();
        if parts.method == Method::GET {
            known.push(position::PARAMETER);
        }
        Ok(Self(value, unknown_parameters(query, &known)))
    }
}

/// A request without parameters.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
pub struct NoParameters {}

impl HasLists for NoParameters {}

/// Warns of each parameter that is not among the known ones.
pub fn unknown_parameters(query: &str, known: &[&'static str]) -> Warnings {
    let mut warnings = Warnings::default();
    for (name, _) in url::form_urlencoded::parse(query.as_bytes()) {
        if !known.contains(&&*name) {
            warnings.unknown(&name, known);
        }
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::warnings::Handling;

    #[test]
    fn an_unknown_parameter_is_warned_of_and_a_known_one_is_not() {
        let warnings = unknown_parameters("status=failed&staus=x&%00=1", &["status", "limit"]);
        let told = warnings.judge(Handling::Lenient).expect("told");
        let told: Vec<_> = told
            .iter()
            .map(|warning| (&*warning.field, &*warning.message))
            .collect();
        assert_eq!(
            told,
            [
                ("staus", "unknown; did you mean status?"),
                ("\0", "unknown, and ignored")
            ]
        );
    }
}
