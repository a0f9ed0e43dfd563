//! The private nats-server of `waybill up`: a child process that is started, watched, restarted and stopped with it.
//!
//! It listens on loopback only, with a password made at each start, and syncs every write to disk before it acknowledges it.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde::{Deserialize, Serialize};
use tokio::process::{Child, Command};
use tokio::sync::{OnceCell, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use waybill_log::jetstream::NatsConfig;

use crate::config::environment;
use crate::disk::Store;
use crate::free_port::free_port;
use crate::secrets::write_private;

/// Least version that has what the log needs: atomic batches with a fence for each message.
const LEAST: (u32, u32) = (2, 14);
/// How long a server that is asked to stop may take. All that it has acknowledged is on disk: nothing is lost when it is killed then.
const STOP: Duration = Duration::from_secs(5);
/// Pause between two looks whether a server of a former start has ended.
const STRAY_POLL: Duration = Duration::from_millis(10);
/// Pause before a server that ended by itself is started again.
const RESTART_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_RESTART_PAUSE: Duration = Duration::from_secs(5);
/// A server that ran this long was healthy.
const HEALTHY_AFTER: Duration = Duration::from_secs(30);

/// User, subject and deadline of questions about the server's health.
const HEALTH_USER: &str = "health";
const HEALTH_SUBJECT: &str = "$SYS.REQ.SERVER.PING.HEALTHZ";
const HEALTH_DEADLINE: Duration = Duration::from_secs(2);
/// Errors of the server that only a restart ends.
const FINAL_ERRORS: [&str; 3] = ["write error", "not enabled", "disabled"];

/// How to reach the server; kept in the data folder so that commands beside `waybill up` find it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Connection {
    url: String,
    user: String,
    password: String,
    /// The `waybill up` that watches it. One that was killed leaves the file behind.
    process: u32,
}

impl Connection {
    /// The configuration of the log for this server, with everything else as configured.
    #[must_use]
    pub(crate) fn over(&self, configured: &NatsConfig) -> NatsConfig {
        NatsConfig {
            servers: vec![self.url.clone().into()],
            user: Some(self.user.clone()),
            password: Some(self.password.clone().into()),
            ..configured.clone()
        }
    }

    /// Of the `waybill up` that runs on a data folder.
    pub(crate) fn of(data: &Path) -> anyhow::Result<Self> {
        let path = folder(data).join("connection.json");
        let nobody = |why: &str| {
            format!(
                "no `waybill up` runs on {} ({} {why}); name its folder by --data, or set NATS_URL",
                data.display(),
                path.display()
            )
        };
        let text = fs::read(&path).with_context(|| nobody("cannot be read"))?;
        let connection: Self = serde_json::from_slice(&text)
            .with_context(|| nobody("is damaged or was written by another version"))?;
        let process = i32::try_from(connection.process)
            .ok()
            .and_then(Pid::from_raw);
        // Every answer but "no such process" means that it runs, such as that it belongs to another user.
        if process.is_none_or(|process| test_kill_process(process) == Err(Errno::SRCH)) {
            bail!(nobody("is left of one that was killed"));
        }
        Ok(connection)
    }
}

/// A server that is being watched.
#[derive(Debug)]
pub(crate) struct NatsServer {
    /// How to reach it.
    pub connection: Connection,
    data: PathBuf,
    stop: CancellationToken,
    watch: JoinHandle<()>,
}

/// Checks the health of the server of a `waybill up`, and restarts it while everything else goes on.
#[derive(Debug, Clone)]
pub(crate) struct Restarter {
    connection: Connection,
    health: Health,
    folder: PathBuf,
    port: u16,
    restarts: mpsc::Sender<()>,
}

/// The user that may ask for the server's health, and see nothing that it stores: one of its system account. The password is in no file that
/// commands beside `waybill up` read.
#[derive(Clone)]
struct Health {
    password: String,
    client: Arc<OnceCell<async_nats::Client>>,
}

impl std::fmt::Debug for Health {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Health").finish_non_exhaustive()
    }
}

/// What the server says about itself.
#[derive(Deserialize)]
struct HealthAnswer {
    data: HealthData,
}

#[derive(Deserialize)]
struct HealthData {
    #[serde(default)]
    error: String,
}

impl Restarter {
    /// Why the server no longer stores anything although it runs; `None`: it works, or does not answer. A write that fails, as on a full
    /// disk, stops its stream for good (appends to it are not even answered), and may shut JetStream down as a whole.
    pub(crate) async fn broken(&self) -> Option<String> {
        let connect = || {
            async_nats::ConnectOptions::new()
                .user_and_password(HEALTH_USER.to_owned(), self.health.password.clone())
                .name("waybill up: health")
                .connect(&self.connection.url)
        };
        let asked = async {
            let client = self.health.client.get_or_try_init(connect).await.ok()?;
            client.request(HEALTH_SUBJECT, "".into()).await.ok()
        };
        let answer = timeout(HEALTH_DEADLINE, asked).await.ok()??;
        let answer: HealthAnswer = serde_json::from_slice(&answer.payload).ok()?;
        let error = answer.data.error;
        let is_final = FINAL_ERRORS.iter().any(|text| error.contains(text));
        is_final.then_some(error)
    }

    /// Restarts it with a store of that size. Nothing that it has acknowledged is lost: it is on disk.
    pub(crate) async fn restart(&self, store: Store) -> anyhow::Result<()> {
        let password = &self.health.password;
        let text = text(&self.folder, self.port, &self.connection, password, store)?;
        write_private(&self.folder.join("nats.conf"), text.as_bytes())?;
        // The receiver lives as long as this process, so sending cannot fail.
        let _ = self.restarts.send(()).await;
        Ok(())
    }
}

fn folder(data: &Path) -> PathBuf {
    data.join("nats")
}

impl NatsServer {
    /// Starts a server on a data folder. It may take a moment until it answers. `memory` is what its garbage collector aims at, in bytes.
    pub(crate) async fn start(
        data: &Path,
        store: Store,
        memory: Option<u64>,
    ) -> anyhow::Result<(Self, Restarter)> {
        let program = program().await?;
        let folder = folder(data);
        fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        let folder = folder.canonicalize()?;
        end_stray(&folder).await?;
        let port = free_port()?;
        let connection = Connection {
            url: format!("nats://127.0.0.1:{port}"),
            user: "waybill".into(),
            password: random_text()?,
            process: std::process::id(),
        };
        let configuration = folder.join("nats.conf");
        let health = Health {
            password: random_text()?,
            client: Arc::default(),
        };
        let text = text(&folder, port, &connection, &health.password, store)?;
        write_private(&configuration, text.as_bytes())?;
        write_private(
            &folder.join("connection.json"),
            &serde_json::to_vec(&connection)?,
        )?;
        let program = Program {
            path: program,
            configuration,
            memory,
        };
        let child = program.spawn()?;
        let stop = CancellationToken::new();
        // A second restart that is requested meanwhile waits for the first.
        let (restarts, restart) = mpsc::channel(1);
        let watch = tokio::spawn(watch(child, program, restart, stop.clone()));
        let server = Self {
            connection,
            data: data.to_owned(),
            stop,
            watch,
        };
        let restarter = Restarter {
            connection: server.connection.clone(),
            health,
            folder,
            port,
            restarts,
        };
        Ok((server, restarter))
    }

    /// The file that the server logs to.
    #[must_use]
    pub(crate) fn log_file(&self) -> PathBuf {
        folder(&self.data).join("nats.log")
    }

    /// Stops it and waits until it has.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        if let Err(error) = self.watch.await {
            tracing::error!(%error, "the task that watches nats-server crashed");
        }
        // Commands should not try a server that has stopped. If the file stays, they find its process gone.
        let _ = fs::remove_file(folder(&self.data).join("connection.json"));
    }
}

/// Starts the server again whenever it ends, and when it is asked to, until it is to stop.
async fn watch(
    mut child: Child,
    program: Program,
    mut restart: mpsc::Receiver<()>,
    stop: CancellationToken,
) {
    let mut pause = RESTART_PAUSE;
    loop {
        let started = Instant::now();
        // Waiting for the child is cancellation safe; the other branches end the child themselves.
        tokio::select! {
            () = stop.cancelled() => {
                end(&mut child).await;
                return;
            }
            Some(()) = restart.recv() => end(&mut child).await,
            ended = child.wait() => {
                tracing::error!(?ended, "nats-server ended by itself; starting it again (its log: data/nats/nats.log)");
            }
        }
        pause = if started.elapsed() > HEALTHY_AFTER {
            RESTART_PAUSE
        } else {
            (pause * 2).min(LONGEST_RESTART_PAUSE)
        };
        // Not biased: no server runs during the pause, so a stop that comes a turn late finds one that has just begun, and ends it above.
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep(pause) => {}
        }
        match program.spawn() {
            Ok(next) => child = next,
            Err(error) => tracing::error!(%error, "nats-server does not start; trying again"),
        }
    }
}

/// The server's configuration.
fn text(
    folder: &Path,
    port: u16,
    connection: &Connection,
    health_password: &str,
    store: Store,
) -> anyhow::Result<String> {
    let mut text = String::from("# Written by `waybill up` at each start.\n");
    writeln!(text, "server_name: waybill")?;
    writeln!(text, "listen: \"127.0.0.1:{port}\"")?;
    writeln!(text, "pid_file: {:?}", folder.join("nats.pid"))?;
    writeln!(text, "log_file: {:?}", folder.join("nats.log"))?;
    writeln!(text, "logfile_size_limit: 10MB")?;
    writeln!(text, "logfile_max_num: 3")?;
    // A task of the largest body, with headers, is one message.
    writeln!(text, "max_payload: 2MB")?;
    // Durable before acknowledged: every write is on disk first.
    writeln!(
        text,
        "jetstream {{ store_dir: {folder:?}, sync_interval: always, max_file_store: {} }}",
        store.max_file_store
    )?;
    writeln!(
        text,
        "authorization {{ users: [ {{ user: {:?}, password: {:?} }} ] }}",
        connection.user, connection.password
    )?;
    // The streams stay in the default account; the user that asks for the server's health sees none of them.
    writeln!(
        text,
        "accounts {{ $SYS: {{ users: [ {{ user: {HEALTH_USER:?}, password: {health_password:?} }} ] }} }}"
    )?;
    Ok(text)
}

/// The variable by which the runtime of Go learns what to aim at.
const MEMORY_LIMIT: &str = "GOMEMLIMIT";

/// How the server is started.
struct Program {
    path: PathBuf,
    configuration: PathBuf,
    /// Bytes of memory that its garbage collector aims at. `None`: it knows no aim.
    memory: Option<u64>,
}

impl Program {
    fn spawn(&self) -> anyhow::Result<Child> {
        // Should this process be killed, the kernel asks the server to stop. Stopping takes a tenth of a second, and notes what each stream holds; a
        // server that is killed reads all of its streams at the next start, which takes seconds with a million tasks. `setpriv` is part of
        // util-linux. The next start ends a server that is still there, with or without it.
        let mut command = match which("setpriv") {
            Some(setpriv) => {
                let mut command = Command::new(setpriv);
                command.args(["--pdeathsig", "TERM", "--"]).arg(&self.path);
                command
            }
            None => Command::new(&self.path),
        };
        command
            .arg("--config")
            .arg(&self.configuration)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // A Ctrl-C in the terminal is meant for this process, which still needs the server while it stops.
            .process_group(0)
            .kill_on_drop(true);
        // An aim of the operator's own counts.
        if let Some(bytes) = self.memory
            && environment(MEMORY_LIMIT).is_none()
        {
            command.env(MEMORY_LIMIT, bytes.to_string());
        }
        command
            .spawn()
            .with_context(|| format!("cannot start {}", self.path.display()))
    }
}

async fn end(child: &mut Child) {
    let pid = child
        .id()
        .and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
    if let Some(pid) = pid {
        // The process may have ended just now, which is what the signal is for.
        let _ = kill_process(pid, Signal::TERM);
    }
    if timeout(STOP, child.wait()).await.is_err() {
        tracing::warn!(
            "nats-server does not stop; it is killed (what it has acknowledged is on disk)"
        );
        // It fails only when the child has ended by itself.
        let _ = child.kill().await;
    }
}

/// Ends a server that a former `waybill up` on this folder left behind when it was killed.
async fn end_stray(folder: &Path) -> anyhow::Result<()> {
    let file = folder.join("nats.pid");
    let Ok(text) = fs::read_to_string(&file) else {
        return Ok(());
    };
    let Some(pid) = text.trim().parse().ok().and_then(Pid::from_raw) else {
        return Ok(());
    };
    let configuration = folder.join("nats.conf");
    // One that has ended has no command line, also before somebody has taken notice of its end.
    let runs = || {
        let command = fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero()));
        command
            .unwrap_or_default()
            .split(|&byte| byte == 0)
            .any(|argument| argument == configuration.as_os_str().as_encoded_bytes())
    };
    if !runs() {
        return Ok(());
    }
    tracing::warn!(
        pid = pid.as_raw_nonzero(),
        "a nats-server of a former start still runs; ending it"
    );
    for signal in [Signal::TERM, Signal::KILL] {
        // It may have ended since its command line was read; the wait below then ends at once.
        let _ = kill_process(pid, signal);
        let until = Instant::now() + STOP;
        while runs() {
            if Instant::now() > until {
                break;
            }
            sleep(STRAY_POLL).await;
        }
    }
    if runs() {
        bail!(
            "the nats-server with process id {} does not stop; end it and start again",
            pid.as_raw_nonzero()
        );
    }
    Ok(())
}

/// The program: WAYBILL_NATS_SERVER, or the tree's own, or the one on PATH.
async fn program() -> anyhow::Result<PathBuf> {
    let named = std::env::var_os("WAYBILL_NATS_SERVER")
        .filter(|path| !path.is_empty())
        .map(PathBuf::from);
    let own = Path::new(".tools/nats-server");
    let program = named
        .or_else(|| own.is_file().then(|| own.to_owned()))
        .or_else(|| which("nats-server"))
        .context("no nats-server found: run ops/install-nats, or set WAYBILL_NATS_SERVER to its path, or NATS_URL to a running one")?;
    let output = Command::new(&program)
        .arg("--version")
        .output()
        .await
        .with_context(|| format!("cannot run {}", program.display()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    match version(&text) {
        Some(version) if version >= LEAST => Ok(program),
        Some((major, minor)) => bail!(
            "{} is version {major}.{minor}; at least {}.{} is needed (ops/install-nats installs one)",
            program.display(),
            LEAST.0,
            LEAST.1
        ),
        None => bail!("{} says no version: {}", program.display(), text.trim()),
    }
}

/// Version of the server that [`NatsServer::start`] would run, such as `2.15.1`.
pub(crate) async fn program_version() -> anyhow::Result<String> {
    let program = program().await?;
    let output = Command::new(&program).arg("--version").output().await?;
    let text = String::from_utf8_lossy(&output.stdout);
    let version = text.trim().rsplit_once('v').map(|(_, version)| version);
    Ok(version.unwrap_or("unknown").to_owned())
}

/// Of `nats-server: v2.15.1`.
fn version(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.trim().rsplit_once('v')?.1.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

fn which(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|dir| dir.join(program))
        .find(|file| file.is_file())
}

fn random_text() -> anyhow::Result<String> {
    let mut bytes = [0; 24];
    getrandom::fill(&mut bytes).map_err(|error| anyhow::anyhow!("no random bytes: {error}"))?;
    Ok(hex::encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read() {
        assert_eq!(version("nats-server: v2.15.1\n"), Some((2, 15)));
        assert_eq!(version("nats-server: v2.9.10"), Some((2, 9)));
        assert_eq!(version("what?"), None);
    }
}
