//! How many queues a team names.
//!
//! A queue exists once a task names it, and everything that is counted by queue (counters, lists, order) costs something for each. So a plan
//! limits the names of a day. Each gateway counts for itself and forgets when it restarts: this limits what is stored and is no quota. With
//! g gateways of which s start within a day the limit is `max_queues` * (g + s). A shared count would cost each new name a round trip, and
//! stop creations while the counter is unavailable.

use std::collections::HashMap;
use std::time::Duration;

use http::StatusCode;
use parking_lot::Mutex;
use waybill_domain::access::plan::Plan;
use waybill_domain::id::{QueueName, TeamId};
use waybill_domain::time::Elapsed;

use crate::error::{ApiError, ErrorCode};

/// A name that nobody has used for this long no longer counts.
const COUNTED_FOR: Duration = Duration::from_secs(86_400);

/// The names of the last day, by team in its environment. Only teams whose plan bounds them are here, with as many names as it allows.
#[derive(Debug, Default)]
pub struct QueueNames {
    /// When each was last used. Locked for a moment only, never across an await.
    teams: Mutex<HashMap<TeamId, HashMap<QueueName, Elapsed>>>,
}

impl QueueNames {
    /// Counts a name, or refuses it when it would be one too many.
    pub fn admit(
        &self,
        team: &TeamId,
        queue: &QueueName,
        plan: &Plan,
        now: Elapsed,
    ) -> Result<(), ApiError> {
        let Some(most) = plan.max_queues else {
            return Ok(());
        };
        let mut teams = self.teams.lock();
        let names = teams.entry(team.clone()).or_default();
        if let Some(used) = names.get_mut(queue) {
            *used = now;
            return Ok(());
        }
        let most = most as usize;
        if names.len() >= most {
            names.retain(|_, used| now.since(*used) < COUNTED_FOR);
        }
        if names.len() >= most {
            return Err(ApiError::new(
                StatusCode::FORBIDDEN,
                ErrorCode::QueueLimit,
                format!(
                    "queue: the plan {} allows {most} queues a day, and {queue} would be one more",
                    plan.name
                ),
            )
            .about("queue"));
        }
        names.insert(queue.clone(), now);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use waybill_domain::access::plan::Catalogue;
    use waybill_domain::time::Timestamp;

    #[test]
    fn a_plan_bounds_the_names_of_a_day() {
        let (names, plans) = (QueueNames::default(), Catalogue::builtin());
        let free = plans.plan("free");
        let most = free.max_queues.expect("a bound");
        let team = TeamId::new(Timestamp(1), 1);
        let queue = |number: u32| QueueName::parse(&format!("q{number}")).expect("a name");
        let admit =
            |team: &TeamId, number, at| names.admit(team, &queue(number), free, Elapsed(at));
        for number in 0..most {
            assert!(admit(&team, number, 0).is_ok());
        }
        let refused = admit(&team, most, 1).expect_err("one too many");
        assert_eq!(
            (refused.status, refused.body.code),
            (StatusCode::FORBIDDEN, ErrorCode::QueueLimit)
        );
        assert!(admit(&team, 0, 1_000).is_ok(), "a known name");
        assert!(
            admit(&TeamId::new(Timestamp(1), 2), most, 1).is_ok(),
            "another team"
        );
        // All but the one that was used since are forgotten after a day.
        let later = 86_400_500;
        for number in most..2 * most - 1 {
            assert!(admit(&team, number, later).is_ok(), "{number}");
        }
        assert!(admit(&team, 2 * most, later).is_err());
        let unlimited = plans.plan("enterprise");
        for number in 0..1_000 {
            assert!(
                names
                    .admit(&team, &queue(number), unlimited, Elapsed(later))
                    .is_ok()
            );
        }
    }
}
