//! The copy on disk: of each subject of CONTROL the latest event of each type, in sled, with the position that it is as of.
//!
//! Aggregates come to the same state from those as from all events ([`waybill_domain::access::Aggregate`]), so a start reads as many
//! rows as there are things, not as there were changes.

use std::path::Path;

use waybill_domain::event::ControlEvent;
use waybill_domain::time::Timestamp;
use waybill_log::{Closes, Record, Stream, StreamSeq, Unreadable, control_event, set_aside};
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
    /// Not opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Not read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A row of our own making is not readable.
    #[error("a row cannot be read")]
    Row,
}

/// Everything in the store.
#[derive(Default)]
pub(crate) struct Contents {
    /// With their sequences, in that order.
    pub(crate) events: Vec<(u64, ControlEvent)>,
    /// What is closed by what is not understood.
    pub(crate) closes: Vec<Closes>,
    pub(crate) at: Option<Checkpoint>,
}

/// The latest events, on disk.
pub(crate) struct AuthStore {
    store: Store,
}

impl AuthStore {
    /// Opens or makes it. Blocks.
    pub(crate) fn open(dir: &Path) -> Result<Self, AuthStoreError> {
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

    /// Throws away what is there and begins anew. Blocks.
    pub(crate) fn reset(self, dir: &Path, why: &str) -> Result<Self, AuthStoreError> {
        self.store.condemn(why);
        drop(self);
        Self::open(dir)
    }

    pub(crate) fn read(&self) -> Result<Contents, AuthStoreError> {
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

    /// Writes what these records say. Each replaces what an earlier one of its type said of the same thing.
    pub(crate) fn write(
        &self,
        records: &[Record],
        incarnation: &str,
    ) -> Result<(), AuthStoreError> {
        for chunk in records.chunks(EVENTS_PER_BATCH) {
            let mut batch = Batch::new();
            for record in chunk {
                put(&mut batch, record);
            }
            if let Some(record) = chunk.last() {
                let at = Checkpoint {
                    seq: record.seq.0,
                    incarnation: incarnation.to_owned(),
                };
                batch.checkpoint(Stream::Control.name(), at);
            }
            self.store.apply(batch)?;
        }
        Ok(())
    }

    /// The store itself, for syncing on a blocking thread.
    pub(crate) fn handle(&self) -> Store {
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

/// What no state follows from is not kept.
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
    Some(Record {
        seq: StreamSeq(u64::from_be_bytes(key.try_into().ok()?)),
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
pub(crate) enum Read {
    /// It counts.
    Event(Box<ControlEvent>),
    /// It may take rights away, but is not understood: this is closed until it is.
    Closes(Closes),
    /// It does not count: nothing is granted by it, and nothing is taken away.
    Nothing,
}

/// Reads a record of CONTROL.
pub(crate) fn read(record: &Record) -> Read {
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
