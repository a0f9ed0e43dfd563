//! `GET /api/v1/ws`: the same events over a WebSocket, whose client says on the way which of them it wants.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::extract::{RawQuery, State};
use axum::response::Response;
use http::HeaderMap;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, Interval};
use waybill_domain::seq::StreamSeq;
use waybill_edge::error::{ApiError, JobsErrorBody};
use waybill_edge::sse::no_room;
use waybill_streams::{EventFilter, Slot};

use crate::event::JobsEvent;
use crate::organization::every;
use crate::parameters::Asked;
use crate::reader::{JobsReader, Reader};
use crate::source::{Next, Source};
use crate::state::LiveApi;
use crate::wanted::{Selection, Wanted};

/// How often a `Ping` goes out.
const PING: Duration = Duration::from_secs(30);
/// Largest command, in bytes.
const MAX_COMMAND_BYTES: usize = 16 * 1024;
/// How long a client may take to read what it is sent.
const PATIENCE: Duration = Duration::from_secs(30);

/// A frame: an event, and where to resume after it with `after`.
#[derive(Serialize)]
struct Frame<'a> {
    #[serde(flatten)]
    event: &'a JobsEvent,
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<u64>,
}

/// What a client says, whatever the case of `cmd`.
#[derive(Debug, Deserialize)]
struct Command {
    cmd: String,
    queue: Option<String>,
    job_id: Option<String>,
}

/// Open a WebSocket for events of jobs.
///
/// Each frame is a text `{"type", "data"}`, and has a `position`: a client that comes back with it as `after` gets everything since. The first is
/// `Ping`, then one every 30 seconds. Commands are `{"cmd": "Subscribe" | "Unsubscribe" | "Ping", "queue"?, "job_id"?}`: subscriptions add up,
/// without any everything comes that the key may see. It is closed at once when the key is revoked.
#[utoipa::path(
    get,
    path = "/api/v1/ws",
    operation_id = "jobs.event.open_socket",
    tag = "jobs",
    security(("api_key" = ["jobs:read"])),
    params(
        ("queue" = Option<String>, Query, description = "Subscribe to this queue"),
        ("job_id" = Option<String>, Query, description = "Subscribe to this job"),
        ("events" = Option<String>, Query, description = "Only events with these names, separated by commas"),
        ("after" = Option<u64>, Query, description = "Go on after this position"),
        ("token" = Option<String>, Query, description = "A key or an access token, instead of a header. `api_key` is the same"),
    ),
    responses(
        (status = 101, description = "It is open"),
        (status = 400, description = "The request is no upgrade to a WebSocket", body = JobsErrorBody),
        (status = 429, description = "The organisation has 100 open ones", body = JobsErrorBody),
    )
)]
pub(crate) async fn open_socket(
    State(state): State<LiveApi>,
    Reader(caller): Reader,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Result<Response, ApiError> {
    let asked = Asked::read(query.as_deref().unwrap_or_default(), &headers)?;
    let wanted = asked.wanted(&caller)?;
    let place = match state.sockets.take(&caller.team) {
        Ok(place) => place,
        Err(full) => return Ok(no_room(full)),
    };
    let slot = match state.hub.take_slot(&caller.team) {
        Ok(slot) => slot,
        Err(full) => return Ok(no_room(full)),
    };
    let filter = EventFilter::team(caller.team.clone());
    let source = Source::open(&state, Arc::clone(&caller), filter, asked.after, slot).await?;
    let upgrade = upgrade.max_message_size(MAX_COMMAND_BYTES);
    let tasks = state.tasks.clone();
    Ok(upgrade.on_upgrade(move |socket| {
        let session = Session {
            socket,
            caller,
            source,
            wanted,
            ping: every(PING, Instant::now()),
            _place: place,
        };
        // The gateway waits for it when it stops.
        tasks.track_future(session.run())
    }))
}

struct Session {
    socket: WebSocket,
    caller: Arc<JobsReader>,
    source: Source,
    wanted: Wanted,
    ping: Interval,
    _place: Slot,
}

/// Why a session ends.
enum End {
    /// The client has gone, or reads nothing.
    Gone,
    /// It is told why.
    Told(u16, &'static str),
}

impl Session {
    async fn run(mut self) {
        let end = match self.serve().await {
            Ok(never) => match never {},
            Err(end) => end,
        };
        if let End::Told(code, reason) = end {
            let close = CloseFrame {
                code,
                reason: reason.into(),
            };
            let close = self.socket.send(Message::Close(Some(close)));
            // A client that is gone needs no reason.
            let _ = tokio::time::timeout(PATIENCE, close).await;
        }
    }

    async fn serve(&mut self) -> Result<std::convert::Infallible, End> {
        self.send(&JobsEvent::ping(), None).await?;
        loop {
            // Each may be dropped when another comes first: a message that was not taken stays in the socket, a tick stays due, and the source
            // keeps what it has.
            tokio::select! {
                biased;
                next = self.source.next() => self.tell(next).await?,
                message = self.socket.recv() => self.heed(message).await?,
                _ = self.ping.tick() => self.send(&JobsEvent::ping(), None).await?,
            }
        }
    }

    async fn tell(&mut self, next: Option<Next>) -> Result<(), End> {
        match next {
            Some(Next::Happened(happened)) => {
                for (seq, events) in happened {
                    for event in events.iter() {
                        if self.wanted.has(event) {
                            self.send(event, Some(seq)).await?;
                        }
                    }
                }
                Ok(())
            }
            Some(Next::Opened | Next::Quiet(_)) => Ok(()),
            Some(Next::Gap(first)) => {
                let event = JobsEvent::error("Events before this one are no longer kept");
                self.send(&event, Some(first)).await
            }
            Some(Next::Refused) => Err(End::Told(close_code::POLICY, "the key was revoked")),
            Some(Next::Ends(why)) => Err(End::Told(close_code::AWAY, why)),
            None => Err(End::Told(close_code::NORMAL, "")),
        }
    }

    async fn heed(&mut self, message: Option<Result<Message, axum::Error>>) -> Result<(), End> {
        match message {
            None | Some(Err(_) | Ok(Message::Close(_))) => Err(End::Gone),
            Some(Ok(Message::Text(text))) => self.obey(&text).await,
            // Pings are answered by the library; nothing is said in bytes.
            Some(Ok(Message::Binary(_) | Message::Ping(_) | Message::Pong(_))) => Ok(()),
        }
    }

    async fn obey(&mut self, text: &str) -> Result<(), End> {
        let Ok(command) = serde_json::from_str::<Command>(text) else {
            let wrong = JobsEvent::error("A command is {\"cmd\", \"queue\"?, \"job_id\"?}");
            return self.send(&wrong, None).await;
        };
        let selection = Selection {
            queue: command.queue.filter(|queue| !queue.is_empty()),
            job: command.job_id.filter(|job| !job.is_empty()),
        };
        let refused = match command.cmd.to_ascii_lowercase().as_str() {
            "ping" => Some(JobsEvent::ping()),
            "subscribe" => self.subscribe(selection),
            "unsubscribe" => {
                self.wanted.remove(&selection);
                None
            }
            _ => Some(JobsEvent::error(
                "cmd must be Subscribe, Unsubscribe or Ping",
            )),
        };
        match refused {
            Some(event) => self.send(&event, None).await,
            None => Ok(()),
        }
    }

    /// Adds a subscription; what is answered if that is refused.
    fn subscribe(&mut self, selection: Selection) -> Option<JobsEvent> {
        if let Some(name) = &selection.queue {
            let may_see = waybill_api_jobs::calls::queue_name("queue", name)
                .and_then(|queue| waybill_api_jobs::calls::needs_queue(&self.caller, &queue));
            if let Err(error) = may_see {
                return Some(JobsEvent::error(&error.body.message));
            }
        }
        let has_room = self.wanted.add(selection);
        (!has_room).then(|| JobsEvent::error("There are too many subscriptions"))
    }

    async fn send(&mut self, event: &JobsEvent, position: Option<StreamSeq>) -> Result<(), End> {
        let frame = Frame {
            event,
            position: position.map(|seq| seq.0),
        };
        let Ok(text) = serde_json::to_string(&frame) else {
            return Ok(());
        };
        let sent = self.socket.send(Message::Text(text.into()));
        match tokio::time::timeout(PATIENCE, sent).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(End::Gone),
        }
    }
}
