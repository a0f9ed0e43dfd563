//! Reads an answer without trusting its length: keeps the beginning, counts some more, and then
//! disconnects.

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::sync::{Semaphore, SemaphorePermit};
use waybill_domain::event::task::USUAL_ANSWER_BYTES;

/// Bytes of a body that are kept without reserving memory.
pub const KEPT_BODY_BYTES: usize = USUAL_ANSWER_BYTES as usize;

/// Bytes of a body that are counted. After that, the connection is dropped: reading on would cost
/// more than a new connection.
pub const COUNTED_BODY_BYTES: u64 = waybill_domain::event::Answer::COUNTED_BODY_BYTES;

/// Memory for the parts of all answers beyond [`KEPT_BODY_BYTES`], in bytes.
const LARGE_ANSWERS_BYTES: usize = 128 * 1024 * 1024;

/// Memory for the parts of answers beyond [`KEPT_BODY_BYTES`]. A worker makes hundreds of calls at
/// a time, and not all of their answers may take a megabyte at the same time.
#[derive(Debug)]
pub(super) struct LargeAnswers(Semaphore);

impl Default for LargeAnswers {
    fn default() -> Self {
        Self(Semaphore::new(LARGE_ANSWERS_BYTES / 1024))
    }
}

impl LargeAnswers {
    /// Waits for memory for everything beyond what is always kept. It is reserved as a whole, since
    /// answers that hold a part each could wait for one another. The time limit of the call ends
    /// the wait.
    async fn room(&self, kept: usize) -> Option<SemaphorePermit<'_>> {
        let kibibytes = kept.saturating_sub(KEPT_BODY_BYTES).div_ceil(1024);
        let permits = u32::try_from(kibibytes).unwrap_or(u32::MAX);
        // Fails only if the semaphore is closed, which never happens.
        self.0.acquire_many(permits).await.ok()
    }
}

/// Limit of kept header names and values in bytes. The first header that does not fit is left out,
/// and so are all after it.
pub const KEPT_HEADER_BYTES: usize = 16 * 1024;

/// The kept part of a body, and what is known about the rest.
#[derive(Debug, Default)]
pub(super) struct Beginning {
    pub(super) bytes: Bytes,
    /// Length of the body, as far as it was counted.
    pub(super) total: u64,
}

impl Beginning {
    pub(super) fn is_truncated(&self) -> bool {
        self.total > self.bytes.len() as u64
    }
}

/// Reads to the end or to [`COUNTED_BODY_BYTES`], and keeps the first `kept` bytes. The connection
/// returns to the pool only if the end was read.
pub(super) async fn beginning(
    mut body: Incoming,
    kept: usize,
    large: &LargeAnswers,
) -> Result<Beginning, hyper::Error> {
    let mut first = Bytes::new();
    let mut more = BytesMut::new();
    let mut total = 0;
    let mut room = None;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else {
            continue;
        };
        total += data.len() as u64;
        if room.is_none() && kept > KEPT_BODY_BYTES && total > KEPT_BODY_BYTES as u64 {
            room = large.room(kept).await;
        }
        if first.is_empty() {
            // Most answers are one frame, which is kept without copying.
            first = data;
            first.truncate(kept);
        } else {
            let left = kept.saturating_sub(first.len() + more.len());
            more.extend_from_slice(&data[..data.len().min(left)]);
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

/// The headers to store, and the length of all headers if not all of them are stored.
pub(super) fn kept_headers(headers: &HeaderMap) -> (Vec<(String, String)>, Option<u32>) {
    let mut kept = Vec::with_capacity(headers.len());
    let mut all = 0;
    let mut is_cut = false;
    for (name, value) in headers {
        all += name.as_str().len() + value.len();
        is_cut |= all > KEPT_HEADER_BYTES;
        if is_cut {
            continue;
        }
        kept.push((
            name.as_str().to_owned(),
            String::from_utf8_lossy(value.as_bytes()).into_owned(),
        ));
    }
    let all = u32::try_from(all).unwrap_or(u32::MAX);
    (kept, is_cut.then_some(all))
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
        let (kept, all) = kept_headers(&headers);
        assert_eq!(kept.len(), 16);
        assert_eq!(all, Some(20 * 1000 + 10 * 3 + 10 * 4));
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
            (vec![("x".to_owned(), "a\u{fffd}".to_owned())], None)
        );
    }
}
