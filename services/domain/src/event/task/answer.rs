//! The answer of a target, and how bodies and repeated headers are represented.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Limit of a redirect's target in an error message, in characters.
const MAX_SHOWN_LOCATION: usize = 200;

/// Bytes of an answer's body that are stored for every task, and for an answer that is retried.
pub const USUAL_ANSWER_BYTES: u32 = 64 * 1024;
/// Largest stored body of an answer that ends a task, on any plan. In base 64 it still fits into
/// one message of the log.
pub const MAX_ANSWER_BYTES: u32 = 1024 * 1024;

/// The answer of a target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Answer {
    /// HTTP status of the answer.
    pub status: u16,
    /// Headers in the order received, limited in size.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<(String, String)>,
    /// The body, or the beginning of a large one: 64 KiB, or as much as the task's plan stores.
    pub body: String,
    /// Encoding of `body`.
    #[serde(default, skip_serializing_if = "BodyEncoding::is_text")]
    pub encoding: BodyEncoding,
    /// Length of the whole body in bytes, as far as it was read.
    pub body_bytes: u64,
    /// Time from sending the request to the end of the answer, in milliseconds.
    pub duration_ms: u32,
    /// Bytes of all headers, names and values, if not all of them are stored. Absent if they are,
    /// or if an older worker stored them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header_bytes: Option<u32>,
}

impl Answer {
    /// Bytes of a body that are read. A longer body is not read to its end, so its length is
    /// unknown.
    pub const COUNTED_BODY_BYTES: u64 = 64 * 1024 + 1024 * 1024;

    /// Which parts of the answer are missing or unknown: `headers`, `body`, `bodyBytes`.
    pub fn missing(&self) -> impl Iterator<Item = &'static str> + use<> {
        let headers = self.header_bytes.is_some().then_some("headers");
        let body = (!self.is_whole()).then_some("body");
        let length = (!Self::is_counted(self.body_bytes)).then_some("bodyBytes");
        [headers, body, length].into_iter().flatten()
    }

    /// Whether this is the length of the whole body, and not only of the part that was read.
    #[must_use]
    pub fn is_counted(body_bytes: u64) -> bool {
        body_bytes <= Self::COUNTED_BODY_BYTES
    }

    /// Whether the whole body is stored, as far as its length is known.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        let kept = match self.encoding {
            BodyEncoding::Text => self.body.len(),
            // Four characters per three bytes, less the padding.
            BodyEncoding::Base64 => {
                let padding = self.body.bytes().rev().take_while(|byte| *byte == b'=');
                (self.body.len() / 4 * 3).saturating_sub(padding.count())
            }
        };
        kept as u64 >= self.body_bytes
    }

    /// Truncates the body to at most `bytes` bytes, and a text to whole characters.
    pub fn cut(&mut self, bytes: usize) {
        let end = match self.encoding {
            BodyEncoding::Text => self.body.floor_char_boundary(bytes),
            // Four characters per three bytes.
            BodyEncoding::Base64 => self.body.len().min(bytes / 3 * 4),
        };
        self.body.truncate(end);
    }

    /// A sentence about a redirect that was not followed, so that nobody takes it for success: the
    /// target itself has only answered with another location.
    #[must_use]
    pub fn unfollowed_redirect(&self) -> Option<String> {
        if !matches!(self.status, 301 | 302 | 303 | 307 | 308) {
            return None;
        }
        let location = self
            .headers
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case("location"))
            .map_or("nowhere: it has no Location", |(_, value)| value.as_str());
        let location: String = location.chars().take(MAX_SHOWN_LOCATION).collect();
        Some(format!(
            "HTTP {} redirects to {location}, which was not followed",
            self.status
        ))
    }
}

/// How the bytes of a body are represented as text.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema, ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum BodyEncoding {
    /// The bytes are UTF-8.
    #[default]
    Text,
    /// Base 64, because the bytes are not UTF-8.
    Base64,
}

impl BodyEncoding {
    /// The name that clients see for a body that is not text.
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        match self {
            Self::Text => None,
            Self::Base64 => Some("base64"),
        }
    }

    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "serde's skip_serializing_if passes a reference"
    )]
    pub(super) fn is_text(&self) -> bool {
        *self == Self::Text
    }
}

/// The values of a header in JSON: a text, or a list of texts if the header was repeated. They are
/// not joined, since two `Set-Cookie` values in one text cannot be separated again (RFC 9110, 5.3).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(untagged)]
#[schema(as = HeaderValue)]
pub enum HeaderValues {
    /// The header occurred once.
    One(String),
    /// The header was repeated, in this order.
    Many(Vec<String>),
}

impl HeaderValues {
    fn push(&mut self, value: String) {
        match self {
            Self::One(first) => *self = Self::Many(vec![std::mem::take(first), value]),
            Self::Many(values) => values.push(value),
        }
    }
}

/// Groups all values of a name, since a JSON object has each name once.
#[must_use]
pub fn group_repeated(headers: Vec<(String, String)>) -> Vec<(String, HeaderValues)> {
    let mut once: Vec<(String, HeaderValues)> = Vec::with_capacity(headers.len());
    for (name, value) in headers {
        match once
            .iter_mut()
            .find(|entry| entry.0.eq_ignore_ascii_case(&name))
        {
            Some(entry) => entry.1.push(value),
            None => once.push((name, HeaderValues::One(value))),
        }
    }
    once
}
