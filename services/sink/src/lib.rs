//! A small HTTP target to try, test and benchmark calls with: it records what it receives, and
//! fails or stalls on request.
//!
//! It serves HTTP/1.1 and HTTP/2 without TLS on one port. Without instructions it answers `200
//! {"ok":true}`; [`Answer`] lists what a path or query can request instead. Tests read the record
//! through [`Sink`]; other processes through `GET /__received`, `GET /__count` and `POST /__reset`,
//! or the JSON lines in [`SinkOptions::log_file`].

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

/// What the sink records of each request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Recording {
    /// All of it, for the newest [`MAX_RECORDED`] requests.
    #[default]
    Everything,
    /// Only how many there were. For load runs.
    CountOnly,
}

/// Limit of recorded requests. Older ones are dropped, but remain counted.
pub const MAX_RECORDED: usize = 100_000;

/// Recorded bytes of a request's body; the rest is only counted.
pub const MAX_RECORDED_BODY: usize = 1024 * 1024;

/// Called once per request, before it is answered, with the request and the status of the answer.
pub type OnReceive = Arc<dyn Fn(&Received) + Send + Sync>;

/// Determines an answer in code; `None` leaves it to the path.
pub type Script = Arc<dyn Fn(&Received) -> Option<Plan> + Send + Sync>;

/// Options of a sink; by default it records everything and answers as the path says.
#[derive(Clone, Default)]
pub struct SinkOptions {
    pub recording: Recording,
    /// File for one JSON line per request, written before it is answered: `time_us`, `task_id`,
    /// `attempt`, `status` (0 = none), `path`.
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

/// A running sink. It stops and closes every connection when dropped.
#[derive(Debug)]
pub struct Sink {
    /// Address that it listens on, with the actual port.
    pub addr: SocketAddr,
    record: Arc<Record>,
    server: JoinHandle<()>,
}

/// Fewer requests arrived than expected.
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

    /// The recorded requests, oldest first.
    #[must_use]
    pub fn received(&self) -> Vec<Received> {
        self.record.received()
    }

    /// Clears the record and the counts of `/flaky` and `/script`.
    pub fn reset(&self) {
        self.record.reset();
    }

    /// Returns the record as soon as at least `n` requests have arrived in total.
    ///
    /// # Errors
    /// [`TooFew`] if they do not arrive within `deadline`.
    pub async fn wait_for(&self, n: u64, deadline: Duration) -> Result<Vec<Received>, TooFew> {
        match tokio::time::timeout(deadline, self.record.reached(n)).await {
            Ok(()) => Ok(self.received()),
            Err(_) => Err(TooFew {
                expected: n,
                received: self.count(),
            }),
        }
    }

    /// Serves until the sink's task ends, which it does not by itself. For `waybill sink`, in a
    /// `select!` with a signal.
    pub async fn serve_forever(mut self) {
        let _ = (&mut self.server).await;
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.server.abort();
    }
}
