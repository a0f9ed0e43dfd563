//! Connections: accepted up to a bound, served with time limits, drained.

mod stall;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use self::stall::Stallable;
use crate::config::{
    GatewayConfig, MAX_HEADER_BLOCK_BYTES, MAX_HEADERS, MAX_PENDING_RESETS,
    MAX_STREAMS_PER_CONNECTION,
};
use crate::edge::source::Peer;

/// Pause after an accept failed, such as for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// What every HTTP/2 connection begins with (RFC 9113, 3.4).
const HTTP2_PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Between two looks at whether the rest of the preface is there.
const PREFACE_POLL: Duration = Duration::from_millis(5);
/// An HTTP/2 peer that does not answer a ping for this long is gone.
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// Smallest read buffer that hyper takes.
const LEAST_BUFFER_BYTES: usize = 8 * 1024;

/// The two protocols, told apart before either begins: hyper waits for ever for a client that sends nothing, or half a preface.
struct Protocols {
    http1: http1::Builder,
    http2: http2::Builder<TokioExecutor>,
}

impl Protocols {
    fn new(config: &GatewayConfig) -> Self {
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
            .max_header_list_size(u32::try_from(MAX_HEADER_BLOCK_BYTES).unwrap_or(u32::MAX))
            .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
            .keep_alive_interval(config.header_read_timeout)
            .keep_alive_timeout(PING_TIMEOUT);
        Self { http1, http2 }
    }
}

/// Accepts and serves.
pub(crate) struct Server {
    pub(crate) listener: TcpListener,
    pub(crate) router: Router,
    pub(crate) config: GatewayConfig,
}

impl Server {
    /// Serves until `stop`, then lets requests in flight finish within the drain limit and cuts off what is left.
    pub(crate) async fn run(self, stop: CancellationToken) -> Drained {
        let protocols = Arc::new(Protocols::new(&self.config));
        let slots = Arc::new(Semaphore::new(self.config.max_connections));
        let graceful = GracefulShutdown::new();
        let connections = TaskTracker::new();
        let cut_off = CancellationToken::new();
        while let Some((stream, peer, slot)) = self.accept(&slots, &stop).await {
            let connection = Connection {
                stream,
                peer,
                protocols: Arc::clone(&protocols),
                router: self.router.clone(),
                patience: self.config.header_read_timeout,
                write_patience: self.config.write_timeout,
                stop: stop.clone(),
                watcher: graceful.watcher(),
            };
            let cut_off = cut_off.clone();
            connections.spawn(async move {
                tokio::select! {
                    () = connection.serve() => {}
                    () = cut_off.cancelled() => {}
                }
                drop(slot);
                metrics::gauge!("waybill_http_connections").decrement(1);
            });
            metrics::gauge!("waybill_http_connections").increment(1);
        }
        drop(self.listener);
        connections.close();
        let drained = tokio::time::timeout(self.config.drain_timeout, graceful.shutdown()).await;
        cut_off.cancel();
        connections.wait().await;
        if drained.is_ok() {
            Drained::Fully
        } else {
            Drained::CutOff
        }
    }

    /// The next connection; `None` when it is time to stop. A slot is taken first: without one, clients wait in the kernel's queue.
    async fn accept(
        &self,
        slots: &Arc<Semaphore>,
        stop: &CancellationToken,
    ) -> Option<(TcpStream, Peer, OwnedSemaphorePermit)> {
        let next = async {
            // The semaphore is never closed.
            let slot = Arc::clone(slots).acquire_owned().await.ok()?;
            loop {
                match self.listener.accept().await {
                    Ok((stream, peer)) => return Some((stream, Peer(peer.ip()), slot)),
                    Err(error) => {
                        tracing::debug!(%error, "a connection was not accepted");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => None,
            next = next => next,
        }
    }
}

/// How a drain ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drained {
    /// Every request in flight was answered.
    Fully,
    /// Some were cut off at the limit.
    CutOff,
}

struct Connection {
    stream: TcpStream,
    peer: Peer,
    protocols: Arc<Protocols>,
    router: Router,
    patience: Duration,
    write_patience: Duration,
    stop: CancellationToken,
    watcher: Watcher,
}

impl Connection {
    async fn serve(self) {
        // Without it an answer waits for the acknowledgement of the one before. Fails only on a socket that is closed already.
        let _ = self.stream.set_nodelay(true);
        let Some(speaks_http2) = self.speaks_http2().await else {
            return;
        };
        let peer = self.peer;
        let service = self
            .router
            .map_request(move |mut request: http::Request<Incoming>| {
                request.extensions_mut().insert(peer);
                request
            });
        let service = TowerToHyperService::new(service);
        let io = TokioIo::new(Stallable::new(self.stream, self.write_patience));
        let Protocols { http1, http2 } = &*self.protocols;
        let served = if speaks_http2 {
            self.watcher
                .watch(http2.serve_connection(io, service))
                .await
        } else {
            self.watcher
                .watch(http1.serve_connection(io, service))
                .await
        };
        if let Err(error) = served {
            // A client that went away or sent nonsense; nothing that an operator could do.
            tracing::debug!(%error, "a connection ended early");
        }
    }

    /// Whether the first bytes are the preface of HTTP/2. Anything else is HTTP/1.1, which has its own time limit.
    /// `None`: it sent nothing or only a part of the preface in time, closed, or we are stopping.
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
        tokio::select! {
            found = look => found,
            () = tokio::time::sleep_until(deadline) => None,
            () = self.stop.cancelled() => None,
        }
    }
}

/// Binds the listener.
pub(crate) async fn bind(config: &GatewayConfig) -> io::Result<TcpListener> {
    TcpListener::bind(config.listen).await
}
