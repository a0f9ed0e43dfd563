//! What a gateway can serve now: reads, creations and revocations each depend on other parts.

use std::time::Duration;

use serde::Serialize;
use utoipa::ToSchema;
use waybill_domain::id::TeamId;
use waybill_domain::time::Timestamp;
use waybill_log::{Stream, StreamSeq};

use super::NotReady;
use crate::state::AppState;

/// Deadline of the query that tests whether a projector answers.
const READS_DEADLINE: Duration = Duration::from_secs(1);

/// Whether one kind of request is served.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Served {
    /// Whether it is served.
    ready: bool,
    /// Why not, as a code for programs.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    /// Why not, as text for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

impl Served {
    fn yes() -> Self {
        Self {
            ready: true,
            code: None,
            reason: None,
        }
    }

    fn no(code: &'static str, why: &(impl ToString + ?Sized)) -> Self {
        Self {
            ready: false,
            code: Some(code),
            reason: Some(why.to_string()),
        }
    }
}

impl From<Result<(), NotReady>> for Served {
    fn from(check: Result<(), NotReady>) -> Self {
        check.map_or_else(|why| Self::no(why.code(), &why), |()| Self::yes())
    }
}

/// Something that is wrong.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Problem {
    /// A stable code, for programs and alerts.
    code: &'static str,
    /// What is wrong, for people.
    reason: String,
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
    /// Whether tasks can be read.
    reads: Served,
    /// Whether tasks are accepted.
    creations: Served,
    /// Whether access can be changed: keys, tokens, members.
    revocations: Served,
    /// Everything that is wrong, each code once; also what refuses no request, such as revocations that were lost with a restored log.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    problems: Vec<Problem>,
    /// How full the log of tasks is.
    #[serde(skip_serializing_if = "Option::is_none")]
    log: Option<RoomFigures>,
}

impl Serving {
    /// Whether requests should come here at all.
    pub(super) fn is_ready(&self) -> bool {
        self.status != "not_ready"
    }

    /// Checks everything that serving depends on.
    pub(super) async fn look(state: &AppState) -> Self {
        let log = state.room.room().map(|room| RoomFigures {
            used_bytes: room.used,
            limit_bytes: room.limit,
            owed_bytes: room.owed,
            high_water_bytes: room.high_water(),
        });
        let decides = super::decides(state);
        let (reads, creations, revocations) = match decides {
            Err(_) => (decides.into(), decides.into(), decides.into()),
            Ok(()) => (reads(state).await, creations(state), revocations(state)),
        };
        let all = [&reads, &creations, &revocations];
        let problems = problems(&all, super::lost(state));
        Self {
            status: if super::check(state).is_err() {
                "not_ready"
            } else if problems.is_empty() {
                "ready"
            } else {
                "degraded"
            },
            reads,
            creations,
            revocations,
            problems,
            log,
        }
    }
}

fn problems(served: &[&Served], lost: Option<(&'static str, String)>) -> Vec<Problem> {
    let refused = served
        .iter()
        .filter_map(|served| served.code.zip(served.reason.clone()));
    let mut problems: Vec<Problem> = Vec::new();
    for (code, reason) in refused.chain(lost) {
        if !problems.iter().any(|problem| problem.code == code) {
            problems.push(Problem { code, reason });
        }
    }
    problems
}

async fn reads(state: &AppState) -> Served {
    match reads_answer(state).await {
        true => Served::yes(),
        false => Served::no("no_projector", "No projector answers"),
    }
}

fn creations(state: &AppState) -> Served {
    match state.room.check() {
        Err(full) => Served::no(super::LOG_FULL, &full),
        Ok(()) => super::takes_appends(state, Stream::Tasks).into(),
    }
}

fn revocations(state: &AppState) -> Served {
    match state.health.control_is_full() {
        true => Err(NotReady::ControlFull).into(),
        false => super::takes_appends(state, Stream::Control).into(),
    }
}

async fn reads_answer(state: &AppState) -> bool {
    // A team that cannot exist: what counts is that somebody answers.
    let nobody = TeamId::new(Timestamp(0), 0);
    let queries = state.queries.clone().with_deadline(READS_DEADLINE);
    queries.counters(&nobody, StreamSeq(0)).await.is_ok()
}
