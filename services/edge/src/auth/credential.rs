//! Finding the API key in a request: `Authorization: Bearer <key>` or `X-API-Key: <key>`, nowhere else.

use http::HeaderMap;
use http::header::AUTHORIZATION;
use waybill_domain::access::token::TokenKind;

use crate::error::{ApiError, ErrorCode};

const API_KEY: &str = "x-api-key";
const BEARER: &str = "bearer ";

/// The credential as sent. Two that differ are refused, since a proxy in between might have checked the other one.
pub fn presented(headers: &HeaderMap) -> Result<&str, ApiError> {
    let bearer = single(headers, AUTHORIZATION.as_str())?.and_then(bearer_token);
    let header = single(headers, API_KEY)?.filter(|key| !key.is_empty());
    match (bearer, header) {
        (None, None) => Err(ApiError::key_required()),
        (Some(a), Some(b)) if a != b => Err(ApiError::bad_request(
            ErrorCode::InvalidRequest,
            "Authorization and X-API-Key hold different keys; send one",
        )),
        (Some(key), _) | (None, Some(key)) => {
            std::str::from_utf8(key).map_err(|_| ApiError::key_refused())
        }
    }
}

/// Whether it is of the shape of a JSON Web Token (RFC 7519): three parts with dots between them, which no other credential has.
#[must_use]
pub fn is_jwt(credential: &str) -> bool {
    credential.split('.').count() == 3
}

/// Whether it has the form of an access token of an application: `wb_at_...`.
#[must_use]
pub fn is_access_token(credential: &str) -> bool {
    credential.split('_').nth(1) == Some(TokenKind::Access.as_str())
}

fn single<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a [u8]>, ApiError> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() {
        return Err(ApiError::bad_request(
            ErrorCode::InvalidRequest,
            "The header with the API key is there more than once",
        ));
    }
    Ok(first.map(|value| value.as_bytes().trim_ascii()))
}

fn bearer_token(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(BEARER.len())?;
    let token = token.trim_ascii();
    (scheme.eq_ignore_ascii_case(BEARER.as_bytes()) && !token.is_empty()).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn with(entries: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in entries {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn either_header_will_do() {
        for entries in [
            &[("authorization", "Bearer k")][..],
            &[("authorization", "bEARER  k ")],
            &[("x-api-key", "k")],
            &[("authorization", "Bearer k"), ("x-api-key", "k")],
            &[("authorization", "Basic eDp5"), ("x-api-key", "k")],
        ] {
            let headers = with(entries);
            assert_eq!(presented(&headers).expect("found"), "k", "{entries:?}");
        }
    }

    #[test]
    fn none_empty_and_contradicting_ones_are_refused() {
        for (entries, status) in [
            (&[][..], 401),
            (&[("authorization", "Bearer")], 401),
            (&[("authorization", "Bearer  ")], 401),
            (&[("x-api-key", "")], 401),
            (&[("authorization", "Basic eDp5")], 401),
            (&[("authorization", "Bearer a"), ("x-api-key", "b")], 400),
            (&[("x-api-key", "a"), ("x-api-key", "a")], 400),
        ] {
            let error = presented(&with(entries)).expect_err("refused");
            assert_eq!(error.status.as_u16(), status, "{entries:?}");
        }
    }
}
