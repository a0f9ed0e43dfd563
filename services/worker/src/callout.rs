//! Calls targets: a pooled HTTP/1.1 and HTTP/2 client that trusts nobody it talks to.
//!
//! A call is one or, with redirects, up to four hops. Each hop's URL is judged, then the connector resolves and judges addresses, and
//! whatever comes back is bounded in time and size. Nothing here retries what a target may have seen: that decision, and its cost, is
//! the dispatcher's. Only a request goes again at once that surely was not processed, or that met a connection which the target was
//! closing.
//!
//! - [`outcome`]: how a call ended.
//! - `connect`, [`resolve`], `tls`, `stream`: from a URL to a connection.
//! - [`headers`], `redirect`: what goes out. [`answer`]: what is kept of what comes back.
//! - `failure`: from errors to sentences. `tasks`: who owns the connections.

pub mod answer;
mod connect;
mod failure;
pub mod headers;
pub mod outcome;
mod redirect;
pub mod resolve;
mod stream;
mod tasks;
mod tls;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Response, StatusCode, Uri};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::client::legacy::{self, Client};
use hyper_util::rt::TokioTimer;
use metrics::counter;
use tokio::time::{Instant, timeout_at};
use url::Url;
use waybill_domain::egress::Egress;

use crate::vault::Carried;

pub use headers::{Given, HeaderText, RefusedHeader, task_headers};
pub use outcome::{Answered, CallFailed, FailReason, Outcome, OwnFault, Phase};
pub use resolve::{Resolve, ResolveError};

use answer::{beginning, kept_headers};
use connect::Connector;
use failure::{Fault, met_a_closing_connection, of_exchange, of_request, surely_not_processed};
use redirect::{Hop, MAX_REDIRECTS};
use tasks::Tasks;

/// Bytes of the head of an answer, over HTTP/1.1 and HTTP/2 alike. A larger one fails the call.
const MAX_HEAD_BYTES: u32 = 64 * 1024;

/// Headers of an answer over HTTP/1.1. More fail the call.
const MAX_HEADERS: usize = 256;

/// What one HTTP/2 stream and one connection may send before we read it: a target can fill no more memory than that.
const STREAM_WINDOW: u32 = 128 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;

/// An idle HTTP/2 connection is asked for a sign of life at this interval, so that calls do not wait on one that is gone.
const PING_EVERY: Duration = Duration::from_secs(10);
const PING_ANSWER: Duration = Duration::from_secs(5);

/// Times one hop is sent again because the target surely did not begin with it.
const MAX_RESENT: usize = 2;

/// How callouts are made. The default is right for production.
#[derive(Clone)]
pub struct CalloutConfig {
    /// Which targets may be called.
    pub egress: Egress,
    /// For resolving, connecting and TLS together.
    pub connect_timeout: Duration,
    /// How long a connection waits for its next use. Below the five seconds after which many servers close theirs, since a request
    /// that meets a closing connection fails.
    pub idle_timeout: Duration,
    /// Connections that wait for one host. Fewer than the calls made to it at once would mean a new connection for each call.
    pub max_idle_per_host: usize,
    /// Certificate authorities in PEM form that are trusted beside the system's.
    pub extra_ca_pem: Vec<u8>,
    /// Instead of the machine's resolver.
    pub resolver: Option<Arc<dyn Resolve>>,
}

impl Default for CalloutConfig {
    fn default() -> Self {
        Self {
            egress: Egress::strict(),
            connect_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(4),
            max_idle_per_host: 512,
            extra_ca_pem: Vec::new(),
            resolver: None,
        }
    }
}

impl std::fmt::Debug for CalloutConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CalloutConfig")
            .field("egress", &self.egress)
            .field("connect_timeout", &self.connect_timeout)
            .field("idle_timeout", &self.idle_timeout)
            .field("max_idle_per_host", &self.max_idle_per_host)
            .finish_non_exhaustive()
    }
}

/// The configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CalloutConfigError {
    #[error("the extra certificate authorities are not valid PEM certificates: {0}")]
    BadCa(String),
    #[error("TLS cannot be set up: {0}")]
    Tls(rustls::Error),
}

/// One call to make.
#[derive(Clone)]
pub struct Request {
    pub method: Method,
    pub url: Url,
    /// From [`task_headers`], and ours on top.
    pub headers: HeaderMap,
    /// Not sent with GET and HEAD.
    pub body: Bytes,
    /// From the start of each hop to the head of its answer, connecting included.
    pub first_byte: Duration,
    /// For the whole call: all hops and the body of the answer.
    pub total: Duration,
    pub follow_redirects: bool,
    /// What of it is secret.
    pub carried: Option<Arc<Carried>>,
}

impl std::fmt::Debug for Request {
    /// Neither URL nor body: either may hold a credential. Headers that do are marked, and show nothing.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("host", &self.url.host_str())
            .field("headers", &self.headers)
            .finish_non_exhaustive()
    }
}

/// The client. Cheap to clone; connections are closed when the last clone is gone.
#[derive(Clone)]
pub struct Callouts(Arc<Inner>);

struct Inner {
    // Dropped before the tasks, so that idle connections close by themselves.
    client: Client<Connector, Full<Bytes>>,
    /// Makes a new connection for each request: for those that met a connection which its target was closing.
    unpooled: Client<Connector, Full<Bytes>>,
    connector: Connector,
    _tasks: Tasks,
}

impl std::fmt::Debug for Callouts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Callouts").finish_non_exhaustive()
    }
}

impl Callouts {
    /// Reads the system's certificate authorities and resolver configuration. Must be called inside a tokio runtime.
    pub fn new(config: CalloutConfig) -> Result<Self, CalloutConfigError> {
        let connector = Connector::new(
            config.egress,
            config.resolver.unwrap_or_else(resolve::system),
            tls::client_config(&config.extra_ca_pem)?,
            config.connect_timeout,
        );
        let tasks = Tasks::default();
        let mut builder = Client::builder(tasks.spawner());
        builder
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(config.idle_timeout)
            .pool_max_idle_per_host(config.max_idle_per_host)
            .http1_max_buf_size(MAX_HEAD_BYTES as usize)
            .http1_max_headers(MAX_HEADERS)
            // As leniently as curl, Python and Node read: an answer that they accept is one.
            .http1_allow_obsolete_multiline_headers_in_responses(true)
            .http1_allow_spaces_after_header_name_in_responses(true)
            .http1_ignore_invalid_headers_in_responses(true)
            .http2_max_header_list_size(MAX_HEAD_BYTES)
            .http2_initial_stream_window_size(STREAM_WINDOW)
            .http2_initial_connection_window_size(CONNECTION_WINDOW)
            .http2_keep_alive_interval(PING_EVERY)
            .http2_keep_alive_timeout(PING_ANSWER);
        let client = builder.build(connector.clone());
        let unpooled = builder.pool_max_idle_per_host(0).build(connector.clone());
        Ok(Self(Arc::new(Inner {
            client,
            unpooled,
            connector,
            _tasks: tasks,
        })))
    }

    /// Makes the call. It ends by `request.total` at the latest. Dropping the future gives the call up: over HTTP/1.1 its connection
    /// is closed, over HTTP/2 its stream is reset; the target may have seen the request all the same.
    pub async fn call(&self, request: Request) -> Outcome {
        let started = Instant::now();
        match self.follow(request, started).await {
            Ok((head, body)) => Outcome::Answered(Answered {
                status: head.status,
                headers: kept_headers(&head.headers),
                truncated: body.is_truncated(),
                body_bytes: body.total,
                body: body.bytes,
                duration: started.elapsed(),
            }),
            Err(Fault { reason, message }) => Outcome::Failed(CallFailed {
                reason,
                message,
                duration: started.elapsed(),
            }),
        }
    }

    async fn follow(
        &self,
        request: Request,
        started: Instant,
    ) -> Result<(http::response::Parts, answer::Beginning), Fault> {
        let deadline = started + request.total;
        let mut hop = Hop {
            method: request.method,
            url: request.url,
            headers: request.headers,
            body: request.body,
        };
        if hop.method == Method::GET || hop.method == Method::HEAD {
            hop.body = Bytes::new();
        }
        headers::complete(&mut hop.headers);
        hop.say_that_it_is_empty();

        let mut left = if request.follow_redirects {
            MAX_REDIRECTS
        } else {
            0
        };
        loop {
            self.0.connector.egress().check_url(&hop.url)?;
            // Judged again where the connection is made: what the URL was when the task was created counts for nothing here.
            if let Some(carried) = &request.carried
                && (carried.is_in_line() || hop.has_secret_headers())
            {
                carried.check(&hop.url)?;
            }
            let answered_by = deadline.min(Instant::now() + request.first_byte);
            let answer = match timeout_at(answered_by, self.send(&hop)).await {
                Ok(answer) => answer?,
                Err(_) => {
                    let limit = request.first_byte.min(request.total);
                    return Err(Fault::timeout(Phase::FirstByte, limit));
                }
            };
            let next = match left {
                0 => None,
                _ => hop.after(answer.status(), answer.headers()),
            };
            if let Some(next) = next {
                if let Some(carried) = &request.carried {
                    carried.check_redirect(&hop.url, &next.url)?;
                }
                left -= 1;
                hop = next;
                continue;
            }
            let (head, body) = answer.into_parts();
            return match timeout_at(deadline, beginning(body)).await {
                Ok(Ok(body)) => Ok((head, body)),
                Ok(Err(error)) => Err(of_exchange(&error)),
                Err(_) => Err(Fault::timeout(Phase::Body, request.total)),
            };
        }
    }

    /// Sends one hop and waits for the head of its answer.
    async fn send(&self, hop: &Hop) -> Result<Response<Incoming>, Fault> {
        let uri: Uri = hop.url.as_str().parse().map_err(|_| {
            Fault::new(
                FailReason::InvalidRequest,
                "The target's URL cannot be sent in a request",
            )
        })?;
        let mut resent = 0;
        let mut client = &self.0.client;
        loop {
            match send_once(client, hop, uri.clone()).await {
                Ok(answer) if answer.status() == StatusCode::SWITCHING_PROTOCOLS => {
                    return Err(Fault::new(
                        FailReason::Protocol,
                        "The target switched to another protocol unasked",
                    ));
                }
                Ok(answer) => return Ok(answer),
                Err(error) if resent < MAX_RESENT && surely_not_processed(&error) => resent += 1,
                // Once, and on a connection of its own: the pool may hold more that the target is closing.
                Err(error) if resent < MAX_RESENT && met_a_closing_connection(&error) => {
                    counter!("waybill_callouts_resent_total").increment(1);
                    client = &self.0.unpooled;
                    resent = MAX_RESENT;
                }
                Err(error) => {
                    tracing::debug!(?error, "callout failed");
                    return Err(of_request(&error));
                }
            }
        }
    }
}

async fn send_once(
    client: &Client<Connector, Full<Bytes>>,
    hop: &Hop,
    uri: Uri,
) -> Result<Response<Incoming>, legacy::Error> {
    let mut request = http::Request::new(Full::new(hop.body.clone()));
    *request.method_mut() = hop.method.clone();
    *request.uri_mut() = uri;
    *request.headers_mut() = hop.headers.clone();
    client.request(request).await
}
