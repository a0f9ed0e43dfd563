//! `ETag` and `If-Match` of what a team decides about a queue or a limit.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::HeaderName;
use axum::http::header::{ETAG, IF_MATCH};
use axum::http::request::Parts;

/// An object, with the tag of its settings.
pub(crate) type Tagged<T> = ([(HeaderName, String); 1], axum::Json<T>);

pub(crate) fn tagged<T>(tag: &str, object: T) -> Tagged<T> {
    ([(ETAG, format!("\"{tag}\""))], axum::Json(object))
}

/// The tags that the settings may have for a change to be made; `None`: whatever they are.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct IfMatch(pub(crate) Option<Vec<String>>);

impl<S: Send + Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        let values = parts.headers.get_all(IF_MATCH).iter();
        let values: Vec<_> = values
            .map(|value| value.to_str().unwrap_or_default())
            .collect();
        Ok(Self::read(&values))
    }
}

impl IfMatch {
    /// Weak tags match nothing (RFC 9110, 13.1.1). `*` asks for nothing that is lacking: queues and limits exist by being named.
    fn read(values: &[&str]) -> Self {
        let tags = values
            .iter()
            .flat_map(|value| value.split(','))
            .map(str::trim);
        let tags: Vec<_> = tags.collect();
        if tags.is_empty() || tags.contains(&"*") {
            return Self(None);
        }
        let strong = tags
            .iter()
            .filter_map(|tag| tag.strip_prefix('"')?.strip_suffix('"'));
        Self(Some(strong.map(str::to_owned).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_read_as_the_rfc_says() {
        let read = |values: &[&str]| IfMatch::read(values).0;
        assert_eq!(read(&[]), None);
        assert_eq!(read(&["*"]), None);
        let both = Some(vec!["a".to_owned(), "b".to_owned()]);
        assert_eq!(read(&["\"a\", \"b\""]), both);
        assert_eq!(read(&["\"a\"", "\"b\""]), both);
        for nothing in ["W/\"a\"", "a", ""] {
            assert_eq!(read(&[nothing]), Some(Vec::new()), "{nothing}");
        }
    }
}
