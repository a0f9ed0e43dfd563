//! What failed tasks have in common: the host that was called, and the shape of the error, in which
//! what differs from task to task is replaced.

/// Limit of a shape, in bytes.
const MAX_SHAPE_BYTES: usize = 240;
/// Words with a digit that are at least as long are ids.
const MIN_ID_CHARS: usize = 8;
/// Words that are longer are ids, whatever they consist of.
const MAX_WORD_CHARS: usize = 64;

/// The host of a URL as it is compared: in lower case, with its port unless that is the scheme's
/// own, without user information.
#[must_use]
pub fn host(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let end = rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len());
    let authority = &rest[..end];
    let host = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    let host = host.to_ascii_lowercase();
    let default = if scheme.eq_ignore_ascii_case("https") {
        ":443"
    } else {
        ":80"
    };
    host.strip_suffix(default)
        .map(str::to_owned)
        .unwrap_or(host)
}

/// Whether a URL leads to a host as a client names it: with its port, or without for any port.
#[must_use]
pub fn is_at(url: &str, wanted: &str) -> bool {
    let host = host(url);
    if host.eq_ignore_ascii_case(wanted) {
        return true;
    }
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => return false,
    };
    name.eq_ignore_ascii_case(wanted)
}

/// The shape of an error: numbers become `<n>`, ids `<id>`, quoted parts `<text>` and URLs `<url>`,
/// so that errors of one cause are the same text.
#[must_use]
pub fn shape(error: &str) -> String {
    let mut shape = String::new();
    let mut rest = error;
    while let Some(first) = rest.chars().next() {
        if shape.len() >= MAX_SHAPE_BYTES {
            shape.push('…');
            break;
        }
        let taken = if let Some(length) = quoted(rest, first) {
            shape.push_str("<text>");
            length
        } else if rest.starts_with("http://") || rest.starts_with("https://") {
            shape.push_str("<url>");
            rest.find(char::is_whitespace).unwrap_or(rest.len())
        } else if first.is_ascii_alphanumeric() {
            let word = word(rest);
            shape.push_str(kind(word));
            word.len()
        } else {
            shape.push(first);
            first.len_utf8()
        };
        rest = &rest[taken..];
    }
    shape
}

/// The length of the quoted part that a text begins with, with its quotes. An apostrophe within a
/// word is none, since only what follows a word is looked at here.
fn quoted(text: &str, quote: char) -> Option<usize> {
    if !matches!(quote, '"' | '\'' | '`') {
        return None;
    }
    text[1..].find(quote).map(|at| at + 2)
}

/// The word that a text begins with. An apostrophe between letters belongs to it.
fn word(text: &str) -> &str {
    let bytes = text.as_bytes();
    let letter = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_alphanumeric);
    let mut end = 0;
    while letter(end)
        || (end > 0
            && matches!(bytes.get(end), Some(b'_' | b'-' | b'.' | b'\''))
            && letter(end + 1))
    {
        end += 1;
    }
    &text[..end]
}

fn kind(word: &str) -> &str {
    let digits = word.bytes().filter(u8::is_ascii_digit).count();
    let letters = word.bytes().filter(u8::is_ascii_alphabetic).count();
    match (digits, letters) {
        _ if word.len() > MAX_WORD_CHARS => "<id>",
        (0, _) => word,
        (_, 0) => "<n>",
        _ if word.len() >= MIN_ID_CHARS && !word.contains('.') => "<id>",
        // A length with its unit, such as `30s`.
        _ if word.as_bytes()[0].is_ascii_digit() => "<n>",
        _ => word,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_differs_from_task_to_task_is_replaced() {
        for (error, expected) in [
            (
                "Server error: HTTP 503 - Service Unavailable",
                "Server error: HTTP <n> - Service Unavailable",
            ),
            (
                "Timed out after 30.5 s: no answer from 10.0.0.7:8080",
                "Timed out after <n> s: no answer from <n>:<n>",
            ),
            (
                "order \"A 17\" of task_01kc0q2v9x3d8e5h7j9m1n3p5r0d wasn't found",
                "order <text> of <id> wasn't found",
            ),
            (
                "HTTP 302 redirects to https://b.example/x?y=1, which was not followed",
                "HTTP <n> redirects to <url> which was not followed",
            ),
            ("id 6f1c2a4e-8b0d-4c35-9f67-0123456789ab", "id <id>"),
            (
                "waited 30s for api.example.com",
                "waited <n> for api.example.com",
            ),
            ("it's broken, isn't it", "it's broken, isn't it"),
            ("an open \" quote é", "an open \" quote é"),
        ] {
            assert_eq!(shape(error), expected);
        }
    }

    #[test]
    fn a_host_is_compared_with_its_port_or_without() {
        let url = "https://user@API.example.com:8443/x";
        assert_eq!(host(url), "api.example.com:8443");
        assert_eq!(host("http://a.example:80?x"), "a.example");
        assert!(is_at(url, "api.example.com:8443") && is_at(url, "Api.example.com"));
        assert!(!is_at(url, "example.com") && !is_at(url, "api.example.com:443"));
        assert!(is_at("http://[::1]:9000/", "[::1]") && !is_at("http://[::1]/", "[:"));
    }

    proptest! {
        #[test]
        fn every_text_has_a_short_shape(error in "\\PC{0,600}") {
            let once = shape(&error);
            prop_assert!(once.len() <= MAX_SHAPE_BYTES + MAX_WORD_CHARS + 3, "{}", once.len());
        }
    }
}
