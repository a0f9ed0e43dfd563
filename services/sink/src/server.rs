//! Accepts connections, reads each request completely, records it, and answers according to its
//! plan.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, LOCATION, RETRY_AFTER};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Either, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::flow::Flow;
use crate::record::Record;
use crate::{Answer, MAX_RECORDED_BODY, OnReceive, Plan, Received, Recording, Script};

/// Limit of concurrent connections; further ones wait in the listen queue.
const MAX_CONNECTIONS: usize = 10_000;

/// Pause after a failed accept (no file descriptors left), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

type Reply = Response<Either<Full<Bytes>, Flow>>;

/// The connection closes without an answer.
#[derive(Debug)]
struct NoAnswer;

impl std::fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("closed without an answer")
    }
}

impl std::error::Error for NoAnswer {}

/// State that the handlers of all connections share.
pub(crate) struct Target {
    record: Arc<Record>,
    on_receive: Option<OnReceive>,
    script: Option<Script>,
    /// Whether only the count is needed, so that requests need not be assembled.
    count_only: bool,
}

impl Target {
    pub(crate) fn new(
        record: Arc<Record>,
        on_receive: Option<OnReceive>,
        script: Option<Script>,
    ) -> Arc<Self> {
        let count_only = record.recording == Recording::CountOnly
            && on_receive.is_none()
            && script.is_none()
            && !record.logs();
        Arc::new(Self {
            record,
            on_receive,
            script,
            count_only,
        })
    }
}

/// Accepts connections until dropped, which also ends every connection.
pub(crate) async fn serve(listener: TcpListener, target: Arc<Target>) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        if connections.len() >= MAX_CONNECTIONS {
            connections.join_next().await;
        }
        match listener.accept().await {
            Ok((stream, _)) => {
                target.record.connected();
                connections.spawn(connection(stream, target.clone()));
            }
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

/// Serves one connection. Errors are ignored: callers break connections on purpose.
async fn connection(stream: TcpStream, target: Arc<Target>) {
    // Without it, answers on a keep-alive connection wait for the caller's delayed
    // acknowledgements.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let target = target.clone();
        async move { target.handle(request).await }
    });
    // Without `pipeline_flush`, with which a large body could grow in memory without limit.
    let server = auto::Builder::new(TokioExecutor::new());
    let _ = server.serve_connection(TokioIo::new(stream), service).await;
}

impl Target {
    async fn handle(&self, request: Request<Incoming>) -> Result<Reply, NoAnswer> {
        let (parts, body) = request.into_parts();
        let path = parts.uri.path();
        if let Some(reply) = self.own_page(path) {
            return Ok(reply);
        }
        let mut plan = Plan::of(path, parts.uri.query());
        if self.count_only && plan.answer == Answer::Ok {
            drain(body).await.map_err(|_| NoAnswer)?;
            self.record.count_one();
            return Ok(after(plan.delay, finish(&plan, StatusCode::OK, None)).await);
        }

        let (body, body_bytes) = read(body).await.map_err(|_| NoAnswer)?;
        let task_id = text(&parts.headers, "waybill-task-id");
        let attempt = text(&parts.headers, "waybill-attempt").and_then(|n| n.parse().ok());
        let mut received = Received {
            time_us: now_us(),
            path: parts
                .uri
                .path_and_query()
                .map_or_else(String::new, ToString::to_string),
            method: parts.method,
            version: parts.version,
            headers: parts.headers,
            body,
            body_bytes,
            task_id,
            attempt,
            status: 0,
        };
        if let Some(scripted) = self.script.as_ref().and_then(|script| script(&received)) {
            plan = scripted;
        }
        let visit = if plan.counts_visits() {
            let visitor = received.task_id.as_deref().unwrap_or(&received.path);
            self.record.visit(visitor)
        } else {
            1
        };
        let status = plan.status_at(visit);
        received.status = status.map_or(0, |s| s.as_u16());

        if let Some(on_receive) = &self.on_receive {
            on_receive(&received);
        }
        let echoed = (plan.answer == Answer::Echo).then(|| {
            let content_type = received.headers.get(CONTENT_TYPE).cloned();
            (received.body.clone(), content_type)
        });
        if let Err(error) = self.record.keep(received) {
            // The checker of fault runs relies on the file: a request that is missing there must
            // not look answered.
            eprintln!("waybill-sink: cannot write the log file: {error}");
            return Err(NoAnswer);
        }
        match status {
            Some(status) => Ok(after(plan.delay, finish(&plan, status, echoed)).await),
            None if plan.answer == Answer::Hang => std::future::pending().await,
            None => after(plan.delay, Err(NoAnswer)).await,
        }
    }

    /// Pages of the sink itself.
    fn own_page(&self, path: &str) -> Option<Reply> {
        let page = match path.strip_prefix("/__")? {
            "received" => {
                let all: Vec<_> = self
                    .record
                    .received()
                    .iter()
                    .map(Received::to_json)
                    .collect();
                serde_json::json!({ "count": self.record.count(), "received": all })
            }
            "count" => serde_json::json!({ "count": self.record.count() }),
            "reset" => {
                self.record.reset();
                serde_json::json!({ "count": 0 })
            }
            _ => return None,
        };
        Some(json(StatusCode::OK, Bytes::from(page.to_string())))
    }
}

async fn after<T>(delay: Option<Duration>, answer: T) -> T {
    if let Some(delay) = delay {
        tokio::time::sleep(delay).await;
    }
    answer
}

fn finish(plan: &Plan, status: StatusCode, echoed: Option<(Bytes, Option<HeaderValue>)>) -> Reply {
    let mut reply = match &plan.answer {
        Answer::Trickle(every) => flow(status, Flow::trickle(*every)),
        Answer::Big(left) => flow(status, Flow::Filler { left: *left }),
        Answer::Endless => flow(status, Flow::Endless),
        Answer::Broken(left) => {
            let mut reply = flow(
                status,
                Flow::Broken {
                    left: *left,
                    pausing: true,
                },
            );
            let announced = left.saturating_add(1);
            reply.headers_mut().insert(CONTENT_LENGTH, announced.into());
            reply
        }
        Answer::Echo => {
            let (body, content_type) = echoed.unwrap_or_default();
            let mut reply = json(status, body);
            if let Some(content_type) = content_type {
                reply.headers_mut().insert(CONTENT_TYPE, content_type);
            }
            reply
        }
        Answer::Header(len) => {
            let mut reply = json(status, verdict(status));
            if let Ok(value) = HeaderValue::from_bytes(&vec![b'x'; *len]) {
                reply.headers_mut().insert("x-filler", value);
            }
            reply
        }
        Answer::Redirect { to } => {
            let mut reply = json(status, verdict(status));
            if let Ok(to) = HeaderValue::from_str(to) {
                reply.headers_mut().insert(LOCATION, to);
            }
            reply
        }
        Answer::Ok
        | Answer::Status(_)
        | Answer::Flaky(_)
        | Answer::Script(_)
        | Answer::Hang
        | Answer::Close => json(status, verdict(status)),
    };
    if let Some(seconds) = &plan.retry_after
        && let Ok(seconds) = HeaderValue::from_str(seconds)
    {
        reply.headers_mut().insert(RETRY_AFTER, seconds);
    }
    reply
}

fn verdict(status: StatusCode) -> Bytes {
    match status {
        StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED => Bytes::new(),
        status if status.is_success() => Bytes::from_static(br#"{"ok":true}"#),
        _ => Bytes::from_static(br#"{"ok":false}"#),
    }
}

fn json(status: StatusCode, body: Bytes) -> Reply {
    let mut reply = Response::new(Either::Left(Full::new(body)));
    *reply.status_mut() = status;
    let content_type = HeaderValue::from_static("application/json");
    reply.headers_mut().insert(CONTENT_TYPE, content_type);
    reply
}

fn flow(status: StatusCode, body: Flow) -> Reply {
    let mut reply = Response::new(Either::Right(body));
    *reply.status_mut() = status;
    reply
}

fn text(headers: &http::HeaderMap, name: &str) -> Option<String> {
    let value = headers.get(name)?.to_str().ok()?;
    Some(value.to_owned())
}

async fn drain(mut body: Incoming) -> Result<(), hyper::Error> {
    while let Some(frame) = body.frame().await {
        frame?;
    }
    Ok(())
}

/// Reads a body completely; returns its first part, and the length of all of it.
async fn read(mut body: Incoming) -> Result<(Bytes, u64), hyper::Error> {
    let mut first = Bytes::new();
    let mut more = BytesMut::new();
    let mut total = 0;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else {
            continue;
        };
        total += data.len() as u64;
        if first.is_empty() {
            // Most bodies are one frame, which is returned without copying.
            first = data;
            first.truncate(MAX_RECORDED_BODY);
        } else {
            let room = MAX_RECORDED_BODY - first.len() - more.len();
            more.extend_from_slice(&data[..data.len().min(room)]);
        }
    }
    if more.is_empty() {
        return Ok((first, total));
    }
    Ok(([first, more.freeze()].concat().into(), total))
}

fn now_us() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
