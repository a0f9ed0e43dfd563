//! Calls targets, with a pooled HTTP/1.1 and HTTP/2 client that does not trust its peers.
//!
//! A call has one hop or, with redirects, up to four. The URL of each hop is checked, then the
//! connector resolves and checks addresses, and whatever comes back is limited in time and size.
//! Nothing here retries a request that a target may have seen: the dispatcher makes that decision
//! and bears its cost. A request is only sent again at once if it was certainly not processed, or
//! if it met a connection that the target was closing.
//!
//! - [`outcome`]: how a call ended.
//! - `connect`, [`resolve`], `tls`, `stream`: from a URL to a connection.
//! - [`headers`], `redirect`: what is sent. [`answer`]: what is kept of the answer.
//! - `failure`: turns errors into sentences. `tasks`: owns the connections.

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

pub use headers::{HeaderText, RefusedHeader, TaskHeader, task_headers};
pub use outcome::{Answered, CallFailed, FailReason, Outcome, OwnFault, Phase};
pub use resolve::{Resolve, ResolveError};

use answer::{LargeAnswers, beginning, kept_headers};
use connect::Connector;
use failure::{Fault, met_a_closing_connection, of_exchange, of_request, surely_not_processed};
use redirect::{Hop, MAX_REDIRECTS};
use tasks::Tasks;

/// Limit of the head of an answer in bytes, for HTTP/1.1 and HTTP/2. A larger head fails the call.
const MAX_HEAD_BYTES: u32 = 64 * 1024;

/// Limit of headers in an answer over HTTP/1.1. More headers fail the call.
const MAX_HEADERS: usize = 256;

/// Windows of one HTTP/2 stream and of one connection: a target can fill no more memory than this
/// before we read.
const STREAM_WINDOW: u32 = 128 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;

/// Interval of pings on an idle HTTP/2 connection, so that calls do not wait on a dead one.
const PING_EVERY: Duration = Duration::from_secs(10);
const PING_ANSWER: Duration = Duration::from_secs(5);

/// How often one hop is sent again because the target has certainly not begun to process it.
const MAX_RESENT: usize = 2;

/// Configuration of callouts. The default is right for production.
#[derive(Clone)]
pub struct CalloutConfig {
    /// Which targets may be called.
    pub egress: Egress,
    /// Time limit of resolving, connecting and TLS together.
    pub connect_timeout: Duration,
    /// How long an idle connection is kept. Less than the five seconds after which many servers
    /// close theirs, since a request that meets a closing connection fails.
    pub idle_timeout: Duration,
    /// Limit of idle connections per host. With fewer than there are concurrent calls, each call
    /// would need a new connection.
    pub max_idle_per_host: usize,
    /// Certificate authorities in PEM format that are trusted besides the system's.
    pub extra_ca_pem: Vec<u8>,
    /// Replaces the machine's resolver.
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

/// The configuration is invalid.
#[derive(Debug, thiserror::Error)]
pub enum CalloutConfigError {
    #[error("the extra certificate authorities are not valid PEM certificates: {0}")]
    BadCa(String),
    #[error("TLS cannot be set up: {0}")]
    Tls(rustls::Error),
}

/// A call to make.
#[derive(Clone)]
pub struct Request {
    pub method: Method,
    pub url: Url,
    /// The query as the client gave it, if `url` spells it differently. Parsing a URL writes `'` as
    /// `%27`, which is a different query for targets that compare it byte by byte, for example
    /// because they verify a signature over it.
    pub query: Option<String>,
    /// From [`task_headers`], plus our own.
    pub headers: HeaderMap,
    /// Not sent with GET and HEAD.
    pub body: Bytes,
    /// Time limit of each hop, from its start to the head of its answer, including connecting.
    pub first_byte: Duration,
    /// Time limit of the whole call: all hops and the body of the answer.
    pub total: Duration,
    pub follow_redirects: bool,
    /// How much of the answer's body is kept, in bytes.
    pub kept_body: usize,
    /// The secrets in the request.
    pub carried: Option<Arc<Carried>>,
}

impl std::fmt::Debug for Request {
    /// Shows neither URL nor body, since either may contain a credential. Headers that do are
    /// marked as sensitive and not shown.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("host", &self.url.host_str())
            .field("headers", &self.headers)
            .finish_non_exhaustive()
    }
}

/// The client. Cheap to clone; connections are closed with the last clone.
#[derive(Clone)]
pub struct Callouts(Arc<Inner>);

struct Inner {
    // Dropped before the tasks, so that idle connections close by themselves.
    client: Client<Connector, Full<Bytes>>,
    /// Opens a new connection for each request: for those that met a connection that the target was
    /// closing.
    unpooled: Client<Connector, Full<Bytes>>,
    connector: Connector,
    large: LargeAnswers,
    _tasks: Tasks,
}

impl std::fmt::Debug for Callouts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Callouts").finish_non_exhaustive()
    }
}

impl Callouts {
    /// Loads the system's certificate authorities and resolver configuration. Must be called inside
    /// a tokio runtime.
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
            // As lenient as curl, Python and Node: an answer that they accept is accepted here too.
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
            large: LargeAnswers::default(),
            _tasks: tasks,
        })))
    }

    /// Makes the call, which ends within `request.total`. Dropping the future aborts the call: over
    /// HTTP/1.1 its connection is closed, over HTTP/2 its stream is reset. The target may have seen
    /// the request all the same.
    pub async fn call(&self, request: Request) -> Outcome {
        let started = Instant::now();
        match self.follow(request, started).await {
            Ok((head, body)) => {
                let (headers, header_bytes) = kept_headers(&head.headers);
                Outcome::Answered(Answered {
                    status: head.status,
                    headers,
                    header_bytes,
                    truncated: body.is_truncated(),
                    body_bytes: body.total,
                    body: body.bytes,
                    duration: started.elapsed(),
                })
            }
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
            query: request.query,
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
            // Checked again when the connection is made: the check at the creation of the task does
            // not count here.
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
            return match timeout_at(deadline, beginning(body, request.kept_body, &self.0.large))
                .await
            {
                Ok(Ok(body)) => Ok((head, body)),
                Ok(Err(error)) => Err(of_exchange(&error)),
                Err(_) => Err(Fault::timeout(Phase::Body, request.total)),
            };
        }
    }

    /// Sends one hop, and waits for the head of its answer.
    async fn send(&self, hop: &Hop) -> Result<Response<Incoming>, Fault> {
        let uri: Uri = hop.address().parse().map_err(|_| {
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
                // Only once, and on a new connection: the pool may have more connections that the
                // target is closing.
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
