//! What is signed of an event of CONTROL, and how an event is judged by itself.

use super::place::Place;
use super::{AFTER, BOUNDARY, INDEX, SIGNATURE, Signer, Speaker, Trust, Void, put};
use crate::audit::Stored;
use crate::event::ControlEvent;
use crate::seq::StreamSeq;

/// Purpose and version of the signed bytes.
const MARK: &[u8] = b"waybill control event v1";
/// Subjects on which workers report their start.
const OF_WORKERS: &str = "control._.worker.";
/// Subjects on which workers report the use of a token.
const OF_USES: &str = "control._.use.";

/// The condition under which an event was appended.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// The subject filter of the boundary.
    pub boundary: &'a str,
    /// Position of the last record there; 0 if there was none.
    pub after: StreamSeq,
}

/// The judgement of a genuine event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Genuine {
    /// The event counts at any position: it is older than the requirement, or safe to repeat.
    Anywhere,
    /// The event counts only at its place, which must be checked.
    At(Place),
}

/// The headers to add to an event before it is stored, in the order of their names. `headers` are
/// its other headers.
#[must_use]
pub fn sign(
    signer: &Signer,
    stream: i64,
    subject: &str,
    headers: &[(String, String)],
    payload: &[u8],
    expected: Option<Expected<'_>>,
    index: usize,
) -> Vec<(String, String)> {
    let mut added = Vec::with_capacity(4);
    if let Some(Expected { boundary, after }) = expected {
        added.push((AFTER.to_owned(), after.to_string()));
        added.push((BOUNDARY.to_owned(), boundary.to_owned()));
        added.push((INDEX.to_owned(), index.to_string()));
    }
    let mut all = [headers, &added].concat();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    let signature = signer.sign(&bytes(stream, subject, &all, payload));
    added.push((SIGNATURE.to_owned(), signature));
    added
}

/// Judges an event by itself: whether its signer may say it. Its position is judged with [`Place`].
///
/// # Errors
/// When the event does not count at any position.
pub fn verify(trust: &Trust, event: &Stored) -> Result<Genuine, Void> {
    if !trust.requires(event.seq) {
        return Ok(Genuine::Anywhere);
    }
    let of_worker = is_of_workers(&event.subject);
    let Some(signature) = only(event, SIGNATURE)? else {
        let is_believed = of_worker && !trust.keys.has_worker();
        return is_believed
            .then_some(Genuine::Anywhere)
            .ok_or(Void::Unsigned);
    };
    let signed = bytes(trust.stream, &event.subject, &event.headers, &event.payload);
    let (speaker, key) = trust.keys.check(&signed, signature, Some(event.seq))?;
    if speaker == Speaker::Worker && !of_worker {
        return Err(Void::NotAllowed(key));
    }
    match place(event)? {
        Some(place) => Ok(Genuine::At(place)),
        None if is_repeatable(event) => Ok(Genuine::Anywhere),
        None => Err(Void::Unbounded(
            event.header("Wb-Event").unwrap_or_default().to_owned(),
        )),
    }
}

/// Whether workers may write on that subject. What they write decides nothing about rights.
#[must_use]
pub fn is_of_workers(subject: &str) -> bool {
    subject.starts_with(OF_WORKERS) || subject.starts_with(OF_USES)
}

/// Whether the event may be repeated any number of times, so that a copy changes nothing.
fn is_repeatable(event: &Stored) -> bool {
    let name = event.header("Wb-Event").unwrap_or_default();
    ControlEvent::REPEATABLE.contains(&name)
}

fn place(event: &Stored) -> Result<Option<Place>, Void> {
    let boundary = only(event, BOUNDARY)?;
    let number = |name| {
        let text = only(event, name)?.ok_or(Void::Malformed(name))?;
        text.parse::<u64>().map_err(|_| Void::Malformed(name))
    };
    let Some(boundary) = boundary else {
        return Ok(None);
    };
    let (after, index) = (number(AFTER)?, number(INDEX)?);
    let first = event
        .seq
        .0
        .checked_sub(index)
        .ok_or(Void::Malformed(INDEX))?;
    if after >= first {
        // The event would stand before the record that it follows.
        return Err(Void::Moved {
            boundary: boundary.to_owned(),
            after: StreamSeq(after),
        });
    }
    Ok(Some(Place {
        boundary: boundary.to_owned(),
        after: StreamSeq(after),
        first: StreamSeq(first),
    }))
}

/// The single value of a header. Repeated headers are refused, because readers could differ in
/// which value they use.
fn only<'a>(event: &'a Stored, name: &'static str) -> Result<Option<&'a str>, Void> {
    let mut values = event.headers.iter().filter(|(header, _)| header == name);
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some((_, value)), None) => Ok(Some(value)),
        (Some(_), Some(_)) => Err(Void::Malformed(name)),
    }
}

/// The signed bytes: everything that is ever read of the event, except its position, which the
/// server assigns, and the signature itself.
fn bytes(stream: i64, subject: &str, headers: &[(String, String)], payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(512);
    put(&mut bytes, MARK);
    put(&mut bytes, &stream.to_be_bytes());
    put(&mut bytes, subject.as_bytes());
    let headers = || headers.iter().filter(|(name, _)| name != SIGNATURE);
    put(&mut bytes, &(headers().count() as u64).to_be_bytes());
    for (name, value) in headers() {
        put(&mut bytes, name.as_bytes());
        put(&mut bytes, value.as_bytes());
    }
    put(&mut bytes, payload);
    bytes
}
