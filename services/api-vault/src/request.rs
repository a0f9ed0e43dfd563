//! What clients send about tokens. A value is never in an error, whatever it was sent as.

use std::fmt;

use serde::de::{Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use utoipa::ToSchema;
use waybill_domain::time::Timestamp;
use waybill_domain::vault::AllowedHosts;
use waybill_domain::vault::check::{check_value, is_header_value};
use waybill_vault::SecretBytes;
use zeroize::Zeroizing;

use waybill_edge::error::ApiError;

/// A credential to be stored.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct CreateToken {
    /// A name for people, at most 100 characters. Names need not be unique.
    #[schema(required = true, min_length = 1, max_length = 100, example = "OpenAI")]
    pub name: Option<String>,
    /// The credential as it is to be sent, with its scheme where there is one: at most 65,536 bytes. One with line breaks cannot be used in a header.
    #[schema(required = true, value_type = String, min_length = 1, max_length = 65536, example = "Bearer sk-...")]
    pub value: Option<Secret>,
    /// Hosts that it may be sent to, such as `api.openai.com` or `*.example.com`; at most 20. Empty: any. Recommended: it keeps a stolen
    /// API key from carrying the credential elsewhere.
    #[serde(default)]
    #[schema(value_type = Option<Vec<String>>, max_items = 20)]
    pub allowed_hosts: Option<Vec<String>>,
    /// From this time on, no task may refer to it (ISO 8601).
    #[schema(example = "2030-01-31T12:00:00.000Z", format = DateTime)]
    pub expires_at: Option<String>,
}

/// A new value for a token.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RotateToken {
    /// The credential as it is to be sent from now on: at most 65,536 bytes.
    #[schema(required = true, value_type = String, min_length = 1, max_length = 65536)]
    pub value: Option<Secret>,
}

/// Text that no error, log line or answer shows.
pub struct Secret(Zeroizing<String>);

/// A valid value, and whether it can be sent in a header.
pub(super) struct CheckedValue {
    pub(super) value: SecretBytes,
    pub(super) fits_header: bool,
}

/// Checks only that there is a name; the command of the team checks what it is.
pub(super) fn name(given: Option<String>) -> Result<String, ApiError> {
    let missing = || ApiError::bad_field("name", "name is required");
    given.ok_or_else(missing)
}

pub(super) fn value(given: Option<Secret>) -> Result<CheckedValue, ApiError> {
    let missing = || ApiError::bad_field("value", "value is required");
    let mut text = given.ok_or_else(missing)?.0;
    check_value(&text)?;
    Ok(CheckedValue {
        fits_header: is_header_value(&text),
        value: SecretBytes::from(std::mem::take(&mut *text)),
    })
}

pub(super) fn allowed_hosts(given: Option<Vec<String>>) -> Result<Vec<String>, ApiError> {
    let hosts = AllowedHosts::parse(&given.unwrap_or_default())?;
    Ok(hosts.to_strings())
}

pub(super) fn expires_at(given: Option<&str>) -> Result<Option<Timestamp>, ApiError> {
    let read = |text: &str| {
        Timestamp::parse_iso8601(text).ok_or_else(|| {
            let shown: String = text.chars().take(40).collect();
            let message =
                format!("expiresAt must be a time such as 2030-01-31T12:00:00Z, not {shown:?}");
            ApiError::bad_field("expiresAt", message)
        })
    };
    given.map(read).transpose()
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// Says only that the value must be a string: serde's own message would quote the value.
        struct Text;

        fn not_a_string<T, E: Error>() -> Result<T, E> {
            Err(E::custom("must be a string"))
        }

        impl<'de> Visitor<'de> for Text {
            type Value = Secret;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Secret, E> {
                Ok(Secret(Zeroizing::new(text.to_owned())))
            }

            fn visit_string<E: Error>(self, text: String) -> Result<Secret, E> {
                Ok(Secret(Zeroizing::new(text)))
            }

            fn visit_bool<E: Error>(self, _: bool) -> Result<Secret, E> {
                not_a_string()
            }

            fn visit_i64<E: Error>(self, _: i64) -> Result<Secret, E> {
                not_a_string()
            }

            fn visit_u64<E: Error>(self, _: u64) -> Result<Secret, E> {
                not_a_string()
            }

            fn visit_f64<E: Error>(self, _: f64) -> Result<Secret, E> {
                not_a_string()
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Secret, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                not_a_string()
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Secret, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                not_a_string()
            }
        }

        deserializer.deserialize_any(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use waybill_edge::body::parse;

    #[test]
    fn a_value_is_quoted_by_no_error() {
        for sent in [
            "12345678",
            "-12345678",
            "1234.5678",
            "true",
            "[\"12345678\"]",
            "{\"a\": \"12345678\"}",
            "\"12345678",
        ] {
            let json = format!("{{\"name\": \"n\", \"value\": {sent}}}");
            let Err(error) = parse::<CreateToken>(json.as_bytes()) else {
                panic!("{sent} is no text");
            };
            let said = serde_json::to_string(&error.body).expect("an error");
            assert!(!said.contains("1234") && !said.contains("true"), "{said}");
        }
        let null = parse::<CreateToken>(b"{\"name\": \"n\", \"value\": null}").expect("read");
        assert!(value(null.value).is_err(), "null counts as not given");
    }

    #[test]
    fn what_is_wrong_with_a_value_is_said_without_it() {
        for bad in ["", "s3cret-\u{7}", "s3cret\n"] {
            let secret = Secret(Zeroizing::new(bad.into()));
            let error = value(Some(secret)).map(|_| ()).expect_err(bad);
            let said = error.body.error.to_string();
            assert!(
                said.starts_with("value ") && !said.contains("s3cret"),
                "{said}"
            );
        }
    }
}
