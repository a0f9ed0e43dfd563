//! Which values a vault token may have. No message quotes a value.

use crate::task::Invalid;

/// Limit of a value, in bytes.
pub const MAX_VALUE_BYTES: usize = 65_536;

/// Validates the value of a token, which is the field `value`.
pub fn check_value(value: &str) -> Result<(), Invalid> {
    let invalid = |why: String| Err(Invalid::new("value", why));
    if value.is_empty() {
        return invalid("value is required".into());
    }
    if value.len() > MAX_VALUE_BYTES {
        return invalid(format!(
            "value must be at most {MAX_VALUE_BYTES} bytes, not {}",
            value.len()
        ));
    }
    let is_odd = |c: char| c.is_control() && !matches!(c, '\t' | '\r' | '\n');
    if value.contains(is_odd) {
        return invalid(
            "value must not contain control characters other than tabs and line breaks".into(),
        );
    }
    // Far more often, it comes from `echo secret | ...` than from a credential that ends with it,
    // and it would silently break each header.
    if value.ends_with(['\r', '\n']) {
        return invalid("value must not end in a line break".into());
    }
    Ok(())
}

/// Whether a value can be sent in a header as it is.
#[must_use]
pub fn is_header_value(value: &str) -> bool {
    !value.bytes().any(|b| b.is_ascii_control() && b != b'\t')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(value: &str) -> Option<String> {
        check_value(value).err().map(|invalid| {
            assert_eq!(invalid.field, "value");
            invalid.message
        })
    }

    #[test]
    fn credentials_of_all_kinds_are_values() {
        for value in [
            "x",
            "Bearer sk-123",
            "-----BEGIN KEY-----\r\nabc\n-----END KEY-----",
            "a\tb",
            "pässwörd",
            " leading and trailing ",
            &"x".repeat(MAX_VALUE_BYTES),
        ] {
            assert_eq!(message(value), None);
        }
    }

    #[test]
    fn what_is_wrong_is_said_without_the_value() {
        assert_eq!(message("").as_deref(), Some("value is required"));
        assert_eq!(
            message(&"x".repeat(MAX_VALUE_BYTES + 1)).as_deref(),
            Some("value must be at most 65536 bytes, not 65537")
        );
        for value in ["secret\n", "secret\r", "secret\r\n"] {
            assert_eq!(
                message(value).as_deref(),
                Some("value must not end in a line break")
            );
        }
        for value in ["secret\0", "\x1b[2Jsecret", "secret\x7f", "secret\u{85}x"] {
            let message = message(value).expect("refused");
            assert!(message.starts_with("value must not contain control characters"));
            assert!(!message.contains("secret"));
        }
    }

    #[test]
    fn a_line_break_fits_no_header() {
        for value in ["Bearer x", "a\tb", "ü"] {
            assert!(is_header_value(value), "{value}");
        }
        for value in ["a\r\nHost: evil", "a\nb", "a\rb"] {
            assert!(!is_header_value(value), "{value:?}");
        }
    }
}
