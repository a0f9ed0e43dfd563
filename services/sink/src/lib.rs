//! A small HTTP target for trying, testing and measuring callouts: it records what it receives and fails or stalls on request.
//!
//! It speaks HTTP/1.1 and HTTP/2 without TLS on one port. Without instructions it answers `200 {"ok":true}`; [`Answer`] lists what
//! a path or a query can ask for instead. Tests read the record through [`Sink`]; other processes through `GET /__received`,
//! `GET /__count` and `POST /__reset`, or through the JSON-lines file that [`SinkOptions::log_file`] names.

mod answer;
mod flow;
mod received;
mod record;
mod server;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};

use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub use answer::{Answer, Plan};
pub use received::Received;
use record::Record;

/// What the sink keeps of each request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Recording {
    /// Everything, the newest [`MAX_RECORDED`] requests.
    #[default]
    Everything,
    /// Only how many there were. For load runs.
    CountOnly,
}

/// Requests that are kept. Older ones leave; the count goes on.
pub const MAX_RECORDED: usize = 100_000;

/// Bytes of a request's body that are kept; the rest is counted.
pub const MAX_RECORDED_BODY: usize = 1024 * 1024;

/// Called once for each request, before it is answered, with what was received and what will be answered.
pub type OnReceive = Arc<dyn Fn(&Received) + Send + Sync>;

/// Decides an answer in code. `None` leaves it to the path.
pub type Script = Arc<dyn Fn(&Received) -> Option<Plan> + Send + Sync>;

/// How a sink behaves; the default records everything and answers as the path says.
#[derive(Clone, Default)]
pub struct SinkOptions {
    pub recording: Recording,
    /// One JSON line for each request, written before it is answered: `time_us`, `task_id`, `attempt`, `status` (0 = none), `path`.
    pub log_file: Option<PathBuf>,
    pub on_receive: Option<OnReceive>,
    pub script: Option<Script>,
}

impl fmt::Debug for SinkOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SinkOptions")
            .field("recording", &self.recording)
            .field("log_file", &self.log_file)
            .finish_non_exhaustive()
    }
}

/// A running sink. It stops, and closes every connection, when it is dropped.
#[derive(Debug)]
pub struct Sink {
    /// Where it listens, with the real port.
    pub addr: SocketAddr,
    record: Arc<Record>,
    server: JoinHandle<()>,
}

/// Fewer requests came than were waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooFew {
    pub expected: u64,
    pub received: u64,
}

impl fmt::Display for TooFew {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the sink expected {} requests, but received {}",
            self.expected, self.received
        )
    }
}

impl std::error::Error for TooFew {}

impl Sink {
    /// Listens on `addr` (port 0 for a free one) and serves until dropped. Must be called inside a tokio runtime.
    pub async fn start(addr: SocketAddr, options: SinkOptions) -> io::Result<Self> {
        let record = Arc::new(Record::open(
            options.recording,
            options.log_file.as_deref(),
        )?);
        let listener = TcpListener::bind(addr).await?;
        let addr = listener.local_addr()?;
        let target = server::Target::new(record.clone(), options.on_receive, options.script);
        let server = tokio::spawn(server::serve(listener, target));
        Ok(Self {
            addr,
            record,
            server,
        })
    }

    /// `http://127.0.0.1:port` followed by the path, which begins with a slash.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    /// Requests since the start or the last reset.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.record.count()
    }

    /// TCP connections accepted since the start.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.record.connections()
    }

    /// What is kept, oldest first.
    #[must_use]
    pub fn received(&self) -> Vec<Received> {
        self.record.received()
    }

    /// Forgets everything that was received and what `/flaky` and `/script` have counted.
    pub fn reset(&self) {
        self.record.reset();
    }

    /// Returns the record as soon as at least `n` requests have come in all.
    ///
    /// # Errors
    /// [`TooFew`] when they have not within `deadline`.
    pub async fn wait_for(&self, n: u64, deadline: Duration) -> Result<Vec<Received>, TooFew> {
        match tokio::time::timeout(deadline, self.record.reached(n)).await {
            Ok(()) => Ok(self.received()),
            Err(_) => Err(TooFew {
                expected: n,
                received: self.count(),
            }),
        }
    }

    /// Serves until the sink's task ends, which it does not by itself: for `waybill sink`, inside a `select!` with a signal.
    pub async fn serve_forever(mut self) {
        let _ = (&mut self.server).await;
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.server.abort();
    }
}
