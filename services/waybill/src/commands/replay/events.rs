//! Replaying the log for auditors: every event of a team, as one JSON object a line, straight from the log.
//!
//! Nothing here comes from a read model, so the output can be compared with one. Both logs are merged by the time at which
//! the server stored each event; the order within a log is kept in any case, and of two events of the same
//! millisecond that of CONTROL comes first. Memory is bounded: one page of each log, whatever the length of the replay.
//!
//! A line: `{"stream", "seq", "time", "type", "version", "actor", "traceparent"?, "event"}`. `event` holds the fields as they are stored
//! (times in milliseconds since 1970), without the MAC of a key, which is never shown. An event that this version of
//! Waybill does not know is a line, too, with `"problem"` in place of `event`, so that no gap is hidden.

use std::collections::VecDeque;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use waybill_domain::event::{ControlEvent, TaskEvent, TaskRestated};
use waybill_domain::id::TeamId;
use waybill_domain::time::Timestamp;
use waybill_log::subject::{ControlSubject, TaskFilter};
use waybill_log::{Log, ReadError, Record, Stream, StreamSeq, control_event, first_at};

use waybill_streams::{short_type, stream_name};

/// Records read at a time from each log. A record can be as large as a message: 1 MiB and a little.
const PAGE: usize = 64;
/// How far the clocks of two leaders of the log may be apart. The search for a time begins that much earlier, and a replay goes
/// on that much longer, so that an event stored out of order is not missed.
const CLOCK_SKEW: Duration = Duration::from_secs(60);

/// One end of a replay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bound {
    /// A time at which the server stored an event.
    Time(Timestamp),
    /// A position in one log.
    Seq(StreamSeq),
}

/// Why the options of a replay are refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadOption {
    /// Neither a time nor a position.
    #[error(
        "--{option} must be a time such as 2026-11-21T07:00:00Z or a position such as 48120, not {given:?}"
    )]
    Bound {
        /// `from` or `to`.
        option: &'static str,
        given: String,
    },
    /// A position says nothing without its log.
    #[error(
        "--{option} is a position, which is one of a single log: say which with --stream tasks or --stream control"
    )]
    WhichStream {
        /// `from` or `to`.
        option: &'static str,
    },
    /// No such log.
    #[error("--stream must be tasks or control, not {given:?}")]
    Stream { given: String },
    /// No such event.
    #[error(
        "--type must be an event such as task.created or a group such as key, not {given:?}; known are {known}"
    )]
    Type {
        given: String,
        /// What there is.
        known: String,
    },
}

impl Bound {
    /// Reads a time (RFC 3339) or a position.
    pub(crate) fn parse(option: &'static str, text: &str) -> Result<Self, BadOption> {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let bound = if digits {
            text.parse().ok().map(|seq| Self::Seq(StreamSeq(seq)))
        } else {
            Timestamp::parse_iso8601(text).map(Self::Time)
        };
        bound.ok_or_else(|| BadOption::Bound {
            option,
            given: text.into(),
        })
    }
}

/// Reads the name of a log.
pub(crate) fn parse_stream(text: &str) -> Result<Stream, BadOption> {
    [Stream::Control, Stream::Tasks]
        .into_iter()
        .find(|&stream| stream_name(stream) == text)
        .ok_or_else(|| BadOption::Stream { given: text.into() })
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReplayOptions {
    team: TeamId,
    from: Option<Bound>,
    to: Option<Bound>,
    types: Vec<String>,
    streams: Vec<Stream>,
}

impl ReplayOptions {
    /// Both ends are inclusive; `None`: from the oldest event kept, to the newest there is now. `types`: events by full or short
    /// name (`task.created.v1`, `task.created`) or groups (`task`, `key`); empty: all. `stream`: only that log.
    pub(crate) fn new(
        team: TeamId,
        from: Option<Bound>,
        to: Option<Bound>,
        types: Vec<String>,
        stream: Option<Stream>,
    ) -> Result<Self, BadOption> {
        for (option, bound) in [("from", from), ("to", to)] {
            if stream.is_none() && matches!(bound, Some(Bound::Seq(_))) {
                return Err(BadOption::WhichStream { option });
            }
        }
        let known = || {
            let names = TaskEvent::NAMES.iter().chain(ControlEvent::NAMES);
            names.filter(|name| **name != TaskRestated::NAME)
        };
        if let Some(given) = types
            .iter()
            .find(|given| !known().any(|name| is_of_type(name, given)))
        {
            let known: Vec<&str> = known().map(|name| short_type(name)).collect();
            return Err(BadOption::Type {
                given: given.clone(),
                known: known.join(", "),
            });
        }
        Ok(Self {
            team,
            from,
            to,
            types,
            streams: stream.map_or_else(|| vec![Stream::Control, Stream::Tasks], |one| vec![one]),
        })
    }

    fn wants(&self, record: &Record) -> bool {
        let in_time = |bound, after: bool| match bound {
            Some(Bound::Time(time)) if after => record.time >= time,
            Some(Bound::Time(time)) => record.time <= time,
            Some(Bound::Seq(_)) | None => true,
        };
        in_time(self.from, true)
            && in_time(self.to, false)
            // A restatement repeats the state of a task, in which nothing happened.
            && record.event != TaskRestated::NAME
            && (self.types.is_empty() || self.types.iter().any(|t| is_of_type(&record.event, t)))
    }
}

/// Whether an event has that type, or belongs to that group.
fn is_of_type(event: &str, wanted: &str) -> bool {
    let wanted = wanted.trim_end_matches(".*");
    !wanted.is_empty()
        && event
            .strip_prefix(wanted)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// Why a replay ended early. What was written until then is correct.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReplayError {
    /// The log cannot be read.
    #[error(transparent)]
    Log(#[from] ReadError),
    /// The output is closed or full.
    #[error("the output cannot be written")]
    Output(#[from] std::io::Error),
}

/// What a replay has written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Replayed {
    pub events: u64,
    /// Of those, events that this version of Waybill cannot read.
    pub unreadable: u64,
}

/// Writes the events of a team as JSON lines.
pub(crate) async fn replay(
    log: &Arc<dyn Log>,
    options: &ReplayOptions,
    mut out: impl Write + Send,
) -> Result<Replayed, ReplayError> {
    let mut cursors = Vec::new();
    for &stream in &options.streams {
        cursors.push(Cursor::open(log, options, stream).await?);
    }
    let mut replayed = Replayed::default();
    let mut line = Vec::new();
    loop {
        let mut next: Option<(Timestamp, usize)> = None;
        for (at, cursor) in cursors.iter_mut().enumerate() {
            // CONTROL stands first, so it also wins a tie.
            if let Some(time) = cursor.peek(log, options).await?
                && next.is_none_or(|(earliest, _)| time < earliest)
            {
                next = Some((time, at));
            }
        }
        let Some(record) = next.and_then(|(_, at)| cursors[at].page.pop_front().map(|r| (r, at)))
        else {
            break;
        };
        let (record, at) = record;
        let shown = Line::new(cursors[at].stream, &record);
        replayed.events += 1;
        replayed.unreadable += u64::from(shown.problem.is_some());
        line.clear();
        serde_json::to_writer(&mut line, &shown).map_err(std::io::Error::from)?;
        line.push(b'\n');
        out.write_all(&line)?;
    }
    out.flush()?;
    Ok(replayed)
}

/// A reader of one log.
struct Cursor {
    stream: Stream,
    filters: Vec<String>,
    next: StreamSeq,
    to: StreamSeq,
    page: VecDeque<Record>,
    ended: bool,
}

impl Cursor {
    async fn open(
        log: &Arc<dyn Log>,
        options: &ReplayOptions,
        stream: Stream,
    ) -> Result<Self, ReadError> {
        let bounds = log.bounds(stream).await?;
        let next = match options.from {
            Some(Bound::Seq(seq)) => seq.max(bounds.first),
            Some(Bound::Time(time)) => {
                let skew = i64::try_from(CLOCK_SKEW.as_millis()).unwrap_or(i64::MAX);
                let time = Timestamp(time.0.saturating_sub(skew));
                first_at(log.as_ref(), stream, bounds, time).await?
            }
            None => bounds.first,
        };
        let to = match options.to {
            Some(Bound::Seq(seq)) => seq.min(bounds.last),
            Some(Bound::Time(_)) | None => bounds.last,
        };
        let filters = match stream {
            Stream::Control => vec![ControlSubject::all_of_team(&options.team)],
            Stream::Tasks => vec![TaskFilter::team(&options.team).to_string()],
        };
        Ok(Self {
            stream,
            filters,
            next,
            to,
            page: VecDeque::new(),
            ended: false,
        })
    }

    /// The time at which the next event was stored; reads on until there is one.
    async fn peek(
        &mut self,
        log: &Arc<dyn Log>,
        options: &ReplayOptions,
    ) -> Result<Option<Timestamp>, ReadError> {
        while self.page.is_empty() && !self.ended {
            if self.next > self.to {
                self.ended = true;
                break;
            }
            let read = log
                .range(self.stream, &self.filters, self.next, self.to, PAGE)
                .await;
            let page = match read {
                Err(ReadError::Gap { first, .. }) => {
                    tracing::warn!(from = %self.next, %first, "retention has dropped events while they were read");
                    self.next = first;
                    continue;
                }
                read => read?,
            };
            self.ended = page.len() < PAGE;
            if let Some(last) = page.last() {
                self.next = last.seq.next();
                let beyond = |time: Timestamp| last.time.since(time) > CLOCK_SKEW;
                self.ended |= matches!(options.to, Some(Bound::Time(time)) if beyond(time));
            }
            let wanted = page.into_iter().filter(|record| options.wants(record));
            self.page.extend(wanted);
        }
        Ok(self.page.front().map(|record| record.time))
    }
}

#[derive(Serialize)]
struct Line<'a> {
    stream: &'static str,
    seq: u64,
    time: String,
    #[serde(rename = "type")]
    kind: &'a str,
    version: &'a str,
    actor: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    traceparent: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

impl<'a> Line<'a> {
    fn new(stream: Stream, record: &'a Record) -> Self {
        let (event, problem) = match fields(stream, record) {
            Ok(event) => (Some(event), None),
            Err(problem) => (None, Some(problem)),
        };
        let kind = short_type(&record.event);
        Self {
            stream: stream_name(stream),
            seq: record.seq.0,
            time: record.time.to_rfc3339(),
            kind,
            version: record.event.get(kind.len() + 1..).unwrap_or_default(),
            actor: &record.actor,
            traceparent: record.traceparent.as_deref(),
            event,
            problem,
        }
    }
}

/// The fields of an event as they are stored, without those that are never shown.
fn fields(stream: Stream, record: &Record) -> Result<Value, String> {
    let (name, payload) = (&record.event, &record.payload);
    match stream {
        Stream::Tasks => {
            let event = TaskEvent::decode(name, payload).map_err(|e| e.to_string())?;
            let mut fields = event.to_json().map_err(|e| e.to_string())?;
            if let Some(sealed) = fields.get_mut("sealed").and_then(Value::as_object_mut) {
                sealed.remove("envelope");
            }
            Ok(fields)
        }
        Stream::Control => {
            // Like every reader, this ignores events that are not signed or are misplaced.
            let event = control_event(record).map_err(|e| e.to_string())?;
            let mut fields = event.to_json().map_err(|e| e.to_string())?;
            if let Some(fields) = fields.as_object_mut() {
                for secret in ControlEvent::WITHHELD {
                    fields.remove(*secret);
                }
            }
            Ok(fields)
        }
    }
}

#[cfg(test)]
mod tests;
