//! The memory of a sink: counters, recorded requests, and the number of requests per task.

use std::collections::{HashMap, VecDeque};
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::{MAX_RECORDED, Received, Recording};

/// Limit of task ids whose requests are counted for `/flaky` and `/script`. Beyond it, every
/// request of a new task counts as its first.
const MAX_VISITORS: usize = 1_000_000;

#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) recording: Recording,
    count: AtomicU64,
    connections: AtomicU64,
    arrived: Notify,
    kept: Mutex<VecDeque<Received>>,
    visits: Mutex<HashMap<String, u32>>,
    log: Option<Mutex<File>>,
}

impl Record {
    pub(crate) fn open(recording: Recording, log_file: Option<&Path>) -> io::Result<Self> {
        let log = match log_file {
            Some(path) => {
                let file = OpenOptions::new().create(true).append(true).open(path)?;
                Some(Mutex::new(file))
            }
            None => None,
        };
        Ok(Self {
            recording,
            count: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            arrived: Notify::new(),
            kept: Mutex::default(),
            visits: Mutex::default(),
            log,
        })
    }

    pub(crate) fn count(&self) -> u64 {
        self.count.load(Ordering::Acquire)
    }

    pub(crate) fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    pub(crate) fn connected(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn received(&self) -> Vec<Received> {
        self.kept.lock().iter().cloned().collect()
    }

    pub(crate) fn reset(&self) {
        let mut kept = self.kept.lock();
        kept.clear();
        self.visits.lock().clear();
        self.count.store(0, Ordering::Release);
    }

    /// Number of this request of the task, from 1.
    pub(crate) fn visit(&self, visitor: &str) -> u32 {
        let mut visits = self.visits.lock();
        if let Some(n) = visits.get_mut(visitor) {
            *n = n.saturating_add(1);
            return *n;
        }
        if visits.len() < MAX_VISITORS {
            visits.insert(visitor.to_owned(), 1);
        }
        1
    }

    /// Writes the log line, records the request and counts it, in this order: whoever sees the
    /// count finds the request.
    pub(crate) fn keep(&self, received: Received) -> io::Result<()> {
        let logged = self.write_line(&received);
        if self.recording == Recording::Everything {
            let mut kept = self.kept.lock();
            if kept.len() == MAX_RECORDED {
                kept.pop_front();
            }
            kept.push_back(received);
        }
        self.count_one();
        logged
    }

    pub(crate) fn count_one(&self) {
        self.count.fetch_add(1, Ordering::Release);
        self.arrived.notify_waiters();
    }

    pub(crate) fn logs(&self) -> bool {
        self.log.is_some()
    }

    /// Appends the whole line with one `write`, so that a killed sink leaves only complete lines.
    fn write_line(&self, received: &Received) -> io::Result<()> {
        let Some(log) = &self.log else { return Ok(()) };
        let mut line = received.to_log_line().to_string();
        line.push('\n');
        log.lock().write_all(line.as_bytes())
    }

    /// Waits until at least `n` requests were counted.
    pub(crate) async fn reached(&self, n: u64) {
        loop {
            let arrival = self.arrived.notified();
            let mut arrival = std::pin::pin!(arrival);
            // Registered before the count is read, so that an arrival in between is not missed.
            arrival.as_mut().enable();
            if self.count() >= n {
                return;
            }
            arrival.await;
        }
    }
}
