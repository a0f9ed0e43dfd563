//! Where a task is found: what is put into the indexes for it, and removed with it.

use waybill_domain::id::TaskId;
use waybill_domain::task::{Status, TaskRow};
use waybill_domain::time::Timestamp;
use waybill_store::{Batch, Store};

use super::keys::{self, ListOf, Place};
use super::{
    BY_ID, BY_QUEUE, BY_STATUS, BY_TEAM, DELAYED, IDEMPOTENCY, ModelError, PENDING, REPLAYS,
    RESTATED, TASKS, decode, encode, flows, runs,
};

/// The end of the delay of a task that is listed as delayed.
pub(super) fn delayed_until(row: &TaskRow, status: Status) -> Option<Timestamp> {
    row.not_before.filter(|_| status == Status::Delayed)
}

/// Adds a task to the lists, and its first creation to the indexes of idempotency keys and replays.
pub(super) fn put_place(batch: &mut Batch, row: &TaskRow, fingerprint: Option<&String>) {
    batch
        .put(BY_ID, keys::id(row.id), keys::task(row.created_seq))
        .put(BY_TEAM, keys::listed(row, ListOf::Team), [])
        .put(BY_QUEUE, keys::listed(row, ListOf::Queue(&row.queue)), []);
    if let Some(key) = &row.idempotency_key {
        let made = (row.id, fingerprint);
        let key = keys::idempotency_at(&row.team, key, row.created_seq);
        batch.put(IDEMPOTENCY, key, encode(&made));
    }
    if let Some(replayed) = row.replay_of {
        let key = keys::replay_at(replayed, row.created_seq);
        batch.put(REPLAYS, key, encode(&row.id));
    }
    runs::put_task(batch, row);
}

/// Removes a task from the model, except from the counts. `stored` is its status in the store;
/// `None` if it is not stored.
pub(super) fn remove_task(batch: &mut Batch, row: &TaskRow, stored: Option<Status>) {
    batch
        .delete(TASKS, keys::task(row.created_seq))
        .delete(BY_ID, keys::id(row.id))
        .delete(BY_TEAM, keys::listed(row, ListOf::Team))
        .delete(BY_QUEUE, keys::listed(row, ListOf::Queue(&row.queue)));
    if row.stored_seq != row.created_seq {
        batch.delete(RESTATED, keys::task(row.stored_seq));
    }
    if let Some(status) = stored {
        remove_status(batch, row, status);
    }
    if let Some(key) = &row.idempotency_key {
        let key = keys::idempotency_at(&row.team, key, row.created_seq);
        batch.delete(IDEMPOTENCY, key);
    }
    if let Some(replayed) = row.replay_of {
        batch.delete(REPLAYS, keys::replay_at(replayed, row.created_seq));
    }
    runs::remove_task(batch, row);
    flows::remove_task(batch, row);
}

/// Removes a task from the indexes by status.
pub(super) fn remove_status(batch: &mut Batch, row: &TaskRow, status: Status) {
    batch.delete(BY_STATUS, keys::listed(row, ListOf::Status(status)));
    if status == Status::Pending {
        let place = Place::of(row);
        batch.delete(PENDING, keys::by_queue(&row.team, &row.queue, place));
    }
    if let Some(until) = delayed_until(row, status) {
        let key = keys::delayed(&row.team, &row.queue, until, row.created_seq);
        batch.delete(DELAYED, key);
    }
}

pub(super) fn stored_row(store: &Store, id: TaskId) -> Result<Option<TaskRow>, ModelError> {
    let Some(created) = store.get(BY_ID, &keys::id(id))? else {
        return Ok(None);
    };
    match store.get(TASKS, &created)? {
        Some(row) => decode(TASKS, &row).map(Some),
        None => Err(super::row_error(BY_ID, "a task without a row")),
    }
}
