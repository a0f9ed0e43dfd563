//! `GET /api/v1/events`: what happens to all jobs that the caller may see.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{RawQuery, State};
use axum::response::Response;
use bytes::Bytes;
use futures::stream;
use http::HeaderMap;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};
use waybill_edge::error::{ApiError, JobsErrorBody};
use waybill_edge::sse::{event_stream, no_room};
use waybill_streams::EventFilter;

use crate::event::JobsEvent;
use crate::frame::{self, Style};
use crate::parameters::{Asked, style};
use crate::reader::Reader;
use crate::source::{Next, Source};
use crate::state::LiveApi;
use crate::wanted::Wanted;

/// How often a stream says that it lives.
pub(crate) const PING: Duration = Duration::from_secs(15);
/// How often it says how the gateway does.
const HEALTH: Duration = Duration::from_secs(10);
/// How long a stream stays open: its client comes back where it was.
pub(crate) const LONGEST: Duration = Duration::from_secs(1_800);

/// Follow what happens to jobs.
///
/// Server-sent events, pushed from the log: `data` is `{"type", "data"}`, `id` a position in the log. A client that comes back with
/// `Last-Event-ID` (or `after`) gets everything since, once and in order. It begins with the comment `: connected`, sends a comment every 15
/// seconds and `system.health` every 10, ends after 30 minutes, and at once when the key is revoked.
#[utoipa::path(
    get,
    path = "/api/v1/events",
    operation_id = "jobs.event.stream_all",
    tag = "jobs",
    security(("api_key" = ["jobs:read"])),
    params(
        ("queue" = Option<String>, Query, description = "Only this queue"),
        ("job_id" = Option<String>, Query, description = "Only this job"),
        ("events" = Option<String>, Query, description = "Only events with these names, separated by commas"),
        ("after" = Option<u64>, Query, description = "Go on after the event with this id"),
        ("Last-Event-ID" = Option<u64>, Header, description = "The same; takes precedence"),
        ("token" = Option<String>, Query, description = "A key or an access token, instead of a header. `api_key` is the same"),
    ),
    responses(
        (status = 200, description = "The stream", content_type = "text/event-stream", body = JobsEvent),
        (status = 429, description = "Too many streams are open", body = JobsErrorBody),
    )
)]
pub(crate) async fn follow_events(
    State(state): State<LiveApi>,
    Reader(caller): Reader,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let asked = Asked::read(query.as_deref().unwrap_or_default(), &headers)?;
    let wanted = asked.wanted(&caller)?;
    let slot = match state.hub.take_slot(&caller.team) {
        Ok(slot) => slot,
        Err(full) => return Ok(no_room(full)),
    };
    let filter = EventFilter::team(caller.team.clone());
    let source = Source::open(&state, Arc::clone(&caller), filter, asked.after, slot).await?;
    let now = Instant::now();
    let frames = Frames {
        api: state,
        source,
        wanted,
        style: style(&headers),
        ping: every(PING, now),
        health: every(HEALTH, now),
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

/// Ticks so often from now on; what was missed is not made up for.
pub(crate) fn every(period: Duration, now: Instant) -> Interval {
    let mut ticks = interval_at(now + period, period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

struct Frames {
    api: LiveApi,
    source: Source,
    wanted: Wanted,
    style: Style,
    ping: Interval,
    health: Interval,
    end: Instant,
    has_ended: bool,
}

impl Frames {
    async fn next(&mut self) -> Option<Bytes> {
        while !self.has_ended {
            // Each of them may be dropped when another comes first: ticks stay due, and the source keeps what it has.
            let frame = tokio::select! {
                biased;
                () = tokio::time::sleep_until(self.end) => return None,
                next = self.source.next() => match next {
                    Some(next) => self.write(next),
                    None => return None,
                },
                _ = self.health.tick() => self.health(),
                _ = self.ping.tick() => Some(frame::ping()),
            };
            if frame.is_some() {
                return frame;
            }
        }
        None
    }

    fn write(&mut self, next: Next) -> Option<Bytes> {
        match next {
            Next::Opened => Some(frame::connected()),
            Next::Happened(happened) => {
                let mut text = String::new();
                for (seq, events) in &happened {
                    text += &self.style.events(*seq, events, &self.wanted);
                }
                (!text.is_empty()).then(|| text.into())
            }
            Next::Quiet(position) => {
                self.ping.reset();
                Some(frame::quiet(position))
            }
            Next::Gap(first) => {
                let event = JobsEvent::error("Events before this one are no longer kept");
                Some(self.style.event(Some(first), &event).into())
            }
            Next::Ends(why) => {
                self.has_ended = true;
                Some(frame::comment(why))
            }
            Next::Refused => {
                self.has_ended = true;
                Some(frame::comment("the key was revoked"))
            }
        }
    }

    fn health(&self) -> Option<Bytes> {
        let event = JobsEvent::health(self.api.fence.may_decide().is_ok());
        let is_wanted = self.wanted.has(&event);
        is_wanted.then(|| self.style.event(None, &event).into())
    }
}
