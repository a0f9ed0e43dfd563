//! A subscriber of event streams, made by hand so that it can misbehave.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use http::{HeaderMap, StatusCode};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

/// Longer than any event takes to arrive here.
pub(crate) const PATIENCE: Duration = Duration::from_secs(40);

/// What came over a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Came {
    Event {
        id: u64,
        name: String,
        data: Value,
    },
    Comment(String),
    /// The response is complete.
    End,
}

/// A subscriber that reads HTTP/1.1 by itself, so that it can also not read.
pub(crate) struct Subscriber {
    pub(crate) socket: TcpStream,
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) raw: Vec<u8>,
    pub(crate) text: String,
    pub(crate) came: std::collections::VecDeque<Came>,
    pub(crate) complete: bool,
    pub(crate) last_id: u64,
}

impl Subscriber {
    pub(crate) async fn open(
        address: SocketAddr,
        key: &str,
        path: &str,
        last_id: Option<u64>,
    ) -> Result<Self> {
        let socket = TcpSocket::new_v4()?;
        // Small, so that a reader that stops is noticed after little.
        socket.set_recv_buffer_size(16 * 1024)?;
        let mut socket = socket.connect(address).await?;
        let resume = last_id.map_or(String::new(), |id| format!("Last-Event-ID: {id}\r\n"));
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nAccept-Encoding: gzip\r\n{resume}\r\n"
        );
        socket.write_all(head.as_bytes()).await?;
        let mut subscriber = Self {
            socket,
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            raw: Vec::new(),
            text: String::new(),
            came: std::collections::VecDeque::new(),
            complete: false,
            last_id: last_id.unwrap_or(0),
        };
        tokio::time::timeout(PATIENCE, subscriber.read_head())
            .await
            .context("a response head in time")??;
        Ok(subscriber)
    }

    pub(crate) async fn read_head(&mut self) -> Result<()> {
        let end = loop {
            if let Some(end) = self.raw.windows(4).position(|w| w == b"\r\n\r\n") {
                break end;
            }
            ensure!(self.socket.read_buf(&mut self.raw).await? > 0, "closed");
        };
        let head = String::from_utf8(self.raw.drain(..end + 4).collect())?;
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1));
        self.status = status.context("a status")?.parse()?;
        for line in lines.filter(|line| !line.is_empty()) {
            let (name, value) = line.split_once(": ").context("a header")?;
            let name: http::HeaderName = name.parse()?;
            self.headers.insert(name, value.parse()?);
        }
        Ok(())
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value.and_then(|value| value.to_str().ok()).unwrap_or("")
    }

    /// Takes whole chunks out of what was read, and whole blocks out of those.
    pub(crate) fn digest(&mut self) -> Result<()> {
        while let Some(line) = self.raw.windows(2).position(|w| w == b"\r\n") {
            let size = usize::from_str_radix(std::str::from_utf8(&self.raw[..line])?, 16)?;
            let (from, to) = (line + 2, line + 2 + size);
            if self.raw.len() < to + 2 {
                break;
            }
            self.text
                .push_str(std::str::from_utf8(&self.raw[from..to])?);
            self.raw.drain(..to + 2);
            if size == 0 {
                self.complete = true;
                self.came.push_back(Came::End);
            }
            while let Some(end) = self.text.find("\n\n") {
                let block: String = self.text.drain(..end + 2).collect();
                self.block(&block)?;
            }
        }
        Ok(())
    }

    pub(crate) fn block(&mut self, block: &str) -> Result<()> {
        let (mut name, mut data) = (None, None);
        for line in block.lines().filter(|line| !line.is_empty()) {
            match line.split_once(": ").context("a field")? {
                ("", comment) => self.came.push_back(Came::Comment(comment.into())),
                ("id", id) => {
                    let id = id.parse()?;
                    ensure!(id >= self.last_id, "{id} after {}", self.last_id);
                    self.last_id = id;
                }
                ("event", event) => name = Some(event),
                ("data", json) => data = Some(serde_json::from_str(json)?),
                ("retry", _) => {}
                (other, _) => bail!("an unknown field {other}"),
            }
        }
        if let (Some(name), Some(data)) = (name, data) {
            let (id, name) = (self.last_id, name.to_owned());
            self.came.push_back(Came::Event { id, name, data });
        }
        Ok(())
    }

    /// What comes next, comments included.
    pub(crate) async fn any(&mut self) -> Result<Came> {
        let read = async {
            loop {
                self.digest()?;
                if let Some(came) = self.came.pop_front() {
                    return Ok(came);
                }
                ensure!(!self.complete, "read beyond the end");
                if self.socket.read_buf(&mut self.raw).await? == 0 {
                    bail!("the connection was cut");
                }
            }
        };
        tokio::time::timeout(PATIENCE, read)
            .await
            .context("something in time")?
    }

    /// The next event; none: the stream has ended.
    pub(crate) async fn event(&mut self) -> Result<Option<(u64, String, Value)>> {
        loop {
            match self.any().await? {
                Came::Event { id, name, data } => return Ok(Some((id, name, data))),
                Came::Comment(_) => {}
                Came::End => return Ok(None),
            }
        }
    }

    pub(crate) async fn ids(&mut self, count: usize) -> Result<Vec<u64>> {
        let mut ids = Vec::new();
        while ids.len() < count {
            ids.push(self.event().await?.context("another event")?.0);
        }
        Ok(ids)
    }

    /// Everything up to the end: ids of events, and the last comment.
    pub(crate) async fn rest(&mut self) -> Result<(Vec<u64>, String)> {
        let (mut ids, mut said) = (Vec::new(), String::new());
        loop {
            match self.any().await? {
                Came::Event { id, .. } => ids.push(id),
                Came::Comment(comment) => said = comment,
                Came::End => return Ok((ids, said)),
            }
        }
    }

    pub(crate) async fn body(mut self) -> Result<Value> {
        let length: usize = self.header("content-length").parse()?;
        while self.raw.len() < length {
            ensure!(self.socket.read_buf(&mut self.raw).await? > 0, "closed");
        }
        Ok(serde_json::from_slice(&self.raw)?)
    }
}
