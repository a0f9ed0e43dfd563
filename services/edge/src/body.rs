//! Bodies of requests: bounded in size and time, then parsed with errors that name the field.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRef, FromRequest, Request};
use bytes::{Bytes, BytesMut};
use futures::future::BoxFuture;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use http::{HeaderMap, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;

use crate::config::{GatewayConfig, MAX_STRANGERS_BODY_BYTES};
use crate::error::{ApiError, ErrorCode};
use crate::request::RequestContext;
use crate::request::room::{Held, NoRoom};
use crate::state::Edge;
use crate::warnings::{MAX_NAME_CHARS, Warnings, members_of};

/// Bytes of a too large body that are still read and discarded, so that a client that reads only after it has sent gets the 413.
const MAX_DISCARDED_BYTES: usize = 8 * 1024 * 1024;
/// U+FEFF in UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
/// How long discarding may take.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(2);
/// A body of several parts is received in blocks of this size.
const BLOCK_BYTES: usize = 16 * 1024;

/// A JSON body as `T`. The content type is not looked at: clients forget it, and nothing else is ever accepted.
#[derive(Debug, Clone)]
pub struct Json<T>(pub T);

impl<S, T: DeserializeOwned> FromRequest<S> for Json<T>
where
    Edge: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let edge = Edge::from_ref(state);
        let state = &edge;
        let bytes = read_json(request, &state.config).await?;
        parse(&bytes).map(Self)
    }
}

/// A JSON body as `T`, or what `T` is without one.
#[derive(Debug, Clone)]
pub struct OptionalJson<T>(pub T);

impl<S, T: DeserializeOwned + Default> FromRequest<S> for OptionalJson<T>
where
    Edge: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let edge = Edge::from_ref(state);
        let state = &edge;
        let bytes = read_json(request, &state.config).await?;
        if bytes.is_empty() {
            return Ok(Self(T::default()));
        }
        parse(&bytes).map(Self)
    }
}

/// Reads a whole body. The limit of its size depends on whether the caller was recognised: extractors of callers come before bodies.
///
/// Boxed, since the compiler copies the body of an asynchronous function into each crate that awaits it.
pub fn read_json(
    request: Request,
    config: &GatewayConfig,
) -> BoxFuture<'static, Result<Bytes, ApiError>> {
    let context = request.extensions().get::<RequestContext>();
    let is_recognised = context.is_some_and(|context| context.attribution.found().is_some());
    let limit = if is_recognised {
        config.max_body_bytes
    } else {
        config.max_body_bytes.min(MAX_STRANGERS_BODY_BYTES)
    };
    Box::pin(read(request, limit, config.body_read_timeout))
}

/// Reads a whole body of at most `limit` bytes, while there is room for it.
pub async fn read(request: Request, limit: usize, timeout: Duration) -> Result<Bytes, ApiError> {
    let (parts, body) = request.into_parts();
    refuse_encoded(&parts.headers)?;
    if announced_length(&parts.headers).is_some_and(|length| length > limit as u64) {
        discard(body).await;
        return Err(ApiError::too_large(limit).closing());
    }
    let held = parts.extensions.get::<RequestContext>();
    let collected = collect(Limited::new(body, limit), held.map(|context| &context.body));
    match tokio::time::timeout(timeout, collected).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(Unreceived::NoRoom(error))) => {
            Err(ApiError::unavailable(ErrorCode::Busy, error.to_string()).closing())
        }
        Ok(Err(Unreceived::Broken(error))) if error.is::<LengthLimitError>() => {
            Err(ApiError::too_large(limit).closing())
        }
        Ok(Err(Unreceived::Broken(_))) => Err(ApiError::bad_request(
            ErrorCode::IncompleteBody,
            "The request body ended early or is not framed correctly",
        )
        .closing()),
        Err(_) => Err(ApiError::new(
            StatusCode::REQUEST_TIMEOUT,
            ErrorCode::BodyTimeout,
            "The request body did not arrive in time",
        )
        .closing()),
    }
}

/// Why a body was not received.
enum Unreceived {
    Broken(Box<dyn std::error::Error + Send + Sync>),
    NoRoom(NoRoom),
}

/// Puts a body together; each part takes its room before it is kept.
async fn collect(mut body: Limited<Body>, held: Option<&Held>) -> Result<Bytes, Unreceived> {
    let mut received = Received::default();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(Unreceived::Broken)?.into_data() else {
            // Trailers are ignored.
            continue;
        };
        if let Some(held) = held {
            held.grow(data.len()).map_err(Unreceived::NoRoom)?;
        }
        received.push(&data);
    }
    Ok(received.into_whole())
}

/// The parts of a body that is being received, in blocks of their own. One buffer that grows takes twice the room and, while it moves,
/// three times; the parts as they came may be one byte each, and hold on to whatever else was read with them.
#[derive(Default)]
struct Received {
    full: Vec<BytesMut>,
    last: BytesMut,
}

impl Received {
    fn push(&mut self, mut part: &[u8]) {
        if self.full.is_empty() && self.last.is_empty() {
            // Most bodies are one part.
            self.last = BytesMut::with_capacity(part.len());
        }
        while !part.is_empty() {
            let room = self.last.capacity() - self.last.len();
            let (fits, rest) = part.split_at(room.min(part.len()));
            self.last.extend_from_slice(fits);
            part = rest;
            if !part.is_empty() {
                let next = BytesMut::with_capacity(BLOCK_BYTES);
                self.full.push(std::mem::replace(&mut self.last, next));
            }
        }
    }

    fn into_whole(self) -> Bytes {
        if self.full.is_empty() {
            return self.last.freeze();
        }
        let length = self.full.iter().map(BytesMut::len).sum::<usize>() + self.last.len();
        let mut whole = BytesMut::with_capacity(length);
        // Each block is given back as soon as it is copied.
        for block in self.full {
            whole.extend_from_slice(&block);
        }
        whole.extend_from_slice(&self.last);
        whole.freeze()
    }
}

fn announced_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// A compressed body could grow without bound when unpacked, so none is.
fn refuse_encoded(headers: &HeaderMap) -> Result<(), ApiError> {
    match headers.get(CONTENT_ENCODING) {
        Some(encoding) if !encoding.as_bytes().eq_ignore_ascii_case(b"identity") => {
            Err(ApiError::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                ErrorCode::UnsupportedEncoding,
                "The request body must not be compressed",
            ))
        }
        _ => Ok(()),
    }
}

async fn discard(body: Body) {
    let mut body = Limited::new(body, MAX_DISCARDED_BYTES);
    let all = async { while let Some(Ok(_)) = body.frame().await {} };
    // Whether it was read to its end makes no difference to the answer.
    let _ = tokio::time::timeout(DISCARD_TIMEOUT, all).await;
}

/// Parses a JSON object. Only a body that is wrong is parsed again, to learn where.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    let bytes = object(bytes)?;
    serde_json::from_slice(bytes).map_err(|error| explain::<T>(bytes, &error))
}

/// The same, with a warning of each member that is unknown. Members of a struct within it are named by their path.
pub fn parse_leniently<T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, Warnings), ApiError> {
    let bytes = object(bytes)?;
    let mut warnings = Warnings::default();
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let parsed = serde_ignored::deserialize(&mut reader, |path| {
        let known = match path {
            serde_ignored::Path::Map {
                parent: serde_ignored::Path::Root,
                ..
            } => members_of::<T>(),
            // Suggestions come from the outer struct only, whose names would mislead here.
            _ => &[],
        };
        // An optional member is a step of its own in the path, which nobody sees in what was sent.
        warnings.unknown(&path.to_string().replace(".?", ""), known);
    });
    match parsed.and_then(|value| reader.end().map(|()| value)) {
        Ok(value) => Ok((value, warnings)),
        Err(error) => Err(explain::<T>(bytes, &error)),
    }
}

/// What may be a JSON object: whatever else is JSON is refused.
fn object(bytes: &[u8]) -> Result<&[u8], ApiError> {
    // Editors and libraries of one large vendor put a byte order mark before every text (RFC 8259, section 8.1: it may be ignored).
    let bytes = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
    // A struct would also be read from an array, by position: nobody means that.
    if !bytes.trim_ascii_start().starts_with(b"{")
        && serde_json::from_slice::<serde::de::IgnoredAny>(bytes).is_ok()
    {
        return Err(ApiError::bad_request(
            ErrorCode::InvalidBody,
            "The request body must be a JSON object",
        ));
    }
    Ok(bytes)
}

fn explain<T: DeserializeOwned>(bytes: &[u8], first: &serde_json::Error) -> ApiError {
    use serde_json::error::Category;
    let what = match first.classify() {
        Category::Data => {
            let reader = &mut serde_json::Deserializer::from_slice(bytes);
            return match serde_path_to_error::deserialize::<_, T>(reader) {
                Err(error) => wrong_value(&error),
                Ok(_) => ApiError::bad_request(ErrorCode::InvalidJson, first.to_string()),
            };
        }
        Category::Eof if bytes.is_empty() => {
            return ApiError::bad_request(
                ErrorCode::InvalidJson,
                "The request body must be JSON, but it is empty",
            );
        }
        Category::Eof => "it ends too early",
        Category::Syntax | Category::Io => "there is a syntax error",
    };
    ApiError::bad_request(
        ErrorCode::InvalidJson,
        format!(
            "The request body is not valid JSON: {what} at line {} column {}",
            first.line(),
            first.column()
        ),
    )
}

fn wrong_value(error: &serde_path_to_error::Error<serde_json::Error>) -> ApiError {
    let text = error.inner().to_string();
    // The position means nothing to somebody who looks for a field.
    let reason = text
        .rsplit_once(" at line ")
        .map_or(text.as_str(), |(reason, _)| reason);
    let path = error.path().to_string();
    // An unknown member is no place in what is read, so only the reason names it.
    let unknown = reason
        .strip_prefix("unknown field `")
        .and_then(|rest| rest.split_once('`'));
    if let Some((name, expected)) = unknown {
        let name: String = name.chars().take(MAX_NAME_CHARS).collect();
        return ApiError::bad_field(name.clone(), format!("{name}: unknown field{expected}"));
    }
    if path == "." {
        return ApiError::bad_request(
            ErrorCode::InvalidBody,
            format!("The request body is wrong: {reason}"),
        );
    }
    ApiError::bad_field(path.clone(), format!("{path}: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::warnings::Handling;

    #[derive(Debug, serde::Deserialize)]
    #[expect(dead_code, reason = "only parsed")]
    struct Wanted {
        name: String,
        numbers: Option<Vec<u8>>,
    }

    fn refused(text: &[u8]) -> (String, Option<String>) {
        let error = parse::<Wanted>(text).expect_err("refused");
        (
            error.body.error.to_string(),
            error.body.field.as_ref().map(ToString::to_string),
        )
    }

    #[test]
    fn a_body_is_whole_however_it_came_and_takes_little_more_than_its_room() {
        let body: Vec<u8> = (0..200_000_u32).map(|n| n.to_le_bytes()[0]).collect();
        for size in [1, 7, 1_000, BLOCK_BYTES, 70_000, body.len()] {
            let mut received = Received::default();
            for part in body.chunks(size) {
                received.push(part);
            }
            let blocks = received.full.iter().chain([&received.last]);
            let taken: usize = blocks.map(BytesMut::capacity).sum();
            assert!(taken < body.len() + BLOCK_BYTES, "{size}: {taken}");
            assert_eq!(received.into_whole(), body, "{size}");
        }
        let mut nothing = Received::default();
        nothing.push(b"");
        assert!(nothing.into_whole().is_empty());
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_the_json() {
        let wanted: Wanted = parse(b"\xef\xbb\xbf{\"name\": \"x\"}").expect("read");
        assert_eq!(wanted.name, "x");
        let (message, _) = refused(b"\xef\xbb\xbf[1]");
        assert_eq!(message, "The request body must be a JSON object");
    }

    #[test]
    fn a_wrong_type_names_its_field() {
        let (message, field) = refused(br#"{"name": "x", "numbers": [1, "two"]}"#);
        assert_eq!(
            message,
            "numbers[1]: invalid type: string \"two\", expected u8"
        );
        assert_eq!(field.as_deref(), Some("numbers[1]"));
    }

    #[test]
    fn an_array_is_not_read_by_position() {
        let (message, field) = refused(br#" ["x", [1]]"#);
        assert_eq!(message, "The request body must be a JSON object");
        assert_eq!(field, None);
    }

    #[test]
    fn unknown_members_are_warned_of_at_their_place() {
        #[derive(Debug, serde::Deserialize)]
        #[serde(rename_all = "camelCase")]
        #[expect(dead_code, reason = "only parsed")]
        struct Outer {
            delay_until: Option<String>,
            any: Option<serde_json::Value>,
            raw: Option<Vec<Box<serde_json::value::RawValue>>>,
            inner: Option<Wanted>,
        }
        let body = br#"{"delay_until": 1, "any": {"x": 1}, "raw": [{"y": [1]}, 2], "inner": {"name": "n", "nmae": ""}, "z": [{}]}"#;
        let (outer, warnings) = parse_leniently::<Outer>(body).expect("read");
        assert_eq!(outer.raw.expect("read").len(), 2);
        let told = warnings.judge(Handling::Lenient).expect("told");
        let told: Vec<_> = told
            .iter()
            .map(|warning| (&*warning.field, &*warning.message))
            .collect();
        assert_eq!(
            told,
            [
                ("delay_until", "unknown; did you mean delayUntil?"),
                ("inner.nmae", "unknown, and ignored"),
                ("z", "unknown, and ignored"),
            ]
        );
        // What is wrong is as wrong as ever.
        for body in [&b"[1]"[..], b"{", b"{} x", br#"{"inner": {"name": 1}}"#] {
            let (lenient, strict) = (parse_leniently::<Outer>(body), parse::<Outer>(body));
            assert_eq!(
                lenient.expect_err("refused").body,
                strict.expect_err("refused").body
            );
        }
    }

    #[test]
    fn what_is_no_json_says_where() {
        let (message, field) = refused(b"{\"name\": }");
        assert!(
            message.ends_with("a syntax error at line 1 column 10"),
            "{message}"
        );
        assert_eq!(field, None);
        assert!(refused(b"").0.contains("empty"));
        assert!(refused(b"{\"name\": \"x\"} x").0.contains("syntax error"));
        assert!(refused(b"\xff\xfe{}").0.contains("syntax error"));
    }
}
