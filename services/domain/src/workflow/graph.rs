//! Which members run after which: what is refused, in which order they are stored, and which of
//! them a retry makes again.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};

use super::MAX_LINKS;
use crate::flow::RunAfterMode;

/// What is asked for of a member.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    pub name: &'a str,
    /// Names of those that it runs after.
    pub after: &'a [String],
}

/// The members in the order in which they are stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Graph {
    /// Places in the request, such that those that a member runs after come before it; otherwise in
    /// the order of the request.
    pub order: Vec<usize>,
    /// Of each member of the request, those that it runs after.
    pub after: Vec<Vec<usize>>,
}

/// Why members cannot run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wrong {
    /// Two members have the same name.
    SameName { member: usize, as_member: usize },
    /// A name in `runAfter` is that of no member.
    Unknown { member: usize, entry: usize },
    /// A name in `runAfter` is there twice.
    Twice { member: usize, entry: usize },
    /// Members wait for each other: each runs after the next one, and the last after the first.
    Cycle(Vec<usize>),
    /// There are more names in all `runAfter` than [`MAX_LINKS`].
    TooMany(usize),
}

impl Graph {
    /// Reads the names.
    ///
    /// # Errors
    /// If members could never run, or it is not clear when.
    pub fn read(members: &[Wanted<'_>]) -> Result<Self, Wrong> {
        let links: usize = members.iter().map(|member| member.after.len()).sum();
        if links > MAX_LINKS {
            return Err(Wrong::TooMany(links));
        }
        let mut known: HashMap<&str, usize> = HashMap::with_capacity(members.len());
        for (member, wanted) in members.iter().enumerate() {
            if let Some(&as_member) = known.get(wanted.name) {
                return Err(Wrong::SameName { member, as_member });
            }
            known.insert(wanted.name, member);
        }
        let mut after = Vec::with_capacity(members.len());
        for (member, wanted) in members.iter().enumerate() {
            let mut own = Vec::with_capacity(wanted.after.len());
            let mut named = HashSet::with_capacity(wanted.after.len());
            for (entry, name) in wanted.after.iter().enumerate() {
                let &other = known
                    .get(name.as_str())
                    .ok_or(Wrong::Unknown { member, entry })?;
                if !named.insert(other) {
                    return Err(Wrong::Twice { member, entry });
                }
                own.push(other);
            }
            after.push(own);
        }
        let order = sorted(&after).map_err(Wrong::Cycle)?;
        Ok(Self { order, after })
    }
}

/// The members, each behind those that it runs after.
///
/// # Errors
/// A cycle, if there is one.
fn sorted(after: &[Vec<usize>]) -> Result<Vec<usize>, Vec<usize>> {
    let mut followers = vec![Vec::new(); after.len()];
    let mut left: Vec<usize> = after.iter().map(Vec::len).collect();
    for (member, own) in after.iter().enumerate() {
        for &other in own {
            followers[other].push(member);
        }
    }
    let free = (0..after.len()).filter(|member| left[*member] == 0);
    let mut free: BinaryHeap<_> = free.map(Reverse).collect();
    let mut order = Vec::with_capacity(after.len());
    while let Some(Reverse(member)) = free.pop() {
        order.push(member);
        for &follower in &followers[member] {
            left[follower] -= 1;
            if left[follower] == 0 {
                free.push(Reverse(follower));
            }
        }
    }
    if order.len() == after.len() {
        return Ok(order);
    }
    // Whoever is left runs after another one that is left.
    let mut path: Vec<usize> = Vec::new();
    let mut next = (0..after.len()).find(|member| left[*member] > 0);
    while let Some(member) = next {
        if let Some(begin) = path.iter().position(|passed| *passed == member) {
            path.drain(..begin);
            break;
        }
        path.push(member);
        next = after[member].iter().copied().find(|other| left[*other] > 0);
    }
    Err(path)
}

/// How the latest task of a member stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It has not ended.
    Open,
    Completed,
    /// It failed, or was too late.
    Failed,
    /// It was cancelled by itself.
    Cancelled,
    /// It was cancelled because of those that it runs after.
    Forsaken,
}

/// A member of a workflow that was tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tried {
    pub standing: Standing,
    /// Those that it runs after, all of which come before it.
    pub after: Vec<usize>,
    pub mode: RunAfterMode,
}

/// Which members a retry makes again: those that failed, and those that were cancelled because of
/// others and can run now. What a client cancelled stays so, with what depends on it.
#[must_use]
pub fn again(members: &[Tried]) -> Vec<usize> {
    let mut chosen = vec![false; members.len()];
    for (place, member) in members.iter().enumerate() {
        let can = |other: &usize| {
            chosen.get(*other).copied().unwrap_or(false)
                || members
                    .get(*other)
                    .is_some_and(|other| other.standing == Standing::Completed)
        };
        let can_run = match member.mode {
            _ if member.after.is_empty() => true,
            RunAfterMode::All => member.after.iter().all(can),
            RunAfterMode::Any => member.after.iter().any(can),
        };
        chosen[place] = match member.standing {
            // One that failed without having run was too late while it waited.
            Standing::Failed | Standing::Forsaken => can_run,
            Standing::Open | Standing::Completed | Standing::Cancelled => false,
        };
    }
    let places = chosen.iter().enumerate();
    places
        .filter_map(|(place, chosen)| chosen.then_some(place))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(members: &[(&str, &[&str])]) -> Result<Graph, Wrong> {
        let after: Vec<Vec<String>> = members
            .iter()
            .map(|(_, after)| after.iter().map(|name| (*name).to_owned()).collect())
            .collect();
        let wanted: Vec<_> = members
            .iter()
            .zip(&after)
            .map(|((name, _), after)| Wanted { name, after })
            .collect();
        Graph::read(&wanted)
    }

    #[test]
    fn those_that_others_run_after_come_first() {
        let graph = read(&[("c", &["b", "a"]), ("a", &[]), ("b", &["a"]), ("d", &[])]);
        let graph = graph.expect("no cycle");
        assert_eq!(graph.order, [1, 2, 0, 3]);
        assert_eq!(graph.after, [vec![2, 1], vec![], vec![1], vec![]]);
    }

    #[test]
    fn what_could_never_run_is_refused() {
        let unknown = Wrong::Unknown {
            member: 1,
            entry: 1,
        };
        assert_eq!(read(&[("a", &[]), ("b", &["a", "c"])]), Err(unknown));
        let twice = Wrong::Twice {
            member: 1,
            entry: 1,
        };
        assert_eq!(read(&[("a", &[]), ("b", &["a", "a"])]), Err(twice));
        let same = Wrong::SameName {
            member: 2,
            as_member: 0,
        };
        assert_eq!(read(&[("a", &[]), ("b", &[]), ("a", &[])]), Err(same));
        assert_eq!(read(&[("a", &["a"])]), Err(Wrong::Cycle(vec![0])));
        let cycle = read(&[("r", &[]), ("x", &["b"]), ("a", &["r", "b"]), ("b", &["a"])]);
        assert_eq!(cycle, Err(Wrong::Cycle(vec![3, 2])));
    }

    #[test]
    fn too_many_links_are_refused() {
        let names: Vec<String> = (0..1_000).map(|number| format!("m{number}")).collect();
        let all = &names[..11];
        let wanted: Vec<_> = names
            .iter()
            .map(|name| Wanted { name, after: all })
            .collect();
        assert_eq!(Graph::read(&wanted), Err(Wrong::TooMany(11_000)));
    }

    #[test]
    fn a_retry_leaves_what_has_completed_and_what_a_client_cancelled() {
        let member = |standing, after: &[usize], mode| Tried {
            standing,
            after: after.to_vec(),
            mode,
        };
        let all = |standing, after: &[usize]| member(standing, after, RunAfterMode::All);
        let members = [
            all(Standing::Completed, &[]),
            all(Standing::Failed, &[]),
            all(Standing::Cancelled, &[]),
            all(Standing::Forsaken, &[0, 1]),
            all(Standing::Forsaken, &[1, 2]),
            member(Standing::Forsaken, &[1, 2], RunAfterMode::Any),
            all(Standing::Forsaken, &[4]),
        ];
        assert_eq!(again(&members), [1, 3, 5]);
    }

    proptest! {
        #[test]
        fn an_order_or_a_cycle_is_found(
            links in proptest::collection::vec(proptest::collection::btree_set(0..12_usize, 0..3), 1..12)
        ) {
            let count = links.len();
            let after: Vec<Vec<usize>> = links
                .into_iter()
                .map(|own| own.into_iter().filter(|other| *other < count).collect())
                .collect();
            match sorted(&after) {
                Ok(order) => {
                    let place = |member: usize| order.iter().position(|other| *other == member);
                    for (member, own) in after.iter().enumerate() {
                        for other in own {
                            prop_assert!(place(*other) < place(member));
                        }
                    }
                    prop_assert_eq!(order.len(), count);
                }
                Err(cycle) => {
                    prop_assert!(!cycle.is_empty());
                    for (at, member) in cycle.iter().enumerate() {
                        let next = cycle[(at + 1) % cycle.len()];
                        prop_assert!(after[*member].contains(&next));
                    }
                }
            }
        }
    }
}
