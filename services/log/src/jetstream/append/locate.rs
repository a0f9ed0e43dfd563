//! Finds an append that was stored although its acknowledgement was lost.
//!
//! If a batch is repeated after its first attempt was stored, the server refuses the repetition for
//! its duplicate id, and does not say where the first one is. An append with a fence may also be
//! refused because it has moved that fence itself. Such an append is found by its id. Its last
//! record is checked too: a server that crashed during the commit could have kept a part of a
//! batch, and must not be believed to have stored all of it.

use super::super::read::Reader;
use super::super::wire::Outgoing;
use super::content::Content;
use super::unit::Unit;
use crate::{ReadError, StreamSeq};

/// Messages read per request.
const PAGE: usize = 64;

/// The parts of an append by which it is recognised in the log.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    id: String,
    first_subject: String,
    last: (String, bytes::Bytes),
    messages: u64,
    floor: StreamSeq,
}

impl Wanted {
    pub(super) fn of(unit: &Unit) -> Option<Self> {
        let wanted = |first: &Outgoing, last: &Outgoing| Self {
            id: unit.id.clone(),
            first_subject: first.subject.clone(),
            last: (last.subject.clone(), last.payload.clone()),
            messages: unit.count() as u64,
            floor: unit.floor,
        };
        if let Some(frame) = unit.frame() {
            return Some(wanted(&frame, &frame));
        }
        let contents = unit.requests.iter().map(|request| &request.content);
        let mut messages = contents.flat_map(Content::messages);
        let first = messages.next()?;
        let last = messages.last().unwrap_or(first);
        Some(wanted(first, last))
    }
}

/// Where an append was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Located {
    /// All of it is stored; `last` is the sequence of its last message.
    Whole { last: StreamSeq },
    /// Its first message is stored, but not its last.
    Partial { first: StreamSeq },
    /// It was not found, perhaps because a lagging replica answered.
    Nowhere,
}

pub(super) async fn locate(reader: &Reader, wanted: &Wanted) -> Result<Located, ReadError> {
    let filters = [wanted.first_subject.clone()];
    let mut from = wanted.floor.next();
    let first = loop {
        let page = reader
            .range(&filters, from, StreamSeq(u64::MAX), PAGE)
            .await?;
        let found = page
            .iter()
            .find(|record| record.msg_id.as_deref() == Some(&wanted.id));
        if let Some(record) = found {
            break record.seq;
        }
        match page.last() {
            Some(record) if page.len() == PAGE => from = record.seq.next(),
            _ => return Ok(Located::Nowhere),
        }
    };
    let last = StreamSeq(first.0 + wanted.messages - 1);
    let whole = reader.read(last).await?.is_some_and(|record| {
        (record.subject.as_str(), &record.payload) == (wanted.last.0.as_str(), &wanted.last.1)
    });
    Ok(if whole {
        Located::Whole { last }
    } else {
        Located::Partial { first }
    })
}
