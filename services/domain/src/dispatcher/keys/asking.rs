//! What is asked of homes, and what they answer.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{Keys, Office};
use crate::limit::{KeyAsk, LimitAsk, LimitGrant, LimitId, LimitNudge};
use crate::partition::{Partition, PartitionCount};
use crate::seq::StreamSeq;
use crate::time::Elapsed;

/// An ask without an answer is void after that long.
const PATIENCE: Duration = Duration::from_secs(1);
/// Pause before a home is asked again that has not answered, or could not grant anything.
const PAUSE: Duration = Duration::from_millis(100);
/// Most keys of which one ask tells, apart from those of which something is held.
const MAX_KEYS: usize = 1_000;

/// What is known of a home.
#[derive(Debug, Default)]
pub(super) struct ToHome {
    /// Its newest term that was heard of; 0: none.
    term: StreamSeq,
    /// Whether it has to be told everything.
    is_full_due: bool,
    /// Number of the last ask.
    number: u64,
    /// The ask that is on its way.
    out: Option<Out>,
    /// Keys about which it is to be asked.
    dirty: BTreeSet<LimitId>,
    /// It is not asked before that.
    next_at: Elapsed,
}

#[derive(Debug)]
struct Out {
    number: u64,
    at: Elapsed,
    keys: Vec<KeyAsk>,
}

impl ToHome {
    /// The ask on its way is void.
    fn call_off(&mut self) {
        if let Some(out) = self.out.take() {
            self.dirty.extend(out.keys.iter().map(|key| key.limit));
        }
    }

    /// Obeys a newer term: shares of the former one are not taken any more.
    fn obey(&mut self, term: StreamSeq, now: Elapsed) {
        if term > self.term {
            self.call_off();
            (self.term, self.is_full_due, self.next_at) = (term, true, now);
        }
    }
}

impl Office {
    /// Whether a message is of somebody who may still own the home.
    fn may_be(&self, home: Partition, fence: StreamSeq) -> bool {
        fence >= self.least.get(&home).copied().unwrap_or_default()
    }
}

impl Keys {
    /// Whether homes are to be asked, and it is not known yet where they are.
    pub(in crate::dispatcher) fn lacks_office(&self, now: Elapsed) -> bool {
        self.office.is_none() && self.due.first().is_some_and(|(at, _)| *at <= now)
    }

    /// From now on homes can be asked. `term` is the fence by which this owner took over, and `last`
    /// are the last fences of all partitions, read after it was stored.
    pub(in crate::dispatcher) fn open_office(
        &mut self,
        me: Partition,
        term: StreamSeq,
        count: PartitionCount,
        last: BTreeMap<Partition, StreamSeq>,
    ) {
        self.office = Some(Office {
            me,
            term,
            count,
            least: last,
            homes: BTreeMap::new(),
        });
    }

    /// Notes when the home of a key is to be asked. Forgets the key if it has become idle.
    pub(super) fn plan(&mut self, limit: LimitId, now: Elapsed) {
        let (pin, is_paused) = (self.pin(limit), self.is_paused(limit));
        let Some(key) = self.keys.get_mut(&limit) else {
            return;
        };
        key.kept.tick(now);
        let due = key.asks_at(pin, is_paused || self.is_held_up, now);
        let is_idle = due.is_none() && key.is_idle() && !self.learned.contains_key(&limit);
        if due != key.due {
            if let Some(before) = std::mem::replace(&mut key.due, due) {
                self.due.remove(&(before, limit));
            }
            if let Some(at) = due {
                self.due.insert((at, limit));
            }
        }
        if is_idle {
            self.keys.remove(&limit);
        }
    }

    /// Notes whether nothing is started now. What tasks wait for is asked for again when that ends.
    fn hold_up(&mut self, is_held_up: bool, now: Elapsed) {
        if self.is_held_up == is_held_up {
            return;
        }
        self.is_held_up = is_held_up;
        let limits: Vec<_> = self.keys.keys().copied().collect();
        for limit in limits {
            self.plan(limit, now);
        }
    }

    pub(super) fn homes_in(&self, now: Elapsed) -> Option<Duration> {
        let homes = self.office.iter().flat_map(|office| office.homes.values());
        let waits = homes.filter_map(|home| match &home.out {
            Some(out) => Some(out.at.plus(PATIENCE).since(now)),
            None if home.is_full_due || !home.dirty.is_empty() => Some(home.next_at.since(now)),
            None => None,
        });
        waits.min()
    }

    /// What is to be asked now. `fence` is the owner's latest; `may_start` tells whether anything
    /// is started: otherwise all is given back that does not run.
    pub(in crate::dispatcher) fn asks(
        &mut self,
        fence: StreamSeq,
        may_start: bool,
        now: Elapsed,
    ) -> Vec<(Partition, LimitAsk)> {
        self.hold_up(!may_start, now);
        let Some(mut office) = self.office.take() else {
            return Vec::new();
        };
        while let Some((at, limit)) = self.due.first().copied()
            && at <= now
        {
            self.due.pop_first();
            if let Some(key) = self.keys.get_mut(&limit) {
                key.due = None;
            }
            let home = office.homes.entry(limit.home(office.count)).or_default();
            home.dirty.insert(limit);
        }
        let mut asks = Vec::new();
        for (partition, home) in &mut office.homes {
            if home
                .out
                .as_ref()
                .is_some_and(|out| now.since(out.at) >= PATIENCE)
            {
                home.call_off();
            }
            let is_due = home.is_full_due || !home.dirty.is_empty();
            if home.out.is_some() || !is_due || now < home.next_at {
                continue;
            }
            let mut limits = std::mem::take(&mut home.dirty);
            if home.is_full_due {
                let held = self.keys.iter().filter(|(limit, key)| {
                    limit.home(office.count) == *partition
                        && (key.holds() || self.learned.contains_key(limit))
                });
                limits.extend(held.map(|(limit, _)| *limit));
            } else if limits.len() > MAX_KEYS
                && let Some(first_later) = limits.iter().nth(MAX_KEYS).copied()
            {
                home.dirty = limits.split_off(&first_later);
            }
            let keys: Vec<_> = limits
                .into_iter()
                .map(|limit| {
                    let rules = self.rules.get(&limit).copied().unwrap_or_default();
                    let paused = self.pause_told(limit, now);
                    let may_start = may_start && rules.paused.is_none() && paused.is_none();
                    let ask = match self.keys.get_mut(&limit) {
                        Some(key) => key.ask(limit, rules.pin, may_start, now),
                        None => KeyAsk {
                            limit,
                            held: 0,
                            running: 0,
                            wants: 0,
                            starts: 0,
                            says: None,
                            keeps: 0,
                            paused: None,
                        },
                    };
                    KeyAsk { paused, ..ask }
                })
                .collect();
            home.number += 1;
            home.out = Some(Out {
                number: home.number,
                at: now,
                keys: keys.clone(),
            });
            let ask = LimitAsk {
                holder: office.me,
                term: office.term,
                fence,
                number: home.number,
                home_term: home.term,
                is_full: home.is_full_due,
                keys,
                home_fence: office.least.get(partition).copied().unwrap_or_default(),
            };
            asks.push((*partition, ask));
        }
        self.office = Some(office);
        asks
    }

    /// Takes the answer of a home into account, if it is that to the ask which is on its way.
    pub(in crate::dispatcher) fn granted(
        &mut self,
        partition: Partition,
        grant: &LimitGrant,
        now: Elapsed,
    ) {
        let Some(office) = &mut self.office else {
            return;
        };
        let may_be = office.may_be(partition, grant.fence);
        let Some(home) = office.homes.get_mut(&partition) else {
            return;
        };
        if home
            .out
            .as_ref()
            .is_none_or(|out| out.number != grant.number)
        {
            return;
        }
        if !may_be || grant.term < home.term {
            home.call_off();
            home.next_at = now.plus(PAUSE);
            return;
        }
        if grant.term > home.term {
            home.obey(grant.term, now);
            return;
        }
        if !grant.is_open {
            home.call_off();
            home.next_at = now.plus(PAUSE);
            return;
        }
        let Some(out) = home.out.take() else { return };
        home.is_full_due = false;
        // A home answers in the order of the ask.
        let answers = out.keys.iter().zip(&grant.keys);
        let answers = answers.filter(|(asked, answer)| asked.limit == answer.limit);
        let mut paused = Vec::new();
        for (asked, answer) in answers {
            paused.extend(answer.paused.map(|pause| (asked.limit, pause)));
            match self.keys.get_mut(&asked.limit) {
                Some(key) => {
                    key.granted(asked, answer, out.at, now);
                    self.stirred.insert(asked.limit);
                }
                // Its last task has ended meanwhile.
                None if answer.share > 0 => {
                    home.dirty.insert(asked.limit);
                }
                None => {}
            }
        }
        for (limit, pause) in paused {
            self.told_of_pause(limit, pause, now);
        }
        for asked in &out.keys {
            self.plan(asked.limit, now);
        }
    }

    /// A home has not answered.
    pub(in crate::dispatcher) fn unanswered(
        &mut self,
        partition: Partition,
        number: u64,
        now: Elapsed,
    ) {
        let home = self
            .office
            .as_mut()
            .and_then(|office| office.homes.get_mut(&partition));
        if let Some(home) = home
            && home.out.as_ref().is_some_and(|out| out.number == number)
        {
            home.call_off();
            home.next_at = now.plus(PAUSE);
        }
    }

    /// A home wants to be asked.
    pub(in crate::dispatcher) fn nudged(&mut self, nudge: &LimitNudge, now: Elapsed) {
        let Some(office) = &mut self.office else {
            return;
        };
        if !office.may_be(nudge.home, nudge.fence) {
            return;
        }
        let home = office.homes.entry(nudge.home).or_default();
        if nudge.term < home.term {
            return;
        }
        if nudge.term == home.term {
            home.dirty.extend(&nudge.keys);
            // It cannot know of the latest ask, if that is still on its way.
            home.is_full_due |= nudge.keys.is_empty();
        }
        home.obey(nudge.term, now);
    }

    /// Keys whose pins have changed.
    pub(in crate::dispatcher) fn take_pinned(&mut self) -> Vec<LimitId> {
        std::mem::take(&mut self.pinned)
    }
}
