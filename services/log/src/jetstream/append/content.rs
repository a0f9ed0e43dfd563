//! The records of one append: in messages of their own, or as events of a frame that other appends
//! share.

use super::super::wire::{self, Outgoing};
use crate::frame::{self, Lane, Split, split};
use crate::{AppendError, NewRecord, Positions, StreamSeq};

/// The records of one append, in the form in which they are sent.
pub(super) enum Content {
    /// They do not share messages with other appends: one message, or several that are stored
    /// together.
    Messages {
        messages: Vec<Outgoing>,
        /// The position of each record: index of its message, and its index among the events of
        /// that message. `None`: each record is one message, in order.
        places: Option<Vec<(usize, usize)>>,
    },
    /// They go into the next frame of their lane, which other appends may share.
    Events {
        lane: Lane,
        records: Vec<NewRecord>,
        /// Upper bound of the bytes that they take in a frame.
        bytes: usize,
    },
}

impl Content {
    /// Each record in a message of its own.
    pub(super) fn singles(
        records: Vec<NewRecord>,
        max_payload: usize,
    ) -> Result<Self, AppendError> {
        let messages = records
            .into_iter()
            .map(|record| wire::outgoing(record, max_payload));
        Ok(Self::Messages {
            messages: messages.collect::<Result<_, _>>()?,
            places: None,
        })
    }

    /// The records in frames. An append that needs several frames does not share them with other
    /// appends.
    pub(super) fn framed(records: Vec<NewRecord>, max_payload: usize) -> Result<Self, AppendError> {
        for record in &records {
            wire::check(record, max_payload)?;
        }
        let splits = split(&records);
        if let [
            Split {
                lane: Some(lane),
                bytes,
                ..
            },
        ] = splits[..]
        {
            return Ok(Self::Events {
                lane,
                records,
                bytes,
            });
        }
        let mut places = vec![(0, 0); records.len()];
        let mut messages = Vec::with_capacity(splits.len());
        for Split { lane, events, .. } in splits {
            for (index, &event) in events.iter().enumerate() {
                places[event] = (messages.len(), index);
            }
            let first = events.first().copied().unwrap_or_default();
            messages.push(match lane {
                Some(lane) => {
                    let of_frame = events.iter().map(|&event| &records[event]);
                    wire::frame(frame::write(lane, of_frame), events.len())
                }
                None => wire::outgoing(records[first].clone(), max_payload)?,
            });
        }
        Ok(Self::Messages {
            messages,
            places: Some(places),
        })
    }

    /// The messages, if the append has its own.
    pub(super) fn messages(&self) -> &[Outgoing] {
        match self {
            Self::Messages { messages, .. } => messages,
            Self::Events { .. } => &[],
        }
    }

    /// The records, if they go into a shared frame.
    pub(super) fn records(&self) -> &[NewRecord] {
        match self {
            Self::Messages { .. } => &[],
            Self::Events { records, .. } => records,
        }
    }

    pub(super) fn lane(&self) -> Option<Lane> {
        match self {
            Self::Messages { .. } => None,
            Self::Events { lane, .. } => Some(*lane),
        }
    }

    pub(super) fn events(&self) -> usize {
        match self {
            Self::Messages { messages, .. } => messages.iter().map(|message| message.events).sum(),
            Self::Events { records, .. } => records.len(),
        }
    }

    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Messages { messages, .. } => messages.iter().map(|message| message.size).sum(),
            Self::Events { bytes, .. } => *bytes,
        }
    }

    /// Positions of the records, in their order, if their first message has the sequence `first`.
    pub(super) fn seqs(&self, first: u64, positions: Positions) -> Vec<StreamSeq> {
        let messages = self.messages();
        let Self::Messages {
            places: Some(places),
            ..
        } = self
        else {
            let sequences = (first..).take(messages.len());
            return sequences.map(|seq| positions.last_in(seq)).collect();
        };
        let position = |&(message, event): &(usize, usize)| {
            let seq = first + message as u64;
            positions.of(seq, event, messages[message].events)
        };
        places.iter().map(position).collect()
    }
}
