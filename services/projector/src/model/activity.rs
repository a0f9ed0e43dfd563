//! Who did what: one entry for each event of both logs.

use serde::{Deserialize, Serialize};
use waybill_domain::actor::Actor;
use waybill_domain::id::{KeyId, QueueName, TaskId};
use waybill_domain::time::Timestamp;
use waybill_log::{Record, Stream, StreamSeq};
use waybill_store::{Batch, KeyRange, Rows, View};

use super::page;
use super::reader::ReaderError;
use super::{ACTIVITY, KEYS, ModelError, decode, encode, keys};
use crate::query::{Activity, ActivityFilter, ActivityPage, ListActivity, MAX_SCAN};

/// How much earlier than the one before it an event of a stream can claim to be stored, when servers with different clocks take turns.
const CLOCK_SKEW_MS: i64 = 60_000;

/// An entry as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    at: Timestamp,
    event: String,
    actor: String,
    pub(super) task: Option<TaskId>,
    pub(super) queue: Option<String>,
    pub(super) key: Option<KeyId>,
}

impl Entry {
    pub(super) fn of(record: &Record) -> Self {
        Self {
            at: record.time,
            event: record.event.clone(),
            actor: record.actor.clone(),
            task: None,
            queue: None,
            key: None,
        }
    }

    pub(super) fn put(&self, batch: &mut Batch, team: &[u8], stream: Stream, seq: StreamSeq) {
        batch.put(ACTIVITY, keys::activity_at(team, stream, seq), encode(self));
    }

    fn matches(&self, filter: &ActivityFilter) -> bool {
        filter
            .event
            .as_ref()
            .is_none_or(|prefix| self.event.starts_with(prefix))
            && filter.task.is_none_or(|task| self.task == Some(task))
            && filter.after.is_none_or(|after| self.at >= after)
            && filter.before.is_none_or(|before| self.at < before)
            && filter
                .actor
                .as_ref()
                .is_none_or(|actor| Actor::parse(&self.actor) == *actor)
    }
}

/// Entries of one stream, newest first.
struct Side<'a> {
    stream: Stream,
    rows: Option<Rows<'a>>,
    /// The newest one not yet given out.
    head: Option<(StreamSeq, Entry)>,
    /// Everything from there on has been given out.
    before: StreamSeq,
}

impl<'a> Side<'a> {
    fn open(
        view: &'a View<'_>,
        query: &ListActivity,
        stream: Stream,
        before: StreamSeq,
    ) -> Result<Self, ReaderError> {
        let mut side = Self {
            stream,
            rows: None,
            head: None,
            before,
        };
        if query.filter.stream.is_none_or(|wanted| wanted == stream) {
            let team = query.team.as_ref().map_or(keys::no_team(), keys::team);
            let range = KeyRange::prefix(&keys::activity(&team, stream))
                .before(&keys::activity_at(&team, stream, before))
                .descending();
            side.rows = Some(view.range(ACTIVITY, &range)?);
            side.advance()?;
        }
        Ok(side)
    }

    fn advance(&mut self) -> Result<(), ModelError> {
        self.head = match self.rows.as_mut().and_then(Iterator::next).transpose()? {
            None => None,
            Some((key, value)) => {
                let seq = keys::seq(&key)
                    .ok_or_else(|| super::row_error(ACTIVITY, "a key without a sequence"))?;
                Some((seq, decode(ACTIVITY, &value)?))
            }
        };
        Ok(())
    }
}

/// A page of what happened. Both streams are ordered by sequence; between them the time decides.
pub(super) fn list(view: &View<'_>, query: &ListActivity) -> Result<ActivityPage, ReaderError> {
    let limit = page::limit(query.limit)?;
    page::check_text("type", query.filter.event.as_deref())?;
    let (control, tasks) = match &query.cursor {
        None => (StreamSeq(u64::MAX), StreamSeq(u64::MAX)),
        Some(text) => {
            let place: [u8; 16] = page::read_cursor(page::ACTIVITY_CURSOR, text)?;
            let place = keys::Place::from_bytes(place);
            (StreamSeq(place.at), place.seq)
        }
    };
    let mut control = Side::open(view, query, Stream::Control, control)?;
    let mut tasks = Side::open(view, query, Stream::Tasks, tasks)?;
    let mut entries = Vec::new();
    for _ in 0..MAX_SCAN {
        let control_is_newer = match (&control.head, &tasks.head) {
            (None, None) => {
                return Ok(ActivityPage {
                    entries,
                    next: None,
                });
            }
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (Some((_, a)), Some((_, b))) => a.at >= b.at,
        };
        let side = if control_is_newer {
            &mut control
        } else {
            &mut tasks
        };
        if entries.len() == limit {
            break;
        }
        let Some((seq, entry)) = side.head.take() else {
            break;
        };
        let too_old = query
            .filter
            .after
            .is_some_and(|after| entry.at.0 < after.0.saturating_sub(CLOCK_SKEW_MS));
        if too_old {
            side.rows = None;
            continue;
        }
        if entry.matches(&query.filter) {
            entries.push(activity(view, side.stream, seq, entry)?);
        }
        side.before = seq;
        side.advance()?;
    }
    let place = keys::Place {
        at: control.before.0,
        seq: tasks.before,
    };
    Ok(ActivityPage {
        entries,
        next: Some(page::write_cursor(page::ACTIVITY_CURSOR, place.to_bytes())),
    })
}

fn activity(
    view: &View<'_>,
    stream: Stream,
    seq: StreamSeq,
    entry: Entry,
) -> Result<Activity, ReaderError> {
    let actor = Actor::parse(&entry.actor);
    let actor_name = match &actor {
        Actor::Key(key) => match view.get(KEYS, key.as_str().as_bytes())? {
            Some(name) => Some(decode(KEYS, &name)?),
            None => None,
        },
        Actor::User(_) | Actor::App(_) | Actor::System(_) | Actor::Operator(_) => None,
    };
    Ok(Activity {
        stream,
        seq,
        at: entry.at,
        event: entry.event,
        actor,
        actor_name,
        task: entry.task,
        queue: entry.queue.and_then(|name| QueueName::parse(&name).ok()),
        key: entry.key,
    })
}
