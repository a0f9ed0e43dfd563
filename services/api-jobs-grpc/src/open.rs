//! How much strangers may hold open: the services that need no credential have methods that go on for as long as their client likes.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::extract::Request;
use axum::response::IntoResponse;
use axum::routing::{MethodRouter, post};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use hyper::body::{Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tonic::Code;
use tower::{Service, ServiceExt};
use waybill_edge::error::{ApiError, ErrorCode};

/// Calls of strangers that are open at a time.
const MOST: usize = 256;
/// How long one of them may stay open.
const LONGEST: Duration = Duration::from_secs(1_800);

/// Places for calls without a credential. Clones share them.
#[derive(Clone)]
pub(crate) struct Places {
    free: Arc<Semaphore>,
    stopping: CancellationToken,
}

impl Places {
    pub(crate) fn new(stopping: CancellationToken) -> Self {
        Self {
            free: Arc::new(Semaphore::new(MOST)),
            stopping,
        }
    }
}

/// A route for such a service, whose calls end when the gateway stops.
pub(crate) fn bounded<S, T>(service: S, places: Places) -> MethodRouter<T>
where
    T: Clone + Send + Sync + 'static,
    S: Service<Request, Response = http::Response<tonic::body::Body>, Error = Infallible>,
    S: Clone + Send + Sync + 'static,
    S::Future: Send,
{
    post(move |request: Request| async move {
        let Ok(place) = Arc::clone(&places.free).try_acquire_owned() else {
            let text = "Too many calls without a credential are open; try again later";
            return ApiError::unavailable(ErrorCode::Busy, text).into_response();
        };
        let stopping = places.stopping.clone();
        let end = async move {
            // Either ends the call.
            tokio::select! {
                () = stopping.cancelled() => {}
                () = tokio::time::sleep(LONGEST) => {}
            }
        };
        let answer: Result<_, Infallible> = service.oneshot(request).await;
        match answer {
            Ok(answer) => {
                let bounded = |body| Bounded {
                    body,
                    end: Box::pin(end),
                    has_ended: false,
                    _place: place,
                };
                answer.map(|body| Body::new(bounded(body)))
            }
            Err(never) => match never {},
        }
    })
}

/// An answer that holds a place, and ends early when it is time.
struct Bounded {
    body: tonic::body::Body,
    end: Pin<Box<dyn Future<Output = ()> + Send>>,
    has_ended: bool,
    _place: OwnedSemaphorePermit,
}

impl HttpBody for Bounded {
    type Data = Bytes;
    type Error = tonic::Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, tonic::Status>>> {
        if self.has_ended {
            return Poll::Ready(None);
        }
        // What is ready goes out before the end.
        let next = Pin::new(&mut self.body).poll_frame(cx);
        if next.is_pending() && self.end.as_mut().poll(cx).is_ready() {
            self.has_ended = true;
            let mut trailers = HeaderMap::new();
            let code = HeaderValue::from(i32::from(Code::Unavailable));
            trailers.insert("grpc-status", code);
            return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
        }
        next
    }

    fn is_end_stream(&self) -> bool {
        self.has_ended || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
