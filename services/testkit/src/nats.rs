//! A private nats-server: on a free port, with JetStream that syncs before each acknowledgement, in
//! a temporary folder.

use std::fmt::Write as _;
use std::hash::{BuildHasher as _, RandomState};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, io};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// Environment variable with the path of the binary.
const BINARY_VARIABLE: &str = "WAYBILL_NATS_SERVER";
/// Deadline for starting the server; on two busy cores a start takes well under a second.
const START_DEADLINE: Duration = Duration::from_secs(20);
/// Deadline for lame duck mode, which closes connections over at most half a minute.
const LAME_DUCK_DEADLINE: Duration = Duration::from_secs(60);
/// Deadline for stopping a process, which takes microseconds, or milliseconds on a busy machine.
const PAUSE_DEADLINE: Duration = Duration::from_secs(5);
/// Interval between checks whether the server is up.
const POLL: Duration = Duration::from_millis(10);

/// Finds the binary: the environment variable, then `.tools/nats-server` of this repository, then
/// PATH.
pub fn binary() -> Result<PathBuf> {
    if let Some(named) = env::var_os(BINARY_VARIABLE) {
        return Ok(PathBuf::from(named));
    }
    let mut candidates: Vec<PathBuf> = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .map(|folder| folder.join(".tools/nats-server"))
        .collect();
    let path = env::var_os("PATH").unwrap_or_default();
    candidates.extend(env::split_paths(&path).map(|folder| folder.join("nats-server")));
    candidates
        .into_iter()
        .find(|candidate| candidate.is_file())
        .with_context(|| {
            format!("no nats-server: run ops/install-nats, or name one in {BINARY_VARIABLE}")
        })
}

/// The options of a server that a test may choose.
#[derive(Debug, Clone, Default)]
pub struct NatsOptions {
    /// Client port; `None` for a free one, of which others are tried if it is taken meanwhile.
    pub port: Option<u16>,
    /// Additional lines of the configuration file, such as `authorization { token: "t" }`.
    pub extra: String,
}

/// A running nats-server. Dropping it kills the process and removes its folder.
pub struct NatsServer {
    folder: TempDir,
    options: NatsOptions,
    /// Store folder, if it is not in `folder`.
    store: Option<PathBuf>,
    port: u16,
    /// Whether it has accepted clients before.
    has_run: bool,
    child: Option<Child>,
    paused: bool,
}

impl NatsServer {
    /// Starts a server on a free port.
    ///
    /// # Errors
    /// When there is no binary, or the server does not start.
    pub async fn start() -> Result<Self> {
        Self::start_with(NatsOptions::default()).await
    }

    /// Starts a server with options.
    ///
    /// # Errors
    /// When there is no binary, or the server does not start.
    pub async fn start_with(options: NatsOptions) -> Result<Self> {
        Self::start_in(options, None).await
    }

    /// Starts a server with JetStream's files in the caller's folder, such as a small tmpfs.
    ///
    /// # Errors
    /// When there is no binary, or the server does not start.
    pub async fn start_in(options: NatsOptions, store: Option<PathBuf>) -> Result<Self> {
        let mut server = Self {
            folder: tempfile::Builder::new().prefix("waybill-nats-").tempdir()?,
            port: options.port.map_or_else(free_port, Ok)?,
            options,
            store,
            has_run: false,
            child: None,
            paused: false,
        };
        server.launch().await?;
        Ok(server)
    }

    /// URL for clients.
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// The client port, which stays the same across restarts.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Process id, if it is running.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Folder of JetStream's files.
    #[must_use]
    pub fn store(&self) -> PathBuf {
        self.store
            .clone()
            .unwrap_or_else(|| self.folder.path().join("jetstream"))
    }

    /// The server's log output so far.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("nats.log")).unwrap_or_default()
    }

    /// Kills the server as a crash would, without a chance to flush or to close connections.
    pub fn kill9(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Both fail only if the process has already ended.
            let _ = child.kill();
            let _ = child.wait();
        }
        self.paused = false;
    }

    /// Ends the server as an operator would (SIGTERM), and waits for its end.
    ///
    /// # Errors
    /// When it is not running.
    pub async fn stop(&mut self) -> Result<()> {
        self.signal(Signal::TERM)?;
        self.until_ended(START_DEADLINE).await
    }

    /// Ends the server in lame duck mode, as `nats-server --signal ldm` does: it hands over
    /// leaderships, then closes its connections one by one, then ends. Waits for its end.
    ///
    /// # Errors
    /// When it is not running, or does not end.
    pub async fn lame_duck(&mut self) -> Result<()> {
        self.signal(Signal::USR2)?;
        self.until_ended(LAME_DUCK_DEADLINE).await
    }

    async fn until_ended(&mut self, within: Duration) -> Result<()> {
        let give_up = Instant::now() + within;
        while let Some(child) = self.child.as_mut() {
            if child.try_wait()?.is_some() {
                self.child = None;
            } else {
                ensure!(Instant::now() < give_up, "the server does not stop");
                tokio::time::sleep(POLL).await;
            }
        }
        Ok(())
    }

    /// Starts the server again on the same port and folder, after [`Self::kill9`] or as a restart.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn restart(&mut self) -> Result<()> {
        self.kill9();
        self.launch().await
    }

    /// Freezes the server (SIGSTOP): connections stay open, but nothing answers.
    ///
    /// # Errors
    /// When it is not running.
    pub fn pause(&mut self) -> Result<()> {
        self.signal(Signal::STOP)?;
        self.paused = true;
        // A thread on another core keeps running for a moment after the signal was sent, and could
        // still answer.
        let give_up = Instant::now() + PAUSE_DEADLINE;
        while !self.all_threads_stopped()? {
            ensure!(Instant::now() < give_up, "the server does not stop");
            std::thread::yield_now();
        }
        Ok(())
    }

    fn all_threads_stopped(&self) -> Result<bool> {
        let pid = self.pid().context("the server does not run")?;
        for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
            // A thread that has ended in the meantime has no file.
            let Ok(stat) = fs::read_to_string(thread?.path().join("stat")) else {
                continue;
            };
            // The state follows the name, which is in parentheses.
            let state = stat
                .rsplit_once(") ")
                .and_then(|(_, rest)| rest.chars().next());
            if state != Some('T') {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Resumes the server (SIGCONT).
    ///
    /// # Errors
    /// When it is not running.
    pub fn resume(&mut self) -> Result<()> {
        self.signal(Signal::CONT)?;
        self.paused = false;
        Ok(())
    }

    /// Whether it is frozen by [`Self::pause`].
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.paused
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let pid = self.pid().context("the server does not run")?;
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
        kill_process(pid.context("a process id")?, signal)?;
        Ok(())
    }

    fn configuration(&self) -> Result<String> {
        let mut text = String::new();
        writeln!(text, "listen: \"127.0.0.1:{}\"", self.port)?;
        writeln!(text, "ports_file_dir: {:?}", self.folder.path())?;
        writeln!(text, "log_file: {:?}", self.folder.path().join("nats.log"))?;
        writeln!(
            text,
            "jetstream {{ store_dir: {:?}, sync_interval: always }}",
            self.store()
        )?;
        // A task with the largest body and headers is one message.
        writeln!(text, "max_payload: 2MB")?;
        text.push_str(&self.options.extra);
        Ok(text)
    }

    async fn launch(&mut self) -> Result<()> {
        let give_up = Instant::now() + START_DEADLINE;
        let file = self.folder.path().join("nats.conf");
        loop {
            fs::write(&file, self.configuration()?)?;
            let child = Command::new(binary()?)
                .arg("-c")
                .arg(&file)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()?;
            self.child = Some(child);
            if self.came_up(give_up).await? {
                self.has_run = true;
                return Ok(());
            }
            // The process ended by itself: another one may hold the port. Clients know the port of a
            // server that has run, so that one waits for it; a new one takes another.
            self.kill9();
            if !self.has_run && self.options.port.is_none() {
                self.port = free_port()?;
            }
            ensure!(
                Instant::now() < give_up,
                "nats-server does not start: {}",
                self.log()
            );
            tokio::time::sleep(POLL).await;
        }
    }

    /// Waits until the server accepts clients; `false` if the process has ended.
    async fn came_up(&mut self, give_up: Instant) -> Result<bool> {
        loop {
            let Some(child) = self.child.as_mut() else {
                return Ok(false);
            };
            let pid = child.id();
            if child.try_wait()?.is_some() {
                return Ok(false);
            }
            if self.has_port(pid) && TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                return Ok(true);
            }
            if Instant::now() > give_up {
                bail!("nats-server does not accept clients: {}", self.log());
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Whether the process has written its file of ports: then the listener on the port is its own.
    fn has_port(&self, pid: u32) -> bool {
        let name = binary()
            .ok()
            .and_then(|path| path.file_name().map(ToOwned::to_owned));
        let name = name.unwrap_or_default();
        let file = format!("{}_{pid}.ports", name.to_string_lossy());
        self.folder.path().join(file).is_file()
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        self.kill9();
    }
}

/// Ports of servers: below the kernel's usual range for outgoing connections (ip(7), `ip_local_port_range`), since one of those could
/// take a port between the look and the server's start, or while a server is away. The likeliest is that of a client which reconnects: it can
/// be given the very port that it calls, and is then connected to itself.
const PORTS: std::ops::Range<u16> = 10_000..32_768;
/// Ports that are tried.
const PORT_TRIES: u32 = 100;

/// A TCP port that was free a moment ago, and that no outgoing connection is given.
///
/// # Errors
/// When none of a hundred ports is free.
pub fn free_port() -> io::Result<u16> {
    let mut error = io::ErrorKind::AddrInUse.into();
    for _ in 0..PORT_TRIES {
        // Each state has random keys: other tests at the same time draw other ports.
        let random = RandomState::new().hash_one(());
        let port = PORTS.start + (random % PORTS.len() as u64) as u16;
        match std::net::TcpListener::bind(("127.0.0.1", port)) {
            Ok(_) => return Ok(port),
            Err(why) => error = why,
        }
    }
    Err(error)
}

/// Like [`free_port`], for ports that differ.
///
/// # Errors
/// When one of them cannot be found.
pub fn free_ports<const N: usize>() -> io::Result<[u16; N]> {
    let mut ports = [0; N];
    for index in 0..N {
        ports[index] = free_port()?;
        while ports[..index].contains(&ports[index]) {
            ports[index] = free_port()?;
        }
    }
    Ok(ports)
}
