//! The API as a client sees it: requests with deadlines, answers as facts.

use std::time::{Duration, Instant};

use anyhow::Result;
use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use tokio::time::timeout;

use crate::checker::Told;

/// The gateway promises an answer within seconds, whichever of its dependencies is down.
const DEADLINE: Duration = Duration::from_secs(20);

/// A client with its connections. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Client {
    pool: Pool<HttpConnector, Full<Bytes>>,
    address: String,
    key: String,
}

/// The outcome of a request.
#[derive(Debug)]
pub(crate) enum Reply {
    Answer {
        status: u16,
        body: Value,
        retry_after: bool,
    },
    /// The connection could not be opened, or broke: whether the request took effect is unknown.
    Broken,
    /// The connection is open, but there is no answer within the time limit.
    Hung(Duration),
}

impl Client {
    pub(crate) fn new(address: &str, key: &str) -> Self {
        Self {
            pool: Pool::builder(TokioExecutor::new()).build_http(),
            address: address.to_owned(),
            key: key.to_owned(),
        }
    }

    fn request(&self, method: Method, path: &str) -> http::request::Builder {
        Request::builder()
            .method(method)
            .uri(format!("http://{}{path}", self.address))
            .header("authorization", format!("Bearer {}", self.key))
    }

    /// Sends a request and reads the answer.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        key: Option<&str>,
        body: Option<&Value>,
    ) -> Result<Reply> {
        let mut request = self.request(method, path);
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        let bytes = match body {
            Some(json) => {
                request = request.header("content-type", "application/json");
                Bytes::from(json.to_string())
            }
            None => Bytes::new(),
        };
        let request = request.body(Full::new(bytes))?;
        let begin = Instant::now();
        Ok(match timeout(DEADLINE, self.exchange(request)).await {
            Ok(Some(answer)) => answer,
            Ok(None) => Reply::Broken,
            Err(_) => Reply::Hung(begin.elapsed()),
        })
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Option<Reply> {
        let response = self.pool.request(request).await.ok()?;
        let status = response.status().as_u16();
        let retry_after = response.headers().contains_key("retry-after");
        let bytes = response.into_body().collect().await.ok()?.to_bytes();
        let body = serde_json::from_slice(&bytes)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into_owned()));
        Some(Reply::Answer {
            status,
            body,
            retry_after,
        })
    }

    /// Opens a stream of events. The inner error is a refusal, or that there was no answer.
    pub(crate) async fn open_stream(
        &self,
        path: &str,
        last_event_id: Option<u64>,
    ) -> Result<Result<Incoming, Reply>> {
        let mut request = self.request(Method::GET, path);
        if let Some(id) = last_event_id {
            request = request.header("last-event-id", id.to_string());
        }
        let request = request.body(Full::new(Bytes::new()))?;
        let begin = Instant::now();
        Ok(match timeout(DEADLINE, self.pool.request(request)).await {
            Ok(Ok(response)) if response.status() == 200 => Ok(response.into_body()),
            Ok(Ok(response)) => Err(Reply::Answer {
                status: response.status().as_u16(),
                retry_after: response.headers().contains_key("retry-after"),
                body: Value::Null,
            }),
            Ok(Err(_)) => Err(Reply::Broken),
            Err(_) => Err(Reply::Hung(begin.elapsed())),
        })
    }
}

impl Reply {
    /// The string in a field of the answer's `task`.
    pub(crate) fn task(&self, field: &str) -> Option<String> {
        match self {
            Self::Answer { body, .. } => Some(body["task"][field].as_str()?.to_owned()),
            Self::Broken | Self::Hung(_) => None,
        }
    }

    /// The string in a field of the answer's `operation`.
    pub(crate) fn operation(&self, field: &str) -> Option<String> {
        match self {
            Self::Answer { body, .. } => Some(body["operation"][field].as_str()?.to_owned()),
            Self::Broken | Self::Hung(_) => None,
        }
    }

    /// The string in a field of the answer's `workflow`.
    pub(crate) fn workflow(&self, field: &str) -> Option<String> {
        match self {
            Self::Answer { body, .. } => Some(body["workflow"][field].as_str()?.to_owned()),
            Self::Broken | Self::Hung(_) => None,
        }
    }

    pub(crate) fn status(&self) -> Option<u16> {
        match self {
            Self::Answer { status, .. } => Some(*status),
            Self::Broken | Self::Hung(_) => None,
        }
    }

    /// Whether it is a failure with this code.
    pub(crate) fn has_code(&self, code: &str) -> bool {
        matches!(self, Self::Answer { body, .. } if body["code"] == code)
    }

    /// Number of tasks of a batch that were accepted.
    pub(crate) fn accepted(&self) -> usize {
        let results = match self {
            Self::Answer { body, .. } => body["results"].as_array(),
            Self::Broken | Self::Hung(_) => None,
        };
        let created = |result: &&Value| result["status"] == 201;
        results.map_or(0, |results| results.iter().filter(created).count())
    }

    /// The tasks of a batch that were accepted.
    pub(crate) fn created(&self) -> Vec<String> {
        let results = match self {
            Self::Answer { body, .. } => body["results"].as_array(),
            Self::Broken | Self::Hung(_) => None,
        };
        let ids = results.into_iter().flatten();
        ids.filter_map(|result| Some(result["task"]["id"].as_str()?.to_owned()))
            .collect()
    }

    /// What the checks should know about an answer that was not the expected one. A broken
    /// connection proves nothing.
    pub(crate) fn trouble(&self, what: &'static str) -> Option<Told> {
        match self {
            Self::Answer {
                status: 503,
                retry_after,
                ..
            } => Some(Told::Unavailable {
                what,
                retry_after: *retry_after,
            }),
            Self::Answer { status, body, .. } => Some(Told::Odd {
                what,
                status: *status,
                body: body.to_string(),
            }),
            Self::Hung(waited) => Some(Told::NoAnswer {
                what,
                waited_ms: u64::try_from(waited.as_millis()).unwrap_or(u64::MAX),
            }),
            Self::Broken => None,
        }
    }
}
