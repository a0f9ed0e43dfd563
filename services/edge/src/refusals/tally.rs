//! Counts refused requests in bounded memory, since they cannot be written one by one.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use waybill_domain::actor::{Actor, Origin};
use waybill_domain::id::TeamId;
use waybill_domain::time::Timestamp;

use crate::error::ErrorCode;

/// Kinds counted at a time: some hundred bytes each, half a megabyte in all.
const MAX_KINDS: usize = 1_024;
/// Kinds of one team that are counted by credential. Beyond that they are counted without it, so that no team takes all of the room.
const MAX_KINDS_OF_TEAM: usize = 16;

/// What makes refused requests count together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Kind {
    /// Whose activity it is.
    pub team: Option<TeamId>,
    /// The error code that the client got.
    pub code: ErrorCode,
    /// The credential, if it was recognised.
    pub credential: Option<Actor>,
}

/// The latest one of a kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Latest {
    /// Method and route.
    pub route: String,
    pub origin: Origin,
    pub at: Timestamp,
}

/// How many of a kind there were since it was last written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Counted {
    pub count: u64,
    pub latest: Latest,
    /// Kinds are written in the order in which they came up.
    since: u64,
}

/// What happened to a refused request in the tally.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Noted {
    /// It is counted.
    Kept,
    /// It is counted, but not by credential.
    Merged,
    /// There was no room.
    Dropped,
}

/// Refused requests by kind.
#[derive(Debug, Default)]
pub(super) struct Tally {
    kinds: HashMap<Kind, Counted>,
    of_team: HashMap<Option<TeamId>, usize>,
    next: u64,
}

impl Tally {
    pub(super) fn note(&mut self, kind: Kind, latest: Latest) -> Noted {
        self.add(kind, latest, 1)
    }

    fn add(&mut self, mut kind: Kind, latest: Latest, count: u64) -> Noted {
        let mut noted = Noted::Kept;
        let of_team = self.of_team.get(&kind.team).copied().unwrap_or_default();
        if of_team >= MAX_KINDS_OF_TEAM
            && kind.credential.is_some()
            && !self.kinds.contains_key(&kind)
        {
            kind.credential = None;
            noted = Noted::Merged;
        }
        let is_full = self.kinds.len() >= MAX_KINDS;
        match self.kinds.entry(kind) {
            Entry::Occupied(mut known) => {
                let known = known.get_mut();
                known.count += count;
                if known.latest.at <= latest.at {
                    known.latest = latest;
                }
            }
            Entry::Vacant(_) if is_full => return Noted::Dropped,
            Entry::Vacant(room) => {
                *self.of_team.entry(room.key().team.clone()).or_default() += 1;
                self.next += 1;
                room.insert(Counted {
                    count,
                    latest,
                    since: self.next,
                });
            }
        }
        noted
    }

    /// Takes out at most so many kinds: the one that came up first of each team, then the second one of each, and so on. A team that is
    /// refused in many ways delays its own.
    pub(super) fn take(&mut self, at_most: usize) -> Vec<(Kind, Counted)> {
        let mut kinds: Vec<_> = self.kinds.drain().collect();
        self.of_team.clear();
        kinds.sort_unstable_by_key(|(_, counted)| counted.since);
        let mut ranks: HashMap<Option<TeamId>, usize> = HashMap::new();
        let mut ranked: Vec<_> = kinds
            .into_iter()
            .map(|entry| {
                let rank = ranks.entry(entry.0.team.clone()).or_default();
                *rank += 1;
                (*rank, entry)
            })
            .collect();
        ranked.sort_by_key(|(rank, _)| *rank);
        let mut taken: Vec<_> = ranked.into_iter().map(|(_, entry)| entry).collect();
        for (kind, counted) in taken.split_off(at_most.min(taken.len())) {
            *self.of_team.entry(kind.team.clone()).or_default() += 1;
            self.kinds.insert(kind, counted);
        }
        taken
    }

    /// Counts again what was taken out and not written.
    pub(super) fn put_back(&mut self, kind: Kind, counted: Counted) {
        self.add(kind, counted.latest, counted.count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use waybill_domain::id::KeyId;

    fn team(number: u128) -> Option<TeamId> {
        Some(TeamId::new(Timestamp(1), number))
    }

    fn kind(of: u128, key: usize) -> Kind {
        let key = KeyId::from_public(&format!("{key:08}")).expect("an id");
        Kind {
            team: team(of),
            code: ErrorCode::InsufficientScope,
            credential: Some(Actor::Key(key)),
        }
    }

    fn at(ms: i64) -> Latest {
        Latest {
            route: format!("GET /{ms}"),
            origin: Origin {
                request_id: "r".into(),
                source: "192.0.2.1".into(),
                agent: None,
            },
            at: Timestamp(ms),
        }
    }

    #[test]
    fn many_of_a_kind_are_one_with_a_count() {
        let mut tally = Tally::default();
        for ms in 0..1_000 {
            assert_eq!(tally.note(kind(1, 1), at(ms)), Noted::Kept);
        }
        let taken = tally.take(10);
        let [(told, counted)] = &taken[..] else {
            panic!("one kind: {taken:?}");
        };
        assert_eq!((told, counted.count), (&kind(1, 1), 1_000));
        assert_eq!(counted.latest, at(999));
        assert!(tally.take(10).is_empty());
    }

    #[test]
    fn memory_is_bounded_whoever_floods() {
        let mut tally = Tally::default();
        for key in 0..10_000 {
            let noted = tally.note(kind(1, key), at(1));
            let merged = key >= MAX_KINDS_OF_TEAM;
            assert_eq!(noted == Noted::Merged, merged, "{key}");
        }
        assert_eq!(tally.kinds.len(), MAX_KINDS_OF_TEAM + 1);
        let mut dropped = 0;
        for of in 0..2_000 {
            dropped += usize::from(tally.note(kind(of, 1), at(2)) == Noted::Dropped);
        }
        assert_eq!(tally.kinds.len(), MAX_KINDS);
        assert!(dropped > 900, "{dropped}");
        let all: u64 = tally.take(usize::MAX).iter().map(|(_, c)| c.count).sum();
        assert_eq!(all, 12_000 - dropped as u64, "what is kept is counted");
    }

    #[test]
    fn a_team_that_is_refused_in_many_ways_delays_its_own() {
        let mut tally = Tally::default();
        for key in 0..MAX_KINDS_OF_TEAM {
            tally.note(kind(1, key), at(1));
        }
        tally.note(kind(2, 1), at(2));
        let taken = tally.take(2);
        let teams: Vec<_> = taken.iter().map(|(kind, _)| kind.team.clone()).collect();
        assert_eq!(teams, [team(1), team(2)]);
        assert_eq!(tally.kinds.len(), MAX_KINDS_OF_TEAM - 1);
        assert_eq!(tally.take(1)[0].0, kind(1, 1), "in the order they came up");
    }

    #[test]
    fn what_was_not_told_is_told_with_what_came_since() {
        let mut tally = Tally::default();
        tally.note(kind(1, 1), at(1));
        let taken = tally.take(1);
        tally.note(kind(1, 1), at(2));
        for (kind, counted) in taken {
            tally.put_back(kind, counted);
        }
        let again = tally.take(1);
        assert_eq!((again[0].1.count, &again[0].1.latest), (2, &at(2)));
    }
}
