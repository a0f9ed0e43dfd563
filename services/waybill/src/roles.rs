//! The three roles, from a configuration to something that runs and can be stopped.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use metrics::gauge;
use tokio_util::sync::CancellationToken;
use waybill_commands::{Author, Bootstrap, ControlWriter, Pepper};
use waybill_domain::actor::Actor;
use waybill_domain::audit::{NotaryKey, TrustedKeys};
use waybill_gateway::{Gateway, GatewayParts};
use waybill_log::RoomWatch;
use waybill_log::jetstream::JetStreamLog;
use waybill_projector::{Notary, NotaryConfig, NotaryParts, Projector, ProjectorError};
use waybill_vault::Wrapper;
use waybill_worker::attempt::Signer;
use waybill_worker::bulkhead::Caps;
use waybill_worker::callout::{CalloutConfig, Callouts};
use waybill_worker::calls::CallExecutor;
use waybill_worker::command::NatsCommands;
use waybill_worker::payloads::Payloads;
use waybill_worker::vault::{OpeningParts, SweepPace, Vault, VaultParts, VaultService};
use waybill_worker::{SystemClock, Worker, WorkerConfig, WorkerParts};

use crate::config::{Config, environment, fence_timing};
use crate::descriptors;
use crate::people;
use crate::room;
use crate::secrets::{self, Missing};
use crate::vault::rings;

/// The variable that holds a key to install as the first one.
pub(crate) const BOOTSTRAP_KEY: &str = "WAYBILL_BOOTSTRAP_KEY";

/// Folder of the read model, and beside which a projector writes down what a log has lost, within that of the data.
const PROJECTOR_FOLDER: &str = "projector";
/// How often workers flush the counts of how credentials of the vault were used.
const USAGE_FLUSH: Duration = Duration::from_secs(60);

/// Whether roles run in one process with an embedded server, or each on its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Setting {
    /// `waybill up`: this machine may be called, and secrets are made at the first start.
    Embedded,
    /// Roles on their own.
    Apart,
}

impl Setting {
    fn is_embedded(self) -> bool {
        self == Self::Embedded
    }

    pub(crate) fn missing(self) -> Missing {
        match self {
            Self::Embedded => Missing::Create,
            Self::Apart => Missing::Refuse,
        }
    }
}

/// Starts a gateway.
pub(crate) async fn gateway(
    config: &Config,
    setting: Setting,
    log: &JetStreamLog,
    room: Arc<RoomWatch>,
    stop: CancellationToken,
) -> anyhow::Result<Gateway> {
    let pepper = Arc::new(pepper(config, setting)?);
    let stores = config.data.join("gateway");
    make_folder(&stores)?;
    let seal_ring = rings::seal(&config.data)?;
    if let Some(ring) = &seal_ring {
        rings::follow(ring, stop.clone());
    }
    let parts = GatewayParts {
        log: Arc::new(log.clone()),
        fences: Arc::new(log.clone()),
        counters: Arc::new(log.clone()),
        tallies: Arc::new(log.clone()),
        vault_keys: Arc::new(log.clone()),
        mail: Arc::new(log.clone()),
        sealer: seal_ring.map(|ring| ring as Arc<dyn Wrapper>),
        nats: log.client(),
        stores,
        pepper,
        signing: secrets::webhook_master_of_gateway(&config.data, setting.missing())?,
        partitions: config.partitions(),
        room,
    };
    let mut gateway = config.gateway(setting.is_embedded())?;
    gateway.people = people::config(config, setting)?;
    gateway.max_connections = descriptors::connections(gateway.max_connections);
    Ok(Gateway::start(gateway, parts, stop).await?)
}

/// Installs the bootstrap key, or makes one when the server has none yet. Comes before the gateway listens: a key that is accepted at
/// all is accepted from its first request on.
pub(crate) async fn bootstrap(
    config: &Config,
    setting: Setting,
    log: &JetStreamLog,
) -> anyhow::Result<Bootstrap> {
    let given = environment(BOOTSTRAP_KEY);
    // A start that fails for a port that is taken must not use up the one time that a key is shown.
    let address = config.gateway.listen;
    TcpListener::bind(address).with_context(|| format!("cannot listen on {address}"))?;
    let pepper = Arc::new(pepper(config, setting)?);
    let by = Author::from(Actor::System("bootstrap".into()));
    let control = control(config, log, pepper)?;
    Ok(control.bootstrap(given.as_deref(), &by).await?)
}

/// The writer of commands to teams and keys, configured.
pub(crate) fn control(
    config: &Config,
    log: &JetStreamLog,
    pepper: Arc<Pepper>,
) -> anyhow::Result<ControlWriter> {
    let gateway = config.gateway(Setting::Apart.is_embedded())?;
    Ok(ControlWriter::new(Arc::new(log.clone()), pepper)
        .with_brand(gateway.brand())
        .with_plans(gateway.plans))
}

/// The pepper under which keys are hashed.
pub(crate) fn pepper(config: &Config, setting: Setting) -> anyhow::Result<Pepper> {
    secrets::pepper(&config.data, setting.missing())
}

/// Starts a worker. `api`: where the API of this machine listens, if it does. `room`: the room in the log, kept up to date by the caller.
pub(crate) fn worker(
    config: &Config,
    setting: Setting,
    api: SocketAddr,
    log: &JetStreamLog,
    room: &RoomWatch,
    stop: CancellationToken,
) -> anyhow::Result<Worker> {
    let extra_ca_pem = match &config.worker.extra_ca_file {
        Some(file) => {
            fs::read(file).with_context(|| format!("worker.extra_ca_file: {}", file.display()))?
        }
        None => Vec::new(),
    };
    let slots = descriptors::slots(config.worker.slots);
    let callouts = Callouts::new(CalloutConfig {
        egress: config.egress(setting.is_embedded(), api)?,
        extra_ca_pem,
        max_idle_per_host: slots,
        ..CalloutConfig::default()
    })?;
    let (vault, vault_service) = vault(config, log, &stop)?;
    let nats = log.client();
    let log = Arc::new(log.clone());
    let executor = CallExecutor {
        log: log.clone(),
        target: Arc::new(callouts),
        signer: Signer::new(secrets::webhook_master(&config.data, setting.missing())?).following(),
        payloads: Payloads::new(config.worker.cache_mib << 20),
        clock: Arc::new(SystemClock),
        vault: Some(vault),
    };
    let parts = WorkerParts {
        executor: Arc::new(executor),
        leases: log.clone(),
        snapshots: log.clone(),
        commands: Arc::new(NatsCommands(log.client())),
        vault: Some(vault_service),
        pressure: Some(room.pressure()),
    };
    let worker = WorkerConfig {
        name: worker_name(config)?,
        partitions: config.partitions(),
        slots,
        caps: Caps {
            per_host: config.worker.slots_per_host,
            per_team: config.worker.slots_per_team,
        },
        drain: Duration::from_secs(config.worker.drain_seconds),
        retention: config.retention(),
    };
    // Zero from the start, so that a dashboard shows the series before the first partition is taken.
    gauge!("waybill_partitions_owned").set(0.0);
    gauge!("waybill_partitions_left_to_newer").set(0.0);
    let worker = Worker::start(worker, parts, stop.clone());
    tokio::spawn(room::report_owed(worker.board(), nats, stop));
    Ok(worker)
}

/// The parts of the vault: they put credentials into requests, if their keys can be opened here, and erase the keys of tasks that ended.
fn vault(
    config: &Config,
    log: &JetStreamLog,
    stop: &CancellationToken,
) -> anyhow::Result<(Arc<Vault>, VaultService)> {
    let open_ring = rings::open(&config.data)?;
    match &open_ring {
        Some(ring) => rings::follow(ring, stop.clone()),
        None => tracing::info!(
            "this worker has no open ring; tasks that need the vault wait for a worker that has one"
        ),
    }
    let opening = open_ring.map(|ring| OpeningParts {
        unwrapper: ring,
        fences: Arc::new(log.clone()),
        nats: log.client(),
        timing: fence_timing(),
    });
    Ok(Vault::new(VaultParts {
        log: Arc::new(log.clone()),
        keys: Arc::new(log.clone()),
        tallies: Arc::new(log.clone()),
        clock: Arc::new(SystemClock),
        opening,
        usage_flush: USAGE_FLUSH,
        sweep: SweepPace::default(),
    }))
}

/// A projector and, where the key that signs checkpoints of the activity log is present, a notary beside it.
pub(crate) struct Projecting {
    projector: Projector,
    notary: Option<Notary>,
}

impl Projecting {
    /// Waits until the projector stops by itself. A notary that has stopped raised its alarm; everything else goes on.
    pub(crate) async fn stopped(&mut self) -> Result<(), ProjectorError> {
        self.projector.stopped().await
    }

    pub(crate) async fn shutdown(self) -> Result<(), ProjectorError> {
        let notary_ends = async {
            if let Some(notary) = self.notary {
                // The notary has logged its error itself.
                let _ = notary.shutdown().await;
            }
        };
        let (projected, ()) = tokio::join!(self.projector.shutdown(), notary_ends);
        projected
    }
}

/// Starts a projector, and a notary if it is to be one.
pub(crate) fn projector(
    config: &Config,
    setting: Setting,
    log: &JetStreamLog,
) -> anyhow::Result<Projecting> {
    let folder = config.data.join(PROJECTOR_FOLDER);
    make_folder(&folder)?;
    let mut projector = config.projector();
    let notary = notary(config, setting, log)?;
    if let Some((of_notary, _)) = &notary {
        projector.service.audit_keys = of_notary.trusted.clone();
    }
    Ok(Projecting {
        projector: Projector::start(projector, Arc::new(log.clone()), log.client(), folder),
        notary: notary.map(|(config, parts)| Notary::start(config, parts)),
    })
}

/// The public keys that sign checkpoints of this deployment, present and former; `None`: the signing key is not here.
pub(crate) fn notary_keys(config: &Config) -> anyhow::Result<Option<TrustedKeys>> {
    let name = config.audit.key_name();
    let key = secrets::notary(&config.data, Missing::Refuse, &name)?;
    key.map(|key| with_older(config, &key)).transpose()
}

fn with_older(config: &Config, key: &NotaryKey) -> anyhow::Result<TrustedKeys> {
    let mut trusted = TrustedKeys::only(key.public()).all().to_vec();
    trusted.extend(config.older_notary_keys()?.all().iter().cloned());
    Ok(TrustedKeys::new(trusted))
}

/// The parts of a notary; `None`: this process signs no checkpoints.
fn notary(
    config: &Config,
    setting: Setting,
    log: &JetStreamLog,
) -> anyhow::Result<Option<(NotaryConfig, NotaryParts)>> {
    let name = config.audit.key_name();
    let Some(key) = secrets::notary(&config.data, setting.missing(), &name)? else {
        tracing::warn!(
            "WAYBILL_NOTARY_KEY is not set: this projector signs no checkpoints of the activity log"
        );
        return Ok(None);
    };
    tracing::info!(key = %key.public(), "checkpoints of the activity log are signed");
    let holder = match setting {
        // As with the worker: after a kill the next start takes the lease at once.
        Setting::Embedded => worker_name(config)?,
        Setting::Apart => unique_name("notary")?,
    };
    let trusted = with_older(config, &key)?;
    let mut notary = NotaryConfig::new(&config.audit.deployment, key, holder);
    notary.trusted = trusted;
    notary.folder = Some(config.data.join(PROJECTOR_FOLDER));
    let parts = NotaryParts {
        log: Arc::new(log.clone()),
        leases: Arc::new(log.clone()),
        checkpoints: Arc::new(log.clone()),
        nats: Some(log.client()),
    };
    Ok(Some((notary, parts)))
}

fn make_folder(folder: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(folder).with_context(|| folder.display().to_string())
}

/// The configured name, or a unique one: two workers of one name would take each other's leases for their own.
fn worker_name(config: &Config) -> anyhow::Result<String> {
    match &config.worker.name {
        Some(name) => Ok(name.clone()),
        None => unique_name("worker"),
    }
}

/// The machine's name, else `otherwise`, and a random part.
fn unique_name(otherwise: &str) -> anyhow::Result<String> {
    let mut random = [0; 4];
    getrandom::fill(&mut random).map_err(|error| anyhow::anyhow!("no random bytes: {error}"))?;
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host: String = host
        .trim()
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || *c == '-')
        .take(40)
        .collect();
    let host = if host.is_empty() {
        otherwise.to_owned()
    } else {
        host
    };
    Ok(format!("{host}-{}", hex::encode(random)))
}
