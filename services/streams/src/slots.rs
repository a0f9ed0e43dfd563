//! Limits on how many listen at a time, in all and of one team.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use waybill_domain::id::TeamId;

/// Why there is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoRoom {
    /// The team has as many as it may have.
    #[error(
        "this team has {limit} open event streams on this gateway, which is the most it may have; close one first"
    )]
    Team {
        /// The most it may have.
        limit: usize,
    },
    /// The gateway has as many as it can serve.
    #[error("this gateway serves {limit} event streams, which is the most it can; try again")]
    Gateway {
        /// The most it can serve.
        limit: usize,
    },
}

/// A bounded number of slots.
#[derive(Debug)]
pub struct Slots {
    in_all: usize,
    per_team: usize,
    /// How many are taken by each team that has any. Held for a moment at a time, never across an await.
    taken: Mutex<(usize, HashMap<TeamId, usize>)>,
    /// Name of the gauge that shows how many are taken.
    gauge: &'static str,
}

impl Slots {
    #[must_use]
    pub fn new(in_all: usize, per_team: usize, gauge: &'static str) -> Arc<Self> {
        Arc::new(Self {
            in_all,
            per_team,
            taken: Mutex::default(),
            gauge,
        })
    }

    /// Takes a slot, which is given back when it is dropped.
    ///
    /// # Errors
    /// If there is none.
    pub fn take(self: &Arc<Self>, team: &TeamId) -> Result<Slot, NoRoom> {
        let mut taken = self.taken.lock();
        let (in_all, by_team) = &mut *taken;
        let of_team = by_team.get(team).copied().unwrap_or(0);
        if of_team >= self.per_team {
            return Err(NoRoom::Team {
                limit: self.per_team,
            });
        }
        if *in_all >= self.in_all {
            return Err(NoRoom::Gateway { limit: self.in_all });
        }
        *in_all += 1;
        by_team.insert(team.clone(), of_team + 1);
        metrics::gauge!(self.gauge).increment(1);
        Ok(Slot {
            slots: Arc::clone(self),
            team: team.clone(),
        })
    }

    /// How many are taken.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.taken.lock().0
    }
}

/// A slot that is taken. Dropping it gives it back.
#[derive(Debug)]
pub struct Slot {
    slots: Arc<Slots>,
    team: TeamId,
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut taken = self.slots.taken.lock();
        let (in_all, by_team) = &mut *taken;
        *in_all -= 1;
        if let Some(count) = by_team.get_mut(&self.team) {
            *count -= 1;
            if *count == 0 {
                by_team.remove(&self.team);
            }
        }
        metrics::gauge!(self.slots.gauge).decrement(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use waybill_domain::time::Timestamp;

    #[test]
    fn a_dropped_slot_can_be_taken_again() {
        let slots = Slots::new(2, 1, "waybill_test_slots");
        let [a, b, c] = [1, 2, 3].map(|n| TeamId::new(Timestamp(1), n));
        let of_a = slots.take(&a).expect("room");
        assert_eq!(slots.take(&a).expect_err("full"), NoRoom::Team { limit: 1 });
        let _of_b = slots.take(&b).expect("room");
        assert_eq!(
            slots.take(&c).expect_err("full"),
            NoRoom::Gateway { limit: 2 }
        );
        drop(of_a);
        assert_eq!(slots.taken(), 1);
        assert!(slots.take(&c).is_ok());
    }
}
