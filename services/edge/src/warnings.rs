//! Warnings of what has no effect in a request: work resources ignore it, and the answer says so.
//!
//! A client that misspells `delayUntil` would otherwise learn of it by a call that was made too early. Unknown members stay no error,
//! since clients send members that another version knows; `Prefer: handling=strict` (RFC 7240, 4.4) makes them one. Bodies about
//! credentials, people and plans refuse unknown members always: a key that is made without its misspelt `scopes` may do everything.

use std::borrow::Cow;
use std::convert::Infallible;

use axum::extract::FromRequestParts;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::de::value::Error;
use serde::de::{Deserialize, Deserializer, Error as _, Visitor};
use serde::{Serialize, forward_to_deserialize_any};
use utoipa::ToSchema;

use crate::error::ApiError;

/// Names of what was ignored, where an answer has no room for `warnings`: a stream, the bytes of a body.
pub const WARNINGS: HeaderName = HeaderName::from_static("waybill-warnings");
const PREFER: &str = "prefer";
/// Warnings of one answer. A request with more mistakes is not made clearer by more of them.
const MAX_WARNINGS: usize = 20;
/// Characters of an unknown name that are shown to whoever sent it.
pub(crate) const MAX_NAME_CHARS: usize = 60;

/// Something in the request that has no effect, or not the one that may be expected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Warning {
    /// The member or the parameter, as it was sent.
    #[schema(value_type = String, example = "delayUntill")]
    pub field: Cow<'static, str>,
    /// What is wrong with it.
    #[schema(value_type = String, example = "unknown; did you mean delayUntil?")]
    pub message: Cow<'static, str>,
}

/// Whether what would be a warning is an error (RFC 7240, 4.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Handling {
    /// The request is taken, and the answer warns.
    #[default]
    Lenient,
    /// The request is refused.
    Strict,
}

impl Handling {
    /// What the client prefers. Other preferences are none of ours, and ignored as the RFC says.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Self {
        let is_strict = headers
            .get_all(PREFER)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            // Parameters of a preference come after a semicolon.
            .filter_map(|preference| preference.split(';').next()?.split_once('='))
            .any(|(name, value)| {
                name.trim().eq_ignore_ascii_case("handling")
                    && value
                        .trim()
                        .trim_matches('"')
                        .eq_ignore_ascii_case("strict")
            });
        if is_strict {
            Self::Strict
        } else {
            Self::Lenient
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Handling {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        Ok(Self::of(&parts.headers))
    }
}

/// The warnings of one request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[must_use = "warnings have an effect only in the answer to the client"]
pub struct Warnings(Vec<Warning>);

impl Warnings {
    /// Warns of a member or parameter.
    pub fn add(
        &mut self,
        field: impl Into<Cow<'static, str>>,
        message: impl Into<Cow<'static, str>>,
    ) {
        if self.0.len() < MAX_WARNINGS {
            self.0.push(Warning {
                field: field.into(),
                message: message.into(),
            });
        }
    }

    /// Warns of a name that is not among the known ones.
    pub fn unknown(&mut self, name: &str, known: &[&'static str]) {
        if self.0.len() >= MAX_WARNINGS {
            return;
        }
        let message = match nearest(name, known) {
            Some(meant) => format!("unknown; did you mean {meant}?"),
            None => "unknown, and ignored".to_owned(),
        };
        let name: String = name.chars().take(MAX_NAME_CHARS).collect();
        self.add(name, message);
    }

    /// Adds the warnings of another part of the same request.
    pub fn and(mut self, others: Self) -> Self {
        for warning in others.0 {
            self.add(warning.field, warning.message);
        }
        self
    }

    /// The warnings for the answer; for a client that prefers strict handling, the error.
    pub fn judge(self, handling: Handling) -> Result<Vec<Warning>, ApiError> {
        match (handling, self.0.first()) {
            (Handling::Strict, Some(first)) => {
                let message = format!(
                    "{}: {} (Prefer: handling=strict makes this an error)",
                    first.field, first.message
                );
                Err(ApiError::bad_field(first.field.clone(), message))
            }
            _ => Ok(self.0),
        }
    }
}

/// The names that warnings are about, for a header. `None`: there is no warning.
#[must_use]
pub fn header(warnings: &[Warning]) -> Option<HeaderValue> {
    let names: Vec<_> = warnings
        .iter()
        .map(|warning| utf8_percent_encode(&warning.field, NON_ALPHANUMERIC).to_string())
        .collect();
    (!names.is_empty())
        .then(|| HeaderValue::from_str(&names.join(", ")).ok())
        .flatten()
}

/// The known name that is most likely meant.
fn nearest(name: &str, known: &[&'static str]) -> Option<&'static str> {
    // `delay_until`, `Delay-Until` and `delayuntil` mean the same one.
    let plain = |name: &str| -> String {
        name.chars()
            .filter(|c| c.is_alphanumeric())
            .flat_map(char::to_lowercase)
            .take(MAX_NAME_CHARS)
            .collect()
    };
    let name = plain(name);
    known
        .iter()
        .map(|known| {
            let plain = plain(known);
            let distance = strsim::damerau_levenshtein(&name, &plain);
            (distance, plain.len(), *known)
        })
        .filter(|(distance, length, _)| *distance <= (length / 3).max(1))
        .min_by_key(|(distance, ..)| *distance)
        .map(|(.., known)| known)
}

/// The names of the members that `T` reads, aliases included. Empty when it is no struct.
#[must_use]
pub fn members_of<'de, T: Deserialize<'de>>() -> &'static [&'static str] {
    let mut names: &'static [&'static str] = &[];
    // It always fails: only the names are of interest.
    let _ = T::deserialize(Names(&mut names));
    names
}

/// Learns what a struct asks its deserializer for, and gives it nothing.
struct Names<'a>(&'a mut &'static [&'static str]);

impl<'de> Deserializer<'de> for Names<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(Error::custom("only the names of a struct are asked for"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        *self.0 = fields;
        self.deserialize_any(visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [&str; 4] = ["delayUntil", "delay", "maxRetries", "ok"];

    fn handling(values: &[&'static str]) -> Handling {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(PREFER, HeaderValue::from_static(value));
        }
        Handling::of(&headers)
    }

    #[test]
    fn a_preference_is_read_as_the_rfc_writes_it() {
        for strict in [
            &["handling=strict"][..],
            &["Handling = strict"],
            &["handling=\"strict\"; x=y"],
            &["respond-async, wait=10", "return=minimal, handling=strict"],
        ] {
            assert_eq!(handling(strict), Handling::Strict, "{strict:?}");
        }
        for lenient in [
            &[][..],
            &["handling=lenient"],
            &["handling"],
            &["strict"],
            &["handling=stricter"],
        ] {
            assert_eq!(handling(lenient), Handling::Lenient, "{lenient:?}");
        }
    }

    #[test]
    fn the_name_that_is_meant_is_found() {
        for (name, meant) in [
            ("delayUntill", Some("delayUntil")),
            ("delay_until", Some("delayUntil")),
            ("Delay-Until", Some("delayUntil")),
            ("dealy", Some("delay")),
            ("retries", Some("maxRetries")),
            ("okay", None),
            ("colour", None),
            ("", None),
        ] {
            let found = nearest(name, &KNOWN);
            // `retries` is three letters from `maxRetries`, a third of it.
            assert_eq!(found, meant, "{name}");
        }
    }

    #[test]
    fn names_of_members_are_those_of_serde() {
        #[derive(serde::Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        #[derive(Default)]
        struct Wanted {
            #[serde(alias = "callbackUrl")]
            target_url: Option<String>,
            priority: Option<u8>,
        }
        let mut names = members_of::<Wanted>().to_vec();
        names.sort_unstable();
        assert_eq!(names, ["callbackUrl", "priority", "targetUrl"]);
        assert!(members_of::<String>().is_empty());
    }

    #[test]
    fn warnings_are_bounded_and_strict_clients_get_the_first_as_an_error() {
        let mut warnings = Warnings::default();
        for n in 0..50 {
            warnings.unknown(&format!("{n}{}", "x".repeat(100)), &KNOWN);
        }
        let told = warnings.clone().judge(Handling::Lenient).expect("told");
        assert_eq!(told.len(), MAX_WARNINGS);
        assert!(
            told.iter()
                .all(|warning| warning.field.len() <= MAX_NAME_CHARS)
        );
        let refused = warnings.judge(Handling::Strict).expect_err("refused");
        assert_eq!(refused.status, http::StatusCode::BAD_REQUEST);
        assert_eq!(refused.body.field.as_ref(), Some(&told[0].field));
        let none = Warnings::default().judge(Handling::Strict);
        assert!(none.expect("nothing to refuse").is_empty());
    }

    #[test]
    fn a_header_holds_names_of_any_kind() {
        let mut warnings = Warnings::default();
        warnings.unknown("stätus", &KNOWN);
        warnings.unknown("a, b\r\nx: y", &KNOWN);
        let told = warnings.judge(Handling::Lenient).expect("told");
        assert_eq!(
            header(&told).expect("a value"),
            "st%C3%A4tus, a%2C%20b%0D%0Ax%3A%20y"
        );
        assert_eq!(header(&[]), None);
    }
}
