//! The parts of a gateway that more than one API needs.

use std::ops::Deref;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use waybill_commands::ControlWriter;
use waybill_domain::signature::MasterSecret;
use waybill_fence::{Fence, FenceError};
use waybill_identity::People;
use waybill_log::{Captures, Log, ReadError, Stream, StreamSeq};
use waybill_projector::QueryClient;

use crate::acknowledged::Acknowledged;
use crate::auth::{Auth, NotAppliedYet};
use crate::config::GatewayConfig;
use crate::limits::Limiter;
use crate::owners::Owners;
use crate::refusals::Refusals;
use crate::usage::Usage;
use crate::vault::Vault;

/// What all APIs share. Clones share it.
#[derive(Clone)]
pub struct Edge(Arc<EdgeParts>);

/// The parts of an [`Edge`].
pub struct EdgeParts {
    /// How the gateway was configured.
    pub config: GatewayConfig,
    pub log: Arc<dyn Log>,
    /// What calls sent and were answered.
    pub captures: Arc<dyn Captures>,
    /// Queries to projectors.
    pub queries: QueryClient,
    /// Positions that were acknowledged to clients, so that they read their own writes.
    pub acknowledged: Acknowledged,
    /// The copy of who may do what.
    pub auth: Arc<Auth>,
    /// The lease under which this gateway decides, and the barrier that waits until every gateway has applied a change.
    pub fence: Arc<Fence>,
    /// Rate limits of plans and guards.
    pub limiter: Arc<Limiter>,
    /// Passwords, mail and access tokens.
    pub people: Arc<People>,
    /// Refused requests, sampled into the activity log.
    pub refusals: Arc<Refusals>,
    /// How often, when last and from where credentials are used.
    pub usage: Arc<Usage>,
    pub vault: Arc<Vault>,
    /// Writes changes of access to CONTROL.
    pub control: ControlWriter,
    /// Cancelled when draining begins: streams end then.
    pub stopping: CancellationToken,
    /// Background work; joined at the end of a drain.
    pub tasks: TaskTracker,
    /// Requests to the owners of partitions.
    pub owners: Owners,
    /// The secret from which the signing secrets of teams are derived. `None`: this gateway has none.
    pub signing: Option<MasterSecret>,
}

impl Edge {
    /// Puts the parts together.
    #[must_use]
    pub fn new(parts: EdgeParts) -> Self {
        Self(Arc::new(parts))
    }

    /// Waits until this gateway has applied a change of access.
    pub async fn settle(&self, seq: StreamSeq) -> Result<(), NotAppliedYet> {
        self.auth.wait_for(seq).await
    }

    /// The last position of TASKS: what has read up to there knows all that has happened to tasks.
    pub async fn end_of_tasks(&self) -> Result<StreamSeq, ReadError> {
        Ok(self.log.bounds(Stream::Tasks).await?.last)
    }

    /// Waits until every gateway that may still be serving has applied a change that takes rights away.
    pub async fn settle_everywhere(&self, seq: StreamSeq) -> Result<(), FenceError> {
        self.fence.everywhere(seq).await
    }
}

impl Deref for Edge {
    type Target = EdgeParts;

    fn deref(&self) -> &EdgeParts {
        &self.0
    }
}
