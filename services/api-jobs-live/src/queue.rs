//! `GET /api/v1/events/queues/{name}`: the numbers of a queue, at once and whenever they change.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, RawQuery, State};
use axum::response::Response;
use bytes::Bytes;
use futures::stream;
use http::HeaderMap;
use tokio::time::{Instant, Interval};
use waybill_api_jobs::calls;
use waybill_commands::entropy;
use waybill_domain::id::QueueName;
use waybill_domain::seq::StreamSeq;
use waybill_edge::error::{ApiError, JobsErrorBody};
use waybill_edge::iso::Iso;
use waybill_edge::sse::{event_stream, no_room};
use waybill_streams::EventFilter;

use crate::event::{JobsEvent, JobsQueueNumbers};
use crate::frame::{self, Style};
use crate::organization::{LONGEST, PING, every};
use crate::parameters::{Asked, style};
use crate::reader::{JobsReader, Reader};
use crate::source::{Next, Source};
use crate::state::LiveApi;

/// Least time between two counts.
const PAUSE: Duration = Duration::from_secs(1);

/// Follow the numbers of a queue.
///
/// `queue.stats` comes at once, and again when something has happened to the queue's jobs, at most once a second. What happens to each of them is
/// in `/api/v1/events?queue=`.
#[utoipa::path(
    get,
    path = "/api/v1/events/queues/{name}",
    operation_id = "jobs.event.stream_queue",
    tag = "jobs",
    security(("api_key" = ["jobs:read"])),
    params(
        ("name" = String, Path, description = "Name of the queue"),
        ("token" = Option<String>, Query, description = "A key or an access token, instead of a header. `api_key` is the same"),
    ),
    responses(
        (status = 200, description = "The stream", content_type = "text/event-stream", body = JobsEvent),
        (status = 403, description = "The key is limited to other queues", body = JobsErrorBody),
        (status = 429, description = "Too many streams are open", body = JobsErrorBody),
    )
)]
pub(crate) async fn follow_queue(
    State(state): State<LiveApi>,
    Reader(caller): Reader,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    Asked::read(query.as_deref().unwrap_or_default(), &headers)?;
    let queue = calls::queue_name("name", &name)?;
    calls::needs_queue(&caller, &queue)?;
    let slot = match state.hub.take_slot(&caller.team) {
        Ok(slot) => slot,
        Err(full) => return Ok(no_room(full)),
    };
    let filter = EventFilter::team(caller.team.clone());
    let filter = filter.narrowed(std::slice::from_ref(&name), &[], &[])?;
    let now = Instant::now();
    let frames = Frames {
        source: Source::open(&state, Arc::clone(&caller), filter, None, slot).await?,
        api: state,
        caller,
        queue,
        style: style(&headers),
        ping: every(PING, now),
        due: None,
        seen: StreamSeq(0),
        last: now,
        end: now + LONGEST,
        has_ended: false,
    };
    Ok(event_stream(stream::unfold(
        frames,
        |mut frames| async move {
            let next = frames.next().await?;
            Some((next, frames))
        },
    )))
}

struct Frames {
    api: LiveApi,
    caller: Arc<JobsReader>,
    source: Source,
    queue: QueueName,
    style: Style,
    ping: Interval,
    /// When the next count is due. `None`: nothing has happened since the last.
    due: Option<Instant>,
    /// What the next count has to know of.
    seen: StreamSeq,
    last: Instant,
    end: Instant,
    has_ended: bool,
}

impl Frames {
    async fn next(&mut self) -> Option<Bytes> {
        while !self.has_ended {
            let due = self.due;
            let is_due = async move {
                match due {
                    Some(due) => tokio::time::sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            // Each of them may be dropped when another comes first: ticks stay due, and the source keeps what it has.
            tokio::select! {
                biased;
                () = tokio::time::sleep_until(self.end) => return None,
                () = is_due => match self.count().await {
                    Ok(event) => return Some(self.style.event(None, &event).into()),
                    // Shown again a second later.
                    Err(_) => self.due = Some(Instant::now() + PAUSE),
                },
                next = self.source.next() => match next? {
                    Next::Opened => {
                        self.due = Some(Instant::now());
                        return Some(frame::connected());
                    }
                    Next::Happened(happened) => {
                        let last = happened.last().map(|(seq, _)| *seq);
                        self.seen = self.seen.max(last.unwrap_or_default());
                        self.due = self.due.or(Some(self.last + PAUSE));
                    }
                    Next::Quiet(_) | Next::Gap(_) => {}
                    Next::Ends(why) => {
                        self.has_ended = true;
                        return Some(frame::comment(why));
                    }
                    Next::Refused => {
                        self.has_ended = true;
                        return Some(frame::comment("the key was revoked"));
                    }
                },
                _ = self.ping.tick() => return Some(frame::ping()),
            }
        }
        None
    }

    async fn count(&mut self) -> Result<JobsEvent, ApiError> {
        let (api, caller) = (&self.api, &self.caller);
        api.acknowledged.told(&caller.team, self.seen);
        let stats = calls::count(api, caller, Some(self.queue.clone())).await?;
        self.due = None;
        self.last = Instant::now();
        Ok(JobsEvent::QueueStats(JobsQueueNumbers {
            queue_name: self.queue.to_string(),
            pending: stats.pending,
            processing: stats.processing,
            completed: stats.completed,
            failed: stats.failed + stats.deadletter,
            timestamp: Iso(entropy::now()),
        }))
    }
}
