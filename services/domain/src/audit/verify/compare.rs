//! Comparison of the existing events with the expected leaves.

use std::collections::HashMap;

use super::super::checkpoint::Signed;
use super::super::merkle::{Frontier, Hash};
use super::super::tree::TreeId;
use super::{Entry, Finding, Findings, Kind};
use crate::seq::StreamSeq;

/// Input of the comparison.
pub(super) struct Copy<'a> {
    pub(super) tree: &'a TreeId,
    /// The existing events, in order.
    pub(super) entries: &'a [Entry],
    /// The expected leaves, provided that the list can be trusted.
    pub(super) listed: &'a [Hash],
    /// Checkpoints of this tree with valid signatures, oldest first.
    pub(super) checkpoints: &'a [Signed],
    /// Whether events may follow after the newest checkpoint.
    pub(super) may_go_on: bool,
}

/// Adds a finding for each difference. Returns how many events a checkpoint covers.
pub(super) fn compare(copy: &Copy<'_>, findings: &mut Findings) -> u64 {
    let Some(newest) = copy
        .checkpoints
        .iter()
        .map(|c| &c.checkpoint)
        .max_by_key(|c| c.size)
    else {
        return 0;
    };
    let size = usize::try_from(newest.size).unwrap_or(usize::MAX);
    let leaves: Vec<Hash> = copy.entries.iter().map(|entry| entry.leaf).collect();
    let by_list = copy
        .listed
        .get(..size)
        .map(|listed| roots(listed, copy.checkpoints));
    let by_events = roots(&leaves[..size.min(leaves.len())], copy.checkpoints);
    let is_newest = |at: usize| copy.checkpoints[at].checkpoint.size == newest.size;
    let leads_to_newest = |roots: &[Option<bool>]| {
        (0..roots.len()).any(|at| is_newest(at) && roots[at] == Some(true))
    };

    // Two checkpoints may contradict each other: then two different histories were signed.
    let (known, source) = match &by_list {
        Some(roots) if leads_to_newest(roots) => (Some(roots), "list"),
        _ if leads_to_newest(&by_events) => (Some(&by_events), "events"),
        _ => (None, ""),
    };
    match known {
        Some(roots) => {
            forks(copy, roots, findings);
            if source == "list" {
                align(copy, &copy.listed[..size], findings);
            } else if !copy.listed.is_empty() || size > 0 {
                let detail = "the events are what was signed, but the list of their leaves is not";
                findings.add(Finding::new(Kind::Malformed, None, detail));
            }
        }
        None => by_roots_alone(copy, &by_events, findings),
    }
    if copy.entries.len() > size && !copy.may_go_on && known.is_some() && source == "events" {
        let extra = &copy.entries[size];
        let detail = "an event that no checkpoint covers";
        findings.add(Finding::new(Kind::Inserted, Some(extra.seq), detail));
    }
    ends(copy, findings);
    newest.size.min(copy.entries.len() as u64)
}

/// Whether the leaves lead to the root of each checkpoint; `None` if there are too few leaves.
fn roots(leaves: &[Hash], checkpoints: &[Signed]) -> Vec<Option<bool>> {
    let mut order: Vec<usize> = (0..checkpoints.len()).collect();
    order.sort_by_key(|&at| checkpoints[at].checkpoint.size);
    let mut found = vec![None; checkpoints.len()];
    let mut frontier = Frontier::default();
    let mut rest = leaves.iter();
    for at in order {
        let checkpoint = &checkpoints[at].checkpoint;
        while frontier.size() < checkpoint.size
            && let Some(leaf) = rest.next()
        {
            frontier.append(*leaf);
        }
        if frontier.size() == checkpoint.size {
            found[at] = Some(frontier.root() == checkpoint.root);
        }
    }
    found
}

/// Reports older checkpoints that do not hold although the newest one does: they were signed over
/// another history.
fn forks(copy: &Copy<'_>, roots: &[Option<bool>], findings: &mut Findings) {
    let judged = copy.checkpoints.iter().zip(roots);
    let others = judged.filter(|(_, agrees)| **agrees == Some(false));
    let others = others.map(|(signed, _)| &signed.checkpoint);
    let Some(other) = others.min_by_key(|checkpoint| checkpoint.size) else {
        return;
    };
    let detail = format!(
        "a checkpoint of {} events, signed at {}, is of another history than the newest one",
        other.size,
        super::super::checkpoint::millis(other.signed_ns)
    );
    // Whoever signs a second history also signs its earlier sizes, so those do not narrow down the
    // place.
    let mut finding = Finding::new(Kind::Forked, Some(StreamSeq(1)), detail);
    finding.until = Some(other.last_seq);
    findings.add(finding);
}

/// Checks the sequence and time of the last event that each checkpoint names.
fn ends(copy: &Copy<'_>, findings: &mut Findings) {
    if !findings.all.is_empty() {
        return;
    }
    for signed in copy.checkpoints {
        let checkpoint = &signed.checkpoint;
        let last = usize::try_from(checkpoint.size)
            .unwrap_or(usize::MAX)
            .checked_sub(1);
        let said = (checkpoint.last_seq, checkpoint.last_time_ns);
        let found = last.and_then(|last| copy.entries.get(last));
        let is_so = match (last, found) {
            (None, _) => said == (StreamSeq(0), 0),
            (Some(_), Some(entry)) => said == (entry.seq, entry.time_ns),
            // Already reported.
            (Some(_), None) => true,
        };
        if !is_so {
            let detail = "a signed checkpoint names another last event than the one at its size";
            findings.add(Finding::new(
                Kind::Forked,
                found.map(|entry| entry.seq),
                detail,
            ));
        }
    }
}

/// Walks along events and leaves in parallel. The leaves are what was signed.
fn align(copy: &Copy<'_>, signed: &[Hash], findings: &mut Findings) {
    let entries = copy.entries;
    let (mut at, mut expected) = (0, 0);
    // Most often nothing differs, so the indices are only built when something does.
    let mut made: Option<Indices> = None;
    while at < entries.len() && expected < signed.len() {
        let (entry, wanted) = (&entries[at], &signed[expected]);
        if entry.leaf == *wanted {
            (at, expected) = (at + 1, expected + 1);
            continue;
        }
        let indices = made.get_or_insert_with(|| Indices::new(entries, signed));
        let stands_at = indices.entries.get(wanted).copied();
        let signed_at = indices.signed.get(&entry.leaf).copied();
        match (signed_at, stands_at) {
            (None, None) => {
                let detail = "its bytes are not what was signed";
                findings.add(Finding::new(Kind::Altered, Some(entry.seq), detail));
                (at, expected) = (at + 1, expected + 1);
            }
            (Some(_), None) => {
                let gone = |hash: &&Hash| !indices.entries.contains_key(*hash);
                let count = signed[expected..].iter().take_while(gone).count();
                missing(copy, at, expected, count, findings);
                expected += count;
            }
            // The expected event stands further ahead, and was reported there.
            (None, Some(place)) if place < at => expected += 1,
            (None, Some(_)) => {
                let detail = "it was not signed, and those around it were";
                findings.add(Finding::new(Kind::Inserted, Some(entry.seq), detail));
                at += 1;
            }
            (Some(_), Some(_)) if indices.entries[&entry.leaf] < at => {
                let detail = "it stands there a second time";
                findings.add(Finding::new(Kind::Inserted, Some(entry.seq), detail));
                at += 1;
            }
            (Some(own), Some(place)) if place < at || own < expected => {
                // One of the two was already reported as moved.
                at += usize::from(own < expected);
                expected += usize::from(place < at);
            }
            (Some(own), Some(_)) => {
                let detail = format!(
                    "it was signed as event {} of the tree, and stands at {}",
                    own + 1,
                    expected + 1
                );
                findings.add(Finding::new(Kind::Reordered, Some(entry.seq), detail));
                (at, expected) = (at + 1, expected + 1);
            }
        }
    }
    let indices = match made {
        Some(indices) => indices,
        None if at == entries.len() && expected == signed.len() => return,
        None => Indices::new(entries, signed),
    };
    let gone = signed[expected..]
        .iter()
        .filter(|hash| !indices.entries.contains_key(*hash))
        .count();
    if gone > 0 {
        let seq = entries.last().map_or(StreamSeq(1), |last| last.seq.next());
        let detail = format!("{gone} events that were signed are gone from the end");
        findings.add(Finding::new(Kind::Truncated, Some(seq), detail));
    }
    let extra = entries[at..].iter().enumerate().find(|(offset, entry)| {
        let is_second = indices.entries[&entry.leaf] < at + offset;
        is_second || !indices.signed.contains_key(&entry.leaf)
    });
    if let Some((_, entry)) = extra
        && !copy.may_go_on
    {
        let detail = "an event that no checkpoint covers";
        findings.add(Finding::new(Kind::Inserted, Some(entry.seq), detail));
    }
}

/// The first position of each leaf, in both lists.
struct Indices {
    entries: HashMap<Hash, usize>,
    signed: HashMap<Hash, usize>,
}

impl Indices {
    fn new(entries: &[Entry], signed: &[Hash]) -> Self {
        let first = |hashes: &mut dyn Iterator<Item = Hash>| {
            let mut index = HashMap::new();
            for (at, hash) in hashes.enumerate() {
                index.entry(hash).or_insert(at);
            }
            index
        };
        Self {
            entries: first(&mut entries.iter().map(|entry| entry.leaf)),
            signed: first(&mut signed.iter().copied()),
        }
    }
}

fn missing(copy: &Copy<'_>, at: usize, expected: usize, count: usize, findings: &mut Findings) {
    let before = at
        .checked_sub(1)
        .and_then(|before| copy.entries.get(before));
    let after = copy.entries.get(at).map(|entry| entry.seq);
    let (seq, place) = match copy.tree {
        // In CONTROL, leaf 0 is sequence 1, and sequences have no gaps.
        TreeId::Control => (StreamSeq(expected as u64 + 1), "at"),
        TreeId::Team(_) => (
            before.map_or(StreamSeq(1), |before| before.seq.next()),
            "at or after",
        ),
    };
    let detail = match count {
        1 => format!("the event {place} this sequence was signed and is not there"),
        count => format!("{count} events {place} this sequence were signed and are not there"),
    };
    let mut finding = Finding::new(Kind::Missing, Some(seq), detail);
    finding.until = after.map(|after| StreamSeq(after.0.saturating_sub(1)));
    findings.add(finding);
}

/// No list leads to the newest root. Only the roots remain, which show between which sizes
/// something was changed.
fn by_roots_alone(copy: &Copy<'_>, by_events: &[Option<bool>], findings: &mut Findings) {
    let Some(newest) = copy
        .checkpoints
        .iter()
        .map(|c| &c.checkpoint)
        .max_by_key(|c| c.size)
    else {
        return;
    };
    let good = copy
        .checkpoints
        .iter()
        .zip(by_events)
        .filter(|(_, agrees)| **agrees == Some(true));
    let good = good
        .map(|(signed, _)| &signed.checkpoint)
        .max_by_key(|checkpoint| checkpoint.size);
    let from = usize::try_from(good.map_or(0, |good| good.size)).unwrap_or(usize::MAX);
    let rest = copy.entries.get(from..).unwrap_or_default();
    let first = rest.first().map_or_else(
        || good.map_or(StreamSeq(1), |g| g.last_seq.next()),
        |e| e.seq,
    );
    let (found, signed) = (copy.entries.len() as u64, newest.size);
    let last = copy.entries.last().map_or(StreamSeq(0), |last| last.seq);
    let out_of_order = rest.windows(2).find(|pair| pair[0].seq >= pair[1].seq);
    let mut finding = if let Some(pair) = out_of_order {
        let detail = format!("it comes after {}", pair[0].seq);
        Finding::new(Kind::Reordered, Some(pair[1].seq), detail)
    } else if found < signed && last < newest.last_seq {
        let detail = format!(
            "{} events that were signed are gone, up to sequence {}",
            signed - found,
            newest.last_seq
        );
        Finding::new(Kind::Truncated, Some(last.next()), detail)
    } else if found < signed {
        let detail = format!("{} events that were signed are not there", signed - found);
        Finding::new(Kind::Missing, Some(first), detail)
    } else if found > signed && !copy.may_go_on {
        let detail = format!("{} events were not signed", found - signed);
        Finding::new(Kind::Inserted, Some(first), detail)
    } else {
        Finding::new(
            Kind::Altered,
            Some(first),
            "the events do not lead to the root that was signed",
        )
    };
    if finding.kind != Kind::Reordered && finding.kind != Kind::Truncated {
        finding.until = Some(newest.last_seq.max(first));
    }
    findings.add(finding);
}
