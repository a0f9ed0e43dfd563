//! What is measured: a `waybill up` of one's own on an empty folder, one that runs already, or another product.

use std::fs::{self, File};
use std::io::Read as _;
use std::net::SocketAddr;
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
use crate::peer::{self, Product, free_address};
use crate::processes::{self, Usage};

/// Time limit of a start, which includes that of nats-server and takes about a second.
const START_DEADLINE: Duration = Duration::from_secs(60);
/// Time limit of a stop, which drains.
const STOP_DEADLINE: Duration = Duration::from_secs(20);
/// Pause between two checks whether the system is ready.
const POLL: Duration = Duration::from_millis(20);
/// How many lines of its log are shown if it does not start.
const LAST_LINES: usize = 20;

/// Where requests go, and with which key.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) product: Product,
    pub(crate) address: SocketAddr,
    pub(crate) key: String,
    /// The `Authorization` of the tasks.
    pub(crate) credential: Option<String>,
}

impl Target {
    /// The bytes of a complete request.
    pub(crate) fn request(&self, method: &str, path: &str, json: &str) -> String {
        format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{json}",
            self.address,
            self.key,
            json.len()
        )
    }
}

/// A running system: a Waybill, or a product that is measured beside it.
pub(crate) struct System {
    pub(crate) target: Target,
    roots: Vec<u32>,
    metrics: Option<SocketAddr>,
    own: Option<Own>,
}

/// What was started here.
struct Own {
    /// In the order in which they were started; stopped in the opposite one.
    children: Vec<Child>,
    folder: TempDir,
    /// How it is started again; `None` for another product.
    up: Option<Up>,
}

/// A `waybill up` with addresses of its own.
struct Up {
    program: PathBuf,
    address: SocketAddr,
    metrics: SocketAddr,
    key: String,
}

impl Up {
    fn launch(&self, folder: &Path) -> Result<Child> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(folder.join("log"))?;
        Command::new(&self.program)
            .arg("up")
            .arg("--data")
            .arg(folder.join("data"))
            .arg("--listen")
            .arg(self.address.to_string())
            .env("WAYBILL_BOOTSTRAP_KEY", &self.key)
            // Draining is not part of the measurement.
            .env("WAYBILL__WORKER__DRAIN_SECONDS", "2")
            .env("WAYBILL__METRICS_LISTEN", self.metrics.to_string())
            .env_remove("NATS_URL")
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("starting {}", self.program.display()))
    }
}

impl System {
    /// Starts a system, or connects to the one named by `--target`.
    pub(crate) async fn start(arguments: &Arguments) -> Result<Self> {
        if let (Some(address), Some(file)) = (arguments.target, &arguments.key_file) {
            let key = fs::read_to_string(file).with_context(|| file.display().to_string())?;
            let key = key.trim().to_owned();
            let mut system = Self {
                target: Target {
                    product: Product::Waybill,
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
        let folder = data_folder(arguments)?;
        let (address, metrics) = (free_address()?, free_address()?);
        let key = fresh_key()?;
        let up = Up {
            program,
            address,
            metrics,
            key: key.clone(),
        };
        let child = up.launch(folder.path())?;
        let pid = child.id().context("it runs")?;
        let mut system = Self {
            target: Target {
                product: Product::Waybill,
                address,
                key,
                credential: None,
            },
            roots: vec![pid],
            metrics: Some(metrics),
            own: Some(Own {
                children: vec![child],
                folder,
                up: Some(up),
            }),
        };
        if let Err(error) = system.wait_until_ready().await {
            let log = system.log();
            system.stop().await?;
            bail!("{error:#}\n{log}");
        }
        system.take_credential(arguments.credential).await?;
        Ok(system)
    }

    /// Starts another product.
    pub(crate) async fn start_peer(product: Product, arguments: &Arguments) -> Result<Self> {
        let folder = data_folder(arguments)?;
        let started = peer::start(product, &arguments.peers, folder.path()).await?;
        let roots = started.children.iter().filter_map(Child::id).collect();
        Ok(Self {
            target: Target {
                product,
                address: started.address,
                key: String::new(),
                credential: None,
            },
            roots,
            metrics: None,
            own: Some(Own {
                children: started.children,
                folder,
                up: None,
            }),
        })
    }

    /// Stores the credential in the vault, if the tasks are to refer to it.
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

    /// Kills `waybill up` (SIGKILL) and starts it again at once, on the same folder and addresses.
    pub(crate) async fn kill_and_start(&mut self) -> Result<()> {
        let own = self.own.as_mut().context("only what was started here")?;
        let up = own.up.as_ref().context("only Waybill")?;
        for child in &mut own.children {
            child.kill().await?;
        }
        let child = up.launch(own.folder.path())?;
        self.roots = child.id().into_iter().collect();
        own.children = vec![child];
        Ok(())
    }

    /// Stops `waybill up` in order, starts it again on the same folder and addresses, and returns when that was.
    pub(crate) async fn stop_and_start(&mut self) -> Result<Instant> {
        let own = self.own.as_mut().context("only what was started here")?;
        let up = own.up.as_ref().context("only Waybill")?;
        for child in &mut own.children {
            if let Some(pid) = child.id().and_then(pid) {
                kill_process(pid, Signal::TERM)?;
            }
            timeout(STOP_DEADLINE, child.wait())
                .await
                .with_context(|| format!("waybill does not stop within {STOP_DEADLINE:?}"))??;
        }
        let begin = Instant::now();
        let child = up.launch(own.folder.path())?;
        self.roots = child.id().into_iter().collect();
        own.children = vec![child];
        Ok(begin)
    }

    /// A key of the live environment, which counts as a team of its own where tasks are concerned; the other key is one of the test
    /// environment.
    pub(crate) async fn second_key(&self) -> Result<String> {
        let own = self.own.as_ref().context("only what was started here")?;
        let up = own.up.as_ref().context("only Waybill")?;
        let output = Command::new(&up.program)
            .args(["keys", "create", "--name", "second", "--data"])
            .arg(own.folder.path().join("data"))
            .env_remove("NATS_URL")
            .current_dir(own.folder.path())
            .output()
            .await?;
        let text = String::from_utf8_lossy(&output.stdout);
        let mut words = text.split_whitespace();
        let key = words.find(|word| word.starts_with("wb_live_"));
        Ok(key
            .with_context(|| {
                let error = String::from_utf8_lossy(&output.stderr);
                format!("no key was made: {text} {error}")
            })?
            .to_owned())
    }

    /// Sets the limits of a queue.
    pub(crate) async fn limit_queue(&self, queue: &str, limits: &str) -> Result<()> {
        let mut connection = Connection::open(self.target.address).await?;
        let path = format!("/v1/queues/{queue}");
        let request = self.target.request("PUT", &path, limits);
        let answer = connection.exchange(request.as_bytes()).await?;
        ensure!(
            answer.status == 200,
            "the limits of {queue} are answered with {}",
            answer.status
        );
        Ok(())
    }

    /// How many partitions its worker serves.
    pub(crate) async fn partitions_served(&self) -> Result<usize> {
        let address = self.metrics.context("its port for operators is known")?;
        let mut connection = Connection::open(address).await?;
        let request = format!("GET /readyz HTTP/1.1\r\nHost: {address}\r\n\r\n");
        let answer = connection.exchange(request.as_bytes()).await?;
        let body: serde_json::Value = serde_json::from_slice(connection.body(answer))?;
        let partitions = body["partitions"].as_object().context("partitions")?;
        let is_served = |partition: &&serde_json::Value| partition["state"] == "serving";
        Ok(partitions.values().filter(is_served).count())
    }

    /// Waits until its gateway serves requests.
    pub(crate) async fn wait_until_ready(&mut self) -> Result<()> {
        let give_up = Instant::now() + START_DEADLINE;
        loop {
            for child in self.own.iter_mut().flat_map(|own| &mut own.children) {
                if let Some(status) = child.try_wait()? {
                    bail!("waybill ended: {status}");
                }
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

    /// The current counters of its processes.
    pub(crate) fn usage(&self) -> Result<Vec<Usage>> {
        processes::family(&self.roots)
    }

    /// Its current metrics; empty if there is no endpoint.
    pub(crate) async fn metrics(&self) -> Result<Option<Metrics>> {
        match self.metrics {
            Some(address) => Metrics::read(address).await.map(Some),
            None => Ok(None),
        }
    }

    /// Its data folder.
    pub(crate) fn folder(&self) -> Option<&Path> {
        self.own.as_ref().map(|own| own.folder.path())
    }

    /// Number of tasks with a status, according to the API.
    pub(crate) async fn count(&self, status: &str) -> Result<u64> {
        let mut connection = Connection::open(self.target.address).await?;
        let request = self.target.request(
            "GET",
            &format!("/v1/tasks?kind=all&status={status}&limit=1"),
            "",
        );
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

    /// Stops the processes started here, and removes their data.
    pub(crate) async fn stop(mut self) -> Result<()> {
        let Some(mut own) = self.own.take() else {
            return Ok(());
        };
        let family = processes::family(&self.roots).unwrap_or_default();
        for child in own.children.iter_mut().rev() {
            if let Some(pid) = child.id().and_then(pid) {
                // This fails only if the process has already ended.
                let _ = kill_process(pid, Signal::TERM);
            }
            if timeout(STOP_DEADLINE, child.wait()).await.is_err() {
                eprintln!(
                    "waybill-bench: a process of {} does not stop within {STOP_DEADLINE:?}; killing all of them",
                    self.target.product
                );
                for member in &family {
                    if let Some(pid) = pid(member.pid) {
                        // Those that have already ended do not matter.
                        let _ = kill_process(pid, Signal::KILL);
                    }
                }
                child.wait().await?;
            }
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

fn data_folder(arguments: &Arguments) -> Result<TempDir> {
    let mut builder = tempfile::Builder::new();
    builder.prefix("waybill-bench-");
    Ok(match &arguments.data {
        Some(dir) => builder.tempdir_in(dir)?,
        None => builder.tempdir()?,
    })
}

fn fresh_key() -> Result<String> {
    let mut entropy = [0; ENTROPY_BYTES];
    File::open("/dev/urandom")?.read_exact(&mut entropy)?;
    let key = ApiKey::generate("wb", Environment::Test, &entropy).context("too little entropy")?;
    Ok(key.reveal().to_owned())
}
