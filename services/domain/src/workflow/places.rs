//! Results of predecessors in the request of a member: places such as
//! `{{tasks.fetch.result.body.id}}` in its URL, headers and body.
//!
//! What a place stands for is read when that predecessor completes, and kept with the member until
//! it has ended. So nothing depends on how long the predecessor itself is kept, and the amount is
//! bounded: [`MAX_GIVEN_BYTES`] for each member.

use serde::de::IgnoredAny;
use serde_json::Value;

use super::MAX_MEMBER_NAME;
use crate::event::{Answer, BodyEncoding, TaskCreated};
use crate::flow::Given;
use crate::task::request::shortened;

/// Limit of the different places in the request of a member.
pub const MAX_PLACES: usize = 50;
/// Limit of the text of a place, in bytes.
pub const MAX_PLACE_BYTES: usize = 300;
/// Limit of all that is filled in in the request of a member, in bytes of JSON.
pub const MAX_GIVEN_BYTES: usize = 16 * 1024;

const OPEN: &str = "{{tasks.";
const CLOSE: &str = "}}";

/// A place as it stands in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found<'a> {
    /// Name of the member whose result it is.
    pub name: &'a str,
    /// What stands in the braces.
    pub text: &'a str,
}

/// The places in a text, in their order.
///
/// # Errors
/// A sentence, if one is malformed.
pub fn find(text: &str) -> Result<Vec<Found<'_>>, String> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(begin) = rest.find(OPEN) {
        let inner = &rest[begin + 2..];
        let wrong = |why: &str| {
            let shown = shortened(&rest[begin..]);
            format!(
                "{why}: {shown}; a place is {{{{tasks.NAME.result.status}}}}, {{{{tasks.NAME.result.body}}}} or {{{{tasks.NAME.result.body.PATH}}}}"
            )
        };
        let Some(end) = inner.find(CLOSE) else {
            return Err(wrong("a place does not end with }}"));
        };
        let place = &inner[..end];
        if place.len() > MAX_PLACE_BYTES {
            return Err(wrong("a place is longer than 300 bytes"));
        }
        let mut parts = place.split('.').skip(1);
        let name = parts.next().unwrap_or_default();
        if !is_name(name) {
            return Err(wrong("a place names no member"));
        }
        let is_known = match (parts.next(), parts.next(), parts.next()) {
            (Some("result"), Some("status"), None) | (Some("result"), Some("body"), None) => true,
            (Some("result"), Some("body"), Some(first)) => {
                !first.is_empty() && parts.all(|part| !part.is_empty())
            }
            _ => false,
        };
        if !is_known {
            return Err(wrong("a place says of what of the result"));
        }
        found.push(Found { name, text: place });
        rest = &inner[end..];
    }
    Ok(found)
}

/// Whether a text is the name of a member.
#[must_use]
pub fn is_name(text: &str) -> bool {
    (1..=MAX_MEMBER_NAME).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

/// What a place is filled in with, from the answer that completed its task. `room`: the bytes that
/// it may have.
#[must_use]
pub fn give(place: &str, answer: &Answer, room: usize) -> Given {
    let value = read(place, answer).and_then(|value| {
        let value = value.to_string();
        if value.len() > room {
            return Err(format!(
                "{{{{{place}}}}} has {} bytes, and with it there are more than {MAX_GIVEN_BYTES} bytes to be filled in",
                value.len()
            ));
        }
        Ok(value)
    });
    Given {
        text: place.to_owned(),
        value,
    }
}

fn read(place: &str, answer: &Answer) -> Result<Value, String> {
    let because = |why: String| format!("{{{{{place}}}}} cannot be filled in: {why}");
    let mut parts = place.split('.').skip(3);
    let what = parts.next().unwrap_or_default();
    if what == "status" {
        return Ok(answer.status.into());
    }
    if answer.encoding == BodyEncoding::Base64 {
        return Err(because("the body of the result is not text".to_owned()));
    }
    let kept = answer.body.len() as u64;
    if answer.body_bytes > kept {
        let all = answer.body_bytes;
        return Err(because(format!(
            "only {kept} of {all} bytes of the body were stored"
        )));
    }
    let mut parts = parts.peekable();
    let parsed: Option<Value> = serde_json::from_str(&answer.body).ok();
    if parts.peek().is_none() {
        return Ok(parsed.unwrap_or_else(|| answer.body.clone().into()));
    }
    let mut value =
        parsed.ok_or_else(|| because("the body of the result is not JSON".to_owned()))?;
    for part in parts {
        let inner = match &mut value {
            Value::Object(members) => members.remove(part),
            Value::Array(entries) => part
                .parse()
                .ok()
                .filter(|at: &usize| *at < entries.len())
                .map(|at| entries.swap_remove(at)),
            _ => None,
        };
        value = inner.ok_or_else(|| {
            because(format!(
                "the body of the result has no `{}`",
                shortened(part)
            ))
        })?;
    }
    Ok(value)
}

/// Where a text stands, which decides how values are written into it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Within {
    /// A URL: what is not a letter or digit is written as `%20` and the like.
    Url,
    /// The value of a header.
    Header,
    /// A body. If it is JSON, a value takes the place of a text that is nothing but its place, and
    /// is escaped within other texts.
    Body,
}

/// A text with all of its places filled in.
///
/// # Errors
/// A sentence, if a value is missing or cannot stand there.
pub fn fill(text: &str, given: &[Given], within: Within) -> Result<String, String> {
    if !text.contains(OPEN) {
        return Ok(text.to_owned());
    }
    let is_json = within == Within::Body && serde_json::from_str::<IgnoredAny>(text).is_ok();
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(begin) = rest.find(OPEN) {
        let Some(end) = rest[begin..].find(CLOSE).map(|end| begin + end) else {
            break;
        };
        let place = &rest[begin + 2..end];
        let before = &rest[..begin];
        let mut after = &rest[end + CLOSE.len()..];
        let value = value_of(place, given)?;
        filled.push_str(before);
        if is_json && stands_alone(&filled, after) {
            filled.pop();
            after = &after[1..];
            filled.push_str(&value.to_string());
        } else {
            let plain = match value {
                Value::Null => String::new(),
                Value::String(text) => text,
                other => other.to_string(),
            };
            write(&mut filled, place, &plain, within, is_json)?;
        }
        rest = after;
    }
    filled.push_str(rest);
    Ok(filled)
}

/// A request with all of its places filled in.
///
/// # Errors
/// A sentence, if that is not possible, or if what is filled in would be a reference to the vault:
/// results come from targets, which must not choose credentials.
pub fn fill_in(mut created: TaskCreated, given: &[Given]) -> Result<TaskCreated, String> {
    if given.is_empty() {
        return Ok(created);
    }
    let tokens = |created: &TaskCreated| -> Vec<String> {
        let references = created.references();
        references
            .map(|reference| reference.text.to_owned())
            .collect()
    };
    let before = tokens(&created);
    created.url = fill(&created.url, given, Within::Url)?;
    for (_, value) in &mut created.headers {
        *value = fill(value, given, Within::Header)?;
    }
    if let (Some(body), BodyEncoding::Text) = (&created.body, created.body_encoding) {
        created.body = Some(fill(body, given, Within::Body)?);
    }
    if tokens(&created) != before {
        return Err("a result that is to be filled in refers to a token of the vault".to_owned());
    }
    Ok(created)
}

fn value_of(place: &str, given: &[Given]) -> Result<Value, String> {
    let missing = || format!("{{{{{place}}}}} cannot be filled in: there is no result of it");
    let given = given.iter().find(|given| given.text == place);
    let json = given.ok_or_else(missing)?.value.as_ref();
    let json = json.map_err(Clone::clone)?;
    serde_json::from_str(json).map_err(|_| missing())
}

/// Whether a place is all of a JSON text that is not the name of a member. Within valid JSON a
/// quotation mark before it begins the text, unless it is escaped.
fn stands_alone(before: &str, after: &str) -> bool {
    let begins = before.ends_with('"') && !before.ends_with("\\\"");
    let Some(rest) = after.strip_prefix('"') else {
        return false;
    };
    begins && !rest.trim_start().starts_with(':')
}

fn write(
    filled: &mut String,
    place: &str,
    plain: &str,
    within: Within,
    is_json: bool,
) -> Result<(), String> {
    match within {
        Within::Body if is_json => {
            let quoted = Value::from(plain).to_string();
            filled.push_str(&quoted[1..quoted.len() - 1]);
        }
        Within::Body => filled.push_str(plain),
        Within::Header => {
            if plain
                .bytes()
                .any(|byte| byte < b' ' && byte != b'\t' || byte == 0x7f)
            {
                return Err(format!(
                    "{{{{{place}}}}} has a control character, which no header can have"
                ));
            }
            filled.push_str(plain);
        }
        Within::Url => {
            for byte in plain.bytes() {
                if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
                    filled.push(char::from(byte));
                } else {
                    filled.push_str(&format!("%{byte:02X}"));
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(body: &str) -> Answer {
        Answer {
            status: 200,
            headers: Vec::new(),
            body: body.to_owned(),
            encoding: BodyEncoding::Text,
            body_bytes: body.len() as u64,
            duration_ms: 1,
            header_bytes: None,
        }
    }

    fn given(pairs: &[(&str, &str)]) -> Vec<Given> {
        let pairs = pairs.iter();
        pairs
            .map(|(text, value)| Given {
                text: (*text).to_owned(),
                value: Ok((*value).to_owned()),
            })
            .collect()
    }

    #[test]
    fn places_are_found_and_malformed_ones_are_named() {
        let text = "{{tok_1}} {{tasks.a-1.result.body.x.0}}{{tasks.b.result.status}}";
        let found = find(text).expect("all are well formed");
        let texts: Vec<_> = found.iter().map(|found| (found.name, found.text)).collect();
        assert_eq!(
            texts,
            [
                ("a-1", "tasks.a-1.result.body.x.0"),
                ("b", "tasks.b.result.status")
            ]
        );
        for wrong in [
            "{{tasks.a.result.body",
            "{{tasks.}}",
            "{{tasks.a b.result.body}}",
            "{{tasks.a.body}}",
            "{{tasks.a.result}}",
            "{{tasks.a.result.status.x}}",
            "{{tasks.a.result.body.}}",
            "{{tasks.a.result.headers.x}}",
        ] {
            let refused = find(wrong).expect_err(wrong);
            assert!(refused.contains("{{tasks."), "{refused}");
        }
        let long = format!("{{{{tasks.a.result.body.{}}}}}", "x".repeat(300));
        assert!(find(&long).is_err());
    }

    #[test]
    fn values_are_read_from_results() {
        let text = r#"{"a": {"b": [1, "two"]}, "n": null}"#;
        let value = |place: &str| give(place, &answer(text), 100).value;
        assert_eq!(value("tasks.x.result.status"), Ok("200".into()));
        assert_eq!(value("tasks.x.result.body.a.b.1"), Ok("\"two\"".into()));
        assert_eq!(value("tasks.x.result.body.n"), Ok("null".into()));
        for (place, why) in [
            ("tasks.x.result.body.a.c", "has no `c`"),
            ("tasks.x.result.body.a.b.2", "has no `2`"),
            ("tasks.x.result.body.n.y", "has no `y`"),
        ] {
            let refused = value(place).expect_err(place);
            assert!(
                refused.contains(why) && refused.contains(place),
                "{refused}"
            );
        }
        let plain = give("tasks.x.result.body", &answer("hello"), 100);
        assert_eq!(plain.value, Ok("\"hello\"".into()));
        let no_json = give("tasks.x.result.body.a", &answer("hello"), 100);
        assert!(no_json.value.expect_err("no JSON").contains("is not JSON"));
        let large = give("tasks.x.result.body", &answer("hello"), 3);
        assert!(large.value.expect_err("large").contains("7 bytes"));
        let cut = Answer {
            body_bytes: 900,
            ..answer("hello")
        };
        let cut = give("tasks.x.result.body", &cut, 100);
        assert!(cut.value.expect_err("cut").contains("5 of 900 bytes"));
    }

    #[test]
    fn a_value_takes_the_place_of_a_json_text_or_is_escaped_within_it() {
        let given = given(&[
            ("tasks.a.result.body.n", "12345678901"),
            ("tasks.a.result.body.s", r#""say \"hi\"\n""#),
        ]);
        let fill = |text: &str| fill(text, &given, Within::Body);
        assert_eq!(
            fill(r#"{"n": "{{tasks.a.result.body.n}}", "big": 12345678901234567890123}"#),
            Ok(r#"{"n": 12345678901, "big": 12345678901234567890123}"#.to_owned())
        );
        assert_eq!(
            fill(r#"["{{tasks.a.result.body.s}}", "x {{tasks.a.result.body.s}}"]"#),
            Ok(r#"["say \"hi\"\n", "x say \"hi\"\n"]"#.to_owned())
        );
        assert_eq!(
            fill(r#"{"{{tasks.a.result.body.n}}": "\"{{tasks.a.result.body.n}}\""}"#),
            Ok(r#"{"12345678901": "\"12345678901\""}"#.to_owned())
        );
        assert_eq!(
            fill("n={{tasks.a.result.body.n}} {{other}}"),
            Ok("n=12345678901 {{other}}".to_owned())
        );
    }

    #[test]
    fn a_value_cannot_break_out_of_urls_and_headers() {
        let given = given(&[("tasks.a.result.body", r#""a/b?c=ü d""#)]);
        let url = "http://x/{{tasks.a.result.body}}?q=1";
        assert_eq!(
            fill(url, &given, Within::Url),
            Ok("http://x/a%2Fb%3Fc%3D%C3%BC%20d?q=1".to_owned())
        );
        let lines = self::given(&[("tasks.a.result.body", r#""a\nb""#)]);
        let header = fill("{{tasks.a.result.body}}", &lines, Within::Header);
        assert!(header.expect_err("two lines").contains("control character"));
        let missing = fill("{{tasks.b.result.body}}", &lines, Within::Header);
        assert!(
            missing
                .expect_err("no value")
                .contains("tasks.b.result.body")
        );
    }
}
