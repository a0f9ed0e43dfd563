//! Reads the events of a log by their positions, whatever messages they are stored in.

use super::read::Reader;
use crate::frame::{NAME, expand, filters_of_frames, is_wanted};
use crate::{Bounds, Positions, ReadError, Record, Stream, StreamSeq};

/// Events per frame that a range expects at first, to decide how many messages to read at once: a
/// range of a thousand events should not read a thousand frames.
const EVENTS_IN_A_FRAME: usize = 32;
/// Most messages read at once, which a range reaches if they hold few of the events it wants: at
/// most 16 MiB, since a frame has up to 256 KiB.
const MANY_MESSAGES: usize = 64;

/// Reads one of the two logs.
#[derive(Clone)]
pub(super) struct Events {
    messages: Reader,
    positions: Positions,
}

impl Events {
    pub(super) fn new(messages: Reader, positions: Positions) -> Self {
        Self {
            messages,
            positions,
        }
    }

    /// The reader of the messages, by their sequences.
    pub(super) fn messages(&self) -> &Reader {
        &self.messages
    }

    pub(super) fn positions(&self) -> Positions {
        self.positions
    }

    pub(super) async fn read(&self, position: StreamSeq) -> Result<Option<Record>, ReadError> {
        let records = self.read_some(position, |of| of == position).await?;
        Ok(records.into_iter().next())
    }

    /// All records of the message that holds a position.
    pub(super) async fn read_message(&self, position: StreamSeq) -> Result<Vec<Record>, ReadError> {
        self.read_some(position, |_| true).await
    }

    /// Those records of the message that holds a position whose own positions are wanted.
    async fn read_some(
        &self,
        position: StreamSeq,
        is_wanted: impl Fn(StreamSeq) -> bool,
    ) -> Result<Vec<Record>, ReadError> {
        let message = StreamSeq(self.positions.message(position));
        let Some(message) = self.messages.read(message).await? else {
            return Ok(Vec::new());
        };
        self.check_frames(std::slice::from_ref(&message)).await?;
        let mut records = Vec::new();
        expand(
            message,
            self.positions,
            |position, _| is_wanted(position),
            |record| records.push(record),
        );
        Ok(records)
    }

    pub(super) async fn range(
        &self,
        filters: &[String],
        from: StreamSeq,
        to: StreamSeq,
        limit: usize,
    ) -> Result<Vec<Record>, ReadError> {
        if !self.positions.has_frames() {
            let records = self.messages.range(filters, from, to, limit).await?;
            self.check_frames(&records).await?;
            return Ok(records);
        }
        let of_messages = filters_of_frames(filters);
        let mut next = StreamSeq(self.positions.message(from));
        let end = StreamSeq(self.positions.message(to));
        let mut at_once = (limit / EVENTS_IN_A_FRAME).clamp(1, MANY_MESSAGES);
        let mut records = Vec::new();
        while records.len() < limit && next <= end {
            let page = self.messages.range(&of_messages, next, end, at_once).await;
            let page = page.map_err(|error| in_positions(error, self.positions))?;
            let is_last = page.len() < at_once;
            if let Some(last) = page.last() {
                next = last.seq.next();
            }
            for message in page {
                expand(
                    message,
                    self.positions,
                    |position, subject| {
                        (from..=to).contains(&position) && is_wanted(filters, subject)
                    },
                    |record| records.push(record),
                );
            }
            if is_last {
                break;
            }
            at_once = (at_once * 2).min(MANY_MESSAGES);
        }
        records.truncate(limit);
        Ok(records)
    }

    /// If a message looks like a frame although the stream was not known to have frames, checks
    /// that the stream has not been switched to frames meanwhile.
    async fn check_frames(&self, messages: &[Record]) -> Result<(), ReadError> {
        if !self.positions.has_frames() && messages.iter().any(|message| message.event == NAME) {
            self.bounds().await?;
        }
        Ok(())
    }

    pub(super) async fn last(&self, filter: &str) -> Result<Option<Record>, ReadError> {
        if !self.positions.has_frames() {
            return self.messages.last(filter).await;
        }
        let filters = [filter.to_owned()];
        let mut last: Option<Record> = None;
        for filter in filters_of_frames(&filters) {
            let found = self.messages.last(&filter).await?;
            let both = [last, found].into_iter().flatten();
            last = both.max_by_key(|message| message.seq);
        }
        let Some(message) = last else {
            return Ok(None);
        };
        let mut last = None;
        expand(
            message,
            self.positions,
            |_, subject| is_wanted(&filters, subject),
            |record| last = Some(record),
        );
        if last.is_none() {
            let reason = format!("the last frame that may hold {filter} holds no match");
            return Err(ReadError::Unavailable { reason });
        }
        Ok(last)
    }

    pub(super) async fn bounds(&self) -> Result<Bounds, ReadError> {
        let bounds = self.messages.bounds().await?;
        if bounds.positions != self.positions {
            return Err(switched(Stream::Tasks.name()));
        }
        Ok(Bounds {
            first: self.positions.first_in(bounds.first.0),
            last: self.positions.last_in(bounds.last.0),
            ..bounds
        })
    }

    pub(super) async fn purge(&self, first: StreamSeq) -> Result<u64, ReadError> {
        let first = StreamSeq(self.positions.message(first));
        self.messages.purge(first).await
    }
}

/// The error after a switch to frames that this process did not make: it would count positions
/// differently from all others, and take frames for events of a newer build.
pub(super) fn switched(stream: &str) -> ReadError {
    ReadError::Unavailable {
        reason: format!(
            "{stream} was switched to frames while this process ran; it has to be restarted"
        ),
    }
}

/// Translates the sequences in an error of the message reader into positions.
pub(super) fn in_positions(error: ReadError, positions: Positions) -> ReadError {
    match error {
        ReadError::Gap {
            stream,
            from,
            first,
        } => ReadError::Gap {
            stream,
            from: positions.first_in(from.0),
            first: positions.first_in(first.0),
        },
        error @ ReadError::Unavailable { .. } => error,
    }
}
