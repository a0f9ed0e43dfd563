//! A gateway from start to the end of its drain.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{JoinError, JoinHandle};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use waybill_domain::access::fence::{ImpossibleTiming, LeaseKind};
use waybill_domain::partition::PartitionCount;
use waybill_domain::signature::MasterSecret;
use waybill_log::{
    Captures, Counters, Fences, Leases, Log, MailQueue, RoomWatch, Tallies, VaultKeys,
};
use waybill_projector::QueryClient;
use waybill_vault::Wrapper;

use waybill_api_account::{AccountApi, AccountApiParts};
use waybill_api_activity::{ActivityApi, ActivityApiParts, KnownKeys};
use waybill_api_tasks::{ReadModelLabels, TasksApi, TasksApiParts, operations};
use waybill_commands::{ControlWriter, Pepper};
use waybill_edge::acknowledged::Acknowledged;
use waybill_edge::auth::Auth;
use waybill_edge::auth::follow::Follower;
use waybill_edge::auth::store::AuthStoreError;
use waybill_edge::config::GatewayConfig;
use waybill_edge::fence::{self, Fence, FenceParts};
use waybill_edge::limits::Limiter;
use waybill_edge::owners::{NearOwners, Owners};
use waybill_edge::queue_names::QueueNames;
use waybill_edge::refusals::Refusals;
use waybill_edge::request::Unread;
use waybill_edge::server::{self, Drained, Server};
use waybill_edge::usage::{Flusher, Usage};
use waybill_edge::vault::{Vault, janitor};
use waybill_edge::{Edge, EdgeParts};
use waybill_identity::{People, PeopleRefused, Surroundings};
use waybill_streams::{Hub, HubLimits};

use crate::health::Health;
use crate::router;
use crate::state::{AppState, Shared};

/// How long background tasks may take to end once they are told to stop.
const BACKGROUND_DEADLINE: Duration = Duration::from_secs(5);
/// Folder of the auth store, within that of the gateway.
const AUTH_FOLDER: &str = "auth";

/// What a gateway is built from. All streams are of one log: FENCE, USAGE, VKEYS, CAPTURES and MAIL.
pub struct GatewayParts {
    pub log: Arc<dyn Log>,
    pub fences: Arc<dyn Fences>,
    /// The counters of rate limits, on the same server.
    pub counters: Arc<dyn Counters>,
    pub tallies: Arc<dyn Tallies>,
    pub vault_keys: Arc<dyn VaultKeys>,
    pub captures: Arc<dyn Captures>,
    pub mail: Arc<dyn MailQueue>,
    /// Leases on the same server: which gateway runs operations.
    pub leases: Arc<dyn Leases>,
    /// What secrets are sealed with. `None`: there is no vault here.
    pub sealer: Option<Arc<dyn Wrapper>>,
    /// For queries and commands.
    pub nats: async_nats::Client,
    /// The owners in this process, if a worker runs in it.
    pub near: Option<Arc<dyn NearOwners>>,
    /// Folder for read models, of this gateway alone.
    pub stores: PathBuf,
    /// The secret under which API keys are hashed.
    pub pepper: Arc<Pepper>,
    /// The secret from which the signing secrets of teams are derived. `None`: this gateway cannot show them.
    pub signing: Option<MasterSecret>,
    /// How many partitions the log has.
    pub partitions: PartitionCount,
    /// Whether the log has room for creations. The gateway keeps it up to date.
    pub room: Arc<RoomWatch>,
}

/// Why a gateway does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address is in use, or does not belong to this machine.
    #[error("gateway.listen: cannot listen on {address}")]
    Listen {
        /// The configured address.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// The folder of the read model cannot be used.
    #[error("the auth store does not open")]
    Store(#[from] AuthStoreError),
    /// No gateway could serve on leases of these lengths.
    #[error("the lengths of leases are wrong")]
    Fence(#[from] ImpossibleTiming),
    /// The configuration for people is invalid.
    #[error(transparent)]
    People(#[from] PeopleRefused),
    /// An entry of `cors_origins` is not an origin.
    #[error("gateway.cors_origins: {0:?} is not an origin such as https://app.example")]
    Origin(String),
}

/// A running gateway.
pub struct Gateway {
    address: SocketAddr,
    state: AppState,
    running: JoinHandle<Drained>,
}

impl Gateway {
    /// Starts one. It listens when this returns and is ready a moment later; it drains when `shutdown` is cancelled.
    pub async fn start(
        mut config: GatewayConfig,
        parts: GatewayParts,
        shutdown: CancellationToken,
    ) -> Result<Self, StartError> {
        let listen_error = |source| StartError::Listen {
            address: config.listen,
            source,
        };
        let listener = server::bind(&config).await.map_err(listen_error)?;
        let address = listener.local_addr().map_err(listen_error)?;
        config.egress = config.egress.and_api_port(address.port());
        let auth = Arc::new(Auth::new(
            Arc::clone(&parts.pepper),
            Arc::clone(&config.plans),
        ));
        let follower = Follower {
            auth: Arc::clone(&auth),
            log: Arc::clone(&parts.log),
            dir: parts.stores.join(AUTH_FOLDER),
        };
        let store = follower.open().await?;
        config.fence.check()?;
        let (fence, fence_task) = Fence::new(FenceParts {
            fences: parts.fences,
            log: Arc::clone(&parts.log),
            nats: parts.nats.clone(),
            control: auth.applied_changes(),
            copy: auth.copy_check(),
            timing: config.fence,
            kind: LeaseKind::Gateway,
        });
        let tasks = TaskTracker::new();
        let limiter = Limiter::new(
            Arc::clone(&config.plans),
            parts.counters,
            Arc::clone(fence.live()),
            tasks.clone(),
        );
        let background = CancellationToken::new();
        if config.hides_clients() {
            tracing::warn!(
                "public_url is https, so clients come through a proxy, but gateway.trusted_proxies is empty: all clients count as one address; name the proxy's network there"
            );
        }
        let surroundings = Surroundings {
            cors_origins: &config.cors_origins,
            listens_on_loopback: config.listen.ip().is_loopback(),
            brand: config.brand(),
        };
        let people = People::new(
            &config.people,
            surroundings,
            Arc::clone(&parts.pepper),
            parts.mail,
            &tasks,
            &background,
        )?;
        let stopping = CancellationToken::new();
        let labels = Arc::new(ReadModelLabels(QueryClient::new(parts.nats.clone())));
        let hub = Hub::new(
            Arc::clone(&parts.log),
            parts.partitions,
            labels,
            stopping.clone(),
            HubLimits {
                label_bytes: config.label_bytes,
                ..HubLimits::default()
            },
        );
        let room = parts.room;
        let issuer = config.issuer(address);
        let edge = Edge::new(EdgeParts {
            acknowledged: Acknowledged::default(),
            queries: QueryClient::new(parts.nats.clone()).with_deadline(config.patience()),
            control: ControlWriter::new(Arc::clone(&parts.log), parts.pepper)
                .with_brand(config.brand())
                .with_plans(Arc::clone(&config.plans)),
            tasks,
            limiter,
            refusals: Arc::new(Refusals::default()),
            usage: Usage::new(parts.tallies),
            vault: Arc::new(Vault::new(
                parts.vault_keys,
                parts.sealer,
                Arc::clone(&auth),
                config.credential_epoch,
            )),
            log: parts.log,
            captures: parts.captures,
            auth,
            people: Arc::new(people),
            fence,
            stopping,
            owners: Owners {
                nats: parts.nats.clone(),
                near: parts.near,
                partitions: parts.partitions,
                patience: config.patience(),
            },
            signing: parts.signing,
            config,
        });
        let state = AppState::new(Shared {
            tasks_api: TasksApi::new(TasksApiParts {
                edge: edge.clone(),
                nats: parts.nats.clone(),
                partitions: parts.partitions,
                room: Arc::clone(&room),
                hub: Arc::clone(&hub),
                queues: QueueNames::default(),
            }),
            account_api: AccountApi::new(AccountApiParts {
                edge: edge.clone(),
                issuer,
            }),
            activity_api: ActivityApi::new(ActivityApiParts {
                edge: edge.clone(),
                hub,
                audit_keys: KnownKeys::default(),
            }),
            edge,
            room,
            health: Arc::new(Health::default()),
        });
        let router = router::build(&state)?;
        state.tasks.spawn(follower.run(store, background.clone()));
        state.tasks.spawn(fence_task.run(background.clone()));
        state.tasks.spawn(fence::outside::answer(
            Arc::clone(&state.fence),
            parts.nats.clone(),
            background.clone(),
        ));
        state
            .tasks
            .spawn(Arc::clone(&state.limiter).run_sweeper(background.clone()));
        state.tasks.spawn(Arc::clone(&state.refusals).run(
            state.control.clone(),
            state.fence.holder().as_str().to_owned(),
            state.config.refusals,
            background.clone(),
        ));
        let flusher = Flusher::new(Arc::clone(&state.usage), state.config.usage_flush);
        state.tasks.spawn(flusher.run(background.clone()));
        state.tasks.spawn(Arc::clone(&state.health).probe(
            Arc::clone(&state.log),
            state.config.probe_interval,
            background.clone(),
        ));
        state.tasks.spawn(Arc::clone(&state.room).follow(
            Arc::clone(&state.log),
            parts.nats.clone(),
            state.config.probe_interval,
            background.clone(),
        ));
        state.tasks.spawn(operations::run::run(
            state.tasks_api.clone(),
            Arc::clone(&parts.leases),
        ));
        state.tasks.spawn(waybill_api_schedules::runner::run(
            state.tasks_api.clone(),
            parts.leases,
        ));
        if state.vault.is_configured() {
            let janitor = janitor::run(state.edge.clone(), background.clone());
            state.tasks.spawn(janitor);
        } else {
            tracing::warn!(
                "this gateway has no seal ring: there is no vault, and credentials in headers of tasks are stored in plain text"
            );
        }
        let server = Server {
            listener,
            router,
            unread: Unread::new(Arc::clone(&state.limiter)),
            config: state.config.clone(),
        };
        let running = tokio::spawn(run(state.clone(), server, background, shutdown));
        tracing::info!(%address, "the gateway listens");
        Ok(Self {
            address,
            state,
            running,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// The state that its handlers share.
    #[must_use]
    pub fn state(&self) -> &AppState {
        &self.state
    }

    /// Waits until it has drained. An error is a panic of the accept loop.
    pub async fn wait(self) -> Result<Drained, JoinError> {
        self.running.await
    }
}

async fn run(
    state: AppState,
    server: Server,
    background: CancellationToken,
    shutdown: CancellationToken,
) -> Drained {
    // Load balancers see that this gateway is not ready, and get time to send requests elsewhere, before it stops to accept them.
    let give_notice = async {
        shutdown.cancelled().await;
        state.health.drain();
        tokio::time::sleep(state.config.drain_notice).await;
        state.stopping.cancel();
    };
    let (drained, ()) = tokio::join!(server.run(state.stopping.clone()), give_notice);
    background.cancel();
    state.tasks.close();
    let ended = async {
        state.tasks_api.hub.stopped().await;
        state.tasks.wait().await;
    };
    if tokio::time::timeout(BACKGROUND_DEADLINE, ended)
        .await
        .is_err()
    {
        tracing::warn!(
            "background tasks of the gateway did not end in time; the process stops without them"
        );
    }
    tracing::info!(?drained, "the gateway has stopped");
    drained
}
