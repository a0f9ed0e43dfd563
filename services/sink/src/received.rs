//! One request as it arrived.

use std::fmt::Write as _;

use bytes::Bytes;
use http::{HeaderMap, Method, Version};
use serde_json::{Value, json};

/// A received request, and the status of its answer.
#[derive(Debug, Clone)]
pub struct Received {
    /// Microseconds since 1970, when the request was complete.
    pub time_us: u64,
    pub method: Method,
    /// Path and query, as received.
    pub path: String,
    pub version: Version,
    pub headers: HeaderMap,
    /// At most [`crate::MAX_RECORDED_BODY`] bytes.
    pub body: Bytes,
    /// Length of the whole body.
    pub body_bytes: u64,
    /// Header `Waybill-Task-Id`.
    pub task_id: Option<String>,
    /// Header `Waybill-Attempt`.
    pub attempt: Option<u32>,
    /// Status of the answer; 0 if there is none (`/hang`, `/close`).
    pub status: u16,
}

impl Received {
    /// Value of a header, if present and text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|v| v.to_str().ok())
    }

    /// The body as text; invalid UTF-8 is replaced.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The JSON of `GET /__received`.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let headers: Vec<Value> = self
            .headers
            .iter()
            .map(|(name, value)| json!([name.as_str(), String::from_utf8_lossy(value.as_bytes())]))
            .collect();
        json!({
            "timeUs": self.time_us,
            "method": self.method.as_str(),
            "path": self.path,
            "headers": headers,
            "body": self.text(),
            "bodyBytes": self.body_bytes,
            "taskId": self.task_id,
            "attempt": self.attempt,
            "status": self.status,
        })
    }

    /// The line in the log file, without the line break.
    #[must_use]
    pub fn to_log_line(&self) -> Value {
        json!({
            "time_us": self.time_us,
            "task_id": self.task_id,
            "attempt": self.attempt,
            "status": self.status,
            "path": self.path,
        })
    }

    /// A readable block: request line, headers, body, answer. Control characters are escaped, so
    /// that a request cannot control the reader's terminal.
    #[must_use]
    pub fn describe(&self) -> String {
        let mut out = String::new();
        let _ = writeln!(
            out,
            "--> {} {} {:?}",
            self.method,
            printable(&self.path),
            self.version
        );
        for (name, value) in &self.headers {
            let value = String::from_utf8_lossy(value.as_bytes());
            let _ = writeln!(out, "    {name}: {}", printable(&value));
        }
        if self.body_bytes > 0 {
            let _ = writeln!(out, "\n    {}", printable(&self.text()));
        }
        if self.body_bytes > self.body.len() as u64 {
            let _ = writeln!(out, "    ({} bytes in all)", self.body_bytes);
        }
        let _ = match self.status {
            0 => writeln!(out, "<-- no answer"),
            status => writeln!(out, "<-- {status}"),
        };
        out
    }
}

fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() && c != '\n' && c != '\t' {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}
