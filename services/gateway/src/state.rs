//! What all handlers share.

use std::ops::Deref;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use waybill_domain::partition::PartitionCount;
use waybill_domain::signature::MasterSecret;
use waybill_log::{Log, RoomWatch, StreamSeq};
use waybill_projector::QueryClient;

use crate::access::ControlWriter;
use crate::acknowledged::Acknowledged;
use crate::auth::{Auth, NotAppliedYet};
use crate::config::GatewayConfig;
use crate::faces::activity::keys::KnownKeys;
use crate::fence::{Fence, FenceError};
use crate::health::Health;
use crate::limits::Limiter;
use crate::people::People;
use crate::queues::QueueNames;
use crate::refusals::Refusals;
use crate::streams::Hub;
use crate::usage::Usage;
use crate::vault::Vault;

/// What all handlers share. Clones are the same.
#[derive(Clone)]
pub struct AppState(Arc<Shared>);

/// The parts of [`AppState`].
pub struct Shared {
    /// What the gateway was told.
    pub config: GatewayConfig,
    /// The log.
    pub log: Arc<dyn Log>,
    /// For requests to owners of partitions.
    pub nats: async_nats::Client,
    /// For reading what was projected.
    pub queries: QueryClient,
    /// What clients were told, so that they read their own writes.
    pub acknowledged: Acknowledged,
    /// Who may do what.
    pub auth: Arc<Auth>,
    /// Whether that may be relied on now, and whether everybody knows a change.
    pub fence: Arc<Fence>,
    /// How much of it, and how fast.
    pub limiter: Arc<Limiter>,
    /// Passwords, mail and access tokens.
    pub people: Arc<People>,
    /// Who was told no.
    pub refusals: Arc<Refusals>,
    /// How many queues teams name.
    pub queues: QueueNames,
    /// How often, and when last.
    pub usage: Arc<Usage>,
    /// What is sealed, and with what.
    pub vault: Arc<Vault>,
    /// Who signs checkpoints of the activity log.
    pub audit_keys: KnownKeys,
    /// From which the signing secrets of teams are derived. `None`: this gateway was not given it.
    pub signing: Option<MasterSecret>,
    /// Who issues OAuth tokens: the public address. `None`: there is no OAuth.
    pub issuer: Option<Arc<str>>,
    /// Changes who may do what.
    pub control: ControlWriter,
    /// How many partitions there are.
    pub partitions: PartitionCount,
    /// Whether the log still takes creations.
    pub room: Arc<RoomWatch>,
    /// Live events.
    pub hub: Arc<Hub>,
    /// Whether requests should come here.
    pub health: Arc<Health>,
    /// Cancelled when draining begins: streams end then.
    pub stopping: CancellationToken,
    /// Background work; joined at the end of a drain.
    pub tasks: TaskTracker,
}

impl AppState {
    pub(crate) fn new(shared: Shared) -> Self {
        Self(Arc::new(shared))
    }

    /// Waits until a change of access counts here.
    pub(crate) async fn settle(&self, seq: StreamSeq) -> Result<(), NotAppliedYet> {
        self.auth.wait_for(seq).await
    }

    /// Waits until a change of access that takes something away counts on every gateway, or on those that can still be serving.
    pub(crate) async fn settle_everywhere(&self, seq: StreamSeq) -> Result<(), FenceError> {
        self.fence.everywhere(seq).await
    }
}

impl Deref for AppState {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}
