//! What is measured: a `waybill up` of one's own on an empty folder, or one that runs already.

use std::fs::{self, File};
use std::io::Read as _;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};
use waybill_domain::access::key::{ApiKey, ENTROPY_BYTES};
use waybill_domain::id::Environment;

use crate::args::{Arguments, Credential};
use crate::http1::Connection;
use crate::metrics::Metrics;
use crate::processes::{self, Usage};

/// A start includes the nats-server's and takes about a second.
const START_DEADLINE: Duration = Duration::from_secs(60);
/// A stop drains.
const STOP_DEADLINE: Duration = Duration::from_secs(20);
/// Between two looks at whether it is ready.
const POLL: Duration = Duration::from_millis(20);
/// Lines of its log that are shown when it does not start.
const LAST_LINES: usize = 20;

/// Where requests go, and with which key.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    pub(crate) key: String,
    /// What tasks carry as `Authorization`.
    pub(crate) credential: Option<String>,
}

impl Target {
    /// A whole request.
    pub(crate) fn request(&self, method: &str, path: &str, json: &str) -> String {
        format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{json}",
            self.address,
            self.key,
            json.len()
        )
    }
}

/// A running Waybill.
pub(crate) struct System {
    pub(crate) target: Target,
    roots: Vec<u32>,
    metrics: Option<SocketAddr>,
    own: Option<Own>,
}

struct Own {
    child: Child,
    folder: TempDir,
}

impl System {
    /// Starts one, or finds the one named.
    pub(crate) async fn start(arguments: &Arguments) -> Result<Self> {
        if let (Some(address), Some(file)) = (arguments.target, &arguments.key_file) {
            let key = fs::read_to_string(file).with_context(|| file.display().to_string())?;
            let key = key.trim().to_owned();
            let mut system = Self {
                target: Target {
                    address,
                    key,
                    credential: None,
                },
                roots: arguments.pids.clone(),
                metrics: arguments.metrics,
                own: None,
            };
            system.take_credential(arguments.credential).await?;
            return Ok(system);
        }
        let program = program(arguments)?;
        let mut builder = tempfile::Builder::new();
        builder.prefix("waybill-bench-");
        let folder = match &arguments.data {
            Some(dir) => builder.tempdir_in(dir)?,
            None => builder.tempdir()?,
        };
        let (address, metrics) = (free_address()?, free_address()?);
        let key = fresh_key()?;
        let log = File::create(folder.path().join("log"))?;
        let child = Command::new(&program)
            .arg("up")
            .arg("--data")
            .arg(folder.path().join("data"))
            .arg("--listen")
            .arg(address.to_string())
            .env("WAYBILL_BOOTSTRAP_KEY", &key)
            // Nothing is measured any more when it stops.
            .env("WAYBILL__WORKER__DRAIN_SECONDS", "2")
            .env("WAYBILL__METRICS_LISTEN", metrics.to_string())
            .env_remove("NATS_URL")
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("starting {}", program.display()))?;
        let pid = child.id().context("it runs")?;
        let mut system = Self {
            target: Target {
                address,
                key,
                credential: None,
            },
            roots: vec![pid],
            metrics: Some(metrics),
            own: Some(Own { child, folder }),
        };
        if let Err(error) = system.wait_until_ready().await {
            let log = system.log();
            system.stop().await?;
            bail!("{error:#}\n{log}");
        }
        system.take_credential(arguments.credential).await?;
        Ok(system)
    }

    /// Has what the tasks are to carry kept where they refer to the vault.
    async fn take_credential(&mut self, credential: Credential) -> Result<()> {
        const VALUE: &str = "Bearer sk-bench-0123456789abcdefghijklmnopqrstuvwxyz";
        self.target.credential = match credential {
            Credential::None => None,
            Credential::Raw => Some(VALUE.to_owned()),
            Credential::Token => {
                let json = serde_json::json!({"name": "bench", "value": VALUE}).to_string();
                let request = self.target.request("POST", "/v1/tokens", &json);
                let mut connection = Connection::open(self.target.address).await?;
                let answer = connection.exchange(request.as_bytes()).await?;
                let body: serde_json::Value = serde_json::from_slice(connection.body(answer))?;
                let id = body["token"]["id"].as_str();
                Some(id.with_context(|| format!("no token: {body}"))?.to_owned())
            }
        };
        Ok(())
    }

    async fn wait_until_ready(&mut self) -> Result<()> {
        let give_up = Instant::now() + START_DEADLINE;
        loop {
            if let Some(own) = &mut self.own
                && let Some(status) = own.child.try_wait()?
            {
                bail!("waybill ended: {status}");
            }
            if let Ok(mut connection) = Connection::open(self.target.address).await {
                let request = self.target.request("GET", "/readyz", "");
                if connection
                    .exchange(request.as_bytes())
                    .await
                    .is_ok_and(|answer| answer.status == 200)
                {
                    return Ok(());
                }
            }
            ensure!(
                Instant::now() < give_up,
                "waybill is not ready within {START_DEADLINE:?}"
            );
            sleep(POLL).await;
        }
    }

    fn log(&self) -> String {
        let read = |own: &Own| fs::read_to_string(own.folder.path().join("log")).ok();
        let text = self.own.as_ref().and_then(read).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LAST_LINES)..].join("\n")
    }

    /// What its processes use now.
    pub(crate) fn usage(&self) -> Result<Vec<Usage>> {
        processes::family(&self.roots)
    }

    /// Its metrics now; none when there is no endpoint.
    pub(crate) async fn metrics(&self) -> Result<Option<Metrics>> {
        match self.metrics {
            Some(address) => Metrics::read(address).await.map(Some),
            None => Ok(None),
        }
    }

    /// Where its data is.
    pub(crate) fn folder(&self) -> Option<&Path> {
        self.own.as_ref().map(|own| own.folder.path())
    }

    /// Tasks of a status, as the API counts them.
    pub(crate) async fn count(&self, status: &str) -> Result<u64> {
        let mut connection = Connection::open(self.target.address).await?;
        let request = self
            .target
            .request("GET", &format!("/v1/tasks?status={status}&limit=1"), "");
        let answer = connection.exchange(request.as_bytes()).await?;
        ensure!(
            answer.status == 200,
            "the list of tasks answers {}",
            answer.status
        );
        let page: serde_json::Value = serde_json::from_slice(connection.body(answer))?;
        page["pagination"]["total"]
            .as_u64()
            .context("a list has a total")
    }

    /// Stops what was started here, and removes its data.
    pub(crate) async fn stop(mut self) -> Result<()> {
        let Some(mut own) = self.own.take() else {
            return Ok(());
        };
        let family = processes::family(&self.roots).unwrap_or_default();
        if let Some(pid) = own.child.id().and_then(pid) {
            // It fails only when the process has ended by itself.
            let _ = kill_process(pid, Signal::TERM);
        }
        if timeout(STOP_DEADLINE, own.child.wait()).await.is_err() {
            eprintln!("waybill-bench: waybill does not stop within {STOP_DEADLINE:?}; killing it");
            for member in family {
                if let Some(pid) = pid(member.pid) {
                    // Those that have ended are no problem.
                    let _ = kill_process(pid, Signal::KILL);
                }
            }
            own.child.wait().await?;
        }
        Ok(())
    }
}

fn pid(raw: u32) -> Option<Pid> {
    i32::try_from(raw).ok().and_then(Pid::from_raw)
}

fn program(arguments: &Arguments) -> Result<PathBuf> {
    let program = match &arguments.program {
        Some(program) => program.clone(),
        None => std::env::current_exe()?.with_file_name("waybill"),
    };
    ensure!(
        program.is_file(),
        "{} is not there: build it (cargo build --release -p waybill), or name it by --program",
        program.display()
    );
    Ok(program)
}

/// One that was free a moment ago.
fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?)
}

fn fresh_key() -> Result<String> {
    let mut entropy = [0; ENTROPY_BYTES];
    File::open("/dev/urandom")?.read_exact(&mut entropy)?;
    let key = ApiKey::generate("wb", Environment::Test, &entropy).context("too little entropy")?;
    Ok(key.reveal().to_owned())
}
