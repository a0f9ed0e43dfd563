//! Parameters as forms and queries carry them, read strictly: what can be read in two ways is refused.

use std::collections::HashMap;

use axum::extract::{FromRequest, Request};
use http::header::CONTENT_TYPE;

use super::error::OAuthError;
use crate::state::AccountApi;
use waybill_edge::body;

/// Longest form, in bytes: a dozen parameters, none of which is long.
const MAX_FORM_BYTES: usize = 16 * 1024;
const FORM: &str = "application/x-www-form-urlencoded";

/// Names and values.
#[derive(Debug, Clone, Default)]
pub(super) struct Parameters(HashMap<String, Vec<String>>);

/// A parameter that is there more than once (RFC 6749, 3.1 and 3.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Repeated(pub(super) String);

impl Parameters {
    /// Reads a form or a query. `None`: it is not UTF-8.
    pub(super) fn read(text: &[u8]) -> Option<Self> {
        let mut read = Self::default();
        for (name, value) in url::form_urlencoded::parse(text) {
            // The parser has replaced bytes that are not UTF-8.
            if name.contains('\u{fffd}') || value.contains('\u{fffd}') {
                return None;
            }
            let values = read.0.entry(name.into_owned()).or_default();
            values.push(value.into_owned());
        }
        Some(read)
    }

    /// The value of that name. An empty one counts as absent (RFC 6749, 3.1).
    pub(super) fn one(&self, name: &str) -> Result<Option<&str>, Repeated> {
        match self.0.get(name).map(Vec::as_slice) {
            None => Ok(None),
            Some([value]) => Ok(Some(value.as_str()).filter(|value| !value.is_empty())),
            Some(_) => Err(Repeated(name.to_owned())),
        }
    }

    /// Some name that is there more than once.
    pub(super) fn repeated(&self) -> Option<Repeated> {
        let mut names = self.0.iter().filter(|(_, values)| values.len() > 1);
        names.next().map(|(name, _)| Repeated(name.clone()))
    }
}

/// A form without repetitions, as the body of a request.
#[derive(Debug, Clone)]
pub(crate) struct Form(Parameters);

impl Form {
    /// The value of that name.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.one(name).ok().flatten()
    }

    /// The value of that name, which must be there.
    pub(super) fn need(&self, name: &'static str) -> Result<&str, OAuthError> {
        self.get(name)
            .ok_or_else(|| OAuthError::invalid_request(format!("{name} is required")))
    }

    /// All of it.
    pub(super) fn parameters(&self) -> &Parameters {
        &self.0
    }
}

impl FromRequest<AccountApi> for Form {
    type Rejection = OAuthError;

    async fn from_request(request: Request, state: &AccountApi) -> Result<Self, OAuthError> {
        let kind = request.headers().get(CONTENT_TYPE);
        let is_form = kind
            .and_then(|kind| kind.to_str().ok())
            .and_then(|kind| kind.split(';').next())
            .is_some_and(|kind| kind.trim().eq_ignore_ascii_case(FORM));
        if !is_form {
            let text = format!("the body must be a form: Content-Type {FORM}");
            return Err(OAuthError::invalid_request(text));
        }
        let bytes = body::read(request, MAX_FORM_BYTES, state.config.body_read_timeout).await?;
        let parameters = Parameters::read(&bytes)
            .ok_or_else(|| OAuthError::invalid_request("the form is not UTF-8"))?;
        match parameters.repeated() {
            Some(Repeated(_)) => Err(OAuthError::invalid_request(
                "a parameter is there more than once",
            )),
            None => Ok(Self(parameters)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_twice_has_no_value() {
        let read = Parameters::read(b"a=1&b=&c=1&c=1&d=x%20y+z").expect("UTF-8");
        assert_eq!(read.one("a"), Ok(Some("1")));
        assert_eq!(read.one("b"), Ok(None));
        assert_eq!(read.one("c"), Err(Repeated("c".into())));
        assert_eq!(read.one("d"), Ok(Some("x y z")));
        assert_eq!(read.repeated(), Some(Repeated("c".into())));
        assert!(Parameters::read(b"a=%ff").is_none());
    }
}
