//! The rule for records that a reader cannot use: they are set aside, counted and logged, and the
//! reader goes on.
//!
//! Anyone whom NATS lets publish to a subject can store anything there, and disks fail. So no
//! reader may end, or wait for ever, because of the content of one record. Every reader calls
//! [`crate::task_record`] or [`crate::control_event`], which judge each record by itself, and
//! passes those that they refuse to [`set_aside`]. Two kinds of refusals need more:
//! - [`Unreadable::Newer`]: a newer build wrote the record. That is no fault, but a process that
//!   decides on later records has to leave the decision to a build that understands this one: an
//!   owner gives up the partition.
//! - A record of CONTROL that may take rights away ([`Closes`]): whatever it may concern stays
//!   closed until it is understood.

use serde::{Deserialize, Serialize};
use waybill_domain::event::{ControlEvent, DecodeError};
use waybill_domain::id::TeamId;

use crate::record::{DAMAGED_EVENT, DAMAGED_FRAME, DAMAGED_HEADERS};
use crate::subject::{ControlScope, ControlSubject};
use crate::{Record, Stream, StreamSeq};

/// Longest detail that is kept and logged, in bytes. The text comes from the decoder, so its length
/// is not under our control.
const MAX_DETAIL: usize = 256;

/// Why a record is set aside. Metrics and `waybill log skipped` show it as `as_str` writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// It is not an event of Waybill: `Wb-Event` is missing or is not the name of an event.
    Foreign,
    /// Its type is known, but the payload is not one of that type.
    Malformed,
    /// It stands on a subject that is not its own.
    Misplaced,
    /// It contradicts earlier records about the same thing.
    Inapplicable,
    /// It lacks a valid signature by a key that may write it there.
    NotSigned,
    /// A newer build wrote it: this one does not know its type or version.
    Newer,
}

impl Reason {
    /// A stable word for metrics and for the command line.
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

/// Why a record does not count for any build.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Poison {
    /// The kind of fault.
    pub reason: Reason,
    /// A sentence for operators. It names types, subjects and limits, never values of the payload.
    pub detail: String,
}

impl Poison {
    #[must_use]
    pub fn new(reason: Reason, detail: impl Into<String>) -> Self {
        let mut detail = detail.into();
        if detail.len() > MAX_DETAIL {
            let end = (0..=MAX_DETAIL).rfind(|at| detail.is_char_boundary(*at));
            detail.truncate(end.unwrap_or(0));
        }
        Self { reason, detail }
    }

    /// The fault of an event that is stored on another subject than its own.
    #[must_use]
    pub fn misplaced(record: &Record, own: &str) -> Self {
        let (event, at) = (&record.event, &record.subject);
        Self::new(
            Reason::Misplaced,
            format!("{event} stands on {at}, not on its own subject {own}"),
        )
    }
}

/// Why a record cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// An event whose type or version this build does not know.
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
    /// The kind of the refusal.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Self::Newer { .. } => Reason::Newer,
            Self::Poison(poison) => poison.reason,
        }
    }

    /// Sorts the error of the decoder: a name that an event of Waybill could have belongs to a
    /// newer build.
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

/// Whether a text has the form of Waybill's event names: `<thing>.<what_happened>.v<version>`.
///
/// Only such a name is attributed to a newer build. Otherwise any stray message could stop the
/// readers that wait for that build.
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

/// Registers the counter before it has counted anything, so that dashboards and alerts find it.
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

/// What stays closed until a record of CONTROL is understood.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Closes {
    /// A team with all that belongs to it.
    Team(TeamId),
    /// A person, a session or a grant of an application, by the subject of its events.
    Subject(String),
}

impl Closes {
    /// What must not be used while this record is not understood. `None` if it takes no rights
    /// away, or does not count at all.
    ///
    /// A record closes only what its own subject names, and only if its name is that of an event
    /// that may take rights away, or of a newer build's event. Otherwise anyone who can store a
    /// message could close a team for ever.
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
            // Of the things that belong to no team, only these are boundaries of access.
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
    /// The reason as a sentence, for operators.
    pub detail: String,
}

impl Skipped {
    /// The list entry of a record that does not count.
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
