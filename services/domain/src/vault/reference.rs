//! References of a task to vault tokens.
//!
//! A header whose value begins with `tok_` is a reference as a whole. Within a longer value, and
//! within the query and the body of a task that asks for it, `{{tok_...}}` is a reference. Whatever
//! begins like a reference is one: a malformed reference is an unknown token, so that a typing
//! error is reported instead of being sent. Elsewhere, the same characters are ordinary text.

use std::collections::BTreeSet;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::Url;

use super::hosts::AllowedHosts;
use super::replace::braces_of_body;
use crate::id::TokenId;
use crate::task::Invalid;
use crate::task::request::shortened;

/// Limit of different tokens per task: each is decrypted before the call, and searched for in the
/// answer.
pub const MAX_TOKENS: usize = 20;
/// Prefix of every reference.
const PREFIX: &str = "tok_";
/// Within this many bytes, a template must end; no id is longer.
const MAX_TEMPLATE_BYTES: usize = 128;

/// Where references are replaced besides the headers, where they always are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Resolve {
    /// In the query of the URL.
    #[serde(default, skip_serializing_if = "is_false")]
    pub query: bool,
    /// In the body.
    #[serde(default, skip_serializing_if = "is_false")]
    pub body: bool,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde's skip_serializing_if passes a reference"
)]
fn is_false(flag: &bool) -> bool {
    !*flag
}

impl Resolve {
    /// Parses `resolve` of a request.
    pub fn parse(names: &[String]) -> Result<Self, Invalid> {
        let mut resolve = Self::default();
        for name in names {
            match name.as_str() {
                "headers" => {}
                "query" => resolve.query = true,
                "body" => resolve.body = true,
                other => {
                    return Err(Invalid::new(
                        "resolve",
                        format!(
                            "resolve must hold \"headers\", \"query\" or \"body\", not {:?}",
                            shortened(other)
                        ),
                    ));
                }
            }
        }
        Ok(resolve)
    }

    /// Whether references are only replaced in headers.
    #[must_use]
    pub fn is_headers_only(&self) -> bool {
        !self.query && !self.body
    }

    /// The names in requests.
    #[must_use]
    pub fn names(self) -> Vec<&'static str> {
        [
            (true, "headers"),
            (self.query, "query"),
            (self.body, "body"),
        ]
        .into_iter()
        .filter_map(|(named, name)| named.then_some(name))
        .collect()
    }
}

/// Position of a reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place<'a> {
    /// In the header of that name.
    Header(&'a str),
    /// In the query of the URL.
    Query,
    /// In the body.
    Body,
}

impl Place<'_> {
    /// The field of the request that contains it.
    #[must_use]
    pub fn field(self) -> &'static str {
        match self {
            Self::Header(_) => "headers",
            Self::Query => "targetUrl",
            Self::Body => "body",
        }
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(name) => write!(f, "Header {:?}", shortened(name)),
            Self::Query => f.write_str("The query of targetUrl"),
            Self::Body => f.write_str("body"),
        }
    }
}

/// A reference to a vault token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference<'a> {
    pub place: Place<'a>,
    /// The text of the reference, without braces.
    pub text: &'a str,
    /// The token; `None` if the text is not a token id.
    pub token: Option<TokenId>,
}

impl<'a> Reference<'a> {
    fn new(place: Place<'a>, text: &'a str) -> Self {
        Self {
            place,
            text,
            token: TokenId::parse(text).ok(),
        }
    }

    /// The caller has no such token.
    #[must_use]
    pub fn unknown(&self) -> Invalid {
        self.refused(|shown| format!("references unknown vault token {shown}"))
    }

    /// The token's value contains a line break.
    #[must_use]
    pub fn not_in_a_header(&self) -> Invalid {
        self.refused(|shown| {
            format!(
                "references vault token {shown}, whose value has line breaks and fits no header"
            )
        })
    }

    /// The token may not be sent to the task's target.
    #[must_use]
    pub fn not_to(&self, allowed: &AllowedHosts, url: &Url) -> Invalid {
        let host = url.host_str().unwrap_or_default().to_owned();
        self.refused(|shown| {
            format!(
                "references vault token {shown}, which may only be sent to {allowed}, not to {:?}",
                shortened(&host)
            )
        })
    }

    fn refused(&self, why: impl FnOnce(&str) -> String) -> Invalid {
        let shown = format!("{:?}", shortened(self.text));
        Invalid::new(
            self.place.field(),
            format!("{} {}", self.place, why(&shown)),
        )
    }
}

/// All references of a task, in order: in headers, query and body.
pub fn references<'a>(
    headers: &'a [(String, String)],
    url: &'a str,
    body: Option<&'a str>,
    resolve: Resolve,
) -> impl Iterator<Item = Reference<'a>> {
    let of_headers = headers
        .iter()
        .flat_map(|(name, value)| of_header(name, value));
    let of_query = resolve
        .query
        .then(|| query_of(url))
        .flatten()
        .into_iter()
        .flat_map(|query| templates(query, Braces::MayBeEncoded))
        .map(|found| Reference::new(Place::Query, found.text));
    let of_body = resolve
        .body
        .then_some(body)
        .flatten()
        .into_iter()
        .flat_map(move |body| templates(body, braces_of_body(headers)))
        .map(|found| Reference::new(Place::Body, found.text));
    of_headers.chain(of_query).chain(of_body)
}

/// The references in one header.
pub fn of_header<'a>(name: &'a str, value: &'a str) -> impl Iterator<Item = Reference<'a>> {
    let place = Place::Header(name);
    let whole = is_whole(value).then(|| Reference::new(place, value));
    let inside = whole.is_none().then(|| templates(value, Braces::Plain));
    whole.into_iter().chain(
        inside
            .into_iter()
            .flatten()
            .map(move |found| Reference::new(place, found.text)),
    )
}

/// Whether the value of a header is a reference as a whole.
pub(super) fn is_whole(value: &str) -> bool {
    value.starts_with(PREFIX)
}

/// Whether the value of a header is or contains a reference.
#[must_use]
pub fn refers(value: &str) -> bool {
    of_header("", value).next().is_some()
}

/// Whether there are more different tokens than a task may refer to. Stops at the first one too
/// many.
#[must_use]
pub fn too_many<'a>(mut references: impl Iterator<Item = Reference<'a>>) -> bool {
    let mut different = BTreeSet::new();
    references.any(|reference| different.insert(reference.text) && different.len() > MAX_TOKENS)
}

/// The query of a URL, as written.
#[must_use]
pub fn query_of(url: &str) -> Option<&str> {
    let before_fragment = url.split_once('#').map_or(url, |(before, _)| before);
    before_fragment.split_once('?').map(|(_, query)| query)
}

/// Accepted spellings of braces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Braces {
    /// `{{`
    Plain,
    /// Also `%7B%7B`, which libraries for queries and forms produce.
    MayBeEncoded,
}

/// A `{{tok_...}}` in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Template<'a> {
    /// Index of the opening braces.
    pub(super) start: usize,
    /// Index after the closing braces.
    pub(super) end: usize,
    /// The text between the braces.
    pub(super) text: &'a str,
}

/// The templates of a text, in order and without overlaps.
pub(super) fn templates(text: &str, braces: Braces) -> impl Iterator<Item = Template<'_>> {
    let mut from = 0;
    std::iter::from_fn(move || {
        loop {
            let at = from + text.get(from..)?.find(PREFIX)?;
            let opened = open_before(&text.as_bytes()[from..at], braces).map(|width| at - width);
            let Some(start) = opened else {
                from = at + PREFIX.len();
                continue;
            };
            let (until, end) = close_after(text, at, braces);
            from = end;
            return Some(Template {
                start,
                end,
                text: &text[at..until],
            });
        }
    })
}

/// Length of two opening braces at the end of the text.
fn open_before(text: &[u8], braces: Braces) -> Option<usize> {
    let one = |text: &[u8]| {
        if text.ends_with(b"{") {
            Some(1)
        } else if braces == Braces::MayBeEncoded
            && (text.ends_with(b"%7B") || text.ends_with(b"%7b"))
        {
            Some(3)
        } else {
            None
        }
    };
    let inner = one(text)?;
    let outer = one(&text[..text.len() - inner])?;
    Some(inner + outer)
}

/// Where a token that begins at `at` ends, and where its closing braces end. Without braces, both
/// are where the search stops.
fn close_after(text: &str, at: usize, braces: Braces) -> (usize, usize) {
    let bytes = text.as_bytes();
    let one = |from: usize| {
        let rest = bytes.get(from..).unwrap_or_default();
        if rest.starts_with(b"}") {
            Some(1)
        } else if braces == Braces::MayBeEncoded
            && (rest.starts_with(b"%7D") || rest.starts_with(b"%7d"))
        {
            Some(3)
        } else {
            None
        }
    };
    let stop = text.floor_char_boundary(at + MAX_TEMPLATE_BYTES);
    for until in at..stop {
        if let Some(inner) = one(until)
            && let Some(outer) = one(until + inner)
        {
            return (until, until + inner + outer);
        }
    }
    (stop, stop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TOKEN: &str = "tok_01kc0q2v9x3d8e5h7j9m1n3p5r";

    fn found(text: &str, braces: Braces) -> Vec<&str> {
        templates(text, braces).map(|found| found.text).collect()
    }

    fn header(value: &str) -> Vec<(String, bool)> {
        of_header("Authorization", value)
            .map(|reference| (reference.text.to_owned(), reference.token.is_some()))
            .collect()
    }

    #[test]
    fn a_header_that_begins_so_is_a_reference_as_a_whole() {
        assert_eq!(header(TOKEN), [(TOKEN.into(), true)]);
        for value in [
            "tok_",
            "tok_01KC0Q2V9X3D8E5H7J9M1N3P5R",
            &format!("{TOKEN}x"),
            &format!("{TOKEN} {{{{{TOKEN}}}}}"),
        ] {
            assert_eq!(header(value), [(value.to_owned(), false)], "{value}");
        }
    }

    #[test]
    fn inside_a_longer_value_braces_make_a_reference() {
        let composite = format!("Bearer {{{{{TOKEN}}}}}");
        assert_eq!(header(&composite), [(TOKEN.into(), true)]);
        let two = format!("a={{{{{TOKEN}}}}}; b={{{{tok_x}}}}");
        assert_eq!(
            header(&two),
            [(TOKEN.into(), true), ("tok_x".into(), false)]
        );
        assert_eq!(
            header("x {{tok_never closed"),
            [("tok_never closed".into(), false)]
        );
    }

    #[test]
    fn what_is_written_otherwise_is_text() {
        for value in [
            format!("Bearer {TOKEN}"),
            format!(" {TOKEN}"),
            TOKEN.to_uppercase(),
            format!("{{{TOKEN}}}"),
            format!("{{{{ {TOKEN} }}}}"),
            "{{token}}".into(),
            String::new(),
        ] {
            assert_eq!(header(&value), [], "{value}");
        }
    }

    #[test]
    fn braces_may_be_percent_encoded_where_libraries_do_so() {
        for (open, close) in [
            ("{{", "}}"),
            ("%7B%7B", "%7D%7D"),
            ("%7b%7b", "%7d%7d"),
            ("{%7B", "}%7d"),
        ] {
            let text = format!("a=1&key={open}{TOKEN}{close}&b=2");
            assert_eq!(found(&text, Braces::MayBeEncoded), [TOKEN], "{text}");
        }
        assert_eq!(
            found(&format!("%7B%7B{TOKEN}%7D%7D"), Braces::Plain),
            [""; 0]
        );
    }

    #[test]
    fn the_query_is_between_the_question_mark_and_the_fragment() {
        assert_eq!(query_of("https://x/a?b=c#d"), Some("b=c"));
        assert_eq!(query_of("https://x/a?b?c"), Some("b?c"));
        assert_eq!(query_of("https://x/a#b?c"), None);
        assert_eq!(query_of("https://x/a"), None);
        assert_eq!(query_of("https://x?"), Some(""));
    }

    #[test]
    fn only_what_the_task_names_is_looked_at() {
        let headers = [("X-Key".to_owned(), TOKEN.to_owned())];
        let url = format!("https://x/{{{{{TOKEN}}}}}?k={{{{{TOKEN}}}}}#{{{{{TOKEN}}}}}");
        let body = format!("{{\"k\":\"{{{{{TOKEN}}}}}\"}}");
        let places = |query, body_too| {
            references(
                &headers,
                &url,
                Some(&body),
                Resolve {
                    query,
                    body: body_too,
                },
            )
            .map(|reference| reference.place.to_string())
            .collect::<Vec<_>>()
        };
        assert_eq!(places(false, false), ["Header \"X-Key\""]);
        assert_eq!(
            places(true, true),
            ["Header \"X-Key\"", "The query of targetUrl", "body"]
        );
    }

    #[test]
    fn an_unknown_token_is_told_as_the_contract_says() {
        let unknown = |reference: Option<Reference<'_>>| reference.expect("found").unknown();
        let invalid = unknown(of_header("Authorization", TOKEN).next());
        assert_eq!(invalid.field, "headers");
        assert_eq!(
            invalid.message,
            format!("Header \"Authorization\" references unknown vault token \"{TOKEN}\"")
        );
        let long = format!("tok_{}", "x".repeat(9000));
        let invalid = unknown(of_header("X", &long).next());
        assert!(invalid.message.len() < 120, "{}", invalid.message);
        let url = "https://x/?a={{tok_1}}";
        let resolve = Resolve {
            query: true,
            body: true,
        };
        assert_eq!(
            unknown(references(&[], url, None, resolve).next()).message,
            "The query of targetUrl references unknown vault token \"tok_1\""
        );
        assert_eq!(
            unknown(references(&[], "https://x", Some("{{tok_1}}"), resolve).next()).message,
            "body references unknown vault token \"tok_1\""
        );
    }

    #[test]
    fn where_a_token_may_not_go_is_told_with_its_hosts() {
        let allowed = AllowedHosts::stored(&["api.example.com".into(), "*.b.example".into()]);
        let url = Url::parse("https://evil.example/").expect("a URL");
        let reference = of_header("X", "tok_1").next().expect("found");
        assert_eq!(
            reference.not_to(&allowed, &url).message,
            "Header \"X\" references vault token \"tok_1\", which may only be sent to api.example.com, *.b.example, not to \"evil.example\""
        );
    }

    #[test]
    fn different_tokens_are_counted_once_each() {
        let text = |count: usize| {
            (0..count)
                .map(|n| format!("{{{{tok_{n}}}}}"))
                .collect::<String>()
                .repeat(3)
        };
        let (few, many) = (text(MAX_TOKENS), text(MAX_TOKENS + 1));
        assert!(!too_many(of_header("X", &few)));
        assert!(too_many(of_header("X", &many)));
    }

    #[test]
    fn where_to_look_is_read_and_written_alike() {
        let parse = |names: &[&str]| {
            let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
            Resolve::parse(&names)
        };
        let all = parse(&["body", "headers", "query", "body"]).expect("valid");
        assert_eq!(all.names(), ["headers", "query", "body"]);
        assert!(parse(&[]).expect("valid").is_headers_only());
        let refused = parse(&["path"]).expect_err("no such place");
        assert_eq!(
            (refused.field, refused.message.as_str()),
            (
                "resolve",
                "resolve must hold \"headers\", \"query\" or \"body\", not \"path\""
            )
        );
    }

    proptest! {
        #[test]
        fn templates_are_apart_and_in_order(text in "(\\{|\\}|%7[BbDd]|tok_|[0-9a-z]|é){0,80}") {
            for braces in [Braces::Plain, Braces::MayBeEncoded] {
                let mut last = 0;
                for found in templates(&text, braces) {
                    prop_assert!(last <= found.start && found.start < found.end);
                    prop_assert!(text[found.start..found.end].contains(found.text));
                    last = found.end;
                }
            }
        }
    }
}
