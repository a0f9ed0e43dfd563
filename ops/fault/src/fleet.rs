//! All processes of a run, with a link between each role and NATS that can be cut.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use waybill_domain::access::key::ApiKey;
use waybill_domain::id::Environment;
use waybill_log::{JetStreamLog, NatsConfig};
use waybill_testkit::Proxy;
use waybill_testkit::nats::free_port;

use crate::checker::Output;
use crate::clock::WallClock;
use crate::role::Role;
use crate::servers::Servers;

/// Number of workers: two, so that one can take over from the other.
pub(crate) const WORKERS: usize = 2;
/// Lease of a partition with one server: short, because a run has several take-overs. With three
/// servers leases must outlast elections, as in production.
const LEASE_TTL_SECONDS: u64 = 3;
/// Time limit of a verification, and how much longer it may take for each event.
const VERIFY_DEADLINE: Duration = Duration::from_secs(120);
const VERIFY_EACH: Duration = Duration::from_micros(200);

/// Secrets that no process may print.
struct Secrets {
    key: String,
    pepper: String,
    webhook_master: String,
}

/// A deployment with a process for each role.
pub(crate) struct Fleet {
    pub(crate) servers: Servers,
    pub(crate) gateway: Linked,
    pub(crate) projector: Linked,
    pub(crate) workers: Vec<Linked>,
    pub(crate) address: String,
    program: PathBuf,
    folder: PathBuf,
    secrets: Secrets,
}

/// A role and its links to the servers of the log.
pub(crate) struct Linked {
    pub(crate) role: Role,
    /// The role's wall clock, if it can be set.
    pub(crate) clock: Option<WallClock>,
    links: Vec<Proxy>,
}

impl Linked {
    /// Cuts it off from every server.
    pub(crate) fn cut(&self) {
        self.links.iter().for_each(Proxy::cut);
    }

    pub(crate) fn heal(&self) {
        self.links.iter().for_each(Proxy::heal);
    }

    /// Sets the role's wall clock this many seconds ahead of the true time, or behind it.
    pub(crate) fn set_clock(&self, seconds: i64) -> Result<()> {
        let clock = self.clock.as_ref().context("its clock can be set")?;
        clock.set(seconds)
    }
}

/// How the harness itself reaches the log.
fn log_config(servers: &Servers) -> NatsConfig {
    let mut config = servers.config();
    config.streams.lease_ttl_s = lease_ttl_seconds(servers);
    config
}

impl Fleet {
    /// Starts everything in `folder`, with one nats-server or three.
    pub(crate) async fn start(servers: u16, folder: &Path) -> Result<Self> {
        let program = program()?;
        let secrets = Secrets::fresh()?;
        let servers = Servers::start(servers, folder).await?;
        // No role runs yet, so the log can be switched: whatever happens meets frames.
        waybill_log::connect_alone(&log_config(&servers)).await?;
        let address = format!("127.0.0.1:{}", free_port()?);
        let start = async |name: &str, role| -> Result<Linked> {
            let mut links = Vec::new();
            for port in servers.ports() {
                links.push(Proxy::start(format!("127.0.0.1:{port}")).await?);
            }
            let urls: Vec<String> = links.iter().map(Proxy::url).collect();
            let mut environment = secrets.environment(&urls.join(","), &servers);
            let clock = match role {
                "worker" | "gateway" => WallClock::new(folder, name)?,
                _ => None,
            };
            environment.extend(clock.iter().flat_map(WallClock::environment));
            environment.extend([
                ("WAYBILL__GATEWAY__LISTEN".into(), address.clone()),
                ("WAYBILL__WORKER__NAME".into(), name.to_owned()),
            ]);
            let role = Role::start(name, &program, role, folder, environment)?;
            Ok(Linked { role, clock, links })
        };
        let gateway = start("gateway", "gateway").await?;
        let projector = start("projector", "projector").await?;
        let mut workers = Vec::new();
        for number in 0..WORKERS {
            workers.push(start(&worker_name(number), "worker").await?);
        }
        Ok(Self {
            gateway,
            projector,
            workers,
            address,
            folder: folder.to_owned(),
            program,
            secrets,
            servers,
        })
    }

    /// The API key of the run.
    pub(crate) fn key(&self) -> &str {
        &self.secrets.key
    }

    /// Connects to the log directly, not through the links.
    pub(crate) async fn log(&self) -> Result<JetStreamLog> {
        Ok(waybill_log::connect(&log_config(&self.servers)).await?)
    }

    /// An operator's command, connected directly, not through the links.
    fn command(&self, arguments: &[&str]) -> tokio::process::Command {
        let environment = self
            .secrets
            .environment(&self.servers.urls(), &self.servers);
        let mut command = tokio::process::Command::new(&self.program);
        command
            .args(arguments)
            .envs(environment)
            .env("WAYBILL__DATA", self.folder.join("operator"))
            .current_dir(&self.folder)
            .kill_on_drop(true);
        command
    }

    /// What an operator's command prints, without the line's end.
    pub(crate) async fn tell(&self, arguments: &[&str]) -> Result<String> {
        let output = self.command(arguments).output().await?;
        ensure!(
            output.status.success(),
            "waybill {}: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr)
        );
        let said = String::from_utf8(output.stdout)?;
        Ok(said.trim().to_owned())
    }

    /// Runs `waybill verify` on the read model of so many events. The error is its output.
    pub(crate) async fn verify(&self, events: usize) -> Result<(), String> {
        let command = self.command(&["verify"]).output();
        let limit = VERIFY_DEADLINE + VERIFY_EACH * u32::try_from(events).unwrap_or(u32::MAX);
        let output = match tokio::time::timeout(limit, command).await {
            Ok(Ok(output)) => output,
            Ok(Err(error)) => return Err(format!("waybill verify: {error}")),
            Err(_) => return Err(format!("waybill verify has no verdict after {limit:?}")),
        };
        if output.status.success() {
            return Ok(());
        }
        let (out, err) = (
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        Err(format!("waybill verify: {}: {out} {err}", output.status))
    }

    /// What `waybill log skipped` prints.
    pub(crate) async fn skipped(&self) -> Result<String> {
        self.tell(&["log", "skipped", "--json"]).await
    }

    /// Restarts roles that have ended unexpectedly, as a supervisor would, and returns how each
    /// ended.
    pub(crate) fn restart_ended(&mut self) -> Result<Vec<String>> {
        let mut ended = Vec::new();
        for linked in self.all() {
            if let Some(how) = linked.role.ended() {
                ended.push(how);
                linked.role.launch()?;
            }
        }
        Ok(ended)
    }

    fn all(&mut self) -> impl Iterator<Item = &mut Linked> {
        [&mut self.gateway, &mut self.projector]
            .into_iter()
            .chain(&mut self.workers)
    }

    /// The output of all processes, searched for secrets and panics.
    pub(crate) fn outputs(&self) -> Vec<Output> {
        let secrets = self.secrets.list();
        let look = |process: &str, text: &str| Output {
            process: process.to_owned(),
            secrets: secrets
                .iter()
                .filter(|(_, secret)| text.contains(secret))
                .map(|(name, _)| *name)
                .collect(),
            panics: text
                .lines()
                .filter(|line| line.contains("panicked at"))
                .map(Into::into)
                .collect(),
        };
        let mut outputs: Vec<Output> = self
            .servers
            .logs()
            .iter()
            .map(|log| look("nats-server", log))
            .collect();
        let roles = [&self.gateway, &self.projector]
            .into_iter()
            .chain(&self.workers);
        outputs.extend(roles.map(|linked| look(&linked.role.name, &linked.role.output())));
        outputs
    }

    /// The secret part of the API key, which no stored payload may contain.
    pub(crate) fn key_bytes(&self) -> Vec<u8> {
        self.secrets.key_secret().as_bytes().to_vec()
    }
}

impl Drop for Fleet {
    /// Keeps the logs of the servers, whose folders are removed with them.
    fn drop(&mut self) {
        for (number, log) in self.servers.logs().into_iter().enumerate() {
            let file = self.folder.join(format!("nats-{number}.log"));
            if let Err(error) = std::fs::write(&file, log) {
                eprintln!("waybill-fault: {}: {error}", file.display());
            }
        }
    }
}

/// The configured lease; 0 selects the default for the number of copies.
fn lease_ttl_seconds(servers: &Servers) -> u64 {
    if servers.copies() == 1 {
        LEASE_TTL_SECONDS
    } else {
        0
    }
}

/// Name of a worker, as in its announcements in the log.
pub(crate) fn worker_name(number: usize) -> String {
    format!("worker-{number}")
}

impl Secrets {
    fn fresh() -> Result<Self> {
        let key =
            ApiKey::generate("wb", Environment::Test, &random()?).context("too little entropy")?;
        Ok(Self {
            key: key.reveal().to_owned(),
            pepper: hex(&random::<32>()?),
            webhook_master: hex(&random::<32>()?),
        })
    }

    fn environment(&self, nats: &str, servers: &Servers) -> Vec<(String, String)> {
        let pairs = [
            ("NATS_URL", nats),
            ("WAYBILL_BOOTSTRAP_KEY", &self.key),
            ("WAYBILL_PEPPER", &self.pepper),
            ("WAYBILL_WEBHOOK_MASTER", &self.webhook_master),
            ("WAYBILL__WORKER__ALLOW_TARGETS", "127.0.0.0/8"),
            (
                "WAYBILL__NATS__STREAMS__LEASE_TTL_S",
                &lease_ttl_seconds(servers).to_string(),
            ),
            (
                "WAYBILL__NATS__STREAMS__REPLICAS",
                &servers.copies().to_string(),
            ),
            // Log more than in production, so that a leaked secret is more likely to show.
            (
                "WAYBILL__LOG__FILTER",
                "info,waybill=debug,waybill_edge=debug,waybill_gateway=debug,waybill_worker=debug,waybill_projector=debug,waybill_log=debug",
            ),
        ];
        pairs
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .to_vec()
    }

    /// The key without its public parts: brand, environment and id.
    fn key_secret(&self) -> &str {
        let body = self.key.rsplit('_').next().unwrap_or(&self.key);
        &body[8..40]
    }

    fn list(&self) -> [(&'static str, &str); 3] {
        [
            ("the API key", self.key_secret()),
            ("the pepper", &self.pepper),
            ("the webhook master secret", &self.webhook_master),
        ]
    }
}

fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn program() -> Result<PathBuf> {
    let program = match std::env::var_os("WAYBILL_BIN") {
        Some(named) => PathBuf::from(named),
        None => std::env::current_exe()?.with_file_name("waybill"),
    };
    ensure!(
        program.is_file(),
        "{} is not there: build it (cargo build -p waybill), or name it in WAYBILL_BIN",
        program.display()
    );
    Ok(program)
}
