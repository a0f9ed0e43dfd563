//! What an owner knows of the workers that claim its tasks.
//!
//! What they hold is read from the leases of the running tasks, so that nothing has to be counted.
//! When each of them was last heard of is remembered here and nowhere else: it decides nothing, and
//! an owner that takes over hears of those that are alive within a beat.

use std::collections::{BTreeMap, HashMap};

use super::Dispatcher;
use super::lease::Lease;
use crate::id::{TaskId, TeamId};
use crate::time::{Elapsed, Times, Timestamp};
use crate::worker::{
    HeldClaim, MAX_REMEMBERED, MAX_TOLD_CLAIMS, REMEMBERED, Registered, Registration, WorkerName,
    WorkerStanding, WorkersTold,
};

/// About how many bytes of workers fit into a reply.
const MAX_TOLD_BYTES: usize = 600 * 1024;

#[derive(Debug)]
struct Seen {
    at: Timestamp,
    elapsed: Elapsed,
    registered: Option<Box<Registered>>,
}

impl Seen {
    fn is_over(&self, now: Times) -> bool {
        self.elapsed.plus(REMEMBERED) <= now.elapsed
    }
}

/// The workers of all teams that were heard of, by team and name.
#[derive(Debug, Default)]
pub(super) struct Workers {
    seen: HashMap<TeamId, HashMap<Box<str>, Seen>>,
}

impl Workers {
    /// A worker has claimed or reported.
    pub(super) fn sees(&mut self, team: &TeamId, worker: &str, now: Times) {
        self.touch(team, worker, now);
    }

    fn touch(&mut self, team: &TeamId, worker: &str, now: Times) -> &mut Seen {
        if !self.seen.contains_key(team) {
            self.sweep(now);
        }
        let of_team = self.seen.entry(team.clone()).or_default();
        if !of_team.contains_key(worker) {
            make_room(of_team, now);
        }
        let seen = of_team.entry(worker.into()).or_insert(Seen {
            at: now.wall,
            elapsed: now.elapsed,
            registered: None,
        });
        (seen.at, seen.elapsed) = (now.wall, now.elapsed);
        seen
    }

    /// Forgets the teams of which nothing is heard. Done when one is new, so it costs little.
    fn sweep(&mut self, now: Times) {
        self.seen.retain(|_, of_team| {
            of_team.retain(|_, seen| !seen.is_over(now));
            !of_team.is_empty()
        });
    }

    fn of_team(&self, team: &TeamId, now: Times) -> impl Iterator<Item = (&str, &Seen)> {
        let of_team = self.seen.get(team).into_iter().flatten();
        of_team
            .filter(move |(_, seen)| !seen.is_over(now))
            .map(|(name, seen)| (name.as_ref(), seen))
    }
}

/// Makes room for another worker of a team: those go that were not heard of for long, or else the one
/// that was heard of longest ago.
fn make_room(of_team: &mut HashMap<Box<str>, Seen>, now: Times) {
    if of_team.len() < MAX_REMEMBERED {
        return;
    }
    of_team.retain(|_, seen| !seen.is_over(now));
    if of_team.len() >= MAX_REMEMBERED {
        let oldest = of_team.iter().min_by_key(|(_, seen)| seen.elapsed);
        if let Some(name) = oldest.map(|(name, _)| name.clone()) {
            of_team.remove(&name);
        }
    }
}

impl Dispatcher {
    /// A worker is alive, and describes itself.
    pub fn worker_beats(
        &mut self,
        team: &TeamId,
        worker: &WorkerName,
        registration: Registration,
        now: Times,
    ) {
        let seen = self.workers.touch(team, worker.as_str(), now);
        let since = seen.registered.as_ref().map(|known| known.since);
        seen.registered = Some(Box::new(Registered {
            since: since.unwrap_or(now.wall),
            registration,
        }));
    }

    /// A worker is gone. What it holds stays its own until the leases are over.
    pub fn forget_worker(&mut self, team: &TeamId, worker: &WorkerName) {
        if let Some(of_team) = self.workers.seen.get_mut(team) {
            of_team.remove(worker.as_str());
            if of_team.is_empty() {
                self.workers.seen.remove(team);
            }
        }
    }

    /// How the workers of a team stand; all of them by name, or one with its claims.
    #[must_use]
    pub fn tell_workers(
        &self,
        team: &TeamId,
        only: Option<&WorkerName>,
        now: Times,
    ) -> WorkersTold {
        let mut told: BTreeMap<&str, WorkerStanding> = BTreeMap::new();
        let is_wanted = |name: &str| only.is_none_or(|only| only.as_str() == name);
        for (name, seen) in self.workers.of_team(team, now) {
            if is_wanted(name) {
                let standing = told.entry(name).or_insert_with(|| nothing_of(name));
                standing.seen = Some(seen.at);
                standing.registered = seen.registered.as_deref().cloned();
            }
        }
        for name in self.claims.waiting_of(team) {
            if is_wanted(name) {
                told.entry(name).or_insert_with(|| nothing_of(name)).waiting += 1;
            }
        }
        for (id, lease) in self.leases_of_team(team) {
            let name = lease.worker.as_ref();
            if !is_wanted(name) {
                continue;
            }
            let standing = told.entry(name).or_insert_with(|| nothing_of(name));
            standing.held += 1;
            if only.is_some()
                && let Some(claim) = self.held(id, lease)
            {
                standing.claims.push(claim);
            }
        }
        let mut room = MAX_TOLD_BYTES;
        let mut of_team = WorkersTold::default();
        for mut standing in told.into_values() {
            standing.claims.sort_unstable();
            standing.claims.truncate(MAX_TOLD_CLAIMS);
            let bytes = weight(&standing);
            if bytes > room {
                of_team.truncated = true;
                break;
            }
            room -= bytes;
            of_team.workers.push(standing);
        }
        of_team
    }

    fn leases_of_team<'a>(
        &'a self,
        team: &'a TeamId,
    ) -> impl Iterator<Item = (TaskId, &'a Lease)> + 'a {
        let lanes = self.lanes.of_team(team);
        let running = lanes.flat_map(|lane| self.gates.running_in(lane));
        running.filter_map(|id| Some((id, self.tasks.get(&id)?.lease()?)))
    }

    fn held(&self, id: TaskId, lease: &Lease) -> Option<HeldClaim> {
        let task = self.tasks.get(&id)?;
        let (_, queue) = self.lanes.names(task.lane);
        let length = std::time::Duration::from_millis(lease.lease_ms.into());
        Some(HeldClaim {
            task: id,
            attempt: task.attempts,
            queue: queue.clone(),
            until: lease.since.plus(length),
        })
    }
}

fn nothing_of(name: &str) -> WorkerStanding {
    WorkerStanding {
        name: name.to_owned(),
        seen: None,
        registered: None,
        waiting: 0,
        held: 0,
        claims: Vec::new(),
    }
}

/// About how many bytes it takes in a reply.
fn weight(standing: &WorkerStanding) -> usize {
    let registered = standing.registered.as_ref().map_or(0, |registered| {
        let of = &registered.registration;
        let queues: usize = of.queues.iter().map(|queue| queue.as_str().len() + 4).sum();
        let texts = [&of.host, &of.version].into_iter().flatten();
        queues + of.by.len() + texts.map(String::len).sum::<usize>() + 160
    });
    let claims = standing.claims.iter();
    let claims: usize = claims.map(|claim| claim.queue.as_str().len() + 100).sum();
    standing.name.len() + registered + claims + 120
}
