//! The one rule for a record that a reader cannot use: it is set aside, counted and logged, and nothing stops.
//!
//! Anybody whom NATS lets publish to a subject can store anything there, and disks rot. So no reader may end, or wait for ever,
//! because of what one record says. Every reader asks [`crate::task_record`] or [`crate::control_event`], which judge a record by
//! itself alone, and passes what they refuse to [`set_aside`]. Two refusals ask for more than that:
//!
//! - [`Unreadable::Newer`]: a newer build wrote it. It is no fault, but whoever decides on the rest of that history has to leave
//!   the decision to a build that knows it: an owner gives up the partition.
//! - A record of CONTROL that may take rights away ([`Closes`]): what it may concern is closed until it is understood.

use serde::{Deserialize, Serialize};
use waybill_domain::event::{ControlEvent, DecodeError};
use waybill_domain::id::TeamId;

use crate::record::{DAMAGED_EVENT, DAMAGED_FRAME, DAMAGED_HEADERS};
use crate::subject::{ControlScope, ControlSubject};
use crate::{Record, Stream, StreamSeq};

/// Longest detail that is kept and logged, in bytes: the decoder's words are not ours.
const MAX_DETAIL: usize = 256;

/// Why a record is set aside. `as_str` is the label of metrics and what `waybill log skipped` prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// It is no event of Waybill: `Wb-Event` is missing or is no name of an event.
    Foreign,
    /// Its type is known, but the payload is not one of that type.
    Malformed,
    /// It stands on a subject that is not its own.
    Misplaced,
    /// It contradicts what the log said before it of the same thing.
    Inapplicable,
    /// It is not signed by whoever may say it, or not for its place.
    NotSigned,
    /// A newer build wrote it: this one does not know its type or version.
    Newer,
}

impl Reason {
    /// A stable word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Foreign => "foreign",
            Self::Malformed => "malformed",
            Self::Misplaced => "misplaced",
            Self::Inapplicable => "inapplicable",
            Self::NotSigned => "void",
            Self::Newer => "newer",
        }
    }
}

/// A record that must not count, whatever build reads it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Poison {
    /// What kind of fault it is.
    pub reason: Reason,
    /// A sentence for operators. It names types, subjects and limits, never values of the payload.
    pub detail: String,
}

impl Poison {
    /// Of any kind.
    #[must_use]
    pub fn new(reason: Reason, detail: impl Into<String>) -> Self {
        let mut detail = detail.into();
        if detail.len() > MAX_DETAIL {
            let end = (0..=MAX_DETAIL).rfind(|at| detail.is_char_boundary(*at));
            detail.truncate(end.unwrap_or(0));
        }
        Self { reason, detail }
    }

    /// An event that stands on a subject that is not its own.
    #[must_use]
    pub fn misplaced(record: &Record, own: &str) -> Self {
        let (event, at) = (&record.event, &record.subject);
        Self::new(
            Reason::Misplaced,
            format!("{event} stands on {at}, not on its own subject {own}"),
        )
    }
}

/// Why a record is not read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// An event of a type or version that is not known here.
    #[error("{event} is an event of a newer version of Waybill")]
    Newer {
        /// The value of `Wb-Event`.
        event: String,
    },
    /// No build may use it.
    #[error(transparent)]
    Poison(#[from] Poison),
}

impl Unreadable {
    /// Why, as one word.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Self::Newer { .. } => Reason::Newer,
            Self::Poison(poison) => poison.reason,
        }
    }

    /// From what the decoder says of a record.
    pub(crate) fn undecoded(error: DecodeError) -> Self {
        match error {
            DecodeError::Unknown { name } if is_event_name(&name) => Self::Newer { event: name },
            DecodeError::Unknown { name } => {
                let detail = match name.as_str() {
                    "" => "it has no header Wb-Event".to_owned(),
                    DAMAGED_HEADERS => "its headers are not well formed".to_owned(),
                    DAMAGED_FRAME => "it is a frame that is not well formed".to_owned(),
                    DAMAGED_EVENT => "it is not well formed in its frame".to_owned(),
                    name => format!("its header Wb-Event, {name:?}, names no event"),
                };
                Self::Poison(Poison::new(Reason::Foreign, detail))
            }
            error @ DecodeError::Malformed { .. } => {
                Self::Poison(Poison::new(Reason::Malformed, error.to_string()))
            }
        }
    }
}

/// Whether a text is formed as Waybill names events: `<thing>.<what_happened>.v<version>`.
///
/// Only such a name is taken for a newer build's. Anything else would let a stray message hold up whoever waits for that build.
fn is_event_name(name: &str) -> bool {
    let word =
        |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    let mut parts = name.split('.');
    let (Some(thing), Some(happened), Some(version), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    let version = version
        .strip_prefix('v')
        .and_then(|v| v.parse::<u16>().ok());
    word(thing) && word(happened) && version.is_some_and(|version| version > 0)
}

/// Makes the counter known before there is anything to count, so that dashboards and alerts find it.
pub fn describe() {
    metrics::describe_counter!(
        "waybill_log_skipped_total",
        "Records that were read and do not count, by reader, stream and reason"
    );
    for (stream, reason) in [
        (Stream::Control, Reason::NotSigned),
        (Stream::Tasks, Reason::Malformed),
    ] {
        metrics::counter!(
            "waybill_log_skipped_total",
            "reader" => "projector", "stream" => stream.name(), "reason" => reason.as_str()
        )
        .increment(0);
    }
}

/// Counts and logs a record that is set aside. `reader` is who read it, such as `owner`.
pub fn set_aside(reader: &'static str, stream: Stream, record: &Record, why: &Unreadable) {
    let reason = why.reason().as_str();
    metrics::counter!(
        "waybill_log_skipped_total",
        "reader" => reader, "stream" => stream.name(), "reason" => reason
    )
    .increment(1);
    tracing::error!(
        reader, stream = stream.name(), seq = %record.seq, subject = record.subject, reason, %why,
        "a record of the log is set aside and does not count; `waybill log skipped` lists them all"
    );
}

/// What a record of CONTROL that is not understood closes until it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Closes {
    /// A team with all that belongs to it.
    Team(TeamId),
    /// A person, a session or what an application was given, by the subject of its events.
    Subject(String),
}

impl Closes {
    /// What may not be used while this record is not understood. `None`: it takes nothing away, or it does not count at all.
    ///
    /// A record closes only what its own subject names, and only if its name is that of an event that may take rights away, or of a
    /// newer build's: anything else would let whoever can store a message close a team for ever.
    #[must_use]
    pub fn of(record: &Record, why: &Unreadable) -> Option<Self> {
        let may_take_away = match why.reason() {
            Reason::Newer => true,
            Reason::Malformed => ControlEvent::may_take_away(&record.event),
            Reason::Foreign | Reason::Misplaced | Reason::Inapplicable | Reason::NotSigned => false,
        };
        let subject = ControlSubject::parse(&record.subject).filter(|_| may_take_away)?;
        let (thing, _) = record.event.split_once('.')?;
        if subject.aggregate != thing {
            return None;
        }
        match subject.scope {
            ControlScope::Team(team) => TeamId::parse(team).ok().map(|t| Self::Team(t.base())),
            // Of what belongs to no team only these are boundaries of rights.
            ControlScope::Global => matches!(thing, "user" | "session" | "grant")
                .then(|| Self::Subject(record.subject.clone())),
        }
    }
}

/// A record that was set aside, as it is listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    pub stream: Stream,
    pub seq: StreamSeq,
    /// The value of `Wb-Event`; empty when there is none.
    pub event: String,
    /// Where it stands.
    pub subject: String,
    /// Why it does not count.
    pub reason: Reason,
    /// The same in a sentence.
    pub detail: String,
}

impl Skipped {
    /// A record and why it does not count.
    #[must_use]
    pub fn new(stream: Stream, record: &Record, why: &Unreadable) -> Self {
        Self {
            stream,
            seq: record.seq,
            event: record.event.clone(),
            subject: record.subject.clone(),
            reason: why.reason(),
            detail: why.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_well_formed_name_is_taken_for_a_newer_builds() {
        for name in [
            "task.restated.v2",
            "frame.batch.v1",
            "team.leak_policy_changed.v9",
        ] {
            assert!(is_event_name(name), "{name}");
        }
        for name in [
            "",
            "hello",
            "task.v1",
            "task.created",
            "task.created.v0",
            "task.created.vx",
            "Task.created.v1",
            "task..v1",
            "task.created.v1.x",
            "task.cre ated.v1",
        ] {
            assert!(!is_event_name(name), "{name}");
        }
    }

    #[test]
    fn a_detail_is_cut_between_characters() {
        let poison = Poison::new(Reason::Malformed, "ä".repeat(MAX_DETAIL));
        assert_eq!(poison.detail.len(), MAX_DETAIL);
    }
}
