//! Who has paused what keeps a task from running.

use waybill_domain::access::team::Pause;
use waybill_domain::access::team::Team;
use waybill_domain::command::Blocker;
use waybill_domain::health::TargetHost;
use waybill_domain::id::{LimitKey, TeamId};
use waybill_domain::task::cause;
use waybill_domain::task::row::TaskRow;
use waybill_domain::time::Timestamp;

use super::BlockedBy;
use crate::state::TasksApi;

impl BlockedBy {
    /// The same with the limit that it is, and who has paused it, as far as this gateway knows.
    pub(crate) fn named(
        state: &TasksApi,
        (team, row): (&TeamId, &TaskRow),
        (blocker, limit): (Blocker, Option<LimitKey>),
        now: Timestamp,
    ) -> Self {
        let of_team = |of: &Team| pause(of, (team, row), (blocker, limit.as_ref()), now);
        let directory = state.auth.directory();
        let pause = directory.with_team(&team.base(), of_team).flatten();
        let told = Self::from(blocker);
        let message = match blocker {
            Blocker::TargetOpen { .. } if pause.is_some() => {
                "Somebody has opened its host, so that nothing is started there"
            }
            _ => told.message,
        };
        let (by, reason) = pause.map(|pause| (pause.by, pause.reason)).unzip();
        Self {
            limit: limit.map(|key| key.as_str().to_owned()),
            by,
            reason: reason.flatten(),
            message,
            ..told
        }
    }
}

/// The pause by somebody that keeps the task from running.
fn pause(
    of: &Team,
    (team, row): (&TeamId, &TaskRow),
    (blocker, limit): (Blocker, Option<&LimitKey>),
    now: Timestamp,
) -> Option<Pause> {
    let environment = team.environment();
    let pause = match blocker {
        Blocker::QueuePaused { .. } => of.queue(environment, &row.queue)?.paused(now),
        Blocker::LimitPaused { .. } => of.limit(environment, limit?)?.paused(now),
        Blocker::TargetOpen { .. } => {
            let host = TargetHost::parse(&cause::host(&row.url)).ok()?;
            of.target(environment, &host)?.opened(now)
        }
        _ => None,
    };
    pause.cloned()
}
