//! Checks that a genuine event is at the position for which it was signed.
//!
//! A writer expects a certain record to be the last one of a boundary, and the server stores the
//! events only if it is. The server does not apply this check to what it stores itself, such as the
//! reply to a read request whose reply subject lies in CONTROL. So a copy of a genuine event can
//! end up at any position. But each event states, under its signature, what it expected, and the
//! log is append-only. So an event counts if and only if no record of its boundary, void ones
//! included, lies between the position that it names and its append. Every reader comes to the same
//! result, whatever part of the log it reads.

use std::collections::HashMap;

use super::Void;
use crate::seq::StreamSeq;

/// Limit of boundaries that a reader remembers. Beyond it, the reader forgets all of them and asks
/// the log again.
const MAX_SEEN: usize = 65_536;
/// Filter of the boundary of a person's memberships, up to the person.
const MEMBERSHIPS: &str = "control.*.member.";

/// The position for which an event was signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The subject filter of its boundary.
    pub boundary: String,
    /// The last record of the boundary that the writer knew; 0 if there was none.
    pub after: StreamSeq,
    /// The first record of the event's append.
    pub first: StreamSeq,
}

impl Place {
    /// The range, both ends included, that must have no record of the boundary; `None` if it is
    /// empty.
    #[must_use]
    pub fn must_be_free(&self) -> Option<(StreamSeq, StreamSeq)> {
        let (from, to) = (self.after.0 + 1, self.first.0.saturating_sub(1));
        (from <= to).then_some((StreamSeq(from), StreamSeq(to)))
    }

    /// The verdict for a copy at another position.
    #[must_use]
    pub fn moved(&self) -> Void {
        Void::Moved {
            boundary: self.boundary.clone(),
            after: self.after,
        }
    }
}

/// What a reader that follows the log remembers, so that it need not ask the log about each event.
///
/// It only confirms that a place is free. Otherwise, the log must be asked.
#[derive(Debug, Clone)]
pub struct Seen {
    /// All records that match `filters` from this position on were read.
    since: StreamSeq,
    /// Filters of the reader; empty if it reads everything.
    filters: Vec<String>,
    /// Position of the last record of each boundary.
    last: HashMap<String, StreamSeq>,
    /// Place of the append that was read last, if it was free.
    append: Option<Place>,
}

impl Seen {
    /// Nothing was read yet. The reader will get every record from `since` on that matches one of
    /// `filters`; an empty list matches all.
    #[must_use]
    pub fn since(since: StreamSeq, filters: &[String]) -> Self {
        Self {
            since,
            filters: filters.to_vec(),
            last: HashMap::new(),
            append: None,
        }
    }

    /// Whether the place of a record at `seq` is known to be free.
    #[must_use]
    pub fn is_free(&self, place: &Place, seq: StreamSeq) -> bool {
        if place.must_be_free().is_none() {
            return true;
        }
        if seq > place.first {
            // A later record of an append: only the append itself lies in between.
            return self.append.as_ref() == Some(place);
        }
        let is_read = self.filters.is_empty() || self.filters.contains(&place.boundary);
        if !is_read || !is_remembered(&place.boundary) {
            return false;
        }
        match self.last.get(&place.boundary) {
            Some(last) => *last <= place.after,
            None => self.since.0 <= place.after.0 + 1,
        }
    }

    /// Records that a record was read. `place` is its place, if the record is where it was signed
    /// to be.
    pub fn read(&mut self, seq: StreamSeq, subject: &str, place: Option<Place>) {
        if self.last.len() >= MAX_SEEN {
            self.last.clear();
            self.since = seq;
        }
        match team_filter(subject) {
            Some(team) => self.last.insert(team, seq),
            None => self.last.insert(subject.to_owned(), seq),
        };
        if let Some(member) = member_filter(subject) {
            self.last.insert(member, seq);
        }
        // A later record of the same append keeps the place of the first.
        self.append = place;
    }
}

/// Whether the last record of a boundary is remembered: of a team, of a person's memberships, or of
/// a single subject that belongs to no team.
fn is_remembered(filter: &str) -> bool {
    let is_team = team_filter(filter).is_some_and(|team| team == filter);
    let is_one = |start| {
        let rest = filter.strip_prefix(start);
        rest.is_some_and(|rest: &str| !rest.contains(['*', '>']))
    };
    is_team || is_one("control._.") || is_one(MEMBERSHIPS)
}

/// `control.*.member.<user>` for the subject of a membership, because founding a team depends on
/// all memberships of a person.
fn member_filter(subject: &str) -> Option<String> {
    let (_, rest) = subject.strip_prefix("control.")?.split_once('.')?;
    let user = rest.strip_prefix("member.")?;
    Some(format!("{MEMBERSHIPS}{user}"))
}

/// `control.<team>.>` for a subject of a team.
fn team_filter(subject: &str) -> Option<String> {
    let team = subject.strip_prefix("control.")?.split('.').next()?;
    (team != "_" && team != "*").then(|| format!("control.{team}.>"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(boundary: &str, after: u64, first: u64) -> Place {
        Place {
            boundary: boundary.to_owned(),
            after: StreamSeq(after),
            first: StreamSeq(first),
        }
    }

    const TEAM: &str = "control.t.>";

    #[test]
    fn a_place_behind_the_expected_record_is_free() {
        let mut seen = Seen::since(StreamSeq(1), &[]);
        assert!(seen.is_free(&place(TEAM, 0, 1), StreamSeq(1)));
        seen.read(StreamSeq(1), "control.t.key.a", Some(place(TEAM, 0, 1)));
        seen.read(StreamSeq(2), "control.u.key.a", None);
        assert!(seen.is_free(&place(TEAM, 1, 3), StreamSeq(3)));
        assert!(
            !seen.is_free(&place(TEAM, 0, 3), StreamSeq(3)),
            "a copy of the first"
        );
    }

    #[test]
    fn the_later_records_of_an_append_share_its_place() {
        let mut seen = Seen::since(StreamSeq(1), &[]);
        seen.read(StreamSeq(1), "control.u.key.a", None);
        let of_append = place(TEAM, 0, 2);
        assert!(seen.is_free(&of_append, StreamSeq(2)));
        seen.read(StreamSeq(2), "control.t.key.a", Some(of_append.clone()));
        assert!(seen.is_free(&of_append, StreamSeq(3)));
        seen.read(StreamSeq(3), "control.t.key.b", None);
        assert!(
            !seen.is_free(&of_append, StreamSeq(4)),
            "a void one broke it"
        );
    }

    #[test]
    fn a_void_record_takes_a_place_too() {
        let mut seen = Seen::since(StreamSeq(1), &[]);
        seen.read(StreamSeq(1), "control.t.key.a", None);
        assert!(!seen.is_free(&place(TEAM, 0, 2), StreamSeq(2)));
    }

    #[test]
    fn what_was_not_read_is_not_known() {
        let seen = Seen::since(StreamSeq(10), &[]);
        assert!(!seen.is_free(&place(TEAM, 3, 11), StreamSeq(11)));
        assert!(seen.is_free(&place(TEAM, 9, 11), StreamSeq(11)));
        assert!(seen.is_free(&place(TEAM, 10, 11), StreamSeq(11)), "no room");
        let seen = Seen::since(StreamSeq(1), &["control.t.key.*".to_owned()]);
        assert!(!seen.is_free(&place(TEAM, 0, 5), StreamSeq(5)));
        let of_kind = place("control._.kek.*", 0, 5);
        let seen = Seen::since(StreamSeq(1), &[]);
        assert!(!seen.is_free(&of_kind, StreamSeq(5)));
    }

    #[test]
    fn the_memberships_of_a_person_are_one_boundary_over_all_teams() {
        let mut seen = Seen::since(StreamSeq(1), &[]);
        seen.read(StreamSeq(1), "control.t.member.usr_1", None);
        seen.read(StreamSeq(2), "control.t.key.usr_2", None);
        assert!(!seen.is_free(&place("control.*.member.usr_1", 0, 3), StreamSeq(3)));
        assert!(seen.is_free(&place("control.*.member.usr_1", 1, 3), StreamSeq(3)));
        assert!(seen.is_free(&place("control.*.member.usr_2", 0, 3), StreamSeq(3)));
    }

    #[test]
    fn forgetting_asks_again_and_never_believes() {
        let mut seen = Seen::since(StreamSeq(1), &[]);
        let count = MAX_SEEN as u64;
        for seq in 1..=count {
            seen.read(StreamSeq(seq), &format!("control.t{seq}.key.a"), None);
        }
        let of_first = place("control.t1.>", 0, count + 2);
        assert!(!seen.is_free(&of_first, StreamSeq(count + 2)));
        seen.read(StreamSeq(count + 1), "control._.user.u", None);
        assert!(!seen.is_free(&of_first, StreamSeq(count + 2)), "forgotten");
    }
}
