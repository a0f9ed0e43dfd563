//! Recent events by sequence: a task that starts soon after it was created need not be read back from the log.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;

use waybill_log::StreamSeq;

/// A bounded cache, first in first out: what is old has been used, or will be read from the log.
#[derive(Debug)]
pub struct Payloads {
    /// Never held across an await.
    held: Mutex<Held>,
    max_bytes: usize,
}

#[derive(Debug, Default)]
struct Held {
    by_seq: HashMap<StreamSeq, Bytes>,
    order: VecDeque<StreamSeq>,
    bytes: usize,
}

/// What an entry costs beside its payload.
const ENTRY_BYTES: usize = 96;
/// Places in the order that may be held by forgotten entries, beside as many as there are entries.
const SLACK: usize = 1_024;

impl Payloads {
    /// A cache of at most that many bytes.
    #[must_use]
    pub fn new(max_bytes: usize) -> Self {
        Self {
            held: Mutex::default(),
            max_bytes,
        }
    }

    /// Keeps a payload for a while.
    pub fn put(&self, seq: StreamSeq, payload: Bytes) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
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

    /// The payload, if it is still there.
    #[must_use]
    pub fn get(&self, seq: StreamSeq) -> Option<Bytes> {
        self.held
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .by_seq
            .get(&seq)
            .cloned()
    }

    /// Forgets a payload that nobody will ask for again.
    pub fn forget(&self, seq: StreamSeq) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(payload) = held.by_seq.remove(&seq) {
            held.bytes -= payload.len() + ENTRY_BYTES;
        }
        // Its place in the order is given up now and then: one task that waits long may stand before any number of forgotten ones.
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
            payloads.put(StreamSeq(seq), Bytes::from(vec![0; 100]));
        }
        assert_eq!(payloads.get(StreamSeq(1)), None);
        assert!((2..=4).all(|seq| payloads.get(StreamSeq(seq)).is_some()));
        payloads.forget(StreamSeq(2));
        payloads.put(StreamSeq(5), Bytes::from(vec![0; 100]));
        assert!((3..=5).all(|seq| payloads.get(StreamSeq(seq)).is_some()));
    }
    #[test]
    fn what_is_kept_twice_counts_once() {
        let payloads = Payloads::new(2 * (100 + ENTRY_BYTES));
        for _ in 0..10 {
            payloads.put(StreamSeq(1), Bytes::from(vec![0; 100]));
            payloads.put(StreamSeq(2), Bytes::from(vec![0; 100]));
        }
        assert!((1..=2).all(|seq| payloads.get(StreamSeq(seq)).is_some()));
    }

    #[test]
    fn an_entry_that_stays_does_not_hold_the_places_of_the_forgotten() {
        let payloads = Payloads::new(1_000_000);
        payloads.put(StreamSeq(1), Bytes::new());
        for seq in 2..100_000 {
            payloads.put(StreamSeq(seq), Bytes::new());
            payloads.forget(StreamSeq(seq));
        }
        let held = payloads.held.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(held.order.len() <= SLACK + 3, "{}", held.order.len());
    }
}
