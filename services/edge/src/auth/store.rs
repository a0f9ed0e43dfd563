//! The copy on disk: of each subject of CONTROL the latest event of each type, in sled, with the position that it is as of.
//!
//! Aggregates come to the same state from those as from all events ([`waybill_domain::access::Aggregate`]), so a start reads as many
//! rows as there are objects, not as there were changes.

use std::path::Path;

use waybill_domain::event::ControlEvent;
use waybill_domain::time::Timestamp;
use waybill_log::{
    Closes, Fingerprint, Record, Stream, StreamSeq, Unreadable, control_event, set_aside,
};
use waybill_store::{
    Batch, Checkpoint, Engine, KeyRange, OpenError, OpenOptions, OpenReason, Store, StoreError,
    Tree,
};

const EVENTS: Tree = Tree::new("events");
/// Sequence to name, subject and payload of what may take rights away and was not understood: judged anew at each start, so that
/// the first version that understands it applies it.
const CLOSING: Tree = Tree::new("closing");
/// Raised when the rows change: another number on disk is wiped.
const SCHEMA: u32 = 3;
/// Events in one batch: a row each and the checkpoint stay well below what sled takes at once.
const EVENTS_PER_BATCH: usize = 100;
/// Between subject and type in the key of a row; neither has one.
const SEPARATOR: u8 = 0;
const SEQ_BYTES: usize = 8;

/// The store could not be used.
#[derive(Debug, thiserror::Error)]
pub enum AuthStoreError {
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A read or write failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A row that this program wrote cannot be read.
    #[error("a row cannot be read")]
    Row,
}

/// Everything in the store.
#[derive(Default)]
pub struct Contents {
    /// With their sequences, in that order.
    pub events: Vec<(u64, ControlEvent)>,
    /// What is closed because a record is not understood.
    pub closes: Vec<Closes>,
    pub at: Option<Checkpoint>,
}

/// The latest events, on disk.
pub struct AuthStore {
    store: Store,
}

impl AuthStore {
    /// Opens or makes it. Blocks.
    pub fn open(dir: &Path) -> Result<Self, AuthStoreError> {
        let opened = OpenOptions::new(Engine::Sled, SCHEMA, &[EVENTS, CLOSING]).open(dir)?;
        match &opened.reason {
            OpenReason::Wiped(why) => {
                tracing::warn!(
                    ?why,
                    "the auth store was wiped and will be rebuilt from the log"
                );
            }
            OpenReason::Fresh | OpenReason::Resumed => {}
        }
        Ok(Self {
            store: opened.store,
        })
    }

    /// Deletes the contents and opens an empty store. Blocks.
    pub fn reset(self, dir: &Path, why: &str) -> Result<Self, AuthStoreError> {
        self.store.condemn(why);
        drop(self);
        Self::open(dir)
    }

    /// Marks the contents as unusable; whoever opens the folder next begins with an empty store. Blocks.
    pub fn condemn(self, why: &str) {
        self.store.condemn(why);
    }

    pub fn read(&self) -> Result<Contents, AuthStoreError> {
        let view = self.store.view()?;
        let at = view.checkpoint(Stream::Control.name())?;
        let mut events = Vec::new();
        for row in view.range(EVENTS, &KeyRange::all())? {
            let (key, value) = row?;
            events.push(decode_row(&key, &value).ok_or(AuthStoreError::Row)?);
        }
        let mut closes = Vec::new();
        for row in view.range(CLOSING, &KeyRange::all())? {
            let (key, value) = row?;
            let record = decode_record(&key, &value).ok_or(AuthStoreError::Row)?;
            match read(&record) {
                Read::Event(event) => events.push((record.seq.0, *event)),
                Read::Closes(closed) => closes.push(closed),
                Read::Nothing => {}
            }
        }
        events.sort_by_key(|(seq, _)| *seq);
        Ok(Contents { events, closes, at })
    }

    /// Writes the events of these records. Each replaces the earlier event of its type and subject.
    pub fn write(&self, records: &[Record], incarnation: &str) -> Result<(), AuthStoreError> {
        for chunk in records.chunks(EVENTS_PER_BATCH) {
            let mut batch = Batch::new();
            for record in chunk {
                put(&mut batch, record);
            }
            if let Some(record) = chunk.last() {
                let at = Checkpoint {
                    seq: record.seq.0,
                    incarnation: incarnation.to_owned(),
                    fingerprint: Some(Fingerprint::of(record).to_bytes()),
                };
                batch.checkpoint(Stream::Control.name(), at);
            }
            self.store.apply(batch)?;
        }
        Ok(())
    }

    /// The store itself, for syncing on a blocking thread.
    pub fn handle(&self) -> Store {
        self.store.clone()
    }
}

fn put(batch: &mut Batch, record: &Record) {
    match judge(record) {
        Ok(event) if is_kept(&event) => {
            let value = [&record.seq.0.to_be_bytes()[..], &record.payload].concat();
            batch.put(EVENTS, row_key(&record.subject, &record.event), value);
        }
        Err((_, Some(_))) => {
            let value = [
                &row_key(&record.subject, &record.event)[..],
                &[SEPARATOR],
                &record.payload,
            ];
            batch.put(CLOSING, record.seq.0.to_be_bytes(), value.concat());
        }
        Ok(_) | Err((_, None)) => {}
    }
}

/// Whether any state follows from an event; others are not stored.
fn is_kept(event: &ControlEvent) -> bool {
    event.boundary().is_some()
}

fn row_key(subject: &str, event: &str) -> Vec<u8> {
    [subject.as_bytes(), &[SEPARATOR], event.as_bytes()].concat()
}

fn decode_row(key: &[u8], value: &[u8]) -> Option<(u64, ControlEvent)> {
    let name = key.rsplit(|byte| *byte == SEPARATOR).next()?;
    let (seq, payload) = value.split_first_chunk::<SEQ_BYTES>()?;
    let event = ControlEvent::decode(std::str::from_utf8(name).ok()?, payload).ok()?;
    Some((u64::from_be_bytes(*seq), event))
}

/// What [`CLOSING`] holds of a record, which is what it is judged by.
fn decode_record(key: &[u8], value: &[u8]) -> Option<Record> {
    let mut parts = value.splitn(3, |byte| *byte == SEPARATOR);
    let mut text = || String::from_utf8(parts.next()?.to_vec()).ok();
    let (subject, event) = (text()?, text()?);
    let seq = u64::from_be_bytes(key.try_into().ok()?);
    Some(Record {
        seq: StreamSeq(seq),
        follows: StreamSeq(seq.saturating_sub(1)),
        time: Timestamp(0),
        subject,
        event,
        actor: String::new(),
        traceparent: None,
        origin: None,
        msg_id: None,
        exact: None,
        payload: parts.next()?.to_vec().into(),
    })
}

/// What a record of CONTROL means for access.
pub enum Read {
    /// An event that counts.
    Event(Box<ControlEvent>),
    /// It may take rights away, but is not understood: this is closed until it is.
    Closes(Closes),
    /// It is ignored: nothing is granted by it, and nothing is taken away.
    Nothing,
}

/// Reads a record of CONTROL.
pub fn read(record: &Record) -> Read {
    match judge(record) {
        Ok(event) => Read::Event(Box::new(event)),
        Err((why, closes)) => {
            set_aside("access", Stream::Control, record, &why);
            closes.map_or(Read::Nothing, Read::Closes)
        }
    }
}

fn judge(record: &Record) -> Result<ControlEvent, (Unreadable, Option<Closes>)> {
    control_event(record).map_err(|why| {
        let closes = Closes::of(record, &why);
        (why, closes)
    })
}
