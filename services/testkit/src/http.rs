//! A small HTTP client with the requests that tests of the API often need.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};

/// Deadline of any answer or condition, sufficient on a busy machine.
const PATIENCE: Duration = Duration::from_secs(45);
/// Interval between checks of a condition.
const POLL: Duration = Duration::from_millis(10);

/// A client of one server, with one API key or none.
#[derive(Clone)]
pub struct Http {
    client: Client<HttpConnector, Full<Bytes>>,
    /// URL of the server, without a trailing slash.
    pub url: String,
    key: Option<String>,
}

/// A complete answer.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    /// The body as JSON; null when it is not JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The member `task` of the body.
    #[must_use]
    pub fn task(&self) -> Value {
        self.json()["task"].clone()
    }

    /// The message of an error.
    #[must_use]
    pub fn error(&self) -> String {
        // The jobs API has no other text.
        let body = self.json();
        let text = body["error"].as_str().or(body["message"].as_str());
        text.unwrap_or_default().to_owned()
    }

    /// The code of an error.
    #[must_use]
    pub fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }

    /// The first header with that name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

impl Http {
    /// A client of the server at that URL.
    #[must_use]
    pub fn new(url: &str, key: Option<&str>) -> Self {
        Self {
            client: Client::builder(TokioExecutor::new()).build_http(),
            url: url.trim_end_matches('/').to_owned(),
            key: key.map(str::to_owned),
        }
    }

    /// A client of the server at that address, without a key.
    #[must_use]
    pub fn at(address: SocketAddr) -> Self {
        Self::new(&format!("http://{address}"), None)
    }

    /// Like [`Self::at`], but with HTTP/2 by prior knowledge.
    #[must_use]
    pub fn http2(address: SocketAddr) -> Self {
        Self {
            client: Client::builder(TokioExecutor::new())
                .http2_only(true)
                .build_http(),
            ..Self::at(address)
        }
    }

    /// The same client with another API key.
    #[must_use]
    pub fn with_key(&self, key: &str) -> Self {
        Self {
            key: Some(key.to_owned()),
            ..self.clone()
        }
    }

    /// Sends a GET request.
    pub async fn get(&self, path: &str) -> Result<Answer> {
        self.send(Method::GET, path, &[], Bytes::new()).await
    }

    /// Sends a POST request with a JSON body.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Answer> {
        self.send(Method::POST, path, &[], body.to_string()).await
    }

    /// Sends any request, and reads the answer completely.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<Answer> {
        let exchange = async {
            let response = self.begin(method, path, headers, body).await?;
            let (parts, body) = response.into_parts();
            anyhow::Ok(Answer {
                status: parts.status,
                headers: parts.headers,
                body: body.collect().await?.to_bytes(),
            })
        };
        tokio::time::timeout(PATIENCE, exchange)
            .await
            .context("an answer in time")?
    }

    async fn begin(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<http::Response<Incoming>> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.url));
        if let Some(key) = &self.key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Ok(self
            .client
            .request(request.body(Full::new(body.into()))?)
            .await?)
    }

    /// Creates a task and returns its id. Any status except 201 is an error.
    pub async fn create(&self, task: &Value) -> Result<String> {
        let answer = self.post("/v1/tasks", task).await?;
        if answer.status != StatusCode::CREATED {
            bail!("not created: {} {}", answer.status, answer.text());
        }
        let id = answer.json()["task"]["id"].as_str().map(str::to_owned);
        id.context("an id")
    }

    /// Creates a task, retrying with one idempotency key while the server is unreachable or answers
    /// 503, as a robust client does.
    pub async fn create_surely(&self, key: &str, task: &Value) -> Result<String> {
        let start = Instant::now();
        loop {
            let headers = [("idempotency-key", key)];
            let tried = self
                .send(Method::POST, "/v1/tasks", &headers, task.to_string())
                .await;
            let said = match tried {
                Ok(answer) if answer.status.is_success() => {
                    let id = answer.json()["task"]["id"].as_str().map(str::to_owned);
                    return id.context("an id");
                }
                Ok(answer) if answer.status == StatusCode::SERVICE_UNAVAILABLE => {
                    if answer.header("retry-after").is_none() {
                        bail!("503 without Retry-After: {}", answer.text());
                    }
                    answer.text()
                }
                Ok(answer) => bail!("{} {}", answer.status, answer.text()),
                Err(error) => error.to_string(),
            };
            if start.elapsed() > PATIENCE {
                bail!("it was never accepted: {said}");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// A task, as the API returns it.
    pub async fn task(&self, id: &str) -> Result<Value> {
        let answer = self.get(&format!("/v1/tasks/{id}")).await?;
        if answer.status != StatusCode::OK {
            bail!("{id}: {} {}", answer.status, answer.text());
        }
        Ok(answer.json()["task"].clone())
    }

    /// Waits until a task meets a condition.
    pub async fn task_when(&self, id: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        let start = Instant::now();
        loop {
            // Reads may be refused for a moment while a process restarts.
            let seen = self.task(id).await;
            match &seen {
                Ok(task) if wanted(task) => return seen,
                _ if start.elapsed() > PATIENCE => bail!("{id} is never as wanted: {seen:?}"),
                _ => tokio::time::sleep(POLL).await,
            }
        }
    }

    /// Waits until a task is completed.
    pub async fn completed(&self, id: &str) -> Result<Value> {
        self.task_when(id, |task| task["status"] == "completed")
            .await
    }

    /// Waits until a path answers with a status.
    pub async fn until(&self, path: &str, status: StatusCode) -> Result<Answer> {
        let start = Instant::now();
        loop {
            let seen = self.get(path).await;
            match seen {
                Ok(answer) if answer.status == status => return Ok(answer),
                seen if start.elapsed() > PATIENCE => bail!("{path}: never {status}: {seen:?}"),
                _ => tokio::time::sleep(POLL).await,
            }
        }
    }

    /// Opens an event stream.
    pub async fn events(&self, path: &str, last_id: Option<&str>) -> Result<Events> {
        let headers: Vec<_> = last_id
            .map(|id| ("last-event-id", id))
            .into_iter()
            .collect();
        let response = self
            .begin(Method::GET, path, &headers, Bytes::new())
            .await?;
        if response.status() != StatusCode::OK {
            bail!("{path}: {}", response.status());
        }
        Ok(Events {
            headers: response.headers().clone(),
            body: response.into_body(),
            read: String::new(),
        })
    }
}

/// An open event stream.
pub struct Events {
    headers: HeaderMap,
    body: Incoming,
    read: String,
}

/// An event of a stream.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Position in the log.
    pub id: String,
    /// Event type.
    pub name: String,
    pub data: Value,
}

impl Events {
    /// The first header with that name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The next event; `None` at the end of the stream.
    pub async fn next(&mut self) -> Result<Option<Event>> {
        tokio::time::timeout(PATIENCE, self.next_when_it_comes())
            .await
            .context("an event in time")?
    }

    async fn next_when_it_comes(&mut self) -> Result<Option<Event>> {
        loop {
            if let Some((frame, rest)) = self.read.split_once("\n\n") {
                let field = |name: &str| {
                    let value = frame.lines().find_map(|line| line.strip_prefix(name))?;
                    Some(value.trim().to_owned())
                };
                // A frame without data only moves the position.
                let event = field("data:").map(|data| Event {
                    id: field("id:").unwrap_or_default(),
                    name: field("event:").unwrap_or_default(),
                    data: serde_json::from_str(&data).unwrap_or(json!(data)),
                });
                self.read = rest.to_owned();
                if event.is_some() {
                    return Ok(event);
                }
                continue;
            }
            match self.body.frame().await {
                Some(frame) => {
                    if let Ok(data) = frame?.into_data() {
                        self.read.push_str(std::str::from_utf8(&data)?);
                    }
                }
                None => return Ok(None),
            }
        }
    }
}
