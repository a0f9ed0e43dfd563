//! Replaces references with credentials, without letting them change the structure around them.
//!
//! A text is scanned once from start to end, and an inserted value is never scanned again, so no
//! value can create another reference. In a query, a form or a JSON document, a value is escaped so
//! that it remains one value. Buffers for credentials are allocated in their final size, so that
//! growing leaves no copy behind, and are wiped when dropped.

use serde::de::IgnoredAny;
use zeroize::Zeroizing;

use super::check::is_header_value;
use super::reference::{Braces, is_whole, query_of, templates};
use crate::id::TokenId;
use crate::task::Invalid;
use crate::task::request::shortened;

/// Limit of a header after replacement: the longest value, and as much around it as a task may
/// have.
pub const MAX_HEADER_BYTES: usize = 98_304;
/// Limit of a query after replacement.
pub const MAX_QUERY_BYTES: usize = 65_536;
/// Limit of a body after replacement: without it, a body that repeats a short reference could grow
/// to any size.
pub const MAX_BODY_BYTES: usize = 4_194_304;

/// Why references could not be replaced. No variant contains a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReplaceError {
    /// The token has no value.
    #[error("vault token {0:?} is unknown")]
    Unknown(String),
    /// The value would end the header and begin another one.
    #[error("the value of vault token {0} has line breaks and fits no header")]
    NotAHeaderValue(TokenId),
    /// The result would be too long.
    #[error("{what} would be longer than {limit} bytes with the values of its vault tokens")]
    TooLong {
        /// The part of the request.
        what: &'static str,
        /// The limit in bytes.
        limit: usize,
    },
}

const FORM: &str = "application/x-www-form-urlencoded";

/// How the receiver parses a body, which determines how a value is escaped in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyForm {
    /// JSON: references are inside strings.
    Json,
    /// `application/x-www-form-urlencoded`.
    Form,
    /// Anything else: values are inserted as they are.
    Raw,
}

impl BodyForm {
    /// According to the task's `Content-Type`; without one, JSON if the body parses as JSON.
    #[must_use]
    pub fn of(headers: &[(String, String)], body: &str) -> Self {
        match content_type(headers) {
            Some(kind) if is_json(&kind) => Self::Json,
            Some(kind) if kind == FORM => Self::Form,
            Some(_) => Self::Raw,
            None if parses_as_json(body) => Self::Json,
            None => Self::Raw,
        }
    }

    fn braces(self) -> Braces {
        match self {
            Self::Form => Braces::MayBeEncoded,
            Self::Json | Self::Raw => Braces::Plain,
        }
    }
}

/// Accepted spellings of braces in a body with these headers, determined without looking at the
/// body.
pub(super) fn braces_of_body(headers: &[(String, String)]) -> Braces {
    match content_type(headers) {
        Some(kind) if kind == FORM => BodyForm::Form.braces(),
        _ => BodyForm::Raw.braces(),
    }
}

/// Refuses a body that is declared as JSON but has references outside strings: a value there would
/// become part of the document's structure.
pub fn check_body(headers: &[(String, String)], body: &str) -> Result<(), Invalid> {
    let called_json = content_type(headers).is_some_and(|kind| is_json(&kind));
    if called_json && !parses_as_json(body) {
        return Err(Invalid::new(
            "body",
            "body must be valid JSON, as its Content-Type says, when it references vault tokens; {{tok_...}} belongs inside a string",
        ));
    }
    Ok(())
}

fn content_type(headers: &[(String, String)]) -> Option<String> {
    let (_, value) = headers
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case("content-type"))?;
    let kind = value.split(';').next().unwrap_or_default();
    Some(kind.trim().to_ascii_lowercase())
}

fn is_json(kind: &str) -> bool {
    matches!(
        kind,
        "application/json" | "text/json" | "application/x-ndjson" | "application/jsonl"
    ) || kind.ends_with("+json")
}

/// Whether a text is one JSON document, or several in sequence.
fn parses_as_json(text: &str) -> bool {
    serde_json::Deserializer::from_str(text)
        .into_iter::<IgnoredAny>()
        .all(|document| document.is_ok())
        && !text.trim_ascii().is_empty()
}

/// The value of a header with its references replaced; `None` if it has none.
pub fn header<'v>(
    value: &str,
    lookup: impl Fn(&TokenId) -> Option<&'v str>,
) -> Result<Option<Zeroizing<String>>, ReplaceError> {
    let lookup = |token: &TokenId| match lookup(token) {
        Some(secret) if !is_header_value(secret) => {
            Err(ReplaceError::NotAHeaderValue(token.clone()))
        }
        Some(secret) => Ok(secret),
        None => Err(ReplaceError::Unknown(token.to_string())),
    };
    if is_whole(value) {
        let secret = lookup(&parse(value)?)?;
        return Ok(Some(Zeroizing::new(secret.to_owned())));
    }
    fill(
        value,
        Braces::Plain,
        Writing::Raw,
        ("a header", MAX_HEADER_BYTES),
        lookup,
    )
}

/// The query of a URL with its references replaced and percent-encoded; `None` if it has none. Pass
/// it to `Url::set_query`, which keeps existing escapes.
pub fn query<'v>(
    url: &str,
    lookup: impl Fn(&TokenId) -> Option<&'v str>,
) -> Result<Option<Zeroizing<String>>, ReplaceError> {
    let Some(query) = query_of(url) else {
        return Ok(None);
    };
    let lookup = |token: &TokenId| known(lookup(token), token);
    fill(
        query,
        Braces::MayBeEncoded,
        Writing::Component,
        ("the query of targetUrl", MAX_QUERY_BYTES),
        lookup,
    )
}

/// A body with its references replaced, each escaped as the form requires; `None` if it has none.
pub fn body<'v>(
    body: &str,
    form: BodyForm,
    lookup: impl Fn(&TokenId) -> Option<&'v str>,
) -> Result<Option<Zeroizing<String>>, ReplaceError> {
    let writing = match form {
        BodyForm::Json => Writing::JsonString,
        BodyForm::Form => Writing::FormValue,
        BodyForm::Raw => Writing::Raw,
    };
    let lookup = |token: &TokenId| known(lookup(token), token);
    fill(
        body,
        form.braces(),
        writing,
        ("body", MAX_BODY_BYTES),
        lookup,
    )
}

fn known<'v>(value: Option<&'v str>, token: &TokenId) -> Result<&'v str, ReplaceError> {
    value.ok_or_else(|| ReplaceError::Unknown(token.to_string()))
}

fn parse(text: &str) -> Result<TokenId, ReplaceError> {
    TokenId::parse(text).map_err(|_| ReplaceError::Unknown(shortened(text)))
}

/// Builds the text with its templates replaced: a first pass measures it, a second one writes it.
fn fill<'v>(
    text: &str,
    braces: Braces,
    writing: Writing,
    (what, limit): (&'static str, usize),
    lookup: impl Fn(&TokenId) -> Result<&'v str, ReplaceError>,
) -> Result<Option<Zeroizing<String>>, ReplaceError> {
    let mut length = text.len();
    let mut found = Vec::new();
    for template in templates(text, braces) {
        let secret = lookup(&parse(template.text)?)?;
        let before = &text[..template.start];
        let mut written = 0;
        writing.write(secret, before, &mut |part| written += part.len());
        length = length - (template.end - template.start) + written;
        if length > limit + text.len() {
            return Err(ReplaceError::TooLong { what, limit });
        }
        found.push((template, secret));
    }
    if found.is_empty() {
        return Ok(None);
    }
    if length > limit {
        return Err(ReplaceError::TooLong { what, limit });
    }
    let mut filled = Zeroizing::new(String::with_capacity(length));
    let mut from = 0;
    for (template, secret) in found {
        filled.push_str(&text[from..template.start]);
        let before = &text[..template.start];
        writing.write(secret, before, &mut |part| filled.push_str(part));
        from = template.end;
    }
    filled.push_str(&text[from..]);
    debug_assert_eq!(filled.len(), length, "measured and written alike");
    Ok(Some(filled))
}

/// Escaping of a value, so that it remains one value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Writing {
    Raw,
    /// Percent-encoded, except for the unreserved characters of RFC 3986, 2.3.
    Component,
    /// As the URL standard serialises forms: a space becomes `+`.
    FormValue,
    /// As the inside of a JSON string (RFC 8259, 7).
    JsonString,
}

const HEX: &[u8; 16] = b"0123456789ABCDEF";

impl Writing {
    fn write(self, secret: &str, before: &str, out: &mut dyn FnMut(&str)) {
        match self {
            Self::Raw => out(secret),
            Self::Component => encode(secret, before, out, |b| {
                b.is_ascii_alphanumeric() || b"-._~".contains(&b)
            }),
            Self::FormValue => {
                let mut rest = secret;
                while let Some((word, behind)) = rest.split_once(' ') {
                    encode(word, before, out, is_form_literal);
                    out("+");
                    rest = behind;
                }
                encode(rest, before, out, is_form_literal);
            }
            Self::JsonString => {
                for part in secret.split_inclusive(must_be_escaped) {
                    match part.chars().next_back() {
                        Some(last) if must_be_escaped(last) => {
                            out(&part[..part.len() - last.len_utf8()]);
                            escape(last, out);
                        }
                        _ => out(part),
                    }
                }
            }
        }
    }
}

fn is_form_literal(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"*-._".contains(&b)
}

/// Percent-encodes a value. After an incomplete escape (`%`, `%4`), the first byte is always
/// encoded, since it would otherwise complete that escape.
fn encode(secret: &str, before: &str, out: &mut dyn FnMut(&str), literal: impl Fn(u8) -> bool) {
    let before = before.as_bytes();
    let within_escape =
        before.ends_with(b"%") || matches!(before, [.., b'%', digit] if digit.is_ascii_hexdigit());
    for (at, byte) in secret.bytes().enumerate() {
        let code = [
            b'%',
            HEX[usize::from(byte >> 4)],
            HEX[usize::from(byte & 15)],
        ];
        let escaped = !literal(byte) || (at == 0 && within_escape);
        let bytes = if escaped { &code[..] } else { &[byte][..] };
        // Percent escapes and literals are ASCII.
        out(std::str::from_utf8(bytes).unwrap_or_default());
    }
}

fn must_be_escaped(c: char) -> bool {
    matches!(c, '"' | '\\') || c < ' '
}

fn escape(c: char, out: &mut dyn FnMut(&str)) {
    match c {
        '"' => out("\\\""),
        '\\' => out("\\\\"),
        '\n' => out("\\n"),
        '\r' => out("\\r"),
        '\t' => out("\\t"),
        other => out(&format!("\\u{:04x}", u32::from(other))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use url::Url;

    const TOKEN: &str = "tok_01kc0q2v9x3d8e5h7j9m1n3p5r";
    const OTHER: &str = "tok_01kc0q2v9x3d8e5h7j9m1n3p5s";

    fn template(token: &str) -> String {
        format!("{{{{{token}}}}}")
    }

    /// One token has that value, another one is called `other`, and there are no further ones.
    fn values<'v>(value: &'v str) -> impl Fn(&TokenId) -> Option<&'v str> {
        move |token| match token.as_str() {
            TOKEN => Some(value),
            OTHER => Some("other"),
            _ => None,
        }
    }

    fn text(filled: Result<Option<Zeroizing<String>>, ReplaceError>) -> String {
        filled.expect("filled").expect("refers").to_string()
    }

    #[test]
    fn a_header_is_replaced_whole_or_inside() {
        assert_eq!(text(header(TOKEN, values("Bearer x"))), "Bearer x");
        assert_eq!(
            text(header(
                &format!("a={}; b={}!", template(TOKEN), template(OTHER)),
                values("ü")
            )),
            "a=ü; b=other!"
        );
        for literal in ["Bearer x", &format!("Bearer {TOKEN}"), ""] {
            assert_eq!(header(literal, values("x")), Ok(None), "{literal}");
        }
    }

    #[test]
    fn a_value_with_line_breaks_never_reaches_a_header() {
        let token = TokenId::parse(TOKEN).expect("a token");
        for value in [TOKEN.to_owned(), format!("Bearer {}", template(TOKEN))] {
            assert_eq!(
                header(&value, values("a\r\nHost: evil")),
                Err(ReplaceError::NotAHeaderValue(token.clone()))
            );
        }
    }

    #[test]
    fn an_unknown_token_is_an_error_that_names_it() {
        for value in ["tok_x", "a {{tok_x}}"] {
            assert_eq!(
                header(value, values("v")),
                Err(ReplaceError::Unknown("tok_x".into()))
            );
        }
        let stranger = "tok_01kc0q2v9x3d8e5h7j9m1n3p5t";
        assert_eq!(
            body(&template(stranger), BodyForm::Raw, values("v")),
            Err(ReplaceError::Unknown(stranger.into()))
        );
    }

    #[test]
    fn a_value_makes_no_other_reference() {
        let sly = template(OTHER);
        assert_eq!(
            text(header(&format!("x {}", template(TOKEN)), values(&sly))),
            format!("x {sly}")
        );
        let halves = format!("{{{{{}{}", template(TOKEN), "}}");
        assert_eq!(
            text(header(&halves, values(OTHER))),
            format!("{{{{{OTHER}}}}}")
        );
    }

    #[test]
    fn in_a_query_it_stays_one_value() {
        let url = format!(
            "https://x/p?a=1&key={}&b=%7b%7B{OTHER}%7D%7d#f",
            template(TOKEN)
        );
        let filled = text(query(&url, values("a&b=c d/?#%2B+ü")));
        assert_eq!(
            filled,
            "a=1&key=a%26b%3Dc%20d%2F%3F%23%252B%2B%C3%BC&b=other"
        );
        let mut parsed = Url::parse(&url).expect("a URL");
        parsed.set_query(Some(&filled));
        assert_eq!(parsed.query(), Some(filled.as_str()));
        let pairs: Vec<_> = parsed
            .query_pairs()
            .map(|(_, value)| value.into_owned())
            .collect();
        assert_eq!(pairs, ["1", "a&b=c d/?#%2B+ü", "other"]);
    }

    #[test]
    fn it_completes_no_escape_that_stands_before_it() {
        for (before, expected) in [
            ("%", "%%340"),
            ("%4", "%4%340"),
            ("%41", "%4140"),
            ("4", "440"),
        ] {
            let url = format!("https://x/?{before}{}", template(TOKEN));
            assert_eq!(text(query(&url, values("40"))), expected);
        }
    }

    #[test]
    fn in_json_it_stays_one_string() {
        let document = format!(r#"{{"k":"x{}y","n":1}}"#, template(TOKEN));
        let value = "a\"b\\c\n\u{1}\"}, {\"admin\":true, ü";
        let filled = text(body(&document, BodyForm::Json, values(value)));
        let read: serde_json::Value = serde_json::from_str(&filled).expect("still JSON");
        assert_eq!(read, serde_json::json!({"k": format!("x{value}y"), "n": 1}));
    }

    #[test]
    fn in_a_form_it_stays_one_value() {
        let form = format!("a={}&b=%7B%7B{OTHER}%7D%7D", template(TOKEN));
        let filled = text(body(&form, BodyForm::Form, values("x y&b=2+ü")));
        assert_eq!(filled, "a=x+y%26b%3D2%2B%C3%BC&b=other");
    }

    #[test]
    fn the_form_of_a_body_is_what_its_header_says() {
        let of = |kind: &str| BodyForm::of(&[("content-TYPE".into(), kind.into())], "{}");
        assert_eq!(of("application/json; charset=utf-8"), BodyForm::Json);
        assert_eq!(of("Application/Problem+JSON"), BodyForm::Json);
        assert_eq!(of("application/x-www-form-urlencoded"), BodyForm::Form);
        assert_eq!(of("text/plain"), BodyForm::Raw);
        assert_eq!(BodyForm::of(&[], " {\"a\": 1}"), BodyForm::Json);
        assert_eq!(BodyForm::of(&[], "{{tok_x}}"), BodyForm::Raw);
        assert_eq!(BodyForm::of(&[], ""), BodyForm::Raw);
    }

    #[test]
    fn a_reference_outside_of_the_strings_of_json_is_refused() {
        let json = [("Content-Type".to_owned(), "application/json".to_owned())];
        let outside = format!("{{\"n\": {}}}", template(TOKEN));
        assert_eq!(
            check_body(&json, &outside).expect_err("refused").field,
            "body"
        );
        assert_eq!(check_body(&[], &outside), Ok(()));
        for fine in [
            "{\"n\":\"{{tok_x}}\"}",
            "{\"a\":1}\n{\"b\":\"{{tok_x}}\"}\n",
        ] {
            assert_eq!(check_body(&json, fine), Ok(()), "{fine}");
        }
    }

    #[test]
    fn what_would_grow_without_end_is_refused() {
        let large = "x".repeat(65_536);
        let many = template(TOKEN).repeat(100);
        let error = body(&many, BodyForm::Raw, values(&large)).expect_err("too long");
        assert_eq!(
            error.to_string(),
            "body would be longer than 4194304 bytes with the values of its vault tokens"
        );
        assert!(header(&template(TOKEN).repeat(2), values(&large)).is_err());
        assert!(header(TOKEN, values(&large)).is_ok());
    }

    proptest! {
        #[test]
        fn every_value_comes_out_as_it_went_in(value in "\\PC{1,60}", spaced in "[ -~\\t\\r\\n]{1,40}") {
            for value in [value, spaced] {
                let url = format!("https://x/?k={}&z=1", template(TOKEN));
                let mut parsed = Url::parse(&url).expect("a URL");
                parsed.set_query(Some(&text(query(&url, values(&value)))));
                let pairs: Vec<_> = parsed.query_pairs().map(|(k, v)| (k.into_owned(), v.into_owned())).collect();
                prop_assert_eq!(pairs, [("k".to_owned(), value.clone()), ("z".into(), "1".into())]);

                let form = text(body(&format!("k={}&z=1", template(TOKEN)), BodyForm::Form, values(&value)));
                let pairs: Vec<_> = url::form_urlencoded::parse(form.as_bytes())
                    .map(|(k, v)| (k.into_owned(), v.into_owned())).collect();
                prop_assert_eq!(pairs, [("k".to_owned(), value.clone()), ("z".into(), "1".into())]);

                let json = text(body(&format!("[\"{}\"]", template(TOKEN)), BodyForm::Json, values(&value)));
                prop_assert_eq!(serde_json::from_str::<Vec<String>>(&json).expect("still JSON"), [value]);
            }
        }

        #[test]
        fn no_text_makes_it_panic(text in "(\\{|\\}|%7B|%7D|tok_|tok_01kc0q2v9x3d8e5h7j9m1n3p5r|é|[ -~]){0,40}") {
            let _ = header(&text, values("v"));
            let _ = query(&format!("https://x/?{text}"), values("v"));
            for form in [BodyForm::Json, BodyForm::Form, BodyForm::Raw] {
                let _ = body(&text, form, values("v"));
            }
        }
    }
}
