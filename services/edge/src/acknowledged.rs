//! The positions that this gateway has acknowledged to its clients: how far a projector must have read before it answers a team's next
//! query.
//!
//! A team that got the id of a task finds the task in its lists, whichever projector answers. Only what was acknowledged to the team itself
//! counts, so that nobody waits for the events of others.

use std::collections::HashMap;

use parking_lot::Mutex;
use waybill_domain::id::TeamId;
use waybill_log::StreamSeq;

/// Teams remembered one by one. Of further ones only the newest position of all is remembered, and each of them waits for that.
const MAX_TEAMS: usize = 10_000;

/// The highest position in TASKS that was acknowledged to each team.
#[derive(Debug, Default)]
pub struct Acknowledged {
    /// Never held across an await.
    positions: Mutex<Positions>,
}

#[derive(Debug, Default)]
struct Positions {
    by_team: HashMap<TeamId, StreamSeq>,
    /// For teams that were forgotten.
    others: StreamSeq,
}

impl Acknowledged {
    /// Remembers that this position was acknowledged to a team.
    pub fn told(&self, team: &TeamId, seq: StreamSeq) {
        let mut positions = self.positions.lock();
        if let Some(known) = positions.by_team.get_mut(team) {
            *known = (*known).max(seq);
            return;
        }
        if positions.by_team.len() >= MAX_TEAMS {
            let newest = positions
                .by_team
                .values()
                .copied()
                .max()
                .unwrap_or_default();
            positions.others = positions.others.max(newest);
            positions.by_team.clear();
        }
        positions.by_team.insert(team.clone(), seq);
    }

    /// How far a projector must have read to answer this team.
    #[must_use]
    pub fn to(&self, team: &TeamId) -> StreamSeq {
        let positions = self.positions.lock();
        let known = positions.by_team.get(team).copied().unwrap_or_default();
        known.max(positions.others)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use waybill_domain::time::Timestamp;

    fn team(number: u128) -> TeamId {
        TeamId::new(Timestamp(1), number)
    }

    #[test]
    fn a_team_waits_for_what_it_was_told_and_for_nothing_else() {
        let acknowledged = Acknowledged::default();
        acknowledged.told(&team(1), StreamSeq(7));
        acknowledged.told(&team(1), StreamSeq(5));
        assert_eq!(acknowledged.to(&team(1)), StreamSeq(7));
        assert_eq!(acknowledged.to(&team(2)), StreamSeq(0));
    }

    #[test]
    fn a_forgotten_team_waits_too_long_rather_than_too_short() {
        let acknowledged = Acknowledged::default();
        acknowledged.told(&team(0), StreamSeq(1_000_000));
        for number in 1..=u128::try_from(MAX_TEAMS).unwrap_or(u128::MAX) {
            acknowledged.told(&team(number), StreamSeq(1));
        }
        assert!(acknowledged.to(&team(0)) >= StreamSeq(1_000_000));
    }
}
