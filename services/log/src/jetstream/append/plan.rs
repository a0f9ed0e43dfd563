//! Decides which of the gathered appends are sent together. It is pure, so that its rules can be
//! tested without a server.
//!
//! Three rules limit what may be sent together:
//! - An append with a client's id is sent alone, since a duplicate id makes the server refuse the
//!   whole batch.
//! - An append whose fence watches a subject that the batch itself writes to is sent alone. The
//!   server checks every fence of a batch against what was stored before the batch, so two appends
//!   that each expect to be the first would both pass.
//! - On a replicated stream, appends that share a fence are sent in one batch, since the server
//!   refuses a second message with the same fence while the first is in flight.

use std::collections::HashMap;

use crate::subject::matches;

/// Up to this many records are sent as pipelined single messages, which then cost no more than a
/// batch. A batch costs about 2 ms, whatever its size. A single message costs one sync of the
/// server's disk, measured as 0.06 ms if nothing else writes, 0.3 ms if others do, and 1 ms or more
/// if many do. With 30, a shared disk loses half of its throughput between 8 and 64 callers; with
/// 8, an idle disk loses a millisecond there.
pub(super) const FEW: usize = 8;

/// Whether the stream is replicated, which limits what may be in flight at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Copies {
    One,
    Replicated,
}

/// What the plan needs to know of an append.
pub(super) trait Planned {
    fn fence(&self) -> Option<&str>;
    /// It has a client's id, or was just in a batch that the server refused.
    fn goes_alone(&self) -> bool;
    fn subjects(&self) -> impl Iterator<Item = &str>;
    fn len(&self) -> usize;
}

/// Splits gathered appends into groups that are sent together. A group with several appends, or
/// with an append of several records, is an atomic batch. Within a group the appends keep their
/// order.
pub(super) fn plan<A: Planned>(gathered: Vec<A>, copies: Copies) -> Vec<Vec<A>> {
    let exclusive = watched_and_written(&gathered);
    let mut sends: Vec<Vec<A>> = Vec::new();
    let mut rest = Vec::new();
    for (append, exclusive) in gathered.into_iter().zip(exclusive) {
        if append.goes_alone() || exclusive {
            sends.push(vec![append]);
        } else {
            rest.push(append);
        }
    }
    let records: usize = rest.iter().map(Planned::len).sum();
    if records > FEW {
        sends.push(rest);
        return sends;
    }
    let mut with_fence: HashMap<String, usize> = HashMap::new();
    for fence in rest.iter().filter_map(Planned::fence) {
        *with_fence.entry(fence.to_owned()).or_default() += 1;
    }
    let mut together = Vec::new();
    for append in rest {
        let shares_fence = append.fence().is_some_and(|fence| with_fence[fence] > 1);
        if append.len() > 1 || (copies == Copies::Replicated && shares_fence) {
            together.push(append);
        } else {
            sends.push(vec![append]);
        }
    }
    if !together.is_empty() {
        sends.push(together);
    }
    sends
}

/// For each append, whether its fence watches a subject that it or another one of these appends
/// writes to.
fn watched_and_written<A: Planned>(gathered: &[A]) -> Vec<bool> {
    let mut known: HashMap<&str, bool> = HashMap::new();
    for append in gathered {
        if let Some(fence) = append.fence() {
            known.entry(fence).or_insert_with(|| {
                gathered
                    .iter()
                    .flat_map(Planned::subjects)
                    .any(|subject| matches(fence, subject))
            });
        }
    }
    gathered
        .iter()
        .map(|append| append.fence().is_some_and(|fence| known[fence]))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Clone)]
    struct Fake {
        name: usize,
        fence: Option<&'static str>,
        subject: &'static str,
        records: usize,
        own_id: bool,
    }

    impl Planned for Fake {
        fn fence(&self) -> Option<&str> {
            self.fence
        }
        fn goes_alone(&self) -> bool {
            self.own_id
        }
        fn subjects(&self) -> impl Iterator<Item = &str> {
            std::iter::repeat_n(self.subject, self.records)
        }
        fn len(&self) -> usize {
            self.records
        }
    }

    fn an_append(name: usize) -> Fake {
        Fake {
            name,
            fence: None,
            subject: "tasks.1.t.q.created",
            records: 1,
            own_id: false,
        }
    }

    fn names(sends: &[Vec<Fake>]) -> Vec<Vec<usize>> {
        sends
            .iter()
            .map(|send| send.iter().map(|append| append.name).collect())
            .collect()
    }

    #[test]
    fn few_go_alone_and_many_together() {
        let few: Vec<Fake> = (0..FEW).map(an_append).collect();
        assert_eq!(plan(few, Copies::One).len(), FEW);
        let many: Vec<Fake> = (0..=FEW).map(an_append).collect();
        assert_eq!(
            names(&plan(many, Copies::One)),
            [(0..=FEW).collect::<Vec<_>>()]
        );
    }

    #[test]
    fn a_clients_id_travels_outside_of_batches() {
        let mut appends: Vec<Fake> = (0..100).map(an_append).collect();
        appends[7].own_id = true;
        let sends = plan(appends, Copies::One);
        assert_eq!(sends.len(), 2);
        assert_eq!(names(&sends)[0], [7]);
    }

    #[test]
    fn a_fence_on_what_the_batch_writes_travels_alone() {
        let mut appends: Vec<Fake> = (0..100).map(an_append).collect();
        for (index, append) in appends.iter_mut().enumerate().take(2) {
            append.fence = Some("control.t.>");
            append.subject = if index == 0 {
                "control.t.key.a"
            } else {
                "control.t.key.b"
            };
        }
        appends[2].fence = Some("tasks.1.owner");
        let sends = names(&plan(appends, Copies::One));
        assert_eq!(sends[..2], [vec![0], vec![1]]);
        assert_eq!(sends[2][0], 2);
    }

    #[test]
    fn several_records_are_a_batch_even_when_few() {
        let mut appends: Vec<Fake> = (0..3).map(an_append).collect();
        appends[0].records = 2;
        appends[2].records = 3;
        assert_eq!(names(&plan(appends, Copies::One)), [vec![1], vec![0, 2]]);
    }

    #[test]
    fn on_a_replicated_stream_what_shares_a_fence_shares_a_batch() {
        let mut appends: Vec<Fake> = (0..4).map(an_append).collect();
        for append in appends.iter_mut().take(2) {
            append.fence = Some("tasks.1.owner");
        }
        appends[2].fence = Some("tasks.2.owner");
        let sends = names(&plan(appends.clone(), Copies::Replicated));
        assert_eq!(sends, [vec![2], vec![3], vec![0, 1]]);
        assert_eq!(plan(appends, Copies::One).len(), 4);
    }
}
