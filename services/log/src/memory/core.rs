//! The streams, leases and snapshots as plain values.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use waybill_domain::time::Timestamp;

use crate::frame::{self, Split, expand, is_wanted, split};
use crate::position::Positions;
use crate::subject::matches;
use crate::{
    Append, AppendError, Appended, Bounds, Expectation, Lease, LeaseError, MsgId, NewRecord,
    ReadError, Record, Stream, StreamSeq,
};

/// The source of the time. A simulation supplies its own.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// How long message ids are remembered; the same as `duplicate_window` of the streams.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(120);

/// Two streams, leases and snapshots in memory. It is synchronous: every call is one step of a
/// simulation.
pub struct MemoryCore {
    clock: Clock,
    control: Messages,
    tasks: Messages,
    lease_ttl: Duration,
    lease_revision: u64,
    leases: BTreeMap<String, HeldLease>,
    snapshots: BTreeMap<String, Bytes>,
}

struct Messages {
    incarnation: i64,
    positions: Positions,
    first: u64,
    messages: VecDeque<Message>,
    /// Of all messages.
    bytes: u64,
    /// Last sequence of each subject, among the messages that are still stored.
    last_by_subject: BTreeMap<String, u64>,
    ids: HashMap<String, (u64, Timestamp)>,
    ids_by_age: VecDeque<(Timestamp, String)>,
}

/// The message that is stored under one sequence.
struct Message {
    subject: String,
    bytes: usize,
    /// One record, or those of a frame.
    records: Vec<Record>,
}

struct HeldLease {
    holder: String,
    revision: u64,
    until: Timestamp,
}

impl MemoryCore {
    /// A core with empty streams.
    #[must_use]
    pub fn new(clock: Clock, lease_ttl: Duration) -> Self {
        let now = clock();
        Self {
            clock,
            control: Messages::new(now),
            tasks: Messages::new(now),
            lease_ttl,
            lease_revision: 0,
            leases: BTreeMap::new(),
            snapshots: BTreeMap::new(),
        }
    }

    fn stream(&self, stream: Stream) -> &Messages {
        match stream {
            Stream::Control => &self.control,
            Stream::Tasks => &self.tasks,
        }
    }

    fn stream_mut(&mut self, stream: Stream) -> &mut Messages {
        match stream {
            Stream::Control => &mut self.control,
            Stream::Tasks => &mut self.tasks,
        }
    }

    /// Events that are appended to TASKS from now on are stored in frames.
    pub fn switch_to_frames(&mut self) {
        let first = self.tasks.last() + 1;
        let positions = &mut self.tasks.positions;
        *positions = Positions::with_frames_from(positions.first_frame().unwrap_or(first));
    }

    /// Appends all records or none.
    pub fn append(&mut self, append: Append) -> Result<Appended, AppendError> {
        append.check()?;
        let now = (self.clock)();
        self.stream_mut(append.stream).append(append, now)
    }

    /// The record at a position.
    #[must_use]
    pub fn read(&self, stream: Stream, seq: StreamSeq) -> Option<&Record> {
        let mut records = self.read_message(stream, seq).iter();
        records.find(|record| record.seq == seq)
    }

    /// All records of the message that holds a position.
    #[must_use]
    pub fn read_message(&self, stream: Stream, seq: StreamSeq) -> &[Record] {
        let messages = self.stream(stream);
        let message = messages.get(messages.positions.message(seq));
        message.map_or(&[], |message| &message.records)
    }

    /// Records from `from` to `to`, both inclusive, that match one of `filters` (empty: all), in order.
    pub fn range<'a>(
        &'a self,
        stream: Stream,
        filters: &'a [String],
        from: StreamSeq,
        to: StreamSeq,
    ) -> impl Iterator<Item = &'a Record> + 'a {
        let messages = self.stream(stream);
        let from_message = messages.positions.message(from);
        let skip = usize::try_from(from_message.saturating_sub(messages.first));
        let skip = skip.unwrap_or(usize::MAX).min(messages.messages.len());
        messages
            .messages
            .range(skip..)
            .flat_map(|message| &message.records)
            .skip_while(move |record| record.seq < from)
            .take_while(move |record| record.seq <= to)
            .filter(move |record| is_wanted(filters, &record.subject))
    }

    /// The last record whose subject matches `filter`.
    #[must_use]
    pub fn last(&self, stream: Stream, filter: &str) -> Option<&Record> {
        let messages = self.stream(stream);
        let records = messages
            .messages
            .iter()
            .flat_map(|message| &message.records);
        records
            .rev()
            .find(|record| matches(filter, &record.subject))
    }

    /// The state of a stream at this moment.
    #[must_use]
    pub fn bounds(&self, stream: Stream) -> Bounds {
        let messages = self.stream(stream);
        Bounds {
            first: messages.positions.first_in(messages.first),
            last: messages.positions.last_in(messages.last()),
            incarnation: messages.incarnation,
            messages: messages.messages.len() as u64,
            positions: messages.positions,
            bytes: messages.bytes,
            max_bytes: None,
            now: (self.clock)(),
        }
    }

    /// Drops the oldest `count` messages, as retention does.
    pub fn drop_first(&mut self, stream: Stream, count: usize) {
        self.stream_mut(stream).drop_first(count);
    }

    /// Keeps only the oldest `count` messages, as a restore from an older backup does.
    pub fn cut(&mut self, stream: Stream, count: usize) {
        self.stream_mut(stream).cut(count);
    }

    /// Drops the messages before the one that holds `first`, and returns their number.
    pub fn purge(&mut self, stream: Stream, first: StreamSeq) -> u64 {
        let messages = self.stream_mut(stream);
        let wanted = messages
            .positions
            .message(first)
            .saturating_sub(messages.first);
        let count = wanted.min(messages.messages.len() as u64);
        messages.drop_first(usize::try_from(count).unwrap_or(usize::MAX));
        count
    }

    /// The gap that a read of TASKS from `from` on meets. A read from 0 starts at the first message
    /// left, so it meets none.
    #[must_use]
    pub fn gap(&self, stream: Stream, from: StreamSeq) -> Option<ReadError> {
        let messages = self.stream(stream);
        let first = messages.positions.first_in(messages.first);
        let is_gap = stream == Stream::Tasks
            && from.0 > 0
            && messages.positions.message(from) < messages.first;
        is_gap.then_some(ReadError::Gap {
            stream: stream.name(),
            from,
            first,
        })
    }

    /// How long a lease lives without renewal.
    #[must_use]
    pub fn lease_ttl(&self) -> Duration {
        self.lease_ttl
    }

    fn live_lease(&self, name: &str) -> Option<&HeldLease> {
        let now = (self.clock)();
        self.leases.get(name).filter(|lease| now < lease.until)
    }

    fn hold(&mut self, name: &str, holder: &str) -> Lease {
        self.lease_revision += 1;
        let until = (self.clock)().plus(self.lease_ttl);
        let held = HeldLease {
            holder: holder.to_owned(),
            revision: self.lease_revision,
            until,
        };
        self.leases.insert(name.to_owned(), held);
        Lease {
            name: name.to_owned(),
            holder: holder.to_owned(),
            revision: self.lease_revision,
        }
    }

    /// Takes a lease that is free, or that this holder has already.
    pub fn acquire(&mut self, name: &str, holder: &str) -> Result<Lease, LeaseError> {
        if self
            .live_lease(name)
            .is_some_and(|held| held.holder != holder)
        {
            return Err(LeaseError::NotHeld { name: name.into() });
        }
        Ok(self.hold(name, holder))
    }

    fn check_held(&self, lease: &Lease) -> Result<(), LeaseError> {
        let ours = |held: &HeldLease| held.revision == lease.revision;
        if self.live_lease(&lease.name).is_some_and(ours) {
            Ok(())
        } else {
            Err(LeaseError::NotHeld {
                name: lease.name.clone(),
            })
        }
    }

    /// Extends a lease.
    pub fn renew(&mut self, lease: &Lease) -> Result<Lease, LeaseError> {
        self.check_held(lease)?;
        Ok(self.hold(&lease.name, &lease.holder))
    }

    /// Gives a lease back.
    pub fn release(&mut self, lease: &Lease) -> Result<(), LeaseError> {
        self.check_held(lease)?;
        self.leases.remove(&lease.name);
        Ok(())
    }

    /// All leases that are held now, as `(name, holder)`, sorted by name.
    #[must_use]
    pub fn holders(&self) -> Vec<(String, String)> {
        let now = (self.clock)();
        self.leases
            .iter()
            .filter(|(_, lease)| now < lease.until)
            .map(|(name, lease)| (name.clone(), lease.holder.clone()))
            .collect()
    }

    /// Replaces a snapshot.
    pub fn put_snapshot(&mut self, name: &str, value: Bytes) {
        self.snapshots.insert(name.to_owned(), value);
    }

    /// The newest snapshot of that name.
    #[must_use]
    pub fn snapshot(&self, name: &str) -> Option<Bytes> {
        self.snapshots.get(name).cloned()
    }
}

impl Messages {
    fn new(now: Timestamp) -> Self {
        Self {
            incarnation: now.0.saturating_mul(1_000_000),
            positions: Positions::OF_MESSAGES,
            first: 1,
            messages: VecDeque::new(),
            bytes: 0,
            last_by_subject: BTreeMap::new(),
            ids: HashMap::new(),
            ids_by_age: VecDeque::new(),
        }
    }

    fn last(&self) -> u64 {
        self.first + self.messages.len() as u64 - 1
    }

    fn get(&self, seq: u64) -> Option<&Message> {
        let at = usize::try_from(seq.checked_sub(self.first)?).ok()?;
        self.messages.get(at)
    }

    /// Last sequence on a filter; 0 if no stored message matches. As on the server, that includes
    /// messages that retention has dropped.
    fn last_on(&self, filter: &str) -> u64 {
        if let Some(&seq) = self.last_by_subject.get(filter) {
            return seq;
        }
        self.last_by_subject
            .iter()
            .filter(|(subject, _)| matches(filter, subject))
            .map(|(_, &seq)| seq)
            .max()
            .unwrap_or(0)
    }

    fn append(&mut self, append: Append, now: Timestamp) -> Result<Appended, AppendError> {
        self.forget_ids(now);
        let earlier = append
            .msg_id
            .as_ref()
            .and_then(|MsgId(id)| self.ids.get(id));
        if let Some(&(seq, _)) = earlier {
            // Of an earlier append of several records it is not known how many it had.
            let seq = (append.records.len() == 1).then(|| self.positions.last_in(seq));
            return Ok(Appended {
                seqs: seq.into_iter().collect(),
                duplicate: true,
            });
        }
        if let Expectation::LastOn { filter, seq } = append.expect
            && self.last_on(&filter) != self.positions.message(seq)
        {
            return Err(AppendError::Conflict {
                filter,
                expected: seq,
            });
        }
        let mut msg_id = append.msg_id.map(|MsgId(id)| id);
        if self.positions.has_frames() && (msg_id.is_none() || append.records.len() > 1) {
            let seqs = self.push_frames(&append.records, msg_id, now);
            return Ok(Appended {
                seqs,
                duplicate: false,
            });
        }
        let seqs = append
            .records
            .into_iter()
            .map(|record| self.push(record, msg_id.take(), now))
            .collect();
        Ok(Appended {
            seqs,
            duplicate: false,
        })
    }

    fn push_frames(
        &mut self,
        records: &[NewRecord],
        mut msg_id: Option<String>,
        now: Timestamp,
    ) -> Vec<StreamSeq> {
        let mut seqs = vec![StreamSeq(0); records.len()];
        for Split { lane, events, .. } in split(records) {
            let first = events.first().copied().unwrap_or_default();
            let message = if let Some(lane) = lane {
                let frame = frame::write(lane, events.iter().map(|&event| &records[event]));
                NewRecord {
                    subject: frame.subject,
                    event: frame::NAME,
                    actor: String::new(),
                    traceparent: None,
                    origin: None,
                    payload: frame.payload,
                }
            } else {
                records[first].clone()
            };
            self.push(message, msg_id.take(), now);
            let stored = self.messages.back().map(|message| &message.records);
            for (&event, record) in events.iter().zip(stored.into_iter().flatten()) {
                seqs[event] = record.seq;
            }
        }
        seqs
    }

    fn push(&mut self, record: NewRecord, msg_id: Option<String>, now: Timestamp) -> StreamSeq {
        let seq = self.last() + 1;
        if let Some(id) = &msg_id {
            self.ids.insert(id.clone(), (seq, now));
            self.ids_by_age.push_back((now, id.clone()));
        }
        self.last_by_subject.insert(record.subject.clone(), seq);
        let (subject, bytes) = (record.subject.clone(), record.payload.len());
        let message = Record {
            seq: StreamSeq(seq),
            follows: StreamSeq(seq - 1),
            time: now,
            subject: record.subject,
            event: record.event.to_owned(),
            actor: record.actor,
            traceparent: record.traceparent,
            origin: record.origin,
            msg_id,
            exact: None,
            payload: record.payload,
        };
        let mut records = Vec::new();
        expand(
            message,
            self.positions,
            |_, _| true,
            |record| records.push(record),
        );
        self.bytes += bytes as u64;
        self.messages.push_back(Message {
            subject,
            bytes,
            records,
        });
        self.positions.last_in(seq)
    }

    fn forget_ids(&mut self, now: Timestamp) {
        while let Some((at, id)) = self.ids_by_age.front()
            && now.since(*at) > DUPLICATE_WINDOW
        {
            self.ids.remove(id);
            self.ids_by_age.pop_front();
        }
    }

    fn cut(&mut self, count: usize) {
        for message in self.messages.drain(count.min(self.messages.len())..) {
            self.bytes -= message.bytes as u64;
        }
        let numbered = (self.first..).zip(&self.messages);
        let last = numbered.map(|(seq, message)| (message.subject.clone(), seq));
        self.last_by_subject = last.collect();
    }

    fn drop_first(&mut self, count: usize) {
        for _ in 0..count.min(self.messages.len()) {
            if let Some(message) = self.messages.pop_front() {
                self.bytes -= message.bytes as u64;
                if self.last_by_subject.get(&message.subject) == Some(&self.first) {
                    self.last_by_subject.remove(&message.subject);
                }
            }
            self.first += 1;
        }
    }
}
