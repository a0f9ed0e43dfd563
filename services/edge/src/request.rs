//! What every request passes on its way in and every answer on its way out: one layer, since each further one costs every request.
//!
//! In: a request id, a trace context, a span. Out: those two as headers, security headers, where the request stands under its limits,
//! metrics. A panic becomes a 500 without
//! details, and an answer that does not come in time a 503.

mod refused;
pub mod room;
pub mod source;
mod trace;

pub use refused::{Crowded, Unread};

use std::convert::Infallible;
use std::future::Future;
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use axum::extract::{MatchedPath, Request};
use axum::response::{IntoResponse, Response};
use futures::FutureExt;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderName, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use ipnet::IpNet;
use tower::{Layer, Service};
use tracing::Instrument;
use waybill_domain::actor::Origin;
use waybill_domain::trace::TraceParent;

use crate::config::RESPONSE_TIMEOUT;
use crate::error::{ApiError, Code, Dialect, ErrorCode, explain_bare};
use crate::limits::{LimitSlot, Limiter, write_headers};
use crate::position::PositionSlot;
use crate::refusals::{self, Attribution, Refusals};
use crate::usage::{Answered, Usage};
use room::{Held, Room};
use waybill_commands::entropy;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// A request id of a client is kept when it is no longer than this and plain.
const MAX_REQUEST_ID_BYTES: usize = 64;
/// Route of a request that matched none.
const UNMATCHED: &str = "unmatched";

/// What identifies a request in logs, events and answers.
#[derive(Debug, Clone)]
pub struct RequestContext {
    /// The client's, when it is short and plain; else one made here.
    pub request_id: Arc<str>,
    /// W3C trace context of the work that the request causes.
    pub traceparent: Arc<str>,
    /// Address of the client.
    pub source: IpAddr,
    /// Where the request stands under the limits that it has met.
    pub limits: LimitSlot,
    /// What it has acknowledged, for its answer.
    pub position: PositionSlot,
    /// The team and the credential that it was attributed to.
    pub attribution: Attribution,
    /// Room that its body takes.
    pub body: Held,
    /// Its place among the requests under way, which one that waits for a task gives back: such waits are counted for themselves.
    pub under_way: Held,
    agent: Option<Arc<str>>,
}

impl RequestContext {
    /// The context of bytes that were no request.
    fn of_nobody(source: IpAddr) -> Self {
        Self {
            request_id: hex::encode(entropy::random::<8>()).into(),
            traceparent: trace::begun().as_str().into(),
            source,
            limits: LimitSlot::default(),
            position: PositionSlot::default(),
            attribution: Attribution::default(),
            body: Held::new(&Room::of_bodies(0), source),
            under_way: Held::new(&Room::of_requests(0), source),
            agent: None,
        }
    }

    /// The origin that events of this request name.
    #[must_use]
    pub fn origin(&self) -> Origin {
        Origin {
            request_id: Arc::clone(&self.request_id),
            source: self.source.to_string().into(),
            agent: self.agent.clone(),
        }
    }
}

/// The layer around every route.
#[derive(Clone)]
pub struct EdgeLayer {
    proxies: Arc<[IpNet]>,
    limiter: Arc<Limiter>,
    refusals: Arc<Refusals>,
    usage: Arc<Usage>,
    rooms: Rooms,
}

/// What a process has room for.
#[derive(Debug, Clone)]
pub struct Rooms {
    /// Bodies that are being received.
    pub bodies: Arc<Room>,
    /// Requests that are not answered yet.
    pub requests: Arc<Room>,
}

impl EdgeLayer {
    /// Trusts these proxies about a client's address, and accepts requests and bodies while there is room.
    #[must_use]
    pub fn new(
        trusted_proxies: &[IpNet],
        limiter: Arc<Limiter>,
        refusals: Arc<Refusals>,
        usage: Arc<Usage>,
        rooms: Rooms,
    ) -> Self {
        Self {
            proxies: trusted_proxies.into(),
            limiter,
            refusals,
            usage,
            rooms,
        }
    }
}

impl<S> Layer<S> for EdgeLayer {
    type Service = Edge<S>;

    fn layer(&self, inner: S) -> Edge<S> {
        Edge {
            inner,
            proxies: Arc::clone(&self.proxies),
            limiter: Arc::clone(&self.limiter),
            refusals: Arc::clone(&self.refusals),
            usage: Arc::clone(&self.usage),
            rooms: self.rooms.clone(),
        }
    }
}

/// The layer's service.
#[derive(Clone)]
pub struct Edge<S> {
    inner: S,
    proxies: Arc<[IpNet]>,
    limiter: Arc<Limiter>,
    refusals: Arc<Refusals>,
    usage: Arc<Usage>,
    rooms: Rooms,
}

impl<S> Service<Request> for Edge<S>
where
    S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let start = Instant::now();
        let (parent, trace, context) = identify(&request, &self.proxies, &self.rooms);
        let route = request.extensions().get::<MatchedPath>().cloned();
        let span = tracing::info_span!(
            "request",
            request_id = &*context.request_id,
            trace_id = trace.trace_id(),
            span_id = trace.span_id(),
            parent_id = parent.as_ref().map(TraceParent::span_id),
            method = %request.method(),
            route = route.as_ref().map_or(UNMATCHED, MatchedPath::as_str),
        );
        request.extensions_mut().insert(context.clone());
        // The clone has not been polled ready; the one that has is used.
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        let limiter = Arc::clone(&self.limiter);
        let refusals = Arc::clone(&self.refusals);
        let usage = Arc::clone(&self.usage);
        let method = request.method().clone();
        let dialect = Dialect::of(request.uri().path());
        let version = request.headers().get("x-api-version").cloned();
        let answer = async move {
            let answering = AssertUnwindSafe(async {
                match refused::refusal(&request, &context.under_way) {
                    Some(refusal) => Ok(refusal.into_response()),
                    None => inner.call(request).await,
                }
            })
            .catch_unwind();
            let mut response = match tokio::time::timeout(RESPONSE_TIMEOUT, answering).await {
                Ok(Ok(Ok(response))) => explain_bare(response),
                Ok(Ok(Err(never))) => match never {},
                Ok(Err(_)) => ApiError::internal(&"a handler panicked").into_response(),
                Err(_) => ApiError::unavailable(ErrorCode::Timeout, "The request took too long")
                    .into_response(),
            };
            // Background work may keep the context.
            context.under_way.give_back();
            identify_answer(response.headers_mut(), &context);
            context.position.write(response.headers_mut());
            secure(response.headers_mut());
            let unknown = || limiter.source_standing(context.source);
            let rate = write_headers(
                &context.limits,
                unknown,
                limiter.now(),
                response.headers_mut(),
            );
            note_refusal(&refusals, &context, &method, route.as_ref(), &response);
            note_use(&usage, &context, &method, route.as_ref(), &response);
            record(route.as_ref(), &response, start);
            Ok(dialect.render(response, route.is_some(), &rate, version.as_ref()))
        };
        Box::pin(answer.instrument(span))
    }
}

/// The caller's step of a trace, if it sent one; ours; and what is passed on.
fn identify(
    request: &Request,
    proxies: &[IpNet],
    rooms: &Rooms,
) -> (Option<TraceParent>, TraceParent, RequestContext) {
    let headers = request.headers();
    let parent = headers
        .get(TRACEPARENT)
        .and_then(|value| TraceParent::parse(value.to_str().ok()?));
    let trace = trace::continued(parent.as_ref());
    let request_id = headers
        .get(REQUEST_ID)
        .and_then(|value| value.to_str().ok())
        .filter(|id| is_plain_id(id))
        .map_or_else(|| hex::encode(entropy::random::<8>()).into(), Arc::from);
    let source = source::of(request, proxies);
    let context = RequestContext {
        request_id,
        traceparent: trace.as_str().into(),
        source,
        limits: LimitSlot::default(),
        position: PositionSlot::default(),
        attribution: Attribution::default(),
        body: Held::new(&rooms.bodies, source),
        under_way: Held::new(&rooms.requests, source),
        agent: source::agent(headers),
    };
    (parent, trace, context)
}

fn is_plain_id(id: &str) -> bool {
    (1..=MAX_REQUEST_ID_BYTES).contains(&id.len())
        && id
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

fn identify_answer(headers: &mut HeaderMap, context: &RequestContext) {
    let texts = [
        (REQUEST_ID, &context.request_id),
        (TRACEPARENT, &context.traceparent),
    ];
    for (name, text) in texts {
        if let Ok(value) = HeaderValue::from_str(text) {
            headers.insert(name, value);
        }
    }
}

/// Headers for an API, whose answers must not be loaded as pages, framed, sniffed or cached. A page that needs more sets them itself.
fn secure(headers: &mut HeaderMap) {
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers
        .entry(REFERRER_POLICY)
        .or_insert(HeaderValue::from_static("no-referrer"));
    headers
        .entry(CONTENT_SECURITY_POLICY)
        .or_insert(HeaderValue::from_static(
            "default-src 'none'; frame-ancestors 'none'",
        ));
    headers
        .entry(CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
}

/// Counts an answer that refuses a recognised caller, for the activity of its team.
fn note_refusal(
    refusals: &Refusals,
    context: &RequestContext,
    method: &Method,
    route: Option<&MatchedPath>,
    response: &Response,
) {
    let refuses = matches!(
        response.status(),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::TOO_MANY_REQUESTS
    );
    let Some(Code(code)) = response.extensions().get().filter(|_| refuses) else {
        return;
    };
    let route = format!("{method} {}", route.map_or(UNMATCHED, MatchedPath::as_str));
    if let Some((kind, latest)) =
        refusals::refused(&context.attribution, *code, route, context.origin())
    {
        refusals.note(kind, latest);
    }
}

/// Counts an answer to an API key, by what let the request through and by route and kind of status.
fn note_use(
    usage: &Usage,
    context: &RequestContext,
    method: &Method,
    route: Option<&MatchedPath>,
    response: &Response,
) {
    if let Some((used, scope)) = context.attribution.used() {
        usage.answered(&Answered {
            team: &used.team,
            key: &used.key,
            scope,
            method,
            route: route.map_or(UNMATCHED, MatchedPath::as_str),
            status: response.status(),
            source: context.source,
        });
    }
}

fn record(route: Option<&MatchedPath>, response: &Response, start: Instant) {
    let status = response.status();
    let label = route.map_or_else(|| UNMATCHED.into(), |route| route.as_str().to_owned());
    metrics::counter!(
        "waybill_http_requests_total",
        "route" => label,
        "status" => status.as_str().to_owned(),
    )
    .increment(1);
    let ms = start.elapsed().as_secs_f64() * 1000.0;
    if status.is_server_error() {
        tracing::warn!(status = status.as_u16(), ms, "answered");
    } else {
        tracing::debug!(status = status.as_u16(), ms, "answered");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clients_request_id_is_kept_when_it_is_plain() {
        let rooms = Rooms {
            bodies: Room::of_bodies(0),
            requests: Room::of_requests(0),
        };
        for (id, kept) in [
            ("order-17.a_B", true),
            ("", false),
            ("a b", false),
            ("<script>", false),
            ("{\"a\":1}", false),
        ] {
            let mut request = Request::default();
            let value = HeaderValue::from_str(id).expect("a header");
            request.headers_mut().insert(REQUEST_ID, value);
            let (_, _, context) = identify(&request, &[], &rooms);
            assert_eq!(&*context.request_id == id, kept, "{id}");
        }
        assert!(!is_plain_id(&"x".repeat(MAX_REQUEST_ID_BYTES + 1)));
    }
}
