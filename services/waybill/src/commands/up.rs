//! `waybill up`: everything in one process, over a private nats-server.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IsTerminal as _, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::fs::{FlockOperation, flock};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use waybill_commands::{Author, Bootstrap, NoLink};
use waybill_domain::actor::Actor;
use waybill_domain::trust::Speaker;
use waybill_gateway::Gateway;
use waybill_log::RoomWatch;
use waybill_log::jetstream::{ConnectError, JetStreamLog};
use waybill_worker::board::Board;
use waybill_worker::command::NearOwners;

use crate::config::{Config, environment};
use crate::disk::Store;
use crate::nats_server::{NatsServer, Restarter};
use crate::operations::Operations;
use crate::output;
use crate::ownership::HandOver;
use crate::rings;
use crate::roles::{self, Setting};
use crate::room::{self, OwnRoom};
use crate::secrets::Missing;
use crate::sign_in_link;
use crate::signals::stop_token;
use crate::signatures;
use crate::supervise::{self, Running};
use crate::telemetry;

/// How long the gateway may take to get ready before it is announced.
const READY: Duration = Duration::from_secs(10);
/// Pause between two checks of that.
const READY_POLL: Duration = Duration::from_millis(5);
/// How long the projector waits until the partitions have their owners. Opening a large read model takes the processor from those who read
/// theirs, and tasks wait for owners, while queries can wait for the read model.
const OWNERS_FIRST: Duration = Duration::from_secs(10);

/// Runs until it is asked to stop.
pub(crate) async fn run(mut config: Config) -> anyhow::Result<()> {
    // Locked first: a second process on the folder should be told that, and not which of its ports are in use.
    let stop = stop_token()?;
    fs::create_dir_all(&config.data).with_context(|| config.data.display().to_string())?;
    config.data = config.data.canonicalize()?;
    let _theirs = HandOver::of(&config.data);
    let _lock = lock(&config.data)?;
    let telemetry = telemetry::start(&config, "up")?;
    let own_server = environment("NATS_URL").is_none();
    let (server, own) = if own_server {
        let store = store(&config)?;
        let memory = config.memory().nats_server;
        let (server, restarter) = NatsServer::start(&config.data, store, Some(memory)).await?;
        (Some(server), Some((store, restarter)))
    } else {
        (None, None)
    };
    if let Some(server) = &server {
        config.nats = server.connection.over(&config.nats);
        signatures::prepare_embedded(&mut config)?;
        // No other process uses this server: after a kill the next start takes the leases of the last one at once, by its name,
        // instead of waiting until they have run out.
        config.worker.name.get_or_insert_with(|| "up".into());
    } else {
        signatures::prepare(&mut config, Speaker::Control, Missing::Refuse)?;
    }
    let served = match start(config, own, &telemetry.operations, &stop).await {
        Ok(Some(roles)) => roles.run(stop).await,
        Ok(None) => Ok(()),
        Err(error) => match &server {
            Some(server) if is_unreachable(&error) => Err(error.context(format!(
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

/// Whether no server answered. Other errors of the log, such as a number of partitions that it does not have, say all that there is to say.
fn is_unreachable(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(ConnectError::Unreachable { .. }))
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

/// The roles of this process: what starts each of them again, and each as it runs.
struct Roles {
    again: Again,
    gateway: Running,
    worker: Running,
    projector: Running,
}

/// What a role needs to start, the first time and whenever it has ended by itself.
#[derive(Clone)]
struct Again {
    config: Config,
    log: JetStreamLog,
    operations: Operations,
    room: Arc<RoomWatch>,
    /// Where the gateway finds the owners, also those of a worker that started again.
    near: NearOwners,
    stop: CancellationToken,
    /// The projector ends last, so that requests in flight are answered.
    late: CancellationToken,
}

impl Again {
    /// Tasks beside the gateway end with it, also when it ends by itself: by the token that is returned.
    async fn gateway(&self) -> anyhow::Result<(Gateway, CancellationToken)> {
        let (config, log, room) = (&self.config, &self.log, Arc::clone(&self.room));
        let own = self.stop.child_token();
        let near = Some(self.near.clone());
        let gateway =
            roles::gateway(config, Setting::Embedded, log, room, near, own.clone()).await?;
        Ok((gateway, own))
    }

    fn running_gateway(gateway: Gateway, own: CancellationToken) -> Running {
        Box::pin(async move {
            let drained = gateway.wait().await;
            own.cancel();
            drained?;
            Ok(())
        })
    }

    fn worker(&self) -> anyhow::Result<(Running, Arc<Board>)> {
        let (config, log, room) = (&self.config, &self.log, &self.room);
        // Tasks beside the worker end with it, also when it ends by itself.
        let own = self.stop.child_token();
        let api = config.gateway.listen;
        let near = self.near.clone();
        let worker = roles::worker(config, Setting::Embedded, api, log, room, near, own.clone())?;
        let board = worker.board();
        self.operations.worker(Arc::clone(&board), log.clone());
        let running = Box::pin(async move {
            worker.stopped().await;
            own.cancel();
            Ok(())
        });
        Ok((running, board))
    }

    fn projector(&self) -> anyhow::Result<Running> {
        let mut projector = roles::projector(&self.config, Setting::Embedded, &self.log)?;
        let late = self.late.clone();
        Ok(Box::pin(async move {
            // Dropping the wait for its end loses nothing: `shutdown` waits for the same task.
            tokio::select! {
                () = late.cancelled() => projector.shutdown().await?,
                ended = projector.stopped() => ended?,
            }
            Ok(())
        }))
    }
}

/// On its own server nobody else works, so what it appends is in frames from its first start on.
async fn connect(config: &Config, is_own: bool) -> Result<JetStreamLog, ConnectError> {
    if is_own {
        waybill_log::connect_alone(&config.nats).await
    } else {
        waybill_log::connect(&config.nats).await
    }
}

/// Starts the roles; `None` when a stop was requested before they ran.
async fn start(
    config: Config,
    own: Option<(Store, Restarter)>,
    operations: &Operations,
    stop: &CancellationToken,
) -> anyhow::Result<Option<Roles>> {
    // A connect that is given up leaves nothing half done: each stream is created in one step or not at all.
    let log = tokio::select! {
        log = connect(&config, own.is_some()) => log?,
        () = stop.cancelled() => return Ok(None),
    };
    signatures::check(&log, Some(Speaker::Control))?;
    if config.nats.signatures.introduce {
        signatures::pin(&config, &log)?;
    }
    if let Some((store, _)) = &own {
        room::give_shares(&log, *store, &config).await;
    }
    rings::complete(&config.data)?;
    let bootstrap = roles::bootstrap(&config, Setting::Embedded, &log).await?;
    let mut again = Again {
        room: RoomWatch::new(log.partitions()),
        config,
        log: log.clone(),
        operations: operations.clone(),
        near: NearOwners::default(),
        stop: stop.clone(),
        late: CancellationToken::new(),
    };
    // The gateway first: tasks must not reach the port that it got, and a restart has to keep it.
    let (gateway, own_of_gateway) = again.gateway().await?;
    again.config.gateway.listen = gateway.addr();
    let (worker, board) = again.worker()?;
    match own {
        Some((store, server)) => {
            let room = OwnRoom {
                config: again.config.clone(),
                store,
                log,
                server,
                watch: Arc::clone(&again.room),
            };
            tokio::spawn(room.run(stop.clone()));
        }
        None => {
            tokio::spawn(room::export_sizes(log, stop.clone()));
            tokio::spawn(room::export_disk(again.config.data.clone(), stop.clone()));
        }
    }
    // The wait only looks. After a stop the roles are returned as well, since the caller ends them in order.
    tokio::select! {
        ((), ()) = async { tokio::join!(ready(&gateway), owned(&board)) } => {}
        () = stop.cancelled() => {}
    }
    let projector = again.projector()?;
    sign_in_link::note_address(&again.config.data, gateway.addr())?;
    let link = link(&again.config, gateway.addr(), &again.log).await;
    announce(&again.config, gateway.addr(), &bootstrap, link.as_deref())?;
    Ok(Some(Roles {
        again,
        gateway: Again::running_gateway(gateway, own_of_gateway),
        worker,
        projector,
    }))
}

/// A link to the dashboard, unasked only for whoever sits at a terminal of the machine that alone reaches the API.
async fn link(config: &Config, address: SocketAddr, log: &JetStreamLog) -> Option<String> {
    if !address.ip().is_loopback() || !io::stdout().is_terminal() {
        return None;
    }
    let base = sign_in_link::base(config, address).ok()?;
    let made = async {
        let pepper = Arc::new(roles::pepper(config, Setting::Embedded)?);
        let control = roles::control(config, log, pepper)?;
        let by = Author::from(Actor::System("up".into()));
        anyhow::Ok(control.sign_in_link(&by).await)
    };
    match made.await {
        Ok(Ok(link)) => Some(sign_in_link::address(&base, &link)),
        // Its people have addresses and passwords.
        Ok(Err(NoLink::HasMembers)) => None,
        Ok(Err(error)) => {
            tracing::warn!(%error, "no sign-in link could be made; `waybill dashboard` tries again");
            None
        }
        Err(error) => {
            tracing::warn!(
                error = format!("{error:#}"),
                "no sign-in link could be made; `waybill dashboard` tries again"
            );
            None
        }
    }
}

/// Waits for a while until the gateway is ready; after that it is announced all the same, and `/readyz` says what is missing.
async fn ready(gateway: &Gateway) {
    let state = gateway.state();
    let until = Instant::now() + READY;
    while state.health.check(&state.auth).is_err() && Instant::now() < until {
        sleep(READY_POLL).await;
    }
}

/// Waits for a while until this worker serves every partition that it holds.
async fn owned(board: &Board) {
    let until = Instant::now() + OWNERS_FIRST;
    while !board.readiness().is_ready() && Instant::now() < until {
        sleep(READY_POLL).await;
    }
}

impl Roles {
    /// Keeps each role running until told to stop.
    async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let Self {
            again,
            gateway,
            worker,
            projector,
        } = self;
        let late = again.late.clone();
        let of = again.clone();
        let start = async move || {
            let (gateway, own) = of.gateway().await?;
            Ok(Again::running_gateway(gateway, own))
        };
        let gateway_ends = async {
            let drained = supervise::keep("gateway", gateway, start, stop.clone()).await;
            late.cancel();
            drained
        };
        let of = again.clone();
        let start = async move || Ok(of.worker()?.0);
        let worker_ends = supervise::keep("worker", worker, start, stop.clone());
        let start = async move || again.projector();
        let projector_ends = supervise::keep("projector", projector, start, late.clone());
        // All three together: with a log that hangs, each takes its full time limits to end.
        let (drained, worked, projected) = tokio::join!(gateway_ends, worker_ends, projector_ends);
        projected?;
        worked?;
        drained
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

/// Prints what runs now and a first request, which works as pasted.
fn announce(
    config: &Config,
    address: SocketAddr,
    bootstrap: &Bootstrap,
    link: Option<&str>,
) -> anyhow::Result<()> {
    let host = if address.ip().is_unspecified() {
        IpAddr::V4(Ipv4Addr::LOCALHOST)
    } else {
        address.ip()
    };
    let url = format!("http://{}", SocketAddr::new(host, address.port()));
    let given = environment(roles::BOOTSTRAP_KEY).is_some();
    let mut out = output::stdout();
    writeln!(out, "\nWaybill listens on {url}  (API page: {url}/docs)")?;
    writeln!(out, "  dashboard {url}/ui/")?;
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
    if let Some(link) = link {
        writeln!(
            out,
            "The dashboard, signed in (once, within 10 minutes; `waybill dashboard` prints another link):\n\n{link}"
        )?;
    }
    out.flush()?;
    Ok(())
}
