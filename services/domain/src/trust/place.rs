//! Whether a genuine event stands where it was signed to stand.
//!
//! A writer expects a certain record to be the last one of a boundary, and the server stores its events only then. The server does not
//! check that of what it stores itself, such as the answer to a read whose reply subject lies in CONTROL: so a copy of a genuine event
//! can come to stand anywhere. But each event says what it expected, under its signature, and the log is append-only. So
//! an event counts exactly if no record of its boundary, void ones included, lies between the position it names and its append. That is the same
//! in every reader, whatever part of the log it reads.

use std::collections::HashMap;

use super::Void;
use crate::seq::StreamSeq;

/// Boundaries that a reader remembers. Above this it forgets all and asks the log again.
const MAX_SEEN: usize = 65_536;
/// Before the person, in the boundary of all memberships.
const MEMBERSHIPS: &str = "control.*.member.";

/// Where an event was signed to stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The filter that its writer watched.
    pub boundary: String,
    /// The last record there, as the writer knew it; 0: there was none.
    pub after: StreamSeq,
    /// The first record of its append.
    pub first: StreamSeq,
}

impl Place {
    /// No record of the boundary may stand in there, both ends included. `None`: there is no room for one.
    #[must_use]
    pub fn must_be_free(&self) -> Option<(StreamSeq, StreamSeq)> {
        let (from, to) = (self.after.0 + 1, self.first.0.saturating_sub(1));
        (from <= to).then_some((StreamSeq(from), StreamSeq(to)))
    }

    /// The event is a copy at another place.
    #[must_use]
    pub fn moved(&self) -> Void {
        Void::Moved {
            boundary: self.boundary.clone(),
            after: self.after,
        }
    }
}

/// What a reader in the order of the log remembers, so that it need not ask the log about each event.
///
/// It only ever says that a place is free; where it does not know, the log has to be asked.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Everything from here on was seen, or everything that the filters match.
    since: StreamSeq,
    /// Filters that are read; empty: everything.
    filters: Vec<String>,
    /// Position of the last record, by boundary.
    last: HashMap<String, StreamSeq>,
    /// The first record of the append that was read last, when its place was free.
    append: Option<Place>,
}

impl Seen {
    /// Nothing yet. The first record to come is the first one from `since` on that one of `filters` matches (none: any).
    #[must_use]
    pub fn since(since: StreamSeq, filters: &[String]) -> Self {
        Self {
            since,
            filters: filters.to_vec(),
            last: HashMap::new(),
            append: None,
        }
    }

    /// Whether the place of a record that comes now is known to be free.
    #[must_use]
    pub fn is_free(&self, place: &Place, seq: StreamSeq) -> bool {
        if place.must_be_free().is_none() {
            return true;
        }
        if seq > place.first {
            // A later record of an append: what lies between is the append itself.
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

    /// A record was read. `place`: where it was signed to stand, if it does stand there.
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
        // A later record of the same append keeps the place of the first one.
        self.append = place;
    }
}

/// Whether the last record of a boundary is remembered: of a team, of a person's memberships, or of one subject of what belongs to no team.
fn is_remembered(filter: &str) -> bool {
    let is_team = team_filter(filter).is_some_and(|team| team == filter);
    let is_one = |start| {
        let rest = filter.strip_prefix(start);
        rest.is_some_and(|rest: &str| !rest.contains(['*', '>']))
    };
    is_team || is_one("control._.") || is_one(MEMBERSHIPS)
}

/// `control.*.member.<user>` for the subject of a membership: founding a team is decided from all that a person has.
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
