//! A cache of recent events by position: a task that starts soon after its creation need not be
//! read back from the log.
//!
//! An event that is read back comes with the other creations of its message, which most often are
//! due together.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use waybill_log::position::PLACE_BITS;
use waybill_log::{Log, ReadError, Record, Stream, StreamSeq};

/// Limited in size, first in, first out: old entries have been used, or will be read from the log.
#[derive(Debug)]
pub struct Payloads {
    /// Never held across an await.
    held: Mutex<Held>,
    max_bytes: usize,
    /// Who reads a message back. Others wait, since what they look for may come with it.
    turns: [tokio::sync::Mutex<()>; TURNS],
    /// Messages of this log have held several events: waiting for a turn may save a read.
    has_frames: AtomicBool,
}

/// What [`Payloads::read`] finds.
#[derive(Debug)]
pub enum Found {
    /// The payload of a creation, as it was kept.
    Kept(Bytes),
    /// A record, as it is stored.
    Stored(Record),
}

#[derive(Debug, Default)]
struct Held {
    by_seq: HashMap<StreamSeq, Bytes>,
    order: VecDeque<StreamSeq>,
    bytes: usize,
}

/// Memory of an entry besides its payload, in bytes.
const ENTRY_BYTES: usize = 96;
/// Name of the events that are kept of a message that was read back.
const CREATION: &str = "task.created.v1";
/// Limit of messages that are read back at once, where they are frames.
const TURNS: usize = 64;
/// Limit of places in the order that are held by removed entries, besides as many as there are
/// entries.
const SLACK: usize = 1_024;

impl Payloads {
    /// A cache of at most `max_bytes`.
    #[must_use]
    pub fn new(max_bytes: usize) -> Self {
        Self {
            held: Mutex::default(),
            max_bytes,
            turns: std::array::from_fn(|_| tokio::sync::Mutex::default()),
            has_frames: AtomicBool::new(false),
        }
    }

    /// The event at a position: as it was kept, or from the log. `None` when it is in neither.
    pub async fn read(&self, log: &dyn Log, seq: StreamSeq) -> Result<Option<Found>, ReadError> {
        let turn = usize::try_from(seq.0 >> PLACE_BITS).unwrap_or(0) % TURNS;
        let _turn = match self.has_frames.load(Ordering::Relaxed) {
            true => Some(self.turns[turn].lock().await),
            false => None,
        };
        if let Some(payload) = self.get(seq) {
            return Ok(Some(Found::Kept(payload)));
        }
        let records = log.read_message(Stream::Tasks, seq).await?;
        if records.len() > 1 {
            self.has_frames.store(true, Ordering::Relaxed);
        }
        let mut found = None;
        for record in records {
            if record.seq == seq {
                found = Some(Found::Stored(record));
            } else if record.event == CREATION {
                self.put(record.seq, &record.payload);
            }
        }
        Ok(found)
    }

    /// Adds a payload.
    pub fn put(&self, seq: StreamSeq, payload: &[u8]) {
        // A part of a frame would keep the whole of it in memory.
        let payload = Bytes::copy_from_slice(payload);
        let mut held = self.held.lock();
        let held = &mut *held;
        held.bytes += payload.len() + ENTRY_BYTES;
        match held.by_seq.insert(seq, payload) {
            Some(former) => held.bytes -= former.len() + ENTRY_BYTES,
            None => held.order.push_back(seq),
        }
        while held.bytes > self.max_bytes {
            let Some(oldest) = held.order.pop_front() else {
                break;
            };
            if let Some(payload) = held.by_seq.remove(&oldest) {
                held.bytes -= payload.len() + ENTRY_BYTES;
            }
        }
    }

    /// The payload, if it is still cached.
    #[must_use]
    pub fn get(&self, seq: StreamSeq) -> Option<Bytes> {
        self.held.lock().by_seq.get(&seq).cloned()
    }

    /// Removes a payload that is not needed any more.
    pub fn forget(&self, seq: StreamSeq) {
        let mut held = self.held.lock();
        if let Some(payload) = held.by_seq.remove(&seq) {
            held.bytes -= payload.len() + ENTRY_BYTES;
        }
        // Its place in the order is only removed now and then: a task that waits long may be in
        // front of any number of removed entries.
        let held = &mut *held;
        if held.order.len() > 2 * held.by_seq.len() + SLACK {
            held.order.retain(|seq| held.by_seq.contains_key(seq));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_old_makes_room() {
        let payloads = Payloads::new(3 * (100 + ENTRY_BYTES));
        for seq in 1..=4 {
            payloads.put(StreamSeq(seq), &[0; 100]);
        }
        assert_eq!(payloads.get(StreamSeq(1)), None);
        assert!((2..=4).all(|seq| payloads.get(StreamSeq(seq)).is_some()));
        payloads.forget(StreamSeq(2));
        payloads.put(StreamSeq(5), &[0; 100]);
        assert!((3..=5).all(|seq| payloads.get(StreamSeq(seq)).is_some()));
    }
    #[test]
    fn what_is_kept_twice_counts_once() {
        let payloads = Payloads::new(2 * (100 + ENTRY_BYTES));
        for _ in 0..10 {
            payloads.put(StreamSeq(1), &[0; 100]);
            payloads.put(StreamSeq(2), &[0; 100]);
        }
        assert!((1..=2).all(|seq| payloads.get(StreamSeq(seq)).is_some()));
    }

    #[test]
    fn an_entry_that_stays_does_not_hold_the_places_of_the_forgotten() {
        let payloads = Payloads::new(1_000_000);
        payloads.put(StreamSeq(1), &[]);
        for seq in 2..100_000 {
            payloads.put(StreamSeq(seq), &[]);
            payloads.forget(StreamSeq(seq));
        }
        let held = payloads.held.lock();
        assert!(held.order.len() <= SLACK + 3, "{}", held.order.len());
    }
}
