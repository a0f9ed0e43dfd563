//! All processes of a run, with a network between each role and NATS that can be cut.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use waybill_domain::access::key::ApiKey;
use waybill_domain::id::Environment;
use waybill_log::JetStreamLog;
use waybill_testkit::Proxy;
use waybill_testkit::nats::free_port;

use crate::checker::Output;
use crate::clock::WallClock;
use crate::role::Role;
use crate::servers::Servers;

/// Workers, so that one can take over from the other.
pub(crate) const WORKERS: usize = 2;
/// Short, so that a run with several take-overs stays short. With three servers leases outlast elections, as in production.
const LEASE_TTL_SECONDS: u64 = 3;

/// What must not be printed.
struct Secrets {
    key: String,
    pepper: String,
    webhook_master: String,
}

/// A deployment with its roles apart.
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
    /// Its wall clock, where it can be set.
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
}

impl Fleet {
    /// Starts everything on a folder, with so many servers.
    pub(crate) async fn start(servers: u16, folder: &Path) -> Result<Self> {
        let program = program()?;
        let secrets = Secrets::fresh()?;
        let servers = Servers::start(servers, folder).await?;
        let address = format!("127.0.0.1:{}", free_port()?);
        let start = async |name: &str, role| -> Result<Linked> {
            let mut links = Vec::new();
            for port in servers.ports() {
                links.push(Proxy::start(format!("127.0.0.1:{port}")).await?);
            }
            let urls: Vec<String> = links.iter().map(Proxy::url).collect();
            let mut environment = secrets.environment(&urls.join(","), &servers);
            let clock = match role {
                "worker" => WallClock::new(folder, name)?,
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

    /// The log, past all proxies.
    pub(crate) async fn log(&self) -> Result<JetStreamLog> {
        let mut config = self.servers.config();
        config.streams.lease_ttl_s = lease_ttl_seconds(&self.servers);
        Ok(waybill_log::connect(&config).await?)
    }

    /// `waybill verify`: its verdict on the read model, or what it said.
    pub(crate) async fn verify(&self) -> Result<(), String> {
        let command = tokio::process::Command::new(&self.program)
            .arg("verify")
            .envs(
                self.secrets
                    .environment(&self.servers.urls(), &self.servers),
            )
            .env("WAYBILL__DATA", self.folder.join("verify"))
            .current_dir(&self.folder)
            .kill_on_drop(true)
            .output();
        let limit = std::time::Duration::from_secs(120);
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

    /// Roles that have ended by themselves. A supervisor would start them again, and so does this.
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

    /// What all processes have printed, looked through for what must not be there.
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

    /// Whether a stored payload holds the key.
    pub(crate) fn holds_key(&self, payload: &[u8]) -> bool {
        let key = self.secrets.key_secret().as_bytes();
        payload.windows(key.len()).any(|window| window == key)
    }
}

/// 0: what goes with the number of copies.
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
            // More is printed than in production, so that a secret has more places to show.
            (
                "WAYBILL__LOG__FILTER",
                "info,waybill=debug,waybill_gateway=debug,waybill_worker=debug,waybill_projector=debug,waybill_log=debug",
            ),
        ];
        pairs
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .to_vec()
    }

    /// The key without what anybody may know of it: brand, environment and public part.
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
