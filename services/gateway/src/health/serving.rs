//! What a gateway can serve now: reads, creations and revocations each depend on something else.

use std::time::Duration;

use serde::Serialize;
use utoipa::ToSchema;
use waybill_domain::id::TeamId;
use waybill_domain::time::Timestamp;
use waybill_log::StreamSeq;

use super::NotReady;
use crate::state::AppState;

/// What a projector may take to answer a question about nothing.
const READS_DEADLINE: Duration = Duration::from_secs(1);

/// One kind of request.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Served {
    /// Whether it is served.
    ready: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

impl Served {
    fn yes() -> Self {
        Self {
            ready: true,
            reason: None,
        }
    }

    fn no(why: &impl ToString) -> Self {
        Self {
            ready: false,
            reason: Some(why.to_string()),
        }
    }
}

/// Bytes in the log of tasks; there when it has a limit.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct RoomFigures {
    /// Bytes in use.
    used_bytes: u64,
    /// Bytes that it may use.
    limit_bytes: u64,
    /// Bytes that open tasks may still need.
    owed_bytes: u64,
    /// Above it creations are refused.
    high_water_bytes: u64,
}

/// What the gateway serves, kind by kind.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Serving {
    /// `ready`, `degraded` (some of it is not served) or `not_ready`.
    status: &'static str,
    /// Reading tasks.
    reads: Served,
    /// Accepting tasks.
    creations: Served,
    /// Changing access: keys, tokens, members.
    revocations: Served,
    /// How full the log of tasks is.
    #[serde(skip_serializing_if = "Option::is_none")]
    log: Option<RoomFigures>,
}

impl Serving {
    /// Whether requests should come here at all.
    pub(super) fn is_ready(&self) -> bool {
        self.status != "not_ready"
    }

    /// Asks everything that is involved.
    pub(super) async fn look(state: &AppState) -> Self {
        let log = state.room.room().map(|room| RoomFigures {
            used_bytes: room.used,
            limit_bytes: room.limit,
            owed_bytes: room.owed,
            high_water_bytes: room.high_water(),
        });
        if let Err(why) = super::check(state) {
            return Self {
                status: "not_ready",
                reads: Served::no(&why),
                creations: Served::no(&why),
                revocations: Served::no(&why),
                log,
            };
        }
        let reads = if reads_answer(state).await {
            Served::yes()
        } else {
            Served::no(&"No projector answers")
        };
        let creations = state
            .room
            .check()
            .map_or_else(|full| Served::no(&full), |()| Served::yes());
        let revocations = if state.health.control_is_full() {
            Served::no(&NotReady::ControlFull)
        } else {
            Served::yes()
        };
        let all = [&reads, &creations, &revocations];
        Self {
            status: if all.iter().all(|served| served.ready) {
                "ready"
            } else {
                "degraded"
            },
            reads,
            creations,
            revocations,
            log,
        }
    }
}

async fn reads_answer(state: &AppState) -> bool {
    // A team that cannot exist: what counts is that somebody answers.
    let nobody = TeamId::new(Timestamp(0), 0);
    let queries = state.queries.clone().with_deadline(READS_DEADLINE);
    queries.counters(&nobody, StreamSeq(0)).await.is_ok()
}
