//! `waybill up`: everything in one process, over a private nats-server.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::fs::{FlockOperation, flock};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use waybill_domain::trust::Speaker;
use waybill_gateway::{Bootstrap, Gateway};
use waybill_log::jetstream::ConnectError;
use waybill_worker::Worker;

use crate::config::{Config, environment};
use crate::disk::Store;
use crate::nats_server::{NatsServer, Restarter};
use crate::operations::Operations;
use crate::roles::{self, Projecting, Setting};
use crate::room::{self, OwnRoom};
use crate::secrets::Missing;
use crate::signals::stop_token;
use crate::signatures;
use crate::telemetry;
use crate::vault::rings;

/// How long the gateway may take to know who may do what before it is announced.
const READY: Duration = Duration::from_secs(10);
/// Between two looks.
const READY_POLL: Duration = Duration::from_millis(5);

/// Runs until it is asked to stop.
pub(crate) async fn run(mut config: Config) -> anyhow::Result<()> {
    // First of all: a second process on the folder should hear that, and not which of its ports are taken.
    let stop = stop_token()?;
    fs::create_dir_all(&config.data).with_context(|| config.data.display().to_string())?;
    config.data = config.data.canonicalize()?;
    let _lock = lock(&config.data)?;
    let telemetry = telemetry::start(&config, "up")?;
    let own_server = environment("NATS_URL").is_none();
    let (server, own) = if own_server {
        let store = store(&config)?;
        let (server, restarter) = NatsServer::start(&config.data, store).await?;
        (Some(server), Some((store, restarter)))
    } else {
        (None, None)
    };
    if let Some(server) = &server {
        config.nats = server.connection.over(&config.nats);
        signatures::prepare_embedded(&mut config)?;
        // Nobody else works on this server: after a kill the next start takes the leases of the last one at once, by its name,
        // instead of waiting until they have run out.
        config.worker.name.get_or_insert_with(|| "up".into());
    } else {
        signatures::prepare(&mut config, Speaker::Control, Missing::Refuse)?;
    }
    let served = match start(&config, own, &telemetry.operations, &stop).await {
        Ok(Some(roles)) => roles.run(stop).await,
        Ok(None) => Ok(()),
        Err(error) => match &server {
            Some(server) if error.is::<ConnectError>() => Err(error.context(format!(
                "the private nats-server does not come up; its log is {}",
                server.log_file().display()
            ))),
            _ => Err(error),
        },
    };
    if let Some(server) = server {
        server.stop().await;
    }
    served
}

/// How large the store of the private server is.
fn store(config: &Config) -> anyhow::Result<Store> {
    let store = Store::at(&config.data, config.up.max_file_store())?;
    if let Some(tasks) = config.nats.streams.tasks_max_bytes
        && tasks > store.max_file_store
    {
        bail!(
            "nats.streams.tasks_max_bytes must be at most {} here, not {tasks}: that is what all streams together may take of the disk (up.max_file_store_mib)",
            store.max_file_store
        );
    }
    Ok(store)
}

/// The roles of this process.
struct Roles {
    gateway: Gateway,
    worker: Worker,
    projector: Projecting,
}

/// Starts the roles; `None` when it was asked to stop before they ran.
async fn start(
    config: &Config,
    own: Option<(Store, Restarter)>,
    operations: &Operations,
    stop: &CancellationToken,
) -> anyhow::Result<Option<Roles>> {
    let log = tokio::select! {
        log = waybill_log::connect(&config.nats) => log?,
        () = stop.cancelled() => return Ok(None),
    };
    signatures::check(&log, Some(Speaker::Control))?;
    if config.nats.signatures.introduce {
        signatures::pin(config, &log)?;
    }
    if let Some((store, _)) = &own {
        room::give_shares(&log, *store, config).await;
    }
    rings::complete(&config.data)?;
    let bootstrap = roles::bootstrap(config, Setting::Embedded, &log).await?;
    let projector = roles::projector(config, Setting::Embedded, &log)?;
    // The gateway first: which port it has got is one that tasks must not reach.
    let gateway = roles::gateway(config, Setting::Embedded, &log, stop.clone()).await?;
    let api = gateway.addr();
    let worker = roles::worker(config, Setting::Embedded, api, &log, stop.clone())?;
    operations.worker(worker.board());
    match own {
        Some((store, server)) => {
            let room = OwnRoom {
                config: config.clone(),
                store,
                log: log.clone(),
                server,
                watch: Arc::clone(&gateway.state().room),
            };
            tokio::spawn(room.run(stop.clone()));
        }
        None => {
            tokio::spawn(room::export_sizes(log.clone(), stop.clone()));
        }
    }
    tokio::select! {
        () = ready(&gateway) => {}
        () = stop.cancelled() => {}
    }
    announce(config, gateway.addr(), &bootstrap)?;
    Ok(Some(Roles {
        gateway,
        worker,
        projector,
    }))
}

/// Waits until what is announced works, for a while: then it is announced all the same, and `/readyz` says what is missing.
async fn ready(gateway: &Gateway) {
    let state = gateway.state();
    let until = Instant::now() + READY;
    while state.health.check(&state.auth).is_err() && Instant::now() < until {
        sleep(READY_POLL).await;
    }
}

impl Roles {
    async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let Self {
            gateway,
            worker,
            mut projector,
        } = self;
        let gateway = gateway.wait();
        let worker = worker.stopped();
        tokio::pin!(gateway, worker);
        let (mut drained, mut worked) = (None, false);
        let failed = tokio::select! {
            () = stop.cancelled() => None,
            ended = projector.stopped() => Some(ended),
            ended = &mut gateway => {
                drained = Some(ended);
                None
            }
            () = &mut worker => {
                worked = true;
                None
            }
        };
        let asked = stop.is_cancelled();
        // Either way the others end too: half a server would only look like one.
        stop.cancel();
        let drained = match drained {
            Some(drained) => drained,
            None => gateway.await,
        };
        // Side by side: neither needs the other, and with a log that hangs each takes its time limits to end.
        let worker_ends = async {
            if !worked {
                worker.await;
            }
        };
        let projector_ends = async {
            match failed {
                Some(ended) => ended,
                None => projector.shutdown().await,
            }
        };
        let ((), projected) = tokio::join!(worker_ends, projector_ends);
        projected?;
        drained?;
        if !asked {
            bail!("a role ended by itself");
        }
        Ok(())
    }
}

/// Only one process works on a folder. The lock goes with the process, however it ends.
pub(crate) fn lock(data: &Path) -> anyhow::Result<File> {
    let path = data.join("waybill.lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .with_context(|| path.display().to_string())?;
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        bail!("another `waybill up` runs on {}", data.display());
    }
    Ok(file)
}

/// Tells a newcomer what there is now, in words that work as pasted.
fn announce(config: &Config, address: SocketAddr, bootstrap: &Bootstrap) -> anyhow::Result<()> {
    let host = if address.ip().is_unspecified() {
        IpAddr::V4(Ipv4Addr::LOCALHOST)
    } else {
        address.ip()
    };
    let url = format!("http://{}", SocketAddr::new(host, address.port()));
    let given = environment(roles::BOOTSTRAP_KEY).is_some();
    let mut out = std::io::stdout().lock();
    writeln!(out, "\nWaybill listens on {url}  (API page: {url}/docs)")?;
    writeln!(out, "  data      {}", config.data.display())?;
    writeln!(out, "  team      {}", bootstrap.team)?;
    let key = match &bootstrap.key {
        Some(key) if !given => {
            writeln!(
                out,
                "  API key   {}   <- shown this once; keep it",
                key.reveal()
            )?;
            key.reveal().to_owned()
        }
        _ if given => {
            writeln!(out, "  API key   the one in WAYBILL_BOOTSTRAP_KEY")?;
            "$WAYBILL_BOOTSTRAP_KEY".to_owned()
        }
        _ => {
            writeln!(
                out,
                "  API key   shown at the first start; `waybill keys create --name NAME` makes another"
            )?;
            "$WAYBILL_KEY".to_owned()
        }
    };
    let callouts = if config.calls_loopback(true) {
        "to this machine (loopback) are allowed, to other private addresses refused"
    } else {
        "to this machine and other private addresses are refused"
    };
    writeln!(out, "  callouts  {callouts}")?;
    let (which, target) = if config.calls_loopback(true) {
        ("Waybill's own health page", format!("{url}/healthz"))
    } else {
        ("a page outside", "https://example.com/".to_owned())
    };
    writeln!(out, "\nA first task, which calls {which}:\n")?;
    writeln!(
        out,
        "curl -sS {url}/v1/tasks -H \"Authorization: Bearer {key}\" -H 'Content-Type: application/json' \\\n  -d '{{\"targetUrl\": \"{target}\", \"method\": \"GET\"}}'\n"
    )?;
    out.flush()?;
    Ok(())
}
