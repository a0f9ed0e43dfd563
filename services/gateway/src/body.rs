//! Bodies of requests: bounded in size and time, then parsed with errors that name the field.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use http::{HeaderMap, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;

use crate::config::{GatewayConfig, MAX_STRANGERS_BODY_BYTES};
use crate::edge::RequestContext;
use crate::edge::room::{Held, NoRoom};
use crate::error::ApiError;
use crate::state::AppState;

/// What is still read and thrown away of a body that is too large, so that a client that only listens once it has sent gets the 413.
const MAX_DISCARDED_BYTES: usize = 8 * 1024 * 1024;
/// Characters of the name of an unknown member that are shown to whoever sent it.
const MAX_NAME_CHARS: usize = 60;
/// U+FEFF in UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
/// How long that may take.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(2);

/// A JSON body as `T`. The content type is not looked at: clients forget it, and nothing else is ever accepted.
#[derive(Debug, Clone)]
pub struct Json<T>(pub T);

impl<T: DeserializeOwned> FromRequest<AppState> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, ApiError> {
        let bytes = read_json(request, &state.config).await?;
        parse(&bytes).map(Self)
    }
}

/// A JSON body as `T`, or what `T` is without one.
#[derive(Debug, Clone)]
pub struct OptionalJson<T>(pub T);

impl<T: DeserializeOwned + Default> FromRequest<AppState> for OptionalJson<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, ApiError> {
        let bytes = read_json(request, &state.config).await?;
        if bytes.is_empty() {
            return Ok(Self(T::default()));
        }
        parse(&bytes).map(Self)
    }
}

/// Reads a whole body, of a size that depends on whether somebody was recognised: extractors of callers come before bodies.
async fn read_json(request: Request, config: &GatewayConfig) -> Result<Bytes, ApiError> {
    let context = request.extensions().get::<RequestContext>();
    let is_recognised = context.is_some_and(|context| context.attribution.found().is_some());
    let limit = if is_recognised {
        config.max_body_bytes
    } else {
        config.max_body_bytes.min(MAX_STRANGERS_BODY_BYTES)
    };
    read(request, limit, config.body_read_timeout).await
}

/// Reads a whole body of at most `limit` bytes, while there is room for it.
pub(crate) async fn read(
    request: Request,
    limit: usize,
    timeout: Duration,
) -> Result<Bytes, ApiError> {
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
            Err(ApiError::unavailable("busy", error.to_string()).closing())
        }
        Ok(Err(Unreceived::Broken(error))) if error.is::<LengthLimitError>() => {
            Err(ApiError::too_large(limit).closing())
        }
        Ok(Err(Unreceived::Broken(_))) => Err(ApiError::bad_request(
            "incomplete_body",
            "The request body ended early or is not framed correctly",
        )
        .closing()),
        Err(_) => Err(ApiError::new(
            StatusCode::REQUEST_TIMEOUT,
            "body_timeout",
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
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(Unreceived::Broken)?.into_data() else {
            // Trailers say nothing here.
            continue;
        };
        if let Some(held) = held {
            held.grow(data.len()).map_err(Unreceived::NoRoom)?;
        }
        whole.extend_from_slice(&data);
    }
    Ok(whole.freeze())
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
                "unsupported_encoding",
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
pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    // Editors and libraries of one large vendor put a byte order mark before every text (RFC 8259, section 8.1: it may be ignored).
    let bytes = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
    // A struct would also be read from an array, by position: nobody means that.
    if !bytes.trim_ascii_start().starts_with(b"{")
        && serde_json::from_slice::<serde::de::IgnoredAny>(bytes).is_ok()
    {
        return Err(ApiError::bad_request(
            "invalid_body",
            "The request body must be a JSON object",
        ));
    }
    serde_json::from_slice(bytes).map_err(|error| explain::<T>(bytes, &error))
}

fn explain<T: DeserializeOwned>(bytes: &[u8], first: &serde_json::Error) -> ApiError {
    use serde_json::error::Category;
    let what = match first.classify() {
        Category::Data => {
            let reader = &mut serde_json::Deserializer::from_slice(bytes);
            return match serde_path_to_error::deserialize::<_, T>(reader) {
                Err(error) => wrong_value(&error),
                Ok(_) => ApiError::bad_request("invalid_json", first.to_string()),
            };
        }
        Category::Eof if bytes.is_empty() => {
            return ApiError::bad_request(
                "invalid_json",
                "The request body must be JSON, but it is empty",
            );
        }
        Category::Eof => "it ends too early",
        Category::Syntax | Category::Io => "there is a syntax error",
    };
    ApiError::bad_request(
        "invalid_json",
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
            "invalid_body",
            format!("The request body is wrong: {reason}"),
        );
    }
    ApiError::bad_field(path.clone(), format!("{path}: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;

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
