//! Which headers a task may set.

/// A header that a task may not set. The message follows the name of the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderRefused {
    /// Not a token of RFC 9110.
    #[error("is not a valid header name")]
    Name,
    /// A control character, which could end the header and begin another one.
    #[error("has a value with control characters")]
    Value,
    /// The header frames the message, belongs to one connection, or is set by Waybill.
    #[error("is set by Waybill and cannot be given")]
    Reserved,
}

/// Headers that frame a message or belong to one connection (RFC 9110, 7.6.1), and those with our
/// signatures.
const RESERVED: [&str; 11] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-asyncqueue-signature",
];
const RESERVED_PREFIXES: [&str; 3] = ["proxy-", "waybill-", "webhook-"];

/// Whether a task may set this header to this value.
pub fn check_header(name: &str, value: &str) -> Result<(), HeaderRefused> {
    if name.is_empty() || !name.bytes().all(is_token) {
        return Err(HeaderRefused::Name);
    }
    if value.bytes().any(|b| b.is_ascii_control() && b != b'\t') {
        return Err(HeaderRefused::Value);
    }
    if is_reserved(name) {
        return Err(HeaderRefused::Reserved);
    }
    Ok(())
}

fn is_reserved(name: &str) -> bool {
    let starts_with = |prefix: &&str| {
        name.get(..prefix.len())
            .is_some_and(|head| head.eq_ignore_ascii_case(prefix))
    };
    RESERVED.iter().any(|r| r.eq_ignore_ascii_case(name))
        || RESERVED_PREFIXES.iter().any(starts_with)
}

/// `tchar` of RFC 9110, 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_headers_are_accepted() {
        for (name, value) in [
            ("Authorization", "Bearer x"),
            ("X-Empty", ""),
            ("X-Tab", "a\tb"),
            ("X-Umlaut", "ü"),
            ("Proxy", "x"),
        ] {
            assert_eq!(check_header(name, value), Ok(()), "{name}");
        }
    }

    #[test]
    fn names_are_tokens() {
        for name in ["", "a b", "a:b", "a\r\nb", "ü", "a(b)", "a\0"] {
            assert_eq!(check_header(name, "x"), Err(HeaderRefused::Name), "{name}");
        }
    }

    #[test]
    fn control_characters_never_pass() {
        for value in ["a\r\nHost: evil", "a\n", "\r", "a\0b", "\x7f", "\x1b[2J"] {
            assert_eq!(
                check_header("X", value),
                Err(HeaderRefused::Value),
                "{value:?}"
            );
        }
    }

    #[test]
    fn framing_and_our_own_headers_are_reserved() {
        for name in [
            "Host",
            "CONTENT-LENGTH",
            "transfer-encoding",
            "Connection",
            "TE",
            "Trailer",
            "Upgrade",
            "Expect",
            "Proxy-Authorization",
            "webhook-signature",
            "Waybill-Task-Id",
            "X-AsyncQueue-Signature",
        ] {
            assert_eq!(
                check_header(name, "x"),
                Err(HeaderRefused::Reserved),
                "{name}"
            );
        }
    }
}
