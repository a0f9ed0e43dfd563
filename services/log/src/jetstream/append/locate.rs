//! Finds what landed although its acknowledgement was lost.
//!
//! When a batch is sent again and its first try did land, the server refuses the repetition for its duplicate id and does not
//! say where the first one is; and an append with a fence may be refused for a fence that it has moved itself. It is found by
//! its id. Its last record is looked at too: a server that crashed while it committed could have kept a part of a batch, and to
//! claim the rest would be a lie.

use super::super::read::Reader;
use super::super::wire::Outgoing;
use super::content::Content;
use super::unit::Unit;
use crate::{ReadError, StreamSeq};

/// Messages looked at per request.
const PAGE: usize = 64;

/// What was sent, as far as it is needed to recognise it.
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

/// Where a batch is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Located {
    /// All of it, up to this sequence.
    Whole { last: StreamSeq },
    /// It begins in the log, but does not end there.
    Partial { first: StreamSeq },
    /// Not found, perhaps because the copy that was read lags.
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
