//! Reads an answer without trusting its length: keeps the beginning, counts some more, and then hangs up.

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

/// Bytes of a body that are kept.
pub const KEPT_BODY_BYTES: usize = 64 * 1024;

/// Bytes of a body that are counted. Beyond it the connection is dropped: reading on would cost more than a new connection.
pub const COUNTED_BODY_BYTES: u64 = KEPT_BODY_BYTES as u64 + 1024 * 1024;

/// Bytes of header names and values that are kept; the first header that does not fit and all after it are left out.
pub const KEPT_HEADER_BYTES: usize = 16 * 1024;

/// The part of a body that is kept, and what is known of the rest.
#[derive(Debug, Default)]
pub(super) struct Beginning {
    pub(super) bytes: Bytes,
    /// As far as it was counted.
    pub(super) total: u64,
}

impl Beginning {
    pub(super) fn is_truncated(&self) -> bool {
        self.total > self.bytes.len() as u64
    }
}

/// Reads until the end or until [`COUNTED_BODY_BYTES`]. The connection goes back to the pool only in the first case.
pub(super) async fn beginning(mut body: Incoming) -> Result<Beginning, hyper::Error> {
    let mut first = Bytes::new();
    let mut more = BytesMut::new();
    let mut total = 0;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else {
            continue;
        };
        total += data.len() as u64;
        if first.is_empty() {
            // Most answers are one frame, which is kept without a copy.
            first = data;
            first.truncate(KEPT_BODY_BYTES);
        } else {
            let room = KEPT_BODY_BYTES.saturating_sub(first.len() + more.len());
            more.extend_from_slice(&data[..data.len().min(room)]);
        }
        if total > COUNTED_BODY_BYTES {
            break;
        }
    }
    if !more.is_empty() {
        first = [first, more.freeze()].concat().into();
    }
    Ok(Beginning {
        bytes: first,
        total,
    })
}

/// The headers as they go into the log.
pub(super) fn kept_headers(headers: &HeaderMap) -> Vec<(String, String)> {
    let mut kept = Vec::with_capacity(headers.len());
    let mut room = KEPT_HEADER_BYTES;
    for (name, value) in headers {
        let size = name.as_str().len() + value.len();
        let Some(left) = room.checked_sub(size) else {
            break;
        };
        room = left;
        kept.push((
            name.as_str().to_owned(),
            String::from_utf8_lossy(value.as_bytes()).into_owned(),
        ));
    }
    kept
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn headers_are_kept_up_to_their_limit() {
        let mut headers = HeaderMap::new();
        for n in 0..20 {
            let name = HeaderName::try_from(format!("x-{n}")).expect("a name");
            let value = HeaderValue::try_from("x".repeat(1000)).expect("a value");
            headers.append(name, value);
        }
        let kept = kept_headers(&headers);
        assert_eq!(kept.len(), 16);
    }

    #[test]
    fn header_values_need_not_be_text() {
        let mut headers = HeaderMap::new();
        headers.insert(
            "x",
            HeaderValue::from_bytes(&[b'a', 0xff]).expect("obs-text"),
        );
        assert_eq!(
            kept_headers(&headers),
            [("x".to_owned(), "a\u{fffd}".to_owned())]
        );
    }
}
