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
use waybill_log::{Counters, Fences, Log, RoomWatch, Tallies, VaultKeys};
use waybill_projector::QueryClient;
use waybill_vault::Wrapper;

use crate::access::{ControlWriter, Pepper};
use crate::acknowledged::Acknowledged;
use crate::auth::Auth;
use crate::auth::follow::Follower;
use crate::auth::store::AuthStoreError;
use crate::config::GatewayConfig;
use crate::edge::Unread;
use crate::faces::activity::keys::KnownKeys;
use crate::fence::{self, Fence, FenceParts};
use crate::health::Health;
use crate::limits::Limiter;
use crate::people::{People, PeopleRefused};
use crate::queues::QueueNames;
use crate::refusals::Refusals;
use crate::router;
use crate::server::{self, Drained, Server};
use crate::state::{AppState, Shared};
use crate::streams::Hub;
use crate::usage::{Flusher, Usage};
use crate::vault::{Vault, janitor};

/// What background work may take to end once it was told to.
const BACKGROUND_DEADLINE: Duration = Duration::from_secs(5);
/// Folder of the auth store, within that of the gateway.
const AUTH_FOLDER: &str = "auth";

/// What a gateway stands on.
pub struct GatewayParts {
    /// The log.
    pub log: Arc<dyn Log>,
    /// The stream FENCE of the same log.
    pub fences: Arc<dyn Fences>,
    /// The counters of rate limits, on the same server.
    pub counters: Arc<dyn Counters>,
    /// The stream USAGE of the same log.
    pub tallies: Arc<dyn Tallies>,
    /// The stream VKEYS of the same log.
    pub vault_keys: Arc<dyn VaultKeys>,
    /// What secrets are sealed with. `None`: there is no vault here.
    pub sealer: Option<Arc<dyn Wrapper>>,
    /// For queries and commands.
    pub nats: async_nats::Client,
    /// Folder for read models, of this gateway alone.
    pub stores: PathBuf,
    /// Under which API keys are hashed.
    pub pepper: Arc<Pepper>,
    /// From which the signing secrets of teams are derived. `None`: they cannot be shown here.
    pub signing: Option<MasterSecret>,
    /// How many partitions the log has.
    pub partitions: PartitionCount,
}

/// Why a gateway does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address is taken or not ours.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address wanted.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// The folder of the read model cannot be used.
    #[error("the auth store does not open: {0}")]
    Store(#[from] AuthStoreError),
    /// No gateway could serve on such leases.
    #[error("the lengths of leases are wrong: {0}")]
    Fence(#[from] ImpossibleTiming),
    /// What is configured for people will not do.
    #[error(transparent)]
    People(#[from] PeopleRefused),
    /// An origin is none.
    #[error("cors_origins: {0:?} is not an origin such as https://app.example")]
    Origin(String),
}

/// A gateway that runs.
pub struct Gateway {
    address: SocketAddr,
    state: AppState,
    running: JoinHandle<Drained>,
}

impl Gateway {
    /// Starts one. It listens when this returns and is ready a moment later; it drains when `shutdown` is cancelled.
    pub async fn start(
        config: GatewayConfig,
        parts: GatewayParts,
        shutdown: CancellationToken,
    ) -> Result<Self, StartError> {
        let listen_error = |source| StartError::Listen {
            address: config.listen,
            source,
        };
        let listener = server::bind(&config).await.map_err(listen_error)?;
        let address = listener.local_addr().map_err(listen_error)?;
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
        warn_of_hidden_clients(&config);
        let people = People::new(&config, Arc::clone(&parts.pepper), &tasks, &background)?;
        let stopping = CancellationToken::new();
        let state = AppState::new(Shared {
            hub: Hub::new(Arc::clone(&parts.log), parts.partitions, stopping.clone()),
            acknowledged: Acknowledged::default(),
            queries: QueryClient::new(parts.nats.clone()),
            control: ControlWriter::new(Arc::clone(&parts.log), parts.pepper)
                .with_brand(config.brand())
                .with_plans(Arc::clone(&config.plans)),
            health: Arc::new(Health::default()),
            room: RoomWatch::new(parts.partitions),
            tasks,
            limiter,
            refusals: Arc::new(Refusals::default()),
            audit_keys: KnownKeys::default(),
            queues: QueueNames::default(),
            usage: Usage::new(parts.tallies),
            vault: Arc::new(Vault::new(
                parts.vault_keys,
                parts.sealer,
                Arc::clone(&auth),
            )),
            signing: parts.signing,
            issuer: issuer(&config, address),
            log: parts.log,
            nats: parts.nats,
            partitions: parts.partitions,
            auth,
            people: Arc::new(people),
            fence,
            stopping,
            config,
        });
        let router = router::build(state.clone())?;
        state.tasks.spawn(follower.run(store, background.clone()));
        state.tasks.spawn(fence_task.run(background.clone()));
        state.tasks.spawn(fence::outside::answer(
            Arc::clone(&state.fence),
            state.nats.clone(),
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
            state.nats.clone(),
            state.config.probe_interval,
            background.clone(),
        ));
        if state.vault.is_configured() {
            let janitor = janitor::run(state.clone(), background.clone());
            state.tasks.spawn(janitor);
        } else {
            tracing::warn!(
                "no keys to seal with: there is no vault, and credentials in headers of tasks are stored as they are"
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

    /// What its handlers share.
    #[must_use]
    pub fn state(&self) -> &AppState {
        &self.state
    }

    /// Waits until it has drained. An error is a panic of the accept loop.
    pub async fn wait(self) -> Result<Drained, JoinError> {
        self.running.await
    }
}

/// Who issues OAuth tokens here: the public address, or for one machine the listener's.
fn issuer(config: &GatewayConfig, address: SocketAddr) -> Option<Arc<str>> {
    if let Some(url) = &config.people.public_url {
        return Some(url.as_str().trim_end_matches('/').into());
    }
    let is_own = config.is_local && address.ip().is_loopback();
    is_own.then(|| format!("http://{address}").into())
}

/// An `https` address is that of a proxy, since a gateway speaks plain HTTP. Unless its word on addresses is believed, all clients are
/// one: what is limited by source address, such as failed attempts to sign in, is then limited for everybody at once.
fn warn_of_hidden_clients(config: &GatewayConfig) {
    let public = config.people.public_url.as_ref();
    if public.is_some_and(|url| url.scheme() == "https") && config.trusted_proxies.is_empty() {
        tracing::warn!(
            "public_url is https, so clients come through a proxy, but gateway.trusted_proxies is empty: all clients count as one address; name the proxy's network there"
        );
    }
}

async fn run(
    state: AppState,
    server: Server,
    background: CancellationToken,
    shutdown: CancellationToken,
) -> Drained {
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
        state.hub.stopped().await;
        state.tasks.wait().await;
    };
    if tokio::time::timeout(BACKGROUND_DEADLINE, ended)
        .await
        .is_err()
    {
        tracing::warn!("background work of the gateway did not end in time");
    }
    tracing::info!(?drained, "the gateway has stopped");
    drained
}
