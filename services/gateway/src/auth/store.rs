//! The copy on disk: teams and keys in sled, with the position in CONTROL that they are as of.

use std::path::Path;

use waybill_domain::event::{ControlEvent, KeyCreated, TeamCreated};
use waybill_domain::time::Timestamp;
use waybill_log::{Record, Stream, StreamSeq};
use waybill_store::{
    Batch, Checkpoint, Engine, KeyRange, OpenError, OpenOptions, OpenReason, Store, StoreError,
    Tree,
};

use super::directory::KeyView;

const TEAMS: Tree = Tree::new("teams");
const KEYS: Tree = Tree::new("keys");
/// Raised when the rows change: another number on disk is wiped.
const SCHEMA: u32 = 1;
/// Events in one batch: a row each and the checkpoint stay well below what sled takes at once.
const EVENTS_PER_BATCH: usize = 100;

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
    #[error("a row cannot be read: {0}")]
    Row(String),
}

/// Everything in the store.
#[derive(Default)]
pub(crate) struct Contents {
    pub(crate) teams: Vec<TeamCreated>,
    pub(crate) keys: Vec<KeyView>,
    pub(crate) at: Option<Checkpoint>,
}

/// Teams and keys on disk.
pub(crate) struct AuthStore {
    store: Store,
}

impl AuthStore {
    /// Opens or makes it. Blocks.
    pub(crate) fn open(dir: &Path) -> Result<Self, AuthStoreError> {
        let opened = OpenOptions::new(Engine::Sled, SCHEMA, &[TEAMS, KEYS]).open(dir)?;
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
        let mut contents = Contents {
            at: view.checkpoint(Stream::Control.name())?,
            ..Contents::default()
        };
        for row in view.range(TEAMS, &KeyRange::all())? {
            contents.teams.push(decode(&row?.1)?);
        }
        for row in view.range(KEYS, &KeyRange::all())? {
            let (created, revoked_at): (KeyCreated, Option<Timestamp>) = decode(&row?.1)?;
            contents.keys.push(KeyView::new(created, revoked_at));
        }
        Ok(contents)
    }

    /// Writes the rows that these records changed, as `key` shows them after the records were applied.
    pub(crate) fn write(
        &self,
        events: &[(StreamSeq, Option<ControlEvent>)],
        incarnation: &str,
        key: impl Fn(&ControlEvent) -> Option<(KeyCreated, Option<Timestamp>)>,
    ) -> Result<(), AuthStoreError> {
        for chunk in events.chunks(EVENTS_PER_BATCH) {
            let mut batch = Batch::new();
            for (_, event) in chunk {
                match event {
                    Some(ControlEvent::TeamCreated(e)) => {
                        batch.put(TEAMS, e.team.as_str(), encode(e));
                    }
                    Some(event @ (ControlEvent::KeyCreated(_) | ControlEvent::KeyRevoked(_))) => {
                        if let Some(row) = key(event) {
                            batch.put(KEYS, row.0.key.as_str(), encode(&row));
                        }
                    }
                    None => {}
                }
            }
            if let Some((seq, _)) = chunk.last() {
                let at = Checkpoint {
                    seq: seq.0,
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

/// Reads a record of CONTROL. What a newer version wrote is passed over: this version never grants anything by it.
pub(crate) fn decode_event(record: &Record) -> Option<ControlEvent> {
    match ControlEvent::decode(&record.event, &record.payload) {
        Ok(event) => Some(event),
        Err(error) => {
            tracing::warn!(seq = %record.seq, %error, "an event of CONTROL was passed over");
            None
        }
    }
}

fn encode<T: serde::Serialize>(row: &T) -> Vec<u8> {
    // Writing plain structs of texts and numbers to memory has no way to fail.
    rmp_serde::to_vec_named(row).unwrap_or_default()
}

fn decode<T: serde::de::DeserializeOwned>(row: &[u8]) -> Result<T, AuthStoreError> {
    rmp_serde::from_slice(row).map_err(|error| AuthStoreError::Row(error.to_string()))
}
