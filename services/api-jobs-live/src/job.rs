//! `GET /api/v1/events/jobs/{id}`: what becomes of one job, until it has ended.

use std::sync::Arc;

use axum::extract::{Path, RawQuery, State};
use axum::response::Response;
use bytes::Bytes;
use futures::{StreamExt, stream};
use http::{HeaderMap, StatusCode};
use tokio::time::{Instant, Interval};
use waybill_api_jobs::calls::{self, Standing};
use waybill_edge::error::{ApiError, JobsErrorBody};
use waybill_edge::iso::Iso;
use waybill_edge::sse::{event_stream, no_room, nothing_more};
use waybill_streams::{EventFilter, Remainder};

use crate::event::{JobsEvent, JobsJobStatusChange};
use crate::frame::{self, Style};
use crate::organization::{LONGEST, PING, every};
use crate::parameters::{Asked, style};
use crate::reader::Reader;
use crate::source::{Next, Source};
use crate::state::LiveApi;
use crate::wanted::Wanted;

/// Follow one job.
///
/// The first event is its present status, with an `old_status` of "". The stream ends after a final status: close the client then. A job that is
/// missing or hidden is the event `error`, "Job not found". A client that comes back with `Last-Event-ID` gets what it has missed instead of the
/// present status, and 204 if there is nothing more.
#[utoipa::path(
    get,
    path = "/api/v1/events/jobs/{id}",
    operation_id = "jobs.event.stream_job",
    tag = "jobs",
    security(("api_key" = ["jobs:read"])),
    params(
        ("id" = String, Path, description = "Id of the job, a UUID"),
        ("events" = Option<String>, Query, description = "Only events with these names, separated by commas"),
        ("Last-Event-ID" = Option<u64>, Header, description = "Go on after the event with this id"),
        ("token" = Option<String>, Query, description = "A key or an access token, instead of a header. `api_key` is the same"),
    ),
    responses(
        (status = 200, description = "The stream", content_type = "text/event-stream", body = JobsEvent),
        (status = 204, description = "The job has ended, and there is no event after `Last-Event-ID`: do not connect again"),
        (status = 429, description = "Too many streams are open", body = JobsErrorBody),
    )
)]
pub(crate) async fn follow_job(
    State(state): State<LiveApi>,
    Reader(caller): Reader,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let asked = Asked::read(query.as_deref().unwrap_or_default(), &headers)?;
    let wanted = Wanted::new(caller.only_queues(), asked.names.clone());
    let style = style(&headers);
    let seen = asked.after.unwrap_or_default();
    let standing = match calls::standing(&state, &caller, &id, seen).await {
        Ok(standing) => standing,
        Err(error) if error.status == StatusCode::NOT_FOUND => {
            let missing = style.event(None, &JobsEvent::error("Job not found"));
            let frames = [frame::connected(), missing.into()];
            return Ok(event_stream(stream::iter(frames)));
        }
        Err(error) => return Err(error),
    };
    let after = asked.after.unwrap_or(standing.seq);
    let remainder = Remainder::of(&standing.row, after);
    if asked.after.is_some() && remainder.is_empty() {
        return Ok(nothing_more());
    }
    let slot = match state.hub.take_slot(&caller.team) {
        Ok(slot) => slot,
        Err(full) => return Ok(no_room(full)),
    };
    let mut first = vec![frame::connected()];
    if asked.after.is_none() {
        let present = present(&standing, &id);
        first.push(style.event(Some(standing.seq), &present).into());
    }
    let row = &standing.row;
    let filter = EventFilter::task(row.team.clone(), row.id, Some(row.queue.clone()));
    let from = (after, Some(remainder));
    let now = Instant::now();
    let frames = Frames {
        source: Source::of(&state, Arc::clone(&caller), filter, from, slot),
        wanted,
        style,
        ping: every(PING, now),
        end: now + LONGEST,
        has_ended: standing.status.is_final() && asked.after.is_none(),
    };
    let rest = stream::unfold(frames, |mut frames| async move {
        let next = frames.next().await?;
        Some((next, frames))
    });
    Ok(event_stream(stream::iter(first).chain(rest)))
}

fn present(standing: &Standing, id: &str) -> JobsEvent {
    JobsEvent::JobStatusChange(JobsJobStatusChange {
        job_id: id.to_ascii_lowercase(),
        queue_name: standing.row.queue.to_string(),
        old_status: "",
        new_status: standing.status.as_str(),
        timestamp: Iso(standing.row.updated_at),
    })
}

struct Frames {
    source: Source,
    wanted: Wanted,
    style: Style,
    ping: Interval,
    end: Instant,
    has_ended: bool,
}

impl Frames {
    async fn next(&mut self) -> Option<Bytes> {
        while !self.has_ended {
            // Each of them may be dropped when another comes first: ticks stay due, and the source keeps what it has.
            let next = tokio::select! {
                biased;
                () = tokio::time::sleep_until(self.end) => return None,
                next = self.source.next() => next?,
                _ = self.ping.tick() => return Some(frame::ping()),
            };
            match next {
                Next::Opened | Next::Quiet(_) => {}
                // What happened after the job had been read is not gone within moments.
                Next::Gap(first) => {
                    let event = JobsEvent::error("Events before this one are no longer kept");
                    return Some(self.style.event(Some(first), &event).into());
                }
                Next::Happened(happened) => {
                    let mut text = String::new();
                    for (seq, events) in &happened {
                        text += &self.style.events(*seq, events, &self.wanted);
                        self.has_ended |= events.iter().any(ends);
                    }
                    if !text.is_empty() {
                        return Some(text.into());
                    }
                }
                Next::Ends(why) => {
                    self.has_ended = true;
                    return Some(frame::comment(why));
                }
                Next::Refused => {
                    self.has_ended = true;
                    return Some(frame::comment("the key was revoked"));
                }
            }
        }
        None
    }
}

/// Whether nothing more will come of the job.
fn ends(event: &JobsEvent) -> bool {
    let JobsEvent::JobStatusChange(JobsJobStatusChange { new_status, .. }) = event else {
        return false;
    };
    !["pending", "scheduled", "processing"].contains(new_status)
}
