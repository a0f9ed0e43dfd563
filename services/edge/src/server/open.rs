//! The answers that are under way on one connection: from the request's head until the last byte of the answer was handed over.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use tokio::sync::watch;

/// Counts them. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct OpenAnswers(watch::Sender<usize>);

impl OpenAnswers {
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(0))
    }

    /// One more, until the guard is dropped.
    pub(super) fn begin(&self) -> UnderWay {
        self.0.send_modify(|open| *open += 1);
        UnderWay(self.0.clone())
    }

    /// Whether nothing is under way.
    pub(super) fn is_idle(&self) -> bool {
        *self.0.borrow() == 0
    }

    /// Returns once nothing has been under way for so long.
    pub(super) async fn idle_for(&self, time: Duration) {
        let mut open = self.0.subscribe();
        loop {
            // It is never closed: `self` holds a sender.
            let _ = open.wait_for(|open| *open == 0).await;
            if tokio::time::timeout(time, open.changed()).await.is_err() {
                return;
            }
        }
    }
}

/// One answer that is under way.
#[derive(Debug)]
pub(super) struct UnderWay(watch::Sender<usize>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.send_modify(|open| *open -= 1);
    }
}

/// The body of an answer, which is under way until the body was sent or given up.
pub(super) struct AnswerBody {
    body: Body,
    /// Ends with the body.
    _under_way: UnderWay,
}

impl AnswerBody {
    pub(super) fn new(body: Body, under_way: UnderWay) -> Self {
        Self {
            body,
            _under_way: under_way,
        }
    }
}

impl HttpBody for AnswerBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_idle_only_while_nothing_is_under_way() {
        let open = OpenAnswers::new();
        let first = open.begin();
        let second = open.begin();
        let idle = open.idle_for(Duration::from_secs(30));
        tokio::pin!(idle);
        drop(first);
        let busy = tokio::time::timeout(Duration::from_secs(600), &mut idle).await;
        assert!(busy.is_err(), "one is under way");
        drop(second);
        let short = tokio::time::timeout(Duration::from_secs(29), &mut idle).await;
        assert!(short.is_err());
        idle.await;
        assert!(open.is_idle());
    }
}
