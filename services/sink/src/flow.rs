//! Response bodies that are large, slow or broken.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Interval, MissedTickBehavior};

const CHUNK: usize = 64 * 1024;
static FILLER: [u8; CHUNK] = [b'x'; CHUNK];

/// A response body that is generated while it is sent.
#[derive(Debug)]
pub(crate) enum Flow {
    /// This many bytes, then the end.
    Filler { left: u64 },
    /// Bytes until the reader closes the connection.
    Endless,
    /// One byte per tick until the reader closes the connection.
    Trickle { tick: Interval },
    /// This many bytes, then an error, which closes the connection. `pausing` yields once before
    /// the error; otherwise the error would overtake data that is not flushed yet, and the reader
    /// would not even see the head.
    Broken { left: u64, pausing: bool },
}

impl Flow {
    pub(crate) fn trickle(every: Duration) -> Self {
        let mut tick = tokio::time::interval_at(Instant::now() + every, every);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self::Trickle { tick }
    }
}

/// The next chunk, of at most `left` bytes, which it deducts.
fn take(left: &mut u64) -> Bytes {
    let len = usize::try_from(*left).unwrap_or(CHUNK).min(CHUNK);
    *left -= len as u64;
    Bytes::from_static(&FILLER[..len])
}

impl Body for Flow {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let chunk = match &mut *self {
            Self::Filler { left: 0 } => return Poll::Ready(None),
            Self::Filler { left } => take(left),
            Self::Broken { left: 0, pausing } => {
                if std::mem::take(pausing) {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                return Poll::Ready(Some(Err(io::Error::other("closed early, as asked"))));
            }
            Self::Broken { left, .. } => take(left),
            Self::Endless => Bytes::from_static(&FILLER),
            Self::Trickle { tick } => {
                std::task::ready!(tick.poll_tick(cx));
                Bytes::from_static(b"x")
            }
        };
        Poll::Ready(Some(Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Filler { left: 0 })
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Filler { left } => SizeHint::with_exact(*left),
            Self::Endless | Self::Trickle { .. } | Self::Broken { .. } => SizeHint::default(),
        }
    }
}
