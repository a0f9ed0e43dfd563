//! One connection: which protocol it speaks, how long it may be silent, and which service answers it.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::open::{AnswerBody, OpenAnswers};
use super::places::Purpose;
use super::stall::Stallable;
use super::unread::{Explain, Explained};
use crate::config::{
    GatewayConfig, MAX_EXPLAINED_HEADER_BYTES, MAX_HEADER_BLOCK_BYTES, MAX_HEADERS,
    MAX_PENDING_RESETS, MAX_STREAMS_PER_CONNECTION,
};
use crate::request::source::Peer;
use crate::request::{Crowded, Unread};

/// The preface of every HTTP/2 connection (RFC 9113, 3.4).
const HTTP2_PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Pause between two checks whether the rest of the preface has arrived.
const PREFACE_POLL: Duration = Duration::from_millis(5);
/// An HTTP/2 peer that does not answer a ping for this long is gone.
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// Smallest read buffer that hyper takes.
const LEAST_BUFFER_BYTES: usize = 8 * 1024;
/// What an HTTP/2 peer may send before somebody reads it, for one request and for all of a connection: nobody has recognised it yet.
const STREAM_WINDOW_BYTES: u32 = 64 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 256 * 1024;
/// How long a connection on a place for probes may take for its one request.
const PROBE_PATIENCE: Duration = Duration::from_secs(2);

/// The two protocols, told apart before either begins: hyper waits for ever for a client that sends nothing, or half a preface.
pub(super) struct Protocols {
    http1: http1::Builder,
    http2: http2::Builder<TokioExecutor>,
}

impl Protocols {
    pub(super) fn new(config: &GatewayConfig) -> Self {
        let mut http1 = http1::Builder::new();
        http1
            .timer(TokioTimer::new())
            .header_read_timeout(config.header_read_timeout)
            .max_headers(MAX_HEADERS)
            .max_buf_size(MAX_HEADER_BLOCK_BYTES.max(LEAST_BUFFER_BYTES))
            .half_close(false);
        let mut http2 = http2::Builder::new(TokioExecutor::new());
        http2
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_STREAMS_PER_CONNECTION)
            // The edge refuses what is over its limit and says so; h2 would answer with a bare status.
            .max_header_list_size(MAX_EXPLAINED_HEADER_BYTES)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
            .keep_alive_interval(config.header_read_timeout)
            .keep_alive_timeout(PING_TIMEOUT);
        Self { http1, http2 }
    }
}

pub(super) struct Connection {
    pub(super) stream: TcpStream,
    pub(super) peer: Peer,
    pub(super) purpose: Purpose,
    pub(super) protocols: Arc<Protocols>,
    pub(super) router: Router,
    pub(super) unread: Unread,
    pub(super) patience: Duration,
    pub(super) write_patience: Duration,
    pub(super) stop: CancellationToken,
}

impl Connection {
    /// Serves it until the peer closes it, until it was idle for too long, or, after a stop was requested, until its requests are answered.
    pub(super) async fn serve(self) {
        // Without it an answer waits for the acknowledgement of the one before. Fails only on a socket that is closed already.
        let _ = self.stream.set_nodelay(true);
        let Some(speaks_http2) = self.speaks_http2().await else {
            return;
        };
        let open = OpenAnswers::new();
        let service = answers(self.router, self.peer, self.purpose, open.clone());
        let stream = Stallable::new(self.stream, self.write_patience);
        let Protocols { http1, http2 } = &*self.protocols;
        // Both ends are sought together: hyper watches an idle HTTP/1.1 connection itself, but an HTTP/2 peer that answers pings
        // could otherwise stay for ever.
        macro_rules! serve {
            ($connection:expr, $idle:expr) => {{
                let connection = $connection;
                tokio::pin!(connection);
                // Nothing is lost whichever branch wins: the connection is only borrowed, and goes on to its end in the other two.
                tokio::select! {
                    served = connection.as_mut() => served,
                    () = $idle => {
                        connection.as_mut().graceful_shutdown();
                        tokio::time::timeout(self.patience, connection).await.unwrap_or(Ok(()))
                    }
                    () = self.stop.cancelled() => {
                        connection.as_mut().graceful_shutdown();
                        connection.await
                    }
                }
            }};
        }
        let served = if speaks_http2 {
            let io = TokioIo::new(stream);
            serve!(
                http2.serve_connection(io, service),
                open.idle_for(self.patience)
            )
        } else {
            let (unread, source) = (self.unread, self.peer.0);
            let explain: Explain = Arc::new(move |status| unread.answer(status, source));
            let io = TokioIo::new(Explained::new(stream, open, explain));
            serve!(
                http1.serve_connection(io, service).with_upgrades(),
                std::future::pending::<()>()
            )
        };
        if let Err(error) = served {
            // A client that went away or sent nonsense; nothing that an operator could do.
            tracing::debug!(%error, "a connection ended early");
        }
    }

    /// The same on a place for probes, which is not held for long.
    pub(super) async fn serve_probe(self) {
        // A timeout needs no handling: a connection without a request by then was not a probe.
        let _ = tokio::time::timeout(PROBE_PATIENCE, self.serve()).await;
    }

    /// Whether the first bytes are the preface of HTTP/2. Anything else is HTTP/1.1, which has its own time limit.
    /// `None`: the client sent nothing or only a part of the preface in time, or closed, or the gateway is stopping.
    async fn speaks_http2(&self) -> Option<bool> {
        let deadline = Instant::now() + self.patience;
        let look = async {
            let mut head = [0; HTTP2_PREFACE.len()];
            loop {
                match self.stream.peek(&mut head).await {
                    Ok(0) | Err(_) => return None,
                    Ok(read) if read == HTTP2_PREFACE.len() => return Some(head == *HTTP2_PREFACE),
                    Ok(read) if HTTP2_PREFACE.starts_with(&head[..read]) => {
                        tokio::time::sleep(PREFACE_POLL).await;
                    }
                    Ok(_) => return Some(false),
                }
            }
        };
        // Looking takes nothing off the socket, so giving it up loses no bytes.
        tokio::select! {
            found = look => found,
            () = tokio::time::sleep_until(deadline) => None,
            () = self.stop.cancelled() => None,
        }
    }
}

/// What answers the requests of a connection.
fn answers(
    router: Router,
    peer: Peer,
    purpose: Purpose,
    open: OpenAnswers,
) -> impl hyper::service::Service<
    Request<Incoming>,
    Response = Response<AnswerBody>,
    Error = Infallible,
    Future: Send,
> + Send {
    service_fn(move |mut request: Request<Incoming>| {
        let under_way = open.begin();
        request.extensions_mut().insert(peer);
        if purpose == Purpose::Probe {
            request.extensions_mut().insert(Crowded);
        }
        let answer = router.clone().oneshot(request.map(Body::new));
        async move {
            let answer = answer.await?;
            Ok::<_, Infallible>(answer.map(|body| AnswerBody::new(body, under_way)))
        }
    })
}
