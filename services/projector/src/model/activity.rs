//! Activity: one entry for each event of both logs.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use waybill_domain::actor::Actor;
use waybill_domain::id::{Environment, QueueName, TaskId, TeamId};
use waybill_domain::time::Timestamp;
use waybill_log::{Record, Stream, StreamSeq};
use waybill_store::{Batch, KeyRange, Rows, View};

use super::about::About;
use super::reader::ReaderError;
use super::roster::{self, Known};
use super::{ACTIVITY, ModelError, decode, encode, keys, page, sweep};
use crate::query::{
    Activity, ActivityFilter, ActivityNews, ActivityPage, ActivityTarget, FollowActivity,
    ListActivity, MAX_SCAN, Outcome, Position,
};

/// How much earlier than its predecessor an event of a stream may claim to be stored, when servers
/// with different clocks take turns.
const CLOCK_SKEW_MS: i64 = 60_000;

/// A stored entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    at: Timestamp,
    event: String,
    pub(super) actor: String,
    origin: Option<EntryOrigin>,
    pub(super) task: Option<TaskId>,
    pub(super) queue: Option<String>,
    /// Only for events of CONTROL.
    pub(super) about: Option<Box<About>>,
}

/// The request that caused it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct EntryOrigin {
    request: String,
    source: String,
    agent: Option<String>,
}

impl Entry {
    pub(super) fn of(record: &Record) -> Self {
        let origin = record.origin.as_ref().map(|origin| EntryOrigin {
            request: origin.request_id.to_string(),
            source: origin.source.to_string(),
            agent: origin.agent.as_deref().map(str::to_owned),
        });
        Self {
            at: record.time,
            event: record.event.clone(),
            actor: record.actor.clone(),
            origin,
            task: None,
            queue: None,
            about: None,
        }
    }

    pub(super) fn put(&self, batch: &mut Batch, team: &[u8], stream: Stream, seq: StreamSeq) {
        batch.put(ACTIVITY, keys::activity_at(team, stream, seq), encode(self));
    }

    /// The environment that it belongs to, if any.
    pub(super) fn environment(&self) -> Option<Environment> {
        self.about.as_ref()?.environment
    }

    fn outcome(&self) -> Outcome {
        match &self.about {
            Some(about) if about.refused.is_some() => Outcome::Refused,
            _ => Outcome::Ok,
        }
    }

    /// Whether a key, an application or a person caused it, and not a role of Waybill.
    fn is_by_credential(&self) -> bool {
        match Actor::parse(&self.actor) {
            Actor::Key(_) | Actor::User(_) | Actor::App(_) => true,
            Actor::System(_) | Actor::Operator(_) => false,
        }
    }

    fn is_about(&self, id: &str) -> bool {
        match (&self.about, self.task) {
            (Some(about), _) => about.id == id,
            (None, Some(task)) => TaskId::parse(id) == Ok(task),
            (None, None) => false,
        }
    }

    fn matches(&self, filter: &ActivityFilter) -> bool {
        filter
            .event
            .as_ref()
            .is_none_or(|prefix| self.event.starts_with(prefix))
            && filter.task.is_none_or(|task| self.task == Some(task))
            && filter.after.is_none_or(|after| self.at >= after)
            && filter.before.is_none_or(|before| self.at < before)
            && filter.outcome.is_none_or(|wanted| self.outcome() == wanted)
            && filter.target.as_ref().is_none_or(|id| self.is_about(id))
            && filter.source.as_ref().is_none_or(|source| {
                let origin = self.origin.as_ref();
                origin.is_some_and(|origin| origin.source == *source)
            })
            && filter
                .actor
                .as_ref()
                .is_none_or(|actor| Actor::parse(&self.actor) == *actor)
    }
}

/// The entries of one stream, in one direction.
struct Side<'a> {
    stream: Stream,
    rows: Option<Rows<'a>>,
    /// The next entry that was not returned yet.
    head: Option<(StreamSeq, Entry)>,
    /// Everything up to here, in that direction, was returned.
    at: StreamSeq,
}

impl<'a> Side<'a> {
    fn open(
        view: &'a View<'_>,
        stream: Stream,
        at: StreamSeq,
        range: Option<&KeyRange>,
    ) -> Result<Self, ReaderError> {
        let mut side = Self {
            stream,
            rows: None,
            head: None,
            at,
        };
        if let Some(range) = range {
            side.rows = Some(view.range(ACTIVITY, range)?);
            side.advance()?;
        }
        Ok(side)
    }

    /// Newest first, before a sequence.
    fn back_from(
        view: &'a View<'_>,
        query: &ListActivity,
        stream: Stream,
        before: StreamSeq,
    ) -> Result<Self, ReaderError> {
        let team = query.team.as_ref().map_or(keys::no_team(), keys::team);
        let range = KeyRange::prefix(&keys::activity(&team, stream))
            .before(&keys::activity_at(&team, stream, before))
            .descending();
        let wanted = query.filter.stream.is_none_or(|wanted| wanted == stream);
        Self::open(view, stream, before, wanted.then_some(&range))
    }

    /// Oldest first, after a sequence.
    fn on_from(
        view: &'a View<'_>,
        query: &FollowActivity,
        stream: Stream,
    ) -> Result<Self, ReaderError> {
        let (team, after) = (keys::team(&query.team), query.after.of(stream));
        let range = KeyRange::prefix(&keys::activity(&team, stream))
            .after(&keys::activity_at(&team, stream, after));
        let wanted = query.filter.stream.is_none_or(|wanted| wanted == stream);
        Self::open(view, stream, after, wanted.then_some(&range))
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

/// A page of activity. Each stream is ordered by sequence; the time decides between the two.
pub(super) fn list(view: &View<'_>, query: &ListActivity) -> Result<ActivityPage, ReaderError> {
    let limit = page::limit(query.limit)?;
    check(&query.filter)?;
    let (control, tasks) = match &query.cursor {
        None => (StreamSeq(u64::MAX), StreamSeq(u64::MAX)),
        Some(text) => {
            let place: [u8; 16] = page::read_cursor(page::ACTIVITY_CURSOR, text)?;
            let place = keys::Place::from_bytes(place);
            (StreamSeq(place.at), place.seq)
        }
    };
    let mut control = Side::back_from(view, query, Stream::Control, control)?;
    let mut tasks = Side::back_from(view, query, Stream::Tasks, tasks)?;
    let mut naming = Naming::new(view, query.team.as_ref());
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
            entries.push(naming.activity(side.stream, seq, entry)?);
        }
        side.at = seq;
        side.advance()?;
    }
    let place = keys::Place {
        at: control.at.0,
        seq: tasks.at,
    };
    Ok(ActivityPage {
        entries,
        next: Some(page::write_cursor(page::ACTIVITY_CURSOR, place.to_bytes())),
    })
}

/// The activity after a position, oldest first. `applied` is how far the model has read.
pub(super) fn follow(
    view: &View<'_>,
    query: &FollowActivity,
    applied: Position,
) -> Result<ActivityNews, ReaderError> {
    let limit = page::limit(query.limit)?;
    check(&query.filter)?;
    let mut control = Side::on_from(view, query, Stream::Control)?;
    let mut tasks = Side::on_from(view, query, Stream::Tasks)?;
    let mut naming = Naming::new(view, Some(&query.team));
    let mut entries = Vec::new();
    for _ in 0..MAX_SCAN {
        let task_is_older = match (&control.head, &tasks.head) {
            (None, None) => break,
            (Some(_), None) => false,
            (None, Some(_)) => true,
            (Some((_, a)), Some((_, b))) => b.at <= a.at,
        };
        let side = if task_is_older {
            &mut tasks
        } else {
            &mut control
        };
        if entries.len() == limit {
            break;
        }
        let Some((seq, entry)) = side.head.take() else {
            break;
        };
        let shown = side.stream == Stream::Control || entry.is_by_credential();
        if shown && entry.matches(&query.filter) {
            entries.push(naming.activity(side.stream, seq, entry)?);
        }
        side.at = seq;
        side.advance()?;
    }
    let reached = |side: &Side<'_>| match side.head {
        Some(_) => side.at,
        // This view has no more of this stream.
        None => side.at.max(applied.of(side.stream)),
    };
    Ok(ActivityNews {
        reached: Position {
            control: reached(&control),
            tasks: reached(&tasks),
        },
        entries,
        first_task: sweep::floor(view)?,
    })
}

fn check(filter: &ActivityFilter) -> Result<(), ReaderError> {
    page::check_text("type", filter.event.as_deref())?;
    page::check_text("target", filter.target.as_deref())?;
    page::check_text("source", filter.source.as_deref())?;
    Ok(())
}

/// Adds names to the entries of one answer, looking up each only once.
struct Naming<'a> {
    view: &'a View<'a>,
    /// The environment of all task events in the answer.
    environment: Option<Environment>,
    known: HashMap<String, Option<Known>>,
}

impl<'a> Naming<'a> {
    fn new(view: &'a View<'a>, team: Option<&TeamId>) -> Self {
        Self {
            view,
            environment: team.map(TeamId::environment),
            known: HashMap::new(),
        }
    }

    fn known(&mut self, id: &str) -> Result<Option<&Known>, ModelError> {
        if !self.known.contains_key(id) {
            let known = roster::known(self.view, id)?;
            self.known.insert(id.to_owned(), known);
        }
        Ok(self.known.get(id).and_then(Option::as_ref))
    }

    /// The name at the time of the entry, or else the email address.
    fn name(&mut self, id: &str, at: Timestamp) -> Result<Option<String>, ModelError> {
        let known = self.known(id)?;
        let name = known.and_then(|known| {
            let named = known.name_at(at).filter(|name| !name.is_empty());
            named.or(known.email())
        });
        Ok(name.map(str::to_owned))
    }

    fn activity(
        &mut self,
        stream: Stream,
        seq: StreamSeq,
        entry: Entry,
    ) -> Result<Activity, ModelError> {
        let (at, outcome) = (entry.at, entry.outcome());
        let actor = Actor::parse(&entry.actor);
        let (actor_name, actor_email) = match &actor {
            Actor::Key(id) => (self.name(id.as_str(), at)?, None),
            Actor::App(id) => (self.name(id.as_str(), at)?, None),
            Actor::User(id) => {
                let email = self.known(id.as_str())?.and_then(Known::email);
                let email = email.map(str::to_owned);
                (self.name(id.as_str(), at)?, email)
            }
            Actor::System(_) | Actor::Operator(_) => (None, None),
        };
        let (target, key, environment, refusal) = match entry.about {
            Some(about) => {
                let about = *about;
                let called = about.called.as_ref().unwrap_or(&about.id);
                let target = ActivityTarget {
                    name: self.name(called, at)?,
                    kind: about.kind,
                    id: about.id,
                };
                (Some(target), about.key, about.environment, about.refused)
            }
            None => {
                let target = entry.task.map(|task| ActivityTarget {
                    kind: "task".to_owned(),
                    id: task.to_string(),
                    name: None,
                });
                let of_task = self.environment.filter(|_| stream == Stream::Tasks);
                (target, None, of_task, None)
            }
        };
        let origin = entry.origin;
        let (request_id, source, agent) = match origin {
            Some(origin) => (Some(origin.request), Some(origin.source), origin.agent),
            None => (None, None, None),
        };
        Ok(Activity {
            stream,
            seq,
            at,
            event: entry.event,
            actor,
            actor_name,
            actor_email,
            target,
            task: entry.task,
            queue: entry.queue.and_then(|name| QueueName::parse(&name).ok()),
            key,
            environment,
            request_id,
            source,
            agent,
            outcome,
            refusal,
        })
    }
}
