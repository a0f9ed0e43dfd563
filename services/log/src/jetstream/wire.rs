//! Records as NATS messages: their headers, and how they are encoded and parsed.

use std::str::FromStr;
use std::sync::Arc;

use async_nats::header::{HeaderMap, HeaderValue};
use bytes::Bytes;
use waybill_domain::actor::Origin;
use waybill_domain::audit::Stored;
use waybill_domain::audit::checkpoint::millis;
use waybill_domain::time::Timestamp;

use crate::frame::{self, Frame};
use crate::record::{DAMAGED_HEADERS, Exact};
use crate::{AppendError, Expectation, NewRecord, ReadError, Record, Stream, StreamSeq};

const EVENT: &str = "Wb-Event";
const FENCE: &str = "FENCE";
/// Marks a frame, and names the version of its payload.
const FRAME: &str = "Wb-Frame";
const ACTOR: &str = "Wb-Actor";
const TRACEPARENT: &str = "traceparent";
const REQUEST: &str = "Wb-Request";
const SOURCE: &str = "Wb-Source";
const AGENT: &str = "Wb-Agent";
const MSG_ID: &str = "Nats-Msg-Id";
const EXPECTED_SEQ: &str = "Nats-Expected-Last-Subject-Sequence";
const EXPECTED_ON: &str = "Nats-Expected-Last-Subject-Sequence-Subject";
const BATCH_ID: &str = "Nats-Batch-Id";
const BATCH_SEQUENCE: &str = "Nats-Batch-Sequence";
const BATCH_COMMIT: &str = "Nats-Batch-Commit";
/// Headers that the server adds to the answer to a direct get.
pub(super) const SUBJECT: &str = "Nats-Subject";
const STREAM: &str = "Nats-Stream";
pub(super) const SEQUENCE: &str = "Nats-Sequence";
const TIME: &str = "Nats-Time-Stamp";

/// Room for the headers that the appender adds: id, batch and expectation. Signatures are only on CONTROL, whose events are small.
const ADDED_HEADERS: usize = 512;

/// An encoded message, without the headers that the appender adds.
#[derive(Debug, Clone)]
pub(super) struct Outgoing {
    pub(super) subject: String,
    pub(super) headers: HeaderMap,
    pub(super) payload: Bytes,
    /// Approximate bytes on the wire.
    pub(super) size: usize,
    /// Number of events in it.
    pub(super) events: usize,
}

/// Encodes a record. Refuses one that the server or the protocol would not accept.
pub(super) fn outgoing(record: NewRecord, max_payload: usize) -> Result<Outgoing, AppendError> {
    let size = check(&record, max_payload)?;
    let mut headers = HeaderMap::new();
    for (name, text) in texts(&record) {
        headers.insert(name, header(name, text)?);
    }
    Ok(Outgoing {
        subject: record.subject,
        headers,
        payload: record.payload,
        size,
        events: 1,
    })
}

/// The values of a record besides its payload, with the names of their headers.
fn texts(record: &NewRecord) -> impl Iterator<Item = (&'static str, &str)> {
    let origin = record.origin.as_ref();
    let given = [
        (EVENT, Some(record.event)),
        (ACTOR, Some(&*record.actor)),
        (TRACEPARENT, record.traceparent.as_deref()),
        (REQUEST, origin.map(|origin| &*origin.request_id)),
        (SOURCE, origin.map(|origin| &*origin.source)),
        (AGENT, origin.and_then(|origin| origin.agent.as_deref())),
    ];
    given
        .into_iter()
        .filter_map(|(name, text)| Some((name, text?)))
}

/// Refuses a record that could not be sent as a message of its own. This applies to records in
/// frames too, so that what is allowed does not depend on how a record is sent. Returns the bytes
/// that it would take.
pub(super) fn check(record: &NewRecord, max_payload: usize) -> Result<usize, AppendError> {
    if !is_publishable(&record.subject) {
        return Err(rejected(format!(
            "{:?} is not a valid subject",
            record.subject
        )));
    }
    let mut size = record.subject.len() + record.payload.len() + ADDED_HEADERS;
    for (name, text) in texts(record) {
        check_text(name, text)?;
        size += name.len() + text.len() + ": \r\n".len();
    }
    if size > max_payload {
        return Err(rejected(format!(
            "a record with its headers may take {max_payload} bytes, not {size}"
        )));
    }
    Ok(size)
}

/// Encodes a frame with `events` events.
pub(super) fn frame(frame: Frame, events: usize) -> Outgoing {
    let mut headers = HeaderMap::new();
    headers.insert(FRAME, frame::VERSION);
    Outgoing {
        size: frame.subject.len() + frame.payload.len() + ADDED_HEADERS,
        subject: frame.subject,
        headers,
        payload: frame.payload,
        events,
    }
}

fn rejected(reason: String) -> AppendError {
    AppendError::Rejected { reason }
}

fn header(name: &str, text: &str) -> Result<HeaderValue, AppendError> {
    check_text(name, text)?;
    HeaderValue::from_str(text).map_err(|_| no_value(name, text))
}

fn check_text(name: &str, text: &str) -> Result<(), AppendError> {
    // The protocol would strip white space at both ends.
    let is_clean = text.trim() == text && !text.bytes().any(|b| b < b' ' || b == 0x7f);
    is_clean.then_some(()).ok_or_else(|| no_value(name, text))
}

fn no_value(name: &str, text: &str) -> AppendError {
    rejected(format!("{text:?} cannot be a value of {name}"))
}

/// Whether a subject can be published to: its tokens have no wildcards, white space or control
/// characters.
fn is_publishable(subject: &str) -> bool {
    subject.split('.').all(crate::subject::is_token)
}

/// Whether a string is a valid filter: a subject that may have wildcards.
pub(super) fn is_filter(filter: &str) -> bool {
    !filter.is_empty()
        && filter
            .split('.')
            .all(|token| token == "*" || token == ">" || crate::subject::is_token(token))
}

/// Adds the id by which the server recognises a repeated message.
pub(super) fn set_msg_id(headers: &mut HeaderMap, id: &str) {
    if let Ok(id) = HeaderValue::from_str(id) {
        headers.insert(MSG_ID, id);
    }
}

/// Checks that a client's id can be the value of a header.
pub(super) fn check_msg_id(id: &str) -> Result<(), AppendError> {
    header(MSG_ID, id).map(drop)
}

/// Adds the condition under which the server stores the message.
pub(super) fn set_expectation(headers: &mut HeaderMap, expect: &Expectation) {
    if let Expectation::LastOn { filter, seq } = expect
        && let Ok(filter) = HeaderValue::from_str(filter)
    {
        headers.insert(EXPECTED_SEQ, HeaderValue::from(seq.0));
        headers.insert(EXPECTED_ON, filter);
    }
}

/// Adds headers, such as those of a signature.
pub(super) fn add(
    headers: &mut HeaderMap,
    added: Vec<(String, String)>,
) -> Result<(), AppendError> {
    for (name, text) in added {
        headers.insert(&*name, header(&name, &text)?);
    }
    Ok(())
}

/// Makes the message one of an atomic batch. `sequence` begins at 1; the last one commits.
pub(super) fn set_batch(headers: &mut HeaderMap, id: &str, sequence: usize, is_last: bool) {
    if let Ok(id) = HeaderValue::from_str(id) {
        headers.insert(BATCH_ID, id);
    }
    headers.insert(BATCH_SEQUENCE, HeaderValue::from(sequence));
    if is_last {
        headers.insert(BATCH_COMMIT, "1");
    }
}

/// The place of a message that a consumer delivered: the last tokens of its reply subject (ADR-15).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Delivery {
    /// How often the message was delivered, this time included.
    pub(super) attempt: u32,
    pub(super) stream_seq: StreamSeq,
    pub(super) consumer_seq: u64,
    /// Since the epoch.
    pub(super) time_ns: i64,
}

impl Delivery {
    /// `$JS.ACK.[<domain>.<account>.]<stream>.<consumer>.<delivered>.<stream seq>.<consumer seq>.<nanoseconds>.<pending>[.<token>]`
    pub(super) fn parse(reply: &str) -> Option<Self> {
        let tokens: Vec<&str> = reply.strip_prefix("$JS.ACK.")?.split('.').collect();
        let at = match tokens.len() {
            7 => 3,
            9.. => 5,
            _ => return None,
        };
        let number = |index: usize| tokens.get(index)?.parse::<u64>().ok();
        Some(Self {
            attempt: u32::try_from(number(at - 1)?).ok()?,
            stream_seq: StreamSeq(number(at)?),
            consumer_seq: number(at + 1)?,
            time_ns: i64::try_from(number(at + 2)?).ok()?,
        })
    }
}

/// Reads a record that a consumer delivered.
pub(super) fn delivered(
    stream: &'static str,
    delivery: Delivery,
    message: async_nats::Message,
) -> Record {
    let (seq, time_ns) = (delivery.stream_seq, delivery.time_ns);
    let (subject, payload) = (message.subject.as_str(), message.payload);
    match message.status {
        None => {
            let headers = message.headers.unwrap_or_default();
            record(stream, seq, time_ns, subject, &headers, payload)
        }
        Some(_) => damaged(stream, seq, time_ns, subject, payload),
    }
}

/// A record whose headers are malformed, or have a status like the server's own answers: it is read
/// as if it had none.
pub(super) fn damaged(
    stream: &'static str,
    seq: StreamSeq,
    time_ns: i64,
    subject: &str,
    payload: Bytes,
) -> Record {
    let none = HeaderMap::new();
    Record {
        event: DAMAGED_HEADERS.to_owned(),
        ..record(stream, seq, time_ns, subject, &none, payload)
    }
}

/// Whether an answer is a stored message. If that has a status, its publisher wrote it (nats-server
/// 2.15 removes it).
pub(super) fn is_stored(message: &async_nats::Message) -> bool {
    let headers = message.headers.as_ref();
    headers.is_some_and(|headers| headers.get_last(SEQUENCE).is_some())
}

/// Reads a record that a direct get found.
pub(super) fn direct(
    stream: &'static str,
    message: async_nats::Message,
) -> Result<Record, ReadError> {
    let headers = message.headers.unwrap_or_default();
    // The last value counts, since the server adds its headers after those of the message.
    let text = |name: &str| headers.get_last(name).map(HeaderValue::as_str);
    let found = text(SEQUENCE)
        .and_then(|seq| seq.parse().ok())
        .zip(text(TIME).and_then(nanoseconds))
        .zip(text(SUBJECT))
        // `Nats-Stream` is the first header that the server adds. Malformed headers of the message
        // would swallow it, and would not be read as they are stored.
        .filter(|_| text(STREAM) == Some(stream));
    let Some(((seq, time_ns), subject)) = found else {
        return Err(ReadError::Unavailable {
            reason: "the answer to a direct get lacks its headers".to_owned(),
        });
    };
    let (seq, payload) = (StreamSeq(seq), message.payload);
    Ok(match message.status {
        None => record(stream, seq, time_ns, subject, &headers, payload),
        Some(_) => damaged(stream, seq, time_ns, subject, payload),
    })
}

/// Builds a record from the parts of a message.
pub(super) fn record(
    stream: &'static str,
    seq: StreamSeq,
    time_ns: i64,
    subject: &str,
    headers: &HeaderMap,
    payload: Bytes,
) -> Record {
    let text = |name: &str| headers.get(name).map(|value| value.as_str().to_owned());
    let is_signed = stream == Stream::Control.name() || stream == FENCE;
    let exact = is_signed.then(|| {
        let headers = headers_of_leaf(headers);
        Arc::new(Exact {
            time_ns,
            headers,
            void: None,
        })
    });
    Record {
        seq,
        follows: StreamSeq(seq.0.saturating_sub(1)),
        time: millis(time_ns),
        subject: subject.to_owned(),
        // Anyone whom NATS lets publish can store a message without these headers. It is still a
        // record, since every position counts, but no reader takes it for an event.
        event: text(EVENT)
            .or_else(|| text(FRAME).map(|version| format!("frame.batch.v{version}")))
            .unwrap_or_default(),
        actor: text(ACTOR).unwrap_or_default(),
        traceparent: text(TRACEPARENT),
        origin: text(REQUEST).map(|request_id| Origin {
            request_id: request_id.into(),
            source: text(SOURCE).unwrap_or_default().into(),
            agent: text(AGENT).map(Into::into),
        }),
        msg_id: text(MSG_ID),
        exact,
        payload,
    }
}

/// All values of all headers that belong to the leaf, sorted by name.
pub(super) fn headers_of_leaf(headers: &HeaderMap) -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> = headers
        .iter()
        .filter(|(name, _)| Stored::is_of_leaf(name.as_ref()))
        .flat_map(|(name, values)| {
            let name: &str = name.as_ref();
            values
                .iter()
                .map(move |value| (name.to_owned(), value.as_str().to_owned()))
        })
        .collect();
    // The sort is stable, so several values of one name keep their order.
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

/// Parses RFC 3339 with nanoseconds, as the server writes times.
pub(super) fn nanoseconds(text: &str) -> Option<i64> {
    let seconds = Timestamp::parse_rfc3339(text)?.as_secs();
    let fraction = text.split_once('.').map_or("", |(_, rest)| rest);
    let digits = fraction.bytes().take_while(u8::is_ascii_digit).take(9);
    let (value, count) = digits.fold((0_i64, 0), |(value, count), digit| {
        (value * 10 + i64::from(digit - b'0'), count + 1)
    });
    let nanoseconds = value * 10_i64.pow(9 - count);
    seconds.checked_mul(1_000_000_000)?.checked_add(nanoseconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn a_record() -> NewRecord {
        NewRecord {
            subject: "tasks.1.owner".to_owned(),
            event: "partition.owned.v1",
            actor: "system:worker".to_owned(),
            traceparent: None,
            origin: None,
            payload: Bytes::from_static(b"x"),
        }
    }

    #[test]
    fn both_forms_of_a_reply_subject_are_read() {
        let expected = Delivery {
            attempt: 1,
            stream_seq: StreamSeq(42),
            consumer_seq: 7,
            time_ns: 1_700_000_000_123_456_789,
        };
        for reply in [
            "$JS.ACK.TASKS.c1.1.42.7.1700000000123456789.0",
            "$JS.ACK._.hash.TASKS.c1.1.42.7.1700000000123456789.0",
            "$JS.ACK._.hash.TASKS.c1.1.42.7.1700000000123456789.0.token",
        ] {
            assert_eq!(Delivery::parse(reply), Some(expected), "{reply}");
        }
        for reply in ["", "$JS.ACK.TASKS", "$JS.ACK.TASKS.c1.1.x.7.1.0"] {
            assert_eq!(Delivery::parse(reply), None, "{reply}");
        }
    }

    #[test]
    fn what_the_protocol_cannot_carry_is_refused_before_it_is_sent() {
        let refused = |change: fn(&mut NewRecord)| {
            let mut record = a_record();
            change(&mut record);
            outgoing(record, 4 * 1024).is_err()
        };
        assert!(!refused(|_| ()));
        assert!(refused(|r| r.subject = "tasks.*".to_owned()));
        assert!(refused(|r| r.subject = "tasks..x".to_owned()));
        assert!(refused(|r| r.subject = "tasks. x".to_owned()));
        assert!(refused(|r| r.actor = "a\r\nNats-Rollup: all".to_owned()));
        assert!(refused(|r| r.traceparent = Some("a\0b".to_owned())));
        assert!(refused(|r| r.payload = Bytes::from(vec![0; 4 * 1024])));
    }

    #[test]
    fn a_filter_may_have_wildcards() {
        assert!(is_filter("control.t.>"));
        assert!(is_filter("tasks.*.owner"));
        assert!(!is_filter("tasks. .x"));
        assert!(!is_filter(""));
    }
}
