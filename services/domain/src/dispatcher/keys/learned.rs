//! Pauses of keys that targets asked for: those of this partition, from its log, and those of others,
//! from the homes of the keys.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Keys;
use super::key::Key;
use crate::id::{LimitKey, TaskId, TeamId};
use crate::limit::{KeyPause, LimitId};
use crate::seq::StreamSeq;
use crate::time::{Elapsed, Times, Timestamp};

/// A pause that a target asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::dispatcher) struct Learned {
    pub(in crate::dispatcher) team: TeamId,
    pub(in crate::dispatcher) key: LimitKey,
    /// The task that was called.
    pub(in crate::dispatcher) task: TaskId,
    pub(in crate::dispatcher) since: Timestamp,
    pub(in crate::dispatcher) until: Timestamp,
    /// The event that says so, in the log of this partition.
    pub(in crate::dispatcher) needed: Option<StreamSeq>,
    /// When it ends, by this owner's monotonic clock.
    #[serde(skip)]
    pub(in crate::dispatcher) ends: Elapsed,
}

impl Learned {
    /// As it is told to others.
    fn told(&self, now: Elapsed) -> KeyPause {
        let left = self.ends.since(now).as_millis();
        KeyPause {
            task: self.task,
            since: self.since,
            until: self.until,
            left_ms: u64::try_from(left).unwrap_or(u64::MAX),
        }
    }
}

impl Keys {
    /// Takes a pause into account, unless a later one is known. Of one of this partition, the home
    /// is told at once.
    pub(in crate::dispatcher) fn learn(
        &mut self,
        limit: LimitId,
        pause: Learned,
        is_own: bool,
        now: Elapsed,
    ) {
        if is_own {
            let (team, name) = (&pause.team, &pause.key);
            let new = || Key::new(team.clone(), name.clone());
            self.keys.entry(limit).or_insert_with(new).is_urgent = true;
        }
        match self.learned.get_mut(&limit) {
            Some(known) if known.until > pause.until => {}
            Some(known) if known.until == pause.until => {
                known.needed = known.needed.or(pause.needed);
            }
            known => {
                if let Some(known) = known {
                    self.ends.remove(&(known.ends, limit));
                }
                self.ends.insert((pause.ends, limit));
                self.pauses.begin(&limit, pause.since, Some(pause.until));
                self.learned.insert(limit, pause);
            }
        }
        self.plan(limit, now);
    }

    /// What a home or a holder is told about a pause.
    pub(super) fn pause_told(&self, limit: LimitId, now: Elapsed) -> Option<KeyPause> {
        self.learned.get(&limit).map(|pause| pause.told(now))
    }

    /// A home has told of a pause.
    pub(super) fn told_of_pause(&mut self, limit: LimitId, told: KeyPause, now: Elapsed) {
        let Some(key) = self.keys.get(&limit) else {
            return;
        };
        let pause = Learned {
            team: key.team.clone(),
            key: key.name.clone(),
            task: told.task,
            since: told.since,
            until: told.until,
            needed: None,
            ends: now.plus(Duration::from_millis(told.left_ms)),
        };
        self.learn(limit, pause, false, now);
    }

    /// Sets the ends of pauses by the clock of an owner that takes over.
    pub(in crate::dispatcher) fn place_pauses(&mut self, now: Times) {
        self.ends.clear();
        for (limit, pause) in &mut self.learned {
            pause.ends = now.end_of(pause.since, pause.until.since(pause.since));
            self.ends.insert((pause.ends, *limit));
        }
    }

    /// Ends the pauses whose time has come.
    pub(super) fn end_pauses(&mut self, now: Elapsed) {
        while let Some((end, _)) = self.ends.first()
            && *end <= now
            && let Some((_, limit)) = self.ends.pop_first()
        {
            self.learned.remove(&limit);
            self.stirred.insert(limit);
            self.plan(limit, now);
        }
    }

    /// The pauses that the log of this partition tells of.
    pub(in crate::dispatcher) fn own_pauses(&self) -> impl Iterator<Item = &Learned> {
        let own = self.learned.values();
        own.filter(|pause| pause.needed.is_some())
    }

    /// The oldest events that pauses of this partition need.
    pub(in crate::dispatcher) fn needs(&self) -> impl Iterator<Item = StreamSeq> + '_ {
        self.own_pauses().filter_map(|pause| pause.needed)
    }
}
