//! `ETag` and `If-Match`: the tag of a schedule is its version.

use http::header::{ETAG, IF_MATCH};
use http::{HeaderMap, HeaderName};

/// An object, with the tag of its version.
pub(crate) type Tagged<T> = ([(HeaderName, String); 1], axum::Json<T>);

pub(crate) fn tagged<T>(version: u32, object: T) -> Tagged<T> {
    ([(ETAG, format!("\"{version}\""))], axum::Json(object))
}

/// The version that a schedule must have to be changed; `None`: whatever it has. A tag that is not one of ours names none that there is.
pub(crate) fn only_if(headers: &HeaderMap) -> Option<u32> {
    let given = headers.get(IF_MATCH)?.to_str().unwrap_or_default().trim();
    if given == "*" {
        return None;
    }
    let version = given
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'));
    Some(
        version
            .and_then(|version| version.parse().ok())
            .unwrap_or(u32::MAX),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_that_is_none_of_ours_matches_no_version() {
        let read = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(IF_MATCH, http::HeaderValue::from_static(value));
            only_if(&headers)
        };
        assert_eq!(only_if(&HeaderMap::new()), None);
        assert_eq!(read("*"), None);
        assert_eq!(read("\"3\""), Some(3));
        for other in ["3", "W/\"3\"", "\"x\""] {
            assert_eq!(read(other), Some(u32::MAX), "{other}");
        }
    }
}
