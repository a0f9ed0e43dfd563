//! A child process whose output is read as it comes, and searched for secrets when it is done.

use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use parking_lot::Mutex;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

/// Nothing that these tests wait for takes as long on an idle machine; on two busy cores it might.
pub(crate) const PATIENCE: Duration = Duration::from_secs(40);
/// Between two looks.
pub(crate) const POLL: Duration = Duration::from_millis(10);

/// Text that grows while the process runs.
#[derive(Debug, Clone, Default)]
pub(crate) struct Output(Arc<Mutex<Vec<u8>>>);

impl Output {
    pub(crate) fn text(&self) -> String {
        let bytes = self.0.lock();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn follow(&self, mut from: impl AsyncRead + Unpin + Send + 'static) -> JoinHandle<()> {
        let output = self.clone();
        tokio::spawn(async move {
            let mut buffer = [0; 8192];
            while let Ok(read @ 1..) = from.read(&mut buffer).await {
                let mut bytes = output.0.lock();
                bytes.extend_from_slice(&buffer[..read]);
            }
        })
    }
}

/// Who gets a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whom {
    /// The process alone, as `kill` does it.
    Process,
    /// The process and all its children in the same group, as a terminal's Ctrl-C does it.
    Group,
}

/// How a process ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    /// From the signal, or the call, to the end.
    pub(crate) took: Duration,
}

/// A running process. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    pub(crate) stdout: Output,
    pub(crate) stderr: Output,
    readers: Vec<JoinHandle<()>>,
}

impl Process {
    pub(crate) fn spawn(mut command: Command) -> Result<Self> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let (stdout, stderr) = (Output::default(), Output::default());
        let readers = vec![
            stdout.follow(child.stdout.take().context("standard output")?),
            stderr.follow(child.stderr.take().context("standard error")?),
        ];
        Ok(Self {
            child,
            stdout,
            stderr,
            readers,
        })
    }

    pub(crate) fn pid(&self) -> Result<Pid> {
        let id = self.child.id().context("it has ended")?;
        Pid::from_raw(i32::try_from(id)?).context("a process id")
    }

    /// Waits until its standard output or standard error has what is looked for.
    pub(crate) async fn says<T>(&mut self, find: impl Fn(&str, &str) -> Option<T>) -> Result<T> {
        let start = Instant::now();
        loop {
            let (stdout, stderr) = (self.stdout.text(), self.stderr.text());
            if let Some(found) = find(&stdout, &stderr) {
                return Ok(found);
            }
            if let Some(status) = self.child.try_wait()? {
                self.read_to_end().await;
                bail!(
                    "it ended ({status}): {}{}",
                    self.stdout.text(),
                    self.stderr.text()
                );
            }
            if start.elapsed() > PATIENCE {
                bail!("it never said what was waited for: {stdout}{stderr}");
            }
            tokio::time::sleep(POLL).await;
        }
    }

    pub(crate) fn signal(&self, signal: Signal, whom: Whom) -> Result<()> {
        let pid = self.pid()?;
        match whom {
            Whom::Process => kill_process(pid, signal)?,
            Whom::Group => kill_process_group(pid, signal)?,
        }
        Ok(())
    }

    /// Sends a signal and waits for the end.
    pub(crate) async fn end(self, signal: Signal, whom: Whom) -> Result<Ended> {
        self.signal(signal, whom)?;
        self.ended().await
    }

    /// Sends a signal until the end.
    pub(crate) async fn end_by_insisting(mut self, signal: Signal, whom: Whom) -> Result<Ended> {
        let start = Instant::now();
        while self.child.try_wait()?.is_none() && start.elapsed() < PATIENCE {
            self.signal(signal, whom)?;
            tokio::time::sleep(POLL).await;
        }
        let mut ended = self.ended().await?;
        ended.took = start.elapsed();
        Ok(ended)
    }

    /// Waits for the end.
    pub(crate) async fn ended(mut self) -> Result<Ended> {
        let start = Instant::now();
        let Ok(status) = tokio::time::timeout(PATIENCE, self.child.wait()).await else {
            bail!(
                "it does not end: {}{}",
                self.stdout.text(),
                self.stderr.text()
            );
        };
        let took = start.elapsed();
        self.read_to_end().await;
        Ok(Ended {
            status: status?,
            stdout: self.stdout.text(),
            stderr: self.stderr.text(),
            took,
        })
    }

    /// Its pipes end with it, unless a child of it holds them: that is a leak, and reported by what is missing.
    async fn read_to_end(&mut self) {
        for reader in self.readers.drain(..) {
            let _ = tokio::time::timeout(Duration::from_secs(5), reader).await;
        }
    }
}

impl Ended {
    /// It refused to start: a failure that says all of these, in one line.
    #[track_caller]
    pub(crate) fn refused(&self, words: &[&str]) {
        assert!(!self.status.success(), "it should have failed: {self:?}");
        assert!(
            self.status.code().is_some(),
            "no panic, no signal: {self:?}"
        );
        let last = self.stderr.lines().last().unwrap_or_default();
        for word in words {
            assert!(
                last.contains(word),
                "{word:?} is missing in {last:?} of {self:?}"
            );
        }
    }

    #[track_caller]
    pub(crate) fn succeeded(self) -> Self {
        assert!(self.status.success(), "{self:?}");
        self
    }
}
